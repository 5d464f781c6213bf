//! How the members of a new shard form its Raft group.
//!
//! Every member calls [`form_shard`] after it has started the shard's group. The preferred primary gives the group its
//! members at once, and so becomes its first leader; the others wait for their turn, in the order of the map, and step
//! in if nothing was heard by then (that node is down). It is safe that several do it: all write the same first entry,
//! since the map names the same members.
//!
//! Once a node was replaced the map names other members than the group began with: then nobody forms it any more. All
//! that were there from the start have done so, and a node that came later is added by the group's leader.
//!
//! What it does not know: whether an empty group is a new one or one whose disk was lost. A lost one harms nobody: the
//! map names the members' disks, and the others do not listen to another one (consensus' `identity.rs`).

use std::time::Duration;

use fastness_types::{NodeId, ShardId};

use crate::create::member;
use crate::group::{GroupError, RaftGroup};
use crate::map::ClusterMap;

/// How long each further member waits for the ones before it.
pub const TURN: Duration = Duration::from_secs(3);
/// How often a waiting member looks whether the group is formed.
const POLL: Duration = Duration::from_millis(100);

/// Forms the Raft group of `shard` if nobody else does, and returns once this member of it has a configuration, or
/// `map` is not the cluster's first one. `node` is this one.
///
/// # Errors
/// What the group refuses; then the replica stays out, the others may form the group.
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
