//! The tenures of this process: their number, the epoch that was led last, and how the last ones ended.

use std::collections::VecDeque;
use std::time::Duration;

use fastness_types::{BootNs, Epoch, LogIndex, Seq};

use crate::outcome::Tenure;

/// Number of ended tenures that are remembered. The outcome of a reply that is pending for longer is unknown.
const TENURES_KEPT: usize = 64;

/// How a tenure ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    tenure: Tenure,
    committed: Seq,
    /// Everything of the tenure that has committed is at or before this index.
    index: LogIndex,
}

/// The tenures of one replica since its process started.
#[derive(Debug, Default)]
pub(crate) struct Tenures {
    started: u64,
    /// The newest epoch that this process led.
    led: Option<Epoch>,
    ended: VecDeque<Ended>,
    /// When the undo started that is still in progress.
    pub(crate) undo_started: Option<BootNs>,
    /// Duration of the last undo, until memory contained only committed effects.
    pub(crate) undo_took: Duration,
}

impl Tenures {
    /// Whether this process led `epoch`, and no other epoch after it.
    pub(crate) fn was_last(&self, epoch: Epoch) -> bool {
        self.led == Some(epoch)
    }

    /// Starts a tenure.
    pub(crate) fn start(&mut self, epoch: Epoch) -> Tenure {
        self.led = Some(epoch);
        self.started += 1;
        Tenure(self.started)
    }

    /// Records the end of a tenure. Its batches up to `committed` have committed, all of them at or before `index`.
    pub(crate) fn record_end(&mut self, tenure: Tenure, committed: Seq, index: LogIndex) {
        if self.ended.len() == TENURES_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended { tenure, committed, index });
    }

    /// An index at or after the one at which `seq` of the ended `tenure` committed. `None` if it has not committed, or
    /// if the tenure is no longer remembered.
    pub(crate) fn committed_by(&self, tenure: Tenure, seq: Seq) -> Option<LogIndex> {
        let ended = self.ended.iter().find(|ended| ended.tenure == tenure)?;
        (seq <= ended.committed).then_some(ended.index)
    }
}
