//! Libraries of functions as data of the shard: their effects, and how a whole set of them is written as Valkey's
//! FUNCTION DUMP does.
//!
//! The engine stores a library and runs none of its code. The shard's primary runs it once to find out which functions
//! it registers, and stages both; replicas store what the effect says.
//!
//! - [`effect`]: the effects. [`spec`]: the functions of a library. [`payload`]: FUNCTION DUMP and RESTORE.
//! - Storage, digest and undo: [`crate::keyspace::libraries`]; images: `image/record.rs`.

pub mod effect;
pub mod payload;
pub mod spec;

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

    /// Stages a library with its functions, encoded ([`spec`]); it may replace the one of this name.
    pub fn set_library(
        &mut self,
        name: &[u8],
        (code, functions): (&[u8], &[u8]),
        effects: &mut EffectBuf,
        now: WallMs,
    ) {
        self.stage(FunctionEffect::Set { name, code, functions }, effects, now);
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
