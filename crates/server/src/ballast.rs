//! The ballast: a file that only takes up space, so that there is something to remove on a full disk.
//!
//! It is removed when RocksDB finds no space to open its files or to reclaim purged entries, and made again once there
//! is space: a node whose disk was filled, by itself or by others, can start as long as something of its own can be
//! freed.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::space::Space;

/// The file's name in the node's folder.
pub(crate) const BALLAST: &str = "ballast";

/// See the module.
pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
    /// Reserving space has failed: it is not tried again.
    failed: AtomicBool,
}

impl Ballast {
    /// In the node's folder, of this size once it is made.
    pub(crate) fn new(dir: &Path, bytes: u64) -> Ballast {
        Ballast { path: dir.join(BALLAST), bytes, failed: AtomicBool::new(false) }
    }

    /// The size it has once it is made.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it takes up now.
    pub(crate) fn on_disk(&self) -> u64 {
        bytes_of(&self.path)
    }

    /// Makes it, if it does not exist and there is space beyond what the log needs.
    pub(crate) fn make_if_space(&self, space: Option<Space>) {
        let has_space = space.is_some_and(|space| space.free >= space.needed() + self.bytes);
        if has_space && self.on_disk() < self.bytes / 2 && !self.failed.load(Ordering::Relaxed) {
            match self.make() {
                Ok(()) => tracing::info!(bytes = self.bytes, "ballast file made: it is removed when the disk is full"),
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    tracing::warn!(%error, "cannot reserve the ballast file: a full disk may prevent this node from starting");
                }
            }
        }
    }

    /// Allocates the space, not only the length.
    fn make(&self) -> io::Result<()> {
        let file = File::create(&self.path)?;
        let reserved = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes);
        reserved.map_err(io::Error::from).and_then(|()| file.sync_all()).inspect_err(|_| {
            // An incomplete one is of no use, and takes up space.
            let _ = std::fs::remove_file(&self.path);
        })
    }

    /// Removes it; false if it did not exist.
    pub(crate) fn release(&self, why: &str) -> bool {
        match std::fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::warn!(why, bytes = self.bytes, "ballast file removed");
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::error!(%error, "cannot remove the ballast file");
                false
            }
        }
    }
}

/// Bytes that a file takes up on the disk.
pub(crate) fn bytes_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}
