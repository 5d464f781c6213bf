//! The watches of the mock server: what they show, where they continue, and how they fail.

use std::time::{Duration, SystemTime};

use fastness_client::testing::{MockFault, MockServer};
use fastness_client::{
    ChangeCause, ChangedExpiry, ChangedValue, Client, ClientError, Code, CurrentContent, Operation, SetExpiry,
    SetOptions, Txn, WatchChange, WatchEvent, WatchPosition, WatchPositions, WatchStream,
};

const MINUTE: Duration = Duration::from_secs(60);

async fn start() -> (MockServer, Client) {
    let server = MockServer::start().await.unwrap();
    let client = server.client_builder().build().unwrap();
    (server, client)
}

async fn next(stream: &mut WatchStream) -> WatchEvent {
    tokio::time::timeout(Duration::from_secs(20), stream.next()).await.unwrap().unwrap().unwrap()
}

async fn failure(stream: &mut WatchStream) -> ClientError {
    let error = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.unwrap().unwrap().unwrap_err();
    assert!(stream.next().await.is_none());
    error
}

/// The keys of the changes, of the next events.
async fn keys(stream: &mut WatchStream, events: usize) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..events {
        let event = next(stream).await;
        let keys = event.changes.iter().flat_map(WatchChange::keys);
        found.push(keys.map(|key| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>().join(","));
    }
    found
}

/// No event comes.
async fn is_silent(stream: &mut WatchStream) {
    let event = tokio::time::timeout(Duration::from_millis(30), stream.next()).await;
    assert!(event.is_err(), "{event:?}");
}

fn value(text: &'static str) -> ChangedValue {
    ChangedValue::Value(text.into())
}

#[tokio::test]
async fn every_change_is_shown_as_what_was_done() {
    let (server, client) = start().await;
    let mut stream = client.watch().start().await.unwrap();
    let at = server.now() + MINUTE;
    let until = |expiry| SetOptions { expiry: Some(expiry), ..SetOptions::default() };
    client.set("a", "1").await.unwrap();
    client.set_with("a", "2", until(SetExpiry::After(MINUTE))).await.unwrap();
    client.increment("a", 3).await.unwrap();
    client.execute(["APPEND", "a", "!"]).await.unwrap();
    client.persist("a").await.unwrap();
    client.expire("a", MINUTE).await.unwrap();
    client.hash_set("h", [("x", "1"), ("y", "2")]).await.unwrap();
    client.hash_delete("h", ["x", "none"]).await.unwrap();
    client.delete("a").await.unwrap();
    // Nothing changes.
    client.delete("a").await.unwrap();
    client.persist("h").await.unwrap();
    client.hash_delete("h", ["none"]).await.unwrap();
    client.get("a").await.unwrap();
    client.increment("h", 1).await.unwrap_err();
    // What has expired when it is set, or gets its time to live, is removed.
    server.put("b", "1");
    client.set_with("b", "2", until(SetExpiry::At(server.now()))).await.unwrap();
    client.execute(["FLUSHALL"]).await.unwrap();
    let set = |key: &'static str, text, expiry| WatchChange::StringSet { key: key.into(), value: value(text), expiry };
    let key = || "a".into();
    let fields = vec![("x".into(), value("1")), ("y".into(), value("2"))];
    let expected = [
        set("a", "1", ChangedExpiry::None),
        set("a", "2", ChangedExpiry::At(at)),
        set("a", "5", ChangedExpiry::Keep),
        WatchChange::StringAppend { key: key(), bytes: value("!") },
        WatchChange::Persist { key: key() },
        WatchChange::Expire { key: key(), at },
        WatchChange::HashSet { key: "h".into(), fields, expiry: ChangedExpiry::None },
        WatchChange::HashDelete { key: "h".into(), fields: vec!["x".into()] },
        WatchChange::Delete { key: key() },
        set("b", "1", ChangedExpiry::Keep),
        WatchChange::Delete { key: "b".into() },
        WatchChange::Flush,
    ];
    for (number, expected) in (1..).zip(expected) {
        let event = next(&mut stream).await;
        assert_eq!((event.shard, event.position), (1, WatchPosition { index: number, unit: 1 }));
        assert_eq!(
            (event.cause, event.time, &event.changes[..]),
            (ChangeCause::Command, server.now(), &[expected][..])
        );
    }
    is_silent(&mut stream).await;
    // A value that is too long for an event.
    client.set("a", vec![b'x'; 2 << 20]).await.unwrap();
    let [WatchChange::StringSet { value, .. }] = &next(&mut stream).await.changes[..] else { panic!() };
    assert_eq!(value, &ChangedValue::Omitted(2 << 20));
}

#[tokio::test]
async fn what_happens_at_one_moment_is_one_event() {
    let (server, client) = start().await;
    let mut stream = client.watch().start().await.unwrap();
    let set = |key: &str| Operation::set(key, "1");
    let txn = Txn::new().then(set("{t}a")).then(set("{t}b")).then(Operation::get("{t}a"));
    client.txn(txn).await.unwrap();
    let results = client.batch([set("c"), set("d")]).await;
    assert!(results.iter().all(Result::is_ok));
    let mut pipeline = client.pipeline();
    ["e", "f"].iter().for_each(|key| pipeline.try_send(set(key)).unwrap());
    while let Some(result) = pipeline.next().await {
        result.unwrap();
    }
    // It happens once, whatever is made of its answer.
    server.fail_next(MockFault::OutcomeUnknown { applied: true });
    client.increment("n", 1).await.unwrap();
    for key in ["c", "d"] {
        client.expire(key, MINUTE).await.unwrap();
    }
    server.advance(MINUTE);
    assert_eq!(keys(&mut stream, 8).await, ["{t}a,{t}b", "c", "d", "e", "f", "n", "c", "d"]);
    let expired = next(&mut stream).await;
    assert_eq!((expired.cause, expired.time, expired.changes.len()), (ChangeCause::Expiry, server.now(), 2));
}

#[tokio::test]
async fn a_watch_shows_its_keys_and_prefixes() {
    let (server, client) = start().await;
    let mut one = client.watch().key("a").start().await.unwrap();
    let mut two = client.watch().key("a").prefix("user:").prefix("x").start().await.unwrap();
    for key in ["a", "b", "user:1", "user", "x"] {
        client.set(key, "1").await.unwrap();
    }
    client.execute(["FLUSHALL"]).await.unwrap();
    client.set("a", "2").await.unwrap();
    assert_eq!(keys(&mut one, 3).await, ["a", "", "a"]);
    assert_eq!(keys(&mut two, 5).await, ["a", "user:1", "x", "", "a"]);
    // Nothing that is watched changes, and the positions advance all the same.
    client.set("b", "2").await.unwrap();
    is_silent(&mut one).await;
    let end = WatchPosition { index: 8, unit: u32::MAX };
    tokio::time::timeout(Duration::from_secs(20), async {
        while one.positions().get(1) != Some(end) {
            let _ = tokio::time::timeout(Duration::from_millis(10), one.next()).await;
        }
    })
    .await
    .unwrap();
    let seen: Vec<_> = server.calls().into_iter().filter(|call| call.name == "watch").map(|call| call.keys).collect();
    assert_eq!(seen, [vec!["a"], vec!["a", "user:", "x"]]);
}

#[tokio::test]
async fn a_watch_continues_after_a_position_or_with_the_oldest_change() {
    let (server, client) = start().await;
    for key in ["a", "b", "c"] {
        client.set(key, "1").await.unwrap();
    }
    let mut oldest = client.watch().from_oldest().start().await.unwrap();
    assert_eq!(keys(&mut oldest, 1).await, ["a"]);
    // As another process has kept it.
    let text = oldest.positions().to_string();
    assert_eq!(text, "1:1.1");
    drop(oldest);
    let after = |text: &str| client.watch().after(text.parse::<WatchPositions>().unwrap());
    let mut stream = after(&text).start().await.unwrap();
    client.set("d", "1").await.unwrap();
    assert_eq!(keys(&mut stream, 3).await, ["b", "c", "d"]);
    let mut within = after("1:2.0").start().await.unwrap();
    assert_eq!(keys(&mut within, 3).await, ["b", "c", "d"]);

    // A bounded number of changes is kept.
    server.keep_changes(2);
    let mut oldest = client.watch().from_oldest().start().await.unwrap();
    assert_eq!(keys(&mut oldest, 2).await, ["c", "d"]);
    let error = after(&text).start().await.err().unwrap();
    assert!(matches!(error, ClientError::PositionPurged { shard: 1, .. }), "{error:?}");
    let mut stream = after("1:2.1").start().await.unwrap();
    assert_eq!(keys(&mut stream, 2).await, ["c", "d"]);
    // A stream that has everything does not mind.
    server.keep_changes(0);
    is_silent(&mut stream).await;
    server.keep_changes(10);
    client.set("e", "1").await.unwrap();
    assert_eq!(keys(&mut stream, 1).await, ["e"]);
    server.keep_changes(0);
    client.set("f", "1").await.unwrap();
    assert!(matches!(failure(&mut stream).await, ClientError::PositionPurged { shard: 1, .. }));

    // A position that is not reached yet.
    server.keep_changes(10);
    let starts = tokio::spawn(after("1:7.1").start());
    tokio::time::sleep(Duration::from_millis(20)).await;
    client.set("g", "1").await.unwrap();
    let mut stream = starts.await.unwrap().unwrap();
    client.set("h", "1").await.unwrap();
    assert_eq!(keys(&mut stream, 1).await, ["h"]);
}

#[tokio::test]
async fn a_cut_watch_misses_and_doubles_nothing() {
    const CHANGES: u64 = 300;
    let (server, client) = start().await;
    let mut streams =
        [client.watch().prefix("k").start().await.unwrap(), client.watch().with_values().start().await.unwrap()];
    let writing = tokio::spawn({
        let (server, client) = (server.clone(), client.clone());
        async move {
            for number in 0..CHANGES {
                client.set(format!("k{number}"), "1").await.unwrap();
                if number % 20 == 0 {
                    server.cut_watches();
                }
            }
        }
    });
    for stream in &mut streams {
        for number in 0..CHANGES {
            let event = next(stream).await;
            assert_eq!(event.position.index, number + 1);
            assert_eq!(event.changes[0].keys().next(), Some(&format!("k{number}").into()));
        }
    }
    writing.await.unwrap();
    let watches = server.calls().iter().filter(|call| call.name == "watch").count();
    assert!(watches > 2, "{watches}");
    drop(streams);
    // They are gone with their streams.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while server.cut_watches() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "streams are still open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_watch_meets_faults_of_its_own() {
    let (server, client) = start().await;
    // Those of calls are not met by a watch.
    server.fail_next(MockFault::refused(Code::ResourceExhausted, "OOM"));
    server.fail_next_watch(MockFault::unavailable(Duration::from_millis(1)));
    server.fail_next_watch(MockFault::Disconnected { applied: false });
    server.fail_next_watch(MockFault::Delayed(Duration::from_millis(20)));
    let mut stream = client.watch().start().await.unwrap();
    assert_eq!(client.set("a", "1").await.unwrap_err().reason(), "OOM");
    // What passes by itself is not noticed.
    server.fail_next_watch(MockFault::refused(Code::ResourceExhausted, "WATCH_TOO_SLOW"));
    assert_eq!(server.cut_watches(), 1);
    client.set("b", "1").await.unwrap();
    assert_eq!(keys(&mut stream, 1).await, ["b"]);
    server.fail_next_watch(MockFault::refused(Code::PermissionDenied, "NOPERM"));
    server.cut_watches();
    assert_eq!(failure(&mut stream).await.reason(), "NOPERM");
    // Another node continues.
    let (other, _) = start().await;
    server.fail_next_watch(MockFault::Moved { address: other.address().to_owned(), slots: 0..=16_383 });
    let mut stream = client.watch().start().await.unwrap();
    other.put("c", "1");
    assert_eq!(keys(&mut stream, 1).await, ["c"]);
    server.fail_next_watch(MockFault::refused(Code::PermissionDenied, "NOPERM"));
    server.heal();
    client.watch().start().await.unwrap();
}

#[tokio::test]
async fn values_are_those_of_a_moment_that_is_not_before_the_event() {
    let (server, client) = start().await;
    let mut stream = client.watch().with_values().start().await.unwrap();
    client.hash_set("h", [("x", "1")]).await.unwrap();
    let at = server.now() + MINUTE;
    client.expire_at("h", at).await.unwrap();
    client.set("long", vec![b'x'; 2 << 20]).await.unwrap();
    client.delete("long").await.unwrap();
    client.set("a", "1").await.unwrap();
    client.increment("a", 1).await.unwrap();
    client.set("long", vec![b'x'; 2 << 20]).await.unwrap();
    let mut latest: Vec<(String, CurrentContent, Option<SystemTime>)> = Vec::new();
    for index in 1..=7 {
        let event = next(&mut stream).await;
        assert_eq!(event.position.index, index);
        for value in event.values {
            assert!(value.position >= event.position);
            let key = String::from_utf8(value.key.to_vec()).unwrap();
            latest.retain(|(other, ..)| *other != key);
            latest.push((key, value.content, value.expires));
        }
    }
    latest.sort_by(|one, other| one.0.cmp(&other.0));
    let hash = CurrentContent::Hash(vec![("x".into(), "1".into(), None)]);
    let expected = [
        ("a".to_owned(), CurrentContent::String("2".into()), None),
        ("h".to_owned(), hash, Some(at)),
        ("long".to_owned(), CurrentContent::Omitted(2 << 20), None),
    ];
    assert_eq!(latest, expected);
    client.delete("a").await.unwrap();
    let event = next(&mut stream).await;
    assert_eq!(event.values[0].content, CurrentContent::Missing);
}
