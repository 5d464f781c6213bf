//! Look-ups shared by the commands of sets: the set of a key, the sets of several keys, and the members that a command
//! names.

use super::Set;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{Entry, Key};
use fastness_resp::Args;
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// Members that a command names.
pub(super) type Named<'a> = SmallVec<[&'a [u8]; 8]>;

fn of_entry(entry: &Entry) -> Result<Set<'_>, CommandError> {
    Set::of(entry.value()).ok_or(CommandError::WrongType)
}

/// The set of a key, for a reading command; counts a hit or miss.
pub(super) fn read<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<Set<'e>>, CommandError> {
    engine.read(key, env).map(of_entry).transpose()
}

/// The set of a key, for a writing command.
pub(super) fn look_up<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<Set<'e>>, CommandError> {
    engine.look_up(key, env).map(of_entry).transpose()
}

/// The sets of several keys, as far as they exist: looked up in the order of the keys, as [`read`] does.
pub(super) struct Operands<'a> {
    /// Of each argument its key, if it exists.
    keys: Vec<Option<Key<'a>>>,
}

impl<'a> Operands<'a> {
    /// Looks the keys up.
    pub(super) fn read(engine: &mut Engine, keys: Args<'a>, env: &mut Env<'_>) -> Result<Operands<'a>, CommandError> {
        let mut found = Vec::with_capacity(keys.len());
        for bytes in keys.iter() {
            let key = engine.key(bytes);
            found.push(read(engine, &key, env)?.map(|_| key));
        }
        Ok(Operands { keys: found })
    }

    /// Whether every key exists.
    pub(super) fn all_exist(&self) -> bool {
        self.keys.iter().all(Option::is_some)
    }

    /// The sets, in the order of the keys; `None` for a key that does not exist.
    pub(super) fn sets<'e>(&self, engine: &'e Engine) -> Vec<Option<Set<'e>>> {
        let set = |key: &Key<'_>| engine.keyspace().find(key).and_then(|entry| Set::of(entry.value()));
        self.keys.iter().map(|key| key.as_ref().and_then(set)).collect()
    }

    /// Whether the first key exists and is named again.
    pub(super) fn names_first_again(&self) -> bool {
        let mut keys = self.keys.iter().map(|key| key.as_ref().map(|key| key.bytes));
        keys.next().flatten().is_some_and(|first| keys.any(|key| key == Some(first)))
    }
}

/// The members among `named` that satisfy `is_wanted`, each once, in the order in which they are named first.
pub(super) fn distinct<'a>(named: impl Iterator<Item = &'a [u8]>, is_wanted: impl Fn(&[u8]) -> bool) -> Named<'a> {
    let mut wanted: Named<'a> = named.filter(|member| is_wanted(member)).collect();
    if wanted.len() > 1 {
        let mut seen = BTreeSet::new();
        wanted.retain(|member| seen.insert(*member));
    }
    wanted
}
