//! Sets pass through everything that an engine does with data.

use super::SetForm;
use super::effect::SetEffect;
use crate::effect::{DecodeError, Decoder, Effect, EffectBuf, Items};
use crate::testing::Bench;
use fastness_resp::Args;
use fastness_types::{Seq, WallMs};

/// Runs a line of words as a command.
fn run(bench: &mut Bench, line: &str) -> String {
    let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
    String::from_utf8_lossy(&bench.run(&words)).trim_end().replace("\r\n", " ")
}

const KEYS: [&str; 5] = ["ints", "texts", "table", "long", "dying"];

/// A set of each form, one with members that are longer than a record, and other keys.
fn filled() -> Bench {
    let mut bench = Bench::new();
    for line in ["SET text x", "HSET hash a 1", "SADD ints 5 -70000 12", "SADD texts one 2 three"] {
        run(&mut bench, line);
    }
    for n in 0..300 {
        run(&mut bench, &format!("SADD table member-{n}"));
    }
    for n in 0..9 {
        run(&mut bench, &format!("SADD long {}{n}", "v".repeat(60 * n)));
        run(&mut bench, &format!("SADD dying {n}"));
    }
    run(&mut bench, "PEXPIRE dying 5000");
    bench
}

/// What the commands see.
fn seen(bench: &mut Bench) -> Vec<String> {
    let mut all = Vec::new();
    for key in KEYS {
        for command in ["TYPE", "OBJECT ENCODING", "SCARD", "PTTL"] {
            all.push(run(bench, &format!("{command} {key}")));
        }
        // In the order of each one's own table.
        let members = run(bench, &format!("SMEMBERS {key}"));
        let mut members: Vec<&str> = members.split(' ').collect();
        members.sort_unstable();
        all.push(members.join(" "));
    }
    all
}

/// Changes of every kind.
const LINES: [&str; 30] = [
    "SADD ints 6",
    "SADD ints a",
    "SADD ints 9000000000",
    "SREM ints 12",
    "SREM ints 5 -70000 12",
    "SADD texts more",
    "SREM texts 2",
    "SADD table x",
    "SADD table x y member-1",
    "SREM table member-7 member-8",
    "SPOP table",
    "SPOP table 100",
    "SPOP table 290",
    "SPOP table 300",
    "SPOP ints 2",
    "SMOVE table ints member-3",
    "SMOVE ints table 5",
    "SUNIONSTORE to ints texts",
    "SUNIONSTORE table ints texts",
    "SDIFFSTORE table ints texts",
    "SINTERSTORE dying table long",
    "SREM dying 1",
    "SADD dying 100",
    "DEL table",
    "RENAME table texts",
    "COPY texts table REPLACE",
    "PERSIST dying",
    "SET table x",
    "FLUSHALL",
    "SADD new x",
];

#[test]
fn a_replica_that_applies_its_effects_has_the_same_data() {
    for line in LINES {
        let mut bench = filled();
        run(&mut bench, line);
        let mut replica = Bench::new();
        replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
        assert_eq!(replica.engine.digest(), bench.engine.digest(), "{line}");
        assert_eq!(replica.engine.keyspace_stats(), bench.engine.keyspace_stats(), "{line}");
        for engine in [&mut replica.engine, &mut bench.engine] {
            while engine.release_some() {}
        }
        assert_eq!(replica.engine.memory_of_data(), bench.engine.memory_of_data(), "{line}");
        assert_eq!(seen(&mut replica), seen(&mut bench), "{line}");
    }
}

#[test]
fn changes_are_undone_and_rolled_back() {
    for line in LINES {
        let mut bench = filled();
        let (digest, before) = (bench.engine.digest(), seen(&mut bench));
        bench.engine.keep_undo(usize::MAX);
        run(&mut bench, line);
        bench.engine.end_unit(Seq(1));
        assert_ne!(bench.engine.digest(), digest, "{line} changes something");
        assert!(bench.engine.undo());
        assert_eq!(bench.engine.digest(), digest, "{line}");
        assert_eq!(seen(&mut bench), before, "{line}");

        bench.engine.keep_undo(usize::MAX);
        let savepoint = bench.engine.begin_unit(&mut bench.effects, usize::MAX);
        run(&mut bench, line);
        run(&mut bench, "SADD texts again");
        bench.engine.roll_back(savepoint, &mut bench.effects);
        assert_eq!(bench.engine.digest(), digest, "{line}, rolled back");
        assert_eq!(seen(&mut bench), before, "{line}, rolled back");
    }
}

#[test]
fn a_unit_that_is_too_long_changes_nothing() {
    let mut bench = filled();
    let digest = bench.engine.digest();
    bench.engine.keep_undo(usize::MAX);
    let savepoint = bench.engine.begin_unit(&mut bench.effects, 2_000);
    run(&mut bench, "SUNIONSTORE texts table ints");
    assert!(bench.effects.has_overflowed());
    bench.engine.roll_back(savepoint, &mut bench.effects);
    assert_eq!(bench.engine.digest(), digest);
}

#[test]
fn an_image_is_of_one_point_and_reads_back() {
    for record_max in [usize::MAX, 4_000, 40] {
        for line in LINES.iter().copied().chain([""]) {
            let mut bench = filled();
            let (digest, before) = (bench.engine.digest(), seen(&mut bench));
            bench.engine.begin_image(record_max);
            let mut restored = Bench::new();
            let mut steps = 0;
            let sum = loop {
                let mut chunk = Vec::new();
                let sum = bench.engine.image_step(200, &mut chunk).unwrap();
                restored.engine.load_image(WallMs(1), &chunk).unwrap();
                steps += 1;
                // At the start, and while a value is being written.
                if !line.is_empty() && steps % 5 == 1 {
                    run(&mut bench, line);
                    run(&mut bench, &format!("SADD table later-{steps}"));
                }
                if let Some(sum) = sum {
                    break sum;
                }
            };
            restored.engine.end_image_load().unwrap();
            assert_eq!((sum.digest, restored.engine.digest()), (digest, digest), "{record_max}, {line}");
            assert_eq!(seen(&mut restored), before, "{record_max}, {line}");
        }
    }
}

#[test]
fn a_watched_set_that_changes_fails_the_transaction() {
    let mut bench = filled();
    let now = bench.now;
    for (line, is_touched) in
        [("SADD ints 5", false), ("SREM ints 7", false), ("SPOP ints", true), ("SADD ints 7", true)]
    {
        bench.engine.watch(1, b"ints", now);
        run(&mut bench, line);
        assert_eq!(bench.engine.is_touched(1, now), is_touched, "{line}");
        bench.engine.unwatch(1);
    }
}

#[test]
fn an_expired_set_is_missing() {
    let mut bench = filled();
    bench.now.0 += 6_000;
    assert_eq!(run(&mut bench, "SUNION dying none"), "*0");
    assert_eq!(run(&mut bench, "EXISTS dying"), ":0");
    let mut bench = filled();
    bench.now.0 += 6_000;
    assert_eq!(run(&mut bench, "SMOVE ints dying 5"), ":1");
    assert_eq!(run(&mut bench, "SMEMBERS dying"), "*1 $1 5");
    assert_eq!(run(&mut bench, "PTTL dying"), ":-1");
}

/// Logs contain these bytes: they change only with a new op number.
#[test]
fn the_format_of_effects_is_frozen() {
    let bench = Bench::new();
    let key = bench.engine.key(b"key");
    let members = Items::from(Args::slices(&[b"a", b"b"]));
    let rest = b"\x03\x03key\x01a\x01b";
    let golden: [(SetEffect<'_>, [u8; 2]); 5] = [
        (SetEffect::Add { key, members, least: SetForm::Ints }, [0xc0, 0x01]),
        (SetEffect::Add { key, members, least: SetForm::Texts }, [0xc2, 0x01]),
        (SetEffect::Add { key, members, least: SetForm::Table }, [0xc4, 0x01]),
        (SetEffect::Remove { key, members, pack: false }, [0xc6, 0x01]),
        (SetEffect::Remove { key, members, pack: true }, [0xc8, 0x01]),
    ];
    for (effect, head) in golden {
        let mut buf = EffectBuf::new();
        buf.push(&effect);
        let bytes = buf.encoded().to_vec();
        assert_eq!(bytes, [&head[..], rest].concat(), "{effect:?}");
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(decoder.next(|key| bench.engine.key(key)), Ok(Some(Effect::Set(effect))));
    }
    let next = |bytes: &'static [u8]| Decoder::new(bytes).next(|key| bench.engine.key(key));
    assert_eq!(next(&[0xc0, 0x01, 0x01, 0x00]), Err(DecodeError::Arguments { op: 96, count: 1 }));
    assert_eq!(next(&[0xfe, 0x01, 0x02, 0x00, 0x00]), Err(DecodeError::UnknownOp(127)));
    assert_eq!(next(&[0xc6, 0x01, 0x02, 0x00, 0x05]), Err(DecodeError::Truncated));
}

/// Snapshots contain these bytes.
#[test]
fn the_format_of_records_is_frozen() {
    let long = "v".repeat(65);
    for (line, record) in [
        ("SADD k 5 -70000 12", b"\x01k\x08\x00\x03\xdf\xc5\x08\xf5\xa2\x04\x07".to_vec()),
        ("SADD k a 12", b"\x01k\x08\x01\x02\x01a\x0212".to_vec()),
        (&*format!("SADD k {long}"), [&b"\x01k\x09\x01\x41"[..], long.as_bytes()].concat()),
    ] {
        let mut bench = Bench::new();
        run(&mut bench, line);
        bench.engine.begin_image(usize::MAX);
        let mut chunk = Vec::new();
        while bench.engine.image_step(10_000, &mut chunk).unwrap().is_none() {}
        assert_eq!(chunk.escape_ascii().to_string(), record.escape_ascii().to_string(), "{line}");
    }
}

/// Records that no version writes are refused, or read as the set that they name.
#[test]
fn odd_records_are_read_or_refused() {
    let load = |record: &[u8]| {
        let mut bench = Bench::new();
        let loaded = bench.engine.load_image(WallMs(1), record);
        (loaded.is_ok(), run(&mut bench, "SCARD k"), run(&mut bench, "OBJECT ENCODING k"))
    };
    let (one, none) = (":1".to_owned(), ":0".to_owned());
    assert_eq!(load(b"\x01k\x08\x00\x01\x0a"), (true, one.clone(), "$6 intset".to_owned()));
    assert_eq!(load(b"\x01k\x08\x00\x00").1, none, "a set without members");
    assert_eq!(load(b"\x01k\x08\x01\x00").1, none, "a set without members");
    assert!(!load(b"\x01k\x08\x00\x02\x0a\x00").0, "an integer twice");
    assert!(!load(b"\x01k\x08\x00\x81\x04\x00").0, "more integers than a packed set has");
    let beyond = [&b"\x01k\x08\x00\x02\x0a"[..], &[0xff; 9], &[0x01]].concat();
    assert!(!load(&beyond).0, "an integer of more than 64 bits");
    assert!(!load(b"\x01k\x08\x02\x01").0, "an unknown form");
    assert_eq!(load(b"\x01k\x08\x01\x02\x01a\x01a"), (true, one, "$9 hashtable".to_owned()), "a member twice");
}
