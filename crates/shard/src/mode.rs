//! The durability mode in force.
//!
//! The mode is an effect in the shard's log. The config and group 0 hold only the **desired mode**; the primary stages
//! a mode unit when its node's map has a newer desired mode than the log. As long as the log has no mode unit, the
//! desired mode itself is in force.
//!
//! - A stricter mode takes effect when it is staged (everything staged before counts as dirty; `dirty.rs` is maintained
//!   in every mode); a less strict one when it has committed. One change at a time: the next one is staged after the
//!   commit of the preceding one.
//! - A mode unit names the desired mode that it fulfils, by version. A primary whose map is older than the log stages
//!   nothing. So the mode that was reported to an operator stays in force, whichever node is elected.

use fastness_types::{Durability, Plant};

/// The mode that the operator desires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DesiredMode {
    /// The mode.
    pub mode: Durability,
    /// Increases with each change of the desired mode. 0 in a log that was written without a version.
    pub version: u64,
}

/// The modes in the map and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    desired: DesiredMode,
    /// The mode of the newest committed mode unit.
    committed: Option<DesiredMode>,
    /// The mode of a staged, uncommitted mode unit of this tenure.
    staged: Option<DesiredMode>,
}

impl Mode {
    /// The state for an empty log.
    #[must_use]
    pub fn new(desired: DesiredMode) -> Mode {
        Mode { desired, committed: None, staged: None }
    }

    /// Forgets the committed mode, because the log is read again from its start. The desired mode stays.
    pub fn restart(&mut self) {
        *self = Mode::new(self.desired);
    }

    /// Forgets the staged mode, which can no longer commit.
    pub fn unstage(&mut self) {
        self.staged = None;
    }

    /// Sets the desired mode, unless a newer one is known. True if it was set.
    pub fn desired(&mut self, desired: DesiredMode) -> bool {
        let is_newer = desired.version > self.desired.version;
        if is_newer {
            self.desired = desired;
        }
        is_newer
    }

    /// The mode that decides when replies are released.
    #[inline]
    #[must_use]
    pub fn in_force(&self) -> Durability {
        let committed = self.committed.unwrap_or(self.desired).mode;
        match self.staged {
            _ if Plant::MapModeTrusted.is_on() => self.desired.mode,
            Some(staged) if Plant::AsyncActsEarly.is_on() => staged.mode,
            Some(staged) => staged.mode.stricter(committed),
            None => committed,
        }
    }

    /// The desired mode that a primary must stage now, if any.
    #[must_use]
    pub fn unstaged(&self) -> Option<DesiredMode> {
        let is_new = self.committed.is_none_or(|committed| committed.version < self.desired.version);
        (is_new && self.staged.is_none()).then_some(self.desired)
    }

    /// The mode in the log; `None`: it has none yet.
    #[must_use]
    pub fn committed(&self) -> Option<DesiredMode> {
        self.committed
    }

    /// The version of the newest desired mode that has committed here; 0: none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.committed.map_or(0, |committed| committed.version)
    }

    /// Records that this primary has staged a mode unit.
    pub fn stage(&mut self, desired: DesiredMode) {
        self.staged = Some(desired);
    }

    /// Records that a mode unit has committed.
    pub fn commit(&mut self, desired: DesiredMode) {
        self.committed = Some(desired);
        self.staged = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Async, Sync};

    fn desired(mode: Durability, version: u64) -> DesiredMode {
        DesiredMode { mode, version }
    }

    #[test]
    fn the_log_wins_over_the_desired_mode() {
        let mut mode = Mode::new(desired(Async, 1));
        assert_eq!((mode.in_force(), mode.version()), (Async, 0));
        assert_eq!(mode.unstaged(), Some(desired(Async, 1)));
        mode.commit(desired(Sync, 1));
        assert_eq!((mode.in_force(), mode.version()), (Sync, 1));
        assert_eq!(mode.unstaged(), None);
    }

    #[test]
    fn stricter_acts_when_staged_and_looser_when_committed() {
        let mut mode = Mode::new(desired(Async, 1));
        mode.commit(desired(Async, 1));
        assert!(mode.desired(desired(Sync, 2)));
        assert_eq!(mode.in_force(), Async, "a desired mode is not in force");
        mode.stage(desired(Sync, 2));
        assert_eq!((mode.in_force(), mode.version()), (Sync, 1));
        mode.commit(desired(Sync, 2));
        mode.stage(desired(Async, 3));
        assert_eq!(mode.in_force(), Sync, "async is only staged");
        mode.unstage();
        assert_eq!((mode.unstaged(), mode.version()), (None, 2), "nothing newer is desired");
        mode.stage(desired(Async, 3));
        mode.commit(desired(Async, 3));
        assert_eq!((mode.in_force(), mode.version()), (Async, 3));
    }

    #[test]
    fn one_change_at_a_time() {
        let mut mode = Mode::new(desired(Async, 1));
        mode.commit(desired(Async, 1));
        mode.desired(desired(Sync, 2));
        mode.stage(desired(Sync, 2));
        mode.desired(desired(Async, 3));
        assert_eq!(mode.unstaged(), None);
        mode.commit(desired(Sync, 2));
        assert_eq!(mode.unstaged(), Some(desired(Async, 3)));
    }

    #[test]
    fn a_desired_mode_older_than_the_logs_stages_nothing() {
        let mut mode = Mode::new(desired(Async, 2));
        mode.commit(desired(Sync, 3));
        assert_eq!(mode.unstaged(), None);
        assert!(!mode.desired(desired(Async, 2)));
        mode.restart();
        assert_eq!((mode.unstaged(), mode.version()), (Some(desired(Async, 2)), 0));
    }
}
