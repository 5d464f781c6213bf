//! Forms the Raft group of a new shard.
//!
//! Every member calls [`form_shard`] after it has started the shard's group. The preferred primary gives the group its
//! members at once, and so becomes its first leader. The others wait for their turn, in the order of the map, and form
//! the group themselves if they have heard nothing by then (the members before them are down). It is safe if several do
//! so: all of them write the same first entry, because the map names the same members.
//!
//! Once a node has been replaced, the map names other members than the group was formed with, so no node forms the
//! group any more. All original members have formed it already, and the group's leader adds a node that comes later.
//!
//! Does not know whether an empty group is new or has lost its disk. A lost disk does no harm: the map names the
//! members' disks, and the other members ignore a node with another disk (consensus' `identity.rs`).

use std::time::Duration;

use fastness_types::{NodeId, ShardId};

use crate::create::member;
use crate::group::{GroupError, RaftGroup};
use crate::map::ClusterMap;

/// How long each further member waits for the members before it.
pub const TURN: Duration = Duration::from_secs(3);
/// How often a waiting member checks whether the group is formed.
const POLL: Duration = Duration::from_millis(100);

/// Forms the Raft group of `shard` unless another member does. Returns once this member of the group has a
/// configuration, or if `map` is not the cluster's first map. `node` is this node.
///
/// # Errors
/// The refusal of the group. Then this replica has no configuration yet; the other members may form the group.
pub async fn form_shard(
    map: &ClusterMap,
    shard: ShardId,
    node: NodeId,
    group: &dyn RaftGroup,
) -> Result<(), GroupError> {
    if !map.is_first() {
        return Ok(());
    }
    let unknown = || GroupError::Refused(format!("node {node} is no member of shard {shard}"));
    let shard_map = map.shard(shard).ok_or_else(unknown)?;
    let rank = shard_map.members.iter().position(|id| *id == node).ok_or_else(unknown)?;
    let mut left = TURN * u32::try_from(rank).unwrap_or(u32::MAX);
    while !group.is_initialized().await? {
        if left.is_zero() {
            return group.initialize(map.members_of(shard).map(member).collect(), map.az_rule()).await;
        }
        let pause = left.min(POLL);
        tokio::time::sleep(pause).await;
        left -= pause;
    }
    Ok(())
}

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;
