//! Checks RocksDB's write-ahead log files before RocksDB opens them, and cuts off what a crash has torn.
//!
//! None of RocksDB's recovery modes distinguishes a torn tail from damage as this log needs it. Point-in-time recovery
//! stops silently at any damage and drops acknowledged records after it. "Tolerate corrupted tail records" refuses a
//! torn last record that has its full length (a power loss leaves such records), and takes a flipped length near the
//! end of the file for a torn tail.
//!
//! The writer guarantees that batch n+1 is written after batch n is on stable storage (`writer.rs`). So only the last
//! batch of the newest file can be torn, and these rules apply:
//!
//! 1. Every record of every file is valid: nothing is changed.
//! 2. A record is invalid and **a valid record that starts another batch follows**: an acknowledged batch is damaged.
//!    Refused. The search goes byte by byte, because the damage may be in a length.
//! 3. The newest file ends within a record or a batch: the writing process was killed, or the machine crashed. That
//!    batch is cut off. But if the last record is valid when its length is taken to end with the file, its length is
//!    damaged: refused.
//! 4. The machine has crashed since the last start (the boot id differs), and the end of the newest file is invalid in
//!    any other way: the last batch was torn. It is cut off.
//! 5. Anything else, on the same boot: refused.
//!
//! Two cases remain. After a machine crash, a damaged last batch that was on stable storage cannot be distinguished
//! from a torn one that was not. And a file that ends early between two batches is not detected at all. In both, the
//! disk is older than its node; the start handshake with the peers can reveal it.
//!
//! Format of a file (RocksDB's `db/log_format.h`): blocks of 32 KiB; records `crc32c (masked) u32 | length u16 | type
//! u8 | payload`, little-endian, that do not cross blocks; a batch is one `full` record or `first`, `middle`…, `last`.
//! The checksum covers type and payload. Recycled files, which have other record types, are switched off.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// Records of this type and above may be skipped by a reader that does not know them.
const IGNORABLE: u8 = 128;

/// Result of checking the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WalState {
    /// Every record is valid.
    Clean,
    /// The last batch was torn and has been cut off.
    Cut {
        file: PathBuf,
        /// New length of the file.
        at: u64,
        /// Bytes that were cut off.
        bytes: u64,
    },
}

/// Checks the write-ahead log files of a database directory that no process has open.
pub(crate) fn check(dir: &Path, machine_crashed: bool) -> Result<WalState, StoreError> {
    let files = wal_files(dir).map_err(|error| StoreError::of(dir, &error))?;
    let mut state = WalState::Clean;
    for (i, file) in files.iter().enumerate() {
        let mut bytes = Vec::new();
        File::open(file).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(|error| StoreError::of(file, &error))?;
        let newest = i + 1 == files.len();
        match examine(&bytes, newest && machine_crashed) {
            Finding::Clean => {}
            Finding::Torn { at } if newest => {
                cut(file, at as u64).map_err(|error| StoreError::of(file, &error))?;
                state = WalState::Cut { file: file.clone(), at: at as u64, bytes: (bytes.len() - at) as u64 };
            }
            Finding::Torn { at } => return Err(damaged(file, at, "a batch is incomplete, and there is a newer file")),
            Finding::Damaged { at, why } => return Err(damaged(file, at, why)),
        }
    }
    Ok(state)
}

/// Files named `NNNNNN.log`, oldest first.
fn wal_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path
            .extension()
            .filter(|extension| *extension == "log")
            .and_then(|_| path.file_stem()?.to_str()?.parse::<u64>().ok());
        if let Some(number) = number {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

pub(crate) fn cut(file: &Path, at: u64) -> io::Result<()> {
    let file = File::options().write(true).open(file)?;
    file.set_len(at)?;
    file.sync_all()
}

pub(crate) fn damaged(file: &Path, at: usize, why: &str) -> StoreError {
    StoreError::Corrupt { place: file.display().to_string(), detail: format!("at byte {at}: {why}") }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    Clean,
    /// The batch that starts here is the last one and is incomplete.
    Torn {
        at: usize,
    },
    Damaged {
        at: usize,
        why: &'static str,
    },
}

/// One physical record, or why there is none.
enum Physical {
    Record {
        kind: u8,
        end: usize,
    },
    /// The file ends within the record.
    Short,
    Bad(&'static str),
}

fn physical(bytes: &[u8], at: usize) -> Physical {
    let rest = &bytes[at..];
    if rest.len() < HEADER {
        return Physical::Short;
    }
    let length = usize::from(u16::from_le_bytes([rest[4], rest[5]]));
    let kind = rest[6];
    if HEADER + length > BLOCK - at % BLOCK {
        return Physical::Bad("a record crosses its block");
    }
    if kind == 0 {
        return Physical::Bad("a record has no type");
    }
    if HEADER + length > rest.len() {
        return Physical::Short;
    }
    if stored_crc(rest) != masked(crc32c(&rest[6..HEADER + length])) {
        return Physical::Bad("a record's checksum does not match");
    }
    Physical::Record { kind, end: at + HEADER + length }
}

fn stored_crc(record: &[u8]) -> u32 {
    u32::from_le_bytes([record[0], record[1], record[2], record[3]])
}

pub(crate) fn examine(bytes: &[u8], may_be_torn: bool) -> Finding {
    let mut at = 0;
    // Start of the batch that is not complete yet.
    let mut batch: Option<usize> = None;
    loop {
        if BLOCK - at % BLOCK < HEADER {
            at += BLOCK - at % BLOCK;
        }
        if at >= bytes.len() {
            return batch.map_or(Finding::Clean, |at| Finding::Torn { at });
        }
        let why = match physical(bytes, at) {
            Physical::Record { kind, end } => match next_batch(batch, kind, at) {
                Ok(next) => {
                    (batch, at) = (next, end);
                    continue;
                }
                Err(why) => why,
            },
            Physical::Short => return short(bytes, at, batch.unwrap_or(at)),
            Physical::Bad(why) => why,
        };
        let torn = may_be_torn && !starts_batch_after(bytes, at);
        return if torn { Finding::Torn { at: batch.unwrap_or(at) } } else { Finding::Damaged { at, why } };
    }
}

/// The start of the batch that is incomplete after a record of this type.
fn next_batch(batch: Option<usize>, kind: u8, at: usize) -> Result<Option<usize>, &'static str> {
    match (kind, batch) {
        (FULL, None) => Ok(None),
        (FIRST, None) => Ok(Some(at)),
        (MIDDLE, Some(_)) => Ok(batch),
        (LAST, Some(_)) => Ok(None),
        (IGNORABLE.., _) => Ok(batch),
        (FULL | FIRST, Some(_)) => Err("a batch starts within another one"),
        (MIDDLE | LAST, None) => Err("a batch continues that was not started"),
        _ => Err("a record has an unknown type"),
    }
}

/// Judges a file that ends within the record at `at`.
fn short(bytes: &[u8], at: usize, batch: usize) -> Finding {
    let rest = &bytes[at..];
    if rest.len() >= HEADER && stored_crc(rest) == masked(crc32c(&rest[6..])) {
        return Finding::Damaged { at, why: "the length of the last record is damaged" };
    }
    if starts_batch_after(bytes, at) {
        return Finding::Damaged { at, why: "a record reaches beyond the end of the file, and intact ones follow" };
    }
    Finding::Torn { at: batch }
}

/// Whether a valid record after `at` starts a batch.
fn starts_batch_after(bytes: &[u8], at: usize) -> bool {
    (at + 1..bytes.len().saturating_sub(HEADER - 1)).any(|at| {
        matches!(bytes[at + 6], FULL | FIRST)
            && matches!(physical(bytes, at), Physical::Record { kind: FULL | FIRST, .. })
    })
}

/// The stored form of a checksum. RocksDB masks checksums because a checksum over data that contains checksums is weak.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, reflected), eight bytes per step.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let low = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) ^ crc;
        crc = TABLES[7][(low & 0xff) as usize]
            ^ TABLES[6][(low >> 8 & 0xff) as usize]
            ^ TABLES[5][(low >> 16 & 0xff) as usize]
            ^ TABLES[4][(low >> 24) as usize]
            ^ TABLES[3][usize::from(chunk[4])]
            ^ TABLES[2][usize::from(chunk[5])]
            ^ TABLES[1][usize::from(chunk[6])]
            ^ TABLES[0][usize::from(chunk[7])];
    }
    for &byte in chunks.remainder() {
        crc = TABLES[0][((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8);
    }
    !crc
}

static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][i] = crc;
        i += 1;
    }
    let mut t = 1;
    while t < 8 {
        let mut i = 0;
        while i < 256 {
            let before = tables[t - 1][i];
            tables[t][i] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            i += 1;
        }
        t += 1;
    }
    tables
}

#[cfg(test)]
#[path = "wal_tests.rs"]
mod tests;
