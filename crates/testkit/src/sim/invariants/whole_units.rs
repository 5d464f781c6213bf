//! **Whole units.** The writes of one transaction are in the memory of every replica as a whole or not at all, at any
//! time, however many log entries they take.
//!
//! The transactions of `../adversary.rs` write the same number to all of their keys. A replica in which two of these
//! keys differ holds a part of a transaction.

use fastness_shard::ShardInfo;
use fastness_types::{NodeId, ShardId};

use crate::sim::ledger::number_of;
use crate::sim::node::Replica;

/// Groups of keys that are always written together, by shard.
#[derive(Debug, Default)]
pub struct WholeUnits {
    sets: Vec<(ShardId, Vec<String>)>,
    looked: u64,
}

impl WholeUnits {
    /// Adds a group of keys that are written together from now on.
    pub fn watch(&mut self, shard: ShardId, keys: Vec<String>) {
        self.sets.push((shard, keys));
    }

    /// Checks one replica, unless it is being restored: then no client sees its data.
    ///
    /// # Errors
    /// The replica holds a part of a transaction.
    pub fn check(&mut self, node: NodeId, shard: ShardId, replica: &Replica, info: &ShardInfo) -> Result<(), String> {
        if info.restoring || info.stopped.is_some() {
            return Ok(());
        }
        for (_, keys) in self.sets.iter().filter(|(of, _)| *of == shard) {
            self.looked += 1;
            let numbers: Vec<u64> = keys.iter().map(|key| number(replica, key)).collect();
            if numbers.iter().any(|number| *number != numbers[0]) {
                let key = &keys[0];
                return Err(format!(
                    "whole units: shard {shard}: at entry {} node {node} holds a part of a transaction: {numbers:?} from {key} on",
                    info.applied.0
                ));
            }
        }
        Ok(())
    }

    /// Whether there are no keys to check.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }
}

/// 0: the key is missing.
fn number(replica: &Replica, key: &str) -> u64 {
    replica.shard.with_engine(|engine| {
        let mut buffer = Default::default();
        let entry = engine.keyspace().find(&engine.key(key.as_bytes()));
        entry.and_then(|entry| number_of(entry.value().text(&mut buffer)?)).unwrap_or(0)
    })
}
