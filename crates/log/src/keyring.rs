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
//! Associated data, version 1: `"fastness/log/1" | cluster id 16 | node id 8 | tag of the key's kind 1 | the key's
//! bytes | the record's clear header`. So a record opens only in its own cluster, node, kind, group and index, with
//! its own term, leader, entry kind and format version.
//!
//! Sealed meta record, version 1: `version u8 = 1 | 3 reserved | data key id u32 | nonce 12 | ciphertext | tag 16`.
//! Data key record, version 1: `version u8 = 1 | 3 reserved | master fingerprint 8 | nonce 12 | wrapped key 32 | tag
//! 16`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use fastness_types::{ClusterId, GroupId, NodeId};
use parking_lot::RwLock;
use ring::aead::{Aad, LessSafeKey, Nonce};

use crate::cipher::{Cipher, Fingerprint, MasterKey, aead_key};
use crate::entry::{EntryHeader, HEADER_BYTES, LogEntry, RecordError, TAG_BYTES, array_at, u32_at};
use crate::key::Key;

/// A data key seals at most this many messages.
pub const MESSAGES_PER_KEY_MAX: u64 = 1 << 32;
/// A data key seals at most this many bytes.
pub const BYTES_PER_KEY_MAX: u64 = 1 << 40;

const RECORD_VERSION: u8 = 1;
const META_HEADER_BYTES: usize = 20;
const WRAPPED_BYTES: usize = 4 + 8 + 12 + 32 + TAG_BYTES;
/// Purpose number, the first 4 bytes of a nonce. Snapshot files have number 2.
const PURPOSE_LOG: [u8; 4] = [0, 0, 0, 1];

/// The place that every record of a disk is bound to through its associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
}

impl Place {
    fn associated_data(&self, label: &[u8], key: Key, header: &[u8]) -> Vec<u8> {
        let mut data = Vec::with_capacity(96);
        data.extend_from_slice(label);
        data.extend_from_slice(&self.cluster.0);
        data.extend_from_slice(&self.node.0.to_be_bytes());
        data.push(key.seal_tag());
        data.extend_from_slice(&key.encode());
        data.extend_from_slice(header);
        data
    }

    fn record_data(&self, key: Key, header: &[u8]) -> Vec<u8> {
        self.associated_data(b"fastness/log/1", key, header)
    }

    fn wrap_data(&self, id: u32) -> Vec<u8> {
        self.associated_data(b"fastness/data-key/1", Key::DataKey { id }, &[])
    }
}

/// All data keys of the disk, for opening records. Shared by the writer and the readers.
pub(crate) struct Keyring {
    place: Place,
    keys: RwLock<HashMap<u32, Arc<LessSafeKey>>>,
}

impl Keyring {
    pub(crate) fn new(place: Place) -> Keyring {
        Keyring { place, keys: RwLock::new(HashMap::new()) }
    }

    /// Unwraps a stored data key and keeps it. Returns whether the current master key wrapped it.
    pub(crate) fn unwrap_key(&self, id: u32, record: &[u8], cipher: &Cipher) -> Result<bool, UnwrapError> {
        let (mut plain, fingerprint) = unwrap(&self.place, cipher, id, record)?;
        self.keys.write().insert(id, Arc::new(aead_key(&plain)));
        plain.fill(0);
        Ok(fingerprint == cipher.master.fingerprint())
    }

    fn key(&self, id: u32) -> Result<Arc<LessSafeKey>, RecordError> {
        self.keys.read().get(&id).cloned().ok_or(RecordError::NoKey(id))
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

/// Why a data key cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UnwrapError {
    OtherMaster(Fingerprint),
    Record(RecordError),
}

/// Seals records with the newest data key. There is one per process, owned by the writer.
pub(crate) struct Sealer {
    ring: Arc<Keyring>,
    cipher: Cipher,
    key: Arc<LessSafeKey>,
    key_id: u32,
    messages: u64,
    bytes: u64,
}

impl Sealer {
    /// Creates data key `id`, and returns the record that must be on stable storage before anything that this sealer
    /// seals.
    pub(crate) fn new(ring: Arc<Keyring>, mut cipher: Cipher, id: u32) -> (Sealer, Vec<u8>) {
        let (key, record) = make_key(&ring, &mut cipher, id);
        (Sealer { ring, cipher, key, key_id: id, messages: 0, bytes: 0 }, record)
    }

    /// Whether the next batch needs a new key.
    pub(crate) fn is_worn(&self) -> bool {
        // A batch is far smaller than the reserve subtracted here.
        self.messages >= MESSAGES_PER_KEY_MAX - (1 << 24) || self.bytes >= BYTES_PER_KEY_MAX - (1 << 34)
    }

    /// Switches to a new key. The returned record goes into the same batch as the records sealed next.
    pub(crate) fn rotate(&mut self) -> (Key, Vec<u8>) {
        let id = self.key_id + 1;
        let (key, record) = make_key(&self.ring, &mut self.cipher, id);
        (self.key, self.key_id, self.messages, self.bytes) = (key, id, 0, 0);
        (Key::DataKey { id }, record)
    }

    /// Wraps a data key again, under the current master key.
    pub(crate) fn rewrap(&mut self, id: u32, record: &[u8]) -> Result<Vec<u8>, UnwrapError> {
        let (plain, _) = unwrap(&self.ring.place, &self.cipher, id, record)?;
        Ok(wrap(&self.ring.place, &mut self.cipher, id, plain))
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

fn make_key(ring: &Keyring, cipher: &mut Cipher, id: u32) -> (Arc<LessSafeKey>, Vec<u8>) {
    let mut plain = [0; 32];
    (cipher.random)(&mut plain);
    let key = Arc::new(aead_key(&plain));
    ring.keys.write().insert(id, key.clone());
    (key, wrap(&ring.place, cipher, id, plain))
}

/// Opens the stored form of a data key. Returns the key and the fingerprint of the master key that wrapped it.
fn unwrap(place: &Place, cipher: &Cipher, id: u32, record: &[u8]) -> Result<([u8; 32], Fingerprint), UnwrapError> {
    if record.len() != WRAPPED_BYTES || record[0] != RECORD_VERSION || record[1..4] != [0; 3] {
        return Err(UnwrapError::Record(RecordError::Short));
    }
    let fingerprint = Fingerprint(array_at(record, 4));
    let master = cipher.master_by(fingerprint).ok_or(UnwrapError::OtherMaster(fingerprint))?;
    let nonce = Nonce::assume_unique_for_key(array_at(record, 12));
    let mut sealed = record[24..].to_vec();
    let opened = master.wrapping.open_in_place(nonce, Aad::from(place.wrap_data(id)), &mut sealed);
    let plain = opened.map(|plain| array_at(plain, 0)).map_err(|_| UnwrapError::Record(RecordError::Tag))?;
    sealed.fill(0);
    Ok((plain, fingerprint))
}

/// Wraps a data key into its stored form. The wrapping nonce is random: a master key wraps one key per start, far below
/// the 2^32 messages that random nonces allow.
fn wrap(place: &Place, cipher: &mut Cipher, id: u32, mut plain: [u8; 32]) -> Vec<u8> {
    let mut nonce = [0; 12];
    (cipher.random)(&mut nonce);
    let master: &MasterKey = &cipher.master;
    let mut record = vec![RECORD_VERSION, 0, 0, 0];
    record.extend_from_slice(&master.fingerprint().0);
    record.extend_from_slice(&nonce);
    let tag = master
        .wrapping
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.wrap_data(id)), &mut plain)
        .expect("32 bytes are below AES-GCM's limit");
    record.extend_from_slice(&plain);
    record.extend_from_slice(tag.as_ref());
    record
}
