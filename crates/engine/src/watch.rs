//! WATCH: which sessions watch which keys.
//!
//! Watches belong to this replica's sessions and not to the data: they are in no digest and no log. Keys are identified
//! by their seeded hash; a collision of 64 bits would only make an EXEC fail needlessly.

use crate::effect::{Effect, Expired, TypeEffect};
use crate::keyspace::{Entry, Key, Keyspace};
use fastness_types::WallMs;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// One watched key of one session.
#[derive(Debug)]
struct Watched {
    bytes: Vec<u8>,
    hash: u64,
    /// Whether it was past its deadline when the watch started: its removal is then no change.
    was_expired: bool,
    /// When the watch started: the deadline of a part that passes after it is a change.
    since: WallMs,
}

/// A session that watches keys.
#[derive(Debug, Default)]
struct WatchingSession {
    keys: Vec<Watched>,
    touched: bool,
}

/// All watches.
#[derive(Debug, Default)]
pub struct Watchers {
    sessions: BTreeMap<u64, WatchingSession>,
    by_key: BTreeMap<u64, SmallVec<[u64; 2]>>,
    /// Sessions that the current unit was the first to touch.
    touched_by_unit: Vec<u64>,
}

impl Watchers {
    fn touch(&mut self, hash: u64) {
        let Some(tokens) = self.by_key.get(&hash) else { return };
        for token in tokens {
            if let Some(session) = self.sessions.get_mut(token) {
                session.touch(*token, &mut self.touched_by_unit);
            }
        }
    }

    fn touch_all(&mut self, concerns: impl Fn(&Watched) -> bool) {
        for (token, session) in &mut self.sessions {
            if session.keys.iter().any(&concerns) {
                session.touch(*token, &mut self.touched_by_unit);
            }
        }
    }

    #[inline]
    pub(crate) fn begin_unit(&mut self) {
        self.touched_by_unit.clear();
    }

    /// Reverts what the current unit has touched, which is rolled back.
    pub(crate) fn roll_back_unit(&mut self) {
        for token in self.touched_by_unit.drain(..) {
            if let Some(session) = self.sessions.get_mut(&token) {
                session.touched = false;
            }
        }
    }
}

impl WatchingSession {
    fn touch(&mut self, token: u64, newly: &mut Vec<u64>) {
        if !self.touched {
            self.touched = true;
            newly.push(token);
        }
    }
}

/// Whether a key or a part of its value has expired between the two moments.
fn has_changed(entry: &Entry, since: WallMs, now: WallMs) -> bool {
    entry.is_expired(now) || entry.has_lost_parts_between(since, now)
}

impl Watchers {
    /// Makes a session's next EXEC fail if this key changes before it. Returns false if the session already watches the
    /// key.
    pub(crate) fn watch(&mut self, token: u64, key: &Key<'_>, keyspace: &Keyspace, now: WallMs) -> bool {
        let was_expired = keyspace.find(key).is_some_and(|entry| entry.is_expired(now));
        let session = self.sessions.entry(token).or_default();
        if session.keys.iter().any(|watched| watched.bytes == key.bytes) {
            return false;
        }
        session.keys.push(Watched { bytes: key.bytes.to_vec(), hash: key.hash, was_expired, since: now });
        let tokens = self.by_key.entry(key.hash).or_default();
        if !tokens.contains(&token) {
            tokens.push(token);
        }
        true
    }

    /// How many sessions watch, and how many keys they watch.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.sessions.len(), self.by_key.len())
    }

    /// Removes all watches of a session.
    pub(crate) fn unwatch(&mut self, token: u64) {
        let Some(session) = self.sessions.remove(&token) else { return };
        for watched in session.keys {
            if let Some(tokens) = self.by_key.get_mut(&watched.hash) {
                tokens.retain(|other| *other != token);
                if tokens.is_empty() {
                    self.by_key.remove(&watched.hash);
                }
            }
        }
    }

    /// Whether a key that the session watches has changed or expired since, or a part of its value has.
    pub(crate) fn is_touched(&self, token: u64, keyspace: &Keyspace, now: WallMs) -> bool {
        let Some(session) = self.sessions.get(&token) else { return false };
        let has_expired = |watched: &Watched| {
            let key = keyspace.key(&watched.bytes);
            !watched.was_expired && keyspace.find(&key).is_some_and(|entry| has_changed(entry, watched.since, now))
        };
        session.touched || session.keys.iter().any(has_expired)
    }

    /// Marks every watching session as touched.
    pub(crate) fn touch_every(&mut self) {
        self.touch_all(|_| true);
    }

    /// Touches the sessions that watch a key that this effect is about to change.
    pub(crate) fn before(&mut self, effect: &Effect<'_>, keyspace: &Keyspace, now: WallMs) {
        if self.sessions.is_empty() {
            return;
        }
        if effect.is_of_all() {
            return self.touch_all(|watched| keyspace.find(&keyspace.key(&watched.bytes)).is_some());
        }
        if let Effect::Stream(effect) = effect
            && effect.spares_watchers(keyspace)
        {
            return;
        }
        let expired = effect.removes_expired(keyspace, now);
        for key in effect.keys().changed() {
            match expired {
                None => self.touch(key.hash),
                Some(Expired::Key) => self.touch_if(&key, |watched| !watched.was_expired),
                Some(Expired::Parts { latest }) => self.touch_if(&key, |watched| watched.since <= latest),
            }
        }
    }

    /// Touches the sessions whose watch of this key satisfies `matters`.
    fn touch_if(&mut self, key: &Key<'_>, matters: impl Fn(&Watched) -> bool) {
        let Some(tokens) = self.by_key.get(&key.hash) else { return };
        for token in tokens {
            let Some(session) = self.sessions.get_mut(token) else { continue };
            if session.keys.iter().any(|watched| watched.hash == key.hash && matters(watched)) {
                session.touch(*token, &mut self.touched_by_unit);
            }
        }
    }
}
