//! The identity record: which node and cluster a disk belongs to, and how often the node was started on it.
//!
//! Identity record, version 1: `version u8 = 1 | key since 7 | cluster id 16 | node id 8 | disk id 16 | starts 8 |
//! master fingerprint 8 | HMAC-SHA256 of all before it, 32`. It can be read without a key, so that a wrong node, a
//! wrong cluster and a wrong master key each get their own error. It cannot be changed without the master key.
//! `key since` is when the master key was taken into use on this disk, in seconds since the Unix epoch, big-endian; 0
//! if that is not known, as in records of earlier versions, which had these bytes reserved.
//!
//! - **The disk id** is drawn when the log is created and never changes. An empty folder is therefore a new disk,
//!   whatever the node's id, and the cluster, which knows the disks of its members, does not accept it as the old one.
//! - **The start counter** is raised and synced at every open, before the log is used. Peers remember the highest value
//!   that they have seen. A node that learns from a peer of a higher value than its own runs on an old copy of its
//!   disk, and stops.

use fastness_types::{ClusterId, DiskId, NodeId};
use ring::hmac;

use crate::entry::{RecordError, array_at, u64_at};
use crate::master_key::{Fingerprint, MasterKey};

const VERSION: u8 = 1;
const CLEAR_BYTES: usize = 64;
/// The largest number of 7 bytes.
const SINCE_MAX_S: u64 = (1 << 56) - 1;

/// Identity of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The node that the disk belongs to.
    pub node: NodeId,
    /// The cluster that the node belongs to.
    pub cluster: ClusterId,
    /// Id of the disk; differs for every log that was ever created.
    pub disk: DiskId,
    /// Number of starts of the node on this disk, including this one: 1 on a new disk.
    pub starts: u64,
}

/// An identity record that is decoded but not authenticated yet.
pub(crate) struct StoredIdentity<'a> {
    pub(crate) identity: Identity,
    pub(crate) master: Fingerprint,
    /// Of the master key.
    pub(crate) since_s: u64,
    record: &'a [u8],
}

impl Identity {
    pub(crate) fn encode(&self, master: &MasterKey, since_s: u64) -> Vec<u8> {
        let mut record = vec![VERSION];
        record.extend_from_slice(&since_s.min(SINCE_MAX_S).to_be_bytes()[1..]);
        record.extend_from_slice(&self.cluster.0);
        record.extend_from_slice(&self.node.0.to_be_bytes());
        record.extend_from_slice(&self.disk.0);
        record.extend_from_slice(&self.starts.to_be_bytes());
        record.extend_from_slice(&master.fingerprint().0);
        let tag = hmac::sign(&master.identity, &record);
        record.extend_from_slice(tag.as_ref());
        record
    }

    pub(crate) fn decode(record: &[u8]) -> Result<StoredIdentity<'_>, RecordError> {
        match record.first() {
            Some(&VERSION) => {}
            Some(&version) => return Err(RecordError::Version(version)),
            None => return Err(RecordError::Short),
        }
        if record.len() != CLEAR_BYTES + 32 {
            return Err(RecordError::Short);
        }
        let identity = Identity {
            cluster: ClusterId(array_at(record, 8)),
            node: NodeId(u64_at(record, 24)),
            disk: DiskId(array_at(record, 32)),
            starts: u64_at(record, 48),
        };
        let since_s = u64_at(record, 0) & SINCE_MAX_S;
        Ok(StoredIdentity { identity, master: Fingerprint(array_at(record, 56)), since_s, record })
    }
}

impl StoredIdentity<'_> {
    /// Checks the authentication tag of the record under the master key that has the record's fingerprint.
    pub(crate) fn verify(&self, master: &MasterKey) -> Result<(), RecordError> {
        let (clear, tag) = self.record.split_at(CLEAR_BYTES);
        hmac::verify(&master.identity, clear, tag).map_err(|_| RecordError::Tag)
    }
}
