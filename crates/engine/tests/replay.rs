//! A replica that applies what the primary staged ends with the same data: random commands, with time going on.

use fastness_engine::command::{self, Run};
use fastness_engine::{EffectBuf, Engine, EngineOptions, Env, Random};
use fastness_resp::{Args, Protocol, ReplyBuf};
use fastness_types::{HashSeed, WallMs};
use proptest::prelude::*;

struct Counter(u64);

impl Random for Counter {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }
}

fn engine(seed: u8) -> Engine {
    Engine::new(EngineOptions { seed: HashSeed([seed; 16]), maxmemory: 0 })
}

type Words = Vec<Vec<u8>>;

fn words(text: String) -> Words {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn command() -> impl Strategy<Value = Words> {
    let key = || (0u8..12).prop_map(|key| format!("{{{}}}k{key}", key % 3));
    let value = || {
        prop_oneof![
            (-20i64..20).prop_map(|n| n.to_string()),
            any::<i64>().prop_map(|n| n.to_string()),
            "[a-z]{0,8}",
            "[a-z]{90,130}",
            "[a-z]{1000,1100}",
            (-100i32..100).prop_map(|n| format!("{}", f64::from(n) / 8.0)),
        ]
        .prop_map(|value| if value.is_empty() { "x".to_owned() } else { value })
    };
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
        4 => hash_command(),
        1 => Just("SCAN 0 COUNT 100".to_owned()),
        1 => Just("RANDOMKEY".to_owned()),
        1 => Just("KEYS *".to_owned()),
    ]
    .prop_map(words)
}

/// Of hashes, on keys that others use too and on some of their own.
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

#[derive(Debug, Clone)]
enum Step {
    Run(Words),
    /// The batch closes: time goes on, what is due expires.
    NextBatch(u64),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => command().prop_map(Step::Run),
        4 => (0u64..60).prop_map(Step::NextBatch),
        1 => Just(Step::Flush),
    ]
}

/// Runs one command and returns its reply.
fn run(engine: &mut Engine, words: &Words, now: WallMs, may_write: bool, effects: &mut EffectBuf) -> Vec<u8> {
    let args = Args::owned(words);
    let spec = command::lookup(args).unwrap_or_else(|_| panic!("{args:?} is known"));
    assert!(matches!(spec.run, Run::Data(_)));
    let mut reply = ReplyBuf::new(Protocol::Resp2);
    let mut env = Env { now, may_write, random: &mut Counter(1), reply: &mut reply, effects, first: None };
    engine.execute(spec, args, &mut env);
    reply.bytes
}

fn read_all(engine: &mut Engine, now: WallMs) -> Vec<Vec<u8>> {
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
    assert!(effects.is_empty(), "a replica stages nothing");
    replies
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_gives_what_executing_gave(steps in prop::collection::vec(step(), 1..150)) {
        // Another seed, so that nothing depends on places in tables.
        let (mut primary, mut replica) = (engine(1), engine(2));
        let mut now = WallMs(1_000_000);
        let mut effects = EffectBuf::new();
        let mut log: Vec<(WallMs, Vec<u8>)> = Vec::new();
        for step in steps.into_iter().chain([Step::NextBatch(1)]) {
            match step {
                Step::Run(words) => {
                    let before = primary.digest();
                    let len = effects.len();
                    run(&mut primary, &words, now, true, &mut effects);
                    prop_assert!(effects.len() > len || primary.digest() == before, "a change without an effect");
                }
                Step::Flush => {
                    run(&mut primary, &words("FLUSHALL".to_owned()), now, true, &mut effects);
                    prop_assert!(effects.touches_all());
                }
                Step::NextBatch(ms) => {
                    primary.expire_due(now, 3, &mut effects);
                    primary.advance_stamp(now);
                    let batch = effects.take();
                    replica.apply(now, &batch).unwrap();
                    prop_assert_eq!(primary.digest(), replica.digest());
                    prop_assert_eq!(primary.keyspace_stats(), replica.keyspace_stats());
                    prop_assert_eq!(replica.newest_stamp(), now);
                    prop_assert_eq!(read_all(&mut replica, now), read_all(&mut primary, now));
                    log.push((now, batch));
                    now.0 += ms;
                }
            }
        }
        let mut restarted = engine(1);
        for (stamp, batch) in &log {
            restarted.apply(*stamp, batch).unwrap();
        }
        prop_assert_eq!(primary.digest(), restarted.digest());
        let settled = [&mut primary, &mut restarted].map(|engine| {
            while engine.release_some() {}
            engine.memory_used()
        });
        prop_assert_eq!(settled[0], settled[1], "memory is counted alike");
    }
}

#[test]
fn replicas_hide_what_is_past_and_remove_nothing() {
    let mut replica = engine(1);
    let mut primary = engine(1);
    let mut effects = EffectBuf::new();
    let now = WallMs(1_000);
    run(&mut primary, &words("SET k v PX 10".to_owned()), now, true, &mut effects);
    replica.apply(now, &effects.take()).unwrap();
    let get = words("GET k".to_owned());
    assert_eq!(run(&mut replica, &get, WallMs(1_010), false, &mut effects), b"$1\r\nv\r\n");
    assert_eq!(run(&mut replica, &get, WallMs(1_011), false, &mut effects), b"$-1\r\n");
    assert!(effects.is_empty());
    assert_eq!(replica.keyspace_stats().keys, 1);
    assert_eq!(primary.expire_due(WallMs(1_010), 10, &mut effects), 0);
    assert_eq!(primary.first_deadline(), Some(WallMs(1_010)));
    assert_eq!(primary.expire_due(WallMs(1_011), 10, &mut effects), 1);
    assert_eq!(effects.touched(), [primary.hash_key(b"k")]);
    replica.apply(WallMs(1_011), effects.bytes()).unwrap();
    assert_eq!(replica.keyspace_stats().keys, 0);
}

#[test]
fn expiring_is_bounded_and_in_order() {
    let mut primary = engine(1);
    let mut effects = EffectBuf::new();
    for key in 0..100u64 {
        let set = words(format!("SET k{key} v PXAT {}", 2_000 + (key * 37) % 100));
        run(&mut primary, &set, WallMs(1_000), true, &mut effects);
    }
    effects.clear();
    assert_eq!(primary.expire_due(WallMs(5_000), 30, &mut effects), 30);
    assert_eq!(effects.count(), 30);
    assert_eq!(primary.first_deadline(), Some(WallMs(2_030)));
    assert_eq!(primary.expire_due(WallMs(5_000), 1_000, &mut effects), 70);
    assert_eq!(primary.keyspace_stats().keys, 0);
}

#[test]
fn writes_are_refused_while_memory_is_short() {
    let mut primary = engine(1);
    let mut effects = EffectBuf::new();
    let now = WallMs(1_000);
    let mut run = |primary: &mut Engine, text: &str| {
        String::from_utf8(run(primary, &words(text.to_owned()), now, true, &mut effects)).unwrap()
    };
    primary.set_maxmemory(primary.memory_used() + 1_000);
    let mut count = 0;
    while run(&mut primary, &format!("SET key{count} {}", "v".repeat(100))) == "+OK\r\n" {
        count += 1;
        assert!(count < 20);
    }
    let refused = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    assert_eq!(run(&mut primary, "APPEND key0 x"), refused);
    assert_eq!(run(&mut primary, "GET key0").len(), 108);
    assert_eq!(run(&mut primary, "DEL key0 key1 key2"), ":3\r\n");
    assert_eq!(run(&mut primary, "SET key0 v"), "+OK\r\n");
}
