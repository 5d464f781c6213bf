//! Wall clocks of single nodes that jump, by libfaketime; the machine's clock is never touched.
//!
//! Each node reads how far its wall clock is off out of a file in its own folder, once a second. Monotonic and boot
//! clocks are left alone, which is also how a real clock that is set behaves.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::chaos::sandbox;

/// The file, in the folder that a node runs in.
const FILE: &str = "clock";
/// Where distributions put the library.
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
    // The library leaves shared memory behind for each process that is killed.
    sandbox::lacking()
}

/// The library.
#[derive(Debug)]
pub(super) struct Faketime {
    library: PathBuf,
}

impl Faketime {
    pub(super) fn find() -> Result<Faketime> {
        ensure!(sandbox::is_inside(), "clocks are set in a sandbox alone");
        let mut places = PLACES.iter().map(|place| Path::new(place).join(LIBRARY));
        let library = places.find(|library| library.exists());
        Ok(Faketime { library: library.context("no libfaketime (deploy/setup/system.sh test installs it)")? })
    }

    pub(super) fn preload(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            // In a process without this file nothing is changed.
            .env("FAKETIME_TIMESTAMP_FILE", FILE)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// Sets how far the wall clock of the node that runs in `folder` is ahead of the machine's.
pub(super) fn set_ahead(folder: &Path, ahead_s: i64) -> Result<()> {
    // Never half a file: the node may look at any time.
    let part = folder.join(format!(".{FILE}.part"));
    std::fs::write(&part, format!("{ahead_s:+}\n"))?;
    Ok(std::fs::rename(part, folder.join(FILE))?)
}
