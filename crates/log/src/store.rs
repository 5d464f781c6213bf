//! The storage interface of the log: an ordered key-value store with atomic, synced or unsynced batches.
//!
//! RocksDB (`rocks.rs`) and the simulated disk (`memory.rs`) implement it and pass one conformance suite
//! (`tests/store_suite.rs`).
//!
//! Invariants that every store keeps:
//! - A batch is applied whole or not at all, its operations in order.
//! - Batches take effect in the order of their `write` calls. A crash leaves a **prefix** of them, which includes every
//!   batch up to the last one written with `sync`.
//! - A write that failed may or may not have taken effect after a reopen; the store is not written to again.
//!
//! Does not know: groups, entries, encryption.

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;

/// A separate keyspace of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Log entries: large, written once, removed from the front.
    Log,
    /// Identity, keys, votes, positions: small, overwritten.
    Meta,
}

impl Family {
    /// The name on disk; frozen.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Log => "log",
            Family::Meta => "meta",
        }
    }
}

/// One operation of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOp {
    /// Sets a key.
    Put {
        /// The family.
        family: Family,
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key, if it exists.
    Delete {
        /// The family.
        family: Family,
        /// The key.
        key: Vec<u8>,
    },
    /// Removes every key in `from..to`.
    DeleteRange {
        /// The family.
        family: Family,
        /// First key.
        from: Vec<u8>,
        /// First key after the range.
        to: Vec<u8>,
    },
}

/// Operations that are applied atomically.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    /// Operations in the order in which they apply.
    pub ops: Vec<WriteOp>,
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// Sets a key.
    pub fn put(&mut self, family: Family, key: Vec<u8>, value: impl Into<Bytes>) {
        self.ops.push(WriteOp::Put { family, key, value: value.into() });
    }

    /// Removes a key.
    pub fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.ops.push(WriteOp::Delete { family, key });
    }

    /// Removes every key in `from..to`; does nothing if the range is empty.
    pub fn delete_range(&mut self, family: Family, from: Vec<u8>, to: Vec<u8>) {
        if from < to {
            self.ops.push(WriteOp::DeleteRange { family, from, to });
        }
    }

    /// Whether the batch has no operations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.ops
            .iter()
            .map(|op| match op {
                WriteOp::Put { key, value, .. } => key.len() + value.len(),
                WriteOp::Delete { key, .. } => key.len(),
                WriteOp::DeleteRange { from, to, .. } => from.len() + to.len(),
            })
            .sum()
    }
}

/// Why a store operation failed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// The device is full.
    #[error(
        "no space left on {place}: {detail}; nothing that was acknowledged is lost. Free space there, or enlarge the file \
         system: the node then opens and checks its log again"
    )]
    NoSpace {
        /// Directory.
        place: String,
        /// Detail from the store.
        detail: String,
    },
    /// Another process has the directory open.
    #[error("{place} is in use by another process ({detail}); stop that process, or give this node its own directory")]
    Locked {
        /// Directory.
        place: String,
        /// Detail from the store.
        detail: String,
    },
    /// The stored data is damaged.
    #[error(
        "{place} is damaged: {detail}; nothing was changed. Do not delete parts of it: put a new node with an empty disk \
         in this one's place (`fastness cluster replace-replica`), which takes the data from the other replicas"
    )]
    Corrupt {
        /// File, if known, else the directory.
        place: String,
        /// Position and finding.
        detail: String,
    },
    /// Reading or writing failed.
    #[error(
        "input/output error on {place}: {detail}; nothing is written there any more. See what the system says of the device \
         (dmesg), mend or exchange it, and start the node again: it reads and checks its whole log. If it is refused as \
         damaged, put a new node in this one's place (`fastness cluster replace-replica`)"
    )]
    Io {
        /// Directory.
        place: String,
        /// Detail from the system.
        detail: String,
    },
}

impl StoreError {
    /// The error for a failed access to a file or folder.
    pub(crate) fn of(place: &Path, error: &std::io::Error) -> StoreError {
        let (place, detail) = (place.display().to_string(), error.to_string());
        match error.kind() {
            std::io::ErrorKind::StorageFull => StoreError::NoSpace { place, detail },
            _ => StoreError::Io { place, detail },
        }
    }
}

/// The key range `from..to` of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub from: Vec<u8>,
    /// First key after the range.
    pub to: Vec<u8>,
}

/// Called by a scan with each key and value; `Break` stops the scan.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// An ordered key-value store. See the module's invariants.
pub trait OrderedStore: Send + Sync + 'static {
    /// Applies a batch. With `sync`, returns after this batch and all batches before it are on stable storage.
    ///
    /// # Errors
    /// After any error the store has failed: nothing is retried.
    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError>;

    /// The value of a key.
    ///
    /// # Errors
    /// Reading failed, or the stored data is damaged.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the keys of a range in order, in the state of one moment.
    ///
    /// # Errors
    /// Reading failed, or the stored data is damaged.
    fn scan(&self, family: Family, range: &KeyRange, visit: &mut Visitor<'_>) -> Result<(), StoreError>;

    /// The last key of a range with its value.
    ///
    /// # Errors
    /// Reading failed, or the stored data is damaged.
    fn last(&self, family: Family, range: &KeyRange) -> Result<Option<KeyValue>, StoreError>;

    /// Hints that a large part of the family was deleted, so that its space can be reclaimed in the background.
    fn reclaim(&self, family: Family);

    /// Directory of the store, for messages.
    fn place(&self) -> String;
}
