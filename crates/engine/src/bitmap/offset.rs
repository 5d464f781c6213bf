//! Offsets of bits among the arguments.

use crate::error::CommandError;
use fastness_resp::number::parse_int;
use fastness_types::limits::VALUE_BYTES_MAX;

const OUT_OF_RANGE: CommandError = CommandError::Fixed("ERR bit offset is not an integer or out of range");

/// The offset of a bit that the longest string has.
///
/// # Errors
/// It is not a number, or there can be no such bit.
pub(super) fn bit_offset(text: &[u8]) -> Result<usize, CommandError> {
    scaled(text, 1)
}

/// The offset of an integer of BITFIELD, `bits` wide: in bits, or after `#` as the number of integers before it.
///
/// # Errors
/// As [`bit_offset`].
pub(super) fn field_offset(text: &[u8], bits: u32) -> Result<usize, CommandError> {
    match text.strip_prefix(b"#") {
        Some(number) => scaled(number, i64::from(bits)),
        None => bit_offset(text),
    }
}

fn scaled(text: &[u8], factor: i64) -> Result<usize, CommandError> {
    let offset = parse_int(text).and_then(|number| number.checked_mul(factor)).ok_or(OUT_OF_RANGE)?;
    usize::try_from(offset).ok().filter(|offset| offset / 8 < VALUE_BYTES_MAX).ok_or(OUT_OF_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_within_the_longest_string() {
        assert_eq!(bit_offset(b"0"), Ok(0));
        assert_eq!(bit_offset(b"4294967295"), Ok(4_294_967_295));
        for text in ["4294967296", "-1", "#1", "01", "+1", " 1", "x", "", "9223372036854775807"] {
            assert_eq!(bit_offset(text.as_bytes()), Err(OUT_OF_RANGE), "{text:?}");
        }
    }

    #[test]
    fn a_hash_sign_counts_fields() {
        assert_eq!(field_offset(b"7", 8), Ok(7));
        assert_eq!(field_offset(b"#7", 8), Ok(56));
        assert_eq!(field_offset(b"#67108863", 64), Ok(4_294_967_232));
        // Valkey's product wraps around, so that it takes the last of these for 0.
        for text in ["#", "#-1", "##1", "#67108864", "#9223372036854775807", "#4611686018427387904"] {
            assert_eq!(field_offset(text.as_bytes(), 64), Err(OUT_OF_RANGE), "{text:?}");
        }
    }
}
