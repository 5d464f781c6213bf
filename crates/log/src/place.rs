//! The place of a disk, to which its records are bound, and why a stored key does not open there.

use fastness_types::{ClusterId, NodeId};

use crate::entry::RecordError;
use crate::key::Key;
use crate::master_key::Fingerprint;

/// The place that every record of a disk is bound to through its associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
}

impl Place {
    pub(crate) fn associated_data(&self, label: &[u8], key: Key, header: &[u8]) -> Vec<u8> {
        let mut data = Vec::with_capacity(96);
        data.extend_from_slice(label);
        data.extend_from_slice(&self.cluster.0);
        data.extend_from_slice(&self.node.0.to_be_bytes());
        data.push(key.seal_tag());
        data.extend_from_slice(&key.encode());
        data.extend_from_slice(header);
        data
    }

    pub(crate) fn record_data(&self, key: Key, header: &[u8]) -> Vec<u8> {
        self.associated_data(b"fastness/log/1", key, header)
    }

    pub(crate) fn wrap_data(&self, id: u32) -> Vec<u8> {
        self.associated_data(b"fastness/data-key/1", Key::DataKey { id }, &[])
    }
}

/// Why a data key cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UnwrapError {
    OtherMaster(Fingerprint),
    Record(RecordError),
}
