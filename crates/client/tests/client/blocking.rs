//! The client for code that is not async: its calls, and where they may be made.

use std::time::{Duration, Instant, SystemTime};

use fastness_client::testing::{MockFault, MockServer};
use fastness_client::{
    CallSettings, ClientError, Operation, PipelineOptions, ReplyValue, SetIf, SetOptions, Txn, WatchEvent, blocking,
};
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

#[test]
fn a_pipeline_is_an_iterator_over_results() {
    let (_runtime, server, client) = start();
    let mut pipeline = client.pipeline_with(PipelineOptions { in_flight: 3 });
    let append = |text: usize| Operation::execute(["APPEND", "a", &text.to_string()]);
    (0..3).for_each(|number| pipeline.try_send(append(number)).unwrap());
    let operation = pipeline.try_send(append(3)).unwrap_err().into_operation();
    assert!(pipeline.next().unwrap().is_ok());
    pipeline.try_send(operation).unwrap();
    assert_eq!(pipeline.by_ref().map(Result::unwrap).count(), 3);
    assert!(pipeline.next().is_none());
    // It has further results once more is sent.
    server.fail_next(MockFault::Delayed(Duration::from_millis(200)));
    pipeline.try_send(Operation::get("a")).unwrap();
    assert_eq!(pipeline.next_timeout(Duration::from_millis(10)), Err(blocking::WaitTimedOut));
    let result = pipeline.next_timeout(Duration::from_secs(20)).unwrap().unwrap().unwrap();
    assert_eq!(result.as_value(), Some(&b"0123"[..]), "nothing was lost");
    assert_eq!(pipeline.next_timeout(Duration::from_secs(20)), Ok(None));
}

#[test]
fn the_ends_of_a_pipeline_are_for_two_threads() {
    const OPERATIONS: i64 = 2_000;
    let (_runtime, server, client) = start();
    let (mut sender, mut results) = client.pipeline().split();
    drop(client);
    std::thread::scope(|scope| {
        scope.spawn(move || (0..OPERATIONS).for_each(|_| sender.send(Operation::increment("n", 1)).unwrap()));
        assert!(results.next_timeout(Duration::from_secs(20)).unwrap().unwrap().is_ok());
        let sums: Vec<_> = results.map(|result| result.unwrap().as_sum().unwrap()).collect();
        assert_eq!(sums, (2..=OPERATIONS).collect::<Vec<_>>());
    });

    // Without its results, a pipeline ends at once.
    let client = server.client_builder().build_blocking().unwrap();
    let (mut sender, results) = client.pipeline().split();
    server.fail_next(MockFault::Delayed(Duration::from_millis(50)));
    sender.send(Operation::get("n")).unwrap();
    drop(results);
    assert!(matches!(sender.send(Operation::get("n")), Err(ClientError::Invalid { .. })));
    assert_eq!(client.increment("n", 0).unwrap(), OPERATIONS);
}

#[test]
fn a_watch_is_an_iterator_over_events() {
    let (_runtime, server, client) = start();
    let index = |event: Result<WatchEvent, ClientError>| event.unwrap().position.index;
    let mut events = client.watch().key("a").prefix("user:").with_values().start().unwrap();
    for key in ["a", "b", "user:1"] {
        client.set(key, "1").unwrap();
    }
    let first = events.next().unwrap().unwrap();
    assert_eq!((first.position.index, first.values.len()), (1, 1));
    assert_eq!(events.next().map(index), Some(3));
    let started = Instant::now();
    assert_eq!(events.next_timeout(Duration::from_millis(20)), Err(blocking::WaitTimedOut));
    assert!(started.elapsed() >= Duration::from_millis(20));
    server.cut_watches();
    client.delete("a").unwrap();
    let event = events.next_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(event.map(index), Some(4));
    // In another process.
    let positions = events.positions().clone();
    drop(events);
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.cut_watches() > 0 {
        assert!(Instant::now() < deadline, "the stream is still open");
        std::thread::sleep(Duration::from_millis(10));
    }
    client.set("c", "1").unwrap();
    let found: Vec<_> = client.watch().after(positions.clone()).start().unwrap().take(1).map(index).collect();
    assert_eq!(found, [5]);
    let found: Vec<_> = client.watch().from_oldest().start().unwrap().take(5).map(index).collect();
    assert_eq!(found, [1, 2, 3, 4, 5]);
    // An error ends it.
    server.keep_changes(0);
    let error = client.watch().after(positions.clone()).start().unwrap_err();
    assert!(matches!(error, ClientError::PositionPurged { .. }), "{error:?}");
    let mut events = client.watch().start().unwrap();
    client.set("c", "2").unwrap();
    assert!(matches!(events.next(), Some(Err(ClientError::PositionPurged { .. }))));
    assert!(events.next().is_none());
}

#[test]
fn pipelines_and_watches_may_outlive_their_client_and_be_dropped_anywhere() {
    let (runtime, server, client) = start();
    let (mut pipeline, mut events) = (client.pipeline(), client.watch().start().unwrap());
    drop(client);
    pipeline.try_send(Operation::set("a", "1")).unwrap();
    assert!(pipeline.next().unwrap().is_ok());
    assert!(events.next().unwrap().is_ok());
    runtime.block_on(runtime.spawn(async move { drop((pipeline, events)) })).unwrap();
    assert!(server.stored("a").is_some());
}
