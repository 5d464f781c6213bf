//! The payload of one log entry: a batch, format version 1. **Frozen**: logs on disk hold the
//! numbers and the layout below; the test `golden` has the bytes. A change requires a new version.
//!
//! ```text
//! version      u8      1
//! flags        u8      0; a bit that this version does not know is an error
//! seq          u64 le  number of the batch within its epoch, from 1
//! timestamp    u64 le  the primary's time when the first unit was staged, ms since the Unix epoch; never runs
//!                      backwards, across primaries too
//! durability   u8      the mode in force when the batch was closed (types::Durability)
//! units        varint  how many heads follow
//! unit heads   each:
//!   kind       u8      1 write, 2 expiry, 3 mode, 4 time, 5 setting, 6 leave
//!   durability u8      0: the shard's mode; else the override of this write alone. Of a mode unit: the new mode
//!   flags      u8      bit 0: an idempotency record follows
//!   delay      varint  ms from the batch's timestamp to the unit's own: the time its command ran with
//!   length     varint  bytes of effects
//!   record     varint length, bytes; only with bit 0. Of a mode unit: u64 le, the version of the desired mode that
//!              it fulfils; without a record that is 0. Of a setting unit: see below. Of a write or leave unit: see
//!              idempotency/record.rs
//! effects      the units' effects, one after the other, as engine/src/effect encodes them; kinds 3 to 6 have none
//! ```
//!
//! A setting unit's record: u8, which setting (1: the bound of the durability lag, ms); u64 le, the version of the
//! desired bound that it fulfils; u64 le, the value. Kinds 4 and 5 are written from
//! [`fastness_types::FormatLevel::BOUNDS`] on, kind 6 and records of writes from
//! [`fastness_types::FormatLevel::IDEMPOTENCY`] on.
//!
//! A unit is atomic: one command, one MULTI/EXEC, one script. Each unit has its own timestamp, because a batch can stay
//! open for long when the log is slow, and replicas must apply effects with the time at which the command ran.
//! Timestamps never decrease within a batch. Varints are LEB128, at most 10 bytes. All effects are at the end, so that
//! closing a batch copies them only once, and decoding does not copy them.
//!
//! Invariants: decoding validates the whole batch (heads, lengths, numbers) before it returns the first unit. It never
//! panics, and never allocates memory according to a length in the payload.

use std::time::Duration;

use bytes::Bytes;
use fastness_resp::SharedBuf;
use fastness_types::{Durability, Seq, WallMs};

use crate::idempotency::record::{self, RecordChange, UnitRecord};
use crate::lag_bound::DesiredLagBound;
use crate::mode::DesiredMode;
pub use crate::reader::BatchError;
use crate::reader::{Reader, put_varint};

/// The version of a whole batch. Version 2 is a part of one: [`crate::fragment`].
pub(crate) const VERSION: u8 = 1;
/// Bytes before the number of units.
const HEADER_BYTES: usize = 19;
/// Bit 0 of a unit's flags.
const HAS_RECORD: u8 = 1;
/// Of a setting unit's record: its length, and the one setting that exists.
const SETTING_BYTES: usize = 17;
const LAG_BOUND: u8 = 1;

/// What a unit is. The numbers are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum UnitKind {
    /// Effects of a client's command or transaction.
    Write = 1,
    /// Effects of the primary itself: the removal of keys that have expired, or that it evicts.
    Expiry = 2,
    /// The shard's durability mode changes.
    Mode = 3,
    /// Only a timestamp, because keys have deadlines and no client writes.
    Time = 4,
    /// A setting of the shard changes.
    Setting = 5,
    /// Idempotency records leave.
    Leave = 6,
}

impl UnitKind {
    fn from_number(number: u8) -> Option<UnitKind> {
        match number {
            1 => Some(UnitKind::Write),
            2 => Some(UnitKind::Expiry),
            3 => Some(UnitKind::Mode),
            4 => Some(UnitKind::Time),
            5 => Some(UnitKind::Setting),
            6 => Some(UnitKind::Leave),
            _ => None,
        }
    }
}

/// The head of a batch, before its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Place among the epoch's batches.
    pub seq: Seq,
    /// The primary's time when the first unit was staged.
    pub timestamp: WallMs,
    /// The mode in force when the batch was closed.
    pub durability: Durability,
}

/// A unit's head as it is staged: its effects are in the batch's buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitHead {
    /// See [`UnitKind`].
    pub kind: UnitKind,
    /// The override of this write alone; `None`: the shard's mode. Of a mode unit: the new mode.
    pub durability: Option<Durability>,
    /// The time its command ran with; not before the batch's.
    pub timestamp: WallMs,
    /// Bytes of effects.
    pub length: usize,
    /// Of a write with an idempotency key: by what it is recognised when it is sent again. Of a mode unit: the desired
    /// mode's version.
    pub record: Option<Box<[u8]>>,
}

/// One unit of a decoded batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit<'a> {
    /// See [`UnitKind`].
    pub kind: UnitKind,
    /// The override of this write alone; `None`: the shard's mode. Of a mode unit: the new mode.
    pub durability: Option<Durability>,
    /// The time its command ran with.
    pub timestamp: WallMs,
    /// See [`UnitHead::record`].
    pub record: Option<&'a [u8]>,
    /// Its effects.
    pub effects: &'a [u8],
}

impl UnitHead {
    /// A change of the mode.
    pub(crate) fn of_mode(desired: DesiredMode, timestamp: WallMs) -> UnitHead {
        let record = Some(desired.version.to_le_bytes().into());
        UnitHead { kind: UnitKind::Mode, durability: Some(desired.mode), timestamp, length: 0, record }
    }

    /// A timestamp alone.
    pub(crate) fn of_time(timestamp: WallMs) -> UnitHead {
        UnitHead { kind: UnitKind::Time, durability: None, timestamp, length: 0, record: None }
    }
}

impl UnitHead {
    /// The `count` oldest idempotency records leave.
    pub(crate) fn of_leave(count: u64, timestamp: WallMs) -> UnitHead {
        let record = Some(record::encode_leave(count));
        UnitHead { kind: UnitKind::Leave, durability: None, timestamp, length: 0, record }
    }

    /// A change of the bound of the durability lag.
    pub(crate) fn of_lag_bound(desired: DesiredLagBound, timestamp: WallMs) -> UnitHead {
        let mut record = Vec::with_capacity(SETTING_BYTES);
        record.push(LAG_BOUND);
        record.extend_from_slice(&desired.version.to_le_bytes());
        record.extend_from_slice(&(desired.bound.as_millis() as u64).to_le_bytes());
        UnitHead { kind: UnitKind::Setting, durability: None, timestamp, length: 0, record: Some(record.into()) }
    }
}

/// What a setting unit's record says.
fn read_setting(record: &[u8]) -> Result<DesiredLagBound, BatchError> {
    let mut reader = Reader(record);
    let setting = reader.byte()?;
    if setting != LAG_BOUND {
        return Err(BatchError::Unknown("setting", setting));
    }
    let (version, ms) = (reader.u64()?, reader.u64()?);
    if !reader.0.is_empty() {
        return Err(BatchError::Setting);
    }
    Ok(DesiredLagBound { bound: Duration::from_millis(ms), version })
}

impl Unit<'_> {
    /// Of a mode unit: the version of the desired mode that it fulfils.
    fn desired_version(&self) -> u64 {
        self.record.and_then(|version| version.try_into().ok()).map_or(0, u64::from_le_bytes)
    }
}

/// What applying a batch does, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run<'a> {
    /// Effects of one unit or of several that follow one another and have the same timestamp.
    Effects { timestamp: WallMs, effects: &'a [u8] },
    /// The mode changes.
    Mode(DesiredMode),
    /// The bound of the durability lag changes.
    LagBound(DesiredLagBound),
}

/// Encodes a batch: `effects` are those of all units, in the units' order.
///
/// # Panics
/// If the heads' lengths do not add up to `effects`: the caller staged something else than it says.
#[must_use]
pub fn encode(header: BatchHeader, units: &[UnitHead], effects: &SharedBuf) -> Bytes {
    assert_eq!(units.iter().map(|unit| unit.length).sum::<usize>(), effects.len(), "unit heads cover all effects");
    let mut out = Vec::with_capacity(HEADER_BYTES + 10 + units.len() * 8 + effects.len());
    write_head(header, units, &mut out);
    effects.copy(0..effects.len(), &mut out);
    Bytes::from(out)
}

/// Encodes everything before the effects.
pub(crate) fn encode_head(header: BatchHeader, units: &[UnitHead]) -> Vec<u8> {
    let mut out = Vec::new();
    write_head(header, units, &mut out);
    out
}

fn write_head(header: BatchHeader, units: &[UnitHead], out: &mut Vec<u8>) {
    out.extend_from_slice(&[VERSION, 0]);
    out.extend_from_slice(&header.seq.0.to_le_bytes());
    out.extend_from_slice(&header.timestamp.0.to_le_bytes());
    out.push(header.durability as u8);
    put_varint(out, units.len() as u64);
    for unit in units {
        let flags = if unit.record.is_some() { HAS_RECORD } else { 0 };
        out.extend_from_slice(&[unit.kind as u8, unit.durability.map_or(0, |mode| mode as u8), flags]);
        put_varint(out, unit.timestamp.0.saturating_sub(header.timestamp.0));
        put_varint(out, unit.length as u64);
        if let Some(record) = &unit.record {
            put_varint(out, record.len() as u64);
            out.extend_from_slice(record);
        }
    }
}

/// A batch that has been checked whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<'a> {
    /// The head, before the units.
    pub header: BatchHeader,
    /// How many units there are.
    pub unit_count: usize,
    /// Whether a unit has an idempotency record, or lets some leave.
    has_records: bool,
    heads: &'a [u8],
    effects: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Checks `payload` and gives access to its parts.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub fn decode(payload: &'a [u8]) -> Result<Batch<'a>, BatchError> {
        let mut reader = Reader(payload);
        let header = read_header(&mut reader)?;
        let count = usize::try_from(reader.varint()?).map_err(|_| BatchError::Length)?;
        let heads_and_rest = reader.0;
        let mut effects_len = 0usize;
        let mut newest = 0u64;
        let mut has_records = false;
        for _ in 0..count {
            let head = read_head(&mut reader)?;
            has_records |= head.record.is_some() && matches!(head.kind, UnitKind::Write | UnitKind::Leave);
            if head.delay < newest || header.timestamp.0.checked_add(head.delay).is_none() {
                return Err(BatchError::Timestamp);
            }
            newest = head.delay;
            effects_len = effects_len.checked_add(head.length).ok_or(BatchError::Length)?;
        }
        let effects = reader.0;
        if effects.len() != effects_len {
            return Err(if effects.len() < effects_len { BatchError::Truncated } else { BatchError::Length });
        }
        let heads = &heads_and_rest[..heads_and_rest.len() - effects.len()];
        Ok(Batch { header, unit_count: count, has_records, heads, effects })
    }

    /// The units in order.
    pub fn units(&self) -> impl Iterator<Item = Unit<'a>> + use<'a> {
        let mut reader = Reader(self.heads);
        let mut effects = self.effects;
        let start = self.header.timestamp.0;
        std::iter::from_fn(move || {
            if reader.0.is_empty() {
                return None;
            }
            // Both cannot fail: `decode` has walked the same heads and added up the same lengths.
            let head = read_head(&mut reader).ok()?;
            let (own, rest) = effects.split_at_checked(head.length)?;
            effects = rest;
            let timestamp = WallMs(start.saturating_add(head.delay));
            Some(Unit { kind: head.kind, durability: head.durability, timestamp, record: head.record, effects: own })
        })
    }

    /// The units, with adjacent ones merged into runs where they may be applied together. In a run of many small
    /// effects the cache misses overlap, whereas single units would wait for each of theirs.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'a>> + use<'a> {
        let mut units = self.units().peekable();
        let mut rest = self.effects;
        std::iter::from_fn(move || {
            let first = units.next()?;
            if let (UnitKind::Mode, Some(mode)) = (first.kind, first.durability) {
                return Some(Run::Mode(DesiredMode { mode, version: first.desired_version() }));
            }
            // It was read before, when the batch was checked.
            if let (UnitKind::Setting, Some(Ok(desired))) = (first.kind, first.record.map(read_setting)) {
                return Some(Run::LagBound(desired));
            }
            let has_effects = |kind: UnitKind| !matches!(kind, UnitKind::Mode | UnitKind::Setting);
            let mut length = first.effects.len();
            while let Some(unit) = units.next_if(|unit| has_effects(unit.kind) && unit.timestamp == first.timestamp) {
                length += unit.effects.len();
            }
            let (effects, others) = rest.split_at_checked(length)?;
            rest = others;
            Some(Run::Effects { timestamp: first.timestamp, effects })
        })
    }

    /// What the units do to the idempotency records, in order, each with the unit's timestamp.
    pub(crate) fn records(&self) -> impl Iterator<Item = (WallMs, RecordChange<'a>)> + use<'a> {
        let units = self.has_records.then(|| self.units()).into_iter().flatten();
        // Both were read before, when the batch was checked.
        units.filter_map(|unit| match (unit.kind, unit.record?) {
            (UnitKind::Write, bytes) => Some((unit.timestamp, RecordChange::Add(UnitRecord::decode(bytes).ok()?))),
            (UnitKind::Leave, bytes) => Some((unit.timestamp, RecordChange::Leave(record::decode_leave(bytes).ok()?))),
            _ => None,
        })
    }

    /// Bytes of all effects.
    #[must_use]
    pub fn effect_bytes(&self) -> usize {
        self.effects.len()
    }
}

/// The sequence of a payload without checking the rest: for a primary's walk over its own committed entries.
///
/// # Errors
/// If the header is not one.
pub fn peek_header(payload: &[u8]) -> Result<BatchHeader, BatchError> {
    read_header(&mut Reader(payload))
}

struct HeadRef<'a> {
    kind: UnitKind,
    durability: Option<Durability>,
    delay: u64,
    length: usize,
    record: Option<&'a [u8]>,
}

fn read_header(reader: &mut Reader<'_>) -> Result<BatchHeader, BatchError> {
    let version = reader.byte()?;
    if version != VERSION {
        return Err(BatchError::Version(version));
    }
    let flags = reader.byte()?;
    if flags != 0 {
        return Err(BatchError::Unknown("flags", flags));
    }
    let seq = Seq(reader.u64()?);
    let timestamp = WallMs(reader.u64()?);
    let number = reader.byte()?;
    let durability = Durability::from_number(number).ok_or(BatchError::Unknown("durability", number))?;
    Ok(BatchHeader { seq, timestamp, durability })
}

fn read_head<'a>(reader: &mut Reader<'a>) -> Result<HeadRef<'a>, BatchError> {
    let number = reader.byte()?;
    let kind = UnitKind::from_number(number).ok_or(BatchError::Unknown("unit kind", number))?;
    let durability = match reader.byte()? {
        0 => None,
        number => Some(Durability::from_number(number).ok_or(BatchError::Unknown("unit durability", number))?),
    };
    let flags = reader.byte()?;
    if flags & !HAS_RECORD != 0 {
        return Err(BatchError::Unknown("unit flags", flags));
    }
    let delay = reader.varint()?;
    let length = usize::try_from(reader.varint()?).map_err(|_| BatchError::Length)?;
    if kind == UnitKind::Mode && (durability.is_none() || length != 0) {
        return Err(BatchError::Mode);
    }
    let record = if flags & HAS_RECORD != 0 {
        let length = usize::try_from(reader.varint()?).map_err(|_| BatchError::Length)?;
        Some(reader.take(length)?)
    } else {
        None
    };
    if kind == UnitKind::Mode && record.is_some_and(|version| version.len() != size_of::<u64>()) {
        return Err(BatchError::Mode);
    }
    if kind == UnitKind::Time && (durability.is_some() || length != 0 || record.is_some()) {
        return Err(BatchError::Time);
    }
    if kind == UnitKind::Setting {
        if durability.is_some() || length != 0 {
            return Err(BatchError::Setting);
        }
        read_setting(record.ok_or(BatchError::Setting)?)?;
    }
    match (kind, record) {
        (UnitKind::Write, Some(bytes)) => drop(UnitRecord::decode(bytes)?),
        (UnitKind::Expiry, Some(_)) | (UnitKind::Leave, None) => return Err(BatchError::Record),
        (UnitKind::Leave, Some(_)) if durability.is_some() || length != 0 => return Err(BatchError::Record),
        (UnitKind::Leave, Some(bytes)) => drop(record::decode_leave(bytes)?),
        _ => {}
    }
    Ok(HeadRef { kind, durability, delay, length, record })
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
