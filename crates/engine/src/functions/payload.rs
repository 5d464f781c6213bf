//! FUNCTION DUMP and FUNCTION RESTORE: all libraries in the form in which Valkey's RDB files have them. A library is an
//! opcode and its code; version and checksum end the payload, as that of DUMP.

use crate::codec::rdb::{self, PayloadError};
use crate::keyspace::libraries::Libraries;
use fastness_types::limits::LIBRARIES_BYTES_MAX;

/// Valkey's `RDB_OPCODE_FUNCTION2`.
pub(crate) const LIBRARY: u8 = 245;
/// Valkey's `RDB_OPCODE_FUNCTION_PRE_GA`, which no released version writes.
const LIBRARY_BEFORE_RELEASE: u8 = 246;

/// Why a payload is refused; the texts are Valkey's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LibrariesPayloadError {
    /// It has an unsupported version, is truncated, or is damaged.
    #[error("ERR DUMP payload version or checksum are wrong")]
    Footer,
    /// It has something else than libraries.
    #[error("ERR given type is not a function")]
    NotLibraries,
    /// It has libraries in the form of a version that was never released.
    #[error("ERR Pre-GA function format not supported")]
    BeforeRelease,
    /// A library is damaged.
    #[error("ERR Failed loading library data")]
    Format,
    /// The libraries are longer than those of a shard may be.
    #[error("ERR the libraries of the payload exceed {} bytes", LIBRARIES_BYTES_MAX)]
    TooLarge,
}

/// Writes all libraries.
#[must_use]
pub fn dump(libraries: &Libraries) -> Vec<u8> {
    let mut out = Vec::with_capacity(libraries.bytes() + 16);
    for (_, library) in libraries.iter() {
        out.push(LIBRARY);
        rdb::write_text(&library.code, &mut out);
    }
    rdb::seal(out)
}

/// The code of each library in a payload, in order.
///
/// # Errors
/// See [`LibrariesPayloadError`].
pub fn read(payload: &[u8]) -> Result<Vec<Vec<u8>>, LibrariesPayloadError> {
    let mut input = rdb::open_body(payload, LIBRARIES_BYTES_MAX).map_err(|_| LibrariesPayloadError::Footer)?;
    let mut codes = Vec::new();
    while !input.is_empty() {
        match input.array::<1>() {
            Ok([LIBRARY]) => {}
            Ok([LIBRARY_BEFORE_RELEASE]) => return Err(LibrariesPayloadError::BeforeRelease),
            _ => return Err(LibrariesPayloadError::NotLibraries),
        }
        codes.push(input.text().map_err(|error| match error {
            PayloadError::TooLarge => LibrariesPayloadError::TooLarge,
            PayloadError::Footer | PayloadError::Format => LibrariesPayloadError::Format,
        })?);
    }
    Ok(codes)
}
