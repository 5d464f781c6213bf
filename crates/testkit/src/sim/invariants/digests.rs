//! **Equal data.** Replicas that have applied the same log have the same digest and the same running checksum of it,
//! and a snapshot says of its position what every replica says that stands there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use fastness_types::{LogIndex, NodeId, ShardId};

/// Digests and checksums by position, and who said so first.
#[derive(Debug, Default)]
pub struct EqualData {
    data: BTreeMap<(ShardId, LogIndex), (NodeId, String)>,
    logs: BTreeMap<(ShardId, LogIndex), (NodeId, String)>,
    compared: u64,
    snapshots_compared: u64,
}

/// What is said of a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who says it.
    pub node: NodeId,
    /// Of which shard.
    pub shard: ShardId,
    /// At which position.
    pub index: LogIndex,
    /// 32 hexadecimal digits; `None`: memory runs ahead of the log.
    pub digest: Option<String>,
    /// 16 hexadecimal digits.
    pub log_checksum: String,
}

impl EqualData {
    /// Compares a claim with what was said before. `of_snapshot`: it stands in a snapshot.
    ///
    /// # Errors
    /// They differ.
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

    /// Digests of two nodes that were compared.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Of these, digests that stood in snapshots.
    #[must_use]
    pub fn snapshots_compared(&self) -> u64 {
        self.snapshots_compared
    }
}
