//! Verification of a node's snapshots, for the operator.

use std::path::PathBuf;
use std::sync::Arc;

use fastness_consensus::committed_entry;
use fastness_consensus::handle::Committed;
use fastness_control::{ControlState, SnapshotStore as _};
use fastness_log::rocks::{RocksOptions, RocksStore};
use fastness_log::store::StoreError;
use fastness_log::{Cipher, KeyFileError, LogOptions, MasterKeys, OpenError, SnapshotError, SnapshotFolder};
use fastness_shard::{SnapshotCheck, SnapshotReplay, SnapshotReport};
use fastness_types::{ClusterId, Epoch, GroupId, LogIndex, NodeId, ShardId};

use super::files::{SnapshotFiles, list_folders, snapshots_folder};
use crate::config::Config;
use crate::master_key;
use crate::tls::{Material, TlsError};

/// What is wrong with one snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFault {
    /// The file cannot be read, or is damaged.
    #[error(transparent)]
    File(#[from] SnapshotError),
    /// Its content cannot be restored, or differs from its own counts and digest.
    #[error("{0}")]
    Content(String),
    /// The content belongs to another index than the file's name.
    #[error("its content is of index {}, which is not the index in the file's name", .0.0)]
    OtherIndex(LogIndex),
    /// Replaying the log from the snapshot before gives other data.
    #[error("{0}")]
    Replay(String),
}

/// Why a node's snapshots cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The certificate, which names the node.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The master key.
    #[error("master-key-file: {0}")]
    MasterKey(#[from] KeyFileError),
    /// The folder of all cannot list the snapshots: the replica restores from the log.
    #[error("snapshots: {}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The folder of a group's cannot list the snapshots: the replica restores from the log.
    #[error("snapshots: {0}")]
    Group(SnapshotError),
    /// The log cannot be opened.
    #[error("the transaction log: {0}")]
    Open(#[from] StoreError),
    /// The log cannot be read.
    #[error("the transaction log: {0}")]
    Log(#[from] OpenError),
}

/// What a snapshot holds.
#[derive(Debug)]
pub enum SnapshotFound {
    /// Data of a shard.
    Shard(SnapshotReport),
    /// The state of group 0.
    Control(ControlState),
}

impl SnapshotFound {
    /// Its position in the log.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        match self {
            SnapshotFound::Shard(report) => report.index,
            SnapshotFound::Control(state) => state.index,
        }
    }

    /// The epoch of the entry at that position.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            SnapshotFound::Shard(report) => report.epoch,
            SnapshotFound::Control(state) => state.epoch,
        }
    }
}

/// A snapshot that was checked.
#[derive(Debug)]
pub struct Verified {
    /// The file.
    pub file: PathBuf,
    /// What it holds, or what is wrong with it.
    pub found: Result<SnapshotFound, SnapshotFault>,
    /// Whether the log leads from the snapshot before to this one: the number of entries, or what differs. `None`:
    /// there is no earlier snapshot that is whole, or the log does not reach back to it.
    pub replayed: Option<Result<u64, SnapshotFault>>,
}

/// Reads every snapshot of the node with this config (or of one group), restores each in memory and compares keys and
/// digest with those that it names; then replays the log from each to the next and compares again. The node may be
/// running.
///
/// # Errors
/// See [`VerifyError`]. A snapshot that is damaged is no error, but a part of the result.
pub fn verify(config: &Config, only: Option<GroupId>) -> Result<Vec<Verified>, VerifyError> {
    let (cluster, node) = Material::load(config)?.identity()?;
    let path = snapshots_folder(&config.dir);
    let mut folders = list_folders(&path).map_err(|error| VerifyError::Folder { path, error })?;
    folders.retain(|(group, _)| only.is_none_or(|only| only == *group));
    folders.sort_unstable();
    let mut verified = Vec::new();
    let keys = keys_of(config, (cluster, node))?;
    for (group, path) in folders {
        let cipher = Cipher::sharing(&keys);
        let folder = SnapshotFolder::open(&path, cluster, node, group, cipher);
        let files = SnapshotFiles::new(folder, None);
        let mut list = files.folder.list().map_err(VerifyError::Group)?;
        list.reverse();
        let mut before: Option<Replay> = None;
        for index in list {
            let (found, replay) = match verify_one(&files, group, index) {
                Ok((found, replay)) => (Ok(found), Some(replay)),
                Err(error) => (Err(error), None),
            };
            let replayed = match (before.take(), &found) {
                (Some(before), Ok(found)) => replay_to(config, (cluster, node, &keys), group, before, found)?,
                _ => None,
            };
            before = replay;
            verified.push(Verified { file: files.folder.file(index), found, replayed });
        }
    }
    Ok(verified)
}

/// A state that the log is replayed on.
enum Replay {
    Shard(Box<SnapshotReplay>),
    Control(ControlState),
}

impl Replay {
    fn index(&self) -> LogIndex {
        match self {
            Replay::Shard(replay) => replay.index(),
            Replay::Control(state) => state.index,
        }
    }

    fn apply(&mut self, entry: &Committed) -> Result<(), SnapshotFault> {
        let differs = match self {
            Replay::Shard(replay) => replay.apply(entry).err().map(|error| error.to_string()),
            Replay::Control(state) => state.apply(entry).err().map(|error| error.to_string()),
        };
        differs.map_or(Ok(()), |differs| Err(SnapshotFault::Replay(differs)))
    }

    fn compare(&self, with: &SnapshotFound) -> Result<(), SnapshotFault> {
        let differs = match (self, with) {
            (Replay::Shard(replay), SnapshotFound::Shard(report)) => {
                replay.compare(report).err().map(|error| error.to_string())
            }
            (Replay::Control(replayed), SnapshotFound::Control(state)) if replayed == state => None,
            _ => Some("the log leads to another state of the control plane".to_owned()),
        };
        differs.map_or(Ok(()), |differs| Err(SnapshotFault::Replay(differs)))
    }
}

/// Attempts to open the log: a running node may replace its files meanwhile.
const OPEN_ATTEMPTS: usize = 5;

fn open_store(config: &Config) -> Result<Arc<RocksStore>, StoreError> {
    let options = RocksOptions::new(config.log_folder());
    let mut opened = RocksStore::open_read_only(&options);
    for _ in 1..OPEN_ATTEMPTS {
        if opened.is_ok() {
            break;
        }
        opened = RocksStore::open_read_only(&options);
    }
    opened
}

/// The master keys of the disk. A rotation that is incomplete leaves snapshots under the key before, which the log has.
/// If the log cannot be read, the snapshots are checked with the keys of the files.
fn keys_of(config: &Config, (cluster, node): (ClusterId, NodeId)) -> Result<MasterKeys, VerifyError> {
    let mut cipher = master_key::cipher(config)?;
    let unlocked = match open_store(config) {
        Ok(store) => fastness_log::unlock(store.as_ref(), &mut cipher, &LogOptions::new(node, cluster)),
        Err(error) => Err(error.into()),
    };
    match unlocked {
        Err(error @ OpenError::OtherMasterKey { .. }) => return Err(error.into()),
        Err(error) => tracing::warn!(%error, "the transaction log cannot be read"),
        Ok(()) => {}
    }
    Ok(cipher.keys().clone())
}

/// Replays the log from one snapshot to the next.
fn replay_to(
    config: &Config,
    (cluster, node, keys): (ClusterId, NodeId, &MasterKeys),
    group: GroupId,
    mut replay: Replay,
    to: &SnapshotFound,
) -> Result<Option<Result<u64, SnapshotFault>>, VerifyError> {
    let store = open_store(config)?;
    let (mut entries, mut wrong, mut reaches_back) = (0, None, false);
    let cipher = Cipher::sharing(keys);
    let options = LogOptions::new(node, cluster);
    fastness_log::inspect(store.as_ref(), cipher, &options, group, &mut |entry| {
        reaches_back |= entry.index == replay.index().0 + 1;
        let is_next = entry.index > replay.index().0 && entry.index <= to.index().0;
        if reaches_back && is_next && wrong.is_none() {
            entries += 1;
            wrong = replay.apply(&committed_entry(entry)).err();
        }
    })?;
    if !reaches_back {
        return Ok(None);
    }
    let compared = match wrong {
        Some(wrong) => Err(wrong),
        None => replay.compare(to),
    };
    Ok(Some(compared.map(|()| entries)))
}

fn verify_one(
    files: &SnapshotFiles,
    group: GroupId,
    index: LogIndex,
) -> Result<(SnapshotFound, Replay), SnapshotFault> {
    let (found, replay) = if group == GroupId::CONTROL {
        let state = control_state(files, index)?;
        (SnapshotFound::Control(state.clone()), Replay::Control(state))
    } else {
        let mut reader = files.folder.read(index)?;
        let mut check = SnapshotCheck::new(ShardId(group.0), reader.head()).map_err(content)?;
        while let Some(chunk) = reader.next_chunk()? {
            check.chunk(&chunk).map_err(content)?;
        }
        let (report, replay) = check.finish(reader.tail().unwrap_or_default()).map_err(content)?;
        (SnapshotFound::Shard(report), Replay::Shard(Box::new(replay)))
    };
    if found.index() != index {
        return Err(SnapshotFault::OtherIndex(found.index()));
    }
    Ok((found, replay))
}

fn control_state(files: &SnapshotFiles, index: LogIndex) -> Result<ControlState, SnapshotFault> {
    let mut decoder = fastness_control::snapshot::Decoder::default();
    for part in files.read(index).map_err(content)? {
        decoder.take(&part.map_err(content)?).map_err(content)?;
    }
    decoder.finish().map_err(content)
}

fn content(error: impl std::fmt::Display) -> SnapshotFault {
    SnapshotFault::Content(error.to_string())
}
