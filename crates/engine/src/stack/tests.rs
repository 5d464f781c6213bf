//! The type passes through everything that an engine does with data.

use crate::testing::Bench;
use fastness_types::{Seq, WallMs};

const RECORD_MAX: usize = 40;

/// Runs a line of words as a command.
fn run(bench: &mut Bench, line: &str) -> String {
    let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
    String::from_utf8_lossy(&bench.run(&words)).trim_end().replace("\r\n", " ")
}

/// A stack of each form, one with a deadline, and other keys.
fn filled() -> Bench {
    let mut bench = Bench::new();
    for line in ["SET text x", "HSET hash a 1", "STACK.PUSH small one", "STACK.PUSH small two"] {
        run(&mut bench, line);
    }
    for n in 0..9 {
        run(&mut bench, &format!("STACK.PUSH large item-{n}"));
        run(&mut bench, &format!("STACK.PUSH dying {n}"));
    }
    run(&mut bench, "PEXPIRE dying 5000");
    bench
}

/// What the commands see.
fn seen(bench: &mut Bench) -> Vec<String> {
    [
        "TYPE small",
        "OBJECT ENCODING small",
        "OBJECT ENCODING large",
        "TYPE large",
        "DUMP large",
        "DUMP small",
        "PTTL dying",
    ]
    .map(|line| run(bench, line))
    .to_vec()
}

#[test]
fn its_commands_run_beside_those_of_other_types() {
    let mut bench = filled();
    assert_eq!(run(&mut bench, "TYPE small"), "+stack");
    assert_eq!(run(&mut bench, "OBJECT ENCODING small"), "$8 listpack");
    assert_eq!(run(&mut bench, "OBJECT ENCODING large"), "$5 stack");
    assert!(run(&mut bench, "GET small").starts_with("-WRONGTYPE"));
    assert!(run(&mut bench, "HGET large a").starts_with("-WRONGTYPE"));
    assert!(run(&mut bench, "APPEND large a").starts_with("-WRONGTYPE"));
    assert!(run(&mut bench, "STACK.PUSH text a").starts_with("-WRONGTYPE"));
    assert_eq!(run(&mut bench, "STACK.POP small"), "$3 two");
    assert_eq!(run(&mut bench, "STACK.POP small"), "$3 one");
    assert_eq!(run(&mut bench, "EXISTS small"), ":0");
    assert_eq!(run(&mut bench, "STACK.POP large"), "$6 item-8");
    assert_eq!(run(&mut bench, "COPY large copy"), ":1");
    assert_eq!(run(&mut bench, "RENAME large other"), "+OK");
    assert_eq!(
        (run(&mut bench, "STACK.POP copy"), run(&mut bench, "STACK.POP other")),
        ("$6 item-7".into(), "$6 item-7".into())
    );
    assert!(run(&mut bench, "MEMORY USAGE other").starts_with(':'));
    bench.now.0 += 6_000;
    assert_eq!(run(&mut bench, "EXISTS dying"), ":0");
}

#[test]
fn a_replica_that_applies_its_effects_has_the_same_data() {
    let mut bench = filled();
    for line in ["STACK.POP large", "STACK.POP small", "COPY large copy", "STACK.PUSH copy x", "DEL small"] {
        run(&mut bench, line);
    }
    let mut replica = Bench::new();
    replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
    assert_eq!(replica.engine.digest(), bench.engine.digest());
    assert_eq!(replica.engine.memory_of_data(), bench.engine.memory_of_data());
    assert_eq!(seen(&mut replica), seen(&mut bench));
}

#[test]
fn its_changes_are_undone_and_rolled_back() {
    let lines = [
        "STACK.PUSH small x",
        "STACK.POP small",
        "STACK.PUSH large x",
        "STACK.POP large",
        "DEL large",
        "RENAME large small",
        "COPY small large REPLACE",
        "PERSIST dying",
        "SET large x",
        "FLUSHALL",
        "STACK.PUSH new x",
    ];
    for line in lines {
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
        run(&mut bench, "STACK.PUSH small again");
        bench.engine.roll_back(savepoint, &mut bench.effects);
        assert_eq!(bench.engine.digest(), digest, "{line}, rolled back");
    }
}

#[test]
fn an_image_of_it_is_of_one_point_and_reads_back() {
    for (record_max, change) in [(usize::MAX, false), (usize::MAX, true), (RECORD_MAX, false), (RECORD_MAX, true)] {
        let mut bench = filled();
        let digest = bench.engine.digest();
        bench.engine.begin_image(record_max);
        let mut restored = Bench::new();
        let sum = loop {
            let mut chunk = Vec::new();
            let sum = bench.engine.image_step(30, &mut chunk).unwrap();
            restored.engine.load_image(WallMs(1), &chunk).unwrap();
            if change {
                for line in ["STACK.PUSH large later", "STACK.POP dying", "STACK.POP small", "STACK.PUSH new x"] {
                    run(&mut bench, line);
                }
            }
            if let Some(sum) = sum {
                break sum;
            }
        };
        restored.engine.end_image_load().unwrap();
        assert_eq!((sum.digest, restored.engine.digest()), (digest, digest), "{record_max}, {change}");
        assert_eq!(run(&mut restored, "OBJECT ENCODING small"), "$8 listpack");
        assert_eq!(run(&mut restored, "OBJECT ENCODING large"), "$5 stack");
    }
}

#[test]
fn what_was_dumped_is_restored() {
    let mut bench = filled();
    for key in [&b"small"[..], b"large"] {
        let payload = bench.run(&[b"DUMP", key]);
        let start = payload.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let payload = payload[start..payload.len() - 2].to_vec();
        assert_eq!(bench.run(&[b"RESTORE", b"back", b"0", &payload, b"REPLACE"]), b"+OK\r\n");
        assert_eq!(bench.run(&[b"DUMP", b"back"]), bench.run(&[b"DUMP", key]));
    }
}
