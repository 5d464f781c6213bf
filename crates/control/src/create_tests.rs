//! Tests of planning and of the steps of a creation.

use std::sync::Arc;

use fastness_consensus::handle::{EntryPayload, Role};

use super::*;
use crate::fixtures::{node, three_nodes};
use crate::follow::ControlOptions;
use crate::testing::{FakeGroup, Raft, Standing};

fn request() -> CreateRequest {
    let mut nodes = vec![node(1, "a"), node(2, "b"), node(3, "c")];
    nodes.iter_mut().for_each(|node| node.resp_tls_port = node.resp_port + 100);
    CreateRequest {
        cluster_id: ClusterId([7; 16]),
        hash_seed: HashSeed([9; 16]),
        nodes,
        shards: 2,
        replicas: 2,
        durability: Durability::Sync,
        requirements: Requirements { client_tls: true, peer_tls: true, encryption_at_rest: true },
    }
}

fn refused(change: impl FnOnce(&mut CreateRequest), reason: &str) {
    let mut request = request();
    change(&mut request);
    let error = request.plan().expect_err(reason).to_string();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn a_good_request_is_planned() {
    let (map, warnings) = request().plan().unwrap();
    assert!(warnings.is_empty());
    assert_eq!(map.shards.len(), 2);
    assert_eq!(map.shards[0].members, [1, 2, 3].map(NodeId));
    assert_eq!(map.shards[1].members, [2, 3, 1].map(NodeId));
    assert_eq!(map.check(), Ok(()));
}

#[test]
fn each_unmet_requirement_of_a_durable_cluster_is_named() {
    refused(|r| r.replicas = 0, "at least 1 replica");
    refused(|r| r.nodes.iter_mut().for_each(|n| n.az = "a".into()), "at least 2 AZs");
    refused(|r| r.requirements.client_tls = false, "TLS for clients");
    refused(|r| r.nodes[1].resp_tls_port = 0, "TLS for clients");
    refused(|r| r.requirements.peer_tls = false, "TLS between nodes");
    refused(|r| r.requirements.encryption_at_rest = false, "encryption at rest");
    refused(|r| r.nodes[1].az = "a".into(), "a third AZ allows 2");
}

#[test]
fn without_durability_they_are_not_required() {
    let mut request = request();
    request.durability = Durability::Disabled;
    request.replicas = 0;
    request.requirements = Requirements { client_tls: false, peer_tls: false, encryption_at_rest: false };
    request.nodes.truncate(1);
    assert!(request.plan().is_ok());
}

#[test]
fn wrong_requests_are_refused() {
    refused(|r| r.shards = 0, "shards must be");
    refused(|r| r.shards = 1001, "shards must be");
    refused(|r| r.replicas = 3, "at most 2 replicas");
    refused(|r| r.nodes.clear(), "1 to 1000 nodes");
    refused(|r| r.nodes[1].id = NodeId(1), "given twice");
    refused(|r| r.nodes[1].id = NodeId(0), "is 0");
    refused(|r| r.nodes[1].disk = r.nodes[0].disk, "the disk of another node");
    refused(|r| r.nodes[1].peer_address = "localhost".into(), "not host:port");
    refused(|r| r.nodes[1].grpc_address = r.nodes[0].grpc_address.clone(), "given twice");
    refused(|r| (r.nodes[1].resp_port, r.nodes[1].resp_tls_port) = (0, 0), "no RESP port");
    refused(|r| r.nodes[1].resp_port = 65535, "above 65535");
}

struct Bed {
    raft: Raft,
    group: Arc<FakeGroup>,
    control: Control,
}

fn bed(id: u64) -> Bed {
    let raft = Raft::new(false);
    let group = Arc::new(FakeGroup::default());
    let control = Control::start(ControlOptions {
        node: NodeId(id),
        handle: raft.handle.clone(),
        group: group.clone(),
        clock: Arc::new(Standing::default()),
        snapshots: None,
    });
    Bed { raft, group, control }
}

impl Bed {
    fn create(&self, request: CreateRequest) -> tokio::task::JoinHandle<Result<Vec<String>, CreateError>> {
        let control = self.control.clone();
        tokio::spawn(async move { control.create(&request).await })
    }
}

#[tokio::test]
async fn a_cluster_is_created_and_a_repeated_request_finds_it() {
    let bed = bed(1);
    let creating = bed.create(request());
    while bed.group.voters.lock().is_none() {
        tokio::task::yield_now().await;
    }
    let epoch = bed.raft.lead(1, 1);
    let (_, payload) = bed.raft.proposed().await;
    bed.raft.commit(epoch, EntryPayload::Batch(payload));
    assert_eq!(creating.await.unwrap(), Ok(Vec::new()));
    let voters: Vec<_> = bed.group.voters.lock().clone().unwrap().iter().map(|m| m.node.0).collect();
    assert_eq!(voters, [1, 2, 3]);
    assert_eq!(bed.control.map().unwrap().cluster_id, ClusterId([7; 16]));

    let mut again = request();
    again.hash_seed = HashSeed([1; 16]);
    assert_eq!(bed.create(again).await.unwrap(), Ok(Vec::new()));
    assert_eq!(bed.control.map().unwrap().hash_seed, HashSeed([9; 16]));

    let mut other = request();
    other.shards = 3;
    assert!(matches!(bed.create(other).await.unwrap(), Err(CreateError::Exists(_))));
}

#[tokio::test]
async fn nodes_without_a_vote_are_added_as_followers() {
    let bed = bed(1);
    let mut wanted = request();
    let mut fourth = node(4, "a");
    fourth.resp_tls_port = 7999;
    wanted.nodes.push(fourth);
    let creating = bed.create(wanted);
    let epoch = bed.raft.lead(1, 1);
    let (_, payload) = bed.raft.proposed().await;
    bed.raft.commit(epoch, EntryPayload::Batch(payload));
    assert_eq!(creating.await.unwrap(), Ok(Vec::new()));
    let learners: Vec<_> = bed.group.learners.lock().iter().map(|m| m.node.0).collect();
    assert_eq!(learners, [4]);
}

#[tokio::test]
async fn a_node_that_does_not_lead_names_the_leader() {
    let bed = bed(1);
    bed.raft.driver.set_role(Role::Follower { leader: Some(NodeId(2)) });
    let error = bed.create(request()).await.unwrap().unwrap_err();
    assert_eq!(error, CreateError::NotLeader { node: NodeId(2), address: "127.0.0.1:7462".into() });
}

#[tokio::test]
async fn a_node_without_a_vote_names_one_with_a_vote() {
    let bed = bed(4);
    let mut wanted = request();
    let mut fourth = node(4, "a");
    fourth.resp_tls_port = 7999;
    wanted.nodes.push(fourth);
    let error = bed.create(wanted).await.unwrap().unwrap_err();
    assert!(matches!(error, CreateError::NotLeader { node: NodeId(1), .. }), "{error:?}");
    assert!(bed.group.voters.lock().is_none());
}

#[tokio::test]
async fn a_node_that_is_not_among_the_given_ones_refuses() {
    let error = bed(9).create(request()).await.unwrap().unwrap_err();
    assert!(matches!(error, CreateError::Invalid(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_election_that_never_ends_is_reported() {
    let error = bed(1).create(request()).await.unwrap().unwrap_err();
    assert!(matches!(error, CreateError::TimedOut { waiting_for } if waiting_for.contains("election")), "{error:?}");
}

#[tokio::test]
async fn a_creation_continues_after_a_lost_leadership() {
    let bed = bed(1);
    let creating = bed.create(request());
    bed.raft.lead(1, 1);
    bed.raft.proposed().await;
    // Another leader's blank entry commits in between; then this node leads again.
    bed.raft.commit(fastness_types::Epoch { term: 2, node: NodeId(2) }, EntryPayload::Blank);
    let epoch = bed.raft.lead(3, 1);
    let (under, payload) = bed.raft.proposed().await;
    assert_eq!(under, epoch);
    bed.raft.commit(epoch, EntryPayload::Batch(payload));
    assert_eq!(creating.await.unwrap(), Ok(Vec::new()));
}

#[test]
fn differences_are_named() {
    let mut other = three_nodes();
    other.durability = Durability::Async;
    assert_eq!(difference(&three_nodes(), &three_nodes()), None);
    assert_eq!(difference(&other, &three_nodes()), Some("its durability is async".into()));
}
