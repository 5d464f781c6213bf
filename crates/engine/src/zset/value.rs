//! A large sorted set, as keyspace, digests and images see it.

use super::image;
use super::members::member_of;
use super::packed::NUMBER;
use super::table::MemberTable;
use crate::codec::digest::Running;
use crate::codec::varint;
use crate::keyspace::value::{OldPart, Parts, Remains, Value, is_equal};
use crate::keyspace::{Entry, Object, TypeNumber};

impl Value<Entry> for MemberTable {
    fn of(&self) -> TypeNumber {
        NUMBER
    }

    fn encoding(&self) -> &'static str {
        "skiplist"
    }

    fn heap_bytes(&self) -> usize {
        MemberTable::heap_bytes(self)
    }

    fn record_kind(&self) -> u8 {
        image::TABLE
    }

    fn write_record(&self, out: &mut Vec<u8>) {
        varint::write(out, self.len() as u64);
        self.members().iter().for_each(|entry| image::write_member(member_of(entry), out));
    }

    fn digest(&self, digest: &mut Running) {
        digest.parts(self.members().iter().map(|part| self.digest_of_part(part)).fold(0, u128::wrapping_add));
    }

    fn copied(&self) -> Object {
        Object::new(self.clone())
    }

    fn equals(&self, other: &dyn Value<Entry>) -> bool {
        is_equal(self, other)
    }

    fn into_remains(self: Box<Self>) -> Remains<Entry> {
        let (remains, bytes) = MemberTable::into_remains(*self);
        Remains::Parts(Box::new(remains), bytes, None)
    }

    fn restore_part(&mut self, part: OldPart<'_, Entry>) {
        match part {
            OldPart::Absent(name) => self.remove(name, &mut None),
            OldPart::Held(entry) => self.put_back(entry),
            OldPart::Deadline(..) => debug_assert!(false, "members have no deadlines"),
        }
    }

    fn parts(&self) -> Option<&dyn Parts<Entry>> {
        Some(self)
    }
}

/// Members have no deadlines.
impl Parts<Entry> for MemberTable {
    fn len(&self) -> usize {
        MemberTable::len(self)
    }

    fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.members().find(name)
    }

    fn hash(&self, name: &[u8]) -> u64 {
        self.members().hash(name)
    }

    fn scan<'p>(&'p self, cursor: u64, visit: &mut dyn FnMut(&'p Entry)) -> u64 {
        self.members().scan(cursor, visit)
    }

    fn write_part(&self, part: &Entry, out: &mut Vec<u8>) {
        image::write_member(member_of(part), out);
    }

    fn digest_of_part(&self, part: &Entry) -> u128 {
        image::of_member(member_of(part))
    }
}
