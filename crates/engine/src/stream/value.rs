//! A stream, as keyspace, digests and images see it.

use super::entries::Stream;
use super::image::{self, FrozenStream};
use crate::codec::digest::Running;
use crate::keyspace::budget::FreeBudget;
use crate::keyspace::memory::{Account, size_class};
use crate::keyspace::retired::TEXT_PART;
use crate::keyspace::value::{Dismantle, FrozenValue, OldPart, Remains, Value};
use crate::keyspace::{Entry, Object, TypeNumber};
use std::any::Any;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::AtomicUsize;

/// The number of the type. Frozen.
pub(crate) const NUMBER: TypeNumber = TypeNumber(6);

/// Memory of a stream beside its nodes and groups, bytes.
const STREAM_BYTES: usize =
    size_class(size_of::<Stream>()) + size_class(2 * size_of::<usize>() + size_of::<AtomicUsize>());

impl Value<Entry> for Stream {
    fn of(&self) -> TypeNumber {
        NUMBER
    }

    fn encoding(&self) -> &'static str {
        "stream"
    }

    fn heap_bytes(&self) -> usize {
        STREAM_BYTES + self.bytes()
    }

    /// Entries that were added, and which groups there are. What consumers do with entries gives nothing to others; as
    /// in Valkey, neither does XGROUP SETID.
    fn arrivals(&self) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        (self.last.ms, self.last.seq, self.added).hash(&mut hasher);
        self.groups().for_each(|(name, _)| name.hash(&mut hasher));
        Some(hasher.finish())
    }

    fn record_kind(&self) -> u8 {
        image::STREAM
    }

    fn write_record(&self, out: &mut Vec<u8>) {
        image::write_stream(self, out);
    }

    fn digest(&self, digest: &mut Running) {
        image::digest_stream(self, digest);
    }

    fn copied(&self) -> Object {
        Object::new(Stream::copied(self))
    }

    fn equals(&self, other: &dyn Value<Entry>) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<Stream>().is_some_and(|other| self == other)
    }

    fn into_remains(self: Box<Self>) -> Remains<Entry> {
        let bytes = self.bytes();
        self.release(bytes);
        if bytes <= TEXT_PART { Remains::Nothing } else { Remains::Parts(Box::new(RemovedStream(*self)), bytes, None) }
    }

    fn restore_part(&mut self, part: OldPart<'_, Entry>) {
        match part {
            OldPart::Absent(record) => self.undo(record),
            OldPart::Held(entry) => self.put_back(entry),
            OldPart::Deadline(..) => debug_assert!(false, "entries have no deadlines"),
        }
    }

    fn frozen(&self) -> Option<Box<dyn FrozenValue>> {
        Some(Box::new(FrozenStream::new(self)))
    }
}

/// A stream that is freed in slices.
struct RemovedStream(Stream);

impl Dismantle<Entry> for RemovedStream {
    fn dismantle_some(
        &mut self,
        budget: &mut FreeBudget,
        account: &mut Account,
        _: &mut dyn FnMut(Entry, &mut Account),
    ) -> bool {
        while !budget.is_spent() {
            let before = self.0.bytes();
            if !self.0.free_one() {
                return false;
            }
            account.sub(before - self.0.bytes());
            budget.spend(before - self.0.bytes());
        }
        true
    }
}
