//! Tests of forming a shard's group, on the runtime's own paused clock.

use tokio::time::Instant;

use super::*;
use crate::fixtures::three_nodes;
use crate::group::AzRule;
use crate::testing::FakeGroup;

#[tokio::test(start_paused = true)]
async fn the_preferred_primary_forms_it_at_once() {
    let (start, group) = (Instant::now(), FakeGroup::default());
    form_shard(&three_nodes(), ShardId(2), NodeId(2), &group).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    let members: Vec<_> = group.voters.lock().clone().unwrap().iter().map(|m| m.node.0).collect();
    assert_eq!(members, [2, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_others_step_in_after_their_turn() {
    for (node, rank) in [(3, 1), (1, 2)] {
        let (start, group) = (Instant::now(), FakeGroup::default());
        form_shard(&three_nodes(), ShardId(2), NodeId(node), &group).await.unwrap();
        assert_eq!(start.elapsed(), TURN * rank);
        assert!(group.voters.lock().is_some());
    }
}

#[tokio::test]
async fn the_az_rule_is_waived_without_a_durability_promise_alone() {
    use fastness_types::Durability;
    let modes = [Durability::Sync, Durability::Async, Durability::Disabled];
    for (durability, rule) in modes.into_iter().zip([AzRule::Required, AzRule::Required, AzRule::Waived]) {
        let (group, map) = (FakeGroup::default(), ClusterMap { durability, ..three_nodes() });
        form_shard(&map, ShardId(1), NodeId(1), &group).await.unwrap();
        assert_eq!(*group.rule.lock(), Some(rule), "{durability}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_formed_group_is_not_changed() {
    let group = FakeGroup { refuses: true, ..FakeGroup::default() };
    *group.voters.lock() = Some(Vec::new());
    form_shard(&three_nodes(), ShardId(1), NodeId(1), &group).await.unwrap();
}

#[tokio::test]
async fn unknown_nodes_and_refusals_are_errors() {
    let group = FakeGroup { refuses: true, ..FakeGroup::default() };
    assert!(form_shard(&three_nodes(), ShardId(1), NodeId(1), &group).await.is_err());
    let group = FakeGroup::default();
    assert!(form_shard(&three_nodes(), ShardId(3), NodeId(1), &group).await.is_err());
    assert!(form_shard(&three_nodes(), ShardId(1), NodeId(4), &group).await.is_err());
}

/// The first entry would name other members than the group was formed with.
#[tokio::test]
async fn no_node_forms_a_group_once_a_node_was_replaced() {
    let replacing = three_nodes().with_replacement(NodeId(1), &crate::fixtures::node(4, "a")).unwrap();
    let replaced = replacing.with_replacement_finished(NodeId(4)).unwrap();
    for (map, node) in [(&replacing, 4), (&replacing, 2), (&replaced, 4)] {
        let group = FakeGroup::default();
        form_shard(map, ShardId(1), NodeId(node), &group).await.unwrap();
        assert_eq!(*group.voters.lock(), None, "by node {node}");
    }
}
