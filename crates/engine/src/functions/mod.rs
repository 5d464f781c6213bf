//! Libraries of functions as data of the shard: their effects, and how a whole set of them is written as Valkey's
//! FUNCTION DUMP does.
//!
//! The engine knows a library by its name and its code. What functions the code registers is known to whoever runs it
//! (the shard), which checks a library before it stages its effect; replicas store what the effect says.
//!
//! - `effect`: the effects. [`payload`]: FUNCTION DUMP and RESTORE.
//! - Storage, digest and undo: [`crate::keyspace::libraries`]; images: `image/record.rs`.

pub mod effect;
pub mod payload;

#[cfg(test)]
mod tests;

use crate::effect::EffectBuf;
use crate::engine::Engine;
use crate::keyspace::libraries::Libraries;
use effect::FunctionEffect;
use fastness_types::WallMs;

impl Engine {
    /// The libraries of functions.
    #[must_use]
    pub fn libraries(&self) -> &Libraries {
        self.keyspace.libraries()
    }

    /// Stages a library, which may replace the one of this name.
    pub fn set_library(&mut self, name: &[u8], code: &[u8], effects: &mut EffectBuf, now: WallMs) {
        self.stage(FunctionEffect::Set { name, code }, effects, now);
    }

    /// Stages the removal of a library.
    pub fn delete_library(&mut self, name: &[u8], effects: &mut EffectBuf, now: WallMs) {
        self.stage(FunctionEffect::Delete { name }, effects, now);
    }

    /// Stages the removal of all libraries, if there are any.
    pub fn flush_libraries(&mut self, effects: &mut EffectBuf, now: WallMs) {
        if !self.libraries().is_empty() {
            self.stage(FunctionEffect::Flush, effects, now);
        }
    }
}
