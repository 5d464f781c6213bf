//! An RDB file, as Valkey's replicas and tools read it.
//!
//! ```text
//! magic and version, 9 bytes
//! 0xFA  name, value                  facts of the file
//! 0xFE  0                            database 0
//! 0xFB  number of keys, 0            for the size of tables
//! [0xFC  8 bytes: the deadline, ms, little-endian]  type, key, value      of each key
//! 0xF5  code                         a library of functions
//! 0xFF  CRC-64, 8 bytes, little-endian
//! ```
//!
//! A value has the form that DUMP gives it, without the footer. Libraries of functions may be anywhere between the
//! facts and the end: `0xF5` and the code.

use super::dialect::Dialect;
use crate::codec::rdb::{FOOTER_BYTES, RunningCrc, running_crc, write_len, write_number, write_text};
use crate::command::types::dump_forms;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::functions::payload::LIBRARY;
use crate::hash::dump::dump_without_deadlines;
use crate::keyspace::Entry;
use fastness_types::WallMs;

const FACT: u8 = 0xfa;
const TABLE_SIZES: u8 = 0xfb;
const DEADLINE_MS: u8 = 0xfc;
const DATABASE: u8 = 0xfe;
const END: u8 = 0xff;

/// Writes one file, piece by piece.
pub struct RdbWriter {
    dialect: Dialect,
    crc: RunningCrc,
    hashes_without_deadlines: u64,
}

/// What was written of keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WrittenKeys {
    /// How many.
    pub keys: u64,
    /// The digest of their data.
    pub digest: Digest,
}

impl std::fmt::Debug for RdbWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RdbWriter").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

impl RdbWriter {
    /// Appends the start of a file with these facts. `keys`: about how many keys it will have.
    #[must_use]
    pub fn begin(dialect: Dialect, facts: &[(&str, &str)], keys: u64, out: &mut Vec<u8>) -> RdbWriter {
        let start = out.len();
        out.extend_from_slice(dialect.magic());
        for (name, value) in facts {
            out.push(FACT);
            write_text(name.as_bytes(), out);
            write_text(value.as_bytes(), out);
        }
        out.push(DATABASE);
        write_len(0, out);
        out.push(TABLE_SIZES);
        write_number(keys, out);
        write_len(0, out);
        let mut writer = RdbWriter { dialect, crc: running_crc(), hashes_without_deadlines: 0 };
        writer.crc.update(&out[start..]);
        writer
    }

    /// Appends a key.
    fn write_entry(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let form = dump_forms().find(|form| form.of == entry.value().of());
        // What is past its deadline and not removed is written: its removal follows.
        let mut payload = form.and_then(|form| (form.dump)(entry, WallMs(0)));
        if !self.dialect.has_field_deadlines() && entry.first_part_deadline().is_some() {
            payload = dump_without_deadlines(entry);
            self.hashes_without_deadlines += 1;
        }
        let Some(payload) = payload else { return };
        let value = &payload[..payload.len() - FOOTER_BYTES];
        let Some((kind, value)) = value.split_first() else { return };
        let start = out.len();
        if let Some(at) = entry.deadline() {
            out.push(DEADLINE_MS);
            out.extend_from_slice(&at.0.to_le_bytes());
        }
        out.push(*kind);
        write_text(entry.key(), out);
        out.extend_from_slice(value);
        self.crc.update(&out[start..]);
    }

    /// Appends a library of functions.
    fn write_library(&mut self, code: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.push(LIBRARY);
        write_text(code, out);
        self.crc.update(&out[start..]);
    }

    /// Appends the end of the file. Returns the number of hashes whose fields have deadlines that were left off.
    #[must_use]
    pub fn end(mut self, out: &mut Vec<u8>) -> u64 {
        out.push(END);
        self.crc.update(&[END]);
        out.extend_from_slice(&self.crc.finalize().to_le_bytes());
        self.hashes_without_deadlines
    }
}

impl Engine {
    /// Appends all libraries and keys to a file, and removes them from memory. Values of an image that are not complete
    /// yet stay, so that an image of any size passes through an engine of which little is in memory at a time.
    pub fn drain_to_rdb(&mut self, rdb: &mut RdbWriter, out: &mut Vec<u8>) -> WrittenKeys {
        let written = WrittenKeys { keys: self.keyspace_stats().keys, digest: self.digest() };
        self.keyspace.libraries().iter().for_each(|(_, library)| rdb.write_library(&library.code, out));
        self.keyspace.iter().for_each(|entry| rdb.write_entry(entry, out));
        self.keyspace.restart();
        while self.release_some() {}
        written
    }
}
