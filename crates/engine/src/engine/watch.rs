//! WATCH, as connections use it; see [`crate::watch`].

use super::Engine;
use fastness_types::WallMs;

impl Engine {
    /// Makes a session's next EXEC fail if this key changes before it. Returns false if the session already watches the
    /// key.
    pub fn watch(&mut self, token: u64, key: &[u8], now: WallMs) -> bool {
        self.watchers.watch(token, &self.keyspace.key(key), &self.keyspace, now)
    }

    /// How many sessions watch, and how many keys they watch.
    #[must_use]
    pub fn watch_counts(&self) -> (usize, usize) {
        self.watchers.counts()
    }

    /// Removes all watches of a session: at EXEC, DISCARD, UNWATCH, and when the connection closes.
    pub fn unwatch(&mut self, token: u64) {
        self.watchers.unwatch(token);
    }

    /// Whether a key that the session watches has changed or expired since, or a part of its value has.
    #[must_use]
    pub fn is_touched(&self, token: u64, now: WallMs) -> bool {
        self.watchers.is_touched(token, &self.keyspace, now)
    }

    /// Marks every watching session as touched: for a replica that reads its memory again from snapshot and log.
    pub fn touch_every_watcher(&mut self) {
        self.watchers.touch_every();
    }
}
