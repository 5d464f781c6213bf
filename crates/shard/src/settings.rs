//! The settings of a shard that are stored in its log: the durability mode and the bound of the durability lag.

use crate::lag_bound::LagBound;
use crate::mode::Mode;
use crate::options::ShardOptions;

/// The settings of one shard as this replica knows them.
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) lag_bound: LagBound,
}

impl Settings {
    pub(crate) fn new(options: &ShardOptions) -> Settings {
        Settings { mode: Mode::new(options.desired), lag_bound: LagBound::new(options.max_lag) }
    }

    /// Forgets the committed settings, because the log is read again from its start or from a snapshot.
    pub(crate) fn restart(&mut self) {
        self.mode.restart();
        self.lag_bound.restart();
    }

    /// Forgets the staged settings, which can no longer commit.
    pub(crate) fn unstage(&mut self) {
        self.mode.unstage();
        self.lag_bound.unstage();
    }
}
