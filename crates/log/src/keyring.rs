//! Data keys, and sealing and opening of records with them.
//!
//! Each start of the node creates **one new random data key** for all groups. The key is wrapped by the master key and
//! stored in the same synced batch as the start counter, before anything is sealed with it. The nonce of a message is a
//! purpose number (4 bytes) and a counter (8 bytes) that starts at 0 with the key. So a nonce cannot repeat under a
//! key, even when a disk is copied and both copies are started, because each start creates its own key. (The clone of a
//! running process's memory, as in a live snapshot of a virtual machine, is not protected: do not resume such a clone.)
//!
//! A key seals at most 2^32 messages and 2^40 bytes; then the writer creates the next one. The limits keep an
//! attacker's advantage against AES-GCM below 2^-50.
//!
//! A data key is removed at a start that finds no record sealed with it.
//!
//! A rotation of the master key wraps every stored data key under the new one, and creates a new data key, which the
//! old master key has never wrapped (`cipher.rs` has the steps).
//!
//! Associated data, version 1: `"fastness/log/1" | cluster id 16 | node id 8 | tag of the key's kind 1 | the key's
//! bytes | the record's clear header`. So a record opens only in its own cluster, node, kind, group and index, with
//! its own term, leader, entry kind and format version.
//!
//! Sealed meta record, version 1: `version u8 = 1 | 3 reserved | data key id u32 | nonce 12 | ciphertext | tag 16`.
//! Data key record, version 1: `version u8 = 1 | 3 reserved | master fingerprint 8 | nonce 12 | wrapped key 32 | tag
//! 16`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use fastness_types::GroupId;
use parking_lot::RwLock;
use ring::aead::{Aad, LessSafeKey, Nonce};

use crate::cipher::{Cipher, Random};
use crate::entry::{EntryHeader, HEADER_BYTES, LogEntry, RecordError, TAG_BYTES, array_at, u32_at};
use crate::identity::Identity;
use crate::key::Key;
use crate::master_key::{Fingerprint, MasterKey, WRAPPED_KEY_BYTES, aead_key};
use crate::place::{Place, UnwrapError};
use crate::retired;

/// A data key seals at most this many messages.
pub const MESSAGES_PER_KEY_MAX: u64 = 1 << 32;
/// A data key seals at most this many bytes.
pub const BYTES_PER_KEY_MAX: u64 = 1 << 40;

const RECORD_VERSION: u8 = 1;
const META_HEADER_BYTES: usize = 20;
const DATA_KEY_BYTES: usize = 4 + 8 + 12 + WRAPPED_KEY_BYTES;
/// Purpose number, the first 4 bytes of a nonce. Snapshot files have number 2.
const PURPOSE_LOG: [u8; 4] = [0, 0, 0, 1];

/// All data keys of the disk, for opening records. Shared by the writer and the readers.
pub(crate) struct Keyring {
    place: Place,
    keys: RwLock<HashMap<u32, Arc<LessSafeKey>>>,
}

impl Keyring {
    pub(crate) fn new(place: Place) -> Keyring {
        Keyring { place, keys: RwLock::new(HashMap::new()) }
    }

    /// Unwraps a stored data key and keeps it.
    pub(crate) fn unwrap_key(&self, id: u32, record: &[u8], master: &MasterKey) -> Result<(), UnwrapError> {
        let mut plain = unwrap(&self.place, master, id, record)?;
        self.keys.write().insert(id, Arc::new(aead_key(&plain)));
        plain.fill(0);
        Ok(())
    }

    fn key(&self, id: u32) -> Result<Arc<LessSafeKey>, RecordError> {
        self.keys.read().get(&id).cloned().ok_or(RecordError::NoKey(id))
    }

    /// The place of the disk.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Drops the keys for which `used` is false.
    pub(crate) fn retain(&self, used: impl Fn(u32) -> bool) {
        self.keys.write().retain(|&id, _| used(id));
    }

    /// Decrypts and checks an entry record. Also returns the id of its data key.
    pub(crate) fn open_entry(&self, group: GroupId, index: u64, record: &[u8]) -> Result<(LogEntry, u32), RecordError> {
        let (header, sealed) = EntryHeader::decode(record)?;
        let data = self.place.record_data(Key::Entry { group, index }, &record[..HEADER_BYTES]);
        let payload = self.open(header.key_id, header.nonce, &data, sealed)?;
        let EntryHeader { kind, term, node, key_id, .. } = header;
        Ok((LogEntry { index, term, node, kind, payload }, key_id))
    }

    /// Decrypts and checks a sealed meta record. Also returns the id of its data key.
    pub(crate) fn open_meta(&self, key: Key, record: &[u8]) -> Result<(Bytes, u32), RecordError> {
        match record.first() {
            Some(&RECORD_VERSION) => {}
            Some(&version) => return Err(RecordError::Version(version)),
            None => return Err(RecordError::Short),
        }
        if record.len() < META_HEADER_BYTES + TAG_BYTES {
            return Err(RecordError::Short);
        }
        if record[1..4] != [0; 3] {
            return Err(RecordError::Reserved);
        }
        let (header, sealed) = record.split_at(META_HEADER_BYTES);
        let key_id = u32_at(header, 4);
        let plain = self.open(key_id, array_at(header, 8), &self.place.record_data(key, header), sealed)?;
        Ok((plain, key_id))
    }

    fn open(&self, key_id: u32, nonce: [u8; 12], data: &[u8], sealed: &[u8]) -> Result<Bytes, RecordError> {
        let key = self.key(key_id)?;
        let mut buffer = sealed.to_vec();
        let plain_len = key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(data), &mut buffer)
            .map_err(|_| RecordError::Tag)?
            .len();
        buffer.truncate(plain_len);
        Ok(Bytes::from(buffer))
    }
}

/// The identity of the disk, and since when it is under its master key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) identity: Identity,
    pub(crate) since_s: u64,
}

/// Seals records with the newest data key. There is one per process, owned by the writer.
pub(crate) struct Sealer {
    ring: Arc<Keyring>,
    /// What the newest planned batch is under. The keys that the log shares follow once that batch is stored.
    master: Arc<MasterKey>,
    random: Random,
    start: Start,
    /// Every data key as it is stored.
    wrapped: BTreeMap<u32, Vec<u8>>,
    key: Arc<LessSafeKey>,
    key_id: u32,
    messages: u64,
    bytes: u64,
}

impl Sealer {
    /// Creates data key `id` beside those that are `kept`. [`Sealer::first_records`] must be on stable storage before
    /// anything that this sealer seals.
    pub(crate) fn new(
        ring: Arc<Keyring>,
        cipher: Cipher,
        start: Start,
        kept: BTreeMap<u32, Vec<u8>>,
        id: u32,
    ) -> Sealer {
        let Cipher { keys, mut random } = cipher;
        let (master, mut wrapped) = (keys.master(), kept);
        let (key, record) = make_key(&ring, &master, &mut random, id);
        wrapped.insert(id, record);
        Sealer { ring, master, random, start, wrapped, key, key_id: id, messages: 0, bytes: 0 }
    }

    /// The identity record, and the data key that [`Sealer::new`] has created.
    pub(crate) fn first_records(&self) -> [(Key, Vec<u8>); 2] {
        let id = self.key_id;
        [self.identity_record(), (Key::DataKey { id }, self.wrapped[&id].clone())]
    }

    fn identity_record(&self) -> (Key, Vec<u8>) {
        (Key::Identity, self.start.identity.encode(&self.master, self.start.since_s))
    }

    /// Number of stored data keys.
    pub(crate) fn data_keys(&self) -> usize {
        self.wrapped.len()
    }

    /// Whether the next batch needs a new key.
    pub(crate) fn is_worn(&self) -> bool {
        // A batch is far smaller than the reserve subtracted here.
        self.messages >= MESSAGES_PER_KEY_MAX - (1 << 24) || self.bytes >= BYTES_PER_KEY_MAX - (1 << 34)
    }

    /// Switches to a new data key. The returned record goes into the same batch as the records sealed next.
    pub(crate) fn rotate(&mut self) -> (Key, Vec<u8>) {
        let id = self.key_id + 1;
        let (key, record) = make_key(&self.ring, &self.master, &mut self.random, id);
        self.wrapped.insert(id, record.clone());
        (self.key, self.key_id, self.messages, self.bytes) = (key, id, 0, 0);
        (Key::DataKey { id }, record)
    }

    /// Switches to another master key, and to a new data key. The returned records go into one batch; together they
    /// replace everything that the master key before has sealed in the log's store.
    pub(crate) fn rotate_master(&mut self, master: Arc<MasterKey>, since_s: u64) -> Vec<(Key, Vec<u8>)> {
        let place = self.ring.place;
        let old = std::mem::replace(&mut self.master, master);
        self.start.since_s = since_s;
        let nonce = nonce(&mut self.random);
        let retired = retired::encode(&place, &self.master, &old.wrapping, nonce);
        let mut records = vec![self.identity_record(), (Key::RetiredMaster, retired)];
        for (&id, record) in &mut self.wrapped {
            let plain = unwrap(&place, &old, id, record).expect("it was unwrapped, or made, with this key before");
            *record = wrap(&place, &self.master, &mut self.random, id, plain);
            records.push((Key::DataKey { id }, record.clone()));
        }
        records.push(self.rotate());
        records
    }

    fn next_nonce(&mut self, bytes: usize) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&PURPOSE_LOG);
        nonce[4..].copy_from_slice(&self.messages.to_be_bytes());
        self.messages += 1;
        self.bytes += bytes as u64;
        nonce
    }

    fn seal(&self, nonce: [u8; 12], data: &[u8], record: &mut Vec<u8>, header_bytes: usize) {
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(data),
                &mut record[header_bytes..],
            )
            .expect("a record is far below AES-GCM's limit of 64 GiB");
        record.extend_from_slice(tag.as_ref());
    }

    /// Seals an entry into its stored form.
    pub(crate) fn seal_entry(&mut self, group: GroupId, entry: &LogEntry) -> Vec<u8> {
        let nonce = self.next_nonce(entry.payload.len());
        let header = EntryHeader { kind: entry.kind, key_id: self.key_id, term: entry.term, node: entry.node, nonce };
        let mut record = Vec::with_capacity(HEADER_BYTES + entry.payload.len() + TAG_BYTES);
        header.encode(&mut record);
        let key = Key::Entry { group, index: entry.index };
        let data = self.ring.place.record_data(key, &record);
        record.extend_from_slice(&entry.payload);
        self.seal(nonce, &data, &mut record, HEADER_BYTES);
        record
    }

    /// Seals a meta record into its stored form.
    pub(crate) fn seal_meta(&mut self, key: Key, plain: &[u8]) -> Vec<u8> {
        let nonce = self.next_nonce(plain.len());
        let mut record = Vec::with_capacity(META_HEADER_BYTES + plain.len() + TAG_BYTES);
        record.extend_from_slice(&[RECORD_VERSION, 0, 0, 0]);
        record.extend_from_slice(&self.key_id.to_be_bytes());
        record.extend_from_slice(&nonce);
        let data = self.ring.place.record_data(key, &record);
        record.extend_from_slice(plain);
        self.seal(nonce, &data, &mut record, META_HEADER_BYTES);
        record
    }
}

fn make_key(ring: &Keyring, master: &MasterKey, random: &mut Random, id: u32) -> (Arc<LessSafeKey>, Vec<u8>) {
    let mut plain = [0; 32];
    random(&mut plain);
    let key = Arc::new(aead_key(&plain));
    ring.keys.write().insert(id, key.clone());
    (key, wrap(&ring.place, master, random, id, plain))
}

/// Opens the stored form of a data key.
fn unwrap(place: &Place, master: &MasterKey, id: u32, record: &[u8]) -> Result<[u8; 32], UnwrapError> {
    if record.len() != DATA_KEY_BYTES || record[0] != RECORD_VERSION || record[1..4] != [0; 3] {
        return Err(UnwrapError::Record(RecordError::Short));
    }
    let fingerprint = Fingerprint(array_at(record, 4));
    if fingerprint != master.fingerprint() {
        return Err(UnwrapError::OtherMaster(fingerprint));
    }
    let opened = master.wrapping.unwrap(array_at(record, 12), &place.wrap_data(id), &record[24..]);
    opened.map_err(UnwrapError::Record)
}

/// Wraps a data key into its stored form.
fn wrap(place: &Place, master: &MasterKey, random: &mut Random, id: u32, plain: [u8; 32]) -> Vec<u8> {
    let nonce = nonce(random);
    let mut record = vec![RECORD_VERSION, 0, 0, 0];
    record.extend_from_slice(&master.fingerprint().0);
    record.extend_from_slice(&nonce);
    record.extend_from_slice(&master.wrapping.wrap(nonce, &place.wrap_data(id), plain));
    record
}

fn nonce(random: &mut Random) -> [u8; 12] {
    let mut nonce = [0; 12];
    random(&mut nonce);
    nonce
}
