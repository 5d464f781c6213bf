//! Changes of lists in the keyspace; a list in its entry moves out of it when it grows.

use super::change::{ListChange, ListEnd};
use super::limit::NodeLimit;
use super::node_list::NodeList;
use super::packed::{INLINE_MAX, NUMBER};
use super::undo::{leaves_record, write_record};
use crate::codec::listpack;
use crate::keyspace::{ExpiryChange, Key, Keyspace, NewValue, Object, Packed, ValueRef};
use fastness_types::WallMs;
use smallvec::SmallVec;

/// The elements of a list in its entry.
type Inline = SmallVec<[u8; INLINE_MAX]>;

impl Keyspace {
    /// The limit of the nodes of lists that change from now on.
    pub(crate) fn list_node_limit(&self) -> NodeLimit {
        NodeLimit::of_option(self.packed_limits().list_node)
    }

    /// Changes a list. A value of another type does not change.
    pub fn change_list(&mut self, key: &Key<'_>, change: &ListChange<'_>, now: WallMs) {
        let limit = self.list_node_limit();
        match self.find(key).map(|entry| entry.value()) {
            None if change.creates() => self.change_inline(key, Inline::new(), change, now),
            Some(ValueRef::Packed(packed)) if packed.of == NUMBER => {
                let elements = Inline::from_slice(packed.bytes);
                self.change_inline(key, elements, change, now);
            }
            Some(ValueRef::Object(object)) => {
                let Some(list) = object.downcast_ref::<NodeList>() else { return };
                if change.empties(list.len()) {
                    self.unlink(key);
                } else if leaves_record(list, change, limit) {
                    let write = |list: &NodeList, record: &mut Vec<u8>| write_record(list, change, record);
                    self.change_in_place(key, now, write, |list: &mut NodeList| {
                        list.limit = limit;
                        list.apply(change);
                    });
                } else {
                    self.change_nodes(key, change);
                }
            }
            None | Some(_) => {}
        }
    }

    /// Changes a large list, and leaves to the undo log the nodes that the change replaces. Without an undo log they
    /// are freed in slices.
    fn change_nodes(&mut self, key: &Key<'_>, change: &ListChange<'_>) {
        let (mut freed, limit) = (Vec::new(), self.list_node_limit());
        self.change_parts(key, |object, undo_log| {
            let Some(list) = object.downcast_mut::<NodeList>() else { return };
            list.limit = limit;
            match undo_log {
                Some(undo) => {
                    list.apply_keeping(change).into_iter().for_each(|replaced| undo.moved(replaced.into_entry()));
                }
                None => freed = list.apply_freeing(change),
            }
        });
        freed.into_iter().for_each(|object| self.give_back_object(object));
    }

    /// Changes a list in its entry, or one that does not exist.
    fn change_inline(&mut self, key: &Key<'_>, elements: Inline, change: &ListChange<'_>, now: WallMs) {
        match changed_inline(&elements, change, self.list_node_limit()) {
            Some(changed) if changed.is_empty() => self.unlink(key),
            Some(changed) => self.put_inline(key, &changed, now),
            None => {
                let mut list = NodeList::of_packed(&elements, listpack::elements(&elements).count());
                if change.empties(list.len()) {
                    return self.unlink(key);
                }
                list.limit = self.list_node_limit();
                list.apply(change);
                match list.packed_bytes().filter(|bytes| bytes.len() <= INLINE_MAX) {
                    Some(bytes) => self.put_inline(key, bytes, now),
                    None => self.put(key, NewValue::of(Object::new(list)), ExpiryChange::Keep, now),
                }
            }
        }
    }

    fn put_inline(&mut self, key: &Key<'_>, bytes: &[u8], now: WallMs) {
        self.put(key, NewValue::Packed(Packed { of: NUMBER, bytes }), ExpiryChange::Keep, now);
    }
}

/// The elements after a change at one end of a list in its entry, if they still fit there: without building a list. A
/// list so short is packed unless its elements are too many, because their texts have at most twice the bytes of their
/// packed form.
fn changed_inline(elements: &[u8], change: &ListChange<'_>, limit: NodeLimit) -> Option<Inline> {
    let mut changed = Inline::new();
    match *change {
        ListChange::Push { end, elements: new } if end == ListEnd::Tail || new.len() == 1 => {
            if !limit.takes_inline(|| listpack::elements(elements).count() + new.len()) {
                return None;
            }
            let mut added = Vec::new();
            for text in new.iter() {
                if elements.len() + added.len() + text.len() > INLINE_MAX {
                    return None;
                }
                listpack::push(text, &mut added);
            }
            let (first, then) = if end == ListEnd::Head { (&added[..], elements) } else { (elements, &added[..]) };
            changed.extend_from_slice(first);
            changed.extend_from_slice(then);
            (changed.len() <= INLINE_MAX).then_some(changed)
        }
        ListChange::Trim { head, tail } => {
            let mut kept = elements;
            for _ in 0..head.min(INLINE_MAX as u64) {
                kept = listpack::first(kept).map_or(&[][..], |(_, len)| &kept[len..]);
            }
            for _ in 0..tail.min(INLINE_MAX as u64) {
                kept = listpack::last(kept).map_or(&[][..], |(_, len)| &kept[..kept.len() - len]);
            }
            changed.extend_from_slice(kept);
            Some(changed)
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "keyspace_tests.rs"]
mod tests;
