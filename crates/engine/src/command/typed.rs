//! What a data type adds to the commands: its own, and the form of its values in DUMP's payloads.

use super::table::Command;
use crate::codec::rdb::{Input, PayloadError};
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::{Entry, ExpiryChange, Key, TypeNumber};
use fastness_types::WallMs;

/// A data type, as the commands know it.
pub(crate) struct TypeCommands {
    /// Its own commands.
    pub(crate) commands: &'static [Command],
    /// Its form in DUMP's payloads.
    pub(crate) dump: DumpForm,
}

/// Gives a key the value that was restored, in the place of what it holds.
pub(crate) type Put = Box<dyn FnOnce(&mut Engine, &Key<'_>, ExpiryChange, &mut Env<'_>)>;

/// The form of a type's values in DUMP's payloads.
pub(crate) struct DumpForm {
    /// Whose values.
    pub(crate) of: TypeNumber,
    /// The payload of a value, as of a moment; `None` for values of other types.
    pub(crate) dump: fn(&Entry, WallMs) -> Option<Vec<u8>>,
    /// The RDB types that [`DumpForm::restore`] reads.
    pub(crate) kinds: &'static [u8],
    /// Reads a value of one of these RDB types, as of a moment.
    pub(crate) restore: fn(u8, &mut Input<'_>, WallMs) -> Result<Put, PayloadError>,
}
