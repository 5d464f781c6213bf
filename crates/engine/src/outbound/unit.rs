//! The effects of one unit as commands.

use super::dialect::Dialect;
use super::streams::StreamCounters;
use super::untranslated::Untranslated;
use super::writer::CommandWriter;
use super::{keys, lists, streams};
use crate::effect::{Decoder, Effect};
use crate::functions::effect::FunctionEffect;
use crate::keyspace::Key;
use crate::list::change::ListChange;
use crate::stream::change::StreamChange;
use fastness_types::Slot;

/// Where the commands of a unit are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnitPlace {
    Start { is_several: bool },
    Within { is_several: bool },
    End,
}

/// Translates the effects of one unit, one after the other.
#[derive(Debug)]
pub struct UnitCommands<'a> {
    effects: Decoder<'a>,
    dialect: Dialect,
    marker: &'a [u8],
    place: UnitPlace,
    counters: Option<StreamCounters<'a>>,
    has_left_off_deadlines: bool,
}

/// A key of a command: its slot and hash are not needed.
fn key_of(bytes: &[u8]) -> Key<'_> {
    Key { bytes, slot: Slot(0), hash: 0 }
}

impl<'a> UnitCommands<'a> {
    /// The commands for the encoded effects of a unit. `marker` is a text that nobody uses as an element of a list or
    /// as the name of a consumer group: some changes need one for the time of the unit.
    ///
    /// # Errors
    /// The bytes are not effects of this version.
    pub fn new(effects: &'a [u8], dialect: Dialect, marker: &'a [u8]) -> Result<UnitCommands<'a>, Untranslated> {
        let mut ahead = Decoder::new(effects);
        let first = ahead.next(key_of)?;
        let is_several = first.is_some_and(|effect| takes_several(&effect)) || ahead.next(key_of)?.is_some();
        Ok(UnitCommands {
            effects: Decoder::new(effects),
            dialect,
            marker,
            place: UnitPlace::Start { is_several },
            counters: None,
            has_left_off_deadlines: false,
        })
    }

    /// Appends the commands of the next effect to `out`. False: the unit has ended, and `out` has its end.
    ///
    /// # Errors
    /// See [`Untranslated`]; what was appended since the start of the unit must not be applied.
    pub fn write_next(&mut self, out: &mut Vec<u8>) -> Result<bool, Untranslated> {
        let mut out = CommandWriter::new(out);
        let is_several = match self.place {
            UnitPlace::End => return Ok(false),
            UnitPlace::Start { is_several } => {
                if is_several {
                    out.command("MULTI", &[]);
                }
                self.place = UnitPlace::Within { is_several };
                is_several
            }
            UnitPlace::Within { is_several } => is_several,
        };
        match self.effects.next(key_of)? {
            Some(effect) => self.write(&effect, &mut out).map(|()| true),
            None => {
                self.write_counters(&mut out)?;
                if is_several {
                    out.command("EXEC", &[]);
                }
                self.place = UnitPlace::End;
                Ok(false)
            }
        }
    }

    /// Whether deadlines of fields were left off because the reader does not know them.
    #[must_use]
    pub fn has_left_off_deadlines(&self) -> bool {
        self.has_left_off_deadlines
    }

    fn write(&mut self, effect: &Effect<'a>, out: &mut CommandWriter<'_>) -> Result<(), Untranslated> {
        if let Effect::Stream(effect) = effect {
            return self.write_stream(effect.key.bytes, &effect.change, out);
        }
        self.write_counters(out)?;
        match effect {
            Effect::Key(effect) => keys::write_key(effect, out),
            Effect::String(effect) => keys::write_string(effect, out),
            Effect::Hash(effect) => self.has_left_off_deadlines |= keys::write_hash(effect, self.dialect, out),
            Effect::Set(effect) => keys::write_set(effect, out),
            Effect::Zset(effect) => keys::write_zset(effect, out),
            Effect::List(effect) => return lists::write_list(effect, self.marker, out),
            Effect::Function(FunctionEffect::Set { code, .. }) => out.command("FUNCTION", &[b"LOAD", b"REPLACE", code]),
            Effect::Function(FunctionEffect::Delete { name }) => out.command("FUNCTION", &[b"DELETE", name]),
            Effect::Function(FunctionEffect::Flush) => out.command("FUNCTION", &[b"FLUSH"]),
            // Streams were written above; others exist in tests only.
            _ => return Err(Untranslated::Type),
        }
        Ok(())
    }

    fn write_stream(
        &mut self,
        key: &'a [u8],
        change: &StreamChange<'a>,
        out: &mut CommandWriter<'_>,
    ) -> Result<(), Untranslated> {
        let continues = matches!(change, StreamChange::AddNode { .. });
        if !self.counters.is_some_and(|counters| continues && counters.key == key) {
            self.write_counters(out)?;
        }
        if let StreamChange::SetCounters { last, added, max_deleted } = *change {
            self.counters = Some(StreamCounters { key, last, added, max_deleted, entries: 0 });
        }
        let entries = streams::write_stream(key, change, out)?;
        if let Some(counters) = &mut self.counters {
            counters.entries += entries;
        }
        Ok(())
    }

    fn write_counters(&mut self, out: &mut CommandWriter<'_>) -> Result<(), Untranslated> {
        self.counters.take().map_or(Ok(()), |counters| counters.write(self.marker, out))
    }
}

/// Whether an effect takes more than one command.
fn takes_several(effect: &Effect<'_>) -> bool {
    match effect {
        Effect::List(effect) => matches!(effect.change, ListChange::Remove { .. }),
        Effect::Stream(effect) => matches!(
            effect.change,
            StreamChange::AddNode { .. } | StreamChange::SetCounters { .. } | StreamChange::Deliver { .. }
        ),
        _ => false,
    }
}
