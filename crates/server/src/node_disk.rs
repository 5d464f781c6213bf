//! What the node may use of its disk and what it uses, as measured last. Snapshots and replicas ask here before they
//! write; [`crate::disk_monitor`] measures and keeps this up to date.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fastness_events::{Event, Events};
use parking_lot::Mutex;

use crate::disk_budget::{Budget, LogSizes, Pressure, Used};
use crate::space::Space;

/// Disk usage and its bounds, for INFO and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskInfo {
    /// The budget, bytes.
    pub budget: u64,
    /// What each part takes.
    pub used: Used,
    /// How close usage is to the budget.
    pub pressure: Pressure,
    /// A shard makes a snapshot after this many bytes of log at the latest.
    pub log_share: u64,
    /// Drafts, snapshots and ballasts removed to free space since the start.
    pub given_up: u64,
}

/// The newest measurement, and what follows from it.
struct Measured {
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
    events: Events,
    measured: Mutex<Measured>,
    given_up: AtomicU64,
}

impl std::fmt::Debug for NodeDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeDisk").field("dir", &self.dir).field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl NodeDisk {
    /// The disk that holds this folder, of which the node uses `used` already.
    #[must_use]
    pub fn new(dir: &Path, budget: Budget, used: Used, events: Events) -> NodeDisk {
        let measured = Measured {
            used,
            pressure: Pressure::None,
            log_share: budget.log_share(used.snapshots, 1),
            keeps_two: budget.keeps_two(used.snapshots),
        };
        NodeDisk { dir: dir.to_owned(), budget, events, measured: Mutex::new(measured), given_up: AtomicU64::new(0) }
    }

    /// The node's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the node may use.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What RocksDB may use.
    #[must_use]
    pub fn log_sizes(&self) -> LogSizes {
        self.budget.sizes()
    }

    /// Free and total space of the file system, if known.
    #[must_use]
    pub fn space(&self) -> Option<Space> {
        Space::of(&self.dir)
    }

    /// Whether a snapshot of about `bytes` may be started.
    #[must_use]
    pub fn admits(&self, bytes: u64) -> bool {
        self.budget.holds(bytes, self.measured.lock().used, self.space())
    }

    /// Whether the snapshot before the newest is kept.
    #[must_use]
    pub fn keeps_two(&self) -> bool {
        let measured = self.measured.lock();
        measured.keeps_two && measured.pressure == Pressure::None
    }

    /// Whether snapshots from other nodes may be stored.
    #[must_use]
    pub fn takes_snapshots(&self) -> bool {
        self.measured.lock().pressure < Pressure::Exceeded
    }

    /// A shard makes a snapshot after this many bytes of log at the latest.
    #[must_use]
    pub fn log_share(&self) -> u64 {
        self.measured.lock().log_share
    }

    /// Figures.
    #[must_use]
    pub fn info(&self) -> DiskInfo {
        let measured = self.measured.lock();
        DiskInfo {
            budget: self.budget.bytes,
            used: measured.used,
            pressure: measured.pressure,
            log_share: measured.log_share,
            given_up: self.given_up.load(Ordering::Relaxed),
        }
    }

    /// Records a measurement; returns the pressure that follows from it. `newest`: bytes of the newest snapshots of
    /// `shards` shards together.
    pub(crate) fn record(&self, used: Used, newest: u64, shards: usize) -> Pressure {
        let space = self.space();
        let pressure = self.budget.pressure(used, space);
        let share = self.budget.log_share(newest, shards);
        let mut measured = self.measured.lock();
        if measured.pressure != pressure {
            let (budget_bytes, free_bytes) = (self.budget.bytes, space.map_or(0, |space| space.free));
            let used_bytes = used.total();
            self.events.record(match pressure {
                Pressure::None => Event::DiskWithinBudget { budget_bytes, used_bytes, free_bytes },
                _ => Event::DiskPressure { pressure: pressure.name(), budget_bytes, used_bytes, free_bytes },
            });
        }
        *measured = Measured {
            used,
            pressure,
            // The log is purged earlier as usage approaches the budget.
            log_share: match pressure {
                Pressure::None => share,
                Pressure::Near => share / 2,
                Pressure::Exceeded => share / 4,
            },
            keeps_two: self.budget.keeps_two(newest),
        };
        pressure
    }

    /// Counts files that were removed to free space.
    pub(crate) fn count_given_up(&self, files: u64) {
        self.given_up.fetch_add(files, Ordering::Relaxed);
    }
}
