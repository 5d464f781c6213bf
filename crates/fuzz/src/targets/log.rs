//! Records of the log on disk.

use fastness_log::fuzzing;

use super::input::{linear, none};
use crate::Target;

pub(super) const LOG_RECORD: Target = Target {
    name: "log-record",
    what: "records and keys of the log: entries, purges, identities, data keys. What is sealed opens exactly as it was \
           sealed; everything else is written as it was read",
    bytes_max: 200,
    share: 90,
    seeds: fuzzing::records,
    words: none,
    memory: linear,
    run: fuzzing::record,
};

pub(super) const WRITE_AHEAD: Target = Target {
    name: "write-ahead",
    what: "files of RocksDB that are checked before it reads them: what is left of a torn file is valid",
    bytes_max: 300,
    share: 90,
    seeds: files,
    words: none,
    memory: linear,
    run: fuzzing::write_ahead_file,
};

/// The checksum of a record, without a table: CRC-32C.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let checked = [&[kind][..], payload].concat();
    let masked = crc32c(&checked).rotate_right(15).wrapping_add(0xa282_ead8);
    let length = u16::try_from(payload.len()).expect("records of seeds are short");
    [&masked.to_le_bytes()[..], &length.to_le_bytes(), &checked].concat()
}

fn files() -> Vec<Vec<u8>> {
    let batch = [0x55; 40];
    vec![
        record(1, &batch),
        [record(1, &batch), record(1, b"another batch")].concat(),
        [record(2, b"first"), record(3, b"middle"), record(4, b"last"), record(1, b"")].concat(),
        [record(1, &batch), record(2, b"torn")].concat(),
        record(130, b"may be skipped"),
    ]
}
