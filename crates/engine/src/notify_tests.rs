//! Compares what the engine notifies of with what a real Valkey has published (`tests/notifications.txt`).

use crate::notify::{Notification, NotifyClasses};
use crate::testing::Bench;

const RECORDED: &str = include_str!("../tests/notifications.txt");

/// `class:event key`, as the table has them.
fn shown(one: &Notification<'_>) -> String {
    let key = String::from_utf8_lossy(one.key).replacen("{k}", "@", 1);
    format!("{}:{} {key}", one.class.text(), one.event)
}

fn taken(bench: &mut Bench) -> String {
    let unit = bench.engine.take_notifications();
    unit.iter().map(|one| shown(&one)).collect::<Vec<_>>().join(", ")
}

/// The words of a line: quotes join, and `\xhh` and `\n` are bytes.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut spans = fastness_resp::ArgSpans::new();
    let text = format!("{line}\n");
    let limits = fastness_resp::Limits::DEFAULT;
    let parsed = fastness_resp::request::parse(text.as_bytes(), &mut spans, &limits).unwrap();
    assert!(matches!(parsed, fastness_resp::Parsed::Complete { .. }), "{line}");
    let key = |word: &[u8]| match word {
        [b'@', name @ ..] => [b"{k}", name].concat(),
        word => word.to_vec(),
    };
    spans.args(text.as_bytes()).iter().map(key).collect()
}

#[test]
fn what_valkey_publishes() {
    let all = NotifyClasses::parse("KEAmn").unwrap();
    let (mut bench, mut lazy, mut count, mut wrong) = (Bench::new(), false, 0, Vec::new());
    bench.engine.set_notify_classes(all);
    let mut lines = RECORDED.lines().filter(|line| !line.starts_with("//")).peekable();
    while let Some(line) = lines.next() {
        let (request, recorded) = line.split_once(" => ").unwrap_or((line, ""));
        let here = lines.next_if(|next| next.starts_with('|')).map(|next| next[1..].trim());
        match request.split_once(' ') {
            Some(("#", _)) => _ = bench.run(&[b"FLUSHALL"]),
            None if request == "lazy" || request == "active" => lazy = request == "lazy",
            Some(("wait", ms)) => {
                bench.now.0 += ms.parse::<u64>().unwrap();
                if !lazy {
                    bench.engine.expire_due(bench.now, 100, &mut bench.effects);
                }
            }
            _ => {
                let words = words(request);
                let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                let reply = bench.run(&words);
                assert!(!reply.starts_with(b"-ERR unknown"), "{request}: {}", reply.escape_ascii());
                count += 1;
            }
        }
        let (expected, found) = (here.unwrap_or(recorded), taken(&mut bench));
        if found != expected {
            wrong.push(format!("{request}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(count > 700, "only {count} commands");
    assert!(wrong.is_empty(), "{} of {count} commands:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_class_is_made_if_it_is_wanted_and_none_without() {
    for (classes, expected) in [
        ("Kg", "g:expire k, g:del k"),
        ("E$", "$:set k"),
        ("Kn", "n:new k"),
        ("Km", "m:keymiss k"),
        ("KA", "$:set k, g:expire k, g:del k"),
        ("Am", ""),
        ("", ""),
    ] {
        let mut bench = Bench::new();
        bench.engine.set_notify_classes(NotifyClasses::parse(classes).unwrap());
        for command in ["GET k", "SET k v EX 9", "DEL k"] {
            bench.run(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
        assert_eq!(taken(&mut bench), expected, "{classes}");
        assert!(!bench.engine.has_notifications());
    }
}

#[test]
fn a_unit_that_is_rolled_back_notifies_of_nothing() {
    let mut bench = Bench::new();
    bench.engine.set_notify_classes(NotifyClasses::parse("KEAmn").unwrap());
    bench.engine.keep_undo(1 << 20);
    bench.engine.begin_unit(&mut bench.effects, 1 << 20);
    bench.run(&[b"SET", b"kept", b"1"]);
    bench.engine.end_unit(fastness_types::Seq(1));
    let savepoint = bench.engine.begin_unit(&mut bench.effects, 1 << 20);
    bench.run(&[b"SET", b"kept", b"2"]);
    bench.run(&[b"GET", b"other"]);
    bench.engine.roll_back(savepoint, &mut bench.effects);
    assert_eq!(taken(&mut bench), "n:new kept, $:set kept");
}
