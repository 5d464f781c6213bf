//! LEB128: seven bits a byte, the lowest first, the high bit set on all but the last byte.

/// Why a varint cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VarintError {
    /// The bytes end inside it.
    Truncated,
    /// It does not fit into 64 bits.
    Range,
}

/// Appends a number.
pub(crate) fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The encoded length of a number, bytes.
pub(crate) fn len(value: u64) -> u64 {
    u64::from((64 - value.leading_zeros()).max(1).div_ceil(7))
}

/// Reads a number from the start of `bytes`, and moves `bytes` past it.
pub(crate) fn read(bytes: &mut &[u8]) -> Result<u64, VarintError> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * i as u32;
        if shift > 63 || (shift == 63 && bits > 1) {
            return Err(VarintError::Range);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    Err(VarintError::Truncated)
}

/// Maps an integer to a number that is small if the integer is near 0, whatever its sign.
pub(crate) fn zigzag(number: i64) -> u64 {
    (number << 1) as u64 ^ (number >> 63) as u64
}

/// The integer of a number that [`zigzag`] returned.
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
