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
    /// The members of shards, by the first slot; as the newest topology has them.
    members: BTreeMap<u16, (u16, Arc<[Member]>)>,
    /// The map that they are of.
    map: Option<LearnedMap>,
}

/// The version of a topology that was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LearnedMap {
    pub(crate) cluster: Vec<u8>,
    pub(crate) version: u64,
}

impl LearnedMap {
    /// Whether what has this version replaces what was learned with another one. A node that is cut off has an older
    /// map of the same cluster.
    pub(crate) fn replaces(&self, known: Option<&LearnedMap>) -> bool {
        known.is_none_or(|known| known.cluster != self.cluster || known.version <= self.version)
    }
}

/// A replica that serves reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) address: Arc<str>,
    pub(crate) az: Arc<str>,
}

/// What a topology says of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardRoute {
    pub(crate) slots: RangeInclusive<u16>,
    pub(crate) shard: u32,
    pub(crate) primary: Option<Arc<str>>,
    /// Those that serve reads, and the primary.
    pub(crate) members: Arc<[Member]>,
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

    /// The replicas of a slot that serve reads.
    pub(crate) fn members(&self, slot: u16) -> Option<&Arc<[Member]>> {
        let (_, (last, members)) = self.members.range(..=slot).next_back()?;
        (slot <= *last).then_some(members)
    }

    /// Replaces everything by a topology, unless it is of an older map: returns whether it did. Where it names no
    /// primary, what was learned before stays.
    pub(crate) fn follow(&mut self, map: LearnedMap, routes: Vec<ShardRoute>) -> bool {
        if !map.replaces(self.map.as_ref()) {
            return false;
        }
        self.map = Some(map);
        self.members.clear();
        for route in routes {
            if let Some(primary) = route.primary {
                self.learn(route.slots.clone(), primary, Some(route.shard));
            }
            self.members.insert(*route.slots.start(), (*route.slots.end(), route.members));
        }
        true
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

    #[test]
    fn a_topology_replaces_what_was_learned() {
        let mut table = SlotTable::default();
        table.learn(0..=16_383, "old:1".into(), None);
        let map = |version| LearnedMap { cluster: vec![1], version };
        let member = |address: &str| Member { address: address.into(), az: "a".into() };
        let route = |slots: RangeInclusive<u16>, shard, primary: Option<&str>| ShardRoute {
            slots,
            shard,
            primary: primary.map(Arc::from),
            members: [member("n1:1"), member("n2:1")].into(),
        };
        assert!(table.follow(map(2), vec![route(0..=99, 1, Some("n1:1")), route(100..=16_383, 2, None)]));
        assert_eq!((table.address(99).map(|of| &**of), table.shard(99)), (Some("n1:1"), Some(1)));
        assert_eq!(table.members(16_383).map(|members| members.len()), Some(2));
        // A refusal of a node counts until the next topology.
        table.learn(0..=99, "n2:1".into(), Some(1));
        assert_eq!(table.address(0).map(|of| &**of), Some("n2:1"));
        assert!(table.follow(map(2), vec![route(0..=99, 1, None)]));
        assert_eq!(table.address(0).map(|of| &**of), Some("n2:1"), "it names no primary");
        assert!(table.members(100).is_none());
        assert!(!table.follow(map(1), vec![route(0..=99, 1, Some("n1:1"))]));
        assert_eq!(table.address(0).map(|of| &**of), Some("n2:1"), "an older map");
    }

    #[test]
    fn an_older_map_of_the_same_cluster_replaces_nothing() {
        let map = |cluster: u8, version| LearnedMap { cluster: vec![cluster], version };
        assert!(map(1, 3).replaces(None));
        assert!(map(1, 3).replaces(Some(&map(1, 3))), "who leads is not part of the map");
        assert!(!map(1, 2).replaces(Some(&map(1, 3))));
        assert!(map(2, 1).replaces(Some(&map(1, 3))));
    }
}
