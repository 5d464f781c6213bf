//! A list of percentiles.

use std::fmt;

/// Percentiles in the order in which they are shown, each from 0 to 100.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Percentiles {
    /// Most of them.
    const COUNT_MAX: usize = 32;

    /// Reads numbers, divided by blanks; `None` if one is no number from 0 to 100, or if they are too many.
    pub(super) fn parse(words: &[&str]) -> Option<Percentiles> {
        let numbers = words.iter().flat_map(|word| word.split_whitespace());
        let percentiles: Vec<f64> = numbers
            .map(|number| number.parse().ok().filter(|percent| (0.0..=100.0).contains(percent)))
            .collect::<Option<_>>()?;
        (!words.is_empty() && percentiles.len() <= Self::COUNT_MAX).then_some(Percentiles(percentiles))
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(f64::to_string).collect();
        f.write_str(&numbers.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_from_0_to_100() {
        let shown = |words: &[&str]| Percentiles::parse(words).map(|percentiles| percentiles.to_string());
        assert_eq!(shown(&["50 99 99.9"]).as_deref(), Some("50 99 99.9"));
        assert_eq!(shown(&["0", "0.001", "100"]).as_deref(), Some("0 0.001 100"));
        assert_eq!(shown(&[""]).as_deref(), Some(""));
        for wrong in ["50 101", "-1", "a", "nan", "inf"] {
            assert_eq!(shown(&[wrong]), None, "{wrong}");
        }
        assert_eq!((shown(&["1"; 33]), shown(&[])), (None, None));
    }
}
