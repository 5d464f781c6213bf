//! The transaction log of one node: entries and votes of all its Raft groups, encrypted, in one ordered store, synced
//! together by one group commit.
//!
//! ```text
//! GroupLog::append ─▶ tail (memory, readable at once)
//!                 └─▶ queue (one, all groups) ─▶ writer: drain → seal → one batch → one synced write → callbacks
//! GroupLog::read  ◀── tail, else ◀── reader: scan → open
//! ```
//!
//! Invariants:
//! - What a callback has reported as written survives any crash of the process or the machine.
//! - A group's votes, entries, truncations and purges reach the disk in the order of their calls, batch by batch. A
//!   crash leaves a prefix of them.
//! - At most the last write batch is not on stable storage (`writer.rs`).
//! - After the first failed write, nothing more is written ([`Log::failure`]).
//!
//! Ordering rules:
//! - A callback runs only after the batch of its operation, and every batch before it, is on stable storage.
//! - Callbacks of queued operations run in the order of the calls, over all groups.
//!
//! Which damage is detected when a log is opened, and which is not, is described in `recover.rs` and `wal.rs`.
//!
//! Does not know: openraft, commands, contents of snapshots, sockets.

mod cipher;
mod entry;
mod error;
pub mod faulty;
pub mod folder;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod group;
mod identity;
pub mod key;
mod key_file;
mod keyring;
mod log;
mod manifest;
mod master_key;
pub mod memory;
mod options;
mod place;
mod queue;
mod reader;
mod recover;
mod retired;
pub mod rocks;
mod sizes;
mod snapshot;
mod snapshot_header;
mod stats;
pub mod store;
mod tail;
mod wal;
mod writer;

pub use cipher::{Cipher, MasterKeys, Random};
pub use entry::{EntryId, EntryKind, LogEntry, RecordError};
pub use error::{OpenError, ReadError, RotateError, WriteError};
pub use group::GroupState;
pub use identity::Identity;
pub use key_file::{KeyFileError, move_key_file, sync_key_file};
pub use keyring::{BYTES_PER_KEY_MAX, MESSAGES_PER_KEY_MAX};
pub use log::{GroupLog, Log};
pub use master_key::{Fingerprint, MasterKey};
pub use options::LogOptions;
pub use queue::Done;
pub use recover::{inspect, unlock};
pub use snapshot::{Draft, SnapshotError, SnapshotFolder, SnapshotReader, SnapshotWriter};
pub use stats::{LogStats, SYNC_BUCKETS};
pub use writer::{DriverLatency, WriteLoad, WriterDriver};
