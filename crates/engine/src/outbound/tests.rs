//! Commands that are translated from effects give another engine the same data.

use super::dialect::Dialect;
use super::rdb::RdbWriter;
use super::unit::UnitCommands;
use super::untranslated::Untranslated;
use crate::digest;
use crate::effect::{EffectBuf, Items};
use crate::engine::Engine;
use crate::functions::effect::FunctionEffect;
use crate::hash::effect::HashEffect;
use crate::keyspace::ExpiryChange;
use crate::list::change::ListChange;
use crate::list::effect::ListEffect;
use crate::random::Random;
use crate::stream::StreamId;
use crate::stream::change::StreamChange;
use crate::stream::effect::StreamEffect;
use crate::testing::{Bench, Counter};
use crate::zset::effect::ZsetEffect;
use fastness_resp::request::{self, ArgSpans};
use fastness_resp::{Args, Limits, Parsed};
use fastness_types::{FormatLevel, WallMs};

const MARKER: &[u8] = b"marker-of-the-test";

/// The commands of a unit.
fn translated(effects: &[u8], dialect: Dialect) -> Result<Vec<u8>, Untranslated> {
    let mut out = Vec::new();
    let mut commands = UnitCommands::new(effects, dialect, MARKER)?;
    while commands.write_next(&mut out)? {}
    Ok(out)
}

/// Commands as arguments.
fn parsed(mut bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut commands = Vec::new();
    while !bytes.is_empty() {
        let mut spans = ArgSpans::new();
        let Ok(Parsed::Complete { consumed }) = request::parse(bytes, &mut spans, &Limits::DEFAULT) else {
            panic!("not a command: {}", bytes.escape_ascii());
        };
        commands.push(spans.args(bytes).iter().map(<[u8]>::to_vec).collect());
        bytes = &bytes[consumed..];
    }
    commands
}

/// Runs the commands of a unit, whose effects `bench` has staged, on `copy`.
fn follow(bench: &mut Bench, copy: &mut Bench, request: &str) {
    let effects = bench.effects.take().to_vec();
    copy.now = bench.now;
    let commands = parsed(&translated(&effects, Dialect::Rdb80).expect("this version staged them"));
    let has_frame = commands.first().is_some_and(|first| first[0] == b"MULTI");
    assert_eq!(has_frame, commands.last().is_some_and(|last| last[0] == b"EXEC"), "{request}");
    assert!(commands.len() <= 1 || has_frame, "{request}: more than one command, not framed");
    for command in commands.iter().filter(|command| !matches!(&command[0][..], b"MULTI" | b"EXEC")) {
        let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        let reply = copy.run(&words);
        let shown = words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
        assert!(!reply.starts_with(b"-"), "{request} became {shown}: {}", reply.escape_ascii());
    }
    copy.effects.clear();
}

/// Whether both have the same keys with the same values, whatever their forms.
fn assert_same(bench: &mut Bench, copy: &mut Bench) {
    let values = |bench: &mut Bench| {
        let names: Vec<Vec<u8>> = bench.engine.keyspace().iter().map(|entry| entry.key().to_vec()).collect();
        // Looking at a key removes it if it has expired.
        let mut values: Vec<_> = names.iter().filter_map(|name| Some((name.clone(), value(bench, name)?))).collect();
        values.sort();
        values
    };
    let (expected, found) = (values(bench), values(copy));
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected.0.escape_ascii().to_string(), found.0.escape_ascii().to_string());
        assert_eq!(expected.1, found.1, "{}", expected.0.escape_ascii());
    }
    assert_eq!(expected.len(), found.len());
}

/// What a key holds. The times of consumers are not carried, and not compared.
fn value(bench: &mut Bench, name: &[u8]) -> Option<String> {
    let kind = bench.run(&[b"TYPE", name]);
    let deadline = bench.run(&[b"PEXPIRETIME", name]);
    let mut seen = vec![kind.clone(), deadline];
    match &kind[..] {
        b"+none\r\n" => return None,
        b"+stream\r\n" => {
            seen.push(bench.run(&[b"XRANGE", name, b"-", b"+"]));
            seen.push(bench.run(&[b"XINFO", b"GROUPS", name]));
        }
        b"+hash\r\n" => {
            // Fields past their deadline may be stored, or not.
            for field in 0..8 {
                for field in [format!("f{field}"), format!("i{field}")] {
                    seen.push(bench.run(&[b"HGET", name, field.as_bytes()]));
                    seen.push(bench.run(&[b"HPEXPIRETIME", name, b"FIELDS", b"1", field.as_bytes()]));
                }
            }
            return Some(seen.concat().escape_ascii().to_string());
        }
        _ => {
            let key = bench.engine.key(name);
            let digest = digest::of_value(bench.engine.keyspace().find(&key)?);
            return Some(format!("{} {digest}", seen.concat().escape_ascii()));
        }
    }
    for group in ["g", "h"] {
        seen.push(bench.run(&[b"XPENDING", name, group.as_bytes(), b"-", b"+", b"1000"]));
    }
    let info = String::from_utf8_lossy(&bench.run(&[b"XINFO", b"STREAM", name])).into_owned();
    // The numbers of the structure in memory are its own.
    let counters = ["last-generated-id", "max-deleted-entry-id", "entries-added"]
        .map(|field| info.split(field).nth(1).map(|rest| rest.lines().take(3).collect::<String>()).unwrap_or_default());
    Some(format!("{} {counters:?}", seen.concat().escape_ascii()))
}

fn is_id(line: &str) -> bool {
    line.split_once('-').is_some_and(|(ms, seq)| ms.parse::<u64>().is_ok() && seq.parse::<u64>().is_ok())
}

/// A random command.
fn request(random: &mut Counter, now: WallMs) -> String {
    let mut below = |bound: u64| random.below(bound);
    let (key, other, part) = (below(6), below(6), below(8));
    let deadline = now.0 + 1 + below(400);
    let element = ["a", "b", "c", "17", "-4", ""][below(6) as usize];
    let element = if element.is_empty() { "x".repeat(1 + below(300) as usize) } else { element.to_owned() };
    let group = ["g", "h"][below(2) as usize];
    let (from, count) = (below(9) as i64 - 4, below(7) as i64 - 3);
    let index = below(90);
    match index {
        0..=1 => format!("SET s{key} {element}"),
        2 => format!("SET s{key} {element} PXAT {deadline}"),
        3 => format!("SET s{key} {element} KEEPTTL"),
        4 => format!("APPEND s{key} {element}"),
        5 => format!("SETRANGE s{key} {part} {element}"),
        6 => format!("INCRBY n{key} {part}"),
        7 => format!("UNLINK {}{key}", ["s", "h", "l", "t", "z", "x"][part as usize % 6]),
        8 => format!("PEXPIREAT {}{key} {deadline}", ["s", "h", "l", "t", "z", "x"][part as usize % 6]),
        9 => format!("PERSIST s{key}"),
        10..=11 => {
            let kind = ["s", "h", "l", "t", "z", "x"][part as usize % 6];
            format!("{} {kind}{key} {kind}{other}", if part % 2 == 0 { "RENAME" } else { "COPY" })
        }
        12 => format!("COPY x{key} x{other} REPLACE"),
        13 => format!("COPY l{key} l{other} REPLACE"),
        14..=16 => format!("HSET h{key} f{part} {element} f{other} {element}"),
        17 => format!("HSETEX h{key} PXAT {deadline} FIELDS 1 f{part} {element}"),
        18 => format!("HINCRBY h{key} i{part} 3"),
        19..=20 => format!("HPEXPIREAT h{key} {deadline} FIELDS 2 f{part} f{other}"),
        21 => format!("HPERSIST h{key} FIELDS 1 f{part}"),
        22 => format!("HDEL h{key} f{part} f{other}"),
        23..=26 => format!("RPUSH l{key} {element} a b {element}"),
        27..=28 => format!("LPUSH l{key} {element} c a"),
        29 => format!("LPOP l{key} {part}"),
        30 => format!("RPOP l{key}"),
        31 => format!("LTRIM l{key} {from} -{}", 1 + part),
        32 => format!("LSET l{key} {from} {element}"),
        33..=36 => format!("LINSERT l{key} {} a {element}", ["BEFORE", "AFTER"][part as usize % 2]),
        37..=38 => format!("LREM l{key} {count} a"),
        39 => format!("LMOVE l{key} l{other} LEFT RIGHT"),
        40 => format!("LMOVE l{key} l{key} RIGHT {}", ["LEFT", "RIGHT"][part as usize % 2]),
        41..=43 => format!("SADD t{key} {element} {part} m{other}"),
        44 => format!("SREM t{key} {part} m{other}"),
        45 => format!("SPOP t{key} 2"),
        46 => format!("SMOVE t{key} t{other} {part}"),
        47..=49 => format!("ZADD z{key} {from}.{part}25 m{part} -inf m{other}"),
        50 => format!("ZINCRBY z{key} 0.1 m{part}"),
        51 => format!("ZREM z{key} m{part}"),
        52 => format!("ZPOPMIN z{key}"),
        53 => format!("ZUNIONSTORE z{key} 2 z{other} z{key} WEIGHTS 3 0.3"),
        54..=62 => format!("XADD x{key} * f {element} g{part} {element}"),
        63..=64 => format!("XADD x{key} MAXLEN ~ {} * f {element}", 3 * part),
        65 => format!("XADD x{key} MAXLEN {part} * f {element}"),
        66 => format!("XTRIM x{key} MAXLEN {}", 2 * part),
        67 => format!("XTRIM x{key} MINID {}", now.0 - part * 20),
        68..=70 => format!("XGROUP CREATE x{key} {group} 0 MKSTREAM"),
        71 => format!("XGROUP DESTROY x{key} {group}"),
        72 => format!("XGROUP SETID x{key} {group} {}", ["0", "$"][part as usize % 2]),
        73 => format!("XGROUP DELCONSUMER x{key} {group} c{}", part % 2),
        74..=79 => format!("XREADGROUP GROUP {group} c{} COUNT {part} STREAMS x{key} >", part % 2),
        80..=81 => format!("XAUTOCLAIM x{key} {group} c{} 0 0 COUNT 3", part % 2),
        82 => format!("XSETID x{key} {}-{part}", now.0 + 5),
        83 => format!("SETBIT s{key} {} 1", 11 * part),
        84 => format!("PFADD p{key} {element} {part}"),
        85 => format!("GEOADD z{key} 13.36{part} 38.11 m{part}"),
        86 => format!("LREM l{key} 0 {element}"),
        87 if part == 0 => "FLUSHALL".to_owned(),
        _ => format!("GETEX s{key} PXAT {deadline}"),
    }
}

#[test]
fn translated_commands_give_the_same_data() {
    for seed in 0..60 {
        let (mut bench, mut copy, mut random) = (Bench::new(), Bench::new(), Counter(seed));
        for round in 0..250 {
            let request = request(&mut random, bench.now);
            let words: Vec<&[u8]> = request.split_whitespace().map(str::as_bytes).collect();
            bench.run(&words);
            follow(&mut bench, &mut copy, &request);
            // Entries of streams are deleted and acknowledged by ids that exist.
            if round % 9 == 0 {
                touch_entries(&mut bench, &mut copy, &mut random);
            }
            if round % 40 == 39 {
                restore_copies(&mut bench, &mut copy);
                assert_same(&mut bench, &mut copy);
            }
            bench.now.0 += random.below(30);
        }
        // What has expired is removed when it is met.
        for bench in [&mut bench, &mut copy] {
            bench.now.0 += 10_000;
        }
        for key in 0..6 {
            for kind in ["s", "h", "l", "t", "z", "x"] {
                bench.run(&[b"EXISTS", format!("{kind}{key}").as_bytes()]);
                bench.run(&[b"HGETALL", format!("h{key}").as_bytes()]);
                follow(&mut bench, &mut copy, "expiry");
            }
        }
        assert_same(&mut bench, &mut copy);
    }
}

/// Deletes and acknowledges an entry.
fn touch_entries(bench: &mut Bench, copy: &mut Bench, random: &mut Counter) {
    let key = format!("x{}", random.below(6));
    let reply = bench.run(&[b"XRANGE", key.as_bytes(), b"-", b"+"]);
    let text = String::from_utf8_lossy(&reply).into_owned();
    let ids: Vec<&str> = text.lines().filter(|line| is_id(line)).collect();
    if ids.is_empty() {
        return;
    }
    let id = ids[random.below(ids.len() as u64) as usize].as_bytes();
    for words in [&[&b"XACK"[..], key.as_bytes(), b"g", id][..], &[&b"XDEL"[..], key.as_bytes(), id]] {
        bench.run(words);
        follow(bench, copy, "XACK, XDEL");
    }
}

/// Restores the payload of one key of each type under another name.
fn restore_copies(bench: &mut Bench, copy: &mut Bench) {
    let names: Vec<Vec<u8>> = bench.engine.keyspace().iter().map(|entry| entry.key().to_vec()).collect();
    for kind in *b"shltzx" {
        let Some(name) = names.iter().find(|name| name[0] == kind) else { continue };
        let reply = bench.run(&[b"DUMP", name]);
        bench.effects.clear();
        let Some(at) = reply.windows(2).position(|two| two == b"\r\n") else { continue };
        if reply.starts_with(b"$-1") {
            continue;
        }
        // A pending entry whose entry was removed is not carried: see the module.
        let removed = kind == b'x' && has_pending_without_entry(bench, name);
        if removed {
            continue;
        }
        let other = [kind, b'9'];
        bench.run(&[b"RESTORE", &other, b"0", &reply[at + 2..reply.len() - 2], b"REPLACE"]);
        follow(bench, copy, "RESTORE");
    }
}

fn has_pending_without_entry(bench: &mut Bench, name: &[u8]) -> bool {
    let entries = String::from_utf8_lossy(&bench.run(&[b"XRANGE", name, b"-", b"+"])).into_owned();
    ["g", "h"].into_iter().any(|group| {
        let reply = bench.run(&[b"XPENDING", name, group.as_bytes(), b"-", b"+", b"1000"]);
        let text = String::from_utf8_lossy(&reply).into_owned();
        text.lines().filter(|line| is_id(line)).any(|id| !entries.contains(id))
    })
}

fn commands_of(push: impl FnOnce(&mut EffectBuf, &Engine), dialect: Dialect) -> Result<String, Untranslated> {
    let bench = Bench::new();
    let mut buf = EffectBuf::new();
    push(&mut buf, &bench.engine);
    let commands = parsed(&translated(&buf.take().to_vec(), dialect)?);
    let text = |command: &Vec<Vec<u8>>| {
        command.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
    };
    Ok(commands.iter().map(text).collect::<Vec<_>>().join(" | "))
}

#[test]
fn deadlines_of_fields_depend_on_the_reader() {
    let pairs = Items::from(Args::slices(&[b"f", b"v"]));
    let fields = Items::from(Args::slices(&[b"f"]));
    let push = |buf: &mut EffectBuf, engine: &Engine| {
        let (key, at) = (engine.key(b"h"), WallMs(5));
        buf.push(&HashEffect::Set { key, pairs, expiry: ExpiryChange::At(at) });
        buf.push(&HashEffect::Set { key, pairs, expiry: ExpiryChange::Keep });
        buf.push(&HashEffect::ExpireAt { key, at, fields });
        buf.push(&HashEffect::Persist { key, fields });
        buf.push(&HashEffect::Remove { key, fields });
    };
    assert_eq!(
        commands_of(push, Dialect::Rdb80).as_deref(),
        Ok("MULTI | HSETEX h PXAT 5 FIELDS 1 f v | HSETEX h KEEPTTL FIELDS 1 f v | HPEXPIREAT h 5 FIELDS 1 f | \
            HPERSIST h FIELDS 1 f | HDEL h f | EXEC")
    );
    assert_eq!(commands_of(push, Dialect::Rdb11).as_deref(), Ok("MULTI | HSET h f v | HSET h f v | HDEL h f | EXEC"));
}

#[test]
fn effects_of_older_versions_are_refused() {
    let mut bench = Bench::new();
    bench.engine.set_format(FormatLevel::COLLECTIONS);
    bench.script("RPUSH l a b => :2 | XADD x 1-0 f v => $3 1-0 | XADD x 2-0 f v => $3 2-0");
    for (request, expected) in [
        (&[&b"LINSERT"[..], b"l", b"BEFORE", b"b", b"c"][..], Untranslated::Older("LINSERT")),
        (&[&b"XTRIM"[..], b"x", b"MAXLEN", b"1"], Untranslated::Older("XTRIM")),
    ] {
        bench.effects.clear();
        bench.run(request);
        assert_eq!(translated(&bench.effects.take().to_vec(), Dialect::Rdb80), Err(expected));
    }
    let insert = |buf: &mut EffectBuf, engine: &Engine| {
        let change = ListChange::Insert { pivot: 5, value: Some(b"b"), after: true, element: b"a" };
        buf.push(&ListEffect { key: engine.key(b"l"), change });
    };
    assert_eq!(commands_of(insert, Dialect::Rdb11).as_deref(), Ok("LINSERT l AFTER b a"));
}

#[test]
fn streams_without_entries_and_with_wrong_counters() {
    let id = StreamId::new(7, 1);
    let counters = |added, max_deleted| {
        move |buf: &mut EffectBuf, engine: &Engine| {
            let change = StreamChange::SetCounters { last: id, added, max_deleted };
            buf.push(&StreamEffect { key: engine.key(b"x"), change });
        }
    };
    assert_eq!(
        commands_of(counters(3, StreamId::MIN), Dialect::Rdb80).as_deref(),
        Ok("MULTI | XGROUP CREATE x marker-of-the-test 0 MKSTREAM | XGROUP DESTROY x marker-of-the-test | \
            XSETID x 7-1 ENTRIESADDED 3 MAXDELETEDID 0-0 | EXEC")
    );
    assert_eq!(commands_of(counters(3, StreamId::MAX), Dialect::Rdb80), Err(Untranslated::Counters));
}

#[test]
fn scores_are_exact() {
    for score in [0.1 + 0.2, -0.0, 1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY, 12_345_678_901_234_567.0] {
        let bytes = crate::zset::score::bytes_of(score);
        let members = [&b"m"[..], &bytes];
        let mut buf = EffectBuf::new();
        let engine = Bench::new().engine;
        buf.push(&ZsetEffect::Add {
            key: engine.key(b"z"),
            members: Items::from(Args::slices(&members)),
            to_table: true,
        });
        let commands = parsed(&translated(&buf.take().to_vec(), Dialect::Rdb11).expect("it is translated"));
        let text = &commands[0][2];
        assert_eq!(crate::zset::score::parse(text).map(f64::to_bits), Some(score.to_bits()), "{}", text.escape_ascii());
    }
}

/// A file of an image that passes through an engine in pieces.
fn file_of(bench: &mut Bench, dialect: Dialect) -> (Vec<u8>, u64, u128, u64) {
    bench.engine.begin_image(2_000);
    let mut through = Bench::new().engine;
    let mut out = Vec::new();
    let mut rdb = RdbWriter::begin(dialect, &[("redis-ver", "7.2.4")], 3, &mut out);
    let (mut keys, mut sum) = (0, 0u128);
    let expected = loop {
        let mut chunk = Vec::new();
        let image = bench.engine.image_step(1_500, &mut chunk).unwrap();
        through.load_image(WallMs(1), &chunk).unwrap();
        let written = through.drain_to_rdb(&mut rdb, &mut out);
        keys += written.keys;
        sum = sum.wrapping_add(written.digest.0);
        if let Some(image) = image {
            break image;
        }
    };
    through.end_image_load().unwrap();
    assert_eq!((keys, sum), (expected.keys, expected.digest.0));
    let left_off = rdb.end(&mut out);
    (out, keys, sum, left_off)
}

#[test]
fn a_file_has_every_key_once() {
    let mut bench = Bench::new();
    let long = "v".repeat(5_000);
    for i in 0..40 {
        bench.run(&[b"SET", format!("s{i}").as_bytes(), &long.as_bytes()[..i * 100], b"PX", b"9000"]);
        bench.run(&[b"HSET", b"hash", format!("f{i}").as_bytes(), long.as_bytes()]);
        bench.run(&[b"RPUSH", b"list", long.as_bytes()]);
        bench.run(&[b"XADD", b"stream", b"*", b"f", &long.as_bytes()[..500]]);
    }
    bench.run(&[b"HPEXPIRE", b"hash", b"5000", b"FIELDS", b"1", b"f1"]);
    bench.effects.clear();
    let (file, keys, _, left_off) = file_of(&mut bench, Dialect::Rdb80);
    assert_eq!((keys, left_off), (43, 0));
    assert!(file.starts_with(b"VALKEY080\xfa\x09redis-ver\x057.2.4\xfe\x00\xfb\x03\x00"));
    let (file, _, _, left_off) = file_of(&mut bench, Dialect::Rdb11);
    assert_eq!(left_off, 1);
    assert!(file.starts_with(b"REDIS0011"));
    // Golden: a string with a deadline.
    let mut bench = Bench::new();
    bench.run(&[b"SET", b"k", b"1", b"PXAT", b"1800000000000"]);
    let (file, ..) = file_of(&mut bench, Dialect::Rdb11);
    let body = b"REDIS0011\xfa\x09redis-ver\x057.2.4\xfe\x00\xfb\x03\x00\xfc\x00P\x5c\x18\xa3\x01\x00\x00\x00\x01k\xc0\x01\xff";
    assert_eq!(file[..file.len() - 8].escape_ascii().to_string(), body.escape_ascii().to_string());
    assert_eq!(file[file.len() - 8..], crate::codec::rdb::crc64(body).to_le_bytes());
}

#[test]
fn libraries_of_functions_are_carried() {
    let (name, code) = (&b"lib"[..], &b"#!lua name=lib\n"[..]);
    let push = |buf: &mut EffectBuf, _: &Engine| {
        buf.push(&FunctionEffect::Set { name, code, functions: b"" });
        buf.push(&FunctionEffect::Delete { name });
        buf.push(&FunctionEffect::Flush);
    };
    assert_eq!(
        commands_of(push, Dialect::Rdb11).as_deref(),
        Ok("MULTI | FUNCTION LOAD REPLACE #!lua name=lib\\n | FUNCTION DELETE lib | FUNCTION FLUSH | EXEC")
    );
    let mut bench = Bench::new();
    let mut effects = EffectBuf::new();
    bench.engine.stage(FunctionEffect::Set { name, code, functions: b"" }, &mut effects, WallMs(1));
    bench.run(&[b"SET", b"k", b"1"]);
    let (file, keys, ..) = file_of(&mut bench, Dialect::Rdb80);
    assert_eq!(keys, 1);
    let library = [&b"\xf5\x0f"[..], code].concat();
    let times = file.windows(library.len()).filter(|bytes| *bytes == library).count();
    assert_eq!(times, 1, "{}", file.escape_ascii());
}
