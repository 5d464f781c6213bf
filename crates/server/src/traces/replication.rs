//! Where the log entry of a sampled write is stored, and when that became known here. Off the loop.

use std::sync::Arc;
use std::time::Duration;

use fastness_types::{BootNs, Clock, LogIndex, NodeId};
use parking_lot::Mutex;

use crate::group_view::GroupView;

/// How long an entry is followed at most, and how often it is checked whether anybody still waits for it.
const FOLLOWED_MAX: Duration = Duration::from_secs(60);
const CHECKED_EVERY: Duration = Duration::from_secs(1);

/// When an entry was stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoredAt {
    /// On this node's own disk: appended and synced.
    pub(crate) own: Option<BootNs>,
    /// On other members, as their acknowledgements have said.
    pub(crate) others: Vec<(NodeId, BootNs)>,
}

/// An entry that is followed.
pub(crate) struct Followed {
    /// What is learned.
    pub(crate) stored: Arc<Mutex<StoredAt>>,
    pub(crate) group: Arc<dyn GroupView>,
    pub(crate) index: LogIndex,
}

impl Followed {
    /// Follows the entry until its record was exported.
    pub(crate) async fn follow(self, clock: Arc<dyn Clock>) {
        let mut progress = self.group.progress();
        let until = clock.boot().plus(FOLLOWED_MAX);
        loop {
            let now = clock.boot();
            self.note(now);
            // Only this task has it: the record was exported.
            if now >= until || Arc::strong_count(&self.stored) == 1 {
                return;
            }
            // The time is over regularly: nothing tells of the export.
            let _ = tokio::time::timeout(CHECKED_EVERY, progress.changed()).await;
        }
    }

    /// Notes what is known at `now`.
    fn note(&self, now: BootNs) {
        let is_own = self.group.flushed() >= self.index;
        let others = self.group.stable_on(self.index);
        let mut stored = self.stored.lock();
        if is_own && stored.own.is_none() {
            stored.own = Some(now);
        }
        for node in others {
            if stored.others.iter().all(|(known, _)| *known != node) {
                stored.others.push((node, now));
            }
        }
    }
}
