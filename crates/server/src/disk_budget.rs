//! One budget for everything that a node writes: the log of all groups with its write-ahead files, the snapshots of all
//! groups, their drafts, and the ballast. What each part may take is decided here and nowhere else;
//! [`crate::disk_monitor`] measures and acts.
//!
//! The option `disk-budget` names it; 0 derives it at the start from the file system: `SHARE_PERCENT` of what is free
//! and of what this node has used already. From it follow:
//!
//! - **RocksDB's sizes** ([`Budget::sizes`]): on a small disk memtables and write-ahead files are small.
//! - **After how much log a shard cuts a snapshot** ([`Budget::log_share`]): the log that is kept, of all shards
//!   together, must fit beside the snapshots, of which each shard has two and a draft, or one and a draft if two do not
//!   fit. Garbage that RocksDB has not given back yet, and what it writes to give it back, are log as well.
//! - **What group 0 takes** is bounded by itself, and is set aside.
//! - **Whether a snapshot may start** ([`Budget::holds`]).
//! - **Whether files must be removed** ([`Budget::pressure`]).
//!
//! Everything here is arithmetic on bytes: nothing is read, nothing is done.

use fastness_types::limits::{CONTROL_LOG_BYTES_MAX, USERS_BYTES_MAX};

use crate::space::Space;

const MIB: u64 = 1 << 20;

/// Of what is free, and used already, a derived budget is this much.
const SHARE_PERCENT: u64 = 80;
/// A node makes do with less only where an option says so.
const BUDGET_BYTES_MIN: u64 = 64 * MIB;
/// Memtables of this size, and the bounds that go with it, are what a node with enough space has.
const MEMTABLE_BYTES: (u64, u64) = (2 * MIB, 32 * MIB);
/// Write-ahead files are this many memtables.
const WAL_MEMTABLES: u64 = 4;
/// The ballast: at most this much, and on small file systems the part of it that [`BALLAST_PART`] says.
const BALLAST_BYTES_MAX: u64 = 64 * MIB;
const BALLAST_PART: u64 = 16;
/// A part of the log that a shard keeps is held so many times: two intervals between snapshots, as much again of what
/// was purged and not given back, and what is written to give it back.
const LOG_COPIES: u64 = 5;
/// Set aside for group 0: its log, held as many times, and three times what its users may take in a snapshot.
const CONTROL_BYTES: u64 = LOG_COPIES * CONTROL_LOG_BYTES_MAX + 3 * USERS_BYTES_MAX as u64;
/// Least log between two snapshots.
const LOG_SHARE_MIN: u64 = MIB;
/// From this part of the budget on the node frees what it need not have, and from this part on it gives up what it can.
const NEAR_PERCENT: u64 = 85;
const EXCEEDED_PERCENT: u64 = 95;

/// What the node has on its disk, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// The log's folder: tables and write-ahead files.
    pub log: u64,
    /// Whole snapshots.
    pub snapshots: u64,
    /// Snapshots that are being written, or received.
    pub drafts: u64,
    /// The ballast.
    pub ballast: u64,
}

impl Used {
    /// All of it.
    #[must_use]
    pub fn total(self) -> u64 {
        self.log + self.snapshots + self.drafts + self.ballast
    }
}

/// How much RocksDB may keep in memory and in write-ahead files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSizes {
    /// One memtable of the log.
    pub memtable: u64,
    /// All write-ahead files.
    pub wal_max: u64,
}

/// How close the node is to its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is enough space.
    None,
    /// What is not needed is removed: snapshots older than a verified one, and the log that the verified one covers.
    Near,
    /// What can be made again is removed as well: drafts.
    Exceeded,
}

impl Pressure {
    /// For humans and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Pressure::None => "none",
            Pressure::Near => "near",
            Pressure::Exceeded => "exceeded",
        }
    }
}

/// What a node may use of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes.
    pub bytes: u64,
    /// Size of the file system, if it is known.
    total: Option<u64>,
}

impl Budget {
    /// What the option says, or what follows from the file system for 0. `used`: what the node has on it already.
    #[must_use]
    pub fn new(option: u64, space: Option<Space>, used: Used) -> Budget {
        let total = space.map(|space| space.total);
        let derived = || space.map_or(u64::MAX / 100, |space| (space.free + used.total()) / 100 * SHARE_PERCENT);
        let bytes = if option == 0 { derived().max(BUDGET_BYTES_MIN) } else { option };
        Budget { bytes, total }
    }

    /// RocksDB's part.
    #[must_use]
    pub fn sizes(&self) -> LogSizes {
        let (least, most) = MEMTABLE_BYTES;
        let memtable = (self.bytes / 64).clamp(least, most);
        LogSizes { memtable, wal_max: WAL_MEMTABLES * memtable }
    }

    /// Size of the ballast.
    #[must_use]
    pub fn ballast(&self) -> u64 {
        let total = self.total.unwrap_or(u64::MAX).min(self.bytes);
        BALLAST_BYTES_MAX.min(total / BALLAST_PART)
    }

    /// What is left for log and snapshots of the shards.
    fn rest(&self) -> u64 {
        self.bytes.saturating_sub(self.ballast() + self.sizes().wal_max + CONTROL_BYTES) / 100 * NEAR_PERCENT
    }

    /// Whether each shard's snapshots, of `snapshots` bytes together if there is one of each, fit twice beside a draft.
    /// If not, the one before the newest is removed as soon as the newest is verified.
    #[must_use]
    pub fn keeps_two(&self, snapshots: u64) -> bool {
        3 * snapshots <= self.rest() / 4 * 3
    }

    /// Bytes of log after which each of `shards` shards cuts a snapshot, at the latest. `snapshots`: as above.
    #[must_use]
    pub fn log_share(&self, snapshots: u64, shards: usize) -> u64 {
        let copies = if self.keeps_two(snapshots) { 3 } else { 2 };
        let rest = self.rest();
        let log = rest.saturating_sub(copies * snapshots).max(rest / 8);
        (log / (LOG_COPIES * shards.max(1) as u64)).max(LOG_SHARE_MIN)
    }

    /// Whether a snapshot of about `bytes` may be started.
    #[must_use]
    pub fn holds(&self, bytes: u64, used: Used, space: Option<Space>) -> bool {
        let after = used.total().saturating_add(bytes);
        let fits = |space: Space| space.free.saturating_sub(space.reserve()) >= bytes;
        after <= self.bytes / 100 * EXCEEDED_PERCENT && space.is_none_or(fits)
    }

    /// Whether something is to be given up.
    #[must_use]
    pub fn pressure(&self, used: Used, space: Option<Space>) -> Pressure {
        let over = |percent: u64| used.total() > self.bytes / 100 * percent;
        let below = |bytes: fn(Space) -> u64| space.is_some_and(|space| space.free < bytes(space));
        match () {
            () if over(EXCEEDED_PERCENT) || below(Space::reserve) => Pressure::Exceeded,
            () if over(NEAR_PERCENT) || below(Space::needed) => Pressure::Near,
            () => Pressure::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn space(free: u64, total: u64) -> Option<Space> {
        Some(Space { free, total })
    }

    #[test]
    fn a_budget_is_what_the_option_says_or_a_share_of_what_there_is() {
        assert_eq!(Budget::new(5 * GIB, space(GIB, GIB), Used::default()).bytes, 5 * GIB);
        let derived = Budget::new(0, space(GIB, 2 * GIB), Used::default()).bytes;
        assert!((799 * GIB / 1000..=800 * GIB / 1000).contains(&derived), "{derived}");
        // What the node has used already is its own: a restart does not shrink the budget.
        let used = Used { log: GIB / 2, ..Used::default() };
        let again = Budget::new(0, space(GIB / 2, 2 * GIB), used).bytes;
        assert_eq!(again, derived);
        assert_eq!(Budget::new(0, space(MIB, GIB), Used::default()).bytes, BUDGET_BYTES_MIN);
        assert!(Budget::new(0, None, Used::default()).bytes > 1 << 50, "nothing is known");
    }

    #[test]
    fn sizes_fit_small_disks_and_are_the_usual_ones_on_others() {
        let sizes = |bytes| Budget::new(bytes, None, Used::default()).sizes();
        assert_eq!(sizes(100 * GIB), LogSizes { memtable: 32 * MIB, wal_max: 128 * MIB });
        assert_eq!(sizes(800 * MIB), LogSizes { memtable: 25 * MIB / 2, wal_max: 50 * MIB });
        assert_eq!(sizes(64 * MIB).memtable, 2 * MIB);
        // What is in the write-ahead files has to be written once more before anything is served: the ballast makes
        // room for it.
        let small = Budget::new(0, space(GIB, GIB), Used::default());
        assert!(small.ballast() <= GIB / 16 && small.ballast() + MIB >= small.sizes().wal_max, "{small:?}");
        assert_eq!(Budget::new(0, space(100 * GIB, 100 * GIB), Used::default()).ballast(), BALLAST_BYTES_MAX);
    }

    /// Everything that is on the disk at once, at the worst moment, fits: three shards on 1 GiB with 99 MB of data.
    #[test]
    fn snapshots_and_log_of_all_shards_fit_together() {
        for (total, data, shards) in
            [(GIB, 99 * MIB, 3), (GIB, 99 * MIB, 1), (256 * MIB, 24 * MIB, 3), (100 * GIB, 20 * GIB, 16)]
        {
            let budget = Budget::new(0, space(total, total), Used::default());
            let share = budget.log_share(data, shards);
            let kept = if budget.keeps_two(data) { 2 } else { 1 };
            let worst =
                (kept + 1) * data + LOG_COPIES * share * shards as u64 + budget.sizes().wal_max + budget.ballast();
            let worst = worst + CONTROL_BYTES;
            assert!(worst <= budget.bytes, "{worst} of {budget:?}: share {share}, {kept} kept, of {shards} shards");
            assert!(share >= data / shards as u64 / 4, "snapshots write {data} for {share} of log");
        }
    }

    #[test]
    fn more_data_leaves_less_log_and_in_the_end_one_snapshot_instead_of_two() {
        let budget = Budget::new(800 * MIB, None, Used::default());
        let shares: Vec<u64> = [0, 50, 100, 150, 250].map(|mib| budget.log_share(mib * MIB, 3)).to_vec();
        assert!(shares[0] > shares[1] && shares[1] > shares[2], "{shares:?}");
        assert!(shares.iter().all(|share| *share >= LOG_SHARE_MIN), "{shares:?}");
        assert!(budget.keeps_two(100 * MIB) && !budget.keeps_two(250 * MIB));
        assert!(budget.log_share(10 * GIB, 3) >= LOG_SHARE_MIN, "even without any space");
    }

    #[test]
    fn pressure_comes_from_the_budget_or_from_the_file_system() {
        let budget = Budget::new(1000 * MIB, None, Used::default());
        let used = |mib| Used { log: mib * MIB, ..Used::default() };
        assert_eq!(budget.pressure(used(800), None), Pressure::None);
        assert_eq!(budget.pressure(used(900), None), Pressure::Near);
        assert_eq!(budget.pressure(used(960), None), Pressure::Exceeded);
        // Somebody else fills the disk.
        assert_eq!(budget.pressure(used(1), space(50 * GIB, 100 * GIB)), Pressure::None);
        assert_eq!(budget.pressure(used(1), space(200 * MIB, 100 * GIB)), Pressure::Near);
        assert_eq!(budget.pressure(used(1), space(10 * MIB, 100 * GIB)), Pressure::Exceeded);
    }

    #[test]
    fn a_snapshot_that_would_not_fit_is_not_begun() {
        let budget = Budget::new(1000 * MIB, None, Used::default());
        let used = Used { log: 300 * MIB, snapshots: 400 * MIB, ..Used::default() };
        assert!(budget.holds(200 * MIB, used, None));
        assert!(!budget.holds(300 * MIB, used, None));
        assert!(!budget.holds(200 * MIB, used, space(210 * MIB, 10 * GIB)), "the file system does not hold it");
        assert!(budget.holds(200 * MIB, used, space(400 * MIB, 10 * GIB)));
    }
}
