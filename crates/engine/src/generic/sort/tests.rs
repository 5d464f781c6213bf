use super::look_ups::KeyPattern;
use super::*;
use crate::command::table;
use crate::testing::{Bench, check};
use fastness_resp::Protocol;

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_NUMBER: &str = "-ERR One or more scores can't be converted into double";

#[test]
fn numbers() {
    check("RPUSH l 3 1 2 => :3 | SORT l => *3 $1 1 $1 2 $1 3 | SORT l DESC => *3 $1 3 $1 2 $1 1");
    check("RPUSH l 10 9 -1.5 1e2 inf -inf +7 => :7 | SORT l => *7 $4 -inf $4 -1.5 $2 +7 $1 9 $2 10 $3 1e2 $3 inf");
    check("SADD s 3 1 2 => :3 | SORT s => *3 $1 1 $1 2 $1 3 | SORT_RO s DESC LIMIT 1 1 => *1 $1 2");
    check("ZADD z 1 3 2 1 3 2 => :3 | SORT z => *3 $1 1 $1 2 $1 3 | SORT none => *0 | SORT_RO none => *0");
}

#[test]
fn equal_numbers_are_ordered_by_their_texts() {
    check("RPUSH l 2 1.0 1 01 1e0 => :5 | SORT l => *5 $2 01 $1 1 $3 1.0 $3 1e0 $1 2");
    check("RPUSH l 2 1.0 1 01 1e0 => :5 | SORT l DESC => *5 $1 2 $3 1e0 $3 1.0 $1 1 $2 01");
    check("RPUSH l -0 0 => :2 | SORT l => *2 $2 -0 $1 0 | SORT l DESC => *2 $1 0 $2 -0");
}

#[test]
fn what_is_no_number_is_refused() {
    let refused: [&[u8]; 14] =
        [b"", b" 1", b"1 ", b"0x10", b"1e400", b"-1e400", b"1e-400", b"nan", b"1e", b"-", b".", b"\0", b"x", b"1_0"];
    for text in refused {
        let mut bench = Bench::new();
        bench.run(&[b"RPUSH", b"l", b"1", text]);
        bench.script(&format!(
            "SORT l => {NO_NUMBER} | SORT l LIMIT 0 0 => {NO_NUMBER} | SORT l STORE m => {NO_NUMBER}"
        ));
        bench.script("EXISTS m => :0");
    }
    let accepted: [&[u8]; 9] =
        [b"1e-310", b"4.9e-324", b"+1", b"1.", b".5", b"infinity", b"INF", b"1\0x", b"9223372036854775808"];
    for text in accepted {
        let mut bench = Bench::new();
        bench.run(&[b"RPUSH", b"l", text]);
        bench.script("SORT l STORE m => :1");
    }
    check(&format!(
        "RPUSH l a => :1 | SET xa y => +OK | SORT l BY x* => -ERR BY option of SORT denied in Cluster mode \
        when keys formed by the pattern may be in different slots. | RPUSH {{t}}l a => :1 | SET {{t}}a y => +OK | \
        SORT {{t}}l BY {{t}}* => {NO_NUMBER}"
    ));
}

#[test]
fn texts() {
    check("RPUSH l b 10 a 9 B => :5 | SORT l ALPHA => *5 $2 10 $1 9 $1 B $1 a $1 b");
    check("RPUSH l b 10 a 9 B => :5 | SORT l ALPHA DESC LIMIT 1 2 => *2 $1 a $1 B");
    check(
        "ZADD z 3 a 2 b 1 c => :3 | SORT z ALPHA => *3 $1 a $1 b $1 c | SORT z => -ERR One or more scores can't be \
        converted into double",
    );
    let mut bench = Bench::new();
    bench.run(&[b"RPUSH", b"l", b"a\0c", b"a\0b", b"a", b"\0", b"", b"B"]);
    let texts = |bench: &mut Bench, words: &[&[u8]]| String::from_utf8(bench.run(words)).unwrap().replace("\r\n", " ");
    let reply = texts(&mut bench, &[b"SORT", b"l", b"ALPHA"]);
    assert_eq!(reply, "*6 $1 \0 $0  $1 B $3 a\0c $3 a\0b $1 a ", "in the order of the list up to a zero byte");
    bench.script("SORT l ALPHA STORE m => :6");
    let reply = texts(&mut bench, &[b"LRANGE", b"m", b"0", b"-1"]);
    assert_eq!(reply, "*6 $0  $1 \0 $1 B $1 a $3 a\0b $3 a\0c ");
}

#[test]
fn no_order() {
    check("RPUSH l 3 1 2 => :3 | SORT l BY nosort => *3 $1 3 $1 1 $1 2 | SORT l BY nosort DESC => *3 $1 2 $1 1 $1 3");
    check("RPUSH l 3 1 2 => :3 | SORT l BY # LIMIT 1 5 => *2 $1 1 $1 2 | SORT l BY x DESC LIMIT 0 2 => *2 $1 2 $1 1");
    check("ZADD z 3 a 1 b 2 c => :3 | SORT z BY x => *3 $1 b $1 c $1 a | SORT z BY x DESC LIMIT 1 9 => *2 $1 c $1 b");
    check("RPUSH l x => :1 | SORT l BY nosort LIMIT 1 1 => *0 | SORT l BY nosort DESC LIMIT 0 0 => *0");
    // What is stored of a set is ordered by name.
    check("SADD s 10 9 b a => :4 | SORT s BY x STORE m => :4 | LRANGE m 0 -1 => *4 $2 10 $1 9 $1 a $1 b");
    check("SADD s 10 9 b a => :4 | SORT s BY x DESC LIMIT 1 2 STORE m => :2 | LRANGE m 0 -1 => *2 $1 a $1 9");
}

#[test]
fn large_values_are_read_without_an_order_from_either_end() {
    let mut bench = Bench::new();
    for i in 0..2_000u32 {
        let (name, score) = (format!("m{i:04}"), i.to_string());
        bench.run(&[b"RPUSH", b"l", name.as_bytes()]);
        bench.run(&[b"ZADD", b"z", score.as_bytes(), name.as_bytes()]);
    }
    for key in ["l", "z"] {
        bench.script(&format!("SORT {key} BY x LIMIT 1200 2 => *2 $5 m1200 $5 m1201"));
        bench.script(&format!("SORT {key} BY x DESC LIMIT 1200 2 => *2 $5 m0799 $5 m0798"));
        bench.script(&format!("SORT {key} BY x DESC LIMIT 1999 2 => *1 $5 m0000"));
        bench.script(&format!("SORT {key} ALPHA DESC LIMIT 700 1 => *1 $5 m1299"));
    }
}

#[test]
fn the_first_of_many_are_selected_in_one_pass() {
    let mut bench = Bench::new();
    let mut numbers: Vec<u64> = (0..3_000).map(|i| i * 7_919 % 1_009).collect();
    let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let words = [&b"RPUSH"[..], b"l"].into_iter().chain(texts.iter().map(String::as_bytes));
    bench.run(&words.collect::<Vec<_>>());
    numbers.sort_unstable();
    for (start, count) in [(0, 1), (0, 10), (63, 2), (64, 64), (127, 200), (1_490, 20), (2_999, 5), (0, 3_000)] {
        let expected = |descending: bool| {
            let mut of = numbers.clone();
            if descending {
                of.reverse();
            }
            let found: Vec<String> =
                of.iter().skip(start).take(count).map(|n| format!(" ${} {n}", n.to_string().len())).collect();
            format!("*{}{}", found.len(), found.concat())
        };
        bench.script(&format!("SORT l LIMIT {start} {count} => {}", expected(false)));
        bench.script(&format!("SORT l DESC LIMIT {start} {count} => {}", expected(true)));
    }
}

const WEIGHTS: &str = "RPUSH {t}l 1 2 3 4 => :4 | MSET {t}w1 30 {t}w2 x {t}w3 7 => +OK | \
    HSET {t}h1 f 2 g a => :2 | HSET {t}h2 f 1 => :1 | RPUSH {t}w4 x => :1";

#[test]
fn ordered_by_other_keys() {
    check(&format!(
        "{WEIGHTS} | SORT {{t}}l BY {{t}}w* => {NO_NUMBER} | SORT {{t}}l BY {{t}}w* LIMIT 0 0 => {NO_NUMBER}"
    ));
    check(&format!("{WEIGHTS} | SET {{t}}w2 -5 => +OK | SORT {{t}}l BY {{t}}w* => *4 $1 2 $1 4 $1 3 $1 1"));
    check(&format!("{WEIGHTS} | SORT {{t}}l BY {{t}}w* ALPHA => *4 $1 4 $1 1 $1 3 $1 2"));
    check(&format!("{WEIGHTS} | SORT {{t}}l BY {{t}}w* ALPHA DESC => *4 $1 2 $1 3 $1 1 $1 4"));
    check(&format!("{WEIGHTS} | SORT {{t}}l BY {{t}}h*->f DESC => *4 $1 1 $1 2 $1 4 $1 3"));
    // What is no string, or no hash, and what has expired, counts as missing.
    check(&format!("{WEIGHTS} | SORT {{t}}l BY {{t}}h* => *4 $1 1 $1 2 $1 3 $1 4"));
    check(&format!(
        "{WEIGHTS} | SET {{t}}w1 9 PX 5 => +OK | SET {{t}}w2 1 => +OK | wait 6 | \
        SORT {{t}}l BY {{t}}w* => *4 $1 1 $1 4 $1 2 $1 3 | SORT {{t}}l BY nosort GET {{t}}w* LIMIT 0 1 => *1 $-1"
    ));
}

#[test]
fn elements_without_a_difference_stay_in_their_order() {
    let mut bench = Bench::new();
    for i in 0..300 {
        bench.run(&[b"RPUSH", b"{t}l", format!("{i}").as_bytes()]);
        bench.run(&[b"SET", format!("{{t}}w{i}").as_bytes(), [&b"x"[..], b"y"][i % 2]]);
    }
    bench.script("SORT {t}l BY {t}w* ALPHA LIMIT 0 3 => *3 $1 0 $1 2 $1 4");
    bench.script("SORT {t}l BY {t}w* ALPHA LIMIT 149 2 => *2 $3 298 $1 1");
    bench.script("SORT {t}l BY {t}w* ALPHA DESC LIMIT 0 3 => *3 $1 1 $1 3 $1 5");
    bench.script("SORT {t}l BY {t}none* ALPHA DESC LIMIT 3 2 => *2 $1 3 $1 4");
}

#[test]
fn other_values_are_returned() {
    check(&format!("{WEIGHTS} | SORT {{t}}l GET # GET {{t}}w* LIMIT 0 3 => *6 $1 1 $2 30 $1 2 $1 x $1 3 $1 7"));
    check(&format!("{WEIGHTS} | SORT {{t}}l GET {{t}}h*->f GET {{t}}h*->g LIMIT 0 2 => *4 $1 2 $1 a $1 1 $-1"));
    check(&format!(
        "{WEIGHTS} | SORT {{t}}l GET {{t}}w* DESC LIMIT 0 1 => *1 $-1 | SORT {{t}}l GET {{t}} LIMIT 0 1 => *1 $-1"
    ));
    check(&format!("{WEIGHTS} | SET {{t}}h1-> v => +OK | SORT {{t}}l GET {{t}}h*-> LIMIT 0 1 => *1 $1 v"));
    let mut bench = Bench::new();
    bench.protocol = Protocol::Resp3;
    bench.script("RPUSH {t}l 1 => :1 | SORT {t}l GET {t}x* GET # => *2 _ $1 1");
}

#[test]
fn look_ups_are_counted() {
    let mut bench = Bench::new();
    bench.script(WEIGHTS);
    bench.engine.reset_stats();
    bench.script("SORT_RO {t}l BY {t}w* ALPHA GET {t}h* GET # => *8 $-1 $1 4 $-1 $1 1 $-1 $1 3 $-1 $1 2");
    assert_eq!((bench.engine.stats().hits, bench.engine.stats().misses), (7, 2));
}

#[test]
fn results_are_stored() {
    check(
        "RPUSH l 3 1 2 => :3 | SET m x EX 9 => +OK | SORT l STORE m => :3 | LRANGE m 0 -1 => *3 $1 1 $1 2 $1 3 | \
        TTL m => :-1 | OBJECT ENCODING m => $8 listpack",
    );
    check("RPUSH l 3 1 2 => :3 | SORT l DESC STORE l => :3 | LRANGE l 0 -1 => *3 $1 3 $1 2 $1 1");
    check(
        "RPUSH l 3 1 => :2 | SET m x => +OK | SORT l LIMIT 5 1 STORE m => :0 | EXISTS m => :0 | SORT none STORE l => :0 | \
        EXISTS l => :0",
    );
    check(&format!(
        "{WEIGHTS} | SORT {{t}}l GET {{t}}w* GET {{t}}none* STORE {{t}}m LIMIT 2 2 => :4 | \
        LRANGE {{t}}m 0 -1 => *4 $1 7 $0  $0  $0"
    ));
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.run(&[b"RPUSH", b"l", &[b'x'; 3_000]]);
    }
    bench.script(
        "SORT l ALPHA STORE m => :5 | OBJECT ENCODING m => $9 quicklist | SORT l ALPHA LIMIT 0 2 STORE m => :2",
    );
    bench.script("OBJECT ENCODING m => $8 listpack");
    bench.run(&[b"RPUSH", b"l", &[b'y'; 10_000]]);
    bench.script("SORT l ALPHA DESC LIMIT 0 1 STORE m => :1 | OBJECT ENCODING m => $9 quicklist");
    for i in 0..5_000 {
        bench.run(&[b"SADD", b"s", format!("{i}").as_bytes()]);
    }
    bench.script("SORT s STORE m => :5000 | LINDEX m 4321 => $4 4321 | LLEN m => :5000");
    let mut replica = Bench::new();
    replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
    assert_eq!(replica.engine.digest(), bench.engine.digest());
}

#[test]
fn refusals() {
    let syntax = "-ERR syntax error";
    check(&format!(
        "SORT l FOO => {syntax} | SORT l LIMIT 1 => {syntax} | SORT l BY => {syntax} | SORT l GET => {syntax}"
    ));
    check(&format!("SORT l STORE => {syntax} | SORT_RO l STORE m => {syntax} | SORT l ASC STORE => {syntax}"));
    let integer = "-ERR value is not an integer or out of range";
    check(&format!("SORT l LIMIT a 1 => {integer} | SORT l LIMIT 1 9223372036854775808 => {integer}"));
    check(
        "SORT => -ERR wrong number of arguments for 'sort' command | SORT_RO => -ERR wrong number of arguments for \
        'sort_ro' command",
    );
    check(&format!("SET t 1 => +OK | SORT t => {WRONG} | SORT_RO t BY x => {WRONG} | SORT t STORE m => {WRONG}"));
    check(&format!("HSET h a 1 => :1 | SORT h => {WRONG} | SORT h FOO => {syntax} | SORT t BY x* FOO => {OTHER_SLOT}"));
    check(&format!("SORT l BY {{l}}* => *0 | SORT l BY {{l}}*->f => *0 | SORT l BY {{m}}* => {OTHER_SLOT}"));
    let get = OTHER_SLOT.replace("BY", "GET");
    check(&format!(
        "SORT l GET m => {get} | SORT l GET l => *0 | SORT l GET x{{l}}* => *0 | SORT l GET *{{l}} => {get}"
    ));
}

const OTHER_SLOT: &str =
    "-ERR BY option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots.";

#[test]
fn patterns_need_the_right_to_read_every_key() {
    let refusal = |request: &str| {
        let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let args = Args::slices(&words);
        check_without_every_key(table().look_up(args).unwrap(), args).err().map(|error| error.to_string())
    };
    let (by, get) = (
        "ERR BY option of SORT denied due to insufficient ACL permissions.",
        "ERR GET option of SORT denied due to insufficient ACL permissions.",
    );
    for allowed in ["GET k", "SORT k", "SORT_RO k", "SORT k BY nosort", "SORT k ALPHA STORE m", "SORT k BY x{k}"] {
        assert_eq!(refusal(allowed), None, "{allowed}");
    }
    assert_eq!(refusal("SORT k BY {k}*").as_deref(), Some(by));
    assert_eq!(refusal("SORT_RO k ALPHA by {k}* FOO").as_deref(), Some(by));
    assert_eq!(refusal("SORT k GET #").as_deref(), Some(get));
    assert_eq!(refusal("SORT_RO k GET k BY {k}*").as_deref(), Some(get));
    // The command itself refuses these.
    for wrong in ["SORT k FOO BY {k}*", "SORT k BY x* GET #", "SORT_RO k STORE m GET #", "SORT k LIMIT a b BY {k}*"] {
        assert_eq!(refusal(wrong), None, "{wrong}");
    }
}

#[test]
fn what_is_stored_is_bounded() {
    let keyspace_of = Bench::new();
    let mut look_ups = LookUps::new(&keyspace_of.engine, keyspace_of.now);
    let words: [&[u8]; 2] = [b"sort", b"l"];
    let options = SortOptions::parse(Args::slices(&words), true, true).unwrap();
    let elements = [Packable::Text(b"abc"), Packable::Int(17)];
    let mut stored = |bytes_max| {
        let empty = NodeList::unpacked(keyspace_of.engine.keyspace().list_node_limit());
        gathered(elements.into_iter(), &options, &mut look_ups, (empty, bytes_max)).map(|list| list.len())
    };
    assert_eq!(stored(7), Ok(2));
    assert!(stored(6).is_err());
}

#[test]
fn what_patterns_read_is_bounded() {
    const REFUSED: &str = "-ERR SORT would read too many keys for BY and GET: use LIMIT, or fewer patterns";
    let mut bench = Bench::new();
    let elements: Vec<Vec<u8>> = (0..5_000).map(|n: u32| n.to_string().into_bytes()).collect();
    let mut push: Vec<&[u8]> = vec![b"RPUSH", b"{l}"];
    push.extend(elements.iter().map(Vec::as_slice));
    bench.run(&push);
    // 5,000 elements and 1,000 patterns: 5 million keys.
    let sort = |bench: &mut Bench, options: &[&[u8]], gets: usize, pattern: &[u8]| {
        let mut words: Vec<&[u8]> = vec![b"SORT", b"{l}"];
        words.extend_from_slice(options);
        (0..gets).for_each(|_| words.extend([b"GET", pattern]));
        let reply = bench.run(&words);
        let line = reply.split(|byte| *byte == b'\r').next().unwrap_or_default().to_vec();
        String::from_utf8(line).unwrap()
    };
    assert_eq!(sort(&mut bench, &[], 1_000, b"{l}*"), REFUSED);
    assert_eq!(sort(&mut bench, &[b"STORE", b"{l}d"], 1_000, b"{l}*"), REFUSED);
    assert_eq!(sort(&mut bench, &[b"BY", b"{l}*"], 839, b"{l}*"), REFUSED, "BY counts, too");
    assert_eq!(sort(&mut bench, &[b"LIMIT", b"0", b"10"], 1_000, b"{l}*"), "*10000");
    assert_eq!(sort(&mut bench, &[b"LIMIT", b"0", b"10"], 1_000, b"#"), "*10000");
    // A long name, and a packed hash, which is searched from its start, count as several keys.
    let long = [&[b'x'; 1 << 20][..], b"*"].concat();
    let mut look_ups = LookUps::new(&bench.engine, bench.now);
    look_ups.left = 5_000;
    assert_eq!(look_ups.find(&KeyPattern::parse(&long), Packable::Int(1)), Ok(None));
    assert!(look_ups.find(&KeyPattern::parse(&long), Packable::Int(1)).is_err());
    let fields: Vec<Vec<u8>> = (0..512).map(|n: u32| format!("field-{n:-<50}").into_bytes()).collect();
    let mut hset: Vec<&[u8]> = vec![b"HSET", b"{l}h0"];
    fields.iter().for_each(|field| hset.extend([&field[..], &b"v"[..]]));
    bench.run(&hset);
    let mut zeros: Vec<&[u8]> = vec![b"RPUSH", b"{l}z"];
    zeros.resize(5_002, b"0");
    bench.run(&zeros);
    let of_hash = |bench: &mut Bench, count: &[u8]| {
        let words: [&[u8]; 9] = [b"SORT", b"{l}z", b"BY", b"nosort", b"LIMIT", b"0", count, b"GET", b"{l}h*->none"];
        let mut words = words.to_vec();
        (0..19).for_each(|_| words.extend([&b"GET"[..], b"{l}h*->none"]));
        let reply = bench.run(&words);
        String::from_utf8(reply.split(|byte| *byte == b'\r').next().unwrap_or_default().to_vec()).unwrap()
    };
    assert_eq!(of_hash(&mut bench, b"500"), "*10000");
    assert_eq!(of_hash(&mut bench, b"5000"), REFUSED);
}
