//! Look-ups shared by the commands of hashes: the hash of a key, the fields that a command names, and their values.

use super::Hash;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{Entry, Key};
use crate::notify::NotifyClasses;
use fastness_resp::{Args, ReplyBuf};
use fastness_types::WallMs;
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// Fields that a command names.
pub(crate) type Fields<'a> = SmallVec<[&'a [u8]; 8]>;

pub(super) fn of_entry(entry: &Entry, now: WallMs) -> Result<Hash<'_>, CommandError> {
    Hash::of(entry.value(), now).ok_or(CommandError::WrongType)
}

/// The hash of a key, for a reading command; counts a hit or miss.
pub(super) fn read<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<Hash<'e>>, CommandError> {
    engine.read(key, env).map(|entry| of_entry(entry, env.now)).transpose()
}

/// The hash of a key, for a writing command.
pub(super) fn look_up<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<Hash<'e>>, CommandError> {
    engine.look_up(key, env).map(|entry| of_entry(entry, env.now)).transpose()
}

/// The fields among `named` that satisfy `is_wanted`, sorted, each once.
pub(super) fn distinct<'a>(named: impl Iterator<Item = &'a [u8]>, is_wanted: impl Fn(&[u8]) -> bool) -> Fields<'a> {
    let mut fields: Fields<'a> = named.filter(|field| is_wanted(field)).collect();
    fields.sort_unstable();
    fields.dedup();
    fields
}

/// Notes that fields have expired which a command is about to set.
pub(super) fn note_expired<'f>(
    engine: &mut Engine,
    key: &Key<'_>,
    mut fields: impl Iterator<Item = &'f [u8]>,
    env: &Env<'_>,
) {
    if engine.notifies(NotifyClasses::HASH) {
        let hash = engine.keyspace().find(key).and_then(|entry| Hash::of(entry.value(), env.now));
        if hash.is_some_and(|hash| fields.any(|field| hash.is_past(field))) {
            engine.notify(NotifyClasses::HASH, "hexpired", key);
        }
    }
}

/// Replies with the value of a field, null if the field does not exist.
pub(super) fn reply_value(value: Option<&[u8]>, reply: &mut ReplyBuf) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}

/// Replies with the value of each of `fields`.
pub(super) fn reply_values(hash: Option<Hash<'_>>, fields: Args<'_>, reply: &mut ReplyBuf) {
    reply.array(fields.len());
    fields.iter().for_each(|field| reply_value(hash.and_then(|hash| hash.get(field)), reply));
}

/// As [`reply_values`], for a command that removes the fields: one that is named twice is missing the second time.
/// Returns the fields that exist, sorted, each once.
pub(super) fn reply_removed<'a>(hash: Option<Hash<'_>>, fields: Args<'a>, reply: &mut ReplyBuf) -> Fields<'a> {
    let mut removed = BTreeSet::new();
    reply.array(fields.len());
    for field in fields.iter() {
        reply_value(hash.and_then(|hash| hash.get(field)).filter(|_| removed.insert(field)), reply);
    }
    removed.into_iter().collect()
}

/// Every second argument: the fields of pairs.
pub(super) fn fields_of(pairs: Args<'_>) -> impl Iterator<Item = &[u8]> {
    pairs.iter().step_by(2)
}
