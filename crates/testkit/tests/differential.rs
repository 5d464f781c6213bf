//! The engine against a real Valkey server: the same random commands, in both protocol versions. Replies must be equal
//! byte for byte, and the keys afterwards, too, except for the differences in `differential-exclusions.txt`. A second
//! engine applies the effects of the first and must end with the same digest.
//!
//! A failure names the seed: `FASTNESS_SEED=7 cargo test -p fastness-testkit --test differential` generates the same
//! commands again, `FASTNESS_COMMANDS=100000` more of them.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastness_engine::command;
use fastness_resp::{Protocol, ReplyBuf, Value};
use fastness_testkit::differential::compare::decode;
use fastness_testkit::differential::generator::Generator;
use fastness_testkit::differential::reference::{Reference, words};
use fastness_testkit::differential::sides::{BothSides, exclusions, missed, names};
use fastness_types::{Clock, SystemClock};

/// Seeds of a run without FASTNESS_SEED.
const SEEDS: &[u64] = &[1, 2, 3, 4, 77];
/// Commands per seed.
const COMMANDS: usize = 4_000;

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn seeds() -> Vec<u64> {
    number_from("FASTNESS_SEED").map_or_else(|| SEEDS.to_vec(), |seed| vec![seed])
}

#[test]
fn random_commands_have_equal_replies_and_effects() {
    let reference = Reference::start().unwrap();
    let commands = number_from("FASTNESS_COMMANDS").map_or(COMMANDS, |number| number as usize);
    let mut seen = BTreeSet::new();
    for seed in seeds() {
        let mut sides = BothSides::new(seed, &reference);
        sides.run(&mut Generator::new(seed, |_| true), commands);
        seen.append(&mut sides.seen);
    }
    if number_from("FASTNESS_SEED").is_none() {
        let missed = missed(&seen);
        assert!(missed.is_empty(), "no shape draws these: {missed:?}");
    }
}

#[test]
fn expired_keys_are_gone() {
    let reference = Reference::start().unwrap();
    for seed in seeds() {
        let mut sides = BothSides::new(seed, &reference);
        // MEMORY USAGE measures an expired key that Valkey has not removed yet; here it is removed.
        let names_a_key = |shape: &str| shape.split(' ').any(|word| word == "k" || word == "*k");
        let mut generator = Generator::new(seed, |shape| names_a_key(shape) && !shape.starts_with("MEMORY"));
        for _ in 0..300 {
            let deadline = SystemClock.wall().0 + 2;
            let key = format!("{{t}}{}", 2 + generator.rng().below(8));
            for key in [key.as_str(), "{t}2", "{t}3"] {
                let [ours, theirs] = sides.call_both(&words(&["SET", key, "5", "PXAT", &deadline.to_string()]));
                assert_eq!(ours, theirs);
            }
            while SystemClock.wall().0 <= deadline + 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let request = generator.command();
            sides.step(&request, 1);
        }
        sides.compare_everything();
    }
}

#[test]
fn expired_fields_are_gone() {
    let reference = Reference::start().unwrap();
    for seed in seeds() {
        let mut sides = BothSides::new(seed, &reference);
        // HLEN counts fields that Valkey has not removed yet; so does its hash with only such fields, which is why one
        // field stays.
        let names_a_hash = |shape: &str| shape.split(' ').nth(1) == Some("h") && !shape.starts_with("HLEN");
        let mut generator = Generator::new(seed, names_a_hash);
        for _ in 0..200 {
            let mut last = 0;
            for key in ["{t}h0", "{t}h1", "{t}h2", "{t}h3"] {
                let field = ["f1", "f2", "f3"][generator.rng().below(3)];
                // Repeat if the deadline passes between the two sides.
                loop {
                    sides.call_both(&words(&["DEL", key]));
                    sides.call_both(&words(&["HSET", key, "f1", "1", "f2", "2", "f3", "3", "f4", "4", "stays", "5"]));
                    last = SystemClock.wall().0 + 3;
                    let expire = words(&["HPEXPIREAT", key, &last.to_string(), "FIELDS", "2", field, "f4"]);
                    let [ours, theirs] = sides.call_both(&expire);
                    if ours == theirs {
                        break;
                    }
                }
            }
            while SystemClock.wall().0 <= last + 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let request = generator.command();
            sides.step(&request, 1);
        }
        sides.compare_everything();
    }
}

#[test]
fn scans_find_the_same_keys() {
    let reference = Reference::start().unwrap();
    let mut sides = BothSides::new(1, &reference);
    for number in 0..3_000 {
        let key = if number % 3 == 0 { format!("{{t}}{number}") } else { format!("key{number}") };
        sides.step(&words(&["SET", &key, "v"]), 0);
    }
    for options in [&[][..], &["COUNT", "7"], &["COUNT", "1"], &["MATCH", "*1?", "COUNT", "500"], &["TYPE", "hash"]] {
        for command in ["SCAN", "CLUSTERSCAN"] {
            let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut sides, ours, command, options));
            assert_eq!(ours, theirs, "{command} {options:?}");
        }
    }
    // Commands on a single slot, and patterns that select one.
    for options in [&["SLOT", "15891", "COUNT", "10"][..], &["MATCH", "{t}*1"], &["MATCH", "{foo}*"]] {
        let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut sides, ours, "CLUSTERSCAN", options));
        assert_eq!(ours, theirs, "CLUSTERSCAN {options:?}");
    }
    let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut sides, ours, "SCAN", &["MATCH", "{t}*7"]));
    assert_eq!(ours, theirs, "SCAN MATCH {{t}}*7");
}

#[test]
fn scans_find_the_same_fields() {
    let reference = Reference::start().unwrap();
    let mut sides = BothSides::new(1, &reference);
    for number in 0..2_000 {
        let [ours, theirs] = sides.call_both(&words(&["HSET", "h", &format!("f{number}"), &number.to_string()]));
        assert_eq!(ours, theirs);
    }
    for options in [&[][..], &["COUNT", "7"], &["MATCH", "*1?", "COUNT", "50"], &["NOVALUES", "MATCH", "f*"]] {
        let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut sides, ours, "HSCAN h", options));
        assert_eq!(ours, theirs, "HSCAN {options:?}");
    }
}

#[test]
fn scans_find_the_same_members() {
    let reference = Reference::start().unwrap();
    let mut sides = BothSides::new(1, &reference);
    for (key, count) in [("few", 100), ("many", 2_000)] {
        for number in 0..count {
            let [ours, theirs] = sides.call_both(&words(&["SADD", key, &format!("m{number}"), &number.to_string()]));
            assert_eq!(ours, theirs);
        }
        for options in [&[][..], &["COUNT", "7"], &["MATCH", "*1?", "COUNT", "50"], &["MATCH", "m*"]] {
            let command = format!("SSCAN {key}");
            let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut sides, ours, &command, options));
            assert_eq!(ours, theirs, "{command} {options:?}");
        }
    }
    for number in 0..2_000 {
        let score = format!("{}", f64::from(number) / 7.0);
        let [ours, theirs] = sides.call_both(&words(&["ZADD", "z", &score, &format!("m{number}")]));
        assert_eq!(ours, theirs);
    }
    for options in [&[][..], &["COUNT", "7"], &["MATCH", "*1?", "COUNT", "50"], &["NOSCORES", "MATCH", "m*"]] {
        let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut sides, ours, "ZSCAN z", options));
        assert_eq!(ours, theirs, "ZSCAN {options:?}");
    }
}

/// Sorted sets of equal scores at every size around those at which nodes of the tree are split and joined.
#[test]
fn sorted_sets_of_every_size() {
    let reference = Reference::start().unwrap();
    let mut sides = BothSides::new(1, &reference);
    let name = |number: usize| format!("m{}", number * 1_000 % 2_503);
    let mut same = |line: &[&str]| {
        let [ours, theirs] = sides.call_both(&words(line));
        assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{line:?}");
    };
    for number in 0..700 {
        same(&["ZADD", "z", "1", &name(number)]);
        let (rank, at) = ((number / 2).to_string(), name(number * 7 % (number + 1)));
        same(&["ZRANK", "z", &at, "WITHSCORE"]);
        same(&["ZRANGE", "z", &rank, &rank]);
        same(&["ZLEXCOUNT", "z", &format!("[{at}"), "+"]);
    }
    same(&["ZRANGE", "z", "0", "-1", "WITHSCORES"]);
    for number in 0..690 {
        same(&["ZREM", "z", &name(number * 13 % 700)]);
        same(&["ZRANGE", "z", "-3", "-1", "REV", "WITHSCORES"]);
    }
    sides.compare_everything();
}

fn whole_scan(sides: &mut BothSides, ours: bool, command: &str, options: &[&str]) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for _ in 0..100_000 {
        let command: Vec<&str> = command.split(' ').chain([&cursor[..]]).collect();
        let request = words(&[&command[..], options].concat());
        let reply = if ours {
            sides.ours.call(&request, Protocol::Resp2, SystemClock.wall())
        } else {
            sides.theirs[0].call(&request).unwrap()
        };
        let Value::Array(reply) = decode(&reply) else { panic!("{command:?} replies with an array") };
        found.append(&mut names(&reply[1]));
        cursor = String::from_utf8(reply[0].as_bytes().unwrap().to_vec()).unwrap();
        if cursor == "0" {
            return found;
        }
    }
    panic!("the scan does not end");
}

#[test]
fn dumps_are_restored_by_the_other() {
    let reference = Reference::start().unwrap();
    let mut sides = BothSides::new(1, &reference);
    let texts = ["", "1", "-129", "70000", "5000000000", "hello", &"ab".repeat(40), &"x".repeat(20_000), "0x1"];
    for text in texts {
        sides.step(&words(&["SET", "a", text]), 0);
        exchange_dumps(&mut sides, "a");
    }
    let long = "x".repeat(20_000);
    let numbers = ["1", "-1", "127", "128", "-4096", "4096", "-32768", "70000", "-8388608", "5000000000", "0x1", ""];
    let many: Vec<String> = (0..1_300).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for fields in [&["f", "v"][..], &numbers, &["f", &long, "g", "1"], &many, &[&"f".repeat(64), &"v".repeat(64)]] {
        sides.step(&words(&["DEL", "h"]), 0);
        sides.step(&words(&[&["HSET", "h"], fields].concat()), 0);
        exchange_dumps(&mut sides, "h");
        sides.step(&words(&["HPEXPIREAT", "h", "9000000000123", "FIELDS", "2", fields[0], "nosuch"]), 0);
        exchange_dumps(&mut sides, "h");
    }
    let texts: Vec<String> = (0..129).map(|number| format!("m{number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let sets = [&numbers[..], &numbers[..10], &["5"], &many[..512], &many[..513], &texts[..128], &texts, &["f", &long]];
    for members in sets {
        sides.step(&words(&["DEL", "s"]), 0);
        sides.step(&words(&[&["SADD", "s"], members].concat()), 0);
        exchange_dumps(&mut sides, "s");
    }
    // Integers that are texts in one encoding and not in the other.
    for command in [&["SADD", "s", "x"][..], &["SREM", "s", "f", &long], &["SADD", "s", "1", "2"]] {
        sides.step(&words(command), 0);
        exchange_dumps(&mut sides, "s");
    }
}

#[test]
fn dumps_of_lists_are_restored_by_the_other() {
    let reference = Reference::start().unwrap();
    let mut sides = BothSides::new(1, &reference);
    let (long, many) = ("x".repeat(20_000), (0..3_000).map(|number| number.to_string()).collect::<Vec<_>>());
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let numbers = ["1", "-1", "127", "128", "-4096", "4096", "-32768", "70000", "-8388608", "5000000000", "0x1", ""];
    for elements in [&["a"][..], &numbers, &["a", &long, "b"], &[&long], &many, &["ab"; 3_000]] {
        sides.step(&words(&["DEL", "l"]), 0);
        sides.step(&words(&[&["RPUSH", "l"], elements].concat()), 0);
        exchange_dumps(&mut sides, "l");
        sides.step(&words(&["LINSERT", "l", "AFTER", elements[elements.len() / 2], &long[..5_000]]), 0);
        sides.step(&words(&["LSET", "l", "0", &long[..9_000]]), 0);
        exchange_dumps(&mut sides, "l");
        // The nodes are the reference's: it is packed again at the same moment.
        while sides.call_both(&words(&["EXISTS", "l"]))[0] == b":1\r\n" {
            sides.step(&words(&["LPOP", "l", "40"]), 0);
        }
    }
}

#[test]
fn dumps_of_sorted_sets_are_restored_by_the_other() {
    let reference = Reference::start().unwrap();
    let mut sides = BothSides::new(1, &reference);
    let (long, many) = ("m".repeat(70), (0..1_300).map(|number| number.to_string()).collect::<Vec<_>>());
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for members in [&["1", "a"][..], &["-0.5", "1", "inf", "b", "-inf", "-70000", "1e300", ""], &["1", &long], &many] {
        sides.step(&words(&["DEL", "z"]), 0);
        sides.step(&words(&[&["ZADD", "z"], members].concat()), 0);
        exchange_dumps(&mut sides, "z");
    }
}

/// Each side restores what each dumps.
fn exchange_dumps(sides: &mut BothSides, key: &str) {
    let dumps = sides.call_both(&words(&["DUMP", key])).map(|dump| decode(&dump).as_bytes().unwrap().to_vec());
    for payload in dumps {
        let mut request = words(&["RESTORE", key, "0", "", "REPLACE"]);
        request[3] = payload;
        sides.step(&request, 0);
    }
}

/// Every row of the table, also of commands that are not implemented yet, as the reference's COMMAND and COMMAND DOCS
/// return it.
#[test]
fn facts_are_the_references() {
    let reference = Reference::start().unwrap();
    let mut connection = reference.connect(Protocol::Resp2).unwrap();
    let mut theirs = BTreeMap::new();
    let Value::Array(commands) = decode(&connection.call(&words(&["COMMAND"])).unwrap()) else { panic!("an array") };
    commands.into_iter().for_each(|command| collect(command, &mut theirs));
    let valkeys: Vec<_> = command::table().all().iter().filter(|spec| !spec.is_own).collect();
    assert_eq!(theirs.len(), valkeys.len());
    for spec in valkeys {
        let mut reply = ReplyBuf::new(Protocol::Resp2);
        command::table().write_info(spec, &mut reply);
        let Value::Array(mut ours) = decode(&reply.to_vec()) else { panic!("an array") };
        ours.pop();
        assert_eq!(Some(&ours), theirs.get(spec.name.as_bytes()), "{}", spec.name);

        let docs = decode(&connection.call(&words(&["COMMAND", "DOCS", spec.name])).unwrap());
        let docs = format!("{docs:?}");
        for fact in [spec.since, spec.group.name()] {
            let fact = format!("{:?}", Value::Bulk(fact.as_bytes().to_vec()));
            assert!(docs.contains(&fact), "{}: {fact} is not in {docs}", spec.name);
        }
    }
}

/// The arguments of every implemented command in COMMAND DOCS.
#[test]
fn arguments_are_the_references() {
    let reference = Reference::start().unwrap();
    let mut sides = BothSides::new(1, &reference);
    let mut described = 0;
    for spec in command::table().implemented().filter(|spec| !spec.is_own) {
        let [ours, theirs] = sides.call_both(&words(&["COMMAND", "DOCS", spec.name])).map(|docs| {
            let Value::Array(docs) = decode(&docs) else { panic!("an array") };
            let [_, Value::Array(docs)] = &docs[..] else { panic!("the documents of one command") };
            field(docs, b"arguments").map(without_summaries)
        });
        assert_eq!(ours, theirs, "{}", spec.name);
        described += usize::from(ours.is_some());
    }
    assert!(described > 80, "{described} commands have arguments");
}

/// A field of a map as RESP2 has it.
fn field(map: &[Value], name: &[u8]) -> Option<Value> {
    map.chunks(2).find(|pair| pair[0].as_bytes() == Some(name)).map(|pair| pair[1].clone())
}

/// Arguments without the remarks on some of them, which are prose.
fn without_summaries(arguments: Value) -> Value {
    let Value::Array(mut arguments) = arguments else { panic!("arguments are an array") };
    for argument in &mut arguments {
        let Value::Array(fields) = argument else { panic!("an argument is a map") };
        if let Some(at) = fields.chunks(2).position(|pair| pair[0].as_bytes() == Some(b"summary")) {
            fields.drain(2 * at..2 * at + 2);
        }
        if let Some(at) = fields.chunks(2).position(|pair| pair[0].as_bytes() == Some(b"arguments")) {
            fields[2 * at + 1] = without_summaries(fields[2 * at + 1].clone());
        }
    }
    Value::Array(arguments)
}

/// Fields by name, also of a container's subcommands; without the subcommands themselves and the remarks on keys.
fn collect(command: Value, all: &mut BTreeMap<Vec<u8>, Vec<Value>>) {
    let Value::Array(mut fields) = command else { panic!("an array: {command:?}") };
    let Some(Value::Array(subcommands)) = fields.pop() else { panic!("subcommands are an array") };
    if let Some(Value::Array(specs)) = fields.last_mut() {
        for spec in specs {
            let Value::Array(spec) = spec else { panic!("a key specification is an array") };
            if spec[0].as_bytes() == Some(b"notes") {
                spec.drain(..2);
            }
        }
    }
    all.insert(fields[0].as_bytes().unwrap().to_vec(), fields);
    subcommands.into_iter().for_each(|sub| collect(sub, all));
}

#[test]
fn every_exclusion_is_of_a_command_that_is_there() {
    for name in exclusions().commands() {
        assert!(command::table().named(name.as_bytes()).is_some_and(|spec| spec.is_implemented), "{name}");
    }
}
