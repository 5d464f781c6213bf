//! **Leader completeness.** The leader of a term has every entry that was committed in earlier terms.
//!
//! Checked when an epoch first has a leader. By log matching, the newest of these entries stands for all of them.

use std::collections::BTreeSet;

use fastness_log::GroupLog;
use fastness_types::{Epoch, ShardId};

use crate::sim::invariants::log_matching::LogMatching;
use crate::sim::invariants::logs::epoch_at;

/// The epochs that were checked.
#[derive(Debug, Default)]
pub struct LeaderCompleteness {
    seen: BTreeSet<(ShardId, Epoch)>,
}

impl LeaderCompleteness {
    /// Checks the log of the leader of `epoch`. True if the epoch is a new one.
    ///
    /// # Errors
    /// The log lacks an entry that was committed before.
    pub fn see(&mut self, shard: ShardId, epoch: Epoch, log: &GroupLog, known: &LogMatching) -> Result<bool, String> {
        if !self.seen.insert((shard, epoch)) {
            return Ok(false);
        }
        let Some((index, its)) = known.newest_committed_before(shard, epoch.term) else { return Ok(true) };
        let purged = log.state().purged.map_or(0, |purged| purged.index);
        let has = index <= purged || epoch_at(log, index) == Some(its);
        if !has {
            return Err(format!(
                "leader completeness: shard {shard}: the leader of epoch {epoch} lacks entry {index}, committed in epoch {its}"
            ));
        }
        Ok(true)
    }

    /// Number of epochs that had a leader.
    #[must_use]
    pub fn led(&self) -> usize {
        self.seen.len()
    }
}
