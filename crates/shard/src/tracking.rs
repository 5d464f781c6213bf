//! Which keys change, for clients that cache what they have read (CLIENT TRACKING).
//!
//! A front end remembers who has read which key. The shard reports each change to it ([`KeyTracker`]), while anybody
//! tracks; otherwise a unit costs one branch (`Engine::notes_changes`).
//!
//! # The order
//!
//! A change is reported when it is **staged**: from then on reads show it. The report says whether its readers are
//! informed at once, or when a batch has committed:
//!
//! - In `async` and `disabled` they are informed at once, because a new read is answered at once, too.
//! - In `sync`, and for a write with a durability override, they are informed when the batch has committed: what has
//!   not committed may be undone, and a client that reads again would only wait for the same commit.
//!
//! A read may run between both moments. It shows the change, its reply waits for the commit, and its key is remembered
//! when it runs. *Look up who has read the key when the batch commits* is then wrong: that would forget this reader as
//! well, which keeps the value and would not hear of the next change; it would serve the old value for ever. So a front
//! end takes those who have read the key out of its table when the change is **staged**, and keeps them until the
//! commit. Whoever reads afterwards is entered anew, and informed of the next change.
//!
//! Example: R has read `a`. W stages `SET a 2` in batch 4: R leaves the table, and waits with batch 4. R reads `a`
//! again: it is entered again, and its reply waits for batch 4. Batch 4 commits: R gets "`a` is invalid" and the reply
//! `2`, in either order. W stages `SET a 3` in batch 5: R is in the table.
//!
//! # What invalidates everything
//!
//! Effects that remove all keys do, at the same moments as other changes. At once: an undo, because what was read may
//! never have happened; memory that is restored from a snapshot or from the start of the log, because nobody knows
//! which keys differ; the start and the end of a tenure, and a lease that has lapsed for [`LAPSE_MAX`], because another
//! primary may have accepted writes that this replica does not know. While memory is restored nothing is reported, and
//! nothing is served.
//!
//! A replica reports what it applies, after it has applied it: readers are informed at once.

use std::rc::Rc;
use std::time::Duration;

use fastness_engine::ChangedKeys;
use fastness_types::{BootNs, Durability, Seq};

use crate::memory::ClientMemory;
use crate::role::Phase;
use crate::state::{Primary, Replica, State};

/// How long a lease may have lapsed before everything that was read here counts as changed. Most lapses are shorter.
const LAPSE_MAX: Duration = Duration::from_secs(1);
/// How often the lease is checked while clients track.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A front end that remembers which client has read which key. Called while the shard's state is borrowed:
/// implementations use no [`crate::Shard`].
pub trait KeyTracker {
    /// These keys have changed. Whoever has read one of them until now is to be informed: at once, or when the batch
    /// `after` has committed.
    fn changed(&self, keys: &ChangedKeys, after: Option<Seq>);

    /// All batches up to `seq` have committed.
    fn committed(&self, seq: Seq);

    /// Any key may have changed, including by what was undone: everybody is to be informed at once. What waits for a
    /// batch need not wait any longer.
    fn lost(&self);
}

/// A replica's side of it.
#[derive(Default)]
pub(crate) struct Tracking {
    tracker: Option<Rc<dyn KeyTracker>>,
    /// What the tracker takes.
    pub(crate) memory: ClientMemory,
    /// Whether the reply of the unit that is being staged waits for its commit.
    pub(crate) awaits_commit: bool,
    /// Since when the lease has lapsed, and whether that was reported.
    lapsed: Option<(BootNs, bool)>,
}

impl Tracking {
    /// Sets who is informed of changes.
    pub(crate) fn set_tracker(&mut self, tracker: Rc<dyn KeyTracker>) {
        self.tracker = Some(tracker);
    }
}

impl Primary<'_> {
    /// Reports the keys of the unit that was just staged.
    #[cold]
    pub(crate) fn report_staged(&mut self) {
        let is_sync = self.replica.settings.mode.in_force() == Durability::Sync;
        let waits = is_sync || self.replica.tracking.awaits_commit;
        self.replica.report_changes(waits.then(|| self.leader.stage.last_staged()));
    }
}

impl Replica {
    #[cold]
    fn report_changes(&mut self, after: Option<Seq>) {
        let engine = &mut self.data.engine;
        if let Some(tracker) = &self.tracking.tracker
            && !engine.changed_keys().is_empty()
        {
            tracker.changed(engine.changed_keys(), after);
        }
        engine.clear_changed();
    }

    /// Reports the keys of what was just applied. While memory is restored, nobody has read anything.
    #[inline]
    pub(crate) fn report_applied(&mut self) {
        if !self.data.engine.notes_changes() {
            return;
        }
        if self.phase == Phase::Serving {
            self.report_changes(None);
        } else {
            self.data.engine.clear_changed();
        }
    }

    /// Reports that a batch has committed.
    #[inline]
    pub(crate) fn report_committed(&self, seq: Seq) {
        if self.data.engine.notes_changes()
            && let Some(tracker) = &self.tracking.tracker
        {
            tracker.committed(seq);
        }
    }

    /// Reports that any key may have changed.
    pub(crate) fn report_lost(&mut self) {
        if !self.data.engine.notes_changes() {
            return;
        }
        self.data.engine.clear_changed();
        if let Some(tracker) = &self.tracking.tracker {
            tracker.lost();
        }
    }
}

impl State {
    /// Reports a lease that has lapsed for too long; returns when to check again.
    pub(crate) fn follow_tracking(&mut self, now: BootNs) -> Option<Duration> {
        let leader = self.leader.as_ref().filter(|leader| !leader.deposed);
        let (Some(leader), true) = (leader, self.replica.data.engine.notes_changes()) else {
            self.replica.tracking.lapsed = None;
            return None;
        };
        if leader.may_act(now) {
            self.replica.tracking.lapsed = None;
            return Some(CHECK_EVERY);
        }
        let (since, is_reported) = self.replica.tracking.lapsed.unwrap_or((now, false));
        let is_over = now.since(since) >= LAPSE_MAX;
        self.replica.tracking.lapsed = Some((since, is_reported || is_over));
        if is_over && !is_reported {
            self.replica.report_lost();
        }
        Some(CHECK_EVERY)
    }
}
