//! The type passes through everything that an engine does with data.

use crate::image::ImageError;
use crate::keyspace::PackedLimits;
use crate::testing::Bench;
use fastness_types::{Seq, WallMs};

/// Runs a line of words as a command.
fn run(bench: &mut Bench, line: &str) -> String {
    let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
    String::from_utf8_lossy(&bench.run(&words)).trim_end().replace("\r\n", " ")
}

/// Lists of each form, and other keys.
fn filled() -> Bench {
    let mut bench = Bench::new();
    fill(&mut bench);
    bench
}

fn fill(bench: &mut Bench) {
    let (middle, long) = ("m".repeat(700), "l".repeat(9_000));
    for line in ["SET text x", "HSET hash a 1", "RPUSH small a 17", "RPUSH dying a", "PEXPIRE dying 5000"] {
        run(bench, line);
    }
    run(bench, &format!("RPUSH middle a {middle} b"));
    run(bench, &format!("RPUSH long a {long} b"));
    for n in 0..40 {
        let line: String = (0..50).map(|m| format!(" element-{n}-{m}")).collect();
        run(bench, &format!("RPUSH large{line}"));
    }
}

/// What the commands see.
fn seen(bench: &mut Bench) -> Vec<String> {
    let mut seen = Vec::new();
    for key in ["small", "dying", "middle", "long", "large", "new"] {
        for line in ["TYPE", "OBJECT ENCODING", "LLEN", "DUMP", "PTTL"] {
            seen.push(run(bench, &format!("{line} {key}")));
        }
        seen.push(run(bench, &format!("LRANGE {key} 0 -1")));
    }
    seen
}

const LINES: [&str; 22] = [
    "RPUSH small x",
    "LPOP small 2",
    "LPUSH middle x y",
    "RPOP middle",
    "RPOP long 2",
    "LSET long 1 short",
    "LINSERT long AFTER a x",
    "LPUSH large x",
    "LPOP large",
    "RPOP large 700",
    "LTRIM large 500 -500",
    "LSET large 1000 x",
    "LINSERT large BEFORE element-20-20 x",
    "LREM large 0 element-7-7",
    "LMOVE large large LEFT RIGHT",
    "LMOVE large small RIGHT LEFT",
    "DEL large",
    "RENAME large small",
    "COPY small large REPLACE",
    "SET large x",
    "FLUSHALL",
    "RPUSH new x",
];

#[test]
fn encodings() {
    let mut bench = filled();
    for (key, encoding) in
        [("small", "$8 listpack"), ("middle", "$8 listpack"), ("long", "$9 quicklist"), ("large", "$9 quicklist")]
    {
        assert_eq!(run(&mut bench, &format!("OBJECT ENCODING {key}")), encoding, "{key}");
    }
    let usage = run(&mut bench, "MEMORY USAGE large");
    assert!((28_000..40_000).contains(&usage[1..].parse::<usize>().unwrap()), "{usage}");
    bench.now.0 += 6_000;
    assert_eq!(run(&mut bench, "EXISTS dying"), ":0");
}

/// A bench with this value of `list-max-listpack-size`.
fn limited(list_node: i64) -> Bench {
    let mut bench = Bench::new();
    bench.engine.set_packed_limits(PackedLimits { list_node, ..PackedLimits::default() });
    bench
}

/// The cases of Valkey's own tests of the option.
#[test]
fn the_option_says_when_a_list_is_a_quicklist() {
    let (packed, quick) = ("OBJECT ENCODING l => $8 listpack", "OBJECT ENCODING l => $9 quicklist");
    for list_node in [0, 1] {
        limited(list_node).script(&format!("RPUSH l a => :1 | {packed} | RPUSH l b => :2 | {quick}"));
    }
    for change in ["RPUSH l d => :4", "LPUSH l d => :4", "LINSERT l AFTER b d => :4", "LSET l 0 d => +OK"] {
        let mut bench = limited(3);
        bench.script(&format!("RPUSH l a b c => :3 | {packed} | {change} | {quick}"));
    }
    limited(3)
        .script(&format!("RPUSH m a b c d => :4 | RPUSH l d e f => :3 | LMOVE m l RIGHT RIGHT => $1 d | {quick}"));
    for change in ["RPOP l 3 => *3 $1 d $1 a $1 a", "LREM l 3 a => :3", "LTRIM l 1 1 => +OK"] {
        limited(3).script(&format!("RPUSH l a a a d => :4 | {quick} | {change} | {packed}"));
    }
    // It is a number of bytes below 0; less than -5 is as -5.
    let (long, longer) = ("x".repeat(60_000), "x".repeat(5_536));
    for list_node in [-5, -6] {
        limited(list_node).script(&format!("RPUSH l {long} => :1 | {packed} | RPUSH l {longer} => :2 | {quick}"));
    }
    let large = "x".repeat(4_097);
    limited(-1).script(&format!(
        "RPUSH l a => :1 | {packed} | LSET l 0 {large} => +OK | {quick} | LSET l -1 c => +OK | {packed}"
    ));
}

/// A list that is stored already keeps its form until it grows; one that is copied or restored keeps it, too.
#[test]
fn the_option_applies_to_later_changes() {
    let (packed, quick) = ("$8 listpack", "$9 quicklist");
    let mut bench = limited(-2);
    let option = |bench: &mut Bench, list_node: i64| {
        bench.engine.set_packed_limits(PackedLimits { list_node, ..PackedLimits::default() });
    };
    bench.script("RPUSH l 1 2 3 4 5 6 => :6");
    option(&mut bench, 4);
    bench.script(&format!("OBJECT ENCODING l => {packed} | LPOP l => $1 1 | OBJECT ENCODING l => {packed}"));
    bench.script(&format!("COPY l m => :1 | OBJECT ENCODING m => {packed}"));
    bench.script(&format!(
        "RPUSH l 7 => :6 | OBJECT ENCODING l => {quick} | LRANGE l 0 -1 => *6 $1 2 $1 3 $1 4 $1 5 $1 6 $1 7"
    ));
    option(&mut bench, -2);
    bench.script(&format!("OBJECT ENCODING l => {quick} | COPY l n => :1 | OBJECT ENCODING n => {quick}"));
    bench.script(&format!(
        "LPOP l => $1 2 | OBJECT ENCODING l => {quick} | SORT l STORE s => :5 | OBJECT ENCODING s => {packed}"
    ));
    option(&mut bench, 2);
    bench.script(&format!(
        "SORT l STORE s => :5 | OBJECT ENCODING s => {quick} | LRANGE s 0 -1 => *5 $1 3 $1 4 $1 5 $1 6 $1 7"
    ));
}

/// Replicas with other options have the same data, whatever the division into nodes.
#[test]
fn replicas_may_have_other_options() {
    for (of_primary, of_replica) in [(-2, 3), (3, -2), (1, -5)] {
        for line in LINES {
            let (mut bench, mut replica) = (limited(of_primary), limited(of_replica));
            fill(&mut bench);
            run(&mut bench, line);
            replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
            assert_eq!(replica.engine.digest(), bench.engine.digest(), "{line}");
        }
    }
}

#[test]
fn a_replica_that_applies_its_effects_has_the_same_data() {
    for line in LINES {
        let mut bench = filled();
        run(&mut bench, line);
        let mut replica = Bench::new();
        replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
        assert_eq!(replica.engine.digest(), bench.engine.digest(), "{line}");
        for engine in [&mut replica.engine, &mut bench.engine] {
            while engine.release_some() {}
        }
        assert_eq!(replica.engine.memory_of_data(), bench.engine.memory_of_data(), "{line}");
        assert_eq!(seen(&mut replica), seen(&mut bench), "{line}");
    }
}

#[test]
fn its_changes_are_undone_and_rolled_back() {
    for line in LINES {
        let mut bench = filled();
        let (digest, before) = (bench.engine.digest(), seen(&mut bench));
        bench.engine.keep_undo(usize::MAX);
        run(&mut bench, line);
        bench.engine.end_unit(Seq(1));
        assert!(bench.engine.digest() != digest, "{line} changes something");
        assert!(bench.engine.undo());
        assert_eq!(bench.engine.digest(), digest, "{line}");
        assert_eq!(seen(&mut bench), before, "{line}");

        bench.engine.keep_undo(usize::MAX);
        let savepoint = bench.engine.begin_unit(&mut bench.effects, usize::MAX);
        run(&mut bench, line);
        run(&mut bench, "RPUSH small again");
        bench.engine.roll_back(savepoint, &mut bench.effects);
        assert_eq!(bench.engine.digest(), digest, "{line}, rolled back");
        assert_eq!(seen(&mut bench), before, "{line}, rolled back");
    }
}

#[test]
fn an_image_of_it_is_of_one_point_and_reads_back() {
    for record_max in [usize::MAX, 40, 1_000] {
        for line in LINES {
            let mut bench = filled();
            let (digest, before) = (bench.engine.digest(), seen(&mut bench));
            let (sum, mut restored) = bench.imaged(record_max, |bench| {
                run(bench, line);
                run(bench, "LPUSH large again");
            });
            assert_eq!((sum.digest, restored.engine.digest()), (digest, digest), "{record_max}, {line}");
            restored.now = bench.now;
            assert_eq!(seen(&mut restored), before, "{record_max}, {line}");
        }
    }
}

/// A restored list is divided as the list was, so that both change in the same way.
#[test]
fn a_restored_list_changes_as_the_list_does() {
    let mut bench = filled();
    bench.engine.begin_image(40);
    let mut restored = Bench::new();
    restored.now = bench.now;
    loop {
        let mut chunk = Vec::new();
        let sum = bench.engine.image_step(1_500, &mut chunk).unwrap();
        restored.engine.load_image(WallMs(1), &chunk).unwrap();
        if sum.is_some() {
            break;
        }
    }
    for _ in 0..20 {
        for bench in [&mut bench, &mut restored] {
            run(bench, "LPOP large 97");
        }
        assert_eq!(seen(&mut restored), seen(&mut bench));
        assert_eq!(restored.engine.memory_of_data(), bench.engine.memory_of_data());
    }
}

/// An image keeps the nodes that a list has given up, and counts them.
#[test]
fn what_an_image_keeps_is_counted() {
    let mut bench = Bench::new();
    let element = "e".repeat(1_000);
    for _ in 0..40 {
        let line: String = (0..50).map(|_| format!(" {element}")).collect();
        run(&mut bench, &format!("RPUSH large{line}"));
    }
    bench.engine.begin_image(100_000);
    bench.engine.image_step(1_000, &mut Vec::new()).unwrap();
    assert!(bench.engine.memory_of_image() < 100_000);
    run(&mut bench, "LTRIM large 1000 -1");
    while bench.engine.release_some() {}
    bench.engine.image_step(1_000, &mut Vec::new()).unwrap();
    let kept = bench.engine.memory_of_image();
    assert!((900_000..1_500_000).contains(&kept), "half of the list is kept: {kept}");
    while bench.engine.image_step(100_000, &mut Vec::new()).unwrap().is_none() {}
    bench.engine.drop_image();
    assert_eq!(bench.engine.memory_of_image(), 0);
}

#[test]
fn records_of_lists_are_frozen() {
    let (element, long) = ("e".repeat(600), "l".repeat(9_000));
    let packed = [&[0xe2, 0x58][..], element.as_bytes(), &[0x04, 0xda]].concat();
    let plain = [&[2, 1, 0xa8, 0x46][..], long.as_bytes(), &[0, 3, 0x81, b'b', 2]].concat();
    for (line, record) in [
        ("RPUSH k a 5".to_owned(), b"\x01k\x0a\x05\x81a\x02\x05\x01".to_vec()),
        (format!("RPUSH k {element}"), [&b"\x01k\x0b\x01\x02\xdc\x04"[..], &packed].concat()),
        (format!("RPUSH k {long} b"), [&b"\x01k\x0b"[..], &plain].concat()),
    ] {
        let mut bench = Bench::new();
        run(&mut bench, &line);
        bench.engine.begin_image(usize::MAX);
        let mut records = Vec::new();
        while bench.engine.image_step(100_000, &mut records).unwrap().is_none() {}
        assert_eq!(records.escape_ascii().to_string(), record.escape_ascii().to_string(), "{line}");
    }
    // A node in pieces: a start, two runs of bytes that start the node, and its rest.
    let mut bench = Bench::new();
    run(&mut bench, &format!("RPUSH k {element}"));
    bench.engine.begin_image(250);
    let mut records = Vec::new();
    while bench.engine.image_step(100_000, &mut records).unwrap().is_none() {}
    let expected = [
        &b"\x01k\x05\x01\x00\x01\x0b\x01\x00\x06\x01\xfa\x01"[..],
        &packed[..250],
        b"\x00\x06\x01\xfa\x01",
        &packed[250..500],
        b"\x00\x07\x01\x01\x02\x68",
        &packed[500..],
    ];
    assert_eq!(records.escape_ascii().to_string(), expected.concat().escape_ascii().to_string());
}

#[test]
fn damaged_records_are_refused() {
    let load = |record: &[u8]| {
        let mut bench = Bench::new();
        bench.engine.load_image(WallMs(1), record).and_then(|()| bench.engine.end_image_load())
    };
    assert_eq!(load(b"\x01k\x0a\x03\x81a\x02"), Ok(()));
    assert_eq!(load(b"\x01k\x0a\x03\x81a\x03"), Err(ImageError::Truncated), "a length backwards");
    assert_eq!(load(b"\x01k\x0b\x01\x02\x03\x81a\x03"), Err(ImageError::Truncated), "in a node");
    assert_eq!(load(b"\x01k\x0b\x01\x02\x00"), Err(ImageError::Truncated), "a node without elements");
    assert_eq!(load(b"\x01k\x0b\x02\x02\x03\x81a\x02"), Err(ImageError::Truncated), "a node is missing");
    let start = b"\x01k\x05\x01\x00\x01\x0b\x01";
    assert!(load(&[&start[..], b"\x00\x07\x01\x01\x02\x03\x81a\x02"].concat()).is_ok());
    assert!(load(&[&start[..], b"\x00\x06\x01\x01\x81\x00\x07\x01\x01\x02\x02a\x02"].concat()).is_ok());
    assert!(load(&[&start[..], b"\x00\x06\x01\x01\x81"].concat()).is_err(), "the rest of the node is missing");
    let child = b"\x01x\x05\x02\x01\x01\x00\x01\x00\x06\x02\x01y";
    assert!(load(&[&start[..], child].concat()).is_err(), "a node has no records of its own");
}

#[test]
fn what_was_dumped_is_restored() {
    let mut bench = filled();
    for key in ["small", "middle", "long", "large"] {
        let payload = bench.run(&[b"DUMP", key.as_bytes()]);
        let start = payload.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let payload = payload[start..payload.len() - 2].to_vec();
        assert_eq!(bench.run(&[b"RESTORE", b"back", b"0", &payload, b"REPLACE"]), b"+OK\r\n");
        assert_eq!(bench.run(&[b"DUMP", b"back"]), bench.run(&[b"DUMP", key.as_bytes()]), "{key}");
        let encoding = run(&mut bench, &format!("OBJECT ENCODING {key}"));
        assert_eq!(run(&mut bench, "OBJECT ENCODING back"), encoding, "{key}");
    }
}
