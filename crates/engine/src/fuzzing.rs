//! Private encodings, for fuzz targets.

use crate::codec::{long_double::LongDouble, rdb};

/// A number as INCRBYFLOAT reads and writes it; `None` if it is refused or infinite.
#[must_use]
pub fn long_double_text(text: &[u8]) -> Option<String> {
    LongDouble::parse(text).filter(|number| !number.is_infinite()).map(LongDouble::to_text)
}

/// The sum of two numbers as INCRBYFLOAT computes it; `None` if one is refused, or the sum is not finite.
#[must_use]
pub fn long_double_sum(a: &[u8], b: &[u8]) -> Option<String> {
    LongDouble::parse(a)?.add(LongDouble::parse(b)?).map(LongDouble::to_text)
}

/// A payload of RESTORE with this RDB type and value: appends version and checksum.
#[must_use]
pub fn restore_payload(body: &[u8]) -> Vec<u8> {
    rdb::seal(body.to_vec())
}
