//! Pipelines: in which order operations happen, what is sent again, and what reaches the caller.

use std::time::{Duration, Instant};

use crate::mock::{breaking_proxy, moved, moved_slots, names, refuse, script, start_node, unkeyed};
use fastness_client::testing::{MockFault, MockServer};
use fastness_client::{
    CallSettings, Client, ClientError, Code, Operation, OperationResult, Pipeline, PipelineOptions, RetryOptions,
    key_slot,
};

/// A wait that does not slow the tests down.
const SHORT: Duration = Duration::from_millis(2);

fn client_with(budget: u32, node: &MockServer) -> Client {
    let retries = RetryOptions { backoff_min: SHORT, backoff_max: SHORT, budget, budget_per_call: 0.0 };
    node.client_builder().retries(retries).deadline(Duration::from_secs(30)).build().unwrap()
}

fn append(key: &str, text: impl ToString) -> Operation {
    Operation::execute(["APPEND", key, &text.to_string()])
}

/// Sends operations, all of which fit, and takes their results.
async fn run(
    mut pipeline: Pipeline,
    operations: impl IntoIterator<Item = Operation>,
) -> Vec<Result<OperationResult, ClientError>> {
    for operation in operations {
        pipeline.try_send(operation).unwrap();
    }
    let mut results = Vec::new();
    while let Some(result) = pipeline.next().await {
        results.push(result);
    }
    results
}

fn reasons(results: &[Result<OperationResult, ClientError>]) -> Vec<&str> {
    results.iter().map(|result| result.as_ref().err().map_or("", ClientError::reason)).collect()
}

fn stored(node: &MockServer, key: &str) -> String {
    String::from_utf8(node.stored(key).unwrap_or_default().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_come_in_order_from_several_nodes() {
    const OPERATIONS: usize = 2_000;
    let (lower, upper) = (start_node().await, start_node().await);
    let client = lower.client_builder().build().unwrap();
    // Both halves are learned before.
    lower.fail_next(moved_slots(upper.address(), 8_192..=16_383));
    let key = |upper: bool| (0..).map(|i| format!("k{i}")).find(|key| (key_slot(key.as_bytes()) >= 8_192) == upper);
    client.set(key(true).unwrap(), "1").await.unwrap();
    upper.fail_next(moved_slots(lower.address(), 0..=8_191));
    lower.fail_next(moved_slots(lower.address(), 0..=8_191));
    client.set(key(false).unwrap(), "1").await.unwrap();
    lower.heal();
    upper.heal();

    let (mut sender, mut results) = client.pipeline().split();
    let sending = tokio::spawn(async move {
        for number in 0..OPERATIONS {
            let key = format!("k{}", number % 50);
            sender.send(Operation::increment(&key, 1)).await.unwrap();
            sender.send(Operation::set(format!("n{number}"), number.to_string())).await.unwrap();
            sender.send(Operation::get(format!("n{number}"))).await.unwrap();
        }
    });
    for number in 0..OPERATIONS {
        let sum = results.next().await.unwrap().unwrap().as_sum().unwrap();
        assert!(sum > i64::try_from(number / 50).unwrap(), "{number}: {sum}");
        assert!(matches!(results.next().await.unwrap().unwrap(), OperationResult::Set(_)));
        let value = results.next().await.unwrap().unwrap();
        assert_eq!(value.as_value(), Some(number.to_string().as_bytes()));
    }
    assert!(results.next().await.is_none());
    sending.await.unwrap();
    for (node, is_upper) in [(&lower, false), (&upper, true)] {
        let calls = node.calls();
        assert_eq!(calls.iter().filter(|call| call.name == "pipeline").count(), 1);
        let own = calls.iter().filter(|call| call.name == "get");
        assert!(own.clone().count() > OPERATIONS / 4);
        assert!(own.flat_map(|call| &call.keys).all(|key| (key_slot(key) >= 8_192) == is_upper));
    }
}

#[tokio::test]
async fn operations_of_one_key_keep_their_order_when_it_moves() {
    let (first, second) = (start_node().await, start_node().await);
    let client = client_with(0, &first);
    // Three have happened when the slots move.
    script(&first, vec![MockFault::Delayed(SHORT); 3]);
    first.fail_always(moved(&second));
    let results = run(client.pipeline(), (0..10).map(|number| append("a", number))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!((stored(&first, "a"), stored(&second, "a")), ("012".to_owned(), "3456789".to_owned()));
}

#[tokio::test]
async fn an_operation_that_was_overtaken_is_not_sent_again() {
    let (first, second) = (start_node().await, start_node().await);
    let client = client_with(0, &first);
    // The node refuses the second one only.
    script(&first, [MockFault::Delayed(SHORT), moved(&second)]);
    let results = run(client.pipeline(), (0..4).map(|number| append("a", number))).await;
    assert_eq!(reasons(&results), ["", "MOVED", "", ""]);
    assert!(!results[1].as_ref().unwrap_err().may_have_happened());
    assert_eq!((stored(&first, "a"), stored(&second, "a")), ("023".to_owned(), String::new()));

    // Reads may change places, and other slots do not matter.
    let client = client_with(0, &first);
    script(&first, [moved(&second)]);
    let results = run(client.pipeline(), ["a", "a", "b"].map(Operation::get)).await;
    assert_eq!(reasons(&results), [""; 3]);
    script(&first, [moved(&second)]);
    let client = client_with(0, &first);
    let results = run(client.pipeline(), [append("a", "x"), append("b", "y")]).await;
    assert_eq!(reasons(&results), [""; 2]);
    assert_eq!((stored(&first, "b"), stored(&second, "a")), ("y".to_owned(), "x".to_owned()));
}

#[tokio::test]
async fn what_nobody_could_run_is_sent_again_in_order_within_the_budget() {
    let node = start_node().await;
    let again = || MockFault::unavailable(SHORT);
    // One retry is enough for all that wait at the same time.
    script(&node, (0..6).map(|_| again()));
    let keys = ["a", "a", "a", "b", "b", "b"];
    let operations = || keys.iter().enumerate().map(|(number, key)| append(key, number));
    let results = run(client_with(1, &node).pipeline(), operations()).await;
    assert_eq!(reasons(&results), [""; 6]);
    assert_eq!((stored(&node, "a"), stored(&node, "b")), ("012".to_owned(), "345".to_owned()));

    node.fail_always(again());
    let results = run(client_with(2, &node).pipeline(), operations()).await;
    assert_eq!(reasons(&results), ["CLUSTERDOWN"; 6]);
    let client = client_with(1_000, &node);
    let settings = CallSettings { deadline: Some(Duration::from_millis(100)), ..CallSettings::default() };
    let results = run(client.with_options(settings).pipeline(), operations()).await;
    // Which of both it is depends on where it waits when its deadline passes.
    let found = reasons(&results);
    assert!(found.iter().all(|reason| ["CLUSTERDOWN", "OUTCOME_UNKNOWN"].contains(reason)), "{found:?}");
    assert_eq!(stored(&node, "a"), "012");
}

#[tokio::test]
async fn each_operation_has_its_own_outcome_and_unknown_writes_are_not_repeated() {
    let node = start_node().await;
    let client = unkeyed(&client_with(10, &node));
    let wrong = refuse(Code::FailedPrecondition, "WRONGTYPE", None);
    let (happened, not) = (MockFault::OutcomeUnknown { applied: true }, MockFault::OutcomeUnknown { applied: false });
    script(&node, [MockFault::Delayed(SHORT), happened, not, wrong]);
    let invalid = Operation::expire("a", Duration::ZERO);
    let operations = (0..5).map(|number| append("a", number)).chain([invalid, Operation::get("a")]);
    let results = run(client.pipeline(), operations).await;
    assert_eq!(reasons(&results), ["", "OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN", "WRONGTYPE", "", "INVALID", ""]);
    assert_eq!(results[6].as_ref().unwrap().as_value(), Some(&b"014"[..]));
    assert_eq!(names(&node).len(), 1 + 6);
}

#[tokio::test]
async fn a_broken_stream_leaves_writes_unknown_and_repeats_reads() {
    let node = start_node().await;
    let client = unkeyed(&client_with(10, &node));
    script(&node, [MockFault::Delayed(SHORT), MockFault::Disconnected { applied: true }]);
    let operations = [append("a", 0), append("a", 1), append("a", 2), Operation::get("b"), Operation::get("c")];
    let mut pipeline = client.pipeline();
    for operation in operations {
        pipeline.try_send(operation).unwrap();
    }
    let mut results = Vec::new();
    while let Some(result) = pipeline.next().await {
        results.push(result);
    }
    assert_eq!(reasons(&results), ["", "OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN", "", ""]);
    assert_eq!(stored(&node, "a"), "01");
    // The pipeline goes on.
    pipeline.try_send(append("a", 3)).unwrap();
    assert!(pipeline.next().await.unwrap().is_ok());
    assert_eq!(stored(&node, "a"), "013");

    // The same where the connection breaks with the first answer.
    let (proxy, broken) = breaking_proxy(1, &node).await;
    let builder = Client::builder().address(proxy).plaintext();
    let retries = RetryOptions { backoff_min: SHORT, backoff_max: SHORT, ..RetryOptions::default() };
    let client = unkeyed(&builder.retries(retries).build().unwrap());
    let results = run(client.pipeline(), [append("d", 0), Operation::get("b")]).await;
    assert_eq!((reasons(&results), *broken.lock().unwrap()), (vec!["OUTCOME_UNKNOWN", ""], 1));
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_not_the_only_one() {
    let node = start_node().await;
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    node.fail_next(moved_slots(&gone, 0..=16_383));
    let client = client_with(10, &node);
    let results = run(client.pipeline(), (0..5).map(|number| append("a", number))).await;
    // The first one was overtaken by those that the node has run.
    assert_eq!(reasons(&results), ["MOVED", "", "", "", ""]);
    node.fail_next(moved_slots(&gone, 0..=16_383));
    let results = run(client_with(10, &node).pipeline(), [append("b", 0)]).await;
    assert_eq!(reasons(&results), [""]);
    assert_eq!((stored(&node, "a"), stored(&node, "b")), ("1234".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn nodes_that_name_each_other_end_an_operation() {
    let (first, second) = (start_node().await, start_node().await);
    first.fail_always(moved(&second));
    second.fail_always(moved(&first));
    let client = client_with(2, &first);
    let results = run(client.pipeline(), [append("a", 0), append("a", 1), Operation::get("b")]).await;
    assert_eq!(reasons(&results), ["MOVED"; 3]);
    assert!(results.iter().all(|result| !result.as_ref().unwrap_err().may_have_happened()));
    // Three tries of each, with six calls; two streams.
    let operations = |node| names(node).iter().filter(|name| **name != "pipeline").count();
    let sent = operations(&first) + operations(&second);
    assert!((18..=3 * 18).contains(&sent), "{sent}");
    first.heal();
    second.heal();
    let results = run(client.pipeline(), [append("a", 2), Operation::get("a")]).await;
    assert_eq!(results[1].as_ref().unwrap().as_value(), Some(&b"2"[..]));
}

/// Whatever nodes refuse, the operations of a key that have happened have done so in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_with_random_refusals() {
    use rand::{Rng as _, SeedableRng as _};
    const KEYS: usize = 5;
    const OPERATIONS: usize = 600;
    for seed in 0..12 {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let nodes = [start_node().await, start_node().await];
        for (node, other) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
            script(
                node,
                (0..OPERATIONS).map(|_| match random.random_range(0..20) {
                    0 | 1 => moved(other),
                    2 => MockFault::unavailable(SHORT),
                    3 => MockFault::OutcomeUnknown { applied: random.random() },
                    4 if random.random_range(0..10) == 0 => MockFault::Disconnected { applied: random.random() },
                    _ => MockFault::Delayed(Duration::ZERO),
                }),
            );
        }
        // What one of them recognises is new to the other.
        let client = unkeyed(&client_with(10_000, &nodes[0]));
        let (mut sender, mut results) = client.pipeline().split();
        let sending = tokio::spawn(async move {
            for number in 0..OPERATIONS {
                let key = format!("k{}", number % KEYS);
                sender.send(append(&key, format!("{number},"))).await.unwrap();
            }
        });
        let mut happened = vec![Vec::new(); KEYS];
        let mut perhaps = std::collections::BTreeSet::new();
        for number in 0..OPERATIONS {
            match results.next().await.unwrap() {
                Ok(_) => happened[number % KEYS].push(number),
                Err(error) if error.may_have_happened() => drop(perhaps.insert(number)),
                Err(ClientError::Unavailable { .. }) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        sending.await.unwrap();
        for (key, happened) in happened.iter().enumerate() {
            // The two nodes share nothing: each has its own part of the operations, in order.
            let mut found = Vec::new();
            for node in &nodes {
                let text = stored(node, &format!("k{key}"));
                let part: Vec<usize> = text.split_terminator(',').map(|number| number.parse().unwrap()).collect();
                assert!(part.is_sorted_by(|one, next| one < next), "seed {seed}: {text}");
                found.extend(part);
            }
            found.sort_unstable();
            let certain: Vec<usize> = found.into_iter().filter(|number| !perhaps.contains(number)).collect();
            assert_eq!(&certain, happened, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn as_many_are_in_flight_as_may_be() {
    let node = start_node().await;
    let client = client_with(10, &node);
    let mut pipeline = client.pipeline_with(PipelineOptions { in_flight: 3 });
    for number in 0..3 {
        pipeline.try_send(append("a", number)).unwrap();
    }
    let operation = pipeline.try_send(append("a", 3)).unwrap_err().into_operation();
    pipeline.next().await.unwrap().unwrap();
    pipeline.try_send(operation).unwrap();
    let (mut sender, mut results) = pipeline.split();
    let waits = tokio::time::timeout(Duration::from_millis(50), sender.send(append("a", 4))).await;
    assert!(waits.is_err());
    results.next().await.unwrap().unwrap();
    sender.send(append("a", 5)).await.unwrap();
    drop(results);
    assert!(matches!(sender.send(append("a", 6)).await, Err(ClientError::Invalid { .. })));
    assert!(client.get("a").await.unwrap().is_some_and(|text| text.starts_with(b"0123")));
}

#[tokio::test]
async fn a_deadline_returns_the_result_of_its_operation() {
    let node = start_node().await;
    let client = client_with(10, &node);
    let settings = CallSettings { deadline: Some(Duration::from_millis(100)), ..CallSettings::default() };
    node.fail_next(MockFault::Hangs);
    let start = Instant::now();
    let operations = [Operation::get("a"), append("a", 0), Operation::get("b")];
    let results = run(client.with_options(settings).pipeline(), operations).await;
    assert_eq!(reasons(&results), ["DEADLINE_EXCEEDED", "OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED"]);
    assert!((100..10_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_future_that_is_dropped_loses_no_result() {
    let node = start_node().await;
    let client = client_with(10, &node);
    node.fail_next(MockFault::Delayed(Duration::from_millis(80)));
    let mut pipeline = client.pipeline();
    pipeline.try_send(append("a", "first")).unwrap();
    pipeline.try_send(Operation::get("a")).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), pipeline.next()).await.is_err());
    assert!(matches!(pipeline.next().await, Some(Ok(OperationResult::Reply(_)))));
    assert_eq!(pipeline.next().await.unwrap().unwrap().as_value(), Some(&b"first"[..]));
    assert!(pipeline.next().await.is_none());
}
