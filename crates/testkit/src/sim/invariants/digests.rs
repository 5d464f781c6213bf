//! **Equal data.** Replicas that have applied the same log have the same digest and the same running checksum of the
//! log, and a snapshot has the same ones as every replica at its index.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use fastness_types::{LogIndex, NodeId, ShardId};

/// Digests and checksums by index, with the node that reported each first.
#[derive(Debug, Default)]
pub struct EqualData {
    data: BTreeMap<(ShardId, LogIndex), (NodeId, String)>,
    logs: BTreeMap<(ShardId, LogIndex), (NodeId, String)>,
    compared: u64,
    snapshots_compared: u64,
}

/// The digest and checksum of one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The node that reports them.
    pub node: NodeId,
    /// The shard.
    pub shard: ShardId,
    /// The index.
    pub index: LogIndex,
    /// 32 hexadecimal digits; `None`: memory contains uncommitted effects.
    pub digest: Option<String>,
    /// 16 hexadecimal digits.
    pub log_checksum: String,
}

impl EqualData {
    /// Compares a claim with earlier ones. `of_snapshot`: it comes from a snapshot.
    ///
    /// # Errors
    /// The claims differ.
    pub fn see(&mut self, claim: &Claim, of_snapshot: bool) -> Result<(), String> {
        let place = (claim.shard, claim.index);
        let mut known = false;
        for (what, said, by) in
            [("data", claim.digest.as_ref(), &mut self.data), ("log", Some(&claim.log_checksum), &mut self.logs)]
        {
            let Some(said) = said else { continue };
            match by.entry(place) {
                Entry::Vacant(entry) => {
                    entry.insert((claim.node, said.clone()));
                }
                Entry::Occupied(entry) => {
                    let (other, before) = entry.get();
                    known |= what == "data" && *other != claim.node;
                    if before != said {
                        let kind = if of_snapshot { "a snapshot of node" } else { "node" };
                        return Err(format!(
                            "equal {what}: shard {}: {kind} {} and node {other} differ at entry {}",
                            claim.shard, claim.node, claim.index.0
                        ));
                    }
                }
            }
        }
        self.compared += u64::from(known);
        self.snapshots_compared += u64::from(known && of_snapshot);
        Ok(())
    }

    /// Number of digests that were compared between two nodes.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Of these, digests from snapshots.
    #[must_use]
    pub fn snapshots_compared(&self) -> u64 {
        self.snapshots_compared
    }
}
