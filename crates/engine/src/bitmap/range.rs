//! The part of a string that BITCOUNT and BITPOS consider.

use crate::command::parse::integer;
use crate::error::CommandError;
use fastness_resp::Args;
use std::ops::Range;

/// Number of bits in a byte.
const BYTE: usize = 8;

/// `[start [end [BYTE|BIT]]]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BitRange {
    start: i64,
    end: Option<i64>,
    /// Number of bits that one step of both numbers stands for.
    unit: usize,
}

impl BitRange {
    /// Reads all of `args`, of which there may be none.
    ///
    /// # Errors
    /// There are too many, they are not numbers, or the unit is unknown.
    pub(super) fn parse(args: Args<'_>) -> Result<BitRange, CommandError> {
        if args.len() > 3 {
            return Err(CommandError::Syntax);
        }
        let start = args.try_get(0).map_or(Ok(0), integer)?;
        let unit = match args.try_get(2) {
            Some(word) if word.eq_ignore_ascii_case(b"bit") => 1,
            Some(word) if !word.eq_ignore_ascii_case(b"byte") => return Err(CommandError::Syntax),
            _ => BYTE,
        };
        let end = args.try_get(1).map(integer).transpose()?;
        Ok(BitRange { start, end, unit })
    }

    /// Whether it ends where a command says, and not with the string.
    pub(super) fn has_end(self) -> bool {
        self.end.is_some()
    }

    /// Whether both numbers count from the end, in the wrong order. Valkey's BITCOUNT checks this first. Its BITPOS
    /// does not, so a range of this kind that is before the start of the string has the first byte or bit.
    pub(super) fn is_reversed(self) -> bool {
        self.end.is_some_and(|end| self.start < 0 && end < 0 && self.start > end)
    }

    /// The bits that it has of a string of `len` bytes. Both ends are included, and count from the end if negative.
    pub(super) fn bits(self, len: usize) -> Range<usize> {
        let units = (len * BYTE / self.unit) as i64;
        let absolute = |index: i64| if index < 0 { index.saturating_add(units).max(0) } else { index };
        let (start, last) = (absolute(self.start), absolute(self.end.unwrap_or(-1)).min(units - 1));
        if start > last { 0..0 } else { start as usize * self.unit..(last as usize + 1) * self.unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(words: &[&str]) -> Result<BitRange, CommandError> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        BitRange::parse(Args::slices(&words))
    }

    #[test]
    fn ranges_are_valkeys() {
        let cases: &[(&[&str], Range<usize>)] = &[
            (&[], 0..40),
            (&["1"], 8..40),
            (&["-2"], 24..40),
            (&["1", "2"], 8..24),
            (&["1", "2", "bYte"], 8..24),
            (&["1", "2", "Bit"], 1..3),
            (&["-3", "-2", "BIT"], 37..39),
            (&["5", "10"], 0..0),
            (&["3", "1"], 0..0),
            (&["-100", "100"], 0..40),
            (&["-50", "-100"], 0..8),
            (&["-9223372036854775808", "9223372036854775807", "BIT"], 0..40),
            (&["9223372036854775807", "-9223372036854775808"], 0..0),
        ];
        for (words, expected) in cases {
            assert_eq!(range(words).map(|range| range.bits(5)), Ok(expected.clone()), "{words:?}");
        }
        assert_eq!(range(&[]).map(|range| range.bits(0)), Ok(0..0));
        assert_eq!(range(&["-1", "-1"]).map(|range| range.bits(0)), Ok(0..0));
    }

    #[test]
    fn the_unit_is_checked_before_the_end() {
        assert_eq!(range(&["x", "x", "x"]), Err(CommandError::NotAnInteger));
        assert_eq!(range(&["1", "x", "x"]), Err(CommandError::Syntax));
        assert_eq!(range(&["1", "x", "bit"]), Err(CommandError::NotAnInteger));
        assert_eq!(range(&["x", "1", "bit", "1"]), Err(CommandError::Syntax));
    }
}
