//! The ordered store on RocksDB.
//!
//! - Both families share one write-ahead log; a synced write is one fdatasync of it. Files are never recycled, because
//!   old records after the end would make a torn tail look like data.
//! - Before RocksDB opens the directory, the write-ahead log and the manifest are checked, and a torn end is cut off
//!   (`wal.rs`, `manifest.rs`). RocksDB then recovers in the mode that refuses any other invalid record.
//! - `log` has no compression (its data is encrypted) and no automatic compaction. Its files are written once, with
//!   direct I/O, and compacted after a large part of them was purged ([`OrderedStore::reclaim`]).
//! - `meta` is small and compacted as usual. Its memtable would keep old write-ahead files alive; `wal_bytes_max`
//!   bounds that.
//! - The directory is locked for the life of the store.
//!
//! Files besides RocksDB's own: `store.lock`, and `boot-id`, the machine's boot id at the last start, replaced
//! atomically. The boot id differs after a machine crash (and after an orderly reboot, which leaves nothing torn).

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, CompactOptions, DB, DBCompressionType, DBRecoveryMode, ErrorKind,
    IteratorMode, LogLevel, Options, ReadOptions, WriteBatch as RocksBatch, WriteOptions,
};

use crate::store::{Family, KeyRange, KeyValue, OrderedStore, StoreError, Visitor, WriteBatch, WriteOp};
use crate::wal::{self, WalState};
use crate::{folder, manifest};

/// States of the compaction that reclaims the space of deleted keys.
const IDLE: u8 = 0;
const RUNNING: u8 = 1;
/// Requested but not started.
const AGAIN: u8 = 2;

const MIB: usize = 1024 * 1024;
const BOOT_FILE: &str = "boot-id";
const LOCK_FILE: &str = "store.lock";

/// Options of the store.
#[derive(Debug, Clone)]
pub struct RocksOptions {
    /// Directory of the store; created if it does not exist.
    pub dir: PathBuf,
    /// The machine's boot id; `None` reads it from the system.
    pub boot_id: Option<String>,
    /// Size of one memtable of the log, in bytes. Up to four exist while flushes are pending.
    pub memtable_bytes: usize,
    /// Bound of the write-ahead files, in bytes; at it memtables are flushed.
    pub wal_bytes_max: u64,
    /// Bound of the files kept open.
    pub open_files_max: i32,
}

impl RocksOptions {
    /// The defaults: at most 128 MiB of memtables per node.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> RocksOptions {
        RocksOptions {
            dir: dir.into(),
            boot_id: None,
            memtable_bytes: 32 * MIB,
            wal_bytes_max: 160 * MIB as u64,
            open_files_max: 512,
        }
    }
}

/// The store in one directory.
pub struct RocksStore {
    db: Arc<DB>,
    dir: PathBuf,
    reclaiming: Arc<AtomicU8>,
    reclaimer: Mutex<Option<JoinHandle<()>>>,
    /// Released last; `None` if the store is read-only.
    _lock: Option<File>,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl RocksStore {
    /// Opens the store, or creates a new one in an empty directory.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it open; [`StoreError::Corrupt`] with file and position if the
    /// files are damaged in any way that a torn, never acknowledged last batch cannot explain.
    pub fn open(options: &RocksOptions) -> Result<Arc<RocksStore>, StoreError> {
        let dir = &options.dir;
        let io = |error: std::io::Error| StoreError::of(dir, &error);
        folder::create_durably(dir).map_err(io)?;
        let lock = lock(dir)?;
        let boot_id = match &options.boot_id {
            Some(boot_id) => boot_id.clone(),
            None => machine_boot_id().map_err(io)?,
        };
        let known = read_boot_id(dir).map_err(io)?;
        let crashed = known.as_ref().is_some_and(|known| *known != boot_id);
        manifest::check(dir, crashed)?;
        if let WalState::Cut { file, at, bytes } = wal::check(dir, crashed)? {
            let file = file.display();
            tracing::warn!(%file, at, bytes, crashed, "cut off the last write batch, which a crash has torn; it was never acknowledged");
        }
        if known.is_none() {
            // A new store. The boot id is written before the store's first write, so that a first crash can be
            // distinguished from a restart. (A store that has lost this file is treated as not crashed, which is the
            // stricter way.)
            write_boot_id(dir, &boot_id).map_err(io)?;
        }
        let families = [Family::Log, Family::Meta].map(|family| (family.name(), family_options(family, options)));
        let db = DB::open_cf_with_opts(&database_options(options), dir, families).map_err(|e| store_error(dir, &e))?;
        if known.is_some_and(|known| known != boot_id) {
            // After recovery, so that a crash during recovery cuts again.
            write_boot_id(dir, &boot_id).map_err(io)?;
        }
        Ok(Arc::new(RocksStore {
            db: Arc::new(db),
            dir: dir.clone(),
            reclaiming: Arc::new(AtomicU8::new(IDLE)),
            reclaimer: Mutex::new(None),
            _lock: Some(lock),
        }))
    }

    /// Opens a store for reading, also while another process has it open; later writes of that process are not seen.
    /// Changes nothing, not even a torn end; writes fail.
    ///
    /// # Errors
    /// The store is damaged, or some of its files were replaced meanwhile.
    pub fn open_read_only(options: &RocksOptions) -> Result<Arc<RocksStore>, StoreError> {
        let dir = &options.dir;
        let mut database = Options::default();
        database.set_max_open_files(options.open_files_max);
        let families = [Family::Log, Family::Meta].map(|family| (family.name(), family_options(family, options)));
        let db = DB::open_cf_with_opts_for_read_only(&database, dir, families, false);
        Ok(Arc::new(RocksStore {
            db: Arc::new(db.map_err(|e| store_error(dir, &e))?),
            dir: dir.clone(),
            reclaiming: Arc::new(AtomicU8::new(IDLE)),
            reclaimer: Mutex::new(None),
            _lock: None,
        }))
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        family_of(&self.db, family)
    }

    fn error(&self, error: &rocksdb::Error) -> StoreError {
        store_error(&self.dir, error)
    }

    /// Whether a compaction that [`OrderedStore::reclaim`] has started is running.
    #[must_use]
    pub fn is_reclaiming(&self) -> bool {
        self.reclaiming.load(Ordering::Acquire) != IDLE
    }

    /// Flushes memtables into files. Not needed for durability.
    ///
    /// # Errors
    /// Writing failed.
    pub fn flush(&self) -> Result<(), StoreError> {
        for family in [Family::Log, Family::Meta] {
            self.db.flush_cf(self.family(family)).map_err(|e| self.error(&e))?;
        }
        Ok(())
    }
}

impl RocksStore {
    /// Rewrites files so that overwritten values of the `meta` family are no longer in them: flushes all memtables,
    /// after which RocksDB removes the write-ahead files, and compacts the family, which is small. Writes continue
    /// meanwhile.
    ///
    /// # Errors
    /// Writing failed.
    pub fn forget_overwritten(&self) -> Result<(), StoreError> {
        self.flush()?;
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        // Also of the last level, whose files would otherwise stay as they are.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(self.family(Family::Meta), None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }
}

fn family_of(db: &DB, family: Family) -> &ColumnFamily {
    db.cf_handle(family.name()).expect("both families are opened with the database")
}

/// Locks the directory for the life of the store. The lock is taken before the files are examined, because the last
/// batch of a running process must not be taken for a torn one; RocksDB takes its own lock later.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let place = dir.display().to_string();
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE));
    let file = file.map_err(|error| StoreError::of(dir, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { place, detail: "the store is locked".into() }),
        Err(TryLockError::Error(error)) => Err(StoreError::of(dir, &error)),
    }
}

/// The machine's boot id, which changes with every start of its kernel.
///
/// # Errors
/// The system does not provide it.
pub fn machine_boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_string())
}

fn read_boot_id(dir: &Path) -> std::io::Result<Option<String>> {
    match std::fs::read_to_string(dir.join(BOOT_FILE)) {
        Ok(text) => Ok(Some(text.trim().to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_boot_id(dir: &Path, boot_id: &str) -> std::io::Result<()> {
    let new = dir.join("boot-id.new");
    let mut file = File::create(&new)?;
    writeln!(file, "{boot_id}")?;
    file.sync_all()?;
    std::fs::rename(&new, dir.join(BOOT_FILE))?;
    File::open(dir)?.sync_all()
}

fn database_options(options: &RocksOptions) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    db.set_recycle_log_file_num(0);
    db.set_max_total_wal_size(options.wal_bytes_max);
    db.set_use_direct_io_for_flush_and_compaction(supports_direct_io(&options.dir));
    db.set_max_background_jobs(2);
    db.set_max_open_files(options.open_files_max);
    db.set_skip_stats_update_on_db_open(true);
    db.set_stats_dump_period_sec(0);
    db.set_log_level(LogLevel::Warn);
    db.set_max_log_file_size(MIB);
    db.set_keep_log_file_num(2);
    db
}

fn family_options(family: Family, options: &RocksOptions) -> Options {
    let mut cf = Options::default();
    cf.set_compression_type(DBCompressionType::None);
    match family {
        Family::Log => {
            cf.set_write_buffer_size(options.memtable_bytes);
            cf.set_max_write_buffer_number(4);
            cf.set_disable_auto_compactions(true);
        }
        Family::Meta => cf.set_write_buffer_size(4 * MIB),
    }
    cf
}

/// Whether files in this directory can be opened for direct I/O (a file system in memory refuses).
#[cfg(target_os = "linux")]
fn supports_direct_io(dir: &Path) -> bool {
    use rustix::fs::{Mode, OFlags};
    let probe = dir.join("direct-io.probe");
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT;
    let opened = rustix::fs::open(&probe, flags, Mode::RUSR | Mode::WUSR).is_ok();
    // A probe file that could not be removed is empty, and is used again.
    let _ = std::fs::remove_file(&probe);
    opened
}

#[cfg(not(target_os = "linux"))]
fn supports_direct_io(_: &Path) -> bool {
    false
}

fn store_error(dir: &Path, error: &rocksdb::Error) -> StoreError {
    let place = dir.display().to_string();
    let detail = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => StoreError::Corrupt { place, detail },
        _ if detail.contains("No space left") => StoreError::NoSpace { place, detail },
        _ if detail.contains("lock hold") || detail.contains("While lock file") => StoreError::Locked { place, detail },
        _ => StoreError::Io { place, detail },
    }
}

fn read_options(range: &KeyRange) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(range.to.clone());
    options.set_iterate_lower_bound(range.from.clone());
    options.fill_cache(false);
    options
}

impl OrderedStore for RocksStore {
    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut rocks = RocksBatch::with_capacity_bytes(batch.size_bytes() + 32 * batch.ops.len());
        for op in &batch.ops {
            match op {
                WriteOp::Put { family, key, value } => rocks.put_cf(self.family(*family), key, value),
                WriteOp::Delete { family, key } => rocks.delete_cf(self.family(*family), key),
                WriteOp::DeleteRange { family, from, to } => {
                    rocks.delete_range_cf(self.family(*family), from.as_slice(), to.as_slice());
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(rocks, &options).map_err(|e| self.error(&e))
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(family), key).map_err(|e| self.error(&e))
    }

    fn scan(&self, family: Family, range: &KeyRange, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        if range.from >= range.to {
            return Ok(());
        }
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(family), read_options(range));
        iterator.seek(&range.from);
        while let Some((key, value)) = iterator.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.error(&e))
    }

    fn last(&self, family: Family, range: &KeyRange) -> Result<Option<KeyValue>, StoreError> {
        if range.from >= range.to {
            return Ok(None);
        }
        let mut iterator = self.db.iterator_cf_opt(self.family(family), read_options(range), IteratorMode::End);
        let last = iterator.next().transpose().map_err(|e| self.error(&e))?;
        Ok(last.map(|(key, value)| (key.into_vec(), value.into_vec())))
    }

    fn reclaim(&self, family: Family) {
        // A compaction that is running has read its list of files already; another run after it reclaims what was
        // deleted since.
        if self.reclaiming.swap(AGAIN, Ordering::AcqRel) != IDLE {
            return;
        }
        let (db, state) = (self.db.clone(), self.reclaiming.clone());
        let work = move || {
            while state.swap(RUNNING, Ordering::AcqRel) == AGAIN {
                // Rewrites what remains of the files that overlap the deleted ranges; writes continue meanwhile.
                let mut options = CompactOptions::default();
                options.set_exclusive_manual_compaction(false);
                db.compact_range_cf_opt(family_of(&db, family), None::<&[u8]>, None::<&[u8]>, &options);
                if state.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return;
                }
            }
        };
        match std::thread::Builder::new().name("log-reclaim".into()).spawn(work) {
            // The previous thread has cleared the flag, so it has finished.
            Ok(thread) => *self.reclaimer.lock() = Some(thread),
            Err(error) => {
                tracing::warn!(%error, "cannot start the compaction that frees the space of purged entries; the next purge tries again");
                self.reclaiming.store(IDLE, Ordering::Release);
            }
        }
    }

    fn place(&self) -> String {
        self.dir.display().to_string()
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.db.cancel_all_background_work(true);
        if let Some(thread) = self.reclaimer.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the log's compaction thread has panicked; the space of purged entries may not be freed");
        }
    }
}
