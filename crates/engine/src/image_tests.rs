use super::*;
use crate::engine::EngineOptions;
use crate::testing::Bench;
use fastness_types::HashSeed;
use proptest::prelude::*;

fn empty() -> Engine {
    Engine::new(EngineOptions { seed: HashSeed([9; 16]), maxmemory: 0 })
}

fn restored(chunks: &[Vec<u8>]) -> Engine {
    let mut engine = empty();
    for chunk in chunks {
        engine.load_image(WallMs(5), chunk).unwrap();
    }
    engine
}

fn finish(engine: &mut Engine, budget: usize) -> (ImageSum, Vec<Vec<u8>>) {
    let mut chunks = Vec::new();
    loop {
        let mut chunk = Vec::new();
        let sum = engine.image_step(budget, &mut chunk);
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
        ("SET k 5 PXAT 1700000000300", b"\x01k\x22\xac\xd2\x95\xff\xbc\x31\x0a"),
    ] {
        let mut bench = Bench::new();
        for line in command.split(" | ") {
            bench.run(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
        bench.engine.begin_image();
        let (sum, chunks) = finish(&mut bench.engine, 1000);
        assert_eq!(chunks.concat(), record, "{command}");
        assert_eq!((sum.keys, sum.digest), (1, bench.engine.digest()));
        assert_eq!(restored(&chunks).digest(), sum.digest, "{command}");
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
    bench.engine.begin_image();
    let mut first = Vec::new();
    assert_eq!(bench.engine.image_step(500, &mut first), None);
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
    bench.engine.begin_image();
    bench.script("SET a 2 => +OK | SET b 3 => +OK");
    assert!(bench.engine.memory_used() > before, "what is held for the image counts");
    bench.engine.drop_image();
    assert!(!bench.engine.has_image());
    assert_eq!(bench.engine.memory_used(), before);
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

proptest! {
    /// Whatever happens while it is written, an image is of the point where it began.
    #[test]
    fn an_image_is_of_one_point(
        before in proptest::collection::vec(command(), 0..800),
        during in proptest::collection::vec((command(), 0usize..4, 0u64..20), 0..800),
        budget in 1usize..400,
        flush_at in proptest::option::of(0usize..800),
        shrink in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let run = |bench: &mut Bench, line: &str| {
            bench.run(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        };
        before.iter().for_each(|line| run(&mut bench, line));
        let (digest, keys) = (bench.engine.digest(), bench.engine.keyspace_stats().keys);
        bench.engine.begin_image();
        let (mut chunks, mut sum) = (Vec::new(), None);
        for (i, (line, steps, wait)) in during.iter().enumerate() {
            if shrink && i % 3 != 0 {
                let key = i % 600;
                run(&mut bench, &format!("DEL {{{}}}{key}", key % 3));
            }
            run(&mut bench, line);
            if flush_at == Some(i) {
                run(&mut bench, "FLUSHALL");
            }
            bench.now.0 += wait;
            let now = bench.now;
            bench.engine.expire_due(now, 3, &mut crate::effect::EffectBuf::new());
            for _ in 0..*steps {
                if sum.is_none() {
                    let mut chunk = Vec::new();
                    sum = bench.engine.image_step(budget, &mut chunk);
                    chunks.push(chunk);
                }
            }
        }
        let sum = sum.unwrap_or_else(|| {
            let (sum, rest) = finish(&mut bench.engine, budget);
            chunks.extend(rest);
            sum
        });
        prop_assert_eq!((sum.keys, sum.digest), (keys, digest));
        let restored = restored(&chunks);
        prop_assert_eq!((restored.keyspace_stats().keys, restored.digest()), (keys, digest));
    }
}
