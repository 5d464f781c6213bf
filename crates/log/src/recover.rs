//! Opening a log: everything stored is read, decrypted and checked before the log is used.
//!
//! Detected, each with its own error (`OpenError`):
//! - the disk of another node or cluster, or a wrong master key;
//! - a changed bit in any record or in its key, and exchanged records (authentication tags);
//! - a missing entry between the first and the last, and terms that decrease;
//! - a missing first entry of a log that was never purged, if the index found is above 1;
//! - a record of a newer version, and a missing identity record.
//!
//! Not detected here: entries or votes missing **at the end**, that is, a disk whose content is consistent but old (a
//! restored copy, or a write-ahead log that a file system truncated at a record's boundary). The start counter reveals
//! such a disk to the peers (`identity.rs`). The store itself detects torn and damaged files (`wal.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use fastness_types::{DiskId, GroupId, NodeId, Plant};

use crate::cipher::{Cipher, MasterKeys};
use crate::entry::{LogEntry, PurgeRecord, RecordError};
use crate::error::OpenError;
use crate::group::GroupMemory;
use crate::identity::Identity;
use crate::key::{Key, everything};
use crate::keyring::{Keyring, Sealer, Start};
use crate::master_key::{MasterKey, WrappingKey};
use crate::options::LogOptions;
use crate::place::{Place, UnwrapError};
use crate::retired;
use crate::store::{Family, OrderedStore, WriteBatch};

/// Progress is logged each time this many bytes are read.
const PROGRESS_BYTES: usize = 256 * 1024 * 1024;
/// A log that was never purged starts at index 0 or 1.
const FIRST_INDEX_MAX: u64 = 1;

pub(crate) struct Recovered {
    pub(crate) identity: Identity,
    pub(crate) peers: BTreeMap<NodeId, Bytes>,
    pub(crate) ring: Arc<Keyring>,
    pub(crate) keys: MasterKeys,
    pub(crate) sealer: Sealer,
    pub(crate) groups: BTreeMap<GroupId, GroupMemory>,
}

pub(crate) fn recover(
    store: &dyn OrderedStore,
    mut cipher: Cipher,
    options: &LogOptions,
) -> Result<Recovered, OpenError> {
    let start = next_start(store, &mut cipher, options)?;
    let mut scan = Scan::new(store, place_of(options), options.tail_bytes_max);
    scan.meta(&cipher.keys.master())?;
    scan.entries(&mut |_, _| {})?;
    scan.start(cipher, start)
}

fn place_of(options: &LogOptions) -> Place {
    Place { cluster: options.cluster, node: options.node }
}

/// Finds out which of the cipher's master keys a log is under, and whether its snapshot files may need a retired one.
/// After that, snapshot folders with these keys open every file. The store may be in use: nothing is changed.
///
/// # Errors
/// See [`OpenError`].
pub fn unlock(store: &dyn OrderedStore, cipher: &mut Cipher, options: &LogOptions) -> Result<(), OpenError> {
    let start = next_start(store, cipher, options)?;
    let mut scan = Scan::new(store, place_of(options), 0);
    scan.meta(&cipher.keys.master())?;
    cipher.keys.opened(start.since_s, scan.retired);
    Ok(())
}

/// Passes the entries of one group to `visit`, in order. The store may be in use: everything is checked as when a log
/// is opened, and nothing is changed.
///
/// # Errors
/// See [`OpenError`].
pub fn inspect(
    store: &dyn OrderedStore,
    mut cipher: Cipher,
    options: &LogOptions,
    group: GroupId,
    visit: &mut dyn FnMut(&LogEntry),
) -> Result<(), OpenError> {
    next_start(store, &mut cipher, options)?;
    let mut scan = Scan::new(store, place_of(options), 0);
    scan.meta(&cipher.keys.master())?;
    scan.entries(&mut |of, entry| {
        if of == group {
            visit(entry);
        }
    })
}

/// Checks which node and cluster the disk belongs to and which master key it is under, and counts this start.
fn next_start(store: &dyn OrderedStore, cipher: &mut Cipher, options: &LogOptions) -> Result<Start, OpenError> {
    let place = store.place();
    let Some(record) = store.get(Family::Meta, &Key::Identity.encode())? else {
        for family in [Family::Log, Family::Meta] {
            if store.last(family, &everything())?.is_some() {
                return Err(OpenError::NoIdentity { place });
            }
        }
        let disk = options.new_disk.unwrap_or_else(|| new_disk(cipher));
        let identity = Identity { node: options.node, cluster: options.cluster, disk, starts: 1 };
        return Ok(Start { identity, since_s: options.clock.wall().0 / 1000 });
    };
    let damaged = |error| OpenError::Record { place: store.place(), record: "identity record".into(), error };
    let stored = Identity::decode(&record).map_err(damaged)?;
    let Identity { node, cluster, disk: _, starts } = stored.identity;
    let Some(master) = cipher.keys.select(stored.master) else {
        return Err(OpenError::OtherMasterKey { place, disk: stored.master, given: cipher.keys.fingerprint() });
    };
    stored.verify(&master).map_err(damaged)?;
    if cluster != options.cluster {
        return Err(OpenError::OtherCluster { place, disk: cluster, given: options.cluster });
    }
    if node != options.node {
        return Err(OpenError::OtherNode { place, disk: node, given: options.node });
    }
    Ok(Start { identity: Identity { starts: starts + 1, ..stored.identity }, since_s: stored.since_s })
}

fn new_disk(cipher: &mut Cipher) -> DiskId {
    let mut id = [0; 16];
    (cipher.random)(&mut id);
    DiskId(id)
}

struct Scan<'a> {
    store: &'a dyn OrderedStore,
    ring: Arc<Keyring>,
    tail_bytes_max: usize,
    groups: BTreeMap<GroupId, GroupMemory>,
    peers: BTreeMap<NodeId, Bytes>,
    /// Data keys as they are stored.
    data_keys: BTreeMap<u32, Vec<u8>>,
    retired: Option<WrappingKey>,
    used_keys: BTreeSet<u32>,
    bytes: usize,
}

impl<'a> Scan<'a> {
    fn new(store: &'a dyn OrderedStore, place: Place, tail_bytes_max: usize) -> Scan<'a> {
        Scan {
            store,
            ring: Arc::new(Keyring::new(place)),
            tail_bytes_max,
            groups: BTreeMap::new(),
            peers: BTreeMap::new(),
            data_keys: BTreeMap::new(),
            retired: None,
            used_keys: BTreeSet::new(),
            bytes: 0,
        }
    }
}

impl Scan<'_> {
    /// Calls `visit` with every record of a family, in key order.
    fn each(
        &mut self,
        family: Family,
        mut visit: impl FnMut(&mut Self, Key, &[u8]) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let mut result = Ok(());
        let store = self.store;
        store.scan(family, &everything(), &mut |key, record| {
            result = match Key::decode(family, key) {
                Some(key) => visit(self, key, record),
                None => Err(OpenError::UnknownKey { place: store.place(), family: family.name(), key: hex(key) }),
            };
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result
    }

    fn damaged(&self, record: String, error: RecordError) -> OpenError {
        OpenError::Record { place: self.store.place(), record, error }
    }

    fn group(&mut self, group: GroupId) -> &mut GroupMemory {
        let tail_bytes_max = self.tail_bytes_max;
        self.groups.entry(group).or_insert_with(|| GroupMemory::new(tail_bytes_max))
    }

    /// Reads the `meta` family: first the data keys (their tag sorts before all sealed records), then votes and
    /// positions.
    fn meta(&mut self, master: &MasterKey) -> Result<(), OpenError> {
        self.each(Family::Meta, |scan, key, record| match key {
            // The `log` family has its own pass, and the identity was read before.
            Key::Identity | Key::Entry { .. } => Ok(()),
            Key::DataKey { id } => scan.data_key(id, record, master),
            Key::RetiredMaster => scan.retired_master(record, master),
            Key::Vote { group } => {
                scan.group(group).vote = Some(scan.open_meta(key, record, format!("vote of group {group}"))?);
                Ok(())
            }
            Key::Committed { group } => {
                let record = scan.open_meta(key, record, format!("committed position of group {group}"))?;
                scan.group(group).committed = Some(record);
                Ok(())
            }
            Key::Peer { node } => {
                let record = scan.open_meta(key, record, format!("record of peer {node}"))?;
                scan.peers.insert(node, record);
                Ok(())
            }
            Key::Purged { group } => {
                let name = format!("purge record of group {group}");
                let record = scan.open_meta(key, record, name.clone())?;
                let record = PurgeRecord::decode(&record).map_err(|error| scan.damaged(name, error))?;
                scan.group(group).set_purged(record);
                Ok(())
            }
        })
    }

    fn open_meta(&mut self, key: Key, record: &[u8], name: String) -> Result<Bytes, OpenError> {
        let (plain, key_id) = self.ring.open_meta(key, record).map_err(|error| self.damaged(name, error))?;
        self.used_keys.insert(key_id);
        Ok(plain)
    }

    fn data_key(&mut self, id: u32, record: &[u8], master: &MasterKey) -> Result<(), OpenError> {
        let unwrapped = self.ring.unwrap_key(id, record, master);
        unwrapped.map_err(|error| self.not_unwrapped(format!("data key {id}"), error, master))?;
        self.data_keys.insert(id, record.to_vec());
        Ok(())
    }

    fn retired_master(&mut self, record: &[u8], master: &MasterKey) -> Result<(), OpenError> {
        let decoded = retired::decode(&self.ring.place(), master, record);
        let retired = decoded.map_err(|error| self.not_unwrapped("retired master key".into(), error, master))?;
        self.retired = Some(retired);
        Ok(())
    }

    fn not_unwrapped(&self, record: String, error: UnwrapError, master: &MasterKey) -> OpenError {
        match error {
            UnwrapError::OtherMaster(disk) => {
                OpenError::OtherMasterKey { place: self.store.place(), disk, given: master.fingerprint() }
            }
            UnwrapError::Record(error) => self.damaged(record, error),
        }
    }

    fn entries(&mut self, visit: &mut dyn FnMut(GroupId, &LogEntry)) -> Result<(), OpenError> {
        self.each(Family::Log, |scan, key, record| {
            let Key::Entry { group, index } = key else {
                unreachable!("the log family decodes to entries only");
            };
            scan.report(record.len());
            let (entry, key_id) = match scan.ring.open_entry(group, index, record) {
                Ok(opened) => opened,
                Err(_) if Plant::CutAtDamage.is_on() => return Ok(()),
                Err(error) => return Err(scan.damaged(format!("entry {index} of group {group}"), error)),
            };
            scan.used_keys.insert(key_id);
            visit(group, &entry);
            scan.entry(group, entry)
        })
    }

    /// Checks that an entry follows the one before it, and adds it to the tail, which evicts older ones.
    fn entry(&mut self, group: GroupId, entry: LogEntry) -> Result<(), OpenError> {
        let place = self.store.place();
        let index = entry.index;
        let memory = self.group(group);
        match memory.last {
            Some(last) if index != last.index + 1 && Plant::CutAtDamage.is_on() => return Ok(()),
            Some(last) if index != last.index + 1 => {
                return Err(OpenError::Gap { place, group, expected: last.index + 1, found: index });
            }
            Some(last) if entry.term < last.term => {
                return Err(OpenError::TermOrder { place, group, index, term: entry.term, before: last.term });
            }
            None if index > FIRST_INDEX_MAX => {
                return Err(OpenError::Gap { place, group, expected: FIRST_INDEX_MAX, found: index });
            }
            _ => {}
        }
        memory.push(0, Arc::new(entry));
        memory.tail.evict(0);
        Ok(())
    }

    fn report(&mut self, bytes: usize) {
        let before = self.bytes / PROGRESS_BYTES;
        self.bytes += bytes;
        if self.bytes / PROGRESS_BYTES > before {
            let mib = self.bytes / (1024 * 1024);
            tracing::info!(mib, "checking the transaction log of {}", self.store.place());
        }
    }

    /// Creates the data key of this start and stores it with the incremented start counter; removes unused data keys.
    fn start(self, cipher: Cipher, start: Start) -> Result<Recovered, OpenError> {
        let newest = self.data_keys.last_key_value().map_or(0, |(&id, _)| id);
        let (kept, unused): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.data_keys.into_iter().partition(|(id, _)| self.used_keys.contains(id));
        let keys = cipher.keys.clone();
        let sealer = Sealer::new(self.ring.clone(), cipher, start, kept, newest + 1);
        let mut batch = WriteBatch::new();
        for (key, record) in sealer.first_records() {
            batch.put(Family::Meta, key.encode(), record);
        }
        for &id in unused.keys() {
            batch.delete(Family::Meta, Key::DataKey { id }.encode());
        }
        self.store.write(batch, true)?;
        self.ring.retain(|id| id > newest || self.used_keys.contains(&id));
        keys.opened(start.since_s, self.retired);
        Ok(Recovered {
            identity: start.identity,
            peers: self.peers,
            ring: self.ring,
            keys,
            sealer,
            groups: self.groups,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
