//! The inputs from which others are made.

use std::path::{Path, PathBuf};

use crate::Target;

/// The folder of a target's files.
#[must_use]
pub fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The names and bytes of a target's files, in the order of their names.
///
/// # Errors
/// A file cannot be read.
pub fn files(target: &Target) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder(target))? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
    }
    files.sort();
    Ok(files)
}

/// All inputs of a target: its valid encodings, and its files.
///
/// # Errors
/// A file cannot be read.
pub fn all(target: &Target) -> std::io::Result<Vec<Vec<u8>>> {
    let mut all = (target.seeds)();
    all.extend(files(target)?.into_iter().map(|(_, bytes)| bytes));
    Ok(all)
}
