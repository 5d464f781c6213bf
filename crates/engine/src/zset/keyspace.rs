//! Changes of sorted sets in the keyspace; a packed sorted set becomes a table when it grows.

use super::members::Member;
use super::packed::{PackedZset, PackedZsetBuf};
use super::table::MemberTable;
use crate::keyspace::undo::UndoLog;
use crate::keyspace::{ExpiryChange, Key, Keyspace, NewValue, Object, ValueRef};
use fastness_types::WallMs;

impl Keyspace {
    /// Sets the scores of members; a missing key counts as an empty sorted set. A value of another type does not
    /// change. `to_table`: the sorted set becomes large, whatever its size, if it has any member.
    pub fn set_scores<'a>(
        &mut self,
        key: &Key<'_>,
        members: impl Iterator<Item = Member<'a>> + Clone,
        to_table: bool,
        now: WallMs,
    ) {
        let mut packed = match self.find(key).map(|entry| entry.value()) {
            None if members.clone().next().is_none() => return,
            None => PackedZsetBuf::default(),
            Some(ValueRef::Packed(packed)) => match PackedZset::of(packed) {
                Some(packed) => packed.to_buf(),
                None => return,
            },
            Some(ValueRef::Object(_)) => return self.set_in_score_table(key, members),
            Some(_) => return,
        };
        let limits = self.packed_limits();
        if to_table || members.clone().any(|(name, _)| !limits.takes_name(name)) {
            return self.put_score_table(key, &packed, members, now);
        }
        for (name, score) in members.clone() {
            packed.set(name, score);
            if !limits.takes_members(packed.packed().len()) {
                return self.put_score_table(key, &packed, members, now);
            }
        }
        self.put(key, packed.packed().value(), ExpiryChange::Keep, now);
    }

    /// Replaces a packed sorted set by a table, and sets scores in that. One undo record covers both.
    fn put_score_table<'a>(
        &mut self,
        key: &Key<'_>,
        packed: &PackedZsetBuf,
        members: impl Iterator<Item = Member<'a>>,
        now: WallMs,
    ) {
        let mut table = MemberTable::new(self.seed());
        packed.packed().iter().for_each(|(name, score)| table.set(name, score, &mut None));
        members.for_each(|(name, score)| table.set(name, score, &mut None));
        self.put(key, NewValue::of(Object::new(table)), ExpiryChange::Keep, now);
    }

    fn set_in_score_table<'a>(&mut self, key: &Key<'_>, members: impl Iterator<Item = Member<'a>>) {
        self.change_score_table(key, |table, undo_log| {
            members.for_each(|(name, score)| table.set(name, score, undo_log));
        });
    }

    /// Changes a large sorted set, if the key holds one. Returns whether no member is left.
    fn change_score_table(&mut self, key: &Key<'_>, change: impl FnOnce(&mut MemberTable, &mut UndoLog)) -> bool {
        let mut is_table = false;
        let is_empty = self.change_parts(key, |object, undo_log| {
            if let Some(table) = object.downcast_mut() {
                is_table = true;
                change(table, undo_log);
            }
        });
        is_table && is_empty
    }

    /// Removes members, and the key with the last of them.
    pub fn remove_scores<'a>(&mut self, key: &Key<'_>, removed: impl Iterator<Item = &'a [u8]>, now: WallMs) {
        let packed = match self.find(key).map(|entry| entry.value()) {
            Some(ValueRef::Packed(packed)) => PackedZset::of(packed),
            Some(ValueRef::Object(_)) => {
                if self.change_score_table(key, |table, undo_log| removed.for_each(|name| table.remove(name, undo_log)))
                {
                    self.unlink(key);
                }
                return;
            }
            _ => None,
        };
        let Some(packed) = packed else { return };
        let mut packed = packed.to_buf();
        removed.for_each(|name| packed.remove(name));
        if packed.packed().is_empty() {
            self.unlink(key);
        } else {
            self.put(key, packed.packed().value(), ExpiryChange::Keep, now);
        }
    }
}

#[cfg(test)]
#[path = "keyspace_tests.rs"]
mod tests;
