//! WATCH, as sessions use it; see [`crate::watch`].

use super::Engine;
use fastness_types::WallMs;

impl Engine {
    /// A session's next EXEC is to fail if this key changes before. `false`: it watches the key already.
    pub fn watch(&mut self, token: u64, key: &[u8], now: WallMs) -> bool {
        self.watchers.watch(token, &self.keyspace.key(key), &self.keyspace, now)
    }

    /// How many sessions watch, and how many keys they watch.
    #[must_use]
    pub fn watch_counts(&self) -> (usize, usize) {
        self.watchers.counts()
    }

    /// Forgets all of a session's watches. To be called at EXEC, DISCARD, UNWATCH and when the session ends.
    pub fn unwatch(&mut self, token: u64) {
        self.watchers.unwatch(token);
    }

    /// Whether a key that the session watches has changed since, or has expired by now, itself or a field of it.
    #[must_use]
    pub fn is_touched(&self, token: u64, now: WallMs) -> bool {
        self.watchers.is_touched(token, &self.keyspace, now)
    }

    /// Marks every watching session as touched: what a replica does that gives up its memory for the log's.
    pub fn touch_every_watcher(&mut self) {
        self.watchers.touch_every();
    }
}
