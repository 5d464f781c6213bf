//! Where effects are staged.

use super::encoder::Encoder;
use super::kind::TypeEffect;
use fastness_resp::shared_buf::{Mark, SharedBuf};
use fastness_types::Plant;
use fastness_types::limits::UNIT_FLUSHES_MAX;

/// Effects that were staged, in order, with what they touched.
///
/// The owner clears it between batches, and says where a unit begins and how long its effects may be
/// ([`crate::Engine::begin_unit`]). Before an effect is added and performed it is compared with that bound: one that
/// would pass it is not, nor is any after it, and the unit is then taken back whole. Until a unit has begun there is no
/// bound.
#[derive(Debug, Default)]
pub struct EffectBuf {
    encoder: Encoder,
    touches_all: bool,
    unit: StagedUnit,
}

/// The unit that is being staged.
#[derive(Debug)]
struct StagedUnit {
    /// What the buffer held when it began.
    encoded: Mark,
    count: usize,
    touched: usize,
    touched_all: bool,
    /// The length that the buffer may reach with it.
    bytes_end: usize,
    /// How often it has removed every key.
    flushes: usize,
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

    /// Length of the encoded effects, bytes: unchanged by a command that wrote nothing.
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

    /// Forgets what was touched and keeps the effects: after a command's keys were marked.
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

    /// What is added from here on is one unit, whose effects may be `bytes_max` long.
    #[inline]
    pub(crate) fn begin_unit(&mut self, bytes_max: usize) {
        self.unit = StagedUnit {
            encoded: self.encoder.encoded.mark(),
            count: self.encoder.count,
            touched: self.encoder.touched.len(),
            touched_all: self.touches_all,
            bytes_end: self.len().saturating_add(bytes_max),
            flushes: 0,
            overflowed: false,
        };
    }

    /// Whether an effect of the unit did not fit: it has to be taken back, see [`crate::Engine::roll_back`].
    #[inline]
    #[must_use]
    pub fn has_overflowed(&self) -> bool {
        self.unit.overflowed
    }

    /// Whether the unit may be longer by this effect. Once one does not fit, none does.
    #[inline]
    pub(crate) fn admits<'a>(&mut self, effect: &impl TypeEffect<'a>) -> bool {
        let end = self.len().saturating_add(effect.bytes_max());
        self.unit.overflowed |= end > self.unit.bytes_end && !Plant::UnitUnbounded.is_on();
        if effect.is_of_all() {
            self.unit.flushes += 1;
            self.unit.overflowed |= self.unit.bytes_end < usize::MAX && self.unit.flushes > UNIT_FLUSHES_MAX;
        }
        !self.unit.overflowed
    }

    /// Removes what the unit has added.
    pub(crate) fn truncate_unit(&mut self) {
        let StagedUnit { encoded, count, touched, touched_all, .. } = self.unit;
        self.encoder.encoded.truncate(encoded);
        self.encoder.count = count;
        self.encoder.touched.truncate(touched);
        self.touches_all = touched_all;
        self.unit = StagedUnit::default();
    }

    /// Moves what the unit has added into a buffer of its own. What was touched must be the unit's alone.
    #[must_use]
    pub fn split_unit(&mut self) -> EffectBuf {
        debug_assert!(self.unit.touched == 0 && !self.unit.touched_all, "what earlier units touched is forgotten");
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

    /// Takes the encoded effects out and empties it.
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

    /// To add an effect that touches some keys only, and is encoded by other means.
    pub(crate) fn encoder(&mut self) -> &mut Encoder {
        &mut self.encoder
    }
}
