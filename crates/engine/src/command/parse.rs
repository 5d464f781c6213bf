//! Numbers among the arguments, with Valkey's texts for what is none.

use crate::error::CommandError;
use fastness_resp::number::parse_int;

/// A 64-bit integer.
///
/// # Errors
/// [`CommandError::NotAnInteger`].
#[inline]
pub fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_int(text).ok_or(CommandError::NotAnInteger)
}

/// A 32-bit integer, as database numbers are.
///
/// # Errors
/// [`CommandError::NotAnInteger`], or its own text for integers that are too large.
pub fn small_integer(text: &[u8]) -> Result<i32, CommandError> {
    const TEXT: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";
    i32::try_from(integer(text)?).map_err(|_| CommandError::Fixed(TEXT))
}

/// The number of a database: there is one, number 0.
///
/// # Errors
/// As [`small_integer`], or the text for a database that is not there.
pub fn database(text: &[u8]) -> Result<(), CommandError> {
    match small_integer(text)? {
        0 => Ok(()),
        _ => Err(CommandError::Fixed("ERR DB index is out of range")),
    }
}
