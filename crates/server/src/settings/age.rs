//! Stops serving clients by rules that are known to be outdated.
//!
//! A change of settings is answered OK although some nodes cannot be reached. Until then one of these may neither have
//! the change nor serve anybody as a primary. The argument:
//!
//! 1. A primary needs answers of a majority of its shard's members, on the stream on which nodes also tell each other
//!    of the newest settings that they know or were told of.
//! 2. The change is answered OK only if in every shard a majority has confirmed it ([`unconfirmed_by`]). So every
//!    majority has a member that tells of it.
//! 3. A node that was told and does not get the settings within [`SETTINGS_BEHIND_MAX`] refuses every command. It is
//!    told with the first answer to a ping after the confirmation, or its lease lapses.
//! 4. So [`in_force_after`] the last confirmation no primary goes by older rules.
//!
//! A replica that hears nobody who knows of the change goes on serving READONLY clients. It has no data from after the
//! change either: what it shows is the past, by the rules of that time.
//!
//! Why silence alone is not enough to refuse: if group 0 has no leader, nobody can change rules, and data must be
//! served nevertheless.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastness_control::ClusterMap;
use fastness_types::limits::SETTINGS_BEHIND_MAX;
use fastness_types::{Clock, NodeId};

use crate::shared::{NodeShared, Phase};

/// How often a node checks whether its settings are outdated.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// A ping, its answer and the check take less.
const TOLD_MAX: Duration = Duration::from_millis(500);

/// How long after the last confirmation every primary goes by a change, or serves nobody. A lease lasts half as long as
/// `failover-timeout`.
pub(super) fn in_force_after(failover_timeout: Duration) -> Duration {
    failover_timeout / 2 + SETTINGS_BEHIND_MAX + TOLD_MAX
}

/// Of the nodes that have not confirmed a change, those because of which it may not be in force: they can be reached,
/// or they could be a majority of a shard.
pub(super) fn unconfirmed_by(
    map: &ClusterMap,
    unconfirmed: &[NodeId],
    is_reachable: impl Fn(NodeId) -> bool,
) -> Vec<NodeId> {
    let mut nodes: BTreeSet<NodeId> = unconfirmed.iter().copied().filter(|node| is_reachable(*node)).collect();
    for shard in &map.shards {
        let of_shard = shard.members.iter().filter(|node| unconfirmed.contains(node));
        if of_shard.clone().count() > shard.members.len() / 2 {
            nodes.extend(of_shard);
        }
    }
    nodes.into_iter().collect()
}

/// Refuses clients while this node is known not to have the newest settings.
pub async fn refuse_if_outdated(node: Arc<NodeShared>, clock: Arc<dyn Clock>) {
    while node.phase() < Phase::Closing {
        let behind = node.settings_behind_since().map(|since| clock.boot().since(since));
        let outdated = behind.is_some_and(|behind| behind > SETTINGS_BEHIND_MAX);
        if node.accounts.set_outdated(outdated) {
            if outdated {
                tracing::warn!(
                    "clients are refused: other nodes have newer settings of the cluster, which this node does not get; check \
                     its connection to the node that leads the control plane"
                );
            } else {
                tracing::info!("clients are served again: this node has the newest settings of the cluster");
            }
        }
        tokio::time::sleep(CHECK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// Two shards of nodes 1, 2 and 3.
    #[test]
    fn a_change_is_unconfirmed_by_nodes_that_can_be_reached_and_by_majorities() {
        let map = fastness_control::fixtures::three_nodes();
        let failed = |unconfirmed: &[u64], reachable: &[u64]| {
            unconfirmed_by(&map, &nodes(unconfirmed), |node| reachable.contains(&node.0))
        };
        assert_eq!(failed(&[], &[1, 2, 3]), []);
        assert_eq!(failed(&[3], &[1, 2]), [], "one that is dead or cut off finds no majority without the others");
        assert_eq!(failed(&[3], &[1, 2, 3]), nodes(&[3]));
        assert_eq!(failed(&[2, 3], &[1]), nodes(&[2, 3]), "together they may have a primary");
        assert_eq!(failed(&[2, 3], &[1, 2]), nodes(&[2, 3]));
        assert_eq!(failed(&[4], &[1, 2, 3]), [], "a leaving node is no member of the map");
    }

    #[test]
    fn a_shard_with_one_member_is_served_by_it_alone() {
        let mut map = fastness_control::fixtures::three_nodes();
        map.shards[0].members = nodes(&[3]);
        assert_eq!(unconfirmed_by(&map, &nodes(&[3]), |_| false), nodes(&[3]));
        assert_eq!(unconfirmed_by(&map, &nodes(&[2]), |_| false), []);
    }

    #[test]
    fn what_is_waited_for_is_longer_than_a_lease_and_the_time_a_node_may_be_behind() {
        for failover in [700, 10_000].map(Duration::from_millis) {
            let lease = fastness_consensus::Timers::for_failover(failover).lease;
            assert!(in_force_after(failover) >= lease + SETTINGS_BEHIND_MAX + CHECK_EVERY + Duration::from_millis(250));
        }
    }
}
