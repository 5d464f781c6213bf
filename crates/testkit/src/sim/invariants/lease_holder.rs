//! **One lease holder.** At most one node holds the lease of a group, each judged by its own clock at the same moment.

use std::collections::BTreeMap;

use fastness_types::{Epoch, NodeId, ShardId};

/// Who holds which lease at one moment.
#[derive(Debug, Default)]
pub struct LeaseHolders {
    holders: BTreeMap<ShardId, (NodeId, Epoch)>,
}

impl LeaseHolders {
    /// A node holds a lease at this moment.
    ///
    /// # Errors
    /// Another one does as well.
    pub fn holds(&mut self, shard: ShardId, node: NodeId, epoch: Epoch) -> Result<(), String> {
        match self.holders.insert(shard, (node, epoch)) {
            Some((other, its)) => Err(format!(
                "one lease holder: shard {shard}: node {other} holds the lease of epoch {its} and node {node} that of {epoch}"
            )),
            None => Ok(()),
        }
    }
}
