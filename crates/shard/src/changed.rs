//! Reports changed keys to those that cache what they have read; `tracking.rs` has the rules.

use std::time::Duration;

use fastness_types::{BootNs, Durability, Seq};

use crate::role::Phase;
use crate::state::{Primary, Replica, State};

/// How long a lease may have lapsed before everything that was read here counts as changed. Most lapses are shorter.
const LAPSE_MAX: Duration = Duration::from_secs(1);
/// How often the lease is checked while clients track.
const CHECK_EVERY: Duration = Duration::from_secs(1);

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
