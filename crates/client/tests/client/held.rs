//! Results and events that are not taken: how much of them a client holds, and that it goes on once they are taken.

use std::time::Duration;

use crate::mock::{moved_slots, names, start_node};
use fastness_client::testing::MockFault;
use fastness_client::{CallSettings, ClientError, Operation, PipelineOptions, key_slot};

const LENGTH: usize = 256 * 1024;
/// Time in which a client that reads too much shows it.
const SETTLED: Duration = Duration::from_millis(300);

fn long(number: usize) -> Vec<u8> {
    let mut value = vec![b'x'; LENGTH];
    value[..4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_reads_no_further_than_it_may_hold() {
    const OPERATIONS: usize = 200;
    let node = start_node().await;
    (0..10).for_each(|number| node.put(format!("k{number}"), long(number)));
    // With and without room for all of it.
    for (held_bytes, expected) in [(1024 * 1024, 4..20), (OPERATIONS * 2 * LENGTH, OPERATIONS..OPERATIONS + 1)] {
        let client = node.client_builder().held_bytes(held_bytes).build().unwrap();
        let before = names(&node).len();
        let mut pipeline = client.pipeline();
        for number in 0..OPERATIONS {
            pipeline.try_send(Operation::get(format!("k{}", number % 10))).unwrap();
        }
        let run = || names(&node)[before..].iter().filter(|name| **name == "get").count();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while run() < expected.start {
            assert!(tokio::time::Instant::now() < deadline, "{} with {held_bytes}", run());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(SETTLED).await;
        assert!(run() < expected.end, "{} with {held_bytes}", run());
        for number in 0..OPERATIONS {
            let result = pipeline.next().await.unwrap().unwrap();
            assert!(result.as_value() == Some(&long(number % 10)), "{number}");
        }
        assert!(pipeline.next().await.is_none());
    }
}

/// What is held of one node must not keep back what is waited for of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_result_is_read_whatever_is_held() {
    let (lower, upper) = (start_node().await, start_node().await);
    let key = |upper: bool| (0..).map(|i| format!("k{i}")).find(|key| (key_slot(key.as_bytes()) >= 8_192) == upper);
    let (low, high) = (key(false).unwrap(), key(true).unwrap());
    for node in [&lower, &upper] {
        node.put(&low, long(0));
        node.put(&high, long(1));
    }
    let client = lower.client_builder().held_bytes(1).build().unwrap();
    // Both halves are learned before.
    lower.fail_next(moved_slots(upper.address(), 8_192..=16_383));
    client.get(&high).await.unwrap();
    let mut pipeline = client.pipeline();
    for round in 0..5 {
        lower.fail_next(MockFault::Delayed(Duration::from_millis(50)));
        // Again and moved meanwhile: the line of the next result waits for those on their way.
        if round == 3 {
            upper.fail_next(MockFault::unavailable(Duration::from_millis(20)));
        }
        for number in 0..10 {
            pipeline.try_send(Operation::get(if number % 5 == 0 { &low } else { &high })).unwrap();
        }
        for number in 0..10 {
            let result = tokio::time::timeout(Duration::from_secs(4), pipeline.next()).await.unwrap();
            let value = result.unwrap().unwrap();
            assert!(value.as_value() == Some(&long(usize::from(number % 5 != 0))), "{round}: {number}");
        }
    }
}

#[tokio::test]
async fn a_result_that_was_not_read_is_not_late_because_of_that() {
    let node = start_node().await;
    node.put("a", long(0));
    let client = node.client_builder().held_bytes(1).build().unwrap();
    let deadline = Some(Duration::from_millis(150));
    let hasty = client.with_options(CallSettings { deadline, ..CallSettings::default() });
    let mut pipeline = hasty.pipeline_with(PipelineOptions { in_flight: 20 });
    (0..20).for_each(|_| pipeline.try_send(Operation::get("a")).unwrap());
    tokio::time::sleep(SETTLED).await;
    for number in 0..20 {
        assert!(pipeline.next().await.unwrap().is_ok(), "{number}");
    }
    // Once nothing is held back, the deadline is what it was.
    node.fail_next(MockFault::Hangs);
    pipeline.try_send(Operation::get("a")).unwrap();
    let error = tokio::time::timeout(Duration::from_millis(900), pipeline.next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, ClientError::DeadlineExceeded { .. }), "{error}");
}

#[tokio::test]
async fn a_pipeline_whose_results_are_dropped_ends_although_it_is_full() {
    let node = start_node().await;
    node.put("a", long(0));
    let client = node.client_builder().held_bytes(1).build().unwrap();
    let (mut sender, results) = client.pipeline().split();
    for _ in 0..20 {
        sender.send(Operation::get("a")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(results);
    assert!(matches!(sender.send(Operation::get("a")).await, Err(ClientError::Invalid { .. })));
    assert!(client.get("a").await.unwrap().is_some());
}

/// What was not read is still at the node: it is missed if the node forgets it.
#[tokio::test]
async fn a_watch_reads_no_further_than_it_may_hold() {
    const CHANGES: usize = 40;
    let node = start_node().await;
    let client = node.client_builder().held_bytes(2 * LENGTH).build().unwrap();
    let mut stream = client.watch().start().await.unwrap();
    (0..CHANGES).for_each(|number| node.put("a", long(number)));
    tokio::time::sleep(SETTLED).await;
    node.keep_changes(0);
    let mut taken = 0;
    let error = loop {
        match tokio::time::timeout(Duration::from_secs(20), stream.next()).await.unwrap().unwrap() {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ClientError::PositionPurged { shard: 1, .. }), "{error:?}");
    // Those that are held, and those between the node and the client. By their number alone there were eleven.
    assert!(taken < 8, "{taken}");

    // If it does not, nothing is missed, however little may be held.
    node.keep_changes(CHANGES);
    let client = node.client_builder().held_bytes(1).build().unwrap();
    let mut stream = client.watch().start().await.unwrap();
    (0..CHANGES).for_each(|number| node.put("a", long(number)));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut last = stream.positions().get(1).unwrap();
    for _ in 0..CHANGES {
        let event = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.unwrap().unwrap().unwrap();
        assert!(event.position.index == last.index + 1, "{} after {last}", event.position);
        last = event.position;
    }
}
