//! Random commands for tests of whole engines.

#![allow(dead_code, reason = "each test file uses a part of it")]

use fastness_engine::command::{self, Run};
use fastness_engine::{EffectBuf, Engine, EngineOptions, Env, Random};
use fastness_resp::{Args, Protocol, ReplyBuf};
use fastness_types::{HashSeed, WallMs};
use proptest::prelude::*;

/// A deterministic generator in the place of randomness.
pub struct Counter(pub u64);

impl Random for Counter {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }
}

/// An engine with this seed.
pub fn engine(seed: u8) -> Engine {
    Engine::new(EngineOptions { seed: HashSeed([seed; 16]), maxmemory: 0 })
}

/// The words of a command.
pub type Words = Vec<Vec<u8>>;

/// Splits a line into the words of a command.
pub fn words(text: String) -> Words {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// A string value: a number or a text, short or long.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        (-20i64..20).prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        "[a-z]{0,8}",
        "[a-z]{90,130}",
        "[a-z]{1000,1100}",
        (-100i32..100).prop_map(|n| format!("{}", f64::from(n) / 8.0)),
    ]
    .prop_map(|value| if value.is_empty() { "x".to_owned() } else { value })
}

/// A random command, most of them writes, on a few keys.
pub fn command() -> impl Strategy<Value = Words> {
    let key = || (0u8..12).prop_map(|key| format!("{{{}}}k{key}", key % 3));
    // Below 0, in the past, soon, far off.
    let ttl = || prop_oneof![-5i64..300, Just(1_000_000)];
    let expiry = move || {
        prop_oneof![
            3 => Just(String::new()),
            2 => ttl().prop_map(|ttl| format!(" PX {ttl}")),
            1 => ttl().prop_map(|ttl| format!(" EX {ttl}")),
            1 => ttl().prop_map(|ttl| format!(" PXAT {}", 1_000_000 + ttl)),
        ]
    };
    let keep = move || prop_oneof![3 => expiry(), 1 => Just(" KEEPTTL".to_owned())];
    let condition =
        prop_oneof![3 => Just(""), 1 => Just(" NX"), 1 => Just(" XX"), 1 => Just(" GET"), 1 => Just(" IFEQ 1")];
    let conditions = prop_oneof![2 => Just(""), 1 => Just(" NX"), 1 => Just(" XX")];
    let one_key = prop_oneof![
        Just("GETDEL"),
        Just("INCR"),
        Just("DECR"),
        Just("DEL"),
        Just("UNLINK"),
        Just("PERSIST"),
        Just("GET"),
        Just("TTL"),
        Just("STRLEN"),
        Just("TOUCH"),
        Just("TYPE"),
        Just("EXISTS"),
    ];
    let key_value = prop_oneof![
        Just("SETNX"),
        Just("GETSET"),
        Just("APPEND"),
        Just("DELIFEQ"),
        Just("INCRBY"),
        Just("DECRBY"),
        Just("INCRBYFLOAT"),
        Just("MSET"),
        Just("MSETNX"),
    ];
    let two_keys = prop_oneof![Just("RENAME"), Just("RENAMENX"), Just("COPY"), Just("LCS")];
    let expire = prop_oneof![Just("PEXPIRE"), Just("EXPIRE")];
    let expire_option =
        prop_oneof![3 => Just(""), 1 => Just(" NX"), 1 => Just(" XX"), 1 => Just(" GT"), 1 => Just(" LT")];
    prop_oneof![
        6 => (key(), value(), condition, keep()).prop_map(|(k, v, c, e)| format!("SET {k} {v}{c}{e}")),
        4 => (key_value, key(), value()).prop_map(|(name, k, v)| format!("{name} {k} {v}")),
        4 => (one_key, key()).prop_map(|(name, k)| format!("{name} {k}")),
        2 => (two_keys, key(), key()).prop_map(|(name, a, b)| format!("{name} {a} {b}")),
        1 => (key(), key()).prop_map(|(a, b)| format!("COPY {a} {b} REPLACE")),
        2 => (expire, key(), ttl(), expire_option).prop_map(|(name, k, t, o)| format!("{name} {k} {t}{o}")),
        1 => (key(), key(), value(), conditions, keep())
            .prop_map(|(a, b, v, c, e)| format!("MSETEX 2 {a} {v} {b} {v}{c}{e}")),
        1 => (key(), expiry()).prop_map(|(k, e)| format!("GETEX {k}{e}")),
        1 => key().prop_map(|k| format!("GETEX {k} PERSIST")),
        1 => (key(), 0u16..2_000, value()).prop_map(|(k, o, v)| format!("SETRANGE {k} {o} {v}")),
        1 => (key(), ttl(), value()).prop_map(|(k, t, v)| format!("PSETEX {k} {t} {v}")),
        3 => bitmap_command(),
        4 => hash_command(),
        4 => set_command(),
        4 => list_command(),
        4 => zset_command(),
        4 => stream_command(),
        1 => Just("SCAN 0 COUNT 100".to_owned()),
        1 => Just("RANDOMKEY".to_owned()),
        1 => Just("KEYS *".to_owned()),
    ]
    .prop_map(words)
}

/// A random bitmap command, on the keys of strings.
fn bitmap_command() -> impl Strategy<Value = String> {
    let key = || (0u8..12).prop_map(|key| format!("{{{}}}k{key}", key % 3));
    let offset = || prop_oneof![3 => 0u32..40, 1 => 0u32..9_000];
    let operation = prop_oneof![Just("AND"), Just("OR"), Just("XOR")];
    let overflow = prop_oneof![Just("WRAP"), Just("SAT"), Just("FAIL")];
    let width = || 1u8..64;
    let number = || prop_oneof![-9i64..9, any::<i64>()];
    prop_oneof![
        3 => (key(), offset(), 0u8..2).prop_map(|(k, at, bit)| format!("SETBIT {k} {at} {bit}")),
        2 => (operation, key(), key(), key()).prop_map(|(name, to, a, b)| format!("BITOP {name} {to} {a} {b}")),
        1 => (key(), key()).prop_map(|(to, from)| format!("BITOP NOT {to} {from}")),
        1 => (key(), width(), offset(), number())
            .prop_map(|(k, bits, at, n)| format!("BITFIELD {k} SET i{bits} {at} {n}")),
        2 => (key(), overflow, width(), offset(), number(), width(), offset()).prop_map(
            |(k, o, bits, at, n, other, to)| {
                format!("BITFIELD {k} OVERFLOW {o} INCRBY u{bits} {at} {n} SET u{other} {to} {n} GET u{other} {at}")
            }
        ),
        1 => (key(), offset()).prop_map(|(k, at)| format!("GETBIT {k} {at}")),
        1 => (key(), -9i8..9).prop_map(|(k, start)| format!("BITCOUNT {k} {start}")),
        1 => (key(), 0u8..2).prop_map(|(k, bit)| format!("BITPOS {k} {bit}")),
    ]
}

/// A random hash command, on keys that other commands use too and on keys of their own.
fn hash_command() -> impl Strategy<Value = String> {
    let key = || (0u8..6).prop_map(|key| if key < 2 { format!("{{0}}k{key}") } else { format!("{{0}}h{key}") });
    let field = || prop_oneof![8 => "[a-f]", 1 => "[a-z]{60,70}"];
    let value = || prop_oneof![4 => (-20i64..20).prop_map(|n| n.to_string()), 2 => "[a-z]{1,9}", 1 => "[a-z]{60,200}"];
    let (pairs, fields) = (
        move || prop::collection::vec((field(), value()).prop_map(|(f, v)| format!("{f} {v}")), 1..4),
        move || prop::collection::vec(field(), 1..4),
    );
    let many = (key(), 500u16..530, value()).prop_map(|(key, count, value)| {
        let pairs: Vec<String> = (0..count).map(|i| format!("m{i} {value}")).collect();
        format!("HSET {key} {}", pairs.join(" "))
    });
    let read = prop_oneof![Just("HGETALL"), Just("HLEN"), Just("HRANDFIELD")];
    let counted = move || fields().prop_map(|fields| format!("FIELDS {} {}", fields.len(), fields.join(" ")));
    let set_counted = move || pairs().prop_map(|pairs| format!("FIELDS {} {}", pairs.len(), pairs.join(" ")));
    let expire_option =
        prop_oneof![3 => Just(""), 1 => Just("NX "), 1 => Just("XX "), 1 => Just("GT "), 1 => Just("LT ")];
    let set_option = prop_oneof![
        2 => (0u16..300).prop_map(|ms| format!("PX {ms} ")),
        1 => Just("KEEPTTL ".to_owned()),
        1 => Just("FNX KEEPTTL ".to_owned()),
        1 => Just("PXAT 999 ".to_owned()),
    ];
    let get_option = prop_oneof![2 => (0u16..300).prop_map(|ms| format!("PX {ms} ")), 1 => Just("PERSIST ".to_owned())];
    prop_oneof![
        6 => (key(), pairs()).prop_map(|(k, p)| format!("HSET {k} {}", p.join(" "))),
        1 => (key(), field(), value()).prop_map(|(k, f, v)| format!("HSETNX {k} {f} {v}")),
        4 => (key(), fields()).prop_map(|(k, f)| format!("HDEL {k} {}", f.join(" "))),
        1 => (key(), field(), -9i8..9).prop_map(|(k, f, n)| format!("HINCRBY {k} {f} {n}")),
        1 => (key(), field(), -9i8..9).prop_map(|(k, f, n)| format!("HINCRBYFLOAT {k} {f} {n}.5")),
        2 => (read, key()).prop_map(|(name, k)| format!("{name} {k}")),
        2 => (prop_oneof![Just("RENAME"), Just("COPY")], key(), key()).prop_map(|(name, a, b)| format!("{name} {a} {b}")),
        1 => (key(), 0u16..300).prop_map(|(k, ms)| format!("PEXPIRE {k} {ms}")),
        4 => (key(), 0u16..300, expire_option, counted()).prop_map(|(k, ms, o, f)| format!("HPEXPIRE {k} {ms} {o}{f}")),
        1 => (key(), counted()).prop_map(|(k, f)| format!("HPERSIST {k} {f}")),
        1 => (key(), counted()).prop_map(|(k, f)| format!("HGETDEL {k} {f}")),
        2 => (key(), get_option, counted()).prop_map(|(k, o, f)| format!("HGETEX {k} {o}{f}")),
        2 => (key(), set_option, set_counted()).prop_map(|(k, o, f)| format!("HSETEX {k} {o}{f}")),
        1 => many,
    ]
}

/// A random set command, on keys that other commands use too and on keys of their own.
fn set_command() -> impl Strategy<Value = String> {
    let key = || (0u8..6).prop_map(|key| if key < 2 { format!("{{0}}k{key}") } else { format!("{{0}}s{key}") });
    let member = || prop_oneof![4 => (-20i64..20).prop_map(|n| n.to_string()), 4 => "[a-f]", 1 => "[a-z]{60,70}"];
    let members = move || prop::collection::vec(member(), 1..4).prop_map(|members| members.join(" "));
    let keys = move || prop::collection::vec(key(), 1..4).prop_map(|keys| keys.join(" "));
    let many = (key(), prop_oneof![120u16..136, 505u16..520], any::<bool>()).prop_map(|(key, count, texts)| {
        let name = |i: u16| if texts { format!("m{i}") } else { i.to_string() };
        format!("SADD {key} {}", (0..count).map(name).collect::<Vec<_>>().join(" "))
    });
    let store = prop_oneof![Just("SUNIONSTORE"), Just("SINTERSTORE"), Just("SDIFFSTORE")];
    let read = prop_oneof![Just("SMEMBERS"), Just("SCARD"), Just("SRANDMEMBER")];
    prop_oneof![
        6 => (key(), members()).prop_map(|(k, m)| format!("SADD {k} {m}")),
        4 => (key(), members()).prop_map(|(k, m)| format!("SREM {k} {m}")),
        1 => (key(), key(), member()).prop_map(|(a, b, m)| format!("SMOVE {a} {b} {m}")),
        1 => (key(), key(), keys()).prop_map(|(a, b, keys)| format!("SINTERCARD 2 {a} {b} LIMIT {}", keys.len())),
        2 => (store, key(), keys()).prop_map(|(name, to, keys)| format!("{name} {to} {keys}")),
        1 => key().prop_map(|k| format!("SPOP {k}")),
        1 => (key(), prop_oneof![0u16..9, 100u16..520]).prop_map(|(k, count)| format!("SPOP {k} {count}")),
        1 => (read, key()).prop_map(|(name, k)| format!("{name} {k}")),
        1 => (prop_oneof![Just("RENAME"), Just("COPY")], key(), key()).prop_map(|(name, a, b)| format!("{name} {a} {b}")),
        1 => many,
    ]
}

/// A random list command, on keys that other commands use too and on keys of their own.
fn list_command() -> impl Strategy<Value = String> {
    let key = || (0u8..6).prop_map(|key| if key < 2 { format!("{{0}}k{key}") } else { format!("{{0}}l{key}") });
    let element = || {
        prop_oneof![
            6 => "[a-d]",
            3 => (-9i64..9).prop_map(|n| n.to_string()),
            1 => "[a-z]{300,700}",
            1 => (8_150usize..8_250).prop_map(|len| "e".repeat(len)),
        ]
    };
    let end = || prop_oneof![Just("LEFT"), Just("RIGHT")];
    let push = || prop_oneof![Just("LPUSH"), Just("RPUSH"), Just("LPUSHX"), Just("RPUSHX")];
    let pop = || prop_oneof![Just("LPOP"), Just("RPOP")];
    let index = || -6i64..6;
    let many = (push(), key(), 100u16..900).prop_map(|(name, key, count)| {
        let elements: Vec<String> = (0..count).map(|i| format!("many{i}")).collect();
        format!("{name} {key} {}", elements.join(" "))
    });
    let beside = prop_oneof![Just("BEFORE"), Just("AFTER")];
    prop_oneof![
        6 => (push(), key(), prop::collection::vec(element(), 1..4))
            .prop_map(|(name, k, e)| format!("{name} {k} {}", e.join(" "))),
        4 => (pop(), key()).prop_map(|(name, k)| format!("{name} {k}")),
        2 => (pop(), key(), 0u16..500).prop_map(|(name, k, n)| format!("{name} {k} {n}")),
        2 => (key(), index(), element()).prop_map(|(k, i, e)| format!("LSET {k} {i} {e}")),
        3 => (key(), beside, element(), element()).prop_map(|(k, b, p, e)| format!("LINSERT {k} {b} {p} {e}")),
        2 => (key(), -2i64..3, element()).prop_map(|(k, n, e)| format!("LREM {k} {n} {e}")),
        2 => (key(), -300i64..300, -300i64..300).prop_map(|(k, a, b)| format!("LTRIM {k} {a} {b}")),
        3 => (key(), key(), end(), end()).prop_map(|(a, b, from, to)| format!("LMOVE {a} {b} {from} {to}")),
        1 => (key(), key()).prop_map(|(a, b)| format!("RPOPLPUSH {a} {b}")),
        1 => (key(), key(), end(), 1u16..9).prop_map(|(a, b, end, n)| format!("LMPOP 2 {a} {b} {end} COUNT {n}")),
        1 => (key(), element()).prop_map(|(k, e)| format!("LPOS {k} {e} COUNT 0")),
        2 => (prop_oneof![Just("RENAME"), Just("COPY")], key(), key())
            .prop_map(|(name, a, b)| format!("{name} {a} {b}")),
        1 => (key(), 0u16..300).prop_map(|(k, ms)| format!("PEXPIRE {k} {ms}")),
        1 => many,
    ]
}

/// A random sorted set command, on keys that other commands use too and on keys of their own.
fn zset_command() -> impl Strategy<Value = String> {
    let key = || (0u8..6).prop_map(|key| if key < 2 { format!("{{0}}k{key}") } else { format!("{{0}}z{key}") });
    let name = || prop_oneof![8 => "[a-h]{1,2}", 1 => "[a-z]{60,70}"];
    let score = || {
        prop_oneof![
            4 => (-5i64..5).prop_map(|n| n.to_string()),
            2 => (-100i32..100).prop_map(|n| format!("{}", f64::from(n) / 8.0)),
            1 => prop::sample::select(vec!["inf", "-inf", "-0", "1e300"]).prop_map(str::to_owned),
        ]
    };
    let pairs =
        move || prop::collection::vec((score(), name()).prop_map(|(score, name)| format!("{score} {name}")), 1..4);
    let names = move || prop::collection::vec(name(), 1..4);
    let many = (key(), 120u16..140, 1u16..9).prop_map(|(key, count, scores)| {
        let pairs: Vec<String> = (0..count).map(|i| format!("{} m{i}", i % scores)).collect();
        format!("ZADD {key} {}", pairs.join(" "))
    });
    let option = prop_oneof![6 => Just(""), 1 => Just("NX "), 1 => Just("XX "), 1 => Just("GT "), 1 => Just("LT CH ")];
    let read = prop_oneof![Just("ZCARD"), Just("ZRANDMEMBER"), Just("ZPOPMIN"), Just("ZPOPMAX")];
    let combine = prop_oneof![Just("ZUNIONSTORE"), Just("ZINTERSTORE"), Just("ZDIFFSTORE")];
    let rank = || -9i8..20;
    prop_oneof![
        6 => (key(), option, pairs()).prop_map(|(k, o, p)| format!("ZADD {k} {o}{}", p.join(" "))),
        2 => (key(), -9i8..9, name()).prop_map(|(k, by, n)| format!("ZINCRBY {k} {by} {n}")),
        4 => (key(), names()).prop_map(|(k, n)| format!("ZREM {k} {}", n.join(" "))),
        3 => (read, key()).prop_map(|(read, k)| format!("{read} {k}")),
        1 => (key(), 0u8..9).prop_map(|(k, count)| format!("ZPOPMAX {k} {count}")),
        1 => (key(), key()).prop_map(|(a, b)| format!("ZMPOP 2 {a} {b} MIN COUNT 3")),
        2 => (key(), rank(), rank()).prop_map(|(k, a, b)| format!("ZREMRANGEBYRANK {k} {a} {b}")),
        1 => (key(), -3i8..3).prop_map(|(k, min)| format!("ZREMRANGEBYSCORE {k} {min} ({}", min + 2)),
        1 => (key(), name()).prop_map(|(k, n)| format!("ZREMRANGEBYLEX {k} [{n} +")),
        1 => (key(), key(), rank()).prop_map(|(a, b, stop)| format!("ZRANGESTORE {a} {b} 0 {stop} REV")),
        2 => (combine, key(), key(), key()).prop_map(|(name, a, b, c)| format!("{name} {a} 2 {b} {c}")),
        2 => (prop_oneof![Just("RENAME"), Just("COPY")], key(), key()).prop_map(|(name, a, b)| format!("{name} {a} {b}")),
        1 => (key(), 0u16..300).prop_map(|(k, ms)| format!("PEXPIRE {k} {ms}")),
        1 => many,
    ]
}

/// A random stream command, on keys that other commands use too and on keys of their own.
fn stream_command() -> impl Strategy<Value = String> {
    let key = || (0u8..6).prop_map(|key| if key < 2 { format!("{{0}}k{key}") } else { format!("{{0}}x{key}") });
    let id = || (1u8..40, 0u8..3).prop_map(|(ms, seq)| format!("{ms}-{seq}"));
    let ids = move || prop::collection::vec(id(), 1..6).prop_map(|ids| ids.join(" "));
    let fields = || {
        let one =
            (prop_oneof![8 => "[ab]", 1 => "[a-z]{60,70}"], prop_oneof![4 => "[a-z]{1,9}", 1 => "[a-z]{200,2000}"]);
        prop::collection::vec(one.prop_map(|(field, value)| format!("{field} {value}")), 1..3)
            .prop_map(|fields| fields.join(" "))
    };
    let new_id = prop_oneof![4 => Just("*".to_owned()), 2 => id(), 1 => (1u8..40).prop_map(|ms| format!("{ms}-*"))];
    let trim = || {
        prop_oneof![
            (0u16..300).prop_map(|len| format!("MAXLEN {len}")),
            (0u16..300).prop_map(|len| format!("MAXLEN ~ {len}")),
            id().prop_map(|id| format!("MINID {id}")),
            (990_000u32..1_030_000).prop_map(|ms| format!("MINID ~ {ms}")),
        ]
    };
    let trim_of_add = prop_oneof![4 => Just(String::new()), 1 => trim()];
    let group = || prop_oneof![Just("g"), Just("h")];
    let consumer = || prop_oneof![Just("a"), Just("b"), Just("c")];
    let read = prop_oneof![3 => Just(">".to_owned()), 1 => Just("0".to_owned()), 1 => id()];
    let ack = prop_oneof![2 => Just(""), 1 => Just("NOACK ")];
    let claim = prop_oneof![
        2 => Just(""),
        1 => Just(" FORCE"),
        1 => Just(" JUSTID"),
        1 => Just(" RETRYCOUNT 5 FORCE LASTID 30-0"),
    ];
    let of_group = prop_oneof![Just("DESTROY"), Just("DELCONSUMER"), Just("CREATECONSUMER"), Just("SETID")];
    prop_oneof![
        9 => (key(), trim_of_add, new_id, fields()).prop_map(|(k, t, id, f)| format!("XADD {k} {t} {id} {f}")),
        2 => (key(), trim()).prop_map(|(k, t)| format!("XTRIM {k} {t}")),
        3 => (key(), ids()).prop_map(|(k, ids)| format!("XDEL {k} {ids}")),
        1 => (key(), id()).prop_map(|(k, id)| format!("XSETID {k} {id} ENTRIESADDED 500")),
        2 => (key(), group(), id()).prop_map(|(k, g, id)| format!("XGROUP CREATE {k} {g} {id} MKSTREAM")),
        2 => (of_group, key(), group(), consumer()).prop_map(|(what, k, g, c)| match what {
            "DESTROY" => format!("XGROUP DESTROY {k} {g}"),
            "SETID" => format!("XGROUP SETID {k} {g} 0"),
            what => format!("XGROUP {what} {k} {g} {c}"),
        }),
        6 => (group(), consumer(), 1u8..30, ack, key(), read)
            .prop_map(|(g, c, n, ack, k, from)| format!("XREADGROUP GROUP {g} {c} COUNT {n} {ack}STREAMS {k} {from}")),
        2 => (key(), group(), ids()).prop_map(|(k, g, ids)| format!("XACK {k} {g} {ids}")),
        2 => (key(), group(), consumer(), ids(), claim).prop_map(|(k, g, c, ids, o)| format!("XCLAIM {k} {g} {c} 0 {ids}{o}")),
        2 => (key(), group(), consumer(), 0u8..50).prop_map(|(k, g, c, n)| format!("XAUTOCLAIM {k} {g} {c} {n} 0")),
        1 => (key(), id()).prop_map(|(k, id)| format!("XRANGE {k} {id} +")),
        2 => (prop_oneof![Just("RENAME"), Just("COPY")], key(), key())
            .prop_map(|(name, a, b)| format!("{name} {a} {b}")),
        1 => (key(), 0u16..300).prop_map(|(k, ms)| format!("PEXPIRE {k} {ms}")),
    ]
    .prop_map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// One step of a random run.
#[derive(Debug, Clone)]
pub enum Step {
    /// A command.
    Run(Words),
    /// The batch is closed: time advances, and due keys expire.
    NextBatch(u64),
    /// FLUSHALL.
    Flush,
}

/// A random step.
pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => command().prop_map(Step::Run),
        4 => (0u64..60).prop_map(Step::NextBatch),
        1 => Just(Step::Flush),
    ]
}

/// Runs one command and returns its reply.
pub fn run(engine: &mut Engine, words: &Words, now: WallMs, may_write: bool, effects: &mut EffectBuf) -> Vec<u8> {
    let args = Args::owned(words);
    let spec = command::table().look_up(args).unwrap_or_else(|_| panic!("{args:?} is known"));
    assert!(matches!(spec.run, Run::Data(_)));
    let mut reply = ReplyBuf::new(Protocol::Resp2);
    let mut env =
        Env { now, may_write, random: &mut Counter(1), reply: &mut reply, effects, first: None, blocking: None };
    engine.execute(spec, args, &mut env);
    reply.to_vec()
}

/// What a reader sees of every key.
pub fn read_all(engine: &mut Engine, now: WallMs) -> Vec<Vec<u8>> {
    let mut effects = EffectBuf::new();
    let mut replies = Vec::new();
    for key in 0..12 {
        for name in ["GET", "PTTL", "EXISTS"] {
            let words = words(format!("{name} {{{}}}k{key}", key % 3));
            replies.push(run(engine, &words, now, false, &mut effects));
        }
    }
    for key in ["{0}k0", "{0}k1", "{0}h2", "{0}h3", "{0}h4", "{0}h5"] {
        for name in ["HLEN", "EXISTS", "OBJECT ENCODING"] {
            replies.push(run(engine, &words(format!("{name} {key}")), now, false, &mut effects));
        }
        let deadlines = format!("HPEXPIRETIME {key} FIELDS 6 a b c d e f");
        replies.push(run(engine, &words(deadlines), now, false, &mut effects));
        // In the order of each one's own table.
        let all = run(engine, &words(format!("HGETALL {key}")), now, false, &mut effects);
        let mut lines: Vec<&[u8]> = all.split(|byte| *byte == b'\n').collect();
        lines.sort_unstable();
        replies.push(lines.concat());
    }
    for key in ["{0}k0", "{0}k1", "{0}s2", "{0}s3", "{0}s4", "{0}s5"] {
        for name in ["SCARD", "PTTL", "OBJECT ENCODING"] {
            replies.push(run(engine, &words(format!("{name} {key}")), now, false, &mut effects));
        }
        // In the order of each one's own table.
        let all = run(engine, &words(format!("SMEMBERS {key}")), now, false, &mut effects);
        let mut lines: Vec<&[u8]> = all.split(|byte| *byte == b'\n').collect();
        lines.sort_unstable();
        replies.push(lines.concat());
    }
    for key in ["{0}k0", "{0}k1", "{0}l2", "{0}l3", "{0}l4", "{0}l5"] {
        for line in ["LRANGE {} 0 -1", "OBJECT ENCODING {}", "PTTL {}"] {
            replies.push(run(engine, &words(line.replace("{}", key)), now, false, &mut effects));
        }
    }
    for key in ["{0}k0", "{0}k1", "{0}z2", "{0}z3", "{0}z4", "{0}z5"] {
        for question in
            [format!("ZRANGE {key} 0 -1 WITHSCORES"), format!("OBJECT ENCODING {key}"), format!("PTTL {key}")]
        {
            replies.push(run(engine, &words(question), now, false, &mut effects));
        }
    }
    for key in ["{0}k0", "{0}k1", "{0}x2", "{0}x3", "{0}x4", "{0}x5"] {
        for question in [format!("XRANGE {key} - +"), format!("XINFO STREAM {key} FULL COUNT 0"), format!("PTTL {key}")]
        {
            replies.push(run(engine, &words(question), now, false, &mut effects));
        }
    }
    assert!(effects.is_empty(), "a replica stages nothing");
    replies
}
