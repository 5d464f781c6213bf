//! Look-ups of keys, which hide and remove expired ones.

use super::Engine;
use crate::effect::KeyEffect;
use crate::env::Env;
use crate::keyspace::{Entry, Key, ValueRef};
use crate::notify::{Notifications, NotifyClasses};
use fastness_types::WallMs;

impl Engine {
    #[inline]
    fn find(&mut self, key: &Key<'_>, now: WallMs) -> Option<&Entry> {
        if self.leaves_access_times { self.keyspace.find(key) } else { self.keyspace.find_touched(key, now) }
    }

    /// The key's entry, unless it is missing or expired; sets the access time and counts a hit or miss. For reading
    /// commands.
    pub fn read(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<&Entry> {
        if self.is_alive(key, env) {
            self.stats.hits += 1;
            self.find(key, env.now)
        } else {
            self.stats.misses += 1;
            self.notify(NotifyClasses::KEY_MISS, "keymiss", key);
            None
        }
    }

    /// The key's entry, unless it is missing or expired; sets the access time. For writing commands, and for those
    /// whose look-ups Valkey does not count.
    pub fn look_up(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<&Entry> {
        self.is_alive(key, env).then(|| self.find(key, env.now)).flatten()
    }

    /// As [`Engine::look_up`], without setting the access time: for MEMORY USAGE and RESTORE.
    pub fn peek(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<&Entry> {
        self.is_alive(key, env).then(|| self.keyspace.find(key)).flatten()
    }

    /// As [`Engine::read`], without setting the access time: for TTL, TYPE, EXISTS and the like.
    pub fn peek_counted(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<&Entry> {
        if self.is_alive(key, env) {
            self.stats.hits += 1;
            self.keyspace.find(key)
        } else {
            self.stats.misses += 1;
            self.notify(NotifyClasses::KEY_MISS, "keymiss", key);
            None
        }
    }

    /// As [`Engine::peek_counted`], for OBJECT, which notifies nobody of a missing key.
    pub fn peek_quietly(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<&Entry> {
        let alive = self.is_alive(key, env);
        self.stats.hits += u64::from(alive);
        self.stats.misses += u64::from(!alive);
        alive.then(|| self.keyspace.find(key)).flatten()
    }

    /// Counts look-ups that a command made without [`Engine::read`], and notes the keys that it has missed.
    pub(crate) fn count_look_ups(&mut self, hits: u64, misses: u64, missed: Option<&Notifications>) {
        self.stats.hits += hits;
        self.stats.misses += misses;
        if let Some(missed) = missed {
            self.notify_missed(missed);
        }
    }

    /// Whether the key exists and has not expired. Removes an expired key, if the command may write.
    pub fn is_alive(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> bool {
        let Some(entry) = self.keyspace.find(key) else { return false };
        if !entry.is_expired(env.now) {
            return true;
        }
        if env.may_write {
            let parts = entry.parts().filter(|_| !entry.is_past_deadline(env.now)).map_or(0, |parts| parts.len());
            self.stats.expired_fields += parts as u64;
            self.stats.expired += u64::from(parts == 0);
            self.stage(KeyEffect::Unlink { key: *key }, env.effects, env.now);
            if parts == 0 {
                self.notify(NotifyClasses::EXPIRED, "expired", key);
            } else {
                self.notify_removal(NotifyClasses::EXPIRED, "hexpired", key);
            }
        }
        false
    }

    /// The value of a string, as [`Engine::look_up`] finds it.
    pub fn value(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<ValueRef<'_>> {
        self.look_up(key, env).map(Entry::value)
    }
}
