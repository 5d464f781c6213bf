//! The table of keyspace notifications (`engine/tests/notifications.txt`), with which the engine is compared, against a
//! real Valkey server: what it publishes for each command, in order, and the class of each event.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fastness_resp::{Protocol, Value, value};
use fastness_testkit::differential::reference::{Reference, ReferenceConnection, SERVER_VARIABLE, words};

const RECORDED: &str = include_str!("../../engine/tests/notifications.txt");
/// Every class, by its letter.
const CLASSES: &str = "g$lshzxetdmn";
/// How long a server may take to find what has expired.
const ACTIVE_EXPIRY: Duration = Duration::from_millis(400);

/// A subscriber of every notification.
struct Subscriber(ReferenceConnection);

impl Subscriber {
    fn open(server: &Reference) -> Subscriber {
        let mut connection = server.connect(Protocol::Resp2).unwrap();
        connection.call(&words(&["PSUBSCRIBE", "__key*@0__:*"])).unwrap();
        Subscriber(connection)
    }

    /// What has arrived, as the table has it without classes. Each event must have come on both channels.
    fn received(&mut self) -> Vec<String> {
        let mut reply = self.0.call(&words(&["PING"])).unwrap();
        let mut messages = Vec::new();
        loop {
            let (Value::Array(items), _) = value::parse(&reply).unwrap().unwrap() else { panic!("no array") };
            let text = |i: usize| String::from_utf8_lossy(items[i].as_bytes().unwrap()).into_owned();
            if text(0) == "pong" {
                break;
            }
            messages.push((text(2), text(3)));
            reply = self.0.receive().unwrap();
        }
        let events = messages.chunks(2).map(|pair| {
            let (key, event) = (pair[0].0.strip_prefix("__keyspace@0__:").unwrap(), &pair[0].1);
            assert_eq!(pair[1], (format!("__keyevent@0__:{event}"), key.to_owned()));
            format!("{event} {}", key.replacen("{k}", "@", 1))
        });
        events.collect()
    }
}

/// The words of a line of the table.
fn request(line: &str) -> Vec<Vec<u8>> {
    let mut spans = fastness_resp::ArgSpans::new();
    let text = format!("{line}\n");
    let limits = fastness_resp::Limits::DEFAULT;
    fastness_resp::request::parse(text.as_bytes(), &mut spans, &limits).unwrap();
    let key = |word: &[u8]| match word {
        [b'@', name @ ..] => [b"{k}", name].concat(),
        word => word.to_vec(),
    };
    spans.args(text.as_bytes()).iter().map(key).collect()
}

/// Runs the table with these classes, and returns the lines where something else was published.
fn run(server: &Reference, classes: &str) -> Vec<String> {
    let mut client = server.connect(Protocol::Resp2).unwrap();
    let mut call = move |words: &[Vec<u8>]| client.call(words).unwrap();
    call(&words(&["FLUSHALL"]));
    call(&words(&["CONFIG", "SET", "notify-keyspace-events", &format!("KE{classes}")]));
    let (mut subscriber, mut lazy, mut wrong) = (Subscriber::open(server), false, Vec::new());
    for line in RECORDED.lines().filter(|line| !line.starts_with("//") && !line.starts_with('|')) {
        let (command, recorded) = line.split_once(" => ").unwrap_or((line, ""));
        match command.split_once(' ') {
            Some(("#", _)) => _ = call(&words(&["FLUSHALL"])),
            None if command == "lazy" || command == "active" => {
                lazy = command == "lazy";
                call(&words(&["DEBUG", "SET-ACTIVE-EXPIRE", if lazy { "0" } else { "1" }]));
            }
            Some(("wait", ms)) => {
                let span = Duration::from_millis(ms.parse().unwrap());
                std::thread::sleep(if lazy { span } else { span + ACTIVE_EXPIRY });
            }
            _ => _ = call(&request(command)),
        }
        let events = recorded.split(", ").filter_map(|event| event.split_once(':'));
        let expected: Vec<&str> = events.filter(|(class, _)| classes.contains(class)).map(|(_, event)| event).collect();
        let found = subscriber.received();
        if found != expected {
            wrong.push(format!("{classes}: {command}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    wrong
}

#[test]
fn a_real_server_publishes_what_the_table_says() {
    if std::env::var_os(SERVER_VARIABLE).is_none() {
        eprintln!("SKIPPED: {SERVER_VARIABLE} names no valkey-server (deploy/setup/python.sh installs one)");
        return;
    }
    let server = Reference::start().unwrap();
    let mut wrong = run(&server, CLASSES);
    for class in CLASSES.chars() {
        wrong.extend(run(&server, &class.to_string()));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
