//! A full disk: how much is free where the log is, and waiting until it is enough.
//!
//! A log that has met a full disk is not written to again until it is reopened. Once there is space the node restarts:
//! it opens, checks and recovers its log, as after any other end.

use std::path::Path;
use std::time::Duration;

/// Enough to open a log: what was in memory is written out then.
const NEEDED_BYTES_MAX: u64 = 256 << 20;
/// Of a small file system a part is enough.
const NEEDED_PART: u64 = 10;
/// Time between two checks.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Checks between two log messages.
const LOG_EVERY: u32 = 30;

/// A file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What processes without root privileges can use.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

impl Space {
    /// Of the file system that the folder is on; `None` if the system does not report it.
    #[must_use]
    pub fn of(folder: &Path) -> Option<Space> {
        let found = rustix::fs::statvfs(folder).ok()?;
        Some(Space { free: found.f_bavail * found.f_frsize, total: found.f_blocks * found.f_frsize })
    }

    /// How much must be free for a log to be opened.
    #[must_use]
    pub fn needed(self) -> u64 {
        NEEDED_BYTES_MAX.min(self.total / NEEDED_PART)
    }

    /// Below this much free space the disk counts as full: everything that can be spared is removed.
    #[must_use]
    pub fn reserve(self) -> u64 {
        self.needed() / 4
    }

    fn suffices(self) -> bool {
        self.free >= self.needed()
    }
}

/// Resolves once there is enough, and no command says that there is none.
pub async fn until_there_is(folder: &Path, refused_by_command: impl Fn() -> bool) {
    for check in 0u32.. {
        let space = Space::of(folder);
        let by_command = refused_by_command();
        if !by_command && space.is_none_or(Space::suffices) {
            tracing::warn!(folder = %folder.display(), "there is space again: the node restarts");
            return;
        }
        if check.is_multiple_of(LOG_EVERY) {
            let folder = folder.display();
            if by_command {
                tracing::error!(%folder, "LAB: the disk is full by an injected fault; the node waits until it is removed");
            } else if let Some(space) = space {
                let (free, needed) = (space.free, space.needed());
                tracing::error!(%folder, free, needed, "the disk is full; the node restarts by itself once `needed` bytes are free");
            }
        }
        tokio::time::sleep(CHECK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_small_disk_and_a_fixed_amount_of_a_large_one() {
        let space = |free, total| Space { free, total };
        assert!(!space(9, 100).suffices() && space(10, 100).suffices());
        assert_eq!(space(0, 1 << 40).needed(), NEEDED_BYTES_MAX);
    }

    #[test]
    fn the_system_tells() {
        let space = Space::of(Path::new("/")).unwrap();
        assert!(space.total > 0 && space.free <= space.total);
    }

    #[tokio::test]
    async fn a_command_alone_can_say_that_there_is_none() {
        let dir = std::env::temp_dir();
        let refused = until_there_is(&dir, || true);
        assert!(tokio::time::timeout(Duration::from_millis(50), refused).await.is_err());
    }
}
