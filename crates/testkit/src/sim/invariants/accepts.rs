//! **Accepts.** Where nothing is broken, and whatever clients send, every shard goes on accepting writes.
//!
//! A disturbance is a fault other than a hostile client. From the end of the last one on, no more than [`SILENCE_MAX`]
//! may pass without an acknowledged write of a shard's registers.

use std::collections::BTreeMap;
use std::time::Duration;

use fastness_types::ShardId;

/// The longest time without an acknowledgement: an election after a loop that stood still takes less.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// When each shard has accepted a write last.
#[derive(Debug, Default)]
pub struct Accepts {
    /// How many were acknowledged, and since when there are no more.
    shards: BTreeMap<ShardId, (u64, Duration)>,
    disturbed: Duration,
}

impl Accepts {
    /// Something is broken now, or nobody writes.
    pub fn disturbed(&mut self, now: Duration) {
        self.disturbed = now;
    }

    /// So many writes of a shard's registers have been acknowledged by now.
    ///
    /// # Errors
    /// There were none for too long.
    pub fn look(&mut self, shard: ShardId, acknowledged: u64, now: Duration) -> Result<(), String> {
        let (before, since) = self.shards.entry(shard).or_insert((0, now));
        if acknowledged > *before {
            (*before, *since) = (acknowledged, now);
        }
        // A shard that no client has a register of has nothing to accept.
        let silent = now.saturating_sub((*since).max(self.disturbed));
        if acknowledged == 0 || silent <= SILENCE_MAX {
            return Ok(());
        }
        Err(format!("accepts: shard {shard} has accepted no write for {silent:?} although nothing is broken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_end_of_the_last_disturbance() {
        let (mut accepts, shard, at) = (Accepts::default(), ShardId(1), Duration::from_secs);
        accepts.look(shard, 1, at(1)).unwrap();
        accepts.look(shard, 1, at(6)).unwrap();
        accepts.disturbed(at(4));
        accepts.look(shard, 1, at(9)).unwrap();
        assert!(accepts.look(shard, 1, at(10)).is_err());
        accepts.look(shard, 2, at(11)).unwrap();
        accepts.look(ShardId(2), 0, at(100)).unwrap();
    }
}
