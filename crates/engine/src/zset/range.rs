//! Ranges of scores, of names and of ranks, as commands take them.

use super::score::{order_of, parse_limit};
use crate::command::parse::integer;
use crate::error::CommandError;
use std::ops::Range;

/// A limit of a range of scores.
#[derive(Debug, Clone, Copy)]
struct ScoreLimit {
    /// The number that orders it.
    order: u64,
    is_excluded: bool,
}

/// A range of scores.
#[derive(Debug, Clone, Copy)]
pub struct ScoreRange {
    min: ScoreLimit,
    max: ScoreLimit,
}

impl ScoreLimit {
    fn parse(text: &[u8]) -> Result<ScoreLimit, CommandError> {
        let (is_excluded, text) = match text {
            [b'(', text @ ..] => (true, text),
            text => (false, text),
        };
        let score = parse_limit(text).ok_or(CommandError::Fixed("ERR min or max is not a float"))?;
        Ok(ScoreLimit { order: order_of(score), is_excluded })
    }
}

impl ScoreRange {
    /// Parses the limits: a number, after `(` if it is excluded.
    ///
    /// # Errors
    /// A limit is not a number.
    pub fn parse(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
        Ok(ScoreRange { min: ScoreLimit::parse(min)?, max: ScoreLimit::parse(max)? })
    }

    /// The scores from `min` on that are below `end`.
    #[must_use]
    pub fn half_open(min: f64, end: f64) -> ScoreRange {
        let limit = |score, is_excluded| ScoreLimit { order: order_of(score), is_excluded };
        ScoreRange { min: limit(min, false), max: limit(end, true) }
    }

    /// Whether a score is below the range. Scores are given as the numbers that order them.
    #[must_use]
    pub fn is_below(&self, order: u64) -> bool {
        if self.min.is_excluded { order <= self.min.order } else { order < self.min.order }
    }

    /// Whether a score is above the range.
    #[must_use]
    pub fn is_above(&self, order: u64) -> bool {
        if self.max.is_excluded { order >= self.max.order } else { order > self.max.order }
    }
}

/// A limit of a range of names.
#[derive(Debug, Clone, Copy)]
enum NameLimit<'a> {
    /// Below all names.
    Lowest,
    /// Above all names.
    Highest,
    Included(&'a [u8]),
    Excluded(&'a [u8]),
}

/// A range of names.
#[derive(Debug, Clone, Copy)]
pub struct NameRange<'a> {
    min: NameLimit<'a>,
    max: NameLimit<'a>,
}

impl<'a> NameLimit<'a> {
    fn parse(text: &'a [u8]) -> Result<NameLimit<'a>, CommandError> {
        // Valkey reads the signs as C strings, which a zero byte ends.
        match text {
            [b'-'] | [b'-', 0, ..] => Ok(NameLimit::Lowest),
            [b'+'] | [b'+', 0, ..] => Ok(NameLimit::Highest),
            [b'(', name @ ..] => Ok(NameLimit::Excluded(name)),
            [b'[', name @ ..] => Ok(NameLimit::Included(name)),
            _ => Err(CommandError::Fixed("ERR min or max not valid string range item")),
        }
    }
}

impl<'a> NameRange<'a> {
    /// Parses the limits: a name after `[`, after `(` if it is excluded, or `-` or `+` for no limit.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(min: &'a [u8], max: &'a [u8]) -> Result<NameRange<'a>, CommandError> {
        Ok(NameRange { min: NameLimit::parse(min)?, max: NameLimit::parse(max)? })
    }

    /// Whether a name is below the range.
    #[must_use]
    pub fn is_below(&self, name: &[u8]) -> bool {
        match self.min {
            NameLimit::Lowest => false,
            NameLimit::Highest => true,
            NameLimit::Included(min) => name < min,
            NameLimit::Excluded(min) => name <= min,
        }
    }

    /// Whether a name is above the range.
    #[must_use]
    pub fn is_above(&self, name: &[u8]) -> bool {
        match self.max {
            NameLimit::Lowest => true,
            NameLimit::Highest => false,
            NameLimit::Included(max) => name > max,
            NameLimit::Excluded(max) => name >= max,
        }
    }

    /// Whether no name is in the range, whatever names there are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match (self.min, self.max) {
            (NameLimit::Highest, _) | (_, NameLimit::Lowest) => true,
            (NameLimit::Lowest, _) | (_, NameLimit::Highest) => false,
            (NameLimit::Included(min), NameLimit::Included(max)) => min > max,
            (
                NameLimit::Included(min) | NameLimit::Excluded(min),
                NameLimit::Included(max) | NameLimit::Excluded(max),
            ) => min >= max,
        }
    }
}

/// A range of ranks as commands take it: negative ones count from the end.
#[derive(Debug, Clone, Copy)]
pub struct RankRange {
    start: i64,
    stop: i64,
}

impl RankRange {
    /// Parses the first and the last rank.
    ///
    /// # Errors
    /// They are not integers.
    pub fn parse(start: &[u8], stop: &[u8]) -> Result<RankRange, CommandError> {
        Ok(RankRange { start: integer(start)?, stop: integer(stop)? })
    }

    /// The ranks of a sorted set of so many members.
    #[must_use]
    pub fn of(&self, len: usize) -> Range<usize> {
        let from_start = |rank: i64| if rank < 0 { len as i64 + rank } else { rank };
        let (start, stop) = (from_start(self.start).max(0), from_start(self.stop).min(len as i64 - 1));
        if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        for (start, stop, ranks) in [
            ("0", "-1", 0..5),
            ("1", "2", 1..3),
            ("-2", "-1", 3..5),
            ("-99", "0", 0..1),
            ("3", "99", 3..5),
            ("2", "1", 0..0),
            ("5", "9", 0..0),
            ("0", "-6", 0..0),
            ("-9223372036854775808", "9223372036854775807", 0..5),
            ("9223372036854775807", "9223372036854775807", 0..0),
        ] {
            assert_eq!(RankRange::parse(start.as_bytes(), stop.as_bytes()).unwrap().of(5), ranks, "{start} {stop}");
        }
    }

    #[test]
    fn limits_of_scores() {
        let contains = |min: &str, max: &str, score: f64| {
            let range = ScoreRange::parse(min.as_bytes(), max.as_bytes()).unwrap();
            !range.is_below(order_of(score)) && !range.is_above(order_of(score))
        };
        assert!(contains("1", "2", 1.0) && contains("1", "2", 2.0) && !contains("1", "2", 2.5));
        assert!(!contains("(1", "2", 1.0) && !contains("1", "(2", 2.0) && contains("-inf", "+inf", f64::INFINITY));
        assert!(!contains("-inf", "(inf", f64::INFINITY) && contains("0", "0", -0.0) && !contains("2", "1", 1.5));
        let half_open = ScoreRange::half_open(-0.0, 4.0);
        assert!(!half_open.is_below(order_of(0.0)) && !half_open.is_above(order_of(3.9)));
        assert!(half_open.is_above(order_of(4.0)) && half_open.is_below(order_of(-0.1)));
        assert!(ScoreRange::parse(b"x", b"1").is_err() && ScoreRange::parse(b"1", b"nan").is_err());
    }

    #[test]
    fn limits_of_names() {
        let contains = |min: &str, max: &str, name: &str| {
            let range = NameRange::parse(min.as_bytes(), max.as_bytes()).unwrap();
            let contains = !range.is_below(name.as_bytes()) && !range.is_above(name.as_bytes());
            assert!(!contains || !range.is_empty(), "{min} {max} {name}");
            contains
        };
        assert!(contains("-", "+", "") && contains("[a", "[b", "b") && !contains("[a", "(b", "b"));
        assert!(!contains("(a", "+", "a") && contains("(a", "+", "a\0") && !contains("+", "-", "a"));
        for wrong in ["", "a", "-a", "++"] {
            assert!(NameRange::parse(wrong.as_bytes(), b"+").is_err(), "{wrong}");
        }
        assert!(NameRange::parse(b"-\0x", b"+\0").is_ok());
    }
}
