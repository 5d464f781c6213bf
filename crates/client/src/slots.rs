//! Hash slots: the slot of a key, and which node serves which slots.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crc::{CRC_16_XMODEM, Crc};

/// Number of hash slots.
pub(crate) const SLOTS: u16 = 16_384;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The slot of a key, as in Valkey's cluster specification: CRC16 (XMODEM) of its hash tag modulo 16384. The hash tag
/// is the text between the first `{` and the first `}` after it, or the whole key if there is no such text.
///
/// Keys with one hash tag (`{user:7}.name`, `{user:7}.mail`) have one slot, and can be used in one call.
#[must_use]
pub fn key_slot(key: &[u8]) -> u16 {
    CRC.checksum(hash_tag(key)) % SLOTS
}

fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let tag = &key[open + 1..];
    match tag.iter().position(|byte| *byte == b'}') {
        Some(length) if length > 0 => &tag[..length],
        _ => key,
    }
}

/// Which node serves which slots, as far as it was learned. What it says may be outdated: the node that is called then
/// names the right one.
#[derive(Debug, Default)]
pub(crate) struct SlotTable {
    /// By the first slot of each range. Ranges do not overlap.
    ranges: BTreeMap<u16, ServedRange>,
}

/// A range of slots from its key in the table on.
#[derive(Debug)]
struct ServedRange {
    last: u16,
    address: Arc<str>,
    /// Absent: the node that named the address did not name the shard.
    shard: Option<u32>,
}

impl SlotTable {
    /// The address of the node that serves a slot.
    pub(crate) fn address(&self, slot: u16) -> Option<&Arc<str>> {
        self.range(slot).map(|range| &range.address)
    }

    /// The shard of a slot.
    pub(crate) fn shard(&self, slot: u16) -> Option<u32> {
        self.range(slot)?.shard
    }

    fn range(&self, slot: u16) -> Option<&ServedRange> {
        let (_, range) = self.ranges.range(..=slot).next_back()?;
        (slot <= range.last).then_some(range)
    }

    /// Records who serves these slots. Ranges that overlap them are dropped.
    pub(crate) fn learn(&mut self, slots: RangeInclusive<u16>, address: Arc<str>, shard: Option<u32>) {
        if slots.is_empty() || *slots.end() >= SLOTS {
            return;
        }
        self.ranges.retain(|first, range| range.last < *slots.start() || *first > *slots.end());
        self.ranges.insert(*slots.start(), ServedRange { last: *slots.end(), address, shard });
    }

    /// Drops the range of a slot if it names this address; what was learned meanwhile stays.
    pub(crate) fn forget(&mut self, slot: u16, address: &str) {
        let range = self.ranges.range(..=slot).next_back();
        let found = range.filter(|(_, of)| slot <= of.last && *of.address == *address).map(|(first, _)| *first);
        if let Some(first) = found {
            self.ranges.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(key_slot(b"123456789"), 12739);
        assert_eq!(key_slot(b"foo"), 12182);
        assert_eq!(key_slot(b""), 0);
    }

    #[test]
    fn the_first_hash_tag_decides() {
        assert_eq!(key_slot(b"{foo}.bar"), key_slot(b"foo"));
        assert_eq!(key_slot(b"a{foo}{bar}"), key_slot(b"foo"));
        assert_eq!(key_slot(b"a{{foo}}"), key_slot(b"{foo"));
        assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hash_tag(b"foo{bar"), b"foo{bar");
        assert_eq!(hash_tag(b"}foo{bar}"), b"bar");
    }

    #[test]
    fn ranges_are_learned_replaced_and_forgotten() {
        let mut table = SlotTable::default();
        let at = |table: &SlotTable, slot| table.address(slot).map(ToString::to_string);
        assert_eq!(at(&table, 0), None);
        table.learn(0..=99, "a:1".into(), Some(1));
        table.learn(200..=16_383, "b:1".into(), None);
        assert_eq!((table.shard(99), table.shard(100), table.shard(200)), (Some(1), None, None));
        for (slot, address) in [(0, Some("a:1")), (99, Some("a:1")), (100, None), (200, Some("b:1"))] {
            assert_eq!(at(&table, slot).as_deref(), address, "{slot}");
        }
        assert_eq!(at(&table, 16_383).as_deref(), Some("b:1"));

        // A range that overlaps others replaces them as a whole: they are of an older map.
        table.learn(50..=250, "c:1".into(), None);
        assert_eq!((at(&table, 0), at(&table, 50), at(&table, 251)), (None, Some("c:1".into()), None));
        table.forget(60, "a:1");
        assert_eq!(at(&table, 60).as_deref(), Some("c:1"), "it is not known as a:1");
        table.forget(60, "c:1");
        assert_eq!(at(&table, 60), None);
        table.learn(5..=16_384, "d:1".into(), None);
        assert_eq!(at(&table, 5), None, "no such slots");
    }
}
