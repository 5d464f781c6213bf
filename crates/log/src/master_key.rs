//! The master key: wraps data keys and the keys of snapshot files, and authenticates the identity record.
//!
//! Three subkeys are derived from its 32 bytes with HMAC-SHA256 over fixed labels: one wraps keys (AES-256-GCM), one
//! authenticates the identity record, one yields the fingerprint, which distinguishes a wrong key from damage. The
//! fingerprint is 8 bytes and reveals nothing about the key.

use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use crate::entry::{RecordError, TAG_BYTES};

/// Bytes of a wrapped key: the key and the tag.
pub(crate) const WRAPPED_KEY_BYTES: usize = 32 + TAG_BYTES;

/// Names a master key without revealing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The subkey of a master key that wraps other keys.
pub(crate) struct WrappingKey {
    key: LessSafeKey,
    /// Kept because a rotation stores the subkey of the retired master key (`retired.rs`).
    bytes: [u8; 32],
    /// Of the master key.
    pub(crate) fingerprint: Fingerprint,
}

impl WrappingKey {
    pub(crate) fn new(bytes: [u8; 32], fingerprint: Fingerprint) -> WrappingKey {
        WrappingKey { key: aead_key(&bytes), bytes, fingerprint }
    }

    /// Wraps a key. A nonce is random: one master key wraps a few keys for each start, rotation and snapshot, far below
    /// the 2^32 messages that random nonces allow.
    pub(crate) fn wrap(&self, nonce: [u8; NONCE_LEN], data: &[u8], mut plain: [u8; 32]) -> [u8; WRAPPED_KEY_BYTES] {
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(data), &mut plain)
            .expect("32 bytes are below AES-GCM's limit");
        let mut wrapped = [0; WRAPPED_KEY_BYTES];
        wrapped[..32].copy_from_slice(&plain);
        wrapped[32..].copy_from_slice(tag.as_ref());
        wrapped
    }

    /// Unwraps a key.
    pub(crate) fn unwrap(&self, nonce: [u8; NONCE_LEN], data: &[u8], wrapped: &[u8]) -> Result<[u8; 32], RecordError> {
        let mut sealed = wrapped.to_vec();
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(data), &mut sealed);
        let plain = opened.ok().and_then(|plain| <[u8; 32]>::try_from(&*plain).ok());
        sealed.fill(0);
        plain.ok_or(RecordError::Tag)
    }

    /// The subkey of another master key, wrapped by this one.
    pub(crate) fn wrap_retired(
        &self,
        nonce: [u8; NONCE_LEN],
        data: &[u8],
        retired: &WrappingKey,
    ) -> [u8; WRAPPED_KEY_BYTES] {
        self.wrap(nonce, data, retired.bytes)
    }
}

impl Drop for WrappingKey {
    fn drop(&mut self) {
        self.bytes.fill(0);
    }
}

/// The 32 secret bytes that protect every key of a node's disk.
pub struct MasterKey {
    pub(crate) wrapping: Arc<WrappingKey>,
    pub(crate) identity: hmac::Key,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.fingerprint())
    }
}

fn derive(secret: &hmac::Key, label: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(secret, label);
    let mut key = [0; 32];
    key.copy_from_slice(tag.as_ref());
    key
}

pub(crate) fn aead_key(bytes: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 takes a key of 32 bytes"))
}

impl MasterKey {
    /// A key from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> MasterKey {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&derive(&secret, b"fastness master key fingerprint v1")[..8]);
        let wrapping = derive(&secret, b"fastness data key wrapping v1");
        MasterKey {
            wrapping: Arc::new(WrappingKey::new(wrapping, Fingerprint(fingerprint))),
            identity: hmac::Key::new(hmac::HMAC_SHA256, &derive(&secret, b"fastness identity record v1")),
        }
    }

    /// The fingerprint, which names the key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.wrapping.fingerprint
    }
}
