//! Checks RocksDB's list of its own files before RocksDB reads it.
//!
//! RocksDB's own check is not enough:
//! - Its reader takes a damaged length near the end of the file for a torn end. That would restore an older state of
//!   the tables, whose write-ahead files are already deleted.
//! - Some bytes of the manifest, when changed, make its recovery loop forever (without this check `tests/damage.rs`
//!   does not finish).
//! - It does not name a missing `CURRENT` file.
//!
//! The manifest has the format of a write-ahead file (`wal.rs`), and each edit is synced before anything relies on it.
//! So the same rules apply: a torn last edit is cut off, any other damage is refused.

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::StoreError;
use crate::wal::{Finding, cut, damaged, examine};

const CURRENT: &str = "CURRENT";

/// Checks the manifest of a database directory that no process has open. A new directory has none.
pub(crate) fn check(dir: &Path, machine_crashed: bool) -> Result<(), StoreError> {
    let Some(manifest) = named(dir)? else { return Ok(()) };
    let bytes = fs::read(&manifest).map_err(|error| StoreError::of(&manifest, &error))?;
    match examine(&bytes, machine_crashed) {
        Finding::Clean => Ok(()),
        Finding::Torn { at } => {
            let file = manifest.display();
            tracing::warn!(%file, at, "cut off the last edit of the store's manifest, which a crash has torn; nothing relied on it");
            cut(&manifest, at as u64).map_err(|error| StoreError::of(&manifest, &error))
        }
        Finding::Damaged { at, why } => Err(damaged(&manifest, at, why)),
    }
}

/// The manifest that `CURRENT` names.
fn named(dir: &Path) -> Result<Option<PathBuf>, StoreError> {
    let current = dir.join(CURRENT);
    let corrupt =
        |detail: &str| StoreError::Corrupt { place: current.display().to_string(), detail: detail.to_owned() };
    let name = match fs::read(&current) {
        Ok(name) => name,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let has_data = holds_data(dir).map_err(|error| StoreError::of(dir, &error))?;
            return if has_data {
                Err(corrupt("the file is missing, although the directory has data"))
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(StoreError::of(&current, &error)),
    };
    let name = std::str::from_utf8(&name).ok().and_then(|name| name.strip_suffix('\n'));
    let manifest = name.filter(|name| name.starts_with("MANIFEST-") && !name.contains('/')).map(|name| dir.join(name));
    let manifest = manifest.ok_or_else(|| corrupt("at byte 0: it does not name a manifest"))?;
    if manifest.is_file() { Ok(Some(manifest)) } else { Err(corrupt("at byte 0: it names a file that does not exist")) }
}

/// Whether the directory has tables or write-ahead files. (A first start that was interrupted may leave a manifest
/// only.)
fn holds_data(dir: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sst" || extension == "log") {
            return Ok(true);
        }
    }
    Ok(false)
}
