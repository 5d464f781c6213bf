//! What the client does with what nodes answer: whom it calls next, what it repeats, and what reaches the caller.

use std::time::{Duration, Instant};

use crate::mock::{breaking_proxy, moved, moved_slots, names, refuse, script, start_node, unkeyed};
use fastness_client::testing::MockFault;
use fastness_client::{CallSettings, Client, ClientBuilder, ClientError, ReplyValue, RetryOptions, key_slot};
use tonic::Code;

/// A wait that does not slow the tests down.
const SHORT: Duration = Duration::from_millis(2);

fn builder(addresses: &[&str]) -> ClientBuilder {
    let retries = RetryOptions { backoff_min: SHORT, backoff_max: SHORT, ..RetryOptions::default() };
    let builder = Client::builder().plaintext().retries(retries);
    addresses.iter().fold(builder, |builder, address| builder.address(*address))
}

fn client(addresses: &[&str]) -> Client {
    builder(addresses).build().unwrap()
}

fn unavailable(retry: Option<Duration>) -> MockFault {
    refuse(Code::Unavailable, "CLUSTERDOWN", retry)
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn moved_calls_are_followed_and_the_shard_is_learned() {
    let (first, second) = (start_node().await, start_node().await);
    first.fail_always(moved(&second));
    let client = client(&[first.address()]);
    client.set("a", "1").await.unwrap();
    assert_eq!((names(&first), names(&second)), (vec!["set"], vec!["set"]));
    assert_eq!(client.get("a").await.unwrap().as_deref(), Some(&b"1"[..]));
    client.clone().set("another slot", "2").await.unwrap();
    assert_ne!(key_slot(b"a"), key_slot(b"another slot"));
    assert_eq!(names(&first), ["set"], "the whole shard was learned");
    assert_eq!(names(&second), ["set", "get", "set"]);
}

#[tokio::test]
async fn only_the_slots_of_the_shard_are_learned() {
    let (first, second) = (start_node().await, start_node().await);
    let slot = key_slot(b"a");
    script(&first, [moved_slots(second.address(), slot..=slot)]);
    let client = client(&[first.address()]);
    client.set("a", "1").await.unwrap();
    client.set("a", "2").await.unwrap();
    assert_eq!(names(&second), ["set", "set"]);
    // The other node is known now, and calls without a known place take turns.
    for key in ["b", "c"] {
        client.set(key, "1").await.unwrap();
    }
    assert_eq!((names(&first).len(), names(&second).len()), (2, 3));
}

#[tokio::test]
async fn nodes_that_name_each_other_are_followed_a_few_times_per_try() {
    let (first, second) = (start_node().await, start_node().await);
    first.fail_always(moved(&second));
    second.fail_always(moved(&first));
    let retries = RetryOptions { budget: 2, backoff_min: SHORT, backoff_max: SHORT, budget_per_call: 0.0 };
    let client = builder(&[first.address()]).retries(retries).build().unwrap();
    let error = client.set("a", "1").await.unwrap_err();
    assert!(matches!(&error, ClientError::Unavailable { reason, .. } if reason == "MOVED"), "{error}");
    assert!(!error.may_have_happened());
    // Three tries, each with six calls.
    assert_eq!(names(&first).len() + names(&second).len(), 18);
}

#[tokio::test]
async fn what_the_server_says_has_not_happened_is_tried_again_after_its_time() {
    let node = start_node().await;
    let after = Duration::from_millis(60);
    script(&node, [unavailable(Some(after)), unavailable(Some(after))]);
    let client = client(&[node.address()]);
    let start = Instant::now();
    client.set("a", "1").await.unwrap();
    assert_eq!(names(&node).len(), 3);
    assert!(start.elapsed() >= 2 * after, "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_unavailable_node_is_not_the_only_one_to_be_called() {
    let (first, second) = (start_node().await, start_node().await);
    first.fail_always(unavailable(Some(SHORT)));
    script(&second, [moved(&first)]);
    let client = client(&[second.address(), first.address()]);
    client.set("a", "1").await.unwrap();
    assert_eq!((names(&first).len(), names(&second).len()), (1, 2), "its place was forgotten");
}

#[tokio::test]
async fn a_write_with_an_unknown_outcome_is_never_repeated_without_a_key() {
    let node = start_node().await;
    let client = unkeyed(&client(&[node.address()]));
    for fault in [
        refuse(Code::Unknown, "OUTCOME_UNKNOWN", None),
        // No promise comes with it.
        unavailable(None),
        refuse(Code::Internal, "ERR", None),
        refuse(Code::DeadlineExceeded, "ERR", None),
    ] {
        script(&node, [fault]);
        let before = names(&node).len();
        let error = client.set("a", "1").await.unwrap_err();
        assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error}");
        assert!(error.may_have_happened());
        assert_eq!(names(&node).len(), before + 1);
    }
    script(&node, [refuse(Code::Unknown, "OUTCOME_UNKNOWN", None)]);
    let error = client.execute(["INCR", "a"]).await.unwrap_err();
    assert_eq!(error.reason(), "OUTCOME_UNKNOWN");
    assert!(node.stored("a").is_none());
}

#[tokio::test]
async fn refusals_reach_the_caller_as_they_are() {
    let node = start_node().await;
    script(&node, [refuse(Code::FailedPrecondition, "WRONGTYPE", None)]);
    let client = client(&[node.address()]);
    let error = client.get("a").await.unwrap_err();
    let ClientError::Refused { code, reason, message, .. } = &error else { panic!("{error}") };
    assert_eq!(
        (*code, &**reason, &**message),
        (Code::FailedPrecondition, "WRONGTYPE", "WRONGTYPE a fault of the test")
    );
    // A server that does not know the command.
    let error = client.execute(["LPUSH", "a", "1"]).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: Code::Unimplemented, .. }), "{error}");
    assert_eq!(names(&node), ["get", "execute"]);
    assert_eq!(client.execute(["DBSIZE"]).await.unwrap(), ReplyValue::Integer(0));
    assert!(matches!(client.execute([""; 0]).await, Err(ClientError::Invalid { .. })));
    assert!(matches!(client.delete_many(["a", "b"]).await, Err(ClientError::Invalid { .. })));
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_leads_to_another_node() {
    let node = start_node().await;
    let gone = nobody().await;
    let client = client(&[&gone, node.address()]);
    client.set("a", "1").await.unwrap();
    assert_eq!(names(&node), ["set"]);

    // As does one that was learned.
    script(&node, [moved_slots(&gone, 0..=16_383)]);
    client.set("a", "2").await.unwrap();
    assert_eq!(names(&node), ["set", "set", "set"]);
}

#[tokio::test]
async fn a_read_is_repeated_after_its_connection_broke_and_a_write_is_not() {
    let node = start_node().await;
    let (proxy, broken) = breaking_proxy(2, &node).await;
    let reader = client(&[&proxy]);
    assert_eq!(reader.get("a").await.unwrap(), None);
    assert_eq!((names(&node).len(), *broken.lock().unwrap()), (3, 2));

    let (proxy, broken) = breaking_proxy(1, &node).await;
    let writer = unkeyed(&client(&[&proxy]));
    let error = writer.set("a", "1").await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error}");
    assert_eq!((names(&node).len(), *broken.lock().unwrap()), (4, 1));
    assert!(node.stored("a").is_some(), "it has happened: a repetition would have been a second one");
    writer.set("b", "1").await.unwrap();
    assert_eq!(writer.get("a").await.unwrap().as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_command_that_reads_is_repeated_as_a_read() {
    let node = start_node().await;
    let (proxy, broken) = breaking_proxy(1, &node).await;
    assert_eq!(client(&[&proxy]).execute_read(["STRLEN", "a"]).await.unwrap(), ReplyValue::Integer(0));
    assert_eq!(*broken.lock().unwrap(), 1);
}

#[tokio::test]
async fn the_budget_bounds_the_retries_of_all_clones() {
    let node = start_node().await;
    node.fail_always(unavailable(Some(SHORT)));
    let retries = RetryOptions { backoff_min: SHORT, backoff_max: SHORT, budget: 10, ..RetryOptions::default() };
    let client = builder(&[node.address()]).retries(retries).build().unwrap();
    let calls = (0..20).map(|_| {
        let client = client.clone();
        async move { client.set("a", "1").await.unwrap_err() }
    });
    for error in futures::future::join_all(calls).await {
        assert!(matches!(&error, ClientError::Unavailable { reason, .. } if reason == "CLUSTERDOWN"), "{error}");
    }
    // 20 calls; 10 retries at once, and one for each ten calls at most.
    let tries = names(&node).len();
    assert!((30..=32).contains(&tries), "{tries}");
}

#[tokio::test]
async fn the_deadline_ends_a_call() {
    let node = start_node().await;
    node.fail_always(MockFault::Hangs);
    let client = builder(&[node.address()]).deadline(Duration::from_millis(150)).build().unwrap();
    let start = Instant::now();
    let error = client.get("a").await.unwrap_err();
    assert!(matches!(error, ClientError::DeadlineExceeded { .. }), "{error}");
    let error = client.set("a", "1").await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error}");
    assert!((300..10_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    for call in node.calls() {
        let timeout = call.headers["grpc-timeout"].as_str();
        let digits = timeout.trim_end_matches(char::is_alphabetic);
        let scale = match timeout.trim_start_matches(char::is_numeric) {
            "n" => 1_000_000,
            "u" => 1_000,
            "m" => 1,
            unit => panic!("{unit}"),
        };
        let ms = digits.parse::<u64>().unwrap() / scale;
        assert!(ms <= 150, "{call:?}");
    }

    // One that no clock can represent is no deadline.
    let other = start_node().await;
    let client = builder(&[other.address()]).deadline(Duration::MAX).build().unwrap();
    client.set("a", "1").await.unwrap();

    // A wait that would end after the deadline is not begun.
    other.fail_always(unavailable(Some(Duration::from_secs(60))));
    let client = builder(&[other.address()]).deadline(Duration::from_secs(30)).build().unwrap();
    let start = Instant::now();
    let error = client.set("a", "1").await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(names(&other).len(), 2);
}

#[tokio::test]
async fn settings_and_password_go_with_each_call() {
    let node = start_node().await;
    let client = builder(&[node.address()]).password("default", "secret").build().unwrap();
    client.set("a", "1").await.unwrap();
    let authorization = node.calls()[0].headers.get("authorization").cloned();
    assert_eq!(authorization.as_deref(), Some("Basic ZGVmYXVsdDpzZWNyZXQ="));
    assert!(!format!("{client:?}").contains("secret"));

    node.fail_always(MockFault::Hangs);
    let deadline = Some(Duration::from_millis(50));
    let hasty = client.with_options(CallSettings { deadline, ..CallSettings::default() });
    assert!(matches!(hasty.get("a").await, Err(ClientError::DeadlineExceeded { .. })));
}

#[tokio::test]
async fn calls_that_are_not_read_hold_up_no_other() {
    /// Together they are longer than a connection's window would be by default (5 MiB).
    const CALLS: usize = 100;
    let node = start_node().await;
    node.put("long", vec![b'x'; 200 * 1024]);
    node.put("short", "1");
    let client = client(&[node.address()]);
    assert!(client.get("short").await.unwrap().is_some());
    let mut unread: Vec<_> = (0..CALLS).map(|_| Box::pin(client.get("long"))).collect();
    for call in &mut unread {
        // This sends the request. The response is taken when the call is polled again.
        assert!(futures::poll!(call).is_pending());
    }
    while node.calls().len() < 1 + CALLS {
        tokio::time::sleep(SHORT).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let other = tokio::time::timeout(Duration::from_secs(3), client.get("short")).await;
    assert!(other.unwrap().unwrap().is_some());
    for call in unread {
        assert_eq!(call.await.unwrap().unwrap().len(), 200 * 1024);
    }
}
