//! Changes of sorted sets. Each stages effects and performs them, unless the unit would become too long with them; such
//! a unit is rolled back as a whole. The caller has looked the key up before, which removed an expired one.

use super::effect::ZsetEffect;
use super::members::Member;
use super::score::{SCORE_BYTES, bytes_of};
use super::view::SortedSet;
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::{Key, PackedLimits};
use fastness_resp::Args;
use smallvec::SmallVec;
use std::ops::Range;

/// Members that one effect of a long list names.
const MEMBERS_PER_EFFECT: usize = 1_024;

/// Whether a command that names so many members, with these names, makes a sorted set large, whether it adds them or
/// not.
pub(super) fn makes_table<'a>(limits: PackedLimits, count: usize, mut names: impl Iterator<Item = &'a [u8]>) -> bool {
    !limits.takes_members(count) || !names.all(|name| limits.takes_name(name))
}

impl Engine {
    /// Sets the scores of members, each named once. `to_table`: the sorted set becomes large. Without members nothing
    /// else happens.
    pub fn set_scores(&mut self, key: &Key<'_>, members: &[Member<'_>], to_table: bool, env: &mut Env<'_>) {
        let scores: SmallVec<[[u8; SCORE_BYTES]; 4]> = members.iter().map(|(_, score)| bytes_of(*score)).collect();
        let pairs = members.iter().zip(&scores).flat_map(|((name, _), score)| [*name, &score[..]]);
        let items: SmallVec<[&[u8]; 8]> = pairs.collect();
        let members = Args::slices(&items).into();
        self.stage(ZsetEffect::Add { key: *key, members, to_table }, env.effects, env.now);
    }

    /// Replaces what a key holds by a sorted set of these members; without members the key is removed. Returns whether
    /// it held anything.
    pub fn put_scores(&mut self, key: &Key<'_>, members: &[(Vec<u8>, f64)], env: &mut Env<'_>) -> bool {
        let existed = self.unlink(key, env);
        let mark = self.notified();
        for chunk in members.chunks(MEMBERS_PER_EFFECT) {
            let chunk: Vec<Member<'_>> = chunk.iter().map(|(name, score)| (&name[..], *score)).collect();
            self.set_scores(key, &chunk, false, env);
        }
        self.is_replaced(existed, mark);
        existed
    }

    /// Removes members that exist, each named once, and the key with the last of them. Without members nothing happens.
    pub fn remove_scores(&mut self, key: &Key<'_>, members: Args<'_>, env: &mut Env<'_>) {
        if !members.is_empty() {
            self.stage(ZsetEffect::Remove { key: *key, members: members.into() }, env.effects, env.now);
        }
    }

    /// Removes the members of these ranks from a sorted set of `len` members.
    pub fn remove_ranks(&mut self, key: &Key<'_>, ranks: Range<usize>, len: usize, env: &mut Env<'_>) {
        if ranks.len() == len {
            self.unlink(key, env);
            return;
        }
        let mut left = ranks.len();
        while left > 0 {
            let count = left.min(MEMBERS_PER_EFFECT);
            let next = ranks.start..ranks.start + count;
            let Some(set) = self.keyspace().find(key).and_then(|entry| SortedSet::of(entry.value())) else { return };
            let names: Vec<Vec<u8>> = set.range(next, false).map(|(name, _)| name.to_vec()).collect();
            self.remove_scores(key, Args::owned(&names), env);
            if env.effects.has_overflowed() {
                return;
            }
            left -= count;
        }
    }
}
