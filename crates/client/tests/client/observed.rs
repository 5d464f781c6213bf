//! What an observer and a layer learn of calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::mock::{moved, refuse, script, start_node, unkeyed};
use fastness_client::testing::MockFault;
use fastness_client::{CallObserver, CallSettings, Client, Code, FinishedCall, Operation, OutcomeKind, Txn};

/// Keeps what it learns.
#[derive(Default)]
struct SeenOutcomes(Mutex<Vec<(&'static str, u32, OutcomeKind, String)>>);

impl SeenOutcomes {
    fn take(&self) -> Vec<(&'static str, u32, OutcomeKind, String)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl CallObserver for SeenOutcomes {
    fn call_finished(&self, call: &FinishedCall<'_>) {
        let reason = call.error.map_or("", |error| error.reason()).to_owned();
        self.0.lock().unwrap().push((call.operation, call.attempts, call.outcome, reason));
    }
}

fn hasty(client: &Client) -> Client {
    client.with_options(CallSettings { deadline: Some(Duration::from_millis(50)), ..CallSettings::default() })
}

#[tokio::test]
async fn every_call_is_reported_once_with_its_attempts() {
    let (first, second) = (start_node().await, start_node().await);
    let seen = Arc::new(SeenOutcomes::default());
    let client = first.client_builder().observer(seen.clone()).build().unwrap();
    let one = |name, attempts, outcome, reason: &str| vec![(name, attempts, outcome, reason.to_owned())];

    script(&first, [moved(&second)]);
    script(&second, [MockFault::unavailable(Duration::from_millis(1))]);
    script(&first, [moved(&second)]);
    client.set("a", "1").await.unwrap();
    let calls = seen.take();
    assert_eq!((calls.len(), calls[0].0, calls[0].2), (1, "set", OutcomeKind::Ok));
    assert!(calls[0].1 >= 3, "{calls:?}");

    script(&second, [refuse(Code::FailedPrecondition, "WRONGTYPE", None)]);
    client.hash_get("a", "f").await.unwrap_err();
    assert_eq!(seen.take(), one("hash_get", 1, OutcomeKind::Refused, "WRONGTYPE"));
    script(&second, [MockFault::OutcomeUnknown { applied: false }]);
    unkeyed(&client).txn(Txn::new().then(Operation::set("a", "1"))).await.unwrap_err();
    assert_eq!(seen.take(), one("txn", 1, OutcomeKind::OutcomeUnknown, "OUTCOME_UNKNOWN"));
    assert!(client.execute([""; 0]).await.is_err() && seen.take().is_empty(), "nothing was sent");

    // Its place has been forgotten with the unknown outcome.
    for node in [&first, &second] {
        node.fail_always(MockFault::Hangs);
    }
    hasty(&client).get("a").await.unwrap_err();
    assert_eq!(seen.take(), one("get", 1, OutcomeKind::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    tokio::time::timeout(Duration::from_millis(20), client.increment("a", 1)).await.unwrap_err();
    assert_eq!(seen.take(), one("increment", 1, OutcomeKind::Dropped, ""));
    for node in [&first, &second] {
        node.heal();
    }

    let results = client.batch([Operation::set("{b}", "x"), Operation::increment("{b}", 1)]).await;
    assert!(results[1].is_err());
    assert_eq!(seen.take(), one("batch", 1, OutcomeKind::Refused, "ERR"));
}

#[tokio::test]
async fn layers_see_each_attempt_and_what_they_fail_is_classified() {
    use tonic::body::Body;
    use tonic::codegen::http::Request;

    let node = start_node().await;
    let tag = |value: &'static str| {
        tower::util::MapRequestLayer::new(move |mut request: Request<Body>| {
            request.headers_mut().append("x-layer", value.parse().unwrap());
            request
        })
    };
    // The one that was added last is the outermost.
    let client = node.client_builder().layer(tag("inner")).layer(tag("outer")).build().unwrap();
    script(&node, [MockFault::unavailable(Duration::from_millis(1))]);
    client.set("a", "1").await.unwrap();
    assert_eq!(node.calls().len(), 2);
    for call in node.calls() {
        assert_eq!(call.headers["x-layer"], "inner");
    }
}
