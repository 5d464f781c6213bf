//! The mock server: it answers as a cluster does, and fails as it is told to.

use std::time::{Duration, SystemTime};

use fastness_client::testing::{MockFault, MockServer};
use fastness_client::{
    CallSettings, Client, ClientError, Code, Idempotency, Operation, OperationResult, ReplyValue, SetExpiry, SetIf,
    SetOptions, Txn,
};

const MINUTE: Duration = Duration::from_secs(60);

async fn start() -> (MockServer, Client) {
    let server = MockServer::start().await.unwrap();
    let client = server.client_builder().build().unwrap();
    (server, client)
}

#[tokio::test]
async fn strings_and_counters_are_those_of_a_cluster() {
    let (server, client) = start().await;
    let set_if = |condition| SetOptions { condition: Some(condition), return_previous: true, ..SetOptions::default() };
    assert!(!client.set_with("a", "0", set_if(SetIf::Present)).await.unwrap().applied);
    assert!(client.set_with("a", "1", set_if(SetIf::Absent)).await.unwrap().applied);
    let outcome = client.set_with("a", "2", set_if(SetIf::Equal("1".into()))).await.unwrap();
    assert_eq!((outcome.applied, outcome.previous.as_deref()), (true, Some(&b"1"[..])));
    assert!(!client.set_with("a", "3", set_if(SetIf::Absent)).await.unwrap().applied);
    assert_eq!((client.increment("a", 5).await.unwrap(), client.increment("n", -1).await.unwrap()), (7, -1));
    client.set("text", "x").await.unwrap();
    for (key, by) in [("text", 1), ("a", i64::MAX)] {
        let error = client.increment(key, by).await.unwrap_err();
        assert!(matches!(&error, ClientError::Refused { code: Code::InvalidArgument, .. }), "{error}");
        assert_eq!(error.reason(), "ERR");
    }
    assert!(client.delete("a").await.unwrap() && !client.delete("a").await.unwrap());
    assert_eq!((server.stored("a"), server.stored("text").as_deref()), (None, Some(&b"x"[..])));
}

#[tokio::test]
async fn keys_expire_when_the_test_moves_the_clock() {
    let (server, client) = start().await;
    let after = |span| SetOptions { expiry: Some(SetExpiry::After(span)), ..SetOptions::default() };
    client.set_with("a", "1", after(MINUTE)).await.unwrap();
    client.set_with("b", "1", after(MINUTE)).await.unwrap();
    client.hash_set("h", [("f", "1")]).await.unwrap();
    assert!(client.expire_at("h", server.now() + 2 * MINUTE).await.unwrap());
    assert!(client.persist("b").await.unwrap() && !client.persist("b").await.unwrap());
    server.advance(MINUTE - Duration::from_millis(1));
    let stored = client.get_with_ttl("a").await.unwrap().unwrap();
    assert_eq!(stored.ttl, Some(Duration::from_millis(1)));
    // What exists keeps its time to live where that is asked for.
    let keep = SetOptions { expiry: Some(SetExpiry::Keep), ..SetOptions::default() };
    client.set_with("a", "2", keep).await.unwrap();
    server.advance(Duration::from_millis(1));
    assert_eq!(client.get("a").await.unwrap(), None);
    assert!(client.get("b").await.unwrap().is_some());
    server.advance(MINUTE);
    assert!(client.hash_get_all("h").await.unwrap().is_empty());
    client
        .set_with("b", "1", SetOptions { expiry: Some(SetExpiry::At(server.now())), ..SetOptions::default() })
        .await
        .unwrap();
    assert_eq!(client.get("b").await.unwrap(), None, "its time had come");
    assert!(server.now() > SystemTime::now() + MINUTE);
}

#[tokio::test]
async fn hashes_transactions_and_batches_are_those_of_a_cluster() {
    let (_server, client) = start().await;
    assert_eq!(client.hash_set("{t}h", [("x", "1"), ("y", "2")]).await.unwrap(), 2);
    assert_eq!(client.hash_set("{t}h", [("x", "3")]).await.unwrap(), 0);
    assert_eq!(client.hash_get_many("{t}h", ["x", "none"]).await.unwrap().len(), 1);
    assert_eq!(client.get("{t}h").await.unwrap_err().reason(), "WRONGTYPE");
    let txn = || {
        let txn = Txn::new().if_field_equal("{t}h", "x", "3").if_field_absent("{t}h", "z").if_absent("{t}a");
        let txn = txn.if_exists("{t}h").if_field_exists("{t}h", "y").then(Operation::increment("{t}a", 2));
        txn.then(Operation::increment("{t}h", 1)).otherwise(Operation::hash_get("{t}h", "y"))
    };
    let outcome = client.txn(txn()).await.unwrap();
    assert!(outcome.succeeded && outcome.results[0] == Ok(OperationResult::Sum(2)));
    assert_eq!(outcome.results[1].as_ref().unwrap_err().reason(), "WRONGTYPE");
    let outcome = client.txn(txn()).await.unwrap();
    assert!(!outcome.succeeded && outcome.into_results().unwrap()[0].as_value() == Some(b"2"));
    let wrong = Txn::new().if_equal("{t}h", "1").then(Operation::delete("{t}h"));
    assert_eq!(client.txn(wrong).await.unwrap_err().reason(), "WRONGTYPE");

    let fields = ["x", "y"];
    let results = client.batch([Operation::hash_delete("{t}h", fields), Operation::delete("{t}h")]).await;
    let counts: Vec<_> = results.into_iter().map(|result| result.unwrap().as_count()).collect();
    assert_eq!(counts, [Some(2), Some(0)], "a hash without fields ceases to exist");
}

#[tokio::test]
async fn some_commands_are_run_and_the_others_say_so() {
    let (_server, client) = start().await;
    let run = async |words: &str| client.execute(words.split(' ')).await;
    let (ok, integer) = (|text: &str| Ok(ReplyValue::Status(text.to_owned())), |n| Ok(ReplyValue::Integer(n)));
    let bytes = |text: &'static str| Ok(ReplyValue::Bytes(text.into()));
    for (words, reply) in [
        ("PING", ok("PONG")),
        ("ECHO hello", bytes("hello")),
        ("SET a 1", ok("OK")),
        ("get a", bytes("1")),
        ("APPEND a 2", integer(2)),
        ("INCR a", integer(13)),
        ("INCRBY a 7", integer(20)),
        ("DECR a", integer(19)),
        ("STRLEN a", integer(2)),
        ("TTL a", integer(-1)),
        ("EXPIRE a 60", integer(1)),
        ("TTL a", integer(60)),
        ("PTTL a", integer(60_000)),
        ("PERSIST a", integer(1)),
        ("TTL none", integer(-2)),
        ("HSET h x 1 y 2", integer(2)),
        ("HGET h x", bytes("1")),
        ("HGET h none", Ok(ReplyValue::Null)),
        ("HEXISTS h y", integer(1)),
        ("HLEN h", integer(2)),
        ("HDEL h x", integer(1)),
        ("TYPE h", ok("hash")),
        ("TYPE a", ok("string")),
        ("TYPE none", ok("none")),
        ("EXISTS a h none", integer(2)),
        ("DBSIZE", integer(2)),
        ("DEL a none", integer(1)),
        ("FLUSHALL", ok("OK")),
        ("DBSIZE", integer(0)),
    ] {
        assert_eq!(run(words).await, reply, "{words}");
    }
    for words in ["LPUSH a 1", "SET a 1 EX 5", "GET", "HSET h x"] {
        match run(words).await {
            Err(ClientError::Refused { code: Code::Unimplemented, reason, message, .. }) => {
                assert!(reason == "MOCK_UNIMPLEMENTED" && message.contains(words.split(' ').next().unwrap()));
            }
            other => panic!("{words}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn faults_say_whether_the_call_has_happened() {
    let (server, keyed) = start().await;
    let without = CallSettings { idempotency: Idempotency::Off, ..CallSettings::default() };
    let client = keyed.with_options(without);
    for (applied, expected) in [(true, 1), (false, 1)] {
        server.fail_next(MockFault::OutcomeUnknown { applied });
        assert!(client.increment("n", 1).await.unwrap_err().may_have_happened());
        assert_eq!(client.increment("n", 0).await.unwrap(), expected);
    }
    server.fail_next(MockFault::Disconnected { applied: true });
    assert!(matches!(client.increment("n", 1).await, Err(ClientError::OutcomeUnknown { .. })));
    server.fail_next(MockFault::Disconnected { applied: false });
    assert_eq!(client.get("n").await.unwrap().as_deref(), Some(&b"2"[..]), "a read is tried again");
    server.fail_next(MockFault::OutcomeUnknown { applied: true });
    let txn = Txn::new().if_equal("n", "2").then(Operation::increment("n", 1));
    assert!(client.txn(txn).await.unwrap_err().may_have_happened());
    assert_eq!(server.stored("n").as_deref(), Some(&b"3"[..]));

    server.fail_next(MockFault::refused(Code::ResourceExhausted, "OOM"));
    assert_eq!(client.set("n", "9").await.unwrap_err().reason(), "OOM");
    server.fail_next(MockFault::Delayed(Duration::from_millis(50)));
    let start = std::time::Instant::now();
    client.set("n", "4").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50));

    server.fail_always(MockFault::Hangs);
    let deadline = Some(Duration::from_millis(50));
    let hasty = client.with_options(CallSettings { deadline, ..CallSettings::default() });
    assert!(matches!(hasty.get("n").await, Err(ClientError::DeadlineExceeded { .. })));
    server.heal();
    let calls = server.calls().len();
    client.get("n").await.unwrap();
    let last = &server.calls()[calls];
    assert_eq!((last.name, &last.keys[..]), ("get", &["n".into()][..]));
    assert!(last.headers.contains_key("grpc-timeout"));
}

#[tokio::test]
async fn a_server_ends_with_its_last_handle() {
    let (server, client) = start().await;
    let other = server.clone();
    drop(server);
    client.set("a", "1").await.unwrap();
    let address = other.address().to_owned();
    drop(other);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "it still listens");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
