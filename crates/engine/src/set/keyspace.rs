//! Changes of sets in the keyspace; a packed set changes its form when it grows.

use super::member::SetMember;
use super::packed::{PackedSet, SetForm, of_integers, of_texts, value};
use super::table::SetTable;
use crate::keyspace::undo::UndoLog;
use crate::keyspace::{ExpiryChange, Key, Keyspace, NewValue, Object, PackedLimits, ValueRef};
use fastness_types::WallMs;
use std::collections::BTreeSet;

impl Keyspace {
    /// Adds members to a set, which has at least the form `least` afterwards; a missing key counts as an empty set. A
    /// value of another type does not change.
    pub fn add_members<'a>(
        &mut self,
        key: &Key<'_>,
        added: impl Iterator<Item = &'a [u8]> + Clone,
        least: SetForm,
        now: WallMs,
    ) {
        if added.clone().next().is_none() {
            return;
        }
        let empty;
        let held = match self.find(key).map(|entry| entry.value()) {
            None => {
                empty = of_integers(&[]);
                PackedSet::new(&empty)
            }
            Some(ValueRef::Packed(packed)) => match PackedSet::of(packed) {
                Some(packed) => packed,
                None => return,
            },
            Some(ValueRef::Object(_)) => return self.add_to_table(key, added),
            Some(_) => return,
        };
        // Of an empty set the form is not bound to that of integers.
        let of_held = if held.is_empty() { SetForm::Ints } else { held.form() };
        let limits = self.packed_limits();
        let of_added = added.clone().map(|member| SetForm::of_member(SetMember::Text(member), limits)).max();
        let form = of_held.max(least).max(of_added.unwrap_or(SetForm::Ints));
        let bytes = match form {
            SetForm::Ints => integers_with(held, added.clone(), limits),
            SetForm::Texts => texts_with(held, added.clone(), limits),
            SetForm::Table => None,
        };
        if let Some(bytes) = bytes {
            return self.put(key, value(&bytes), ExpiryChange::Keep, now);
        }
        let mut table = SetTable::new(self.seed());
        held.iter().for_each(|member| _ = table.add(member.text(&mut itoa::Buffer::new()), &mut None));
        added.for_each(|member| _ = table.add(member, &mut None));
        self.put(key, NewValue::of(Object::new(table)), ExpiryChange::Keep, now);
    }

    fn add_to_table<'a>(&mut self, key: &Key<'_>, added: impl Iterator<Item = &'a [u8]>) {
        self.change_set(key, |table, undo_log| added.for_each(|member| _ = table.add(member, undo_log)));
    }

    /// Changes a large set, if the key holds one. Returns whether no member is left.
    fn change_set(&mut self, key: &Key<'_>, change: impl FnOnce(&mut SetTable, &mut UndoLog)) -> bool {
        self.change_parts(key, |object, undo_log| {
            if let Some(table) = object.downcast_mut() {
                change(table, undo_log);
            }
        })
    }

    /// Removes members, and the key with the last of them.
    pub fn remove_members<'a>(&mut self, key: &Key<'_>, removed: impl Iterator<Item = &'a [u8]>, now: WallMs) {
        let held = match self.find(key).map(|entry| entry.value()) {
            Some(ValueRef::Packed(packed)) => match PackedSet::of(packed) {
                Some(packed) => packed,
                None => return,
            },
            Some(ValueRef::Object(_)) => {
                let removing = |table: &mut SetTable, undo_log: &mut UndoLog| {
                    removed.for_each(|member| _ = table.remove(member, undo_log));
                };
                if self.change_set(key, removing) {
                    self.unlink(key);
                }
                return;
            }
            _ => return,
        };
        let bytes = match held.form() {
            SetForm::Ints => {
                let named = removed.filter_map(|member| SetMember::Text(member).integer());
                let mut gone: Vec<i64> = named.filter(|number| held.has(SetMember::Int(*number))).collect();
                gone.sort_unstable();
                let integers = held.iter().filter_map(SetMember::integer);
                let left: Vec<i64> = integers.filter(|number| gone.binary_search(number).is_err()).collect();
                of_integers(&left)
            }
            _ => {
                let gone: Vec<&[u8]> = removed.filter(|member| held.has(SetMember::Text(member))).collect();
                let left: Vec<&[u8]> = texts_of(held).filter(|text| !gone.contains(text)).collect();
                of_texts(&left)
            }
        };
        if PackedSet::new(&bytes).is_empty() {
            self.unlink(key);
        } else {
            self.put(key, value(&bytes), ExpiryChange::Keep, now);
        }
    }

    /// As [`Keyspace::remove_members`], of most members of a large set: what is left becomes a packed set of texts, if
    /// it fits one. The old table is left as it is, to be freed in slices.
    pub fn keep_few_members<'a>(
        &mut self,
        key: &Key<'_>,
        removed: impl Iterator<Item = &'a [u8]> + Clone,
        now: WallMs,
    ) {
        let Some(table) = self.find(key).and_then(|entry| entry.object()?.downcast_ref::<SetTable>()) else {
            return self.remove_members(key, removed, now);
        };
        let gone: BTreeSet<&[u8]> = removed.collect();
        let left: Vec<&[u8]> = table.iter().map(|entry| entry.key()).filter(|member| !gone.contains(member)).collect();
        if left.is_empty() {
            return self.unlink(key);
        }
        let members = left.iter().map(|member| SetMember::Text(member));
        let new = if SetForm::of_members(SetForm::Texts, members, self.packed_limits()) == SetForm::Texts {
            let bytes = of_texts(&left);
            return self.put(key, value(&bytes), ExpiryChange::Keep, now);
        } else {
            let mut kept = SetTable::new(self.seed());
            left.iter().for_each(|member| _ = kept.add(member, &mut None));
            NewValue::of(Object::new(kept))
        };
        self.put(key, new, ExpiryChange::Keep, now);
    }
}

/// The texts of a packed set of texts.
fn texts_of(held: PackedSet<'_>) -> impl Iterator<Item = &[u8]> {
    held.iter().filter_map(|member| match member {
        SetMember::Text(text) => Some(text),
        SetMember::Int(_) => None,
    })
}

/// The packed set of integers that has those of `held` and of `added`; `None` if there are too many.
fn integers_with<'a>(
    held: PackedSet<'_>,
    added: impl Iterator<Item = &'a [u8]>,
    limits: PackedLimits,
) -> Option<Vec<u8>> {
    let mut integers: Vec<i64> = held.iter().filter_map(SetMember::integer).collect();
    integers.extend(added.filter_map(|member| SetMember::Text(member).integer()));
    integers.sort_unstable();
    integers.dedup();
    (SetForm::Ints.for_len(integers.len(), limits) == SetForm::Ints).then(|| of_integers(&integers))
}

/// The packed set of texts that has the members of `held` and of `added`; `None` if there are too many.
fn texts_with<'a>(held: PackedSet<'_>, added: impl Iterator<Item = &'a [u8]>, limits: PackedLimits) -> Option<Vec<u8>> {
    let integers: Vec<Vec<u8>> = match held.form() {
        SetForm::Ints => held.iter().map(SetMember::to_vec).collect(),
        _ => Vec::new(),
    };
    let fits = |texts: &[&[u8]]| SetForm::Texts.for_len(texts.len(), limits) == SetForm::Texts;
    let mut texts: Vec<&[u8]> = integers.iter().map(Vec::as_slice).chain(texts_of(held)).collect();
    for member in added {
        if !fits(&texts) {
            return None;
        }
        if !texts.contains(&member) {
            texts.push(member);
        }
    }
    fits(&texts).then(|| of_texts(&texts))
}

#[cfg(test)]
#[path = "keyspace_tests.rs"]
mod tests;
