//! The durability mode in force.
//!
//! The mode is an effect in the shard's log. The config and group 0 hold only the **wish**; the primary stages a mode
//! unit when its node's map has a newer wish than the log. Until the first one the wish itself counts, on an empty log.
//!
//! - A stricter mode acts when it is staged (what was staged before counts as dirty: `dirty.rs` is kept in every mode);
//!   a looser one acts when it has committed. One change at a time: the next is staged when the one before has
//!   committed.
//! - A mode unit names the wish that it fulfils, by version. A primary whose map is older than the log stages nothing,
//!   so what an operator was told stays in force, whoever is elected.

use fastness_types::{Durability, Plant};

/// What the operator wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeWish {
    /// The mode.
    pub mode: Durability,
    /// Counts wishes; grows. A log written without one has 0.
    pub version: u64,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    wish: ModeWish,
    /// By the newest committed mode unit.
    committed: Option<ModeWish>,
    /// By a staged mode unit of this tenure that has not committed.
    staged: Option<ModeWish>,
}

impl Mode {
    /// The mode of an empty log.
    #[must_use]
    pub fn new(wish: ModeWish) -> Mode {
        Mode { wish, committed: None, staged: None }
    }

    /// The log is read anew from its beginning; the wish stays.
    pub fn restart(&mut self) {
        *self = Mode::new(self.wish);
    }

    /// What was staged and has not committed never will.
    pub fn unstage(&mut self) {
        self.staged = None;
    }

    /// The operator wishes something. An older wish than the one known is passed over; true if this is news.
    pub fn wish(&mut self, wish: ModeWish) -> bool {
        let is_newer = wish.version > self.wish.version;
        if is_newer {
            self.wish = wish;
        }
        is_newer
    }

    /// The mode that commands go by.
    #[inline]
    #[must_use]
    pub fn in_force(&self) -> Durability {
        let committed = self.committed.unwrap_or(self.wish).mode;
        match self.staged {
            _ if Plant::MapModeTrusted.is_on() => self.wish.mode,
            Some(staged) if Plant::AsyncActsEarly.is_on() => staged.mode,
            Some(staged) => staged.mode.stricter(committed),
            None => committed,
        }
    }

    /// What a primary has to stage now.
    #[must_use]
    pub fn unstaged(&self) -> Option<ModeWish> {
        let is_new = self.committed.is_none_or(|committed| committed.version < self.wish.version);
        (is_new && self.staged.is_none()).then_some(self.wish)
    }

    /// What the log says; `None`: nothing yet.
    #[must_use]
    pub fn committed(&self) -> Option<ModeWish> {
        self.committed
    }

    /// The version of the newest wish that has committed here; 0: none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.committed.map_or(0, |committed| committed.version)
    }

    /// A mode unit was staged by this primary.
    pub fn stage(&mut self, wish: ModeWish) {
        self.staged = Some(wish);
    }

    /// A mode unit has committed.
    pub fn commit(&mut self, wish: ModeWish) {
        self.committed = Some(wish);
        self.staged = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Async, Sync};

    fn wish(mode: Durability, version: u64) -> ModeWish {
        ModeWish { mode, version }
    }

    #[test]
    fn the_log_wins_over_the_wish() {
        let mut mode = Mode::new(wish(Async, 1));
        assert_eq!((mode.in_force(), mode.version()), (Async, 0));
        assert_eq!(mode.unstaged(), Some(wish(Async, 1)));
        mode.commit(wish(Sync, 1));
        assert_eq!((mode.in_force(), mode.version()), (Sync, 1));
        assert_eq!(mode.unstaged(), None);
    }

    #[test]
    fn stricter_acts_when_staged_and_looser_when_committed() {
        let mut mode = Mode::new(wish(Async, 1));
        mode.commit(wish(Async, 1));
        assert!(mode.wish(wish(Sync, 2)));
        assert_eq!(mode.in_force(), Async, "a wish is no mode");
        mode.stage(wish(Sync, 2));
        assert_eq!((mode.in_force(), mode.version()), (Sync, 1));
        mode.commit(wish(Sync, 2));
        mode.stage(wish(Async, 3));
        assert_eq!(mode.in_force(), Sync, "async is only staged");
        mode.unstage();
        assert_eq!((mode.unstaged(), mode.version()), (None, 2), "nothing newer is wished");
        mode.stage(wish(Async, 3));
        mode.commit(wish(Async, 3));
        assert_eq!((mode.in_force(), mode.version()), (Async, 3));
    }

    #[test]
    fn one_change_at_a_time() {
        let mut mode = Mode::new(wish(Async, 1));
        mode.commit(wish(Async, 1));
        mode.wish(wish(Sync, 2));
        mode.stage(wish(Sync, 2));
        mode.wish(wish(Async, 3));
        assert_eq!(mode.unstaged(), None);
        mode.commit(wish(Sync, 2));
        assert_eq!(mode.unstaged(), Some(wish(Async, 3)));
    }

    #[test]
    fn an_older_wish_than_the_logs_stages_nothing() {
        let mut mode = Mode::new(wish(Async, 2));
        mode.commit(wish(Sync, 3));
        assert_eq!(mode.unstaged(), None);
        assert!(!mode.wish(wish(Async, 2)));
        mode.restart();
        assert_eq!((mode.unstaged(), mode.version()), (Some(wish(Async, 2)), 0));
    }
}
