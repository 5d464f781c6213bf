//! A large hash, as keyspace, digests and images see it.

use super::fields::{FieldTable, pair};
use super::image;
use super::packed::NUMBER;
use crate::codec::digest::Running;
use crate::codec::varint;
use crate::keyspace::value::{OldPart, Parts, Remains, Value, is_equal};
use crate::keyspace::{Entry, Object, TypeNumber};
use fastness_types::WallMs;

impl Value<Entry> for FieldTable {
    fn of(&self) -> TypeNumber {
        NUMBER
    }

    fn encoding(&self) -> &'static str {
        "hashtable"
    }

    fn heap_bytes(&self) -> usize {
        FieldTable::heap_bytes(self)
    }

    fn record_kind(&self) -> u8 {
        image::TABLE
    }

    fn write_record(&self, out: &mut Vec<u8>) {
        varint::write(out, self.len() as u64);
        self.iter().for_each(|entry| image::write_field(entry, out));
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
        let (table, bytes, deadlines) = self.into_table();
        Remains::Parts(Box::new(table), bytes, deadlines)
    }

    fn restore_part(&mut self, part: OldPart<'_, Entry>) {
        match part {
            OldPart::Absent(field) => self.remove(field, &mut None),
            OldPart::Held(entry) => self.put_back(entry),
            OldPart::Deadline(field, deadline) => self.set_deadline(field, deadline, &mut None),
        }
    }

    fn parts(&self) -> Option<&dyn Parts<Entry>> {
        Some(self)
    }
}

impl Parts<Entry> for FieldTable {
    fn len(&self) -> usize {
        FieldTable::len(self)
    }

    fn first_deadline(&self) -> Option<WallMs> {
        FieldTable::first_deadline(self)
    }

    fn is_past(&self, now: WallMs) -> bool {
        FieldTable::is_past(self, now)
    }

    fn has_expired_between(&self, from: WallMs, to: WallMs) -> bool {
        FieldTable::has_expired_between(self, from, to)
    }

    fn past(&self, now: WallMs) -> Box<dyn Iterator<Item = &[u8]> + '_> {
        Box::new(FieldTable::past(self, now))
    }

    fn find(&self, name: &[u8]) -> Option<&Entry> {
        FieldTable::find(self, name)
    }

    fn hash(&self, name: &[u8]) -> u64 {
        FieldTable::hash(self, name)
    }

    fn scan<'p>(&'p self, cursor: u64, visit: &mut dyn FnMut(&'p Entry)) -> u64 {
        FieldTable::scan(self, cursor, visit)
    }

    fn write_part(&self, part: &Entry, out: &mut Vec<u8>) {
        image::write_field(part, out);
    }

    fn digest_of_part(&self, part: &Entry) -> u128 {
        image::of_field(pair(part), part.deadline())
    }
}
