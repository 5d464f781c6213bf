//! Reads on replicas: what the client does with what a replica answers.

use std::time::{Duration, Instant};

use crate::mock::{names, refuse, script, start_node};
use fastness_client::testing::{MockFault, MockServer};
use fastness_client::{CallSettings, Client, ClientError, ReadConsistency, RetryOptions};
use tonic::Code;

const ANY_AGE: ReadConsistency = ReadConsistency::Replica { max_staleness: None };

/// A client without any retry that has learned the topology, so that its reads go to the node as a replica first.
async fn following(node: &MockServer) -> Client {
    let retries = RetryOptions { budget: 0, ..RetryOptions::default() };
    let builder = node.client_builder().retries(retries).deadline(Duration::from_secs(4));
    let client = builder.build().unwrap();
    let client = client.with_options(CallSettings { consistency: ANY_AGE, ..CallSettings::default() });
    node.put("a", "1");
    // What a replica refuses as wrong, the primary is asked as well: nodes of older versions do not know such reads.
    for _ in 0..500 {
        script(node, [refuse(Code::InvalidArgument, "INVALID_REQUEST", None)]);
        if client.get("a").await.is_ok() {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the topology was not learned");
}

#[tokio::test]
async fn the_primary_answers_at_once_what_a_replica_does_not() {
    let node = start_node().await;
    let client = following(&node).await;
    let later = Some(Duration::from_secs(60));
    for fault in [
        refuse(Code::Unavailable, "STALE", later),
        refuse(Code::Unavailable, "LOADING", later),
        refuse(Code::ResourceExhausted, "", None),
    ] {
        let before = names(&node).len();
        script(&node, [fault.clone()]);
        let start = Instant::now();
        assert_eq!(client.get("a").await.unwrap().as_deref(), Some(&b"1"[..]), "{fault:?}");
        assert_eq!(names(&node).len(), before + 2, "{fault:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{fault:?}: {:?}", start.elapsed());
        // A node that has failed is not asked for a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
}

#[tokio::test]
async fn a_replica_that_does_not_answer_leaves_time_for_the_primary() {
    let node = start_node().await;
    let client = following(&node).await;
    let before = names(&node).len();
    script(&node, [MockFault::Hangs]);
    let start = Instant::now();
    assert!(client.get("a").await.unwrap().is_some());
    assert!((Duration::from_millis(900)..Duration::from_secs(3)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(names(&node).len(), before + 2);
    assert!(client.get("a").await.unwrap().is_some());
    assert_eq!(names(&node).len(), before + 3, "it has just failed: only the primary is called");
}

#[tokio::test]
async fn an_error_of_the_data_is_the_same_on_every_node() {
    let node = start_node().await;
    let client = following(&node).await;
    let before = names(&node).len();
    script(&node, [refuse(Code::FailedPrecondition, "WRONGTYPE", None)]);
    let error = client.get("a").await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { reason, .. } if reason == "WRONGTYPE"), "{error}");
    assert_eq!(names(&node).len(), before + 1);
}

#[tokio::test]
async fn only_reads_of_one_key_go_to_replicas() {
    let node = start_node().await;
    let client = following(&node).await;
    let wrong = || script(&node, [refuse(Code::InvalidArgument, "INVALID_REQUEST", None)]);
    wrong();
    client.set("a", "2").await.unwrap_err();
    wrong();
    client.execute(["GET", "a"]).await.unwrap_err();
    wrong();
    client.txn(fastness_client::Txn::new().if_exists("a")).await.unwrap_err();
    wrong();
    client.update("a", |before| before).await.unwrap_err();
    wrong();
    assert!(client.execute_read(["STRLEN", "a"]).await.is_ok());
    wrong();
    assert!(client.hash_get("h", "f").await.is_ok());
    wrong();
    let primary = client.with_options(CallSettings::default());
    primary.get("a").await.unwrap_err();
}

#[tokio::test]
async fn a_node_that_refuses_what_a_primary_does_is_asked_as_a_replica() {
    let node = start_node().await;
    let client = following(&node).await;
    let primary = client.with_options(CallSettings::default());
    script(&node, [refuse(Code::Unavailable, "CLUSTERDOWN", Some(Duration::from_secs(60)))]);
    primary.get("a").await.unwrap_err();
    // As a replica it is asked first, and again as the primary.
    let before = names(&node).len();
    script(&node, [refuse(Code::InvalidArgument, "INVALID_REQUEST", None)]);
    assert!(client.get("a").await.unwrap().is_some());
    assert_eq!(names(&node).len(), before + 2);
}
