//! WATCH: which sessions wait for a change of which keys.
//!
//! Belongs to this replica's sessions, not to the data: it is in no digest and no log. Keys are told apart by their
//! seeded hash; a collision of 64 bits only makes an EXEC fail that need not.

use crate::effect::{Effect, Items};
use crate::engine::{Engine, is_expired};
use crate::keyspace::{Entry, Key};
use fastness_types::WallMs;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// One watched key of one session.
#[derive(Debug)]
struct Watched {
    bytes: Vec<u8>,
    hash: u64,
    /// It was past its deadline when the watch began: its removal is then no change.
    was_expired: bool,
    /// When the watch began: a field's deadline that passes from then on is a change.
    since: WallMs,
}

#[derive(Debug, Default)]
struct Session {
    keys: Vec<Watched>,
    touched: bool,
}

/// All watches.
#[derive(Debug, Default)]
pub struct Watchers {
    sessions: BTreeMap<u64, Session>,
    by_key: BTreeMap<u64, SmallVec<[u64; 2]>>,
    /// Sessions that the unit at hand was the first to touch.
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

    fn touch_all(&mut self, is_there: impl Fn(&Watched) -> bool) {
        for (token, session) in &mut self.sessions {
            if session.keys.iter().any(&is_there) {
                session.touch(*token, &mut self.touched_by_unit);
            }
        }
    }

    #[inline]
    pub(crate) fn begin_unit(&mut self) {
        self.touched_by_unit.clear();
    }

    /// The unit at hand has changed nothing after all.
    pub(crate) fn roll_back_unit(&mut self) {
        for token in self.touched_by_unit.drain(..) {
            if let Some(session) = self.sessions.get_mut(&token) {
                session.touched = false;
            }
        }
    }
}

impl Session {
    fn touch(&mut self, token: u64, newly: &mut Vec<u64>) {
        if !self.touched {
            self.touched = true;
            newly.push(token);
        }
    }
}

/// Whether time alone has changed a key, or a part of it.
fn has_changed(entry: &Entry, since: WallMs, now: WallMs) -> bool {
    is_expired(entry, now) || entry.fields().is_some_and(|fields| fields.has_expired_between(since, now))
}

impl Engine {
    /// A session's next EXEC is to fail if this key changes before. `false`: it watches the key already.
    pub fn watch(&mut self, token: u64, key: &[u8], now: WallMs) -> bool {
        let key = self.keyspace.key(key);
        let was_expired = self.keyspace.find(&key).is_some_and(|entry| is_expired(entry, now));
        let session = self.watchers.sessions.entry(token).or_default();
        if session.keys.iter().any(|watched| watched.bytes == key.bytes) {
            return false;
        }
        session.keys.push(Watched { bytes: key.bytes.to_vec(), hash: key.hash, was_expired, since: now });
        let tokens = self.watchers.by_key.entry(key.hash).or_default();
        if !tokens.contains(&token) {
            tokens.push(token);
        }
        true
    }

    /// How many sessions watch, and how many keys they watch.
    #[must_use]
    pub fn watch_counts(&self) -> (usize, usize) {
        (self.watchers.sessions.len(), self.watchers.by_key.len())
    }

    /// Forgets all of a session's watches. To be called at EXEC, DISCARD, UNWATCH and when the session ends.
    pub fn unwatch(&mut self, token: u64) {
        let Some(session) = self.watchers.sessions.remove(&token) else { return };
        for watched in session.keys {
            if let Some(tokens) = self.watchers.by_key.get_mut(&watched.hash) {
                tokens.retain(|other| *other != token);
                if tokens.is_empty() {
                    self.watchers.by_key.remove(&watched.hash);
                }
            }
        }
    }

    /// Whether a key that the session watches has changed since, or has expired by now, itself or a field of it.
    #[must_use]
    pub fn is_touched(&self, token: u64, now: WallMs) -> bool {
        let Some(session) = self.watchers.sessions.get(&token) else { return false };
        let has_expired = |watched: &Watched| {
            let key = self.keyspace.key(&watched.bytes);
            !watched.was_expired && self.keyspace.find(&key).is_some_and(|entry| has_changed(entry, watched.since, now))
        };
        session.touched || session.keys.iter().any(has_expired)
    }

    /// Marks every watching session as touched: what a replica does that gives up its memory for the log's.
    pub fn touch_every_watcher(&mut self) {
        self.watchers.touch_all(|_| true);
    }

    /// Tells the sessions that watch what this effect changes. Before it is performed.
    pub(crate) fn touch_watchers(&mut self, effect: &Effect<'_>, now: WallMs) {
        if self.watchers.sessions.is_empty() {
            return;
        }
        match *effect {
            Effect::Unlink { key } if self.is_watched_expired(&key, now) => self.touch_unless_expired_at_start(&key),
            Effect::Set { key, .. }
            | Effect::Append { key, .. }
            | Effect::SetRange { key, .. }
            | Effect::Unlink { key }
            | Effect::ExpireAt { key, .. }
            | Effect::Persist { key }
            | Effect::SetFields { key, .. }
            | Effect::ExpireFieldsAt { key, .. }
            | Effect::PersistFields { key, .. } => self.watchers.touch(key.hash),
            Effect::RemoveFields { key, fields } => match self.latest_past(&key, fields, now) {
                Some(latest) => self.touch_if(&key, |watched| watched.since <= latest),
                None => self.watchers.touch(key.hash),
            },
            Effect::Rename { from, to } => {
                self.watchers.touch(from.hash);
                self.watchers.touch(to.hash);
            }
            Effect::Copy { to, .. } => self.watchers.touch(to.hash),
            Effect::FlushAll => {
                let keyspace = &self.keyspace;
                self.watchers.touch_all(|watched| keyspace.find(&keyspace.key(&watched.bytes)).is_some());
            }
        }
    }

    fn is_watched_expired(&self, key: &Key<'_>, now: WallMs) -> bool {
        self.keyspace.find(key).is_some_and(|entry| is_expired(entry, now))
    }

    /// The latest deadline of these fields, if all are past theirs: their removal changes nothing for who watches since then.
    fn latest_past(&self, key: &Key<'_>, fields: Items<'_>, now: WallMs) -> Option<WallMs> {
        let table = self.keyspace.find(key)?.fields()?;
        let past = |field: &[u8]| table.find(field).and_then(Entry::deadline).filter(|at| *at < now);
        fields.iter().map(past).try_fold(WallMs(0), |latest, at| Some(latest.max(at?)))
    }

    fn touch_unless_expired_at_start(&mut self, key: &Key<'_>) {
        self.touch_if(key, |watched| !watched.was_expired);
    }

    /// Touches the sessions to whose watch of this key it matters.
    fn touch_if(&mut self, key: &Key<'_>, matters: impl Fn(&Watched) -> bool) {
        let Some(tokens) = self.watchers.by_key.get(&key.hash) else { return };
        for token in tokens {
            let Some(session) = self.watchers.sessions.get_mut(token) else { continue };
            if session.keys.iter().any(|watched| watched.hash == key.hash && matters(watched)) {
                session.touch(*token, &mut self.watchers.touched_by_unit);
            }
        }
    }
}
