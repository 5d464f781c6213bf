//! Keeps a node within its disk budget: measures what it has on its disk, and removes what can be spared when space
//! runs short.
//!
//! In this order, and no more than is needed:
//! 1. **drafts**: snapshots that are being written or received; they can be made again;
//! 2. snapshots older than the newest, once that one was **verified**: read back from the disk as a whole;
//! 3. the log that a verified snapshot covers.
//!
//! So the replica never depends on a file that nobody has read. A snapshot that cannot be read as a whole is removed
//! itself, and older ones stay. The last thing to go is the `Ballast`.
//!
//! What may be used for what is decided in [`crate::disk_budget`]; what was measured last is in [`crate::node_disk`].

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_events::Events;
use fastness_log::SnapshotFolder;
use fastness_log::folder::{bytes_on_disk, create_durably};
use fastness_log::rocks::RocksStore;
use fastness_log::store::StoreError;
use fastness_types::GroupId;
use parking_lot::{Condvar, Mutex};

use crate::ballast::Ballast;
use crate::disk_budget::{Budget, Pressure, Used};
use crate::node_disk::NodeDisk;
use crate::snapshots::{self, SnapshotFiles};
use crate::space::Space;

/// Time between two checks of the disk.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// How much must be free beyond the size of the write-ahead files for a log to be opened.
const OPEN_BYTES: u64 = 8 << 20;

/// A group's files, and the group, which is informed when the log is no longer needed.
struct Group {
    files: SnapshotFiles,
    handle: GroupHandle,
}

/// See the module.
pub struct DiskMonitor {
    disk: Arc<NodeDisk>,
    ballast: Ballast,
    groups: Mutex<BTreeMap<GroupId, Group>>,
    store: Mutex<Weak<RocksStore>>,
    /// Set while the node ends: the monitor's thread ends with it.
    ended: Mutex<bool>,
    end: Condvar,
}

impl DiskMonitor {
    /// Measures the disk of the node in this folder. `option`: the value of `disk-budget`.
    #[must_use]
    pub fn measure(dir: &Path, option: u64, events: Events) -> Arc<DiskMonitor> {
        // If the folder cannot be made, opening the log in it reports why.
        let _ = create_durably(dir);
        let used = Used {
            log: bytes_on_disk(&dir.join("log")),
            ballast: Ballast::new(dir, 0).on_disk(),
            ..snapshots_on_disk(dir)
        };
        let budget = Budget::new(option, Space::of(dir), used);
        let ballast = Ballast::new(dir, budget.ballast());
        let (bytes, ballast_bytes) = (budget.bytes, ballast.bytes());
        tracing::info!(bytes, ?used, ballast_bytes, "the disk budget of this node");
        Arc::new(DiskMonitor {
            disk: Arc::new(NodeDisk::new(dir, budget, used, events)),
            ballast,
            groups: Mutex::default(),
            store: Mutex::default(),
            ended: Mutex::new(false),
            end: Condvar::new(),
        })
    }

    /// The disk that is monitored.
    #[must_use]
    pub fn disk(&self) -> &Arc<NodeDisk> {
        &self.disk
    }

    /// Sets the log's store, which is flushed to shorten its write-ahead files.
    pub fn set_store(&self, store: &Arc<RocksStore>) {
        *self.store.lock() = Arc::downgrade(store);
    }

    /// Adds the files of a running replica.
    pub fn add_group(&self, group: GroupId, files: SnapshotFiles, handle: GroupHandle) {
        self.groups.lock().insert(group, Group { files, handle });
    }

    /// Checks the disk on a thread of its own until [`DiskMonitor::end`].
    ///
    /// # Errors
    /// The system refuses to start a thread.
    pub fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let monitor = self.clone();
        std::thread::Builder::new().name("disk-monitor".into()).spawn(move || {
            let mut ended = monitor.ended.lock();
            while !*ended {
                parking_lot::MutexGuard::unlocked(&mut ended, || monitor.check());
                if !*ended {
                    monitor.end.wait_for(&mut ended, CHECK_EVERY);
                }
            }
        })
    }

    /// Ends the thread. The node is ending.
    pub fn end(&self) {
        *self.ended.lock() = true;
        self.end.notify_all();
        self.groups.lock().clear();
    }

    /// Measures, and removes what must be removed.
    pub fn check(&self) {
        let pressure = self.measure_again();
        match pressure {
            Pressure::None => self.ballast.make_if_space(self.disk.space()),
            Pressure::Near => self.remove_what_is_covered(),
            Pressure::Exceeded => {
                self.give_up_drafts();
                self.remove_what_is_covered();
                // RocksDB reclaims purged entries by rewriting the others: that needs space.
                if self.disk.space().is_some_and(|space| space.free < space.reserve()) {
                    self.release_ballast("the disk is almost full");
                }
            }
        }
        if pressure > Pressure::None {
            self.shorten_wal();
        }
    }

    fn measure_again(&self) -> Pressure {
        let dir = self.disk.dir();
        let (mut used, mut newest, shards) = {
            let groups = self.groups.lock();
            let mut used = Used::default();
            let (mut newest, mut shards) = (0, 0);
            for (id, group) in groups.iter() {
                let (whole, drafts) = group.files.bytes();
                used.snapshots += whole;
                used.drafts += drafts;
                // Group 0's share is a part of the budget of its own.
                if *id != GroupId::CONTROL {
                    newest += group.files.newest_bytes();
                    shards += 1;
                }
            }
            (used, newest, shards)
        };
        if shards == 0 {
            used = snapshots_on_disk(dir);
            newest = used.snapshots;
        }
        used.log = bytes_on_disk(&dir.join("log"));
        used.ballast = self.ballast.on_disk();
        self.disk.record(used, newest, shards)
    }

    fn give_up_drafts(&self) {
        for (group, it) in self.groups.lock().iter() {
            if it.files.give_up_drafts() {
                self.disk.count_given_up(1);
                tracing::warn!(%group, "an incomplete snapshot is removed because the disk budget is exceeded");
            }
        }
    }

    /// Removes what a verified snapshot makes superfluous: older ones, then the log.
    fn remove_what_is_covered(&self) {
        let groups: Vec<_> =
            self.groups.lock().iter().map(|(id, it)| (*id, it.files.clone(), it.handle.clone())).collect();
        for (group, files, handle) in groups {
            match files.keep_verified_alone() {
                Ok(Some((verified, removed))) => {
                    if removed > 0 {
                        self.disk.count_given_up(removed);
                        let index = verified.0;
                        tracing::warn!(%group, index, removed, "snapshots older than the verified one are removed to free space");
                    }
                    handle.release_log(verified);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%group, %error, "the newest snapshot cannot be read: older ones are kept");
                }
            }
        }
    }

    /// Flushes the content of write-ahead files into tables while there is space to do so: otherwise the next start
    /// has to.
    fn shorten_wal(&self) {
        let wal = wal_bytes(&self.disk.dir().join("log"));
        let free = self.disk.space().map_or(0, |space| space.free);
        if wal > self.disk.budget().ballast() / 2 && free > wal + OPEN_BYTES {
            let store = self.store.lock().upgrade();
            if let Some(Err(error)) = store.map(|store| store.flush()) {
                tracing::warn!(%error, "cannot flush the write-ahead log: it keeps its size, and the next start needs as much space");
            }
        }
    }

    /// Rewrites the log's files so that overwritten keys are no longer in them; false if there is too little space.
    ///
    /// # Errors
    /// Writing failed.
    pub fn forget_overwritten(&self) -> Result<bool, StoreError> {
        let wal = wal_bytes(&self.disk.dir().join("log"));
        if self.disk.space().is_none_or(|space| space.free <= wal + OPEN_BYTES) {
            return Ok(false);
        }
        let store = self.store.lock().upgrade();
        store.map_or(Ok(false), |store| store.forget_overwritten().map(|()| true))
    }

    fn release_ballast(&self, why: &str) {
        if self.ballast.release(why) {
            self.disk.count_given_up(1);
        }
    }

    /// Frees space while no replica runs, so that the log can be opened. `folders`: the groups' snapshots. True if
    /// something was freed.
    pub fn free_for_a_start(&self, folders: &[SnapshotFolder]) -> bool {
        let mut freed = 0;
        for folder in folders {
            match folder.remove_drafts() {
                Ok(bytes) => freed += bytes,
                Err(error) => tracing::error!(%error, "cannot remove an incomplete snapshot"),
            }
        }
        for folder in folders {
            match snapshots::keep_verified_alone(folder, None) {
                Ok(kept) => freed += kept.map_or(0, |(_, removed)| removed),
                Err(error) => tracing::error!(%error, "the newest snapshot cannot be read: older ones are kept"),
            }
        }
        let had_ballast = self.ballast.on_disk() > 0;
        self.release_ballast("the log needs space to be opened");
        if freed > 0 || had_ballast {
            tracing::warn!(
                freed,
                "the disk is full: incomplete snapshots, snapshots older than a verified one and the ballast are removed"
            );
        }
        freed > 0 || had_ballast
    }

    /// Whether there is space to open the log: opening it writes the content of its write-ahead files once more.
    #[must_use]
    pub fn can_open(&self) -> bool {
        let wal = wal_bytes(&self.disk.dir().join("log"));
        self.disk.space().is_none_or(|space| space.free > wal + OPEN_BYTES.min(space.reserve()))
    }
}

fn snapshots_on_disk(dir: &Path) -> Used {
    let folders = snapshots::folders_in(dir);
    Used { snapshots: folders.iter().map(|(_, path)| bytes_on_disk(path)).sum(), ..Used::default() }
}

/// Bytes of RocksDB's write-ahead files.
fn wal_bytes(log: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(log) else { return 0 };
    let wal = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let digits = name.to_str()?.strip_suffix(".log")?;
        let is_wal = digits.bytes().all(|byte| byte.is_ascii_digit());
        is_wal.then(|| entry.metadata().map_or(0, |file| file.len()))
    };
    entries.filter_map(|entry| wal(entry.ok()?)).sum()
}

#[cfg(test)]
mod tests;
