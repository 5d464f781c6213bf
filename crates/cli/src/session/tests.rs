//! Sessions with scripted servers.

use std::sync::Arc;

use fastness_engine::command::table;

use super::*;
use crate::testing::{Answer, Scripted, dead, line, plain};

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn session(access: Access, nodes: &[&Address]) -> Session {
    Session::new(table(), access, nodes.iter().map(|node| (*node).clone()).collect(), true).unwrap()
}

/// Runs a command; returns its reply and the notes as text.
async fn call(session: &mut Session, line: &str) -> (Result<Value, SessionError>, Vec<String>) {
    let mut notes = Vec::new();
    let reply = session
        .call(&words(line), &mut |note| {
            notes.push(match note {
                Note::Redirected(to) => format!("redirected {}", to.slot),
                Note::Unreachable(_) => "unreachable".to_owned(),
                Note::Lost(_) => "lost".to_owned(),
                Note::Connected(_) => "connected".to_owned(),
                Note::Bound(_) => "bound".to_owned(),
                Note::Push(push) => format!("{push:?}"),
            });
        })
        .await;
    (reply, notes)
}

fn simple(text: &str) -> Value {
    Value::Simple(text.as_bytes().to_vec())
}

#[tokio::test]
async fn moved_is_followed_for_good() {
    let second = Scripted::start(|_| line("+second")).await;
    let to = second.address.to_string();
    let first = Scripted::start(move |_| line(&format!("-MOVED 7 {to}"))).await;
    let mut session = session(plain(), &[&first.address]);
    let (reply, notes) = call(&mut session, "GET a").await;
    assert_eq!((reply.unwrap(), notes), (simple("second"), vec!["connected".to_owned(), "redirected 7".to_owned()]));
    assert_eq!(*session.address(), second.address);
    let (_, notes) = call(&mut session, "GET a").await;
    assert_eq!((notes.len(), first.seen().len(), second.seen().len()), (0, 1, 2));
}

#[tokio::test]
async fn ask_is_followed_for_one_command() {
    let second = Scripted::start(|command| line(if command == "ASKING" { "+OK" } else { "+second" })).await;
    let to = second.address.to_string();
    let first = Scripted::start(move |_| line(&format!("-ASK 7 {to}"))).await;
    let mut session = session(plain(), &[&first.address]);
    assert_eq!(call(&mut session, "GET a").await.0.unwrap(), simple("second"));
    assert_eq!(second.seen(), ["ASKING", "GET a"]);
    assert_eq!(*session.address(), first.address);
}

#[tokio::test]
async fn a_redirection_to_a_dead_node_is_asked_for_again() {
    let second = Scripted::start(|_| line("+second")).await;
    let nobody = dead();
    let (to, mut asked) = (second.address.to_string(), 0);
    let first = Scripted::start(move |_| {
        asked += 1;
        line(&if asked < 3 { format!("-MOVED 7 {nobody}") } else { format!("-MOVED 7 {to}") })
    })
    .await;
    let mut session = session(plain(), &[&first.address]);
    let (reply, notes) = call(&mut session, "GET a").await;
    assert_eq!(reply.unwrap(), simple("second"));
    assert_eq!(notes, ["connected", "unreachable", "unreachable", "redirected 7"]);
}

#[tokio::test]
async fn redirections_in_a_circle_end() {
    let address = Arc::new(parking_lot::Mutex::new(String::new()));
    let to = address.clone();
    let node = Scripted::start(move |_| line(&format!("-MOVED 7 {}", to.lock()))).await;
    *address.lock() = node.address.to_string();
    let mut session = session(plain(), &[&node.address]);
    let reply = call(&mut session, "GET a").await.0.unwrap();
    assert!(reply.as_error().is_some_and(|text| text.starts_with(b"MOVED 7")));
    assert_eq!(node.seen().len(), REDIRECTS_MAX + 1);
}

#[tokio::test]
async fn an_empty_transaction_moves_and_one_with_commands_does_not() {
    let second = Scripted::start(|command| line(if command == "MULTI" { "+OK" } else { "+QUEUED" })).await;
    let to = second.address.to_string();
    let first = Scripted::start(move |command| {
        line(&if command == "MULTI" { "+OK".to_owned() } else { format!("-MOVED 7 {to}") })
    });
    let first = first.await;
    let mut session = session(plain(), &[&first.address]);
    call(&mut session, "MULTI").await.0.unwrap();
    assert_eq!(call(&mut session, "SET a 1").await.0.unwrap(), simple("QUEUED"));
    assert_eq!(second.seen(), ["MULTI", "SET a 1"]);
    let state = session.state();
    assert!(state.in_transaction && state.queued == 1, "{state:?}");
    // From here on the second node redirects as well.
    let third = Scripted::start(|_| line("+OK")).await;
    let to = third.address.to_string();
    let second = Scripted::start(move |command| {
        line(&match command {
            "MULTI" => "+OK".to_owned(),
            "SET a 1" => "+QUEUED".to_owned(),
            _ => format!("-MOVED 8 {to}"),
        })
    })
    .await;
    let mut session = super::Session::new(table(), plain(), vec![second.address.clone()], true).unwrap();
    for command in ["MULTI", "SET a 1"] {
        call(&mut session, command).await.0.unwrap();
    }
    let (reply, notes) = call(&mut session, "SET b 1").await;
    assert!(reply.unwrap().as_error().is_some());
    assert_eq!((notes, third.seen().len()), (vec!["bound".to_owned()], 0));
}

#[tokio::test]
async fn a_command_that_was_sent_is_not_sent_again() {
    let node = Scripted::start(|command| if command == "SET a 1" { Answer::Close } else { line("+OK") }).await;
    let mut session = session(plain(), &[&node.address]);
    let (reply, _) = call(&mut session, "SET a 1").await;
    assert!(matches!(reply, Err(SessionError::OutcomeUnknown { .. })), "{reply:?}");
    assert!(!session.is_connected());
    let (reply, notes) = call(&mut session, "PING").await;
    assert_eq!((reply.unwrap(), notes), (simple("OK"), vec!["connected".to_owned()]));
    assert_eq!(node.seen(), ["SET a 1", "PING"]);
}

/// A connection that was lost while nobody used it is replaced, and the user, the database and the protocol with it;
/// not so if a transaction was lost as well.
#[tokio::test]
async fn an_idle_connection_that_was_lost_is_replaced() {
    // Closes every connection whose client says so with its next command.
    let node = Scripted::start(|command| match command {
        "PING" => Answer::Bytes(b"+PONG\r\n".to_vec()),
        "HELLO 3" => line("%0"),
        _ => line("+OK"),
    })
    .await;
    let access = Access { protocol: ProtocolChoice::Resp3, database: 2, ..plain() };
    let mut session = session(access, &[&node.address]);
    call(&mut session, "AUTH alice secret").await.0.unwrap();
    drop_connection(&mut session).await;
    let (reply, notes) = call(&mut session, "PING").await;
    assert_eq!((reply.unwrap(), notes), (simple("PONG"), vec!["lost".to_owned(), "connected".to_owned()]));
    let seen = node.seen();
    assert_eq!(seen[seen.len() - 4..], ["AUTH alice secret", "HELLO 3", "SELECT 2", "PING"]);
    call(&mut session, "MULTI").await.0.unwrap();
    drop_connection(&mut session).await;
    let (reply, _) = call(&mut session, "SET a 1").await;
    assert!(matches!(reply, Err(SessionError::TransactionLost(_))), "{reply:?}");
    assert!(!node.seen().contains(&"SET a 1".to_owned()));
}

/// Replaces the connection by one that the other side has closed, and lets it look old.
async fn drop_connection(session: &mut Session) {
    let closing = Scripted::start(|_| Answer::Close).await;
    let mut connection = Connection::open(&closing.address, None).await.unwrap();
    connection.send(b"PING\r\n").await.unwrap();
    // The end arrives; the check must find it, also if it has been seen.
    while !connection.is_closed().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    session.connection = Some(connection);
    session.used = Instant::now() - 2 * IDLE;
}

#[tokio::test]
async fn a_node_that_is_down_is_replaced_by_another() {
    let nobody = dead();
    let alive = Scripted::start(|_| line("+OK")).await;
    let mut session = session(plain(), &[&nobody, &alive.address]);
    call(&mut session, "PING").await.0.unwrap();
    assert_eq!(*session.address(), alive.address);
    let mut session = super::Session::new(table(), plain(), vec![nobody], true).unwrap();
    let error = call(&mut session, "PING").await.0.unwrap_err();
    assert!(error.to_string().starts_with("could not connect to 127.0.0.1:"), "{error}");
    assert!(Session::new(table(), plain(), Vec::new(), true).is_err());
}

#[tokio::test]
async fn the_protocol_is_what_the_server_speaks() {
    let old = Scripted::start(|command| line(if command == "HELLO 3" { "-ERR unknown command" } else { "+OK" })).await;
    let access = |protocol| Access { protocol, ..plain() };
    let mut session = session(access(ProtocolChoice::Resp3IfServed), &[&old.address]);
    call(&mut session, "PING").await.0.unwrap();
    assert!(!session.state().is_resp3);
    let mut strict =
        super::Session::new(table(), access(ProtocolChoice::Resp3), vec![old.address.clone()], true).unwrap();
    let error = call(&mut strict, "PING").await.0.unwrap_err();
    assert!(error.to_string().contains("refused HELLO: ERR unknown command"), "{error}");
    // A server that demands a password first speaks RESP3 after that.
    let mut knows = false;
    let closed = Scripted::start(move |command| {
        knows |= command == "AUTH secret";
        line(match command {
            "HELLO 3" if knows => "%0",
            _ if knows => "+OK",
            _ => "-NOAUTH Authentication required.",
        })
    })
    .await;
    let mut session =
        super::Session::new(table(), access(ProtocolChoice::Resp3), vec![closed.address.clone()], true).unwrap();
    assert!(call(&mut session, "GET a").await.0.unwrap().as_error().is_some());
    call(&mut session, "AUTH secret").await.0.unwrap();
    assert!(session.state().is_resp3);
    assert_eq!(closed.seen(), ["HELLO 3", "GET a", "AUTH secret", "HELLO 3"]);
}

#[tokio::test]
async fn messages_are_no_replies() {
    let node = Scripted::start(|_| Answer::Bytes(b">2\r\n+message\r\n+x\r\n+OK\r\n".to_vec())).await;
    let mut session = session(plain(), &[&node.address]);
    let (reply, notes) = call(&mut session, "PING").await;
    assert_eq!(reply.unwrap(), simple("OK"));
    assert!(notes[1].starts_with("Push(["), "{notes:?}");
}

#[tokio::test]
async fn the_state_follows_commands() {
    let node = Scripted::start(|command| line(if command == "SELECT 9" { "-ERR no" } else { "+OK" })).await;
    let mut session = session(plain(), &[&node.address]);
    call(&mut session, "SELECT 3").await.0.unwrap();
    call(&mut session, "SELECT 9").await.0.unwrap();
    call(&mut session, "WATCH a").await.0.unwrap();
    assert_eq!((session.database(), session.state().is_watching), (3, true));
    for (command, in_transaction) in
        [("MULTI", true), ("GET a", true), ("EXEC", false), ("MULTI", true), ("RESET", false)]
    {
        call(&mut session, command).await.0.unwrap();
        assert_eq!(session.state().in_transaction, in_transaction, "{command}");
    }
    assert_eq!(session.database(), 0);
}
