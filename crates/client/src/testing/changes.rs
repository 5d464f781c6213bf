//! The changes that the mock keeps for watches, as a shard keeps them in its log.
//!
//! A command adds what it changes; what it has added becomes one unit, with a position, once it has committed. Each
//! unit is a log entry of its own.

use std::collections::VecDeque;

use bytes::Bytes;
use fastness_wire::v1::watch_change::Change;
use fastness_wire::v1::{self, WatchCause, WatchChange, WatchPosition, WatchUnit, watch_expiry};
use tokio::sync::watch;

use super::fault::MockRefusal;

/// How many units are kept unless a test says otherwise.
const UNITS_MAX: usize = 1_024;
/// A longer value is left out of what watches show.
pub(super) const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// The unit of a position at the end of its log entry.
const END: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct ChangeLog {
    /// Those that are kept, of consecutive indexes.
    units: VecDeque<WatchUnit>,
    units_max: usize,
    /// Index of the newest unit; 0: there was none.
    newest: u64,
    /// What the command that runs has changed.
    open: Vec<Change>,
    /// For streams: something has happened.
    signal: watch::Sender<()>,
}

impl Default for ChangeLog {
    fn default() -> ChangeLog {
        let (units, open) = (VecDeque::new(), Vec::new());
        ChangeLog { units, units_max: UNITS_MAX, newest: 0, open, signal: watch::Sender::new(()) }
    }
}

impl ChangeLog {
    /// The command that runs has changed this.
    pub(super) fn add(&mut self, change: Change) {
        self.open.push(change);
    }

    /// What was added becomes a unit, unless nothing was.
    pub(super) fn commit(&mut self, cause: WatchCause, time_ms: u64) {
        if self.open.is_empty() {
            return;
        }
        self.newest += 1;
        let changes = self.open.drain(..).map(|change| WatchChange { change: Some(change), name_cut: false }).collect();
        let position = Some(WatchPosition { index: self.newest, unit: 1 });
        self.units.push_back(WatchUnit { position, time_ms, cause: cause.into(), changes, continued: false });
        self.purge();
        self.wake();
    }

    /// Keeps at most so many units.
    pub(super) fn keep(&mut self, units_max: usize) {
        self.units_max = units_max;
        self.purge();
        self.wake();
    }

    fn purge(&mut self) {
        let over = self.units.len().saturating_sub(self.units_max);
        self.units.drain(..over);
    }

    /// Lets all streams look at what has happened.
    pub(super) fn wake(&self) {
        self.signal.send_replace(());
    }

    /// What streams wait for.
    pub(super) fn signal(&self) -> watch::Receiver<()> {
        self.signal.subscribe()
    }

    /// Index of the newest unit.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Index of the newest unit that is not kept any more; what is after it can be read.
    pub(super) fn purged(&self) -> u64 {
        self.newest - self.units.len() as u64
    }

    /// How many of the kept units are not after this index.
    ///
    /// # Errors
    /// Some of those after it are not kept any more, or there is no such index yet.
    pub(super) fn place(&self, index: u64) -> Result<usize, MockRefusal> {
        if index > self.newest {
            return Err(MockRefusal::ahead());
        }
        let purged = self.purged();
        let place = index.checked_sub(purged).ok_or_else(|| MockRefusal::purged(purged + 1))?;
        Ok(usize::try_from(place).unwrap_or(self.units.len()))
    }

    /// The units after this index.
    ///
    /// # Errors
    /// As for [`ChangeLog::place`].
    pub(super) fn after(&self, index: u64) -> Result<impl Iterator<Item = &WatchUnit>, MockRefusal> {
        Ok(self.units.range(self.place(index)?..))
    }
}

/// The end of a log entry.
pub(super) fn end_of(index: u64) -> WatchPosition {
    WatchPosition { index, unit: END }
}

/// The index up to which everything is before a position.
pub(super) fn index_of(position: &WatchPosition) -> u64 {
    if position.unit == 0 { position.index.saturating_sub(1) } else { position.index }
}

/// The value, whether it is left out, and its length.
fn shown(value: &Bytes) -> (Bytes, bool, u64) {
    let is_long = value.len() > VALUE_BYTES_MAX;
    (if is_long { Bytes::new() } else { value.clone() }, is_long, value.len() as u64)
}

pub(super) fn string_set(key: &Bytes, value: &Bytes, expiry: Option<watch_expiry::Expiry>) -> Change {
    let (value, value_omitted, value_bytes) = shown(value);
    let expiry = expiry.map(|expiry| v1::WatchExpiry { expiry: Some(expiry) });
    Change::StringSet(v1::StringSetChange { key: key.clone(), value, value_omitted, value_bytes, expiry })
}

pub(super) fn string_append(key: &Bytes, bytes: &Bytes) -> Change {
    let (value, value_omitted, value_bytes) = shown(bytes);
    Change::StringAppend(v1::StringAppendChange { key: key.clone(), value, value_omitted, value_bytes })
}

pub(super) fn key_delete(key: &Bytes) -> Change {
    Change::KeyDelete(v1::KeyDeleteChange { key: key.clone() })
}

pub(super) fn hash_set(key: &Bytes, fields: &[v1::HashField]) -> Change {
    let field = |field: &v1::HashField| {
        let (value, value_omitted, value_bytes) = shown(&field.value);
        v1::HashFieldChange { name: field.name.clone(), value, value_omitted, value_bytes }
    };
    let fields = fields.iter().map(field).collect();
    Change::HashSet(v1::HashSetChange { key: key.clone(), fields, expiry: None })
}

/// The key that a change concerns; absent: all of them. The mock runs no command that changes two keys at once.
pub(super) fn key_of(change: &WatchChange) -> Option<&Bytes> {
    match change.change.as_ref()? {
        Change::StringSet(change) => Some(&change.key),
        Change::StringAppend(change) => Some(&change.key),
        Change::KeyDelete(change) => Some(&change.key),
        Change::KeyExpire(change) => Some(&change.key),
        Change::KeyPersist(change) => Some(&change.key),
        Change::HashSet(change) => Some(&change.key),
        Change::HashDelete(change) => Some(&change.key),
        _ => None,
    }
}
