//! The client for code that is not async: its calls, and where they may be made.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use fastness_client::testing::{MockFault, MockServer};
use fastness_client::{CallSettings, ClientError, Operation, ReplyValue, SetIf, SetOptions, Txn, blocking};
use tokio::runtime::Runtime;

/// A server on a runtime that is not the client's.
fn start() -> (Runtime, MockServer, blocking::Client) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(MockServer::start()).unwrap();
    let client = server.client_builder().build_blocking().unwrap();
    (runtime, server, client)
}

#[test]
fn every_call_waits_for_its_result() {
    let (_runtime, server, client) = start();
    client.set("{t}a", "1").unwrap();
    assert_eq!(client.get("{t}a").unwrap().as_deref(), Some(&b"1"[..]));
    let absent = SetOptions { condition: Some(SetIf::Absent), ..SetOptions::default() };
    assert!(!client.set_with("{t}a", "2", absent).unwrap().applied);
    assert_eq!(client.increment("{t}a", 4).unwrap(), 5);
    assert!(client.expire("{t}a", Duration::from_secs(60)).unwrap());
    assert!(client.get_with_ttl("{t}a").unwrap().unwrap().ttl.is_some());
    assert!(client.expire_at("{t}a", SystemTime::now() + Duration::from_secs(60)).unwrap());
    assert!(client.persist("{t}a").unwrap());
    assert_eq!(client.hash_set("{t}h", [("x", "1"), ("y", "2"), ("z", "3")]).unwrap(), 3);
    assert_eq!(client.hash_get("{t}h", "y").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(client.hash_get_many("{t}h", ["x", "none"]).unwrap().len(), 1);
    assert_eq!(client.hash_delete("{t}h", ["z"]).unwrap(), 1);
    assert_eq!(client.hash_get_all("{t}h").unwrap().len(), 2);
    assert_eq!(client.execute(["APPEND", "{t}a", "0"]).unwrap(), ReplyValue::Integer(2));
    assert_eq!(client.execute_read(["STRLEN", "{t}a"]).unwrap(), ReplyValue::Integer(2));
    let txn = Txn::new().if_equal("{t}a", "50").then(Operation::increment("{t}a", 1));
    assert!(client.txn(txn).unwrap().succeeded);
    let more = client.update("{t}a", |before| Some([before.unwrap(), "!".into()].concat().into())).unwrap();
    assert_eq!(more.as_deref(), Some(&b"51!"[..]));
    let results = client.batch([Operation::get("{t}a"), Operation::hash_get("{t}h", "x")]);
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(client.delete_many(["{t}a", "{t}h"]).unwrap(), 2);
    assert!(!client.delete("{t}a").unwrap());

    server.fail_always(MockFault::Hangs);
    let deadline = Some(Duration::from_millis(50));
    let hasty = client.with_options(CallSettings { deadline, ..CallSettings::default() });
    assert!(matches!(hasty.set("{t}a", "1"), Err(ClientError::OutcomeUnknown { .. })));
}

#[test]
fn threads_share_one_client() {
    let (_runtime, _server, client) = start();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| assert!(client.increment("n", 1).is_ok())));
        }
    });
    assert_eq!(client.increment("n", 0).unwrap(), 400);
}

#[test]
fn within_an_async_context_a_call_panics_and_spawn_blocking_works() {
    let (runtime, _server, client) = start();
    let within = client.clone();
    let failed = runtime.block_on(runtime.spawn(async move { within.get("a") })).unwrap_err();
    let panic = failed.into_panic();
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    assert!(text.contains("within a runtime"), "{text}");

    let within = client.clone();
    let result = runtime.block_on(runtime.spawn_blocking(move || within.set("a", "1"))).unwrap();
    result.unwrap();
    // It may be dropped anywhere.
    runtime.block_on(runtime.spawn(async move { drop(client) })).unwrap();
}
