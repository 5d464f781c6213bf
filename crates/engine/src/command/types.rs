//! The data types, as the commands know them: one line each.

use super::typed::{DumpForm, TypeCommands};
use crate::{hash, list, set, stream, string, zset};

/// All of them.
pub(crate) const TYPES: &[&TypeCommands] = &[
    &string::COMMANDS,
    &hash::COMMANDS,
    &list::COMMANDS,
    &set::COMMANDS,
    &zset::COMMANDS,
    &stream::COMMANDS,
    #[cfg(any(test, feature = "test-type"))]
    &crate::stack::COMMANDS,
];

/// The forms of their values in DUMP's payloads.
pub(crate) fn dump_forms() -> impl Iterator<Item = &'static DumpForm> {
    TYPES.iter().map(|one| &one.dump)
}
