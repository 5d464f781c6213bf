//! Transactions, updates and batches: what is sent, what is repeated, and in which order results come.

use std::time::{Duration, Instant};

use crate::mock::{batches, moved, moved_slots, names, refuse, script, start_node, unkeyed};
use bytes::Bytes;
use fastness_client::testing::{MockFault, MockServer};
use fastness_client::{
    CONFLICT, CallSettings, Client, ClientError, MOVED, Operation, OperationResult, RetryOptions, Txn, key_slot,
};
use tonic::Code;

/// A wait that does not slow the tests down.
const SHORT: Duration = Duration::from_millis(2);

fn client_with(budget: u32, addresses: &[&str]) -> Client {
    let retries = RetryOptions { backoff_min: SHORT, backoff_max: SHORT, budget, budget_per_call: 0.0 };
    let builder = Client::builder().plaintext().retries(retries).deadline(Duration::from_secs(30));
    addresses.iter().fold(builder, |builder, address| builder.address(*address)).build().unwrap()
}

fn client(addresses: &[&str]) -> Client {
    client_with(10, addresses)
}

fn conflict() -> MockFault {
    refuse(Code::Aborted, CONFLICT, Some(SHORT))
}

fn again() -> Option<MockFault> {
    Some(refuse(Code::Unavailable, "CLUSTERDOWN", Some(SHORT)))
}

fn unknown() -> MockFault {
    refuse(Code::Unknown, "OUTCOME_UNKNOWN", None)
}

fn value(text: &str) -> Result<OperationResult, ClientError> {
    Ok(OperationResult::Value(Some(Bytes::copy_from_slice(text.as_bytes()))))
}

/// Keys with slots in the lower, and in the upper half.
fn halves(count: usize) -> (Vec<String>, Vec<String>) {
    let of = |upper: bool| {
        let keys = (0..).map(|i| format!("k{i}")).filter(|key| (key_slot(key.as_bytes()) >= 8_192) == upper);
        keys.take(count).collect()
    };
    (of(false), of(true))
}

#[tokio::test]
async fn a_transaction_runs_the_operations_that_its_comparisons_choose() {
    let node = start_node().await;
    let client = client(&[node.address()]);
    let txn = || {
        let txn = Txn::new().if_absent("{t}a").then(Operation::set("{t}a", "1")).then(Operation::get("{t}a"));
        txn.otherwise(Operation::get("{t}a"))
    };
    let outcome = client.txn(txn()).await.unwrap();
    assert!(outcome.succeeded);
    assert_eq!(outcome.results.len(), 2);
    assert_eq!(outcome.results[1], value("1"));
    let outcome = client.txn(txn()).await.unwrap();
    assert!(!outcome.succeeded);
    assert_eq!(outcome.into_results().unwrap(), [OperationResult::Value(Some("1".into()))]);
    assert!(client.txn(Txn::new().if_equal("{t}a", "1")).await.unwrap().succeeded);

    // What is wrong is not sent.
    let sent = names(&node).len();
    let wrong = [txn().then(Operation::get("other")), Txn::new(), txn().then(Operation::hash_delete("{t}h", [""; 0]))];
    for txn in wrong {
        let error = client.txn(txn).await.unwrap_err();
        assert!(matches!(error, ClientError::Invalid { .. }), "{error}");
    }
    assert_eq!(names(&node).len(), sent);
}

#[tokio::test]
async fn a_transaction_with_a_conflict_is_tried_again_at_the_same_node() {
    let (first, second) = (start_node().await, start_node().await);
    script(&first, [moved(&second)]);
    script(&second, [conflict(), conflict()]);
    let client = client_with(3, &[first.address()]);
    let txn = || Txn::new().then(Operation::set("a", "1"));
    client.txn(txn()).await.unwrap();
    assert_eq!((names(&first).len(), names(&second).len()), (1, 3));

    // One retry is left.
    second.fail_always(conflict());
    let error = client.txn(txn()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unavailable { reason, .. } if reason == CONFLICT), "{error}");
    assert!(!error.may_have_happened());
    assert_eq!(names(&second).len(), 5);
    second.fail_always(unknown());
    assert!(unkeyed(&client).txn(txn()).await.unwrap_err().may_have_happened());
    assert_eq!((names(&first).len(), names(&second).len()), (1, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_of_many_tasks_all_count() {
    let node = start_node().await;
    // Conflicts are not failures: they take nothing from the budget.
    let client = client_with(0, &[node.address()]);
    let tasks = (0..8).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                let add = |value: Option<Bytes>| {
                    let before: u64 = value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse().unwrap());
                    Some((before + 1).to_string().into())
                };
                client.update("n", add).await.unwrap().unwrap();
            }
        })
    });
    futures::future::join_all(tasks).await.into_iter().for_each(|joined| joined.unwrap());
    assert_eq!(client.get("n").await.unwrap().as_deref(), Some(&b"40"[..]));
}

#[tokio::test]
async fn an_update_ends_when_it_is_told_to_or_nobody_knows_or_time_is_over() {
    let node = start_node().await;
    let client = client(&[node.address()]);
    assert_eq!(client.update("a", |_| None).await.unwrap(), None);
    assert_eq!(names(&node), ["get"]);
    client.set("a", "1").await.unwrap();
    let mut seen = Vec::new();
    // The value changes between each read and the write after it.
    let settings = CallSettings { deadline: Some(Duration::from_millis(200)), ..CallSettings::default() };
    let hasty = client.with_options(settings);
    let start = Instant::now();
    let node_of_closure = node.clone();
    let error = hasty
        .update("a", |before| {
            seen.push(before);
            node_of_closure.put("a", seen.len().to_string().repeat(2));
            Some("never".into())
        })
        .await
        .unwrap_err();
    // Which of both it is depends on when the deadline passes.
    assert!([CONFLICT, "DEADLINE_EXCEEDED", "OUTCOME_UNKNOWN"].contains(&error.reason()), "{error}");
    assert!(seen.len() > 1 && start.elapsed() < Duration::from_secs(10));
    assert_ne!(client.get("a").await.unwrap().as_deref(), Some(&b"never"[..]));

    node.put("a", "1");
    let before = names(&node).len();
    let scripted = node.clone();
    let error = unkeyed(&client)
        .update("a", |_| {
            script(&scripted, [unknown()]);
            Some("2".into())
        })
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error}");
    assert_eq!(names(&node)[before..], ["get", "set"]);
}

#[tokio::test]
async fn a_batch_is_one_message_to_each_node_and_results_keep_their_order() {
    let (lower, upper) = (start_node().await, start_node().await);
    let client = client(&[lower.address()]);
    let (low, high) = halves(3);
    let moved = || Some(moved_slots(upper.address(), 8_192..=16_383));
    // Nothing is known yet: all operations go to one node, which sends some of them on.
    script(&lower, [MockFault::Within(vec![None, moved(), None, moved(), None, moved()])]);
    let keys: Vec<&String> = low.iter().zip(&high).flat_map(|(low, high)| [low, high]).collect();
    let sets = keys.iter().map(|key| Operation::set(key, (*key).clone()));
    assert!(client.batch(sets).await.iter().all(Result::is_ok));
    assert_eq!(batches(&upper), std::slice::from_ref(&high));
    // The other half is learned from either node.
    for node in [&lower, &upper] {
        node.fail_next(moved_slots(lower.address(), 0..=8_191));
    }
    client.get(&low[0]).await.unwrap();
    lower.heal();
    upper.heal();

    let gets: Vec<Operation> = keys.iter().map(Operation::get).collect();
    let run = tokio::spawn(async move { client.batch(gets).await });
    let expect: Vec<_> = keys.iter().map(|key| value(key)).collect();
    assert_eq!(run.await.unwrap(), expect);
    assert_eq!(batches(&lower), [keys.iter().map(ToString::to_string).collect(), low]);
    assert_eq!(batches(&upper), [high.clone(), high]);
}

#[tokio::test]
async fn only_what_has_not_happened_is_in_the_next_message() {
    let node = start_node().await;
    let client = unkeyed(&client(&[node.address()]));
    let refused = Some(refuse(Code::FailedPrecondition, "WRONGTYPE", None));
    script(
        &node,
        [MockFault::Within(vec![None, again(), refused, Some(unknown()), again()]), MockFault::Within(vec![again()])],
    );
    let wrong = Operation::expire("f", Duration::ZERO);
    let sets = ["a", "b", "c", "d", "e"].map(|key| Operation::set(key, "1"));
    let results = client.batch(sets.into_iter().chain([wrong])).await;
    let reasons: Vec<&str> =
        results.iter().map(|result| result.as_ref().err().map_or("", ClientError::reason)).collect();
    assert_eq!(reasons, ["", "", "WRONGTYPE", "OUTCOME_UNKNOWN", "", "INVALID"]);
    assert_eq!(batches(&node), [vec!["a", "b", "c", "d", "e"], vec!["b", "e"], vec!["b"]]);
    assert!(client.batch([]).await.is_empty());
    assert_eq!(names(&node).len(), 3);
}

#[tokio::test]
async fn no_operation_overtakes_another_of_its_slot() {
    let node = start_node().await;
    let client = client(&[node.address()]);
    // The second write has happened before the first could be repeated; the reads have no order.
    script(&node, [MockFault::Within(vec![again(), None, again(), None])]);
    let operations =
        [Operation::set("{t}a", "1"), Operation::set("{t}a", "2"), Operation::get("{u}b"), Operation::get("{u}b")];
    let results = client.batch(operations).await;
    let error = results[0].as_ref().unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }) && !error.may_have_happened(), "{error}");
    assert!(results[1..].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(batches(&node)[1..], [["{u}b"]]);
    assert_eq!(client.get("{t}a").await.unwrap().as_deref(), Some(&b"2"[..]));
}

#[tokio::test]
async fn a_message_that_fails_as_a_whole_repeats_its_reads() {
    let node = start_node().await;
    let client = unkeyed(&client(&[node.address()]));
    script(&node, [unknown()]);
    let results = client.batch([Operation::set("a", "1"), Operation::get("b")]).await;
    assert!(matches!(results[0], Err(ClientError::OutcomeUnknown { .. })), "{results:?}");
    assert_eq!(results[1], Ok(OperationResult::Value(None)));
    assert_eq!(batches(&node), [vec!["a", "b"], vec!["b"]]);

    node.fail_always(MockFault::Hangs);
    let deadline = Some(Duration::from_millis(100));
    let hasty = client.with_options(CallSettings { deadline, ..CallSettings::default() });
    let results = hasty.batch([Operation::set("a", "1"), Operation::get("b")]).await;
    assert!(matches!(results[0], Err(ClientError::OutcomeUnknown { .. })), "{results:?}");
    assert!(matches!(results[1], Err(ClientError::DeadlineExceeded { .. })), "{results:?}");
}

#[tokio::test]
async fn nodes_that_name_each_other_end_a_batch_as_well() {
    let (first, second) = (start_node().await, start_node().await);
    let to = |node: &MockServer| MockFault::Within(vec![Some(moved(node))]);
    script(&first, (0..20).map(|_| to(&second)));
    script(&second, (0..20).map(|_| to(&first)));
    let client = client_with(2, &[first.address()]);
    for operation in [Operation::set("a", "1"), Operation::execute(["EVAL", "return 1", "1", "a"])] {
        let results = client.batch([operation]).await;
        assert!(matches!(&results[0], Err(ClientError::Unavailable { reason, .. }) if reason == MOVED), "{results:?}");
    }
    // Three tries, each with six messages; then one without the budget for another.
    assert_eq!(names(&first).len() + names(&second).len(), 24);
}
