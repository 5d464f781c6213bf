//! The ledger of long runs: what was tested, for how long, at which commit, and with which result.
//!
//! `tests/ledger.jsonl` has one row for each run, and `tests/LEDGER.md` is generated from it (`make ledger`). Rules:
//!
//! - Only the tools that run write rows, with [`append`]. Each row has a checksum over itself and the row before it, so
//!   that a row that was edited, moved, or removed from the middle is found (`tests/proof.rs`). The page has the number
//!   of rows and the last checksum, so that a row removed from the end is found, too.
//! - [`counts`] decides whether a row counts when it is written, and the row contains the result and the reason. The
//!   page sums only rows that count. A run that found something counts like any other: a row that does not count cannot
//!   compensate for a loss.
//! - An unknown figure is null, never 0.
//!
//! `FASTNESS_LEDGER` names another file, for runs that should not be in the project's ledger.

mod chain;
mod checkout;
mod page;
mod row;
mod rules;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

pub use chain::{Sealed, check};
pub use checkout::{Checkout, is_same_code, project};
pub use page::page;
pub use row::{Fuzzed, Row, RowVerdict, Spans, Suite};
pub use rules::counts;

/// The file of rows: `FASTNESS_LEDGER`, or the project's.
#[must_use]
pub fn file() -> PathBuf {
    std::env::var_os("FASTNESS_LEDGER").map_or_else(|| project().join("tests/ledger.jsonl"), PathBuf::from)
}

/// The page of a file of rows.
#[must_use]
pub fn page_of(file: &Path) -> PathBuf {
    file.with_file_name("LEDGER.md")
}

/// Appends a row, and rewrites the page. Tools that end at the same time wait for each other.
///
/// # Errors
/// If a file cannot be read or written, or its rows have been changed.
pub fn append(row: Row) -> Result<Sealed> {
    append_to(&file(), row)
}

/// Appends a row to another file.
///
/// # Errors
/// As [`append`].
pub fn append_to(path: &Path, row: Row) -> Result<Sealed> {
    let what = || path.display().to_string();
    let mut file = File::options().read(true).append(true).create(true).open(path).with_context(what)?;
    flock(&file, FlockOperation::LockExclusive).with_context(what)?;
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text).with_context(what)?;
    let mut rows = check(&text).with_context(what)?;
    let sealed = Sealed::after(rows.last(), row)?;
    file.write_all(format!("{}\n", sealed.line()?).as_bytes()).with_context(what)?;
    file.sync_data().with_context(what)?;
    rows.push(sealed.clone());
    std::fs::write(page_of(path), page(&rows))?;
    Ok(sealed)
}

/// All rows of a file; none if there is no file.
///
/// # Errors
/// If the rows have been changed.
pub fn rows(path: &Path) -> Result<Vec<Sealed>> {
    match std::fs::read_to_string(path) {
        Ok(text) => check(&text).with_context(|| path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// The row of a simulation to run again: of those that count, a different one for each commit. The commit determines
/// it, so that it is the same row for everybody, and every row in the course of time.
#[must_use]
pub fn pick<'a>(rows: &'a [Sealed], commit: &str) -> Option<&'a Sealed> {
    let rows: Vec<&Sealed> = rows.iter().filter(|row| row.counted && row.row.suite == Suite::Sim).collect();
    let number = commit.get(..8).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
    let at = number.checked_rem(rows.len() as u64)?;
    rows.get(usize::try_from(at).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_tools_that_end_at_the_same_time_make_one_chain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        std::thread::scope(|scope| {
            for seed in 0..8 {
                let path = &path;
                scope.spawn(move || append_to(path, Row::sample(Suite::Sim, seed)).unwrap());
            }
        });
        let rows = rows(&path).unwrap();
        let mut seeds: Vec<u64> = rows.iter().map(|row| row.row.seed).collect();
        seeds.sort_unstable();
        assert_eq!(seeds, (0..8).collect::<Vec<_>>());
        assert_eq!(std::fs::read_to_string(page_of(&path)).unwrap(), page(&rows));
    }

    #[test]
    fn nothing_is_written_behind_a_row_that_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        assert!(rows(&path).unwrap().is_empty());
        append_to(&path, Row::sample(Suite::Sim, 7)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"seed\":7", "\"seed\":8")).unwrap();
        assert!(append_to(&path, Row::sample(Suite::Sim, 9)).is_err());
        assert!(rows(&path).is_err());
    }
}
