//! **One lease holder.** At most one node holds the lease of a group at any moment, each judged by its own clock.

use std::collections::BTreeMap;

use fastness_types::{Epoch, NodeId, ShardId};

/// The holders of leases at one moment.
#[derive(Debug, Default)]
pub struct LeaseHolders {
    holders: BTreeMap<ShardId, (NodeId, Epoch)>,
}

impl LeaseHolders {
    /// Records that a node holds a lease at this moment.
    ///
    /// # Errors
    /// Another node holds a lease, too.
    pub fn holds(&mut self, shard: ShardId, node: NodeId, epoch: Epoch) -> Result<(), String> {
        match self.holders.insert(shard, (node, epoch)) {
            Some((other, its)) => Err(format!(
                "one lease holder: shard {shard}: node {other} holds the lease of epoch {its} and node {node} that of {epoch}"
            )),
            None => Ok(()),
        }
    }
}
