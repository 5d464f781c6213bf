//! The keys of everything that this crate persists: layout, lifetime and value of each. Numbers are frozen; a new
//! meaning takes a new tag.
//!
//! Integers in keys are big-endian, so that keys sort in numerical order.

use fastness_types::{GroupId, NodeId};

use crate::store::{Family, KeyRange};

/// A key in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `log`: `group u32 | index u64` → an entry record (`entry.rs`). Exists from append until truncation or purge.
    Entry {
        /// The group's id.
        group: GroupId,
        /// Raft index.
        index: u64,
    },
    /// `meta`: `0x01` → identity record (`identity.rs`): cluster id, node id, disk id, start counter. Exists for the
    /// life of the disk; rewritten at every start.
    Identity,
    /// `meta`: `0x02 | key id u32` → a wrapped data key (`keyring.rs`). Exists until a start finds no record sealed
    /// with it.
    DataKey {
        /// Counted from 1.
        id: u32,
    },
    /// `meta`: `0x03 | group u32` → sealed vote, opaque bytes of consensus. Exists for the life of the group.
    Vote {
        /// The group's id.
        group: GroupId,
    },
    /// `meta`: `0x04 | group u32` → sealed committed position, opaque bytes of consensus. A hint that may be out of
    /// date.
    Committed {
        /// The group's id.
        group: GroupId,
    },
    /// `meta`: `0x05 | group u32` → sealed purge record (`entry.rs`): id of the last purged entry, and the last purged
    /// membership entry. Exists from the first purge on; written in the same batch that removes the entries.
    Purged {
        /// The group's id.
        group: GroupId,
    },
    /// `meta`: `0x06 | node u64` → sealed, opaque bytes of consensus: the newest start of a peer that this node knows
    /// of. Exists for the life of the disk.
    Peer {
        /// Node id of the peer.
        node: NodeId,
    },
    /// `meta`: `0x07` → the record of a retired master key (`retired.rs`). Exists from a rotation of the master key
    /// until no snapshot file is under the retired key.
    RetiredMaster,
}

const IDENTITY: u8 = 0x01;
const DATA_KEY: u8 = 0x02;
const VOTE: u8 = 0x03;
const COMMITTED: u8 = 0x04;
const PURGED: u8 = 0x05;
const PEER: u8 = 0x06;
const RETIRED_MASTER: u8 = 0x07;

fn tagged(tag: u8, number: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(5);
    key.push(tag);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

impl Key {
    /// The family in which the key is stored.
    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Key::Entry { .. } => Family::Log,
            _ => Family::Meta,
        }
    }

    /// The bytes on disk.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Key::Entry { group, index } => {
                let mut key = Vec::with_capacity(12);
                key.extend_from_slice(&group.0.to_be_bytes());
                key.extend_from_slice(&index.to_be_bytes());
                key
            }
            Key::Identity => vec![IDENTITY],
            Key::DataKey { id } => tagged(DATA_KEY, id),
            Key::Vote { group } => tagged(VOTE, group.0),
            Key::Committed { group } => tagged(COMMITTED, group.0),
            Key::Purged { group } => tagged(PURGED, group.0),
            Key::Peer { node } => [&[PEER][..], &node.0.to_be_bytes()].concat(),
            Key::RetiredMaster => vec![RETIRED_MASTER],
        }
    }

    /// Decodes a stored key; `None` if this version does not know it.
    #[must_use]
    pub fn decode(family: Family, key: &[u8]) -> Option<Key> {
        match family {
            Family::Log => {
                let (group, index) = key.split_at_checked(4)?;
                Some(Key::Entry {
                    group: GroupId(u32::from_be_bytes(group.try_into().ok()?)),
                    index: u64::from_be_bytes(index.try_into().ok()?),
                })
            }
            Family::Meta => {
                let (tag, rest) = key.split_first()?;
                if *tag == IDENTITY {
                    return rest.is_empty().then_some(Key::Identity);
                }
                if *tag == RETIRED_MASTER {
                    return rest.is_empty().then_some(Key::RetiredMaster);
                }
                if *tag == PEER {
                    return Some(Key::Peer { node: NodeId(u64::from_be_bytes(rest.try_into().ok()?)) });
                }
                let number = u32::from_be_bytes(rest.try_into().ok()?);
                let group = GroupId(number);
                match *tag {
                    DATA_KEY => Some(Key::DataKey { id: number }),
                    VOTE => Some(Key::Vote { group }),
                    COMMITTED => Some(Key::Committed { group }),
                    PURGED => Some(Key::Purged { group }),
                    _ => None,
                }
            }
        }
    }

    /// A number that differs for each kind of sealed record. It is part of the associated data.
    #[must_use]
    pub(crate) fn seal_tag(self) -> u8 {
        match self {
            Key::Entry { .. } => 0,
            Key::Identity => IDENTITY,
            Key::DataKey { .. } => DATA_KEY,
            Key::Vote { .. } => VOTE,
            Key::Committed { .. } => COMMITTED,
            Key::Purged { .. } => PURGED,
            Key::Peer { .. } => PEER,
            Key::RetiredMaster => RETIRED_MASTER,
        }
    }
}

/// The range of entries `from..to` of a group.
#[must_use]
pub fn entries(group: GroupId, from: u64, to: u64) -> KeyRange {
    KeyRange { from: Key::Entry { group, index: from }.encode(), to: Key::Entry { group, index: to }.encode() }
}

/// The range of all keys of a family.
#[must_use]
pub fn everything() -> KeyRange {
    KeyRange { from: Vec::new(), to: vec![0xff; 16] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_decodes_to_itself_and_the_bytes_are_frozen() {
        let group = GroupId(7);
        let keys = [
            (Key::Entry { group, index: 258 }, vec![0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 1, 2]),
            (Key::Identity, vec![1]),
            (Key::DataKey { id: 3 }, vec![2, 0, 0, 0, 3]),
            (Key::Vote { group }, vec![3, 0, 0, 0, 7]),
            (Key::Committed { group }, vec![4, 0, 0, 0, 7]),
            (Key::Purged { group }, vec![5, 0, 0, 0, 7]),
            (Key::Peer { node: NodeId(258) }, vec![6, 0, 0, 0, 0, 0, 0, 1, 2]),
            (Key::RetiredMaster, vec![7]),
        ];
        for (key, bytes) in keys {
            assert_eq!(key.encode(), bytes);
            assert_eq!(Key::decode(key.family(), &bytes), Some(key));
        }
    }

    #[test]
    fn what_is_not_a_key_is_none() {
        assert_eq!(Key::decode(Family::Meta, &[]), None);
        assert_eq!(Key::decode(Family::Meta, &[9, 0, 0, 0, 1]), None);
        assert_eq!(Key::decode(Family::Meta, &[1, 0]), None);
        assert_eq!(Key::decode(Family::Meta, &[6, 0, 0, 0, 1]), None);
        assert_eq!(Key::decode(Family::Meta, &[7, 0]), None);
        assert_eq!(Key::decode(Family::Log, &[0; 11]), None);
    }
}
