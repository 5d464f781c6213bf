//! Who this disk belongs to, and how often it was started.
//!
//! Identity record, version 1: `version u8 = 1 | 7 reserved | cluster id 16 | node id 8 | disk id 16 | starts 8 |
//! master fingerprint 8 | HMAC-SHA256 of all before it, 32`. It is readable without a key, so that a wrong node,
//! cluster or master key each get an error of their own; it cannot be changed without the master key.
//!
//! The disk id is drawn when the log is created and never changes: an empty folder is a new disk, whatever the node's
//! id, and the cluster, which knows its members' disks, has nothing to do with it. The start counter is raised and
//! synced at every open, before the log is used. Peers remember the highest one they have seen: a node that is told of
//! a higher one runs on an old copy of its disk, and stops.

use fastness_types::{ClusterId, DiskId, NodeId};
use ring::hmac;

use crate::cipher::{Cipher, Fingerprint, MasterKey};
use crate::entry::{RecordError, array_at, u64_at};

const VERSION: u8 = 1;
const CLEAR_BYTES: usize = 64;

/// Who a disk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The disk: another one for every log that was ever created.
    pub disk: DiskId,
    /// Starts of the node on this disk, this one included: 1 on a new disk.
    pub starts: u64,
}

/// An identity record that was read and not yet authenticated.
pub(crate) struct StoredIdentity<'a> {
    pub(crate) identity: Identity,
    pub(crate) master: Fingerprint,
    record: &'a [u8],
}

impl Identity {
    pub(crate) fn encode(&self, master: &MasterKey) -> Vec<u8> {
        let mut record = vec![VERSION, 0, 0, 0, 0, 0, 0, 0];
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
        Ok(StoredIdentity { identity, master: Fingerprint(array_at(record, 56)), record })
    }
}

impl StoredIdentity<'_> {
    /// Checks the record's authentication tag; `None` if no master key given has its fingerprint.
    pub(crate) fn verify(&self, cipher: &Cipher) -> Option<Result<(), RecordError>> {
        let master = cipher.master_by(self.master)?;
        let (clear, tag) = self.record.split_at(CLEAR_BYTES);
        Some(hmac::verify(&master.identity, clear, tag).map_err(|_| RecordError::Tag))
    }
}
