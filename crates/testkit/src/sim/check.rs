//! What must hold at every moment of a simulation, looked at from outside of the nodes.
//!
//! - At most one node holds the lease of a group, each judged by its own clock at the same simulated time.
//! - An entry that one node holds for committed is the same on every node that holds it for committed, for ever.
//! - Replicas of a shard that have applied the same log have equal digests.
//! - No replica and no node stops by itself.
//!
//! That clients see no stale, lost or refused write is the ledger's matter.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;

use fastness_consensus::handle::{Committed, EntryPayload, GroupHandle, ReadError, Role};
use fastness_engine::Digest;
use fastness_shard::Standing;
use fastness_types::{BootNs, Clock as _, Epoch, LogIndex, NodeId, ShardId};
use futures::FutureExt as _;

use crate::sim::node::{Replica, SimNode};

/// Committed entries read in one go, bytes.
const SLICE_BYTES: usize = 4 * 1024 * 1024;

/// Looks at all nodes of a simulation.
#[derive(Default)]
pub struct Checker {
    /// Per shard, what stands at each index from 1 on, and who said so first.
    agreed: BTreeMap<ShardId, BTreeMap<LogIndex, (Epoch, u64, NodeId)>>,
    digests: BTreeMap<(ShardId, LogIndex), (NodeId, Digest)>,
    /// How far each running replica's log was looked at.
    looked: BTreeMap<(NodeId, ShardId), LogIndex>,
    /// Epochs in which a lease was seen.
    tenures: BTreeMap<ShardId, std::collections::BTreeSet<Epoch>>,
    compared: u64,
    violations: Vec<String>,
}

impl Checker {
    /// What was found broken.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Adds a finding.
    pub fn violate(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Digests of two replicas that were compared.
    #[must_use]
    pub fn digests_compared(&self) -> u64 {
        self.compared
    }

    /// Tenures as primary that were seen, of all shards.
    #[must_use]
    pub fn tenures(&self) -> usize {
        self.tenures.values().map(std::collections::BTreeSet::len).sum()
    }

    /// Committed entries, of all shards.
    #[must_use]
    pub fn committed(&self) -> usize {
        self.agreed.values().map(BTreeMap::len).sum()
    }

    /// The node has crashed: its next life is looked at from the log's beginning.
    pub fn forget(&mut self, node: NodeId) {
        self.looked.retain(|(of, _), _| *of != node);
    }

    /// The cheap part, for every step.
    pub fn look_at_leases(&mut self, nodes: &[Rc<SimNode>]) {
        let mut holders: BTreeMap<ShardId, (NodeId, Epoch)> = BTreeMap::new();
        each_replica(nodes, |node, shard, replica| {
            let Some(epoch) = held(&replica.handle, node.clock.boot()) else { return };
            self.tenures.entry(shard).or_default().insert(epoch);
            if let Some((other, other_epoch)) = holders.insert(shard, (node.id, epoch)) {
                self.violations.push(format!(
                    "shard {shard}: node {other} holds the lease of epoch {other_epoch} and node {} that of {epoch}",
                    node.id
                ));
            }
        });
    }

    /// Compares what nodes hold for committed, and finds those that have stopped.
    pub fn look_at_logs(&mut self, nodes: &[Rc<SimNode>]) {
        each_replica(nodes, |node, shard, replica| {
            if let Some(reason) = replica.shard.info().stopped {
                self.violations.push(format!("shard {shard}: the replica on node {} has stopped: {reason}", node.id));
            }
            self.look_at_log(node.id, shard, &replica.handle);
        });
        for node in nodes {
            let stopped = node.live.borrow().as_ref().and_then(|live| live.consensus.stopped());
            if let Some(reason) = stopped {
                self.violations.push(format!("node {} has stopped: {reason}", node.id));
            }
        }
    }

    fn look_at_log(&mut self, node: NodeId, shard: ShardId, handle: &GroupHandle) {
        let looked = self.looked.entry((node, shard)).or_default();
        let agreed = self.agreed.entry(shard).or_default();
        while *looked < handle.committed() {
            // In a simulation the log is read by the caller, so this never waits.
            let from = LogIndex(looked.0 + 1);
            let entries = match handle.read(from, handle.committed(), SLICE_BYTES).now_or_never() {
                Some(Ok(entries)) if !entries.is_empty() => entries,
                // A snapshot stands for them; that it says the same the digests show.
                Some(Err(ReadError::Purged(upto))) => {
                    *looked = upto;
                    continue;
                }
                other => {
                    self.violations.push(format!("shard {shard}: node {node} has no entry {}: {other:?}", from.0));
                    return;
                }
            };
            for entry in &entries {
                let (epoch, hash) = (entry.epoch, hash(entry));
                match agreed.get(&entry.index) {
                    None => drop(agreed.insert(entry.index, (epoch, hash, node))),
                    Some((other_epoch, other_hash, other)) if (*other_epoch, *other_hash) != (epoch, hash) => {
                        self.violations.push(format!(
                            "shard {shard}: entry {} is of epoch {other_epoch} on node {other} and of {epoch} on node {node}",
                            entry.index.0
                        ));
                    }
                    Some(_) => {}
                }
                *looked = entry.index;
            }
        }
    }

    /// The dear part: reads every key of every replica.
    pub fn look_at_digests(&mut self, nodes: &[Rc<SimNode>]) {
        each_replica(nodes, |node, shard, replica| {
            let Ok((index, digest)) = replica.shard.digest() else { return };
            match self.digests.entry((shard, index)) {
                Entry::Vacant(entry) => {
                    entry.insert((node.id, digest));
                }
                Entry::Occupied(entry) => {
                    let (other, other_digest) = entry.get();
                    self.compared += u64::from(*other != node.id);
                    if *other_digest != digest {
                        self.violations
                            .push(format!("shard {shard}: nodes {other} and {} differ at entry {}", node.id, index.0));
                    }
                }
            }
        });
    }
}

/// Whether every node runs, every shard has a primary, and every replica stands at the same entry with nothing open.
#[must_use]
pub fn is_settled(nodes: &[Rc<SimNode>]) -> bool {
    let mut positions: BTreeMap<ShardId, Vec<LogIndex>> = BTreeMap::new();
    let mut primaries: BTreeMap<ShardId, usize> = BTreeMap::new();
    each_replica(nodes, |_, shard, replica| {
        if let Ok((index, _)) = replica.shard.digest() {
            positions.entry(shard).or_default().push(index);
        }
        *primaries.entry(shard).or_default() += usize::from(is_primary(replica));
    });
    let together = positions.values().all(|at| at.len() == nodes.len() && at.iter().all(|index| *index == at[0]));
    together && !positions.is_empty() && primaries.values().all(|count| *count == 1)
}

/// Whether every shard has a primary that may act.
#[must_use]
pub fn has_primaries(nodes: &[Rc<SimNode>], shards: u32) -> bool {
    (1..=shards).all(|shard| primary_of(nodes, ShardId(shard)).is_some())
}

/// The node that is a shard's primary now.
#[must_use]
pub fn primary_of(nodes: &[Rc<SimNode>], wanted: ShardId) -> Option<NodeId> {
    let mut found = None;
    each_replica(nodes, |node, shard, replica| {
        if shard == wanted && is_primary(replica) {
            found = Some(node.id);
        }
    });
    found
}

fn is_primary(replica: &Replica) -> bool {
    let info = replica.shard.info();
    info.standing == Standing::Primary && info.lease_holds
}

fn held(handle: &GroupHandle, now: BootNs) -> Option<Epoch> {
    match &**handle.role() {
        Role::Leader { lease, .. } if lease.holds(now) => Some(lease.epoch()),
        _ => None,
    }
}

fn each_replica(nodes: &[Rc<SimNode>], mut look: impl FnMut(&SimNode, ShardId, &Replica)) {
    for node in nodes {
        let live = node.live.borrow();
        for (at, replica) in live.iter().flat_map(|live| &live.replicas).enumerate() {
            look(node, ShardId(at as u32 + 1), replica);
        }
    }
}

fn hash(entry: &Committed) -> u64 {
    let mut hasher = DefaultHasher::new();
    match &entry.payload {
        EntryPayload::Blank => 1u8.hash(&mut hasher),
        EntryPayload::Membership => 2u8.hash(&mut hasher),
        EntryPayload::Batch(bytes) => bytes.hash(&mut hasher),
    }
    hasher.finish()
}
