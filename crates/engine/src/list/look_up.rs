//! Look-ups shared by the commands of lists.

use super::view::List;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{Entry, Key};

fn of_entry(entry: &Entry) -> Result<List<'_>, CommandError> {
    List::of(entry.value()).ok_or(CommandError::WrongType)
}

/// The list of a key, for a reading command; counts a hit or miss.
pub(super) fn read<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<List<'e>>, CommandError> {
    engine.read(key, env).map(of_entry).transpose()
}

/// The list of a key, for a writing command.
pub(super) fn look_up<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<List<'e>>, CommandError> {
    engine.look_up(key, env).map(of_entry).transpose()
}
