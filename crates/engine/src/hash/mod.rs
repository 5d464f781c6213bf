//! The hash commands, one file each or per tight family.
//!
//! As the string commands: arguments first, then data, then one reply; errors in the order in which Valkey finds them.
//! What a command changes is told field by field: an effect names only fields that it changes, each once.

pub mod all;
pub mod del;
pub mod expire;
pub mod get;
pub mod getex;
pub mod incr;
mod options;
pub mod randfield;
pub mod scan;
pub mod set;
pub mod setex;
pub mod ttl;

use crate::engine::Engine;
use crate::error::CommandError;
use crate::execute::Env;
use crate::keyspace::{Entry, Key};
use crate::value::hash::Hash;
use fastness_resp::Args;
use fastness_types::WallMs;
use smallvec::SmallVec;

/// Fields that a command names.
pub(crate) type Fields<'a> = SmallVec<[&'a [u8]; 8]>;

fn of_entry(entry: &Entry, now: WallMs) -> Result<Hash<'_>, CommandError> {
    entry.value().hash(now).ok_or(CommandError::WrongType)
}

/// The hash of a reading command's key; counts hit or miss.
fn read<'e>(engine: &'e mut Engine, key: &Key<'_>, env: &mut Env<'_>) -> Result<Option<Hash<'e>>, CommandError> {
    engine.read(key, env).map(|entry| of_entry(entry, env.now)).transpose()
}

/// The hash of a writing command's key.
fn look_up<'e>(engine: &'e mut Engine, key: &Key<'_>, env: &mut Env<'_>) -> Result<Option<Hash<'e>>, CommandError> {
    engine.look_up(key, env).map(|entry| of_entry(entry, env.now)).transpose()
}

/// The fields among `named` that are as `is_wanted` says, in order, each once.
fn distinct<'a>(named: impl Iterator<Item = &'a [u8]>, is_wanted: impl Fn(&[u8]) -> bool) -> Fields<'a> {
    let mut fields: Fields<'a> = named.filter(|field| is_wanted(field)).collect();
    fields.sort_unstable();
    fields.dedup();
    fields
}

/// Every second argument: the fields of pairs.
fn fields_of(pairs: Args<'_>) -> impl Iterator<Item = &[u8]> {
    pairs.iter().step_by(2)
}
