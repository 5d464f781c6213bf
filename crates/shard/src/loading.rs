//! The progress of a restore, for `loading_…` in INFO and for metrics.
//!
//! The size of a snapshot is known before it is read. For the log only the number of remaining entries is known; their
//! size is estimated from the entries read so far. Before the first entry is read, the log counts as 0 bytes, so the
//! total grows when the restore reaches the log.

use std::time::Duration;

use fastness_types::{BootNs, WallMs};

/// The progress of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadInfo {
    /// When it started.
    pub began: WallMs,
    /// Bytes of snapshot and log; estimated, see the module.
    pub total_bytes: u64,
    /// Bytes read so far.
    pub loaded_bytes: u64,
    /// Estimated remaining time at the speed so far; `None`: nothing was read yet.
    pub left: Option<Duration>,
}

/// The restore that is running, or the last one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loading {
    began: BootNs,
    began_wall: WallMs,
    /// Announced size of the snapshot, in bytes.
    snapshot_bytes: u64,
    snapshot_read: u64,
    log_read: u64,
    entries_read: u64,
}

impl Loading {
    pub(crate) fn new(began: BootNs, began_wall: WallMs) -> Loading {
        Loading { began, began_wall, snapshot_bytes: 0, snapshot_read: 0, log_read: 0, entries_read: 0 }
    }

    pub(crate) fn expect_snapshot(&mut self, bytes: u64) {
        self.snapshot_bytes = bytes;
    }

    pub(crate) fn read_chunk(&mut self, bytes: usize) {
        self.snapshot_read += bytes as u64;
    }

    /// Records that the snapshot has no more chunks, whatever its announced size.
    pub(crate) fn end_snapshot(&mut self) {
        self.snapshot_bytes = self.snapshot_read;
    }

    pub(crate) fn read_entry(&mut self, bytes: usize) {
        self.log_read += bytes as u64;
        self.entries_read += 1;
    }

    pub(crate) fn info(&self, now: BootNs, entries_left: u64) -> LoadInfo {
        let log_left = u128::from(self.log_read) * u128::from(entries_left) / u128::from(self.entries_read.max(1));
        let loaded_bytes = self.snapshot_read + self.log_read;
        let total_bytes = self.snapshot_bytes.max(self.snapshot_read) + self.log_read + log_left as u64;
        let left = |loaded: u64| now.since(self.began).mul_f64((total_bytes - loaded) as f64 / loaded as f64);
        let left = (loaded_bytes > 0).then(|| left(loaded_bytes));
        LoadInfo { began: self.began_wall, total_bytes, loaded_bytes, left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_and_the_log_after_it() {
        let at = |seconds: u64| BootNs((10 + seconds) * 1_000_000_000);
        let mut loading = Loading::new(at(0), WallMs(5));
        let info = |loading: &Loading, seconds, left| {
            let info = loading.info(at(seconds), left);
            (info.loaded_bytes, info.total_bytes, info.left.map(|left| left.as_secs()))
        };
        assert_eq!(info(&loading, 1, 0), (0, 0, None));
        loading.expect_snapshot(1_000);
        assert_eq!(info(&loading, 1, 0), (0, 1_000, None));
        loading.read_chunk(200);
        assert_eq!(info(&loading, 2, 0), (200, 1_000, Some(8)));
        loading.read_chunk(790);
        loading.end_snapshot();
        assert_eq!(info(&loading, 3, 9), (990, 990, Some(0)), "the size of the log is not known yet");
        loading.read_entry(10);
        loading.read_entry(30);
        assert_eq!(info(&loading, 4, 7), (1_030, 1_170, Some(0)));
        assert_eq!(info(&loading, 4, 0), (1_030, 1_030, Some(0)));
        assert_eq!(loading.info(at(4), 0).began, WallMs(5));
    }
}
