//! The tenures of this process: how many there were, which epoch was led last, and how the last ones ended.

use std::collections::VecDeque;
use std::time::Duration;

use fastness_types::{BootNs, Epoch, LogIndex, Seq};

use crate::outcome::Tenure;

/// Ended tenures that are remembered; a reply held longer than that many is in doubt.
const TENURES_KEPT: usize = 64;

/// How a tenure ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    tenure: Tenure,
    committed: Seq,
    /// Everything of the tenure that committed is at or below this.
    index: LogIndex,
}

/// The tenures of one replica since its process started.
#[derive(Debug, Default)]
pub(crate) struct Tenures {
    started: u64,
    /// The newest epoch that this process led.
    led: Option<Epoch>,
    ended: VecDeque<Ended>,
    /// When the undo started for which memory is being restored.
    pub(crate) undo_started: Option<BootNs>,
    /// How long the last undo took, until memory was what is committed.
    pub(crate) undo_took: Duration,
}

impl Tenures {
    /// Whether this process led `epoch`, and no other epoch after it.
    pub(crate) fn was_last(&self, epoch: Epoch) -> bool {
        self.led == Some(epoch)
    }

    /// A tenure starts.
    pub(crate) fn start(&mut self, epoch: Epoch) -> Tenure {
        self.led = Some(epoch);
        self.started += 1;
        Tenure(self.started)
    }

    /// The tenure has ended: its batches up to `committed` have committed, none of them after `index`.
    pub(crate) fn record_end(&mut self, tenure: Tenure, committed: Seq, index: LogIndex) {
        if self.ended.len() == TENURES_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended { tenure, committed, index });
    }

    /// An index by which `seq` of the ended `tenure` had committed; `None`: it did not, or
    /// that is no longer known.
    pub(crate) fn committed_by(&self, tenure: Tenure, seq: Seq) -> Option<LogIndex> {
        let ended = self.ended.iter().find(|ended| ended.tenure == tenure)?;
        (seq <= ended.committed).then_some(ended.index)
    }
}
