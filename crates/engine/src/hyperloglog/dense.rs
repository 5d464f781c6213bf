//! The dense form: 6 bits for each register, from the lowest bits of the first byte on.
//!
//! ```text
//! byte       0        1        2
//! bits    11000000 22221111 33333322    the digits are registers, the highest bit of a byte is on the left
//! ```

use super::layout::REGISTERS;
use std::ops::Range;

/// Bits of a register.
const BITS: usize = 6;
/// The largest count of a register.
pub(super) const COUNT_MAX: u8 = (1 << BITS) - 1;
/// Bytes of all registers.
pub(super) const BYTES: usize = REGISTERS * BITS / 8;

/// The bytes in which a register is: one or two.
pub(super) fn place(register: usize) -> Range<usize> {
    let bit = register * BITS;
    bit / 8..(bit + BITS).div_ceil(8)
}

/// The count of a register.
pub(super) fn get(body: &[u8], register: usize) -> u8 {
    let place = &body[place(register)];
    let word = u16::from_le_bytes([place[0], place.get(1).copied().unwrap_or(0)]);
    (word >> shift(register)) as u8 & COUNT_MAX
}

/// Sets the count of a register in the bytes of its [`place`].
pub(super) fn set(place: &mut [u8], register: usize, count: u8) {
    let (mask, bits) = (u16::from(COUNT_MAX) << shift(register), u16::from(count) << shift(register));
    for ((byte, mask), bits) in place.iter_mut().zip(mask.to_le_bytes()).zip(bits.to_le_bytes()) {
        *byte = *byte & !mask | bits;
    }
}

/// The counts of all registers, in their order.
pub(super) fn counts(body: &[u8]) -> impl Iterator<Item = u8> {
    body.as_chunks::<3>().0.iter().flat_map(|&[a, b, c]| {
        let word = u32::from_le_bytes([a, b, c, 0]);
        [0, 1, 2, 3].map(|i| (word >> (i * BITS)) as u8 & COUNT_MAX)
    })
}

/// Appends registers with these counts.
pub(super) fn write(counts: &[u8; REGISTERS], out: &mut Vec<u8>) {
    out.reserve(BYTES);
    for four in counts.as_chunks::<4>().0 {
        let word = four.iter().rev().fold(0, |word, count| word << BITS | u32::from(count & COUNT_MAX));
        out.extend_from_slice(&word.to_le_bytes()[..3]);
    }
}

/// The lowest bit of a register in its [`place`].
fn shift(register: usize) -> usize {
    register * BITS % 8
}
