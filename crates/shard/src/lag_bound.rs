//! The bound of the durability lag in force (`durability-max-lag`).
//!
//! It limits what `async` may lose, so it is a promise to clients. Like the mode ([`crate::mode`]) it is therefore part
//! of the shard's log: after a failover the config of another node must not replace it. The cluster's map has the
//! desired bound; the primary stages a unit that names the desired bound by its version. The configured value of a node
//! is a desired bound of version 0, which applies until the log has a bound.
//!
//! - A **lower** bound takes effect when it is staged, a **higher** one when it has committed. One change at a time.
//! - A primary whose map is older than the log stages nothing.

use std::time::Duration;

/// The bound that the operator desires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DesiredLagBound {
    /// The bound, whole milliseconds.
    pub bound: Duration,
    /// Increases with each change of the desired bound. 0: a node's configured value.
    pub version: u64,
}

/// The bounds in the config, in the map and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagBound {
    /// The bound in this node's config.
    configured: Duration,
    /// The bound in the cluster's map, if any.
    desired: Option<DesiredLagBound>,
    /// The bound of the newest committed unit.
    committed: Option<DesiredLagBound>,
    /// The bound of a staged, uncommitted unit of this tenure.
    staged: Option<DesiredLagBound>,
}

impl LagBound {
    /// The state for an empty log on a node whose config has the bound `configured`.
    #[must_use]
    pub fn new(configured: Duration) -> LagBound {
        LagBound { configured, desired: None, committed: None, staged: None }
    }

    /// Forgets the committed bound, because the log is read again from its start. The desired bound stays.
    pub fn restart(&mut self) {
        (self.committed, self.staged) = (None, None);
    }

    /// Forgets the staged bound, which can no longer commit.
    pub fn unstage(&mut self) {
        self.staged = None;
    }

    /// Sets the desired bound, unless a newer one is known. True if it was set.
    pub fn desired(&mut self, desired: DesiredLagBound) -> bool {
        if desired.version == 0 {
            return std::mem::replace(&mut self.configured, desired.bound) != desired.bound;
        }
        let is_news = self.desired.is_none_or(|known| desired.version > known.version);
        if is_news {
            self.desired = Some(desired);
        }
        is_news
    }

    /// The bound that the gate uses.
    #[must_use]
    pub fn in_force(&self) -> Duration {
        let committed = self.committed.map_or(self.configured, |committed| committed.bound);
        self.staged.map_or(committed, |staged| staged.bound.min(committed))
    }

    /// The desired bound that a primary must stage now, if any.
    #[must_use]
    pub fn unstaged(&self) -> Option<DesiredLagBound> {
        self.desired.filter(|desired| desired.version > self.version() && self.staged.is_none())
    }

    /// The bound in the log; `None`: it has none yet.
    #[must_use]
    pub fn committed(&self) -> Option<DesiredLagBound> {
        self.committed
    }

    /// The version of the newest desired bound that has committed here; 0: none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.committed.map_or(0, |committed| committed.version)
    }

    /// Records that this primary has staged a unit.
    pub fn stage(&mut self, desired: DesiredLagBound) {
        self.staged = Some(desired);
    }

    /// Records that a unit has committed.
    pub fn commit(&mut self, desired: DesiredLagBound) {
        (self.committed, self.staged) = (Some(desired), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(seconds: u64, version: u64) -> DesiredLagBound {
        DesiredLagBound { bound: Duration::from_secs(seconds), version }
    }

    #[test]
    fn the_configured_value_counts_until_the_log_says_something() {
        let mut bound = LagBound::new(Duration::from_secs(10));
        assert_eq!((bound.in_force().as_secs(), bound.unstaged()), (10, None));
        assert!(bound.desired(desired(4, 0)) && !bound.desired(desired(4, 0)));
        assert_eq!(bound.in_force().as_secs(), 4);
        bound.commit(desired(7, 1));
        assert!(bound.desired(desired(2, 0)), "CONFIG SET on this node alone");
        assert_eq!((bound.in_force().as_secs(), bound.version()), (7, 1));
        bound.restart();
        assert_eq!((bound.in_force().as_secs(), bound.version()), (2, 0));
    }

    /// Schedule 49.
    #[test]
    fn lower_acts_when_staged_and_higher_when_committed() {
        let mut bound = LagBound::new(Duration::from_secs(10));
        assert!(bound.desired(desired(5, 1)));
        assert_eq!(bound.in_force().as_secs(), 10, "a desired bound is not in force");
        assert_eq!(bound.unstaged(), Some(desired(5, 1)));
        bound.stage(desired(5, 1));
        assert_eq!((bound.in_force().as_secs(), bound.unstaged(), bound.version()), (5, None, 0));
        bound.unstage();
        assert_eq!(bound.in_force().as_secs(), 10, "it was undone");
        bound.commit(desired(5, 1));
        bound.desired(desired(60, 2));
        bound.stage(desired(60, 2));
        assert_eq!(bound.in_force().as_secs(), 5, "it has not committed");
        bound.commit(desired(60, 2));
        assert_eq!((bound.in_force().as_secs(), bound.version()), (60, 2));
        assert!(!bound.desired(desired(1, 1)), "an older desired bound");
    }
}
