//! **Committed in two AZs.** When an entry is first regarded as committed, it is on stable storage in at least two AZs
//! and on a majority of the members; and a write that was acknowledged or shown under `sync`, or shown by a replica in
//! any mode, has committed by then.
//!
//! Stable storage is read from the simulated disks, not reported by the nodes, so that a disk that only claims to have
//! synced is found. A stopped node counts with the content of its disk when it stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fastness_engine::effect::{Decoder, Effect};
use fastness_engine::hash::effect::HashEffect;
use fastness_engine::keyspace::Key;
use fastness_engine::list::change::ListChange;
use fastness_engine::list::effect::ListEffect;
use fastness_engine::stream::change::StreamChange;
use fastness_engine::stream::effect::StreamEffect;
use fastness_engine::string::effect::StringEffect;
use fastness_engine::zset::effect::ZsetEffect;
use fastness_log::LogEntry;
use fastness_shard::batch::Batch;
use fastness_shard::fragment::{Fragments, Part};
use fastness_types::{Epoch, ShardId, Slot};

use crate::sim::invariants::logs::Logs;
use crate::sim::ledger::{Promised, number_of};
use crate::sim::node::SimNode;

/// The key of an effect that writes a register of some form, and what it writes.
fn written<'a>(effect: &Effect<'a>) -> (&'a [u8], Vec<&'a [u8]>) {
    match effect {
        Effect::String(StringEffect::Set { key, value, .. }) => (key.bytes, vec![value]),
        Effect::Hash(HashEffect::Set { key, pairs, .. }) => {
            (key.bytes, pairs.pairs().map(|(_, value)| value).collect())
        }
        Effect::List(ListEffect {
            key,
            change: ListChange::Push { elements, .. } | ListChange::AddNode { elements, .. },
        }) => (key.bytes, elements.iter().collect()),
        Effect::Zset(ZsetEffect::Add { key, members, .. }) => {
            (key.bytes, members.pairs().map(|(member, _)| member).collect())
        }
        Effect::Stream(StreamEffect { key, change: StreamChange::Add { fields, .. } }) => {
            (key.bytes, fields.pairs().map(|(_, value)| value).collect())
        }
        _ => (&[], Vec::new()),
    }
}

/// The committed writes.
#[derive(Debug, Default)]
pub struct TwoAzs {
    committed: BTreeSet<(ShardId, String, u64)>,
    /// Batches whose last fragment has not committed, with their epoch.
    fragments: BTreeMap<ShardId, (Epoch, Fragments)>,
}

impl TwoAzs {
    /// Checks an entry that is regarded as committed for the first time.
    ///
    /// # Errors
    /// The entry is not on enough disks.
    pub fn commit(
        &mut self,
        (nodes, voters): (&[Rc<SimNode>], usize),
        logs: &Logs,
        shard: ShardId,
        entry: &LogEntry,
        epoch: Epoch,
    ) -> Result<(), String> {
        self.note_batch(shard, entry, epoch);
        let holds = |node: &&Rc<SimNode>| logs.is_stable(node, shard, entry.index, epoch);
        let holders: Vec<&Rc<SimNode>> = nodes.iter().filter(holds).collect();
        let azs: BTreeSet<&str> = holders.iter().map(|node| &*node.az.0).collect();
        if azs.len() < 2 || holders.len() <= voters / 2 {
            let ids: Vec<u64> = holders.iter().map(|node| node.id.0).collect();
            return Err(format!(
                "committed in two AZs: shard {shard}: entry {} of epoch {epoch} is committed but on stable storage only of nodes \
                 {ids:?} alone, in AZs {azs:?}",
                entry.index
            ));
        }
        Ok(())
    }

    /// Records the batch that an entry completes: a batch in several fragments counts with its last one.
    fn note_batch(&mut self, shard: ShardId, entry: &LogEntry, epoch: Epoch) {
        let (of, fragments) = self.fragments.entry(shard).or_default();
        if *of != epoch {
            *of = epoch;
            fragments.clear();
        }
        let whole = Part::of(&entry.payload).and_then(|part| fragments.push(part));
        if let Ok(Some(payload)) = whole {
            self.note_writes(shard, &payload);
        }
    }

    fn note_writes(&mut self, shard: ShardId, payload: &[u8]) {
        let Ok(batch) = Batch::decode(payload) else { return };
        for unit in batch.units() {
            let mut decoder = Decoder::new(unit.effects);
            // Neither slot nor hash is used.
            while let Ok(Some(effect)) = decoder.next(|bytes| Key { bytes, slot: Slot(0), hash: 0 }) {
                let (key, values) = written(&effect);
                let Ok(key) = std::str::from_utf8(key) else { continue };
                let numbers = values.into_iter().filter_map(number_of);
                self.committed.extend(numbers.map(|number| (shard, key.to_owned(), number)));
            }
        }
    }

    /// Checks a write that a reply has acknowledged or shown.
    ///
    /// # Errors
    /// The write has not committed.
    pub fn promised(&self, promised: Promised) -> Result<(), String> {
        let Promised { shard, key, number, how } = promised;
        let write = (shard, key, number);
        if number == 0 || self.committed.contains(&write) {
            return Ok(());
        }
        let (_, key, _) = write;
        Err(format!("committed in two AZs: shard {shard}: {key} = {number} {how} and is not committed"))
    }
}
