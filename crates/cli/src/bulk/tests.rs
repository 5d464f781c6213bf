//! Bulk input to scripted servers.

use std::io::Cursor;

use fastness_engine::command::table;
use fastness_types::slot_of;
use parking_lot::Mutex;

use super::*;
use crate::testing::{Answer, Scripted, dead, line, plain};

/// The reply to CLUSTER SLOTS: everything on one node.
fn whole(node: &str) -> String {
    let (host, port) = node.rsplit_once(':').unwrap();
    format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n${}\r\n{host}\r\n:{port}", host.len())
}

/// A node of a cluster, whose topology is what the cell says.
async fn node(slots: &Arc<Mutex<String>>, mut script: impl FnMut(&str) -> Answer + Send + 'static) -> Scripted {
    let slots = slots.clone();
    Scripted::start(move |command| if command == "CLUSTER SLOTS" { line(&slots.lock()) } else { script(command) }).await
}

async fn send(input: &str, node: &Scripted) -> (Tally, Result<(), CliError>) {
    let input = Cursor::new(input.as_bytes().to_vec());
    run(table(), plain(), vec![node.address.clone()], input, None).await
}

fn data_commands(node: &Scripted) -> Vec<String> {
    node.seen().into_iter().filter(|command| command != "CLUSTER SLOTS").collect()
}

#[tokio::test]
async fn commands_go_to_the_nodes_that_serve_their_slots() {
    let slots = Arc::new(Mutex::new(String::new()));
    let (first, second) = (node(&slots, |_| line("+OK")).await, node(&slots, |_| line(":1")).await);
    let half = |from: u32, to: u32, port: u16| format!("*3\r\n:{from}\r\n:{to}\r\n*2\r\n$0\r\n\r\n:{port}");
    let map = [half(0, 8191, first.address.port), half(8192, 16_383, second.address.port)];
    *slots.lock() = format!("*2\r\n{}\r\n{}", map[0], map[1]);
    let input: String = (0..500).map(|key| format!("SET k{key} {key}\n")).collect();
    let (tally, ended) = send(&input, &first).await;
    ended.unwrap();
    assert!(tally.is_success() && tally.replies == 500, "{tally:?}");
    let is_in = |command: &String, range: std::ops::Range<u16>| {
        range.contains(&slot_of(command.split(' ').nth(1).unwrap().as_bytes()).0)
    };
    let (low, high) = (data_commands(&first), data_commands(&second));
    assert!(
        low.iter().all(|command| is_in(command, 0..8192)) && high.iter().all(|command| is_in(command, 8192..16_384))
    );
    assert_eq!(low.len() + high.len(), 500);
}

#[tokio::test]
async fn a_moved_slot_is_followed_in_order() {
    let slots = Arc::new(Mutex::new(String::new()));
    let second = node(&slots, |_| line("+OK")).await;
    let (to, mut count) = (second.address.to_string(), 0);
    let first = node(&slots, move |_| {
        count += 1;
        line(&if count <= 100 { "+OK".to_owned() } else { format!("-MOVED {} {to}", slot_of(b"a").0) })
    })
    .await;
    *slots.lock() = whole(&first.address.to_string());
    let input: String = (0..1000).map(|value| format!("SET a {value}\n")).collect();
    let (tally, ended) = send(&input, &first).await;
    ended.unwrap();
    assert!(tally.is_success() && tally.replies == 1000, "{tally:?}");
    let expected: Vec<String> = (100..1000).map(|value| format!("SET a {value}")).collect();
    assert_eq!(data_commands(&second), expected, "once each, in order");
}

#[tokio::test]
async fn refused_commands_are_sent_again_and_errors_are_counted() {
    let slots = Arc::new(Mutex::new(String::new()));
    let mut refused = 0;
    let first = node(&slots, move |command| match command {
        "SET a 1" if refused < 2 => {
            refused += 1;
            line("-CLUSTERDOWN no primary")
        }
        "SET b x" => line("-ERR no such thing"),
        _ => line("+OK"),
    })
    .await;
    *slots.lock() = whole(&first.address.to_string());
    let (tally, ended) = send("SET a 1\nSET b x\nWATCH a\nnosuch\n", &first).await;
    ended.unwrap();
    assert_eq!((tally.replies, tally.errors, tally.unknown), (3, 2, 0));
    let failures = tally.failures();
    assert!(failures.contains("command 2 (SET): ERR no such thing\n"), "{failures}");
    assert!(failures.contains("command 3 (WATCH): not sent"), "{failures}");
    assert_eq!(data_commands(&first).iter().filter(|command| *command == "SET a 1").count(), 3);
}

/// Units of these lines, for one batch.
fn units(lines: &str) -> Vec<Unit> {
    let mut units = Vec::new();
    let budget = Arc::new(Budget::new(MEMORY_BYTES_MAX));
    input::read_all(lines.as_bytes(), Splitter::new(table(), 0), &budget, |item| {
        if let Item::Unit(unit) = item {
            units.push(unit);
        }
        true
    });
    units
}

#[tokio::test]
async fn what_was_overtaken_is_not_sent_again() {
    let slots = Arc::new(Mutex::new(String::new()));
    let first = node(&slots, |command| line(if command == "SET a 1" { "-CLUSTERDOWN x" } else { "+OK" })).await;
    *slots.lock() = whole(&first.address.to_string());
    let mut tally = Tally::default();
    let mut dispatcher = Dispatcher::connect(plain(), vec![first.address.clone()]).await.unwrap();
    // The second command on the slot succeeds before the first can be sent again.
    dispatcher.run(units("SET a 1\nSET a 2\n"), &mut tally).await.unwrap();
    assert_eq!((tally.replies, tally.errors), (1, 1), "{tally:?}");
    assert!(tally.failures().contains("a later command on the same slot may have been executed"), "{tally:?}");
    assert_eq!(data_commands(&first), ["SET a 1", "SET a 2"]);
}

#[tokio::test]
async fn a_lost_connection_leaves_outcomes_unknown_and_the_rest_is_sent() {
    let slots = Arc::new(Mutex::new(String::new()));
    let first = node(&slots, |command| if command == "SET a 1" { Answer::Close } else { line("+OK") }).await;
    *slots.lock() = whole(&first.address.to_string());
    let mut tally = Tally::default();
    let mut dispatcher = Dispatcher::connect(plain(), vec![first.address.clone()]).await.unwrap();
    dispatcher.run(units("SET b 1\nSET a 1\nSET a 2\n"), &mut tally).await.unwrap();
    dispatcher.run(units("SET c 1\n"), &mut tally).await.unwrap();
    assert_eq!((tally.replies, tally.errors, tally.unknown), (2, 0, 2), "{tally:?}");
    assert_eq!(data_commands(&first), ["SET b 1", "SET a 1", "SET c 1"]);
    assert!(tally.failures().contains("command 2 (SET): 127.0.0.1:"), "{}", tally.failures());
}

#[tokio::test]
async fn a_node_that_is_down_for_a_moment_is_waited_for() {
    let slots = Arc::new(Mutex::new(String::new()));
    let (first, nobody) = (node(&slots, |_| line("+OK")).await, dead());
    *slots.lock() = whole(&nobody.to_string());
    let mut tally = Tally::default();
    let mut dispatcher = Dispatcher::connect(plain(), vec![nobody, first.address.clone()]).await.unwrap();
    let (map, node) = (slots.clone(), first.address.to_string());
    let failover = async move {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        *map.lock() = whole(&node);
    };
    let (ended, ()) = tokio::join!(dispatcher.run(units("SET a 1\nSET a 2\n"), &mut tally), failover);
    ended.unwrap();
    assert_eq!((tally.replies, tally.errors), (2, 0), "{tally:?}");
    assert_eq!(data_commands(&first), ["SET a 1", "SET a 2"]);
}

#[tokio::test]
async fn a_server_without_a_cluster_takes_everything() {
    let node = Scripted::start(|command| {
        line(if command == "CLUSTER SLOTS" { "-ERR This instance has cluster support disabled" } else { "+OK" })
    })
    .await;
    let (tally, ended) = send("SET a 1\nSET b 1\nMULTI\nSET c 1\nEXEC\n", &node).await;
    ended.unwrap();
    assert_eq!((tally.replies, tally.errors), (5, 0), "{tally:?}");
    assert_eq!(data_commands(&node), ["SET a 1", "SET b 1", "MULTI", "SET c 1", "EXEC"]);
}

#[tokio::test]
async fn broken_input_ends_the_run_after_what_came_before() {
    let slots = Arc::new(Mutex::new(String::new()));
    let first = node(&slots, |_| line("+OK")).await;
    *slots.lock() = whole(&first.address.to_string());
    let (tally, ended) = send("SET a 1\n*1\r\nx\r\n", &first).await;
    assert_eq!((tally.replies, tally.errors), (1, 0));
    let error = ended.unwrap_err().to_string();
    assert!(error.starts_with("standard input, byte 8: Protocol error"), "{error}");
    let (_, ended) = run(table(), plain(), vec![dead()], Cursor::new(Vec::new()), None).await;
    assert!(matches!(ended, Err(CliError::Access(_))));
}
