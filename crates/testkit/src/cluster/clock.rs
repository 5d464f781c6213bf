//! Wall clocks of single nodes that jump, by libfaketime; the clock of the machine is never changed.
//!
//! Each node reads the offset of its wall clock from a file in its own folder, once a second. Monotonic and boot clocks
//! are not affected, as when a real clock is set.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::chaos::sandbox;

/// The file, in the folder that a node runs in.
const FILE: &str = "clock";
/// Folders where distributions install the library.
const PLACES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
];
const LIBRARY: &str = "libfaketimeMT.so.1";

/// Why no clock can be set here; `None` if one can.
#[must_use]
pub fn lacking() -> Option<String> {
    // The library leaves shared memory behind for each killed process.
    sandbox::lacking()
}

/// The library.
#[derive(Debug)]
pub(super) struct Faketime {
    library: PathBuf,
}

impl Faketime {
    pub(super) fn find() -> Result<Faketime> {
        ensure!(sandbox::is_inside(), "clocks are set only in a sandbox");
        let mut places = PLACES.iter().map(|place| Path::new(place).join(LIBRARY));
        let library = places.find(|library| library.exists());
        Ok(Faketime { library: library.context("no libfaketime (deploy/setup/system.sh test installs it)")? })
    }

    pub(super) fn preload(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            // Without this file nothing changes in a process.
            .env("FAKETIME_TIMESTAMP_FILE", FILE)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// Sets how far the wall clock of the node that runs in `folder` is ahead of the machine's.
pub(super) fn set_ahead(folder: &Path, ahead_s: i64) -> Result<()> {
    // Replaced atomically: the node may read the file at any time.
    let part = folder.join(format!(".{FILE}.part"));
    std::fs::write(&part, format!("{ahead_s:+}\n"))?;
    Ok(std::fs::rename(part, folder.join(FILE))?)
}
