//! Where effects are staged.

use super::encoder::Encoder;
use super::kind::TypeEffect;
use fastness_resp::shared_buf::{Mark, SharedBuf};
use fastness_types::limits::UNIT_FLUSHES_MAX;
use fastness_types::{FormatLevel, Plant};

/// Staged effects, in order, with the keys that they touched.
///
/// The owner clears it between batches, and starts each unit with the bound of its effects
/// ([`crate::Engine::begin_unit`]). Each effect is checked against that bound before it is added and performed. From
/// the first that would exceed it on, no effect is, and the unit is then rolled back as a whole. Before the first unit
/// there is no bound.
#[derive(Debug, Default)]
pub struct EffectBuf {
    encoder: Encoder,
    touches_all: bool,
    unit: StagedUnit,
}

/// The unit that is being staged.
#[derive(Debug)]
struct StagedUnit {
    /// The end of the buffer when the unit started, as are the next three.
    encoded: Mark,
    count: usize,
    touched: usize,
    touched_all: bool,
    /// The length that the buffer may reach, bytes.
    bytes_end: usize,
    /// How many effects that remove every key it has.
    flushes: usize,
    /// The highest format level of its effects.
    level: FormatLevel,
    overflowed: bool,
}

impl Default for StagedUnit {
    fn default() -> StagedUnit {
        StagedUnit {
            encoded: Mark::default(),
            count: 0,
            touched: 0,
            touched_all: false,
            bytes_end: usize::MAX,
            flushes: 0,
            level: FormatLevel::BASE,
            overflowed: false,
        }
    }
}

impl EffectBuf {
    /// Empty.
    #[must_use]
    pub fn new() -> EffectBuf {
        EffectBuf::default()
    }

    /// The encoded effects.
    #[must_use]
    pub fn encoded(&self) -> &SharedBuf {
        &self.encoder.encoded
    }

    /// Length of the encoded effects, bytes; a command that writes nothing does not change it.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.encoder.encoded.len()
    }

    /// Whether there is no effect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.encoder.encoded.is_empty()
    }

    /// Number of effects.
    #[must_use]
    pub fn count(&self) -> usize {
        self.encoder.count
    }

    /// [`crate::Engine::hash_key`] of every key that an effect touched, in order, with repetitions.
    #[must_use]
    pub fn touched(&self) -> &[u64] {
        &self.encoder.touched
    }

    /// Whether an effect touched the whole keyspace.
    #[must_use]
    pub fn touches_all(&self) -> bool {
        self.touches_all
    }

    /// Forgets which keys were touched and keeps the effects: after a command's keys were marked.
    pub fn clear_touched(&mut self) {
        self.encoder.touched.clear();
        self.touches_all = false;
    }

    /// Empties it; keeps its memory.
    pub fn clear(&mut self) {
        self.encoder.encoded.clear();
        self.encoder.count = 0;
        self.clear_touched();
        self.unit = StagedUnit::default();
    }

    /// Starts a unit, whose effects may take `bytes_max` bytes.
    #[inline]
    pub(crate) fn begin_unit(&mut self, bytes_max: usize) {
        self.unit = StagedUnit {
            encoded: self.encoder.encoded.mark(),
            count: self.encoder.count,
            touched: self.encoder.touched.len(),
            touched_all: self.touches_all,
            bytes_end: self.len().saturating_add(bytes_max),
            flushes: 0,
            level: FormatLevel::BASE,
            overflowed: false,
        };
    }

    /// Whether an effect of the unit did not fit, so that [`crate::Engine::roll_back`] has to follow.
    #[inline]
    #[must_use]
    pub fn has_overflowed(&self) -> bool {
        self.unit.overflowed
    }

    /// The format level from which on a log may contain the effects of the unit.
    #[inline]
    #[must_use]
    pub fn unit_level(&self) -> FormatLevel {
        self.unit.level
    }

    /// Whether the effect fits into the unit. Once one does not fit, none does.
    #[inline]
    pub(crate) fn admits<'a>(&mut self, effect: &impl TypeEffect<'a>) -> bool {
        self.unit.level = self.unit.level.max(effect.level());
        let end = self.len().saturating_add(effect.bytes_max());
        self.unit.overflowed |= end > self.unit.bytes_end && !Plant::UnitUnbounded.is_on();
        if effect.is_of_all() {
            self.unit.flushes += 1;
            self.unit.overflowed |= self.unit.bytes_end < usize::MAX && self.unit.flushes > UNIT_FLUSHES_MAX;
        }
        !self.unit.overflowed
    }

    /// Removes the effects of the unit.
    pub(crate) fn truncate_unit(&mut self) {
        let StagedUnit { encoded, count, touched, touched_all, .. } = self.unit;
        self.encoder.encoded.truncate(encoded);
        self.encoder.count = count;
        self.encoder.touched.truncate(touched);
        self.touches_all = touched_all;
        self.unit = StagedUnit::default();
    }

    /// Moves the effects of the unit into a buffer of their own. The touched keys of earlier units must be forgotten.
    #[must_use]
    pub fn split_unit(&mut self) -> EffectBuf {
        debug_assert!(
            self.unit.touched == 0 && !self.unit.touched_all,
            "the touched keys of earlier units are forgotten"
        );
        let unit = EffectBuf {
            encoder: Encoder {
                encoded: self.encoder.encoded.split_off(self.unit.encoded),
                count: self.encoder.count - self.unit.count,
                touched: std::mem::take(&mut self.encoder.touched),
            },
            touches_all: std::mem::take(&mut self.touches_all),
            unit: StagedUnit::default(),
        };
        self.encoder.count = self.unit.count;
        self.unit = StagedUnit::default();
        unit
    }

    /// As [`EffectBuf::split_unit`], of a unit that has not ended: its bounds go with it.
    #[must_use]
    pub fn split_running_unit(&mut self) -> EffectBuf {
        let StagedUnit { bytes_end, flushes, level, overflowed, .. } = self.unit;
        let whole = self.len();
        let mut unit = self.split_unit();
        // What is before the unit does not count any more.
        let bytes_end = bytes_end.saturating_sub(whole - unit.len());
        unit.unit = StagedUnit { bytes_end, flushes, level, overflowed, ..StagedUnit::default() };
        unit
    }

    /// Returns the encoded effects and empties the buffer.
    #[must_use]
    pub fn take(&mut self) -> SharedBuf {
        let encoded = std::mem::take(&mut self.encoder.encoded);
        self.clear();
        encoded
    }

    /// Adds one effect.
    pub fn push<'a>(&mut self, effect: &impl TypeEffect<'a>) {
        self.touches_all |= effect.is_of_all();
        effect.encode(&mut self.encoder);
    }

    /// The encoder, for an effect that is encoded in a way of its own and does not touch all keys.
    pub(crate) fn encoder(&mut self) -> &mut Encoder {
        &mut self.encoder
    }
}
