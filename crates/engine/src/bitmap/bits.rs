//! Counting and finding bits in a text. Ranges are of bits, and end within the text.

use std::ops::Range;

/// Number of bytes that [`first_other`] compares at once.
const BLOCK: usize = 32;

/// The number of ones in a range.
pub(super) fn count(text: &[u8], range: Range<usize>) -> usize {
    if range.is_empty() {
        return 0;
    }
    let (first, last) = (range.start / 8, (range.end - 1) / 8);
    let before = text[first] & !from_bit(range.start);
    let after = text[last] & (from_bit(range.end - 1) >> 1);
    ones(&text[first..=last]) - (before.count_ones() + after.count_ones()) as usize
}

/// The first bit of a range that is 1, or 0 if `one` is false.
pub(super) fn find(text: &[u8], one: bool, range: Range<usize>) -> Option<usize> {
    if range.is_empty() {
        return None;
    }
    let (first, last) = (range.start / 8, (range.end - 1) / 8);
    // A byte without the wanted bit; with it, the wanted bits are ones.
    let skip = if one { 0 } else { 0xff };
    let head = (text[first] ^ skip) & from_bit(range.start);
    let (byte, wanted) = if head != 0 {
        (first, head)
    } else {
        let byte = first + 1 + first_other(&text[first + 1..=last], skip)?;
        (byte, text[byte] ^ skip)
    };
    let found = byte * 8 + wanted.leading_zeros() as usize;
    (found < range.end).then_some(found)
}

/// The bits of a byte from this one to its end, as ones.
fn from_bit(offset: usize) -> u8 {
    0xff >> (offset % 8)
}

/// The number of ones, counted in words.
fn ones(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    let in_words: usize = words.iter().map(|word| u64::from_ne_bytes(*word).count_ones() as usize).sum();
    in_words + rest.iter().map(|byte| byte.count_ones() as usize).sum::<usize>()
}

/// The index of the first byte that is not `skip`.
fn first_other(bytes: &[u8], skip: u8) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let skipped = BLOCK * blocks.iter().position(|block| *block != [skip; BLOCK]).unwrap_or(blocks.len());
    bytes[skipped..].iter().position(|byte| *byte != skip).map(|at| skipped + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_range_are_bits() {
        let text = [0b0001_1000, 0xff, 0b0001_1000];
        assert_eq!(count(&text, 0..24), 12);
        assert_eq!(count(&text, 4..20), 10);
        assert_eq!(count(&text, 3..4), 1);
        assert_eq!(count(&text, 5..5), 0);
        assert_eq!(find(&text, true, 0..24), Some(3));
        assert_eq!(find(&text, true, 5..8), None);
        assert_eq!(find(&text, true, 5..9), Some(8));
        assert_eq!(find(&text, false, 3..24), Some(5));
        assert_eq!(find(&text, false, 8..16), None);
        assert_eq!(find(&text, false, 8..17), Some(16));
        assert_eq!(find(&text, false, 3..3), None);
    }

    #[test]
    fn blocks_are_skipped() {
        for len in 0..100 {
            for (skip, other) in [(0u8, 1u8), (0xff, 0x7f)] {
                let mut text = vec![skip; len];
                assert_eq!(first_other(&text, skip), None);
                text.extend([other; 40]);
                assert_eq!(first_other(&text, skip), Some(len));
            }
        }
    }
}
