//! The durability mode in force.
//!
//! The mode is an effect in the shard's log. Until the first one the mode is the one the cluster was created with; the
//! first primary stages that as a mode unit, so that the log says it from then on. The config and group 0 hold only
//! the wish and are never asked here.
//!
//! A stricter mode acts when it is staged (what was staged before counts as dirty: `dirty.rs` is kept in every mode);
//! a looser one acts when it has committed.

use fastness_types::Durability;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    created_with: Durability,
    /// By the newest committed mode unit.
    committed: Option<Durability>,
    /// By the newest staged mode unit of this tenure that has not committed.
    staged: Option<Durability>,
}

impl Mode {
    /// The mode of an empty log.
    #[must_use]
    pub fn new(created_with: Durability) -> Mode {
        Mode { created_with, committed: None, staged: None }
    }

    /// The mode that commands go by.
    #[inline]
    #[must_use]
    pub fn in_force(&self) -> Durability {
        let committed = self.committed.unwrap_or(self.created_with);
        match self.staged {
            Some(staged) => stricter(staged, committed),
            None => committed,
        }
    }

    /// Whether the log has no mode yet, not even a staged one.
    #[must_use]
    pub fn is_unwritten(&self) -> bool {
        self.committed.is_none() && self.staged.is_none()
    }

    /// A mode unit was staged by this primary.
    pub fn stage(&mut self, mode: Durability) {
        self.staged = Some(mode);
    }

    /// A mode unit has committed.
    pub fn commit(&mut self, mode: Durability) {
        self.committed = Some(mode);
        if self.staged == Some(mode) {
            self.staged = None;
        }
    }
}

/// The frozen numbers grow from strict to loose.
fn stricter(a: Durability, b: Durability) -> Durability {
    if (a as u8) < (b as u8) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Async, Sync};

    #[test]
    fn the_log_wins_over_the_creation() {
        let mut mode = Mode::new(Async);
        assert_eq!(mode.in_force(), Async);
        assert!(mode.is_unwritten());
        mode.commit(Sync);
        assert_eq!(mode.in_force(), Sync);
        assert!(!mode.is_unwritten());
    }

    #[test]
    fn stricter_acts_when_staged_and_looser_when_committed() {
        let mut mode = Mode::new(Async);
        mode.stage(Sync);
        assert_eq!(mode.in_force(), Sync);
        mode.commit(Sync);
        mode.stage(Async);
        assert_eq!(mode.in_force(), Sync, "async is only staged");
        mode.commit(Async);
        assert_eq!(mode.in_force(), Async);
    }
}
