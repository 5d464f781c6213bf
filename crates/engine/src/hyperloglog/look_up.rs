//! Look-ups shared by the commands of HyperLogLogs.

use super::view::Hll;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{Entry, Key, TypeNumber};

/// The HyperLogLog of a key, for a reading command; counts a hit or miss.
pub(super) fn read<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<Hll<'e>>, CommandError> {
    engine.read(key, env).map(of_entry).transpose()
}

/// The HyperLogLog of a key, for a writing command.
pub(super) fn look_up<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<Hll<'e>>, CommandError> {
    engine.look_up(key, env).map(of_entry).transpose()
}

fn of_entry(entry: &Entry) -> Result<Hll<'_>, CommandError> {
    if entry.value().of() != TypeNumber::STRING {
        return Err(CommandError::WrongType);
    }
    let none = CommandError::Fixed("WRONGTYPE Key is not a valid HyperLogLog string value.");
    entry.value().bytes().and_then(Hll::of).ok_or(none)
}
