use super::*;
use crate::engine::{Engine, EngineOptions};
use crate::testing::Bench;
use fastness_types::limits::IMAGE_RECORD_BYTES_MAX;
use fastness_types::{HashSeed, WallMs};
use proptest::prelude::*;

/// No record is cut.
const WHOLE: usize = usize::MAX;

fn empty() -> Engine {
    Engine::new(EngineOptions { seed: HashSeed([9; 16]), maxmemory: 0 })
}

fn restored(chunks: &[Vec<u8>]) -> Engine {
    let mut engine = empty();
    for chunk in chunks {
        engine.load_image(WallMs(5), chunk).unwrap();
    }
    engine.end_image_load().unwrap();
    engine
}

fn finish(engine: &mut Engine, budget: usize) -> (ImageSum, Vec<Vec<u8>>) {
    let mut chunks = Vec::new();
    loop {
        let mut chunk = Vec::new();
        let sum = engine.image_step(budget, &mut chunk).unwrap();
        chunks.push(chunk);
        if let Some(sum) = sum {
            return (sum, chunks);
        }
    }
}

/// What version 1 wrote. If this fails the format has changed, and snapshots on disk could not be read.
#[test]
fn the_format_is_frozen() {
    for (command, record) in [
        ("SET k text", &b"\x01k\x00\x04text"[..]),
        ("SET k -2", b"\x01k\x02\x03"),
        ("APPEND k raw", b"\x01k\x00\x03raw"),
        ("SETRANGE k 0 raw", b"\x01k\x01\x03raw"),
        ("HSET k a 1 b text", b"\x01k\x03\x02\x01a\x011\x01b\x04text"),
        ("HSET k a 1 | PEXPIREAT k 1700000000300", b"\x01k\x23\xac\xd2\x95\xff\xbc\x31\x01\x01a\x011"),
        ("HSETEX k PXAT 1700000000300 FIELDS 1 a 1", b"\x01k\x04\x01\x01a\x011\xad\xd2\x95\xff\xbc\x31"),
        (
            "HSETEX k EX 0 FIELDS 1 a 1 | HSET k a 1 b 2 | HEXPIRE k 9 FIELDS 1 a | HDEL k a",
            b"\x01k\x04\x01\x01b\x012\x00",
        ),
        ("RPUSH k a 5", b"\x01k\x0a\x05\x81a\x02\x05\x01"),
        (
            "ZADD k 300 a -1 b 1.5 c 7 d",
            b"\x01k\x0c\x04\x01b\x81\xff\x01c\x88\0\0\0\0\0\0\xf8\x3f\x01d\x07\x01a\x82\x2c\x01",
        ),
        (
            "ZADD k 1 a 1 0123456789012345678901234567890123456789012345678901234567890123x | ZPOPMIN k",
            b"\x01k\x0d\x01\x01a\x01",
        ),
        ("SET k 5 PXAT 1700000000300", b"\x01k\x22\xac\xd2\x95\xff\xbc\x31\x0a"),
    ] {
        let mut bench = Bench::new();
        for line in command.split(" | ") {
            bench.run(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
        bench.engine.begin_image(WHOLE);
        let (sum, chunks) = finish(&mut bench.engine, 1000);
        assert_eq!(chunks.concat(), record, "{command}");
        assert_eq!((sum.keys, sum.digest), (1, bench.engine.digest()));
        assert_eq!(restored(&chunks).digest(), sum.digest, "{command}");
    }
}

/// A text that repeats a letter.
fn letters(letter: char, count: usize) -> String {
    std::iter::repeat_n(letter, count).collect()
}

/// The records of values that do not fit into one of 16 bytes.
#[test]
fn the_format_of_parts_is_frozen() {
    let (long, name) = (letters('a', 24), letters('n', 40));
    let parts = |id: u8, letter: char| {
        let (sixteen, eight) = (letters(letter, 16), letters(letter, 8));
        [&[0, 6, id, 16], sixteen.as_bytes(), &[0, 6, id, 8], eight.as_bytes()].concat()
    };
    let named = |kind: u8, total: u8, rest: &[u8]| {
        let start = [&[16], letters('n', 16).as_bytes(), &[5, 1, 0, 40, kind, total]].concat();
        [&start, &parts(1, 'n')[..], rest].concat()
    };
    for (command, records) in [
        (format!("SET k {long}"), [b"\x01k\x05\x01\x00\x01\x00\x18", &parts(1, 'a')[..]].concat()),
        (
            format!("SET k {long} PXAT 1700000000300"),
            [b"\x01k\x25\xac\xd2\x95\xff\xbc\x31\x01\x00\x01\x00\x18", &parts(1, 'a')[..]].concat(),
        ),
        (format!("SETRANGE k 0 {long}"), [b"\x01k\x05\x01\x00\x01\x01\x18", &parts(1, 'a')[..]].concat()),
        (
            "HSETEX k PXAT 1700000000300 FIELDS 1 a 1".to_owned(),
            [&b"\x01k\x05\x01\x00\x01\x04\x01"[..], b"\x00\x07\x01\x01\x01a\x011\xad\xd2\x95\xff\xbc\x31"].concat(),
        ),
        (
            format!("HSETEX k EX 9 FIELDS 1 a {long} | HPERSIST k FIELDS 1 a"),
            [&b"\x01k\x05\x01\x00\x01\x04\x01"[..], b"\x01a\x05\x02\x01\x01\x00\x18", &parts(2, 'a')[..]].concat(),
        ),
        (format!("SET {name} 5"), named(2, 1, b"\x00\x06\x01\x01\x0a")),
        (format!("SET {name} text"), named(0, 4, b"\x00\x06\x01\x04text")),
        (format!("HSET {name} a 1"), named(3, 5, b"\x00\x06\x01\x05\x01\x01a\x011")),
    ] {
        let mut bench = Bench::new();
        for line in command.split(" | ") {
            bench.run(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
        bench.engine.begin_image(16);
        let (sum, chunks) = finish(&mut bench.engine, 1000);
        assert_eq!(chunks.concat().escape_ascii().to_string(), records.escape_ascii().to_string(), "{command}");
        assert_eq!((sum.keys, sum.digest), (1, bench.engine.digest()));
        assert_eq!(restored(&chunks).digest(), sum.digest, "{command}");
    }
}

#[test]
fn parts_that_do_not_fit_are_errors() {
    let start = b"\x01k\x05\x01\x00\x01\x00\x05";
    let hash = b"\x01h\x05\x02\x00\x01\x04\x02";
    let load = |records: &[&[u8]]| {
        let mut engine = empty();
        let loaded = records.iter().try_for_each(|record| engine.load_image(WallMs(1), record));
        loaded.and_then(|()| engine.end_image_load()).map(|()| engine.keyspace_stats().keys)
    };
    let field = b"\x00\x07\x02\x01\x01a\x011\x00";
    let other = b"\x00\x07\x02\x01\x01b\x011\x00";
    assert_eq!(load(&[start, b"\x00\x06\x01\x02te", hash, field, b"\x00\x06\x01\x03xts", other]), Ok(2));
    let whole = [&start[..], b"\x00\x06\x01\x05texts"].concat();
    assert_eq!(load(&[&whole]), Ok(1));
    for (records, error) in [
        (vec![&start[..]], "missing at the end"),
        (vec![start, b"\x00\x06\x01\x02te"], "missing at the end"),
        (vec![hash, field], "missing at the end"),
        (vec![start, start], "starts twice"),
        (vec![b"\x01k\x05\x00\x00\x01\x00\x05"], "starts twice"),
        (vec![start, b"\x00\x06\x01\x06longer"], "longer than it says"),
        (vec![start, b"\x00\x06\x02\x02te"], "not started"),
        (vec![&whole, b"\x00\x06\x01\x02te"], "not started or is whole"),
        (vec![b"\x00\x07\x02\x01\x01a\x011\x00"], "not started"),
        (vec![start, b"\x00\x07\x01\x01\x01a\x011\x00"], "parts of a string"),
        (vec![hash, b"\x00\x06\x02\x02te"], "bytes of a value with parts"),
        (vec![hash, field, field], "twice"),
        (vec![hash, field, other, b"\x00\x07\x02\x01\x01c\x011\x00"], "whole"),
        (vec![hash, b"\x00\x07\x02\x03\x01a\x011\x00\x01b\x011\x00\x01c\x011\x00"], "more parts"),
        (vec![b"\x01f\x05\x03\x01\x01\x00\x05"], "a value that has not started"),
        (vec![start, b"\x01f\x05\x03\x01\x01\x00\x05"], "a value that has not started"),
        (vec![hash, field, b"\x01a\x05\x03\x02\x01\x00\x01", b"\x00\x06\x03\x01x"], "has this part already"),
        (vec![hash, b"\x01a\x05\x03\x02\x01\x04\x01"], "kind and length"),
        (vec![b"\x01h\x05\x02\x00\x01\x04\x00"], "kind and length"),
        (vec![b"\x01k\x05\x01\x00\x01\x00\x81\x80\x80\x80\x02"], "kind and length"),
        (vec![b"\x02kk\x05\x01\x00\x01\x00\x05"], "its name is longer"),
        (vec![b"\x01k\x05\x01\x00\x81\x80\x80\x80\x02\x00\x05"], "its name is longer"),
        (vec![b"\x01k\x05\x01\x00\x03\x00\x05", b"\x00\x06\x01\x03kkk"], "its name is longer"),
        (vec![&whole, b"\x01k\x05\x02\x00\x01\x00\x01\x00\x06\x02\x01x"], "stands in the image twice"),
        (vec![b"\x01k\x05\x01\x00\x01\x02\x02\x00\x06\x01\x02\x01\x01"], "longer than its value"),
        (vec![b"\x01k\x05\x01\x00\x01\x07\x02"], "unknown head 0x07"),
        (vec![b"\x01k\x06\x01\x01x"], "unknown head 0x06"),
        (vec![b"\x00\x26\x01\x01\x01x"], "unknown head 0x26"),
        (vec![b"\x00\x06\x01"], "ends inside"),
    ] {
        let found = load(&records).unwrap_err().to_string();
        assert!(found.contains(error), "{found}, not {error}");
    }
}

#[test]
fn rubbish_is_an_error() {
    let mut engine = empty();
    let mut load = |bytes: &[u8]| engine.load_image(WallMs(1), bytes);
    assert_eq!(load(b"\x01k\x00\x04tex"), Err(ImageError::Truncated));
    assert_eq!(load(b"\x01k"), Err(ImageError::Truncated));
    assert_eq!(load(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01k"), Err(ImageError::Truncated));
    assert_eq!(load(b"\x01k\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), Err(ImageError::Number));
    assert_eq!(load(b"\x01k\x1f\x00"), Err(ImageError::Unknown(0x1f)));
    assert_eq!(load(b"\x01k\x40\x00"), Err(ImageError::Unknown(0x40)));
}

#[test]
fn a_flush_leaves_the_image_and_the_account_alone() {
    let mut bench = Bench::new();
    for i in 0..2_000 {
        bench.run(&[b"SET", format!("{{t}}{i}").as_bytes(), b"value"]);
        bench.run(&[b"SET", format!("{i}").as_bytes(), b"value"]);
    }
    let digest = bench.engine.digest();
    bench.engine.begin_image(WHOLE);
    let mut first = Vec::new();
    assert_eq!(bench.engine.image_step(500, &mut first), Ok(None));
    bench.script(
        "SET {t}1 changed => +OK | FLUSHALL => +OK | SET {t}1 anew => +OK | FLUSHALL => +OK | SET {t}2 x => +OK",
    );
    let (sum, mut chunks) = finish(&mut bench.engine, 500);
    chunks.push(first);
    assert_eq!((sum.keys, sum.digest), (4_000, digest));
    assert_eq!(restored(&chunks).digest(), digest);
    while bench.engine.release_some() {}
    let mut fresh = Bench::new();
    fresh.script("SET {t}2 x => +OK");
    assert_eq!(bench.engine.memory_used(), fresh.engine.memory_used());
}

#[test]
fn an_image_that_is_given_up_leaves_nothing() {
    let mut bench = Bench::new();
    bench.script("SET a 1 => +OK | SET b 1 => +OK");
    let before = bench.engine.memory_used();
    bench.engine.begin_image(WHOLE);
    bench.script("SET a 2 => +OK | SET b 3 => +OK");
    assert!(bench.engine.memory_used() > before, "what is held for the image counts");
    bench.engine.drop_image();
    assert!(!bench.engine.has_image());
    assert_eq!(bench.engine.memory_used(), before);
}

/// The longest chunk of an image that is made without changes.
fn longest_chunk(bench: &mut Bench, budget: usize) -> usize {
    bench.engine.begin_image(IMAGE_RECORD_BYTES_MAX);
    let (sum, chunks) = finish(&mut bench.engine, budget);
    assert_eq!(sum.digest, bench.engine.digest());
    assert_eq!(restored(&chunks).digest(), sum.digest);
    chunks.iter().map(Vec::len).max().unwrap_or(0)
}

/// A step writes at most its budget and one record, however large a value or a name is: a text, a hash with many
/// fields, a hash with large fields.
#[test]
fn a_step_is_bounded_whatever_the_size_of_a_key() {
    const BUDGET: usize = 32 * 1024;
    const BOUND: usize = BUDGET + IMAGE_RECORD_BYTES_MAX + 100;
    let mut bench = Bench::new();
    let large = letters('x', 5 << 20);
    bench.run(&[b"SET", b"text", large.as_bytes()]);
    assert!(longest_chunk(&mut bench, BUDGET) <= BOUND);
    bench.run(&[b"SET", large.as_bytes(), b"5"]);
    bench.run(&[b"HSET", b"hash", b"f", large.as_bytes(), large.as_bytes(), b"v"]);
    bench.run(&[b"SETRANGE", b"other", b"3000000", b"x"]);
    assert!(longest_chunk(&mut bench, BUDGET) <= BOUND);
    for i in 0..30_000 {
        bench.run(&[b"HSET", b"many", format!("field {i}").as_bytes(), &[b'v'; 100]]);
    }
    // Small records fill the budget and no more.
    let mut bench_of_many = Bench::new();
    for i in 0..30_000 {
        bench_of_many.run(&[b"HSET", b"many", format!("field {i}").as_bytes(), &[b'v'; 100]]);
    }
    assert!(longest_chunk(&mut bench_of_many, BUDGET) <= BUDGET + 1_000);
    assert!(longest_chunk(&mut bench, BUDGET) <= BOUND);
}

/// What an image holds for a change is as long as the change, not as the value that it changes.
#[test]
fn a_change_of_a_large_value_costs_its_own_size() {
    let mut bench = Bench::new();
    let large = letters('x', 4 << 20);
    for key in ["set", "append", "range", "rename", "expire", "del", "flush"] {
        bench.run(&[b"SETRANGE", key.as_bytes(), b"0", large.as_bytes()]);
    }
    for i in 0..20_000 {
        bench.run(&[b"HSET", b"hash", format!("field {i}").as_bytes(), &[b'v'; 100]]);
        bench.run(&[b"HSET", b"other", format!("field {i}").as_bytes(), &[b'v'; 100]]);
    }
    let digest = bench.engine.digest();
    bench.engine.begin_image(IMAGE_RECORD_BYTES_MAX);
    bench
        .script("APPEND append tail => :4194308 | SETRANGE range 1000000 middle => :4194304 | EXPIRE expire 100 => :1");
    bench.run(&[b"HSET", b"hash", b"field 7", b"changed", b"new", b"field"]);
    bench.run(&[b"HDEL", b"hash", b"field 8", b"field 9"]);
    bench.run(&[b"HPEXPIRE", b"hash", b"100000", b"FIELDS", b"1", b"field 10"]);
    bench.run(&[b"RENAME", b"rename", b"renamed"]);
    bench.run(&[b"APPEND", b"renamed", b"tail"]);
    bench.run(&[b"RENAME", b"other", b"another"]);
    bench.run(&[b"HSET", b"another", b"field 7", b"changed"]);
    assert!(bench.engine.memory_of_image() < 100_000, "{}", bench.engine.memory_of_image());
    let written: usize = bench.engine.image.as_ref().unwrap().pending.chunks.iter().map(Vec::len).sum();
    assert!(written < 10_000, "{written}");
    // What is removed is not freed before it is written, and counts once.
    let data = bench.engine.memory_of_data();
    bench.script("SET set 1 => +OK | DEL del => :1");
    let used = bench.engine.memory_used();
    assert!(used >= data && used < data + 200_000, "{used} instead of {data}");
    bench.script("FLUSHALL => +OK");
    let (sum, chunks) = finish(&mut bench.engine, 32 * 1024);
    assert_eq!((sum.keys, sum.digest), (9, digest));
    assert_eq!(restored(&chunks).digest(), digest);
    while bench.engine.release_some() {}
    assert_eq!(bench.engine.memory_used(), Bench::new().engine.memory_used());
}

fn command() -> impl Strategy<Value = String> {
    // Many keys in few slots, so that tables grow and shrink within a slot that is being written.
    let key = || (0u32..600).prop_map(|key| format!("{{{}}}{key}", key % 3));
    let same = || (0u32..200).prop_map(|key| format!("{{0}}{}", key * 3));
    prop_oneof![
        8 => (key(), 0..1000).prop_map(|(key, n)| format!("SET {key} {n}")),
        2 => (key(), "[a-z]{1,200}").prop_map(|(key, text)| format!("SET {key} {text}")),
        2 => (key(), 1u64..5000).prop_map(|(key, ms)| format!("SET {key} x PX {ms}")),
        3 => (key(), "[a-z]{1,9}").prop_map(|(key, text)| format!("APPEND {key} {text}")),
        6 => key().prop_map(|key| format!("DEL {key}")),
        1 => key().prop_map(|key| format!("PERSIST {key}")),
        2 => (same(), same()).prop_map(|(from, to)| format!("RENAME {from} {to}")),
        2 => (same(), same()).prop_map(|(from, to)| format!("COPY {from} {to} REPLACE")),
        1 => key().prop_map(|key| format!("GET {key}")),
        6 => (key(), 0u8..9, "[a-z]{1,70}").prop_map(|(key, field, text)| format!("HSET {key} f{field} {text}")),
        2 => (key(), 0u8..9).prop_map(|(key, field)| format!("HDEL {key} f{field}")),
        2 => (key(), 0u8..9, 1u64..5000).prop_map(|(key, field, ms)| format!("HPEXPIRE {key} {ms} FIELDS 1 f{field}")),
    ]
}

/// Few keys, with values and names that are large where a record has 64 bytes, so that walks meet changes.
fn large_command() -> impl Strategy<Value = String> {
    let key = || {
        (0u8..12).prop_map(|key| if key == 11 { format!("{{a}}{}", letters('k', 150)) } else { format!("{{a}}{key}") })
    };
    let field = || {
        let name = |field: u16| {
            if field.is_multiple_of(50) { format!("{field}{}", letters('f', 150)) } else { format!("f{field}") }
        };
        (0u16..200).prop_map(name)
    };
    let value = || prop_oneof![3 => "[a-z]{1,10}", 1 => "[a-z]{100,400}"];
    let fields = |count| proptest::collection::vec((field(), value()), count);
    let words = |pairs: Vec<(String, String)>| {
        pairs.into_iter().map(|(field, value)| format!(" {field} {value}")).collect::<String>()
    };
    let names =
        |pairs: Vec<(String, String)>| pairs.into_iter().map(|(field, _)| format!(" {field}")).collect::<String>();
    prop_oneof![
        2 => (key(), value()).prop_map(|(key, text)| format!("SET {key} {text}")),
        1 => key().prop_map(|key| format!("SET {key} 12")),
        3 => (key(), 0u16..1500, value()).prop_map(|(key, at, text)| format!("SETRANGE {key} {at} {text}")),
        3 => (key(), value()).prop_map(|(key, text)| format!("APPEND {key} {text}")),
        1 => (key(), 1u64..500).prop_map(|(key, ms)| format!("PEXPIRE {key} {ms}")),
        1 => key().prop_map(|key| format!("PERSIST {key}")),
        1 => key().prop_map(|key| format!("DEL {key}")),
        3 => (key(), key()).prop_map(|(from, to)| format!("RENAME {from} {to}")),
        2 => (key(), key()).prop_map(|(from, to)| format!("COPY {from} {to} REPLACE")),
        3 => (key(), fields(1..60)).prop_map(move |(key, pairs)| format!("HSET {key}{}", words(pairs))),
        3 => (key(), fields(1..4)).prop_map(move |(key, pairs)| format!("HSET {key}{}", words(pairs))),
        3 => (key(), fields(1..20)).prop_map(move |(key, pairs)| format!("HDEL {key}{}", names(pairs))),
        1 => key().prop_map(|key| format!("HDEL {key}{}", (0..200).map(|field| format!(" f{field}")).collect::<String>())),
        2 => (key(), 1u64..500, fields(1..9)).prop_map(move |(key, ms, pairs)| {
            format!("HPEXPIRE {key} {ms} FIELDS {}{}", pairs.len(), names(pairs))
        }),
        1 => (key(), fields(1..9)).prop_map(move |(key, pairs)| format!("HPERSIST {key} FIELDS {}{}", pairs.len(), names(pairs))),
    ]
}

/// What happens while an image is written.
#[derive(Debug)]
struct Interlude {
    line: String,
    steps: usize,
    wait: u64,
}

/// Whatever happens while it is written, an image shows the point at which it started.
fn is_of_one_point(
    before: &[String],
    during: impl Iterator<Item = Interlude>,
    (record_max, inline_max): (usize, u32),
    budget: usize,
    keep_undo: bool,
) {
    let mut bench = Bench::new();
    bench.engine.keyspace.set_inline_max(inline_max);
    let run = |bench: &mut Bench, line: &str| {
        bench.run(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    };
    before.iter().for_each(|line| run(&mut bench, line));
    let (digest, keys) = (bench.engine.digest(), bench.engine.keyspace_stats().keys);
    if keep_undo {
        bench.engine.keep_undo(usize::MAX);
    }
    bench.engine.begin_image(record_max);
    let (mut chunks, mut sum) = (Vec::new(), None);
    for (i, Interlude { line, steps, wait }) in during.enumerate() {
        run(&mut bench, &line);
        bench.engine.end_unit(fastness_types::Seq(i as u64 + 1));
        if i > 5 {
            bench.engine.forget_undo(fastness_types::Seq(i as u64 - 5));
        }
        bench.now.0 += wait;
        let now = bench.now;
        bench.engine.expire_due(now, 3, &mut crate::effect::EffectBuf::new());
        for _ in 0..steps {
            if sum.is_none() {
                let mut chunk = Vec::new();
                sum = bench.engine.image_step(budget, &mut chunk).unwrap();
                chunks.push(chunk);
            }
        }
    }
    let sum = sum.unwrap_or_else(|| {
        let (sum, rest) = finish(&mut bench.engine, budget);
        chunks.extend(rest);
        sum
    });
    assert_eq!((sum.keys, sum.digest), (keys, digest));
    let restored = restored(&chunks);
    assert_eq!((restored.keyspace_stats().keys, restored.digest()), (keys, digest));
    if record_max < WHOLE {
        // A record has some bytes besides; keys and values of 16 bytes and less may have several.
        let longest = chunks.iter().map(Vec::len).max().unwrap_or(0);
        assert!(longest <= budget.max(PENDING_CHUNK) + record_max.max(PART_MIN) + 600, "{longest}");
    }
    bench.engine.drop_undo();
    run(&mut bench, "FLUSHALL");
    while bench.engine.release_some() {}
    assert_eq!(bench.engine.memory_used(), Bench::new().engine.memory_used(), "all is freed");
}

proptest! {
    #[test]
    fn an_image_is_of_one_point(
        before in proptest::collection::vec(command(), 0..800),
        during in proptest::collection::vec((command(), 0usize..4, 0u64..20), 0..800),
        budget in 1usize..400,
        flush_at in proptest::option::of(0usize..800),
        shrink in any::<bool>(),
        record_max in prop_oneof![Just(WHOLE), Just(64usize)],
    ) {
        let during = during.into_iter().enumerate().flat_map(|(i, (line, steps, wait))| {
            let key = i % 600;
            let shrink = (shrink && i % 3 != 0).then(|| format!("DEL {{{}}}{key}", key % 3));
            let flush = (flush_at == Some(i)).then(|| "FLUSHALL".to_owned());
            let first = shrink.into_iter().chain(flush).map(|line| Interlude { line, steps: 0, wait: 0 });
            first.chain([Interlude { line, steps, wait }])
        });
        is_of_one_point(&before, during, (record_max, 200), budget, false);
    }

    #[test]
    fn an_image_of_large_values_is_of_one_point(
        before in proptest::collection::vec(large_command(), 0..60),
        during in proptest::collection::vec((large_command(), 0usize..4, 0u64..20), 0..80),
        budget in 1usize..400,
        flush_at in proptest::option::of(0usize..100),
        limits in prop_oneof![Just((64usize, 64u32)), Just((64, 500)), Just((300, 64))],
        keep_undo in any::<bool>(),
    ) {
        let during = during.into_iter().enumerate().flat_map(|(i, (line, steps, wait))| {
            let flush = (flush_at == Some(i)).then(|| "FLUSHALL".to_owned());
            let first = flush.into_iter().map(|line| Interlude { line, steps: 0, wait: 0 });
            first.chain([Interlude { line, steps, wait }])
        });
        is_of_one_point(&before, during, limits, budget, keep_undo);
    }
}
