//! Private decoders, for fuzz targets. Each function decodes arbitrary bytes, panics if something does not hold that
//! always must, and returns whether the bytes were decoded.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fastness_types::{ClusterId, DiskId, GroupId, NodeId};

use crate::cipher::Cipher;
use crate::entry::{EntryHeader, EntryId, EntryKind, HEADER_BYTES, LogEntry, PurgeRecord};
use crate::identity::Identity;
use crate::key::Key;
use crate::keyring::{Keyring, Sealer, Start};
use crate::master_key::MasterKey;
use crate::place::Place;
use crate::retired;
use crate::store::Family;
use crate::wal::{Finding, examine};

const PLACE: Place = Place { cluster: ClusterId([3; 16]), node: NodeId(2) };
const GROUP: GroupId = GroupId(1);
const INDEX: u64 = 7;
const SINCE_S: u64 = 1_800_000_000;
const META: Key = Key::Vote { group: GROUP };

/// A cipher with a fixed key and no randomness, so that the same bytes are always sealed alike.
#[must_use]
pub fn cipher() -> Cipher {
    let mut next = 0u8;
    let fill = move |bytes: &mut [u8]| {
        for byte in bytes {
            *byte = next;
            next = next.wrapping_add(1);
        }
    };
    Cipher::with_random(master(), Box::new(fill))
}

fn master() -> MasterKey {
    MasterKey::from_bytes(&[7; 32])
}

/// Records that open: an entry, a record of the meta family, a wrapped data key, and a retired master key.
struct Sealed {
    ring: Arc<Keyring>,
    entry: Vec<u8>,
    meta: Vec<u8>,
    data_key: Vec<u8>,
    retired: Vec<u8>,
}

fn sealed() -> &'static Sealed {
    static SEALED: OnceLock<Sealed> = OnceLock::new();
    SEALED.get_or_init(|| {
        let ring = Arc::new(Keyring::new(PLACE));
        let start = Start { identity: identity(), since_s: SINCE_S };
        let mut sealer = Sealer::new(ring.clone(), cipher(), start, BTreeMap::new(), 1);
        let [_, (_, data_key)] = sealer.first_records();
        let retired = retired::encode(&PLACE, &master(), &MasterKey::from_bytes(&[6; 32]).wrapping, [5; 12]);
        let payload = Bytes::from_static(b"the effects of a batch");
        let entry = LogEntry { index: INDEX, term: 5, node: 2, kind: EntryKind::Batch, payload };
        let entry = sealer.seal_entry(GROUP, &entry);
        Sealed { entry, meta: sealer.seal_meta(META, b"a vote"), data_key, retired, ring }
    })
}

fn identity() -> Identity {
    Identity { node: PLACE.node, cluster: PLACE.cluster, disk: DiskId([9; 16]), starts: 4 }
}

/// One record of each kind, as [`record`] takes it.
#[must_use]
pub fn records() -> Vec<Vec<u8>> {
    let upto = EntryId { index: 10, term: 2, node: 3 };
    let payload = Bytes::from_static(b"members");
    let membership = LogEntry { index: 4, term: 1, node: 1, kind: EntryKind::Membership, payload };
    let purged = [None, Some(membership)].map(|membership| PurgeRecord { upto, membership }.encode());
    let peer = Key::Peer { node: NodeId(258) };
    let records = [
        (0, sealed().entry.clone()),
        (1, purged[0].clone()),
        (1, purged[1].clone()),
        (2, identity().encode(&master(), SINCE_S)),
        (3, Key::Entry { group: GROUP, index: INDEX }.encode()),
        (4, peer.encode()),
        (4, META.encode()),
        (4, Key::Identity.encode()),
        (5, sealed().meta.clone()),
        (6, sealed().data_key.clone()),
        (7, sealed().retired.clone()),
    ];
    records.into_iter().map(|(kind, record)| [&[kind][..], &record].concat()).collect()
}

/// Decodes a record; the first byte says which kind.
#[must_use]
pub fn record(input: &[u8]) -> bool {
    let Some((kind, record)) = input.split_first() else { return false };
    match kind % 8 {
        0 => entry(record),
        1 => {
            let Ok(purged) = PurgeRecord::decode(record) else { return false };
            assert_eq!(purged.encode(), record, "a purge record is written as it was read");
            true
        }
        2 => identity_record(record),
        3 => key(Family::Log, record),
        4 => key(Family::Meta, record),
        5 => {
            let opened = sealed().ring.open_meta(META, record).is_ok();
            assert_eq!(opened, record == sealed().meta, "a sealed record opens exactly as it was sealed");
            opened
        }
        6 => {
            let opened = Keyring::new(PLACE).unwrap_key(1, record, &master()).is_ok();
            assert_eq!(opened, record == sealed().data_key, "a data key is unwrapped exactly as it was wrapped");
            opened
        }
        _ => {
            let opened = retired::decode(&PLACE, &master(), record).is_ok();
            assert_eq!(opened, record == sealed().retired, "a retired key is read exactly as it was written");
            opened
        }
    }
}

fn entry(record: &[u8]) -> bool {
    let opened = sealed().ring.open_entry(GROUP, INDEX, record).is_ok();
    assert_eq!(opened, record == sealed().entry, "an entry opens exactly as it was sealed");
    let Ok((header, _)) = EntryHeader::decode(record) else { return false };
    let mut again = Vec::new();
    header.encode(&mut again);
    assert_eq!(again, &record[..HEADER_BYTES], "a header is written as it was read");
    true
}

fn identity_record(record: &[u8]) -> bool {
    let Ok(stored) = Identity::decode(record) else { return false };
    if stored.master == master().fingerprint() && stored.verify(&master()) == Ok(()) {
        let again = stored.identity.encode(&master(), stored.since_s);
        assert_eq!(again, record, "an identity that is authentic is written as it was read");
    }
    true
}

fn key(family: Family, bytes: &[u8]) -> bool {
    let Some(key) = Key::decode(family, bytes) else { return false };
    assert_eq!((key.family(), key.encode()), (family, bytes.to_vec()), "a key is written as it was read");
    true
}

/// Checks a write-ahead file, or a manifest, of RocksDB. True if it is valid, or torn at its end.
#[must_use]
pub fn write_ahead_file(bytes: &[u8]) -> bool {
    let (same_boot, other_boot) = (examine(bytes, false), examine(bytes, true));
    for finding in [same_boot, other_boot] {
        match finding {
            Finding::Clean => {}
            Finding::Torn { at } => {
                assert!(at < bytes.len(), "torn at {at} of {}", bytes.len());
                assert_eq!(examine(&bytes[..at], false), Finding::Clean, "what is left of a torn file is valid");
            }
            Finding::Damaged { at, .. } => assert!(at <= bytes.len(), "damaged at {at} of {}", bytes.len()),
        }
    }
    if matches!(same_boot, Finding::Clean | Finding::Torn { .. }) {
        assert_eq!(same_boot, other_boot, "a crash of the machine excuses more, and changes nothing else");
    }
    !matches!(other_boot, Finding::Damaged { .. })
}
