//! Writes with idempotency keys: they are sent again when their outcome is unknown, and happen once.

use std::time::Duration;

use crate::mock::{breaking_proxy, names, refuse, script, start_node, unkeyed};
use fastness_client::testing::{MockFault, MockServer};
use fastness_client::{CallSettings, Client, ClientError, Code, Idempotency, Operation, RetryOptions, Txn};

const SHORT: Duration = Duration::from_millis(2);

fn client(address: &str) -> Client {
    let retries = RetryOptions { backoff_min: SHORT, backoff_max: SHORT, budget: 50, ..RetryOptions::default() };
    Client::builder().plaintext().retries(retries).address(address).build().unwrap()
}

fn unknown(applied: bool) -> MockFault {
    MockFault::OutcomeUnknown { applied }
}

fn stored(node: &MockServer, key: &str) -> String {
    String::from_utf8(node.stored(key).unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_write_with_an_unknown_outcome_is_sent_again_and_happens_once() {
    let node = start_node().await;
    let client = client(node.address());
    for (number, applied) in [true, false, true].into_iter().enumerate() {
        script(&node, [unknown(applied), unknown(applied)]);
        assert_eq!(client.increment("n", 1).await.unwrap(), number as i64 + 1, "its first result");
    }
    assert_eq!(names(&node).len(), 9);
    script(&node, [unknown(true)]);
    assert_eq!(client.execute(["incrby", "n", "1"]).await.unwrap(), fastness_client::ReplyValue::Integer(4));
    // Nobody knows that this command writes data, so nothing recognises it.
    script(&node, [unknown(false)]);
    assert_eq!(client.execute(["PUBLISH", "c", "m"]).await.unwrap_err().reason(), "OUTCOME_UNKNOWN");

    let (proxy, broken) = breaking_proxy(2, &node).await;
    assert_eq!(self::client(&proxy).increment("n", 1).await.unwrap(), 5);
    assert_eq!((&*stored(&node, "n"), *broken.lock().unwrap()), ("5", 2));
}

/// A later refusal does not say what an earlier try has done.
#[tokio::test]
async fn an_unknown_outcome_stays_unknown() {
    let node = start_node().await;
    let client = client(node.address());
    for refusal in [
        refuse(Code::FailedPrecondition, "WRONGTYPE", None),
        refuse(Code::ResourceExhausted, "OOM", None),
        refuse(Code::FailedPrecondition, "IDEMPOTENCYPAST", None),
    ] {
        script(&node, [unknown(true), refusal.clone()]);
        let error = client.set("a", "1").await.unwrap_err();
        assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error}");
        script(&node, [refusal.clone()]);
        assert!(matches!(client.set("a", "1").await.unwrap_err(), ClientError::Refused { .. }));
        for refused in [unknown(true), refusal] {
            script(&node, [MockFault::Within(vec![Some(refused)])]);
        }
        let results = client.batch([Operation::set("a", "1")]).await;
        assert!(matches!(results[0], Err(ClientError::OutcomeUnknown { .. })), "{results:?}");
    }
    node.fail_always(refuse(Code::Unavailable, "CLUSTERDOWN", Some(SHORT)));
    script(&node, [unknown(true)]);
    let deadline = Some(Duration::from_millis(50));
    let hasty = client.with_options(CallSettings { deadline, ..CallSettings::default() });
    assert!(matches!(hasty.set("a", "1").await.unwrap_err(), ClientError::OutcomeUnknown { .. }));
}

#[tokio::test]
async fn transactions_batches_and_pipelines_happen_once() {
    let node = start_node().await;
    let client = client(node.address());
    node.put("n", "0");
    script(&node, [unknown(true), unknown(true)]);
    let txn = Txn::new().if_equal("n", "0").then(Operation::increment("n", 1)).otherwise(Operation::get("n"));
    let outcome = client.txn(txn).await.unwrap();
    assert!(outcome.succeeded, "it compares with what was before its own first try");
    assert_eq!(outcome.into_results().unwrap()[0].as_sum(), Some(1));
    script(&node, [MockFault::Within(vec![None, Some(unknown(true)), Some(unknown(false))]), unknown(true)]);
    let results = client.batch((0..3).map(|_| Operation::increment("n", 1))).await;
    let sums: Vec<i64> = results.into_iter().map(|result| result.unwrap().as_sum().unwrap()).collect();
    assert_eq!(sums, [2, 3, 4]);

    script(&node, [unknown(true), MockFault::Disconnected { applied: true }]);
    let mut pipeline = client.pipeline();
    for _ in 0..5 {
        pipeline.try_send(Operation::increment("n", 1)).unwrap();
    }
    let mut sums = Vec::new();
    while let Some(result) = pipeline.next().await {
        sums.push(result.unwrap().as_sum().unwrap());
    }
    assert_eq!((sums, &*stored(&node, "n")), (vec![5, 6, 7, 8, 9], "9"));
}

/// A key that was stored before the write identifies it in another process.
#[tokio::test]
async fn a_key_of_the_caller_is_used_again() {
    let node = start_node().await;
    let key = client(node.address()).new_idempotency_key();
    let with_key = |client: &Client| {
        let key = key.to_string().parse().unwrap();
        client.with_options(CallSettings { idempotency: Idempotency::Key(key), ..CallSettings::default() })
    };
    for _ in 0..2 {
        let process = client(node.address());
        assert_eq!(with_key(&process).increment("n", 5).await.unwrap(), 5);
    }
    assert_eq!(stored(&node, "n"), "5");
    let client = with_key(&client(node.address()));
    let several = client.batch([Operation::increment("n", 1)]).await;
    assert!(matches!(several[0], Err(ClientError::Invalid { .. })), "{several:?}");
    let mut pipeline = client.pipeline();
    pipeline.try_send(Operation::increment("n", 1)).unwrap();
    assert!(matches!(pipeline.next().await.unwrap(), Err(ClientError::Invalid { .. })));
    assert_eq!(unkeyed(&client).increment("n", 1).await.unwrap(), 6);
}
