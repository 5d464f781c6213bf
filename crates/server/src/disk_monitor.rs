//! Keeps a node within its disk budget: measures what it has on its disk, and gives up what it may when there is no
//! room.
//!
//! In this order, and no more than is needed:
//! 1. **drafts**: snapshots that are being written or received; they can be made again;
//! 2. snapshots older than the newest, once that one was **verified**: read back whole, from the disk;
//! 3. the log that a verified snapshot covers.
//!
//! So there is never a moment at which what the replica needs rests on a file that nobody has read. A snapshot that
//! does not read whole is removed itself, and what is older stays.
//!
//! The **ballast** is a file that takes up space for nothing. It is removed when RocksDB finds no space to open its
//! files or to give back the space of what was purged, and made again once there is room: so a node whose disk was
//! filled up, by itself or by others, starts again as long as something of its own can be freed.
//!
//! What may be used by what is decided in [`crate::disk_budget`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_log::folder::{bytes_on_disk, create_durably};
use fastness_log::rocks::RocksStore;
use fastness_log::{SnapshotError, SnapshotFolder};
use fastness_types::{LogIndex, ShardId};
use parking_lot::{Condvar, Mutex};

use crate::disk_budget::{Budget, LogSizes, Pressure, Used};
use crate::snapshots::{self, SnapshotFiles};
use crate::space::Space;

/// Between two looks at the disk.
const LOOK: Duration = Duration::from_millis(250);
/// The ballast's name in the node's folder.
const BALLAST: &str = "ballast";
/// How much must be free beside the write-ahead files for a log to be opened.
const OPEN_BYTES: u64 = 8 << 20;

/// What the node has on its disk, and what it may have: figures for INFO and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskInfo {
    /// The budget, bytes.
    pub budget: u64,
    /// What each part takes.
    pub used: Used,
    /// How near both are to each other.
    pub pressure: Pressure,
    /// A shard cuts a snapshot after so many bytes of log at the latest.
    pub log_share: u64,
    /// Drafts, snapshots and ballasts that were given up for space since the start.
    pub given_up: u64,
}

/// A shard's files, and who is told when its log is not needed any more.
struct Shard {
    files: SnapshotFiles,
    handle: GroupHandle,
}

struct State {
    used: Used,
    pressure: Pressure,
    log_share: u64,
    keeps_two: bool,
}

/// The disk of one node.
pub struct NodeDisk {
    /// The node's folder.
    dir: PathBuf,
    budget: Budget,
    ballast: Ballast,
    shards: Mutex<BTreeMap<ShardId, Shard>>,
    store: Mutex<Weak<RocksStore>>,
    state: Mutex<State>,
    given_up: AtomicU64,
    /// Set while the node ends: the monitor's thread ends with it.
    ended: Mutex<bool>,
    end: Condvar,
}

impl std::fmt::Debug for NodeDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeDisk").field("dir", &self.dir).field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl NodeDisk {
    /// Measures the disk of the node in this folder. `option`: what `disk-budget` says.
    #[must_use]
    pub fn measure(dir: &Path, option: u64) -> Arc<NodeDisk> {
        // A folder that cannot be made is told of by whoever opens the log in it.
        let _ = create_durably(dir);
        let ballast = dir.join(BALLAST);
        let used = Used {
            log: bytes_on_disk(&dir.join("log")),
            ballast: file_bytes(&ballast),
            ..snapshots_on_disk(&snapshot_folders(dir))
        };
        let budget = Budget::new(option, Space::of(dir), used);
        let ballast = Ballast { path: ballast, bytes: budget.ballast(), failed: AtomicBool::new(false) };
        let state = State {
            used,
            pressure: Pressure::None,
            log_share: budget.log_share(used.snapshots, 1),
            keeps_two: budget.keeps_two(used.snapshots),
        };
        let (bytes, ballast_bytes) = (budget.bytes, ballast.bytes);
        tracing::info!(bytes, ?used, ballast_bytes, "the disk budget of this node");
        Arc::new(NodeDisk {
            dir: dir.to_owned(),
            budget,
            ballast,
            shards: Mutex::default(),
            store: Mutex::default(),
            state: Mutex::new(state),
            given_up: AtomicU64::new(0),
            ended: Mutex::new(false),
            end: Condvar::new(),
        })
    }

    /// What RocksDB may take.
    #[must_use]
    pub fn log_sizes(&self) -> LogSizes {
        self.budget.sizes()
    }

    /// The log was opened: it is what purged entries are given back from.
    pub fn set_store(&self, store: &Arc<RocksStore>) {
        *self.store.lock() = Arc::downgrade(store);
    }

    /// The files of a replica that runs.
    pub fn add_shard(&self, shard: ShardId, files: SnapshotFiles, handle: GroupHandle) {
        self.shards.lock().insert(shard, Shard { files, handle });
    }

    /// Whether a snapshot of about `bytes` may be begun.
    #[must_use]
    pub fn admits(&self, bytes: u64) -> bool {
        self.budget.holds(bytes, self.state.lock().used, Space::of(&self.dir))
    }

    /// Whether the snapshot before the newest is kept.
    #[must_use]
    pub fn keeps_two(&self) -> bool {
        let state = self.state.lock();
        state.keeps_two && state.pressure == Pressure::None
    }

    /// Whether what comes from other nodes may be stored.
    #[must_use]
    pub fn takes_snapshots(&self) -> bool {
        self.state.lock().pressure < Pressure::Exceeded
    }

    /// A shard cuts a snapshot after so many bytes of log at the latest.
    #[must_use]
    pub fn log_share(&self) -> u64 {
        self.state.lock().log_share
    }

    /// Figures.
    #[must_use]
    pub fn info(&self) -> DiskInfo {
        let state = self.state.lock();
        DiskInfo {
            budget: self.budget.bytes,
            used: state.used,
            pressure: state.pressure,
            log_share: state.log_share,
            given_up: self.given_up.load(Ordering::Relaxed),
        }
    }

    /// Looks after the disk on a thread of its own until [`NodeDisk::end`].
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn keep(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let disk = self.clone();
        std::thread::Builder::new().name("disk-keeper".into()).spawn(move || {
            let mut ended = disk.ended.lock();
            while !*ended {
                parking_lot::MutexGuard::unlocked(&mut ended, || disk.look());
                if !*ended {
                    disk.end.wait_for(&mut ended, LOOK);
                }
            }
        })
    }

    /// The node ends.
    pub fn end(&self) {
        *self.ended.lock() = true;
        self.end.notify_all();
        // Their files know this disk.
        self.shards.lock().clear();
    }

    /// Measures, and gives up what must be given up.
    pub fn look(&self) {
        let pressure = self.measure_again();
        match pressure {
            Pressure::None => self.make_ballast(),
            Pressure::Near => self.give_up_what_is_covered(),
            Pressure::Exceeded => {
                self.give_up_drafts();
                self.give_up_what_is_covered();
                // Purged entries are given back by writing what is left: that needs space.
                if Space::of(&self.dir).is_some_and(|space| space.free < space.reserve()) {
                    self.release_ballast("the disk is as good as full");
                }
            }
        }
        if pressure > Pressure::None {
            self.shorten_wal();
        }
    }

    fn measure_again(&self) -> Pressure {
        let space = Space::of(&self.dir);
        let (mut used, mut newest, shards) = {
            let shards = self.shards.lock();
            let mut used = Used::default();
            let mut newest = 0;
            for shard in shards.values() {
                let (whole, drafts) = shard.files.bytes();
                used.snapshots += whole;
                used.drafts += drafts;
                newest += shard.files.newest_bytes();
            }
            (used, newest, shards.len())
        };
        if shards == 0 {
            used = snapshots_on_disk(&snapshot_folders(&self.dir));
            newest = used.snapshots;
        }
        used.log = bytes_on_disk(&self.dir.join("log"));
        used.ballast = self.ballast.on_disk();
        let pressure = self.budget.pressure(used, space);
        let share = self.budget.log_share(newest, shards);
        let mut state = self.state.lock();
        if state.pressure != pressure {
            let (budget, free) = (self.budget.bytes, space.map_or(0, |space| space.free));
            match pressure {
                Pressure::None => tracing::info!(budget, ?used, free, "the disk has room again"),
                _ => {
                    let pressure = pressure.name();
                    tracing::warn!(pressure, budget, ?used, free, "the disk budget: what is not needed is given up");
                }
            }
        }
        *state = State {
            used,
            pressure,
            // The log is purged earlier when the budget nears.
            log_share: match pressure {
                Pressure::None => share,
                Pressure::Near => share / 2,
                Pressure::Exceeded => share / 4,
            },
            keeps_two: self.budget.keeps_two(newest),
        };
        pressure
    }

    fn give_up_drafts(&self) {
        for (shard, it) in self.shards.lock().iter() {
            if it.files.give_up_drafts() {
                self.given_up.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%shard, "a snapshot that was being written is given up: there is no room for it");
            }
        }
    }

    /// What a verified snapshot makes superfluous: older ones, then the log.
    fn give_up_what_is_covered(&self) {
        let shards: Vec<_> =
            self.shards.lock().iter().map(|(id, it)| (*id, it.files.clone(), it.handle.clone())).collect();
        for (shard, files, handle) in shards {
            match files.keep_verified_alone() {
                Ok(Some((verified, removed))) => {
                    if removed > 0 {
                        self.given_up.fetch_add(removed, Ordering::Relaxed);
                        tracing::warn!(%shard, index = verified.0, removed, "older snapshots than a verified one are removed");
                    }
                    handle.release_log(verified);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%shard, error, "the newest snapshot does not read whole: what is older stays")
                }
            }
        }
    }

    /// Writes what is in write-ahead files into tables while there is space to do so: the next start has to do it
    /// otherwise.
    fn shorten_wal(&self) {
        let wal = wal_bytes(&self.dir.join("log"));
        let free = Space::of(&self.dir).map_or(0, |space| space.free);
        if wal > self.budget.ballast() / 2 && free > wal + OPEN_BYTES {
            let store = self.store.lock().upgrade();
            if let Some(Err(error)) = store.map(|store| store.flush()) {
                tracing::warn!(%error, "the write-ahead log cannot be shortened");
            }
        }
    }

    fn make_ballast(&self) {
        let room = Space::of(&self.dir).is_some_and(|space| space.free >= space.needed() + self.ballast.bytes);
        if room && self.ballast.on_disk() < self.ballast.bytes / 2 && !self.ballast.failed.load(Ordering::Relaxed) {
            match self.ballast.make() {
                Ok(()) => tracing::info!(bytes = self.ballast.bytes, "the ballast is made"),
                Err(error) => {
                    self.ballast.failed.store(true, Ordering::Relaxed);
                    tracing::warn!(%error, "there is no ballast: a full disk may keep this node from starting");
                }
            }
        }
    }

    fn release_ballast(&self, why: &str) {
        match self.ballast.release() {
            Ok(true) => {
                self.given_up.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(why, bytes = self.ballast.bytes, "the ballast is released");
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the ballast cannot be released"),
        }
    }

    /// Frees what may be freed while no replica runs, so that the log can be opened. `folders`: the shards' snapshots.
    /// True if something was.
    pub fn free_for_a_start(&self, folders: &[SnapshotFolder]) -> bool {
        let mut freed = 0;
        for folder in folders {
            match folder.remove_drafts() {
                Ok(bytes) => freed += bytes,
                Err(error) => tracing::error!(%error, "a draft cannot be removed"),
            }
        }
        for folder in folders {
            match keep_verified_alone(folder, None) {
                Ok(kept) => freed += kept.map_or(0, |(_, removed)| removed),
                Err(error) => tracing::error!(error, "the newest snapshot does not read whole: what is older stays"),
            }
        }
        let had_ballast = self.ballast.on_disk() > 0;
        self.release_ballast("the log needs space to be opened");
        if freed > 0 || had_ballast {
            tracing::warn!(
                freed,
                "the disk is full: drafts, snapshots older than a verified one and the ballast are given up"
            );
        }
        freed > 0 || had_ballast
    }

    /// Whether there is space for the log to be opened: what is in its write-ahead files is written once more then.
    #[must_use]
    pub fn can_open(&self) -> bool {
        let wal = wal_bytes(&self.dir.join("log"));
        Space::of(&self.dir).is_none_or(|space| space.free > wal + OPEN_BYTES.min(space.reserve()))
    }
}

/// Verifies the newest snapshot of a folder, unless it is known to be whole, and removes what is older; gives its
/// position and how many were removed. One that does not read whole is removed itself.
pub(crate) fn keep_verified_alone(
    folder: &SnapshotFolder,
    known: Option<LogIndex>,
) -> Result<Option<(LogIndex, u64)>, String> {
    let text = |error: SnapshotError| error.to_string();
    let list = folder.list().unwrap_or_default();
    let Some((&newest, older)) = list.split_first() else { return Ok(None) };
    if known != Some(newest)
        && let Err(error) = folder.verify(newest)
    {
        // What is damaged takes up space for nothing, unless it is all that is left for a second look.
        if matches!(error, SnapshotError::Damaged { .. }) && !older.is_empty() {
            folder.remove(newest).map_err(text)?;
        }
        return Err(error.to_string());
    }
    for old in older {
        folder.remove(*old).map_err(text)?;
    }
    Ok(Some((newest, older.len() as u64)))
}

/// The folders of all shards that have snapshots here.
pub(crate) fn snapshot_folders(dir: &Path) -> Vec<(ShardId, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(dir.join(snapshots::SNAPSHOTS)) else { return Vec::new() };
    let shard = |entry: std::fs::DirEntry| {
        let number = entry.file_name().to_str()?.strip_prefix(snapshots::SHARD)?.parse().ok()?;
        Some((ShardId(number), entry.path()))
    };
    entries.filter_map(|entry| shard(entry.ok()?)).collect()
}

fn snapshots_on_disk(folders: &[(ShardId, PathBuf)]) -> Used {
    Used { snapshots: folders.iter().map(|(_, path)| bytes_on_disk(path)).sum(), ..Used::default() }
}

fn file_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |file| file.blocks() * 512)
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

struct Ballast {
    path: PathBuf,
    bytes: u64,
    /// The file system cannot reserve space.
    failed: AtomicBool,
}

impl Ballast {
    fn on_disk(&self) -> u64 {
        file_bytes(&self.path)
    }

    /// Takes up the space, for good and not as a promise.
    fn make(&self) -> io::Result<()> {
        let file = File::create(&self.path)?;
        let reserved = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes);
        reserved.map_err(io::Error::from).and_then(|()| file.sync_all()).inspect_err(|_| {
            // What is left of it is of no use, and in the way.
            let _ = std::fs::remove_file(&self.path);
        })
    }

    /// Frees the space; false if there was none.
    fn release(&self) -> io::Result<bool> {
        match std::fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use fastness_consensus::handle::{Committed, CommittedLog, GroupDriver, OwnSnapshot, ReadError, group_pair};
    use fastness_log::{Cipher, MasterKey};
    use fastness_shard::SnapshotStore;
    use fastness_types::{ClusterId, Epoch, GroupId, NodeId};

    use super::*;

    struct NoLog;

    #[async_trait::async_trait]
    impl CommittedLog for NoLog {
        fn read_cached(&self, _: LogIndex, _: LogIndex, _: usize) -> Option<Vec<Committed>> {
            None
        }

        async fn read(&self, _: LogIndex, _: LogIndex, _: usize) -> Result<Vec<Committed>, ReadError> {
            Err(ReadError::Stopped)
        }
    }

    fn folder(dir: &Path) -> SnapshotFolder {
        let cipher = Cipher::new(MasterKey::from_bytes(&[7; 32]));
        let path = dir.join(snapshots::SNAPSHOTS).join("shard-1");
        let folder = SnapshotFolder::open(&path, ClusterId([1; 16]), NodeId(1), GroupId(1), cipher);
        folder.prepare().unwrap();
        folder
    }

    fn until(holds: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < until, "it does not come");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn write(files: &SnapshotFiles, index: u64) {
        let mut sink = files.create(b"head".to_vec());
        sink.push(vec![index as u8; 100_000]);
        sink.finish(LogIndex(index), b"tail".to_vec());
        until(|| sink.finished().is_some());
    }

    fn damage(folder: &SnapshotFolder, index: u64) {
        let path = folder.file(LogIndex(index));
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    fn list(dir: &Path) -> Vec<u64> {
        folder_of(dir).list().unwrap().into_iter().map(|index| index.0).collect()
    }

    /// As it is, without its drafts being touched.
    fn folder_of(dir: &Path) -> SnapshotFolder {
        let cipher = Cipher::new(MasterKey::from_bytes(&[7; 32]));
        let path = dir.join(snapshots::SNAPSHOTS).join("shard-1");
        SnapshotFolder::open(&path, ClusterId([1; 16]), NodeId(1), GroupId(1), cipher)
    }

    /// A node with one shard, and what consensus is told of it.
    fn node(dir: &Path, budget: u64) -> (Arc<NodeDisk>, SnapshotFiles, GroupDriver) {
        let disk = NodeDisk::measure(dir, budget);
        let files = SnapshotFiles::new(folder(dir), Some(disk.clone()));
        let (handle, driver) = group_pair(GroupId(1), Arc::new(NoLog));
        disk.add_shard(ShardId(1), files.clone(), handle);
        (disk, files, driver)
    }

    fn own(index: u64, purge_upto: u64) -> OwnSnapshot {
        let epoch = Epoch { term: 1, node: NodeId(1) };
        OwnSnapshot { index: LogIndex(index), epoch, purge_upto: LogIndex(purge_upto) }
    }

    const ROOMY: u64 = 1 << 40;

    /// Schedule 53.
    #[test]
    fn nothing_older_is_removed_before_the_newest_was_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (_, files, _) = node(dir.path(), ROOMY);
        write(&files, 10);
        write(&files, 20);
        assert_eq!(list(dir.path()), [20, 10], "with room two are kept");
        damage(&folder_of(dir.path()), 20);
        let error = files.keep_verified_alone().unwrap_err();
        assert!(error.contains("its bytes have changed"), "{error}");
        assert_eq!(list(dir.path()), [10], "what is older stays, the damaged one is of no use");
        assert_eq!(files.keep_verified_alone(), Ok(Some((LogIndex(10), 0))));
        write(&files, 30);
        assert_eq!(files.keep_verified_alone(), Ok(Some((LogIndex(30), 1))));
        assert_eq!(list(dir.path()), [30]);
        damage(&folder_of(dir.path()), 30);
        files.keep_verified_alone().expect("it was verified before: it is not read again and again");
        assert_eq!(list(dir.path()), [30], "the last one is never removed");
    }

    #[test]
    fn a_node_over_its_budget_gives_up_drafts_then_old_snapshots_then_the_log_they_cover() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, files, driver) = node(dir.path(), ROOMY);
        write(&files, 10);
        write(&files, 20);
        // The first look makes the ballast, the second finds it.
        disk.look();
        disk.look();
        assert_eq!((disk.info().pressure, disk.info().given_up), (Pressure::None, 0));
        let used = disk.info().used;
        assert!(used.snapshots >= 200_000 && used.drafts == 0 && used.ballast > 0, "{used:?}");
        assert!(disk.admits(1 << 20) && disk.keeps_two());

        let small = tempfile::tempdir().unwrap();
        let copy = small.path().join(snapshots::SNAPSHOTS).join("shard-1");
        std::fs::create_dir_all(&copy).unwrap();
        for index in [10, 20] {
            let from = folder_of(dir.path()).file(LogIndex(index));
            std::fs::copy(&from, copy.join(from.file_name().unwrap())).unwrap();
        }
        drop((disk, files, driver));
        let (disk, files, driver) = node(small.path(), 150_000);
        // Consensus is told of a snapshot by the shard that restores from it.
        let shared = disk.shards.lock();
        shared[&ShardId(1)].handle.report_snapshot(own(20, 0));
        drop(shared);
        let mut sink = files.create(b"head".to_vec());
        sink.push(vec![1; 3 << 20]);
        until(|| files.bytes().1 > 0);
        disk.look();
        assert_eq!(disk.info().pressure, Pressure::Exceeded);
        assert_eq!(list(small.path()), [20], "the one that covers the other was verified");
        assert_eq!(driver.own_snapshot(), Some(own(20, 20)), "and the log up to it is released");
        sink.push(vec![1; 10]);
        until(|| sink.failure().is_some());
        assert!(sink.failure().unwrap().contains("no room"), "{:?}", sink.failure());
        assert_eq!(files.bytes().1, 0, "its draft is removed at once, not when somebody looks");
        assert!(!disk.admits(1 << 20), "and none is begun");
        assert!(!disk.keeps_two());
        assert!(disk.info().given_up >= 2);
        drop(sink);
        // While there is no room a new snapshot takes the place of the one before.
        write(&files, 30);
        assert_eq!(list(small.path()), [30]);
    }

    #[test]
    fn a_start_on_a_full_disk_frees_what_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, files, _) = node(dir.path(), ROOMY);
        write(&files, 10);
        write(&files, 20);
        disk.look();
        let ballast = dir.path().join(BALLAST);
        assert!(file_bytes(&ballast) >= disk.ballast.bytes, "it takes up its space");
        // What a process that was killed has left.
        let path = folder_of(dir.path()).path().to_owned();
        std::fs::write(path.join("writing"), vec![0; 10_000]).unwrap();
        std::fs::write(path.join("receiving-3"), vec![0; 10_000]).unwrap();
        assert!(disk.free_for_a_start(&[folder_of(dir.path())]));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
        assert_eq!(list(dir.path()), [20]);
        assert!(!ballast.exists());
        assert!(!disk.free_for_a_start(&[folder_of(dir.path())]), "nothing is left to be freed");
        assert!(disk.can_open());
        disk.look();
        assert!(ballast.exists(), "once there is room it is made again");
    }

    #[test]
    fn write_ahead_files_are_told_from_others() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("000012.log", 100), ("000013.log", 20), ("LOG", 7), ("old.log", 5), ("000014.sst", 9)] {
            std::fs::write(dir.path().join(name), vec![0; bytes]).unwrap();
        }
        assert_eq!(wal_bytes(dir.path()), 120);
    }
}
