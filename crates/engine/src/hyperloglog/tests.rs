//! Values and replies of a Valkey 9.1 server, corrupted values, and effects.

use super::layout::{HEADER_BYTES, REGISTERS};
use super::value::HllBuf;
use super::{dense, estimate::Histogram, hash, sparse};
use crate::engine::{Engine, EngineOptions};
use crate::keyspace::PackedLimits;
use crate::testing::{Bench, check};
use fastness_types::HashSeed;

/// FNV-1a, which tells long values apart.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn call(bench: &mut Bench, name: &str, key: &str, elements: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let elements: Vec<Vec<u8>> = elements.into_iter().collect();
    let mut words = vec![name.as_bytes(), key.as_bytes()];
    words.extend(elements.iter().map(Vec::as_slice));
    bench.run(&words)
}

fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = Vec<u8>> {
    range.map(|number| number.to_string().into_bytes())
}

/// The value of a key.
fn get(bench: &mut Bench, key: &str) -> Vec<u8> {
    let reply = bench.run(&[b"GET", key.as_bytes()]);
    let start = reply.iter().position(|byte| *byte == b'\n').expect("a reply has a line") + 1;
    reply[start..reply.len() - 2].to_vec()
}

/// A dense value with a stale cache.
fn dense_of(count: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut value = b"HYLL\0\0\0\0\0\0\0\0\0\0\0\x80".to_vec();
    let counts: Vec<u8> = (0..REGISTERS).map(count).collect();
    dense::write(counts.as_slice().try_into().expect("all registers"), &mut value);
    value
}

/// A sparse value with a stale cache.
fn sparse_of(body: &[u8]) -> Vec<u8> {
    [b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80", body].concat()
}

#[test]
fn small_values_are_valkeys() {
    let mut bench = Bench::new();
    bench.script("PFADD e => :1 | OBJECT ENCODING e => $3 raw");
    assert_eq!(hex(&get(&mut bench, "e")), "48594c4c0100000000000000000000807fff");
    bench.script("PFADD e => :0 | PFCOUNT e => :0");
    assert_eq!(hex(&get(&mut bench, "e")), "48594c4c0100000000000000000000007fff");
    bench.script("PFADD a a b c => :1 | PFDEBUG DECODE a => $44 Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603");
    assert_eq!(hex(&get(&mut bench, "a")), "48594c4c01000000000000000000008060f38050b1844bfb80425a");
    bench.script("PFCOUNT a => :3 | PFADD a a => :0");
    assert_eq!(hex(&get(&mut bench, "a")), "48594c4c01000000030000000000000060f38050b1844bfb80425a");
    // Elements of every length up to 19 bytes.
    let lengths = (0..20).map(|length| vec![b'x'; length]);
    assert_eq!(call(&mut bench, "PFADD", "l", lengths), b":1\r\n");
    assert_eq!(
        hex(&get(&mut bench, "l")[HEADER_BYTES..]),
        "450880425a9043749040a784453c8441a180416d84435c8441dd84464794460d8042858c407b80405f8043db800d84426a8046968444fa\
         90453a8408"
    );
}

#[test]
fn growing_values_are_valkeys() {
    let golden = [
        (10, 48, 0x9d80_bd34_6ef0_7c36, ":10", "sparse", 0xfe68_c5c3_da9e_a5b4),
        (100, 287, 0xf1f9_664f_b7b7_74bc, ":100", "sparse", 0x4fde_7aaa_024c_e2e8),
        (500, 1061, 0x7472_8b73_26b5_dc9d, ":503", "sparse", 0x6a04_184a_9670_bd19),
        (1000, 1923, 0x6331_df2d_5fdc_be26, ":1001", "sparse", 0x5149_0756_a435_4f02),
        (1500, 2766, 0x5984_7b7c_e607_4cc2, ":1512", "sparse", 0x0097_9c12_3007_8229),
        (2000, 12_304, 0xfd9e_0fba_d280_50f4, ":2007", "dense", 0x7a42_1cc0_d33d_9732),
        (5000, 12_304, 0x1923_2e3f_33a1_5078, ":4985", "dense", 0x06aa_2459_4633_3ae4),
        (20_000, 12_304, 0x2db5_7983_d144_77e6, ":19891", "dense", 0x7bcf_2012_ed07_835e),
    ];
    let mut bench = Bench::new();
    for (elements, length, before, count, encoding, after) in golden {
        bench.run(&[b"DEL", b"n"]);
        for from in (0..elements).step_by(10) {
            call(&mut bench, "PFADD", "n", numbers(from..from + 10));
        }
        let value = get(&mut bench, "n");
        assert_eq!((value.len(), fnv(&value)), (length, before), "{elements}");
        bench.script(&format!("PFCOUNT n => {count} | PFDEBUG ENCODING n => +{encoding} | PFCOUNT n => {count}"));
        assert_eq!(fnv(&get(&mut bench, "n")), after, "{elements}");
    }
    bench.script("PFADD a a b c => :1 | PFCOUNT n a => :19894 | PFCOUNT none => :0 | PFCOUNT none none => :0");
}

#[test]
fn merged_values_are_valkeys() {
    let mut bench = Bench::new();
    call(&mut bench, "PFADD", "m1", numbers(0..400));
    call(&mut bench, "PFADD", "m2", numbers(300..900));
    bench.script("PFMERGE m m1 m2 => +OK | STRLEN m => :1750");
    assert_eq!(fnv(&get(&mut bench, "m")), 0xba4a_9a27_5e92_e9b5);
    bench.script("PFCOUNT m => :902 | PFDEBUG ENCODING m => +sparse | PFMERGE x => +OK");
    assert_eq!(hex(&get(&mut bench, "x")), "48594c4c0100000000000000000000807fff");
    bench.script("PFMERGE x m1 m1 none => +OK | STRLEN x => :878");
    assert_eq!(fnv(&get(&mut bench, "x")), 0xb5dd_0043_5da3_e570);
    assert_eq!(get(&mut bench, "x"), get(&mut bench, "m1"));
    // A dense source makes the destination dense, and so does one that becomes too long.
    bench.script("PFDEBUG TODENSE m2 => :1 | PFMERGE x m2 => +OK | PFDEBUG ENCODING x => +dense | PFCOUNT x => :902");
    call(&mut bench, "PFADD", "b1", numbers(0..1200));
    call(&mut bench, "PFADD", "b2", numbers(1200..2400));
    bench.script("PFMERGE b b1 b2 => +OK | STRLEN b => :12304");
    assert_eq!(fnv(&get(&mut bench, "b")), 0x0744_1182_625e_af03);
    bench.script("PFCOUNT b => :2407 | PFCOUNT b1 b2 => :2407");
}

#[test]
fn deadlines_stay() {
    check("PFADD k a => :1 | PEXPIRE k 9000 => :1 | PFADD k b => :1 | PFCOUNT k => :2 | PTTL k => :9000");
    check("PFADD k a => :1 | PEXPIRE k 9000 => :1 | PFMERGE k => +OK | PTTL k => :9000");
    check("PFADD k a => :1 | PEXPIRE k 1 => :1 | wait 2 | PFCOUNT k => :0 | PFADD k b => :1 | PTTL k => :-1");
    check("PFADD k a => :1 | PEXPIRE k 9000 => :1 | PFDEBUG TODENSE k => :1 | PTTL k => :9000");
}

/// Registers that no element sets: estimates out of range, and counts that no hash gives.
#[test]
fn estimates_of_any_registers_are_valkeys() {
    let mut bench = Bench::new();
    let mut count_of = |value: Vec<u8>| {
        bench.run(&[b"SET", b"d", &value]);
        let reply = String::from_utf8(bench.run(&[b"PFCOUNT", b"d"])).expect("a number");
        let union = String::from_utf8(bench.run(&[b"PFCOUNT", b"d", b"d"])).expect("a number");
        assert_eq!(reply, union);
        reply.trim_matches([':', '\r', '\n']).parse::<i64>().expect("a number")
    };
    for count in [50, 51, 52, 63] {
        assert_eq!(count_of(dense_of(|_| count)), i64::MIN, "{count}");
    }
    assert_eq!(count_of(dense_of(|_| 1)), 23_637);
    assert_eq!(count_of(dense_of(|register| if register % 2 == 0 { 51 } else { 0 })), 13_268);
    assert_eq!(count_of(dense_of(|register| if register % 2 == 0 { 63 } else { 0 })), 13_268);
    assert_eq!(count_of(dense_of(|register| (register % 64) as u8)), 375_261);
    assert_eq!(count_of(dense_of(|register| (register % 52) as u8)), 303_516);
    assert_eq!(count_of(dense_of(|register| if register == 0 { 0 } else { 51 })), 193_623_433);
    assert_eq!(count_of(sparse_of(&[0x80; REGISTERS])), 23_637);
    assert_eq!(count_of(sparse_of(&[0x40, 0].repeat(REGISTERS))), 0);
}

/// Sparse values whose runs are not of all registers: what one element makes of them, and that all else is refused.
#[test]
fn corrupted_runs_are_refused_as_by_valkey() {
    let corrupted = b"-INVALIDOBJ Corrupted HLL object detected\r\n";
    let cve_2025_32023 = [&[0x7f, 0xff].repeat(100)[..], &[0x84]].concat();
    let cases: &[(&[u8], &str, &str)] = &[
        (b"", "", ""),
        (b"\x7f\xff\x00", "71a6844e5700", "Z:16384 z:1"),
        (b"\x7f", "71a6844d", "Z:16129"),
        (b"\x7f\xfe", "71a6844e56", "Z:16383"),
        (b"\x7f\xfe\x84\x84", "71a6844e5685", "Z:16383 v:2,1 v:2,1"),
        (&cve_2025_32023, &format!("71a6844e57{}84", "7fff".repeat(99)), &format!("{}v:2,1", "Z:16384 ".repeat(100))),
    ];
    for (body, added, decoded) in cases {
        let mut bench = Bench::new();
        bench.run(&[b"SET", b"k", &sparse_of(body)]);
        for words in [&["PFCOUNT", "k"][..], &["PFCOUNT", "k", "k"], &["PFMERGE", "t", "k"], &["PFMERGE", "k"]] {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            assert_eq!(bench.run(&words), corrupted, "{words:?}");
        }
        assert_eq!(bench.run(&[b"PFDEBUG", b"GETREG", b"k"]), corrupted);
        assert_eq!(bench.run(&[b"PFDEBUG", b"TODENSE", b"k"]), corrupted);
        bench.script("PFDEBUG ENCODING k => +sparse | PFADD k => :0 | EXISTS t => :0");
        let expected = format!("${}\r\n{decoded}\r\n", decoded.len());
        assert_eq!(bench.run(&[b"PFDEBUG", b"DECODE", b"k"]), expected.as_bytes());
        assert_eq!(get(&mut bench, "k"), sparse_of(body));
        let reply = bench.run(&[b"PFADD", b"k", b"a"]);
        if added.is_empty() {
            assert_eq!(reply, corrupted);
        } else {
            assert_eq!((&reply[..], hex(&get(&mut bench, "k")[HEADER_BYTES..])), (&b":1\r\n"[..], (*added).to_owned()));
        }
    }
}

#[test]
fn an_error_changes_nothing() {
    let mut bench = Bench::new();
    // Of the registers 8436, 12711 and 15780 of these elements, only the first is in a run.
    let value = sparse_of(b"\x6f\xff");
    bench.run(&[b"SET", b"k", &value]);
    let written = bench.effects.len();
    for elements in [[b"b", b"c", b"a"], [b"c", b"b", b"a"]] {
        let reply = bench.run(&[b"PFADD", b"k", elements[0], elements[1], elements[2]]);
        assert_eq!(reply, b"-INVALIDOBJ Corrupted HLL object detected\r\n");
        assert_eq!((get(&mut bench, "k"), bench.effects.len()), (value.clone(), written));
    }
    // Longer than any runs of all registers.
    let value = sparse_of(&[0x40, 0].repeat(REGISTERS + 1));
    bench.run(&[b"SET", b"k", &value]);
    for words in [[&b"PFADD"[..], b"k", b"a"], [b"PFDEBUG", b"DECODE", b"k"], [b"PFMERGE", b"k", b"k"]] {
        assert_eq!(bench.run(&words), b"-INVALIDOBJ Corrupted HLL object detected\r\n");
    }
}

#[test]
fn what_is_no_hyperloglog_is_refused() {
    const NONE: &str = "-WRONGTYPE Key is not a valid HyperLogLog string value.";
    for value in ["12345", "HYLL", "HYLL\u{1}\0\0\0\0\0\0\0\0\0\0", "hyll\u{1}\0\0\0\0\0\0\0\0\0\0\0"] {
        let mut bench = Bench::new();
        bench.run(&[b"SET", b"k", value.as_bytes()]);
        bench.script(&format!("PFADD k a => {NONE} | PFCOUNT k => {NONE} | PFCOUNT none k => {NONE}"));
        bench.script(&format!("PFMERGE d k => {NONE} | PFMERGE k => {NONE} | PFDEBUG FOO k => {NONE}"));
        bench.script("EXISTS d => :0");
    }
    for length in [12_303, 12_305] {
        let mut bench = Bench::new();
        bench.script("PFADD k a => :1 | PFDEBUG TODENSE k => :1");
        let mut value = get(&mut bench, "k");
        value.resize(length, 0);
        bench.run(&[b"SET", b"k", &value]);
        bench.script(&format!("PFADD k a => {NONE} | PFCOUNT k => {NONE}"));
    }
    const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    check(&format!("LPUSH k a => :1 | PFADD k a => {WRONG} | PFCOUNT k => {WRONG} | PFMERGE d k => {WRONG}"));
}

#[test]
fn debugging() {
    check("PFDEBUG ENCODING k => -ERR The specified key does not exist");
    check("PFDEBUG FOO k => -ERR The specified key does not exist");
    check("PFADD k a => :1 | PFDEBUG FOO k => -ERR Unknown PFDEBUG subcommand 'FOO'");
    check("PFDEBUG k => -ERR wrong number of arguments for 'pfdebug' command");
    check("PFDEBUG SIMD ON => +disabled | PFDEBUG simd x => -ERR Argument must be ON or OFF");
    check("PFADD k a => :1 | pfdebug todense k => :1 | PFDEBUG TODENSE k => :0 | PFCOUNT k => :1");
    check("PFADD k a => :1 | PFDEBUG TODENSE k => :1 | PFDEBUG DECODE k => -ERR HLL encoding is not sparse");
    let mut bench = Bench::new();
    bench.script("PFADD k a => :1");
    let registers = String::from_utf8(bench.run(&[b"PFDEBUG", b"GETREG", b"k"])).expect("numbers");
    let lines: Vec<&str> = registers.lines().collect();
    assert_eq!((lines.len(), lines[0]), (REGISTERS + 1, "*16384"));
    let raised: Vec<usize> = (0..REGISTERS).filter(|register| lines[register + 1] != ":0").collect();
    assert_eq!(raised, [hash::of(b"a").register]);
    bench.script("PFDEBUG ENCODING k => +dense | PFSELFTEST => +OK");
}

/// Bytes of the effects of one command.
fn effects_of(bench: &mut Bench, words: &[&[u8]]) -> usize {
    let before = bench.effects.len();
    bench.run(words);
    bench.effects.len() - before
}

#[test]
fn few_bytes_are_logged() {
    let mut bench = Bench::new();
    call(&mut bench, "PFADD", "k", numbers(0..5000));
    assert_eq!(effects_of(&mut bench, &[b"PFADD", b"k", b"0", b"1"]), 0);
    // Two bytes for the register, then with the byte that makes the cache stale.
    assert!(effects_of(&mut bench, &[b"PFADD", b"k", b"5000", b"5001", b"5002"]) < 80);
    assert!(effects_of(&mut bench, &[b"PFCOUNT", b"k"]) < 40);
    assert_eq!(effects_of(&mut bench, &[b"PFCOUNT", b"k"]), 0);
    assert_eq!(effects_of(&mut bench, &[b"PFCOUNT", b"k", b"k"]), 0);
    // An estimate out of range, with which the cache stays stale.
    bench.run(&[b"SET", b"d", &dense_of(|_| 63)]);
    assert_eq!(effects_of(&mut bench, &[b"PFCOUNT", b"d"]), 0);
    // A sparse value from the run that changes on.
    call(&mut bench, "PFADD", "s", numbers(0..1000));
    assert!(effects_of(&mut bench, &[b"PFADD", b"s", b"1001"]) < 2500);
    // A merge that changes nothing still is a write, which watches see.
    bench.script("PFMERGE s => +OK");
    assert!((1..40).contains(&effects_of(&mut bench, &[b"PFMERGE", b"s"])));
}

#[test]
fn replicas_apply_the_same() {
    let mut bench = Bench::new();
    let mut replica = Engine::new(EngineOptions { seed: HashSeed([7; 16]), maxmemory: 0 });
    let mut apply = |bench: &mut Bench| {
        let effects = bench.effects.take().to_vec();
        replica.apply(bench.now, &effects).expect("effects are valid");
        assert_eq!(bench.engine.digest(), replica.digest());
    };
    for from in (0..4000).step_by(37) {
        call(&mut bench, "PFADD", "k", numbers(from..from + 37));
        if from % 5 == 0 {
            bench.run(&[b"PFCOUNT", b"k"]);
        }
        if from % 3 == 0 {
            call(&mut bench, "PFADD", &format!("s{}", from % 7), numbers(from..from + 200));
            bench.run(&[b"PFMERGE", b"m", b"k", b"s0", b"s1"]);
            bench.run(&[b"PFMERGE", b"n", b"s2", b"s3"]);
        }
        apply(&mut bench);
    }
}

/// Neighbours are joined, and a value that becomes shorter is set as a whole, and is `raw` all the same.
#[test]
fn a_value_may_become_shorter() {
    let register = hash::of(b"b").register;
    let count = hash::of(b"b").count;
    let mut body = Vec::new();
    if register > 1 {
        sparse::push_run(&mut body, 0, register - 1);
    }
    sparse::push_run(&mut body, count, 1);
    sparse::push_run(&mut body, 0, 1);
    sparse::push_run(&mut body, count, 1);
    sparse::push_run(&mut body, 0, REGISTERS - register - 2);
    let mut bench = Bench::new();
    bench.run(&[b"SET", b"k", &sparse_of(&body), b"PX", b"9000"]);
    bench.script("OBJECT ENCODING k => $6 embstr | PFADD k b => :1 | OBJECT ENCODING k => $3 raw | PTTL k => :9000");
    assert_eq!(get(&mut bench, "k").len(), HEADER_BYTES + body.len() - 2);
    bench.script("PFCOUNT k => :3");
}

/// `hll-sparse-max-bytes`: a value that has no room for a run becomes dense, and one that is longer stays as it is.
#[test]
fn a_value_becomes_dense_at_the_length_of_the_option() {
    // As a Valkey 9.1 server does it: the longest sparse value, and the number that makes it dense.
    for (bytes_max, longest, last) in [(0, 0, 0), (20, 0, 0), (100, 100, 28), (500, 499, 197), (3_000, 3_000, 1_648)] {
        let mut bench = Bench::new();
        bench.engine.set_packed_limits(PackedLimits { hll_sparse_bytes: bytes_max, ..PackedLimits::default() });
        let mut seen = (0, 0);
        for number in 0..2_000 {
            call(&mut bench, "PFADD", "k", numbers(number..number + 1));
            let value = get(&mut bench, "k");
            seen.1 = number;
            if value[4] == 0 {
                break;
            }
            seen.0 = value.len();
        }
        assert_eq!(seen, (longest, last), "{bytes_max}");
    }
    let mut bench = Bench::new();
    bench.engine.set_packed_limits(PackedLimits { hll_sparse_bytes: u64::MAX, ..PackedLimits::default() });
    call(&mut bench, "PFADD", "k", numbers(0..3_000));
    bench.script("PFDEBUG ENCODING k => +sparse");
    let mut bench = Bench::new();
    call(&mut bench, "PFADD", "k", numbers(0..200));
    let before = get(&mut bench, "k");
    bench.engine.set_packed_limits(PackedLimits { hll_sparse_bytes: 30, ..PackedLimits::default() });
    bench.script("PFADD k 7 => :0 | PFDEBUG ENCODING k => +sparse | PFMERGE k => +OK");
    assert_eq!(get(&mut bench, "k")[16..], before[16..]);
    call(&mut bench, "PFADD", "k", numbers(1_000..1_010));
    bench.script("PFDEBUG ENCODING k => +dense");
}

/// Sparse and dense values of the same elements have the same registers.
#[test]
fn both_forms_agree() {
    let limits = PackedLimits::default();
    let (mut sparse, mut dense) = (HllBuf::empty(limits), HllBuf::empty(limits));
    dense.make_dense().expect("it is valid");
    for number in 0..3000_u64 {
        let hashed = hash::of(&(number * 7919).to_le_bytes());
        let raised = [&mut sparse, &mut dense].map(|hll| hll.raise(hashed).expect("it is valid"));
        assert_eq!(raised[0], raised[1], "{number}");
        if number % 100 == 0 {
            let counts = [&sparse, &dense].map(|hll| Histogram::of(hll.as_hll()).expect("it is valid").cardinality());
            assert_eq!(counts[0], counts[1], "{number}");
        }
    }
    sparse.make_dense().expect("it is valid");
    let [mut sparse, mut dense] = [sparse, dense].map(HllBuf::into_bytes);
    sparse.drain(..HEADER_BYTES);
    dense.drain(..HEADER_BYTES);
    assert_eq!(sparse, dense);
}
