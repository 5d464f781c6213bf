//! **Accepts.** While nothing is broken, every shard keeps accepting writes, whatever clients send.
//!
//! A disturbance is a fault other than a hostile client. From the end of the last disturbance on, no more than
//! [`SILENCE_MAX`] may pass without an acknowledged write to a shard's registers.

use std::collections::BTreeMap;
use std::time::Duration;

use fastness_types::ShardId;

/// The longest time without an acknowledgement: an election after a stalled loop takes less.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// When each shard last accepted a write.
#[derive(Debug, Default)]
pub struct Accepts {
    /// Number of acknowledged writes, and since when it is unchanged.
    shards: BTreeMap<ShardId, (u64, Duration)>,
    disturbed: Duration,
}

impl Accepts {
    /// Records that something is broken now, or that no client writes.
    pub fn disturbed(&mut self, now: Duration) {
        self.disturbed = now;
    }

    /// Checks the number of acknowledged writes to a shard's registers.
    ///
    /// # Errors
    /// No write was accepted for too long.
    pub fn check(&mut self, shard: ShardId, acknowledged: u64, now: Duration) -> Result<(), String> {
        let (before, since) = self.shards.entry(shard).or_insert((0, now));
        if acknowledged > *before {
            (*before, *since) = (acknowledged, now);
        }
        // A shard without registers has no writes to accept.
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
        accepts.check(shard, 1, at(1)).unwrap();
        accepts.check(shard, 1, at(6)).unwrap();
        accepts.disturbed(at(4));
        accepts.check(shard, 1, at(9)).unwrap();
        assert!(accepts.check(shard, 1, at(10)).is_err());
        accepts.check(shard, 2, at(11)).unwrap();
        accepts.check(ShardId(2), 0, at(100)).unwrap();
    }
}
