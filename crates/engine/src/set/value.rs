//! A large set, as keyspace, digests and images see it.

use super::image;
use super::packed::NUMBER;
use super::table::SetTable;
use crate::codec::digest::Running;
use crate::codec::varint;
use crate::image::codec::write_bytes;
use crate::keyspace::value::{OldPart, Parts, Remains, Value, is_equal};
use crate::keyspace::{Entry, Object, TypeNumber};

impl Value<Entry> for SetTable {
    fn of(&self) -> TypeNumber {
        NUMBER
    }

    fn encoding(&self) -> &'static str {
        "hashtable"
    }

    fn heap_bytes(&self) -> usize {
        SetTable::heap_bytes(self)
    }

    fn record_kind(&self) -> u8 {
        image::TABLE
    }

    fn write_record(&self, out: &mut Vec<u8>) {
        varint::write(out, self.len() as u64);
        self.iter().for_each(|entry| write_bytes(entry.key(), out));
    }

    fn digest(&self, digest: &mut Running) {
        digest.parts(self.iter().map(|part| self.digest_of_part(part)).fold(0, u128::wrapping_add));
    }

    fn copied(&self) -> Object {
        Object::new(self.clone())
    }

    fn equals(&self, other: &dyn Value<Entry>) -> bool {
        is_equal(self, other)
    }

    fn into_remains(self: Box<Self>) -> Remains<Entry> {
        let (table, bytes) = self.into_table();
        Remains::Parts(Box::new(table), bytes, None)
    }

    fn restore_part(&mut self, part: OldPart<'_, Entry>) {
        match part {
            OldPart::Absent(member) => _ = self.remove(member, &mut None),
            OldPart::Held(entry) => self.put_back(entry),
            OldPart::Deadline(member, _) => debug_assert!(false, "a member without a deadline: {member:?}"),
        }
    }

    fn parts(&self) -> Option<&dyn Parts<Entry>> {
        Some(self)
    }
}

/// The parts of a set are its members, which have no deadlines.
impl Parts<Entry> for SetTable {
    fn len(&self) -> usize {
        SetTable::len(self)
    }

    fn find(&self, name: &[u8]) -> Option<&Entry> {
        SetTable::find(self, name)
    }

    fn hash(&self, name: &[u8]) -> u64 {
        SetTable::hash(self, name)
    }

    fn scan<'p>(&'p self, cursor: u64, visit: &mut dyn FnMut(&'p Entry)) -> u64 {
        SetTable::scan(self, cursor, visit)
    }

    fn write_part(&self, part: &Entry, out: &mut Vec<u8>) {
        write_bytes(part.key(), out);
    }

    fn digest_of_part(&self, part: &Entry) -> u128 {
        image::of_member(part.key())
    }
}
