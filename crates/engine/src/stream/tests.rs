//! The type passes through everything that an engine does with data.

use crate::image::ImageError;
use crate::testing::Bench;
use fastness_types::{Seq, WallMs};

/// Runs a line of words as a command.
fn run(bench: &mut Bench, line: &str) -> String {
    let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
    String::from_utf8_lossy(&bench.run(&words)).trim_end().replace("\r\n", " ")
}

/// Streams of each size, with groups, and other keys.
fn filled() -> Bench {
    let mut bench = Bench::new();
    for line in [
        "SET text x",
        "XADD small 1 a 1",
        "XADD small 2 a 2 b 3",
        "XADD dying 1 a 1",
        "PEXPIRE dying 5000",
        "XGROUP CREATE empty g 0 MKSTREAM",
        "XGROUP CREATE small g 0",
        "XREADGROUP GROUP g c COUNT 1 STREAMS small >",
    ] {
        run(&mut bench, line);
    }
    for n in 1..=1_000 {
        let fields = if n % 7 == 0 { "other 1 b x" } else { "a 5 b text" };
        run(&mut bench, &format!("XADD large {n}-1 {fields}-{n}"));
    }
    run(&mut bench, &format!("XADD large 1001 a {} b x", "l".repeat(9_000)));
    for line in [
        "XDEL large 5-1 17-1 500-1",
        "XGROUP CREATE large g 0",
        "XGROUP CREATE large h 300",
        "XREADGROUP GROUP g c COUNT 400 STREAMS large >",
        "XREADGROUP GROUP g d COUNT 7 STREAMS large >",
        "XREADGROUP GROUP h d COUNT 3 NOACK STREAMS large >",
        "XDEL large 12-1",
    ] {
        run(&mut bench, line);
    }
    bench.now.0 += 10;
    bench
}

/// What the commands see.
fn seen(bench: &mut Bench) -> Vec<String> {
    let mut seen = Vec::new();
    for key in ["small", "dying", "empty", "large", "new"] {
        for line in ["TYPE", "OBJECT ENCODING", "XLEN", "DUMP", "PTTL"] {
            seen.push(run(bench, &format!("{line} {key}")));
        }
        seen.push(run(bench, &format!("XRANGE {key} - +")));
        seen.push(run(bench, &format!("XREVRANGE {key} + -")));
        seen.push(run(bench, &format!("XINFO STREAM {key} FULL COUNT 0")));
    }
    seen
}

const LINES: [&str; 38] = [
    "XADD small * a 1 b 2",
    "XADD small 9-* x 1",
    "XADD new 1 a 1",
    "XADD empty 5 a 1",
    "XADD large 2000 a 1 b 2",
    "XADD large MAXLEN ~ 500 2000 c 1",
    "XADD large MAXLEN 450 2000 c 1",
    "XADD large MINID 333 2000 c 1",
    "XTRIM large MAXLEN 0",
    "XTRIM large MAXLEN = 1",
    "XTRIM large MINID ~ 450",
    "XTRIM small MAXLEN 1",
    "XDEL small 1 2",
    "XDEL large 100-1 300-1 1001 7",
    "XDEL small 2",
    "XSETID large 5000 ENTRIESADDED 6000 MAXDELETEDID 12-1",
    "XGROUP CREATE large i $",
    "XGROUP CREATE new g 0 MKSTREAM",
    "XGROUP SETID large g 600 ENTRIESREAD 3",
    "XGROUP DESTROY large g",
    "XGROUP DESTROY small g",
    "XGROUP CREATECONSUMER large h x",
    "XGROUP DELCONSUMER large g c",
    "XGROUP DELCONSUMER large g d",
    "XREADGROUP GROUP g c STREAMS large >",
    "XREADGROUP GROUP g c COUNT 5 STREAMS large 0",
    "XREADGROUP GROUP g new COUNT 5 NOACK STREAMS large >",
    "XREADGROUP GROUP g c STREAMS empty >",
    "XACK large g 1-1 2-1 390-1 9999",
    "XCLAIM large g d 0 1-1 1-1 5-1 12-1 402-1",
    "XCLAIM large h c 0 900-1 901-1 FORCE JUSTID LASTID 950",
    "XAUTOCLAIM large g x 0 0 COUNT 200",
    "XAUTOCLAIM large g c 0 0",
    "DEL large",
    "RENAME large small",
    "COPY small large REPLACE",
    "SET large x",
    "FLUSHALL",
];

#[test]
fn encodings() {
    let mut bench = filled();
    assert_eq!(run(&mut bench, "OBJECT ENCODING small"), "$6 stream");
    assert_eq!(run(&mut bench, "TYPE large"), "+stream");
    assert_eq!(run(&mut bench, "SCAN 0 TYPE stream COUNT 99").matches('$').count(), 5);
    let usage = run(&mut bench, "MEMORY USAGE large");
    assert!((30_000..90_000).contains(&usage[1..].parse::<usize>().unwrap()), "{usage}");
    bench.now.0 += 6_000;
    assert_eq!(run(&mut bench, "EXISTS dying"), ":0");
}

#[test]
fn a_replica_that_applies_its_effects_has_the_same_data() {
    for line in LINES {
        let mut bench = filled();
        let reply = run(&mut bench, line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        let mut replica = Bench::new();
        replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
        replica.now = bench.now;
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
        let (digest, before, memory) = (bench.engine.digest(), seen(&mut bench), bench.engine.memory_of_data());
        bench.engine.keep_undo(usize::MAX);
        run(&mut bench, line);
        bench.engine.end_unit(Seq(1));
        assert!(bench.engine.digest() != digest, "{line} changes something");
        assert!(bench.engine.undo());
        assert_eq!(bench.engine.digest(), digest, "{line}");
        assert_eq!(seen(&mut bench), before, "{line}");
        while bench.engine.release_some() {}
        if !line.contains("new") && line.starts_with('X') {
            assert_eq!(bench.engine.memory_of_data(), memory, "{line}");
        }

        bench.engine.keep_undo(usize::MAX);
        let savepoint = bench.engine.begin_unit(&mut bench.effects, usize::MAX);
        run(&mut bench, line);
        run(&mut bench, "XADD small * again 1");
        run(&mut bench, "XADD large MAXLEN 700 * again 1");
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
            let point = bench.now;
            let (sum, mut restored) = bench.imaged(record_max, |bench| {
                run(bench, line);
                run(bench, "XADD large MAXLEN ~ 900 * again 1");
            });
            assert_eq!((sum.digest, restored.engine.digest()), (digest, digest), "{record_max}, {line}");
            restored.now = point;
            assert_eq!(seen(&mut restored), before, "{record_max}, {line}");
        }
    }
}

/// An image keeps the nodes that a stream has given up, and counts them.
#[test]
fn what_an_image_keeps_is_counted() {
    let mut bench = Bench::new();
    let value = "e".repeat(1_000);
    for n in 1..=2_000 {
        run(&mut bench, &format!("XADD large {n} a {value}"));
    }
    bench.engine.begin_image(100_000);
    bench.engine.image_step(1_000, &mut Vec::new()).unwrap();
    assert!(bench.engine.memory_of_image() < 100_000);
    run(&mut bench, "XTRIM large MAXLEN 1000");
    while bench.engine.release_some() {}
    bench.engine.image_step(1_000, &mut Vec::new()).unwrap();
    let kept = bench.engine.memory_of_image();
    assert!((900_000..1_500_000).contains(&kept), "half of the stream is kept: {kept}");
    while bench.engine.image_step(100_000, &mut Vec::new()).unwrap().is_none() {}
    bench.engine.drop_image();
    assert_eq!(bench.engine.memory_of_image(), 0);
}

#[test]
fn records_of_streams_are_frozen() {
    let mut bench = Bench::new();
    for line in ["XADD k 1 a 5", "XGROUP CREATE k g 0", "XREADGROUP GROUP g c STREAMS k >"] {
        bench.now = WallMs(100);
        run(&mut bench, line);
    }
    let image = |bench: &mut Bench, record_max| {
        bench.engine.begin_image(record_max);
        let mut records = Vec::new();
        while bench.engine.image_step(100_000, &mut records).unwrap().is_none() {}
        bench.engine.drop_image();
        records.escape_ascii().to_string()
    };
    let node = b"\x01\x01\x81a\x02\x00\x01\x02\x01\x00\x01\x00\x01\x05\x01\x04\x01";
    let parts: [&[u8]; 5] = [
        b"\x06\x00\x01\x00\x00\x00\x01",
        &[&b"\x17\x01\x01\x00\x01\x00\x11"[..], node].concat(),
        b"\x06\x02\x01g\x01\x00\x02",
        b"\x07\x03\x01c\xc8\x01\xc8\x01",
        b"\x06\x04\x01\x00\xc8\x01\x01",
    ];
    let whole = [&b"\x01k\x0e\x05"[..], &parts.concat()].concat();
    assert_eq!(image(&mut bench, usize::MAX), whole.escape_ascii().to_string());
    // Part by part, one of them in two pieces.
    let mut pieces = b"\x01k\x05\x01\x00\x01\x0e\x05".to_vec();
    pieces.extend_from_slice(&[&b"\x00\x07\x01\x01"[..], parts[0]].concat());
    pieces.extend_from_slice(&[&b"\x00\x06\x01\x14"[..], &parts[1][1..21]].concat());
    pieces.extend_from_slice(&[&b"\x00\x07\x01\x01\x03"[..], &parts[1][21..]].concat());
    parts[2..].iter().for_each(|part| pieces.extend_from_slice(&[&b"\x00\x07\x01\x01"[..], part].concat()));
    assert_eq!(image(&mut bench, 20), pieces.escape_ascii().to_string());
}

#[test]
fn damaged_records_are_refused() {
    let load = |record: &[u8]| {
        let mut bench = Bench::new();
        bench.engine.load_image(WallMs(1), record).and_then(|()| bench.engine.end_image_load())
    };
    assert_eq!(load(b"\x01k\x0e\x01\x06\x00\x01\x00\x00\x00\x01"), Ok(()));
    for (record, why) in [
        (&b"\x01k\x0e\x02\x06\x00\x01\x00\x00\x00\x01"[..], "a part is missing"),
        (b"\x01k\x0e\x01\x07\x00\x01\x00\x00\x00\x01\x00", "a byte too many"),
        (b"\x01k\x0e\x01\x01\x05", "no part"),
        (b"\x01k\x0e\x01\x00", "an empty part"),
        (b"\x01k\x0e\x01\x07\x03\x01c\xc8\x01\xc8\x01", "a consumer without a group"),
        (b"\x01k\x0e\x01\x07\x01\x01\x00\x01\x00\x01\x05", "a node that is none"),
    ] {
        assert_eq!(load(record), Err(ImageError::Truncated), "{why}");
    }
    assert!(load(b"\x01k\x05\x01\x00\x01\x0e\x01").is_err(), "no part has arrived");
}

#[test]
fn what_was_dumped_is_restored() {
    let mut bench = filled();
    for key in ["small", "empty", "large"] {
        let payload = bench.run(&[b"DUMP", key.as_bytes()]);
        let start = payload.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let payload = payload[start..payload.len() - 2].to_vec();
        assert_eq!(bench.run(&[b"RESTORE", b"back", b"0", &payload, b"REPLACE"]), b"+OK\r\n");
        assert_eq!(bench.run(&[b"DUMP", b"back"]), bench.run(&[b"DUMP", key.as_bytes()]), "{key}");
        let info = |bench: &mut Bench, key: &str| run(bench, &format!("XINFO STREAM {key} FULL COUNT 0"));
        assert_eq!(info(&mut bench, "back"), info(&mut bench, key));
    }
}
