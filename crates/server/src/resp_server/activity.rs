//! What one replica does: its figures, its slots with the most keys and its newest slow commands.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastness_engine::Engine;
use fastness_types::Slot;

use super::ReplicaServer;
use super::command_log::{LogKind, LoggedCommand};
use super::replication::is_primary;
use super::snapshot::{Snapshot, snapshot};

/// How much is reported.
#[derive(Debug, Clone, Copy)]
pub struct ActivityBounds {
    /// At most so many slots.
    pub slots_max: usize,
    /// At most so many slow commands.
    pub slow_max: usize,
}

/// To be sent off the loop's thread.
#[derive(Debug, Clone)]
pub struct Activity {
    /// The figures.
    pub snapshot: Snapshot,
    /// On the primary: the slots with the most keys, the fullest first. Empty slots are left out.
    pub slots: Vec<(Slot, usize)>,
    /// Entries of the slow log, the newest first.
    pub slow: Vec<LoggedCommand>,
}

/// Collects it. On the loop's thread.
#[must_use]
pub fn activity(replica: &ReplicaServer, bounds: ActivityBounds) -> Activity {
    let snapshot = snapshot(replica);
    let slots = if is_primary(&snapshot.shard) {
        replica.shard.with_engine(|engine| fullest(keys_by_slot(engine), bounds.slots_max))
    } else {
        Vec::new()
    };
    Activity { snapshot, slots, slow: replica.command_logs.newest(LogKind::Slow, bounds.slow_max) }
}

fn keys_by_slot(engine: &Engine) -> impl Iterator<Item = (Slot, usize)> {
    engine.slots().map(|slot| (slot, engine.count_keys_in_slot(slot)))
}

/// The slots with the most keys, those with equally many by their number. A heap of that many suffices, so no more than
/// one pass over all slots of the shard is needed.
fn fullest(slots: impl Iterator<Item = (Slot, usize)>, max: usize) -> Vec<(Slot, usize)> {
    let mut heap = BinaryHeap::with_capacity(max + 1);
    for (slot, keys) in slots.filter(|(_, keys)| *keys > 0) {
        // The top of the heap is the one to leave out next.
        heap.push((Reverse(keys), slot.0));
        if heap.len() > max {
            heap.pop();
        }
    }
    heap.into_sorted_vec().into_iter().map(|(Reverse(keys), slot)| (Slot(slot), keys)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_slots_come_first() {
        let of = |max| {
            let slots = [(1, 5), (2, 0), (3, 9), (4, 5), (5, 1)].map(|(slot, keys)| (Slot(slot), keys));
            fullest(slots.into_iter(), max).into_iter().map(|(slot, keys)| (slot.0, keys)).collect::<Vec<_>>()
        };
        assert_eq!(of(10), [(3, 9), (1, 5), (4, 5), (5, 1)]);
        assert_eq!(of(2), [(3, 9), (1, 5)]);
        assert!(of(0).is_empty());
    }
}
