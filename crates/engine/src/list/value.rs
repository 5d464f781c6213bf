//! A large list, as keyspace, digests and images see it.

use super::image::{self, FrozenList};
use super::node_list::{NodeList, Replaced};
use super::nodes::NodeSequence;
use super::packed::NUMBER;
use crate::codec::digest::Running;
use crate::keyspace::budget::FreeBudget;
use crate::keyspace::memory::{Account, size_class};
use crate::keyspace::retired::TEXT_PART;
use crate::keyspace::value::{Dismantle, FrozenValue, OldPart, Remains, Value, is_equal};
use crate::keyspace::{Entry, Object, TypeNumber};
use std::sync::atomic::AtomicUsize;

/// Memory of a list beside its nodes, bytes.
const LIST_BYTES: usize =
    size_class(size_of::<NodeList>()) + size_class(2 * size_of::<usize>() + size_of::<AtomicUsize>());

impl Value<Entry> for NodeList {
    fn of(&self) -> TypeNumber {
        NUMBER
    }

    fn encoding(&self) -> &'static str {
        if self.is_packed { "listpack" } else { "quicklist" }
    }

    fn heap_bytes(&self) -> usize {
        LIST_BYTES + self.nodes.bytes()
    }

    fn record_kind(&self) -> u8 {
        image::NODES
    }

    fn write_record(&self, out: &mut Vec<u8>) {
        image::write_list(self, out);
    }

    fn digest(&self, digest: &mut Running) {
        self.nodes.iter().for_each(|node| image::digest_node(node, digest));
    }

    fn copied(&self) -> Object {
        Object::new(NodeList { nodes: self.nodes.copied(), ..*self })
    }

    fn equals(&self, other: &dyn Value<Entry>) -> bool {
        is_equal(self, other)
    }

    fn into_remains(self: Box<Self>) -> Remains<Entry> {
        self.nodes.release(self.nodes.bytes());
        if self.nodes.bytes() <= TEXT_PART {
            return Remains::Nothing;
        }
        let bytes = self.nodes.bytes();
        Remains::Parts(Box::new(RemovedNodes(self.nodes)), bytes, None)
    }

    fn restore(&mut self, record: &[u8]) {
        self.undo(record);
    }

    fn restore_part(&mut self, part: OldPart<'_, Entry>) {
        match part {
            OldPart::Held(entry) => match Replaced::of_entry(entry) {
                Some(replaced) => self.put_back(replaced),
                None => debug_assert!(false, "every entry of a list in the undo log has replaced nodes"),
            },
            OldPart::Absent(_) | OldPart::Deadline(..) => debug_assert!(false, "a list has no {part:?}"),
        }
    }

    fn frozen(&self) -> Option<Box<dyn FrozenValue>> {
        Some(Box::new(FrozenList::new(self)))
    }
}

/// Nodes that are freed in slices.
struct RemovedNodes(NodeSequence);

impl Dismantle<Entry> for RemovedNodes {
    fn dismantle_some(
        &mut self,
        budget: &mut FreeBudget,
        account: &mut Account,
        _: &mut dyn FnMut(Entry, &mut Account),
    ) -> bool {
        while !budget.is_spent()
            && let Some(last) = self.0.last()
        {
            let before = self.0.bytes();
            drop(self.0.remove(last));
            account.sub(before - self.0.bytes());
            budget.spend(before - self.0.bytes());
        }
        self.0.count() > 0
    }
}
