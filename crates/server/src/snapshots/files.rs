//! The files of one group's snapshots: which exist, which are kept, and drafts that are given up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fastness_log::{SnapshotError, SnapshotFolder, SnapshotReader};
use fastness_types::{GroupId, LogIndex};
use parking_lot::Mutex;

use crate::config::Config;
use crate::node_disk::NodeDisk;

/// The folder of all groups' snapshots in the node's folder.
const SNAPSHOTS: &str = "snapshots";
/// The folder of group 0's snapshots in it.
const CONTROL: &str = "control";
/// What the name of a shard's folder starts with; its number follows.
const SHARD: &str = "shard-";
/// Snapshots that are kept.
pub(super) const KEPT: usize = 2;

/// See the module. Clones are the same files.
#[derive(Clone)]
pub struct SnapshotFiles {
    pub(super) folder: Arc<SnapshotFolder>,
    /// Locked while one of this node's own is written.
    pub(super) writing: Arc<Mutex<()>>,
    /// Snapshots that other nodes have started to send; numbers their drafts.
    pub(super) received: Arc<AtomicU64>,
    /// The disk's budget, which decides whether another one may be written, and whether two are kept; `None`: always.
    pub(super) disk: Option<Arc<NodeDisk>>,
    /// The newest snapshot that was read back as a whole; 0: none.
    verified: Arc<AtomicU64>,
    /// The newest snapshot that could not be read as a whole, so that it is not read again and again; 0: none.
    unreadable: Arc<AtomicU64>,
    /// Incremented to give up drafts: a thread that started one under another number stops.
    drafts: Arc<AtomicU64>,
    /// Drafts that are being written.
    under_way: Arc<AtomicUsize>,
}

impl SnapshotFiles {
    /// In this folder.
    #[must_use]
    pub fn new(folder: SnapshotFolder, disk: Option<Arc<NodeDisk>>) -> SnapshotFiles {
        SnapshotFiles {
            folder: Arc::new(folder),
            writing: Arc::default(),
            received: Arc::default(),
            disk,
            verified: Arc::default(),
            unreadable: Arc::default(),
            drafts: Arc::default(),
            under_way: Arc::default(),
        }
    }

    /// The index of the newest snapshot that is complete.
    pub(crate) fn newest(&self) -> Option<LogIndex> {
        self.folder.list().unwrap_or_default().first().copied()
    }

    /// Opens a snapshot. It can be read to its end even if it is removed meanwhile.
    pub(crate) fn reader(&self, index: LogIndex) -> Result<SnapshotReader, SnapshotError> {
        self.folder.read(index)
    }

    /// Bytes on the disk of snapshots, and of drafts.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        self.folder.bytes()
    }

    /// Bytes of the newest snapshot; 0: there is none.
    pub(crate) fn newest_bytes(&self) -> u64 {
        let newest = self.folder.list().unwrap_or_default().first().copied();
        newest.and_then(|index| std::fs::metadata(self.folder.file(index)).ok()).map_or(0, |file| file.len())
    }

    /// Gives up what is being written or received; false if nothing is. The threads that write notice at their next
    /// chunk, and remove what they have written.
    pub(crate) fn give_up_drafts(&self) -> bool {
        let under_way = self.under_way.load(Ordering::Acquire) > 0;
        if under_way {
            self.drafts.fetch_add(1, Ordering::AcqRel);
        }
        under_way
    }

    /// Verifies the newest snapshot and removes older ones; returns its index, and how many were removed. `None`: there
    /// is no snapshot, or the newest is known to be unreadable.
    pub(crate) fn keep_verified_alone(&self) -> Result<Option<(LogIndex, u64)>, SnapshotError> {
        let newest = self.folder.list().unwrap_or_default().first().map_or(0, |index| index.0);
        if newest == self.unreadable.load(Ordering::Acquire) {
            return Ok(None);
        }
        let known = LogIndex(self.verified.load(Ordering::Acquire));
        let kept = keep_verified_alone(&self.folder, Some(known));
        if kept.is_err() {
            self.unreadable.store(newest, Ordering::Release);
        }
        let kept = kept?;
        if let Some((verified, _)) = kept {
            self.verified.fetch_max(verified.0, Ordering::AcqRel);
        }
        Ok(kept)
    }

    /// Removes what need not be kept beside the newest, which was just written: the others but one, or, where two do
    /// not fit, all of them once the newest was verified. Returns up to where the log is no longer needed.
    pub(super) fn keep_newest(&self) -> Result<Option<LogIndex>, SnapshotError> {
        if self.disk.as_ref().is_none_or(|disk| disk.keeps_two()) {
            return keep_newest(&self.folder);
        }
        match self.keep_verified_alone() {
            Ok(kept) => Ok(kept.map(|(verified, _)| verified)),
            Err(error) => {
                tracing::error!(%error, "the newest snapshot cannot be read: older ones are kept");
                Ok(None)
            }
        }
    }

    /// Starts a draft; the thread that writes it checks it between chunks.
    pub(super) fn draft(&self) -> DraftUnderWay {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        DraftUnderWay { started_as: self.drafts.load(Ordering::Acquire), files: self.clone() }
    }
}

/// A draft that is being written, until it is dropped.
pub(super) struct DraftUnderWay {
    files: SnapshotFiles,
    started_as: u64,
}

impl DraftUnderWay {
    /// Whether to continue: an error once it was given up.
    pub(super) fn check(&self) -> Result<(), SnapshotError> {
        if self.files.drafts.load(Ordering::Acquire) == self.started_as {
            return Ok(());
        }
        let source = std::io::Error::new(std::io::ErrorKind::StorageFull, "given up: no space within disk-budget");
        Err(SnapshotError::Io { path: self.files.folder.path().to_owned(), source })
    }
}

impl Drop for DraftUnderWay {
    fn drop(&mut self) {
        self.files.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The folder of a group's snapshots.
#[must_use]
pub fn folder_of(config: &Config, group: GroupId) -> PathBuf {
    let name = if group == GroupId::CONTROL { CONTROL.to_owned() } else { format!("{SHARD}{group}") };
    snapshots_folder(&config.dir).join(name)
}

/// Verifies the newest snapshot of a folder, unless it is known to be whole, and removes older ones; returns its index
/// and how many were removed. One that is damaged is removed itself.
pub(crate) fn keep_verified_alone(
    folder: &SnapshotFolder,
    known: Option<LogIndex>,
) -> Result<Option<(LogIndex, u64)>, SnapshotError> {
    let list = folder.list().unwrap_or_default();
    let Some((&newest, older)) = list.split_first() else { return Ok(None) };
    if known != Some(newest)
        && let Err(error) = folder.verify(newest)
    {
        // A damaged one takes up space for nothing, unless it is the last one, which somebody may want to examine.
        if matches!(error, SnapshotError::Damaged { .. }) && !older.is_empty() {
            folder.remove(newest)?;
        }
        return Err(error);
    }
    for old in older {
        folder.remove(*old)?;
    }
    Ok(Some((newest, older.len() as u64)))
}

/// The folder of all snapshots of the node in `dir`.
pub(super) fn snapshots_folder(dir: &Path) -> PathBuf {
    dir.join(SNAPSHOTS)
}

/// The folders of all groups that have snapshots in the node's folder, as far as they can be listed.
pub(crate) fn folders_in(dir: &Path) -> Vec<(GroupId, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(snapshots_folder(dir)) else { return Vec::new() };
    entries.filter_map(|entry| group_folder(&entry.ok()?)).collect()
}

/// The folders of all groups in the folder of all snapshots.
pub(super) fn list_folders(snapshots: &Path) -> std::io::Result<Vec<(GroupId, PathBuf)>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(snapshots)? {
        folders.extend(group_folder(&entry?));
    }
    Ok(folders)
}

fn group_folder(entry: &std::fs::DirEntry) -> Option<(GroupId, PathBuf)> {
    let name = entry.file_name();
    let group = match name.to_str()? {
        CONTROL => GroupId::CONTROL,
        name => GroupId(name.strip_prefix(SHARD)?.parse().ok().filter(|number| *number > 0)?),
    };
    Some((group, entry.path()))
}

/// Removes all but the newest ones, and returns the index of the oldest that is kept, if it is not the only one.
fn keep_newest(folder: &SnapshotFolder) -> Result<Option<LogIndex>, SnapshotError> {
    let mut list = folder.list()?;
    for old in list.split_off(KEPT.min(list.len())) {
        folder.remove(old)?;
    }
    Ok(list.into_iter().skip(1).last())
}
