//! The arithmetic of INCRBYFLOAT: 80-bit floating point numbers (64 bits of mantissa), like Valkey's `long double` on
//! x86-64, computed with integers, so that every machine produces the same text. `num-bigint` parses and formats long
//! numbers, because digit-by-digit arithmetic on 4,900 digits would cost many times as much.
//!
//! A number is parsed with one rounding (to nearest, ties to even), added with one rounding, and formatted with at most
//! 17 digits after the point, rounded in the same way. Numbers so small that 80 bits would denormalise them keep their
//! 64 bits here; the difference does not show in 17 digits.

use num_bigint::BigUint;

/// Longest text that is read, as in Valkey.
const TEXT_MAX: usize = 5 * 1024;
/// Largest and smallest binary exponent of the highest bit.
const TOP_MAX: i64 = 16_383;
const TOP_MIN: i64 = -16_446;
/// Digits after the point.
const DECIMALS: usize = 17;
const TEN_TO_DECIMALS: u128 = 100_000_000_000_000_000;

/// A number: `mantissa * 2^exponent`, the mantissa's highest bit set, or zero, or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LongDouble {
    negative: bool,
    infinite: bool,
    mantissa: u64,
    exponent: i64,
}

impl LongDouble {
    pub(crate) const ZERO: LongDouble = LongDouble { negative: false, infinite: false, mantissa: 0, exponent: 0 };

    /// Parses the whole text as `strtold` does, including hexadecimal. `None` for other texts, for NaN, and for numbers
    /// out of range.
    pub(crate) fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= TEXT_MAX {
            return None;
        }
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Some(LongDouble { negative, infinite: true, ..LongDouble::ZERO });
        }
        let magnitude = match rest {
            [b'0', b'x' | b'X', hex @ ..] => Digits::parse(hex, 16)?.hexadecimal(),
            _ => Digits::parse(rest, 10)?.decimal(),
        };
        Some(LongDouble { negative, ..magnitude? })
    }

    /// `big * 2^exponent`, plus a tiny amount if `sticky`; `None` if out of range. With `sticky`, `big` has at least 66
    /// bits.
    fn rounded(big: &BigUint, exponent: i64, sticky: bool) -> Option<LongDouble> {
        let excess = big.bits().saturating_sub(64);
        let mantissa = (big >> excess).iter_u64_digits().next().unwrap_or(0);
        if excess == 0 {
            return Some(Self::normal(mantissa, exponent));
        }
        let half = big.bit(excess - 1);
        let below = big.trailing_zeros().is_some_and(|zeros| zeros < excess - 1);
        let up = half && (below || sticky || mantissa & 1 == 1);
        Self::carried(mantissa, up, exponent + excess as i64)
    }

    fn carried(mantissa: u64, up: bool, exponent: i64) -> Option<LongDouble> {
        let (mantissa, exponent) = match mantissa.checked_add(u64::from(up)) {
            Some(mantissa) => (mantissa, exponent),
            None => (1 << 63, exponent + 1),
        };
        let in_range = (TOP_MIN..=TOP_MAX).contains(&(exponent + 63));
        in_range.then_some(LongDouble { negative: false, infinite: false, mantissa, exponent })
    }

    /// Normalises a mantissa whose highest bit may be 0.
    fn normal(mantissa: u64, exponent: i64) -> LongDouble {
        if mantissa == 0 {
            return LongDouble::ZERO;
        }
        let shift = mantissa.leading_zeros();
        LongDouble { mantissa: mantissa << shift, exponent: exponent - i64::from(shift), ..LongDouble::ZERO }
    }

    /// Whether it is infinite, and cannot be added.
    pub(crate) fn is_infinite(self) -> bool {
        self.infinite
    }

    /// The sum; `None` if it is not finite.
    pub(crate) fn add(self, other: LongDouble) -> Option<LongDouble> {
        if self.infinite || other.infinite {
            return None;
        }
        if self.mantissa == 0 || other.mantissa == 0 {
            return Some(if self.mantissa == 0 { other } else { self });
        }
        let larger_first = (self.exponent, self.mantissa) >= (other.exponent, other.mantissa);
        let (large, small) = if larger_first { (self, other) } else { (other, self) };
        let distance = (large.exponent - small.exponent).min(127) as u32;
        let wide = u128::from(small.mantissa) << 63;
        // Of the bits that are shifted out, it only matters whether they are all 0.
        let (aligned, sticky) = (wide >> distance, wide & ((1 << distance) - 1) != 0);
        let base = u128::from(large.mantissa) << 63;
        let sum = match large.negative == small.negative {
            true => base + aligned,
            false => base - aligned - u128::from(sticky),
        };
        let bits = 128 - sum.leading_zeros();
        let exponent = large.exponent - 63;
        let magnitude = if bits <= 64 {
            Self::normal(sum as u64, exponent)
        } else {
            let excess = bits - 64;
            let half = sum >> (excess - 1) & 1 == 1;
            let below = sum & ((1 << (excess - 1)) - 1) != 0 || sticky;
            let mantissa = (sum >> excess) as u64;
            Self::carried(mantissa, half && (below || mantissa & 1 == 1), exponent + i64::from(excess))?
        };
        Some(LongDouble { negative: large.negative, ..magnitude })
    }

    /// The decimal form with up to 17 digits after the point, without exponent and without trailing zeros.
    pub(crate) fn to_text(self) -> String {
        let magnitude = if self.exponent >= 0 {
            (BigUint::from(self.mantissa) << self.exponent as u64).to_string()
        } else {
            fixed_text(u128::from(self.mantissa) * TEN_TO_DECIMALS, -self.exponent)
        };
        if self.negative && magnitude != "0" { format!("-{magnitude}") } else { magnitude }
    }
}

/// `scaled / 2^shift / 10^17`, rounded to 17 digits after the point.
fn fixed_text(scaled: u128, shift: i64) -> String {
    let rounded = match u32::try_from(shift) {
        Ok(shift) if shift < 128 => {
            let (quotient, rest) = (scaled >> shift, scaled & ((1 << shift) - 1));
            let half = 1u128 << (shift - 1);
            quotient + u128::from(rest > half || (rest == half && quotient & 1 == 1))
        }
        // Less than half of the last digit.
        _ => 0,
    };
    let text = format!("{}.{:0DECIMALS$}", rounded / TEN_TO_DECIMALS, rounded % TEN_TO_DECIMALS);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A parsed number: `digits * radix^-fraction`, times 10 or 2 to the power of `exponent`.
struct Digits {
    digits: Vec<u8>,
    fraction: i64,
    exponent: i64,
}

impl Digits {
    fn parse(text: &[u8], radix: u32) -> Option<Digits> {
        let marker = if radix == 16 { b'p' } else { b'e' };
        let end = text.iter().position(|byte| byte.to_ascii_lowercase() == marker);
        let (number, exponent) = match end {
            Some(end) => (&text[..end], parse_exponent(&text[end + 1..])?),
            None => (text, 0),
        };
        let mut digits = Digits { digits: Vec::with_capacity(number.len()), fraction: 0, exponent };
        let mut point = false;
        for &byte in number {
            match char::from(byte).to_digit(radix) {
                Some(digit) => {
                    digits.digits.push(digit as u8);
                    digits.fraction += i64::from(point);
                }
                None if byte == b'.' && !point => point = true,
                None => return None,
            }
        }
        let any = !digits.digits.is_empty();
        let zeros = digits.digits.iter().take_while(|digit| **digit == 0).count();
        digits.digits.drain(..zeros);
        any.then_some(digits)
    }

    fn decimal(self) -> Option<LongDouble> {
        /// Far outside of the range of finite numbers.
        const POWER_MAX: i64 = 5_000;
        const POWER_MIN: i64 = -5_000;
        if self.digits.is_empty() {
            return Some(LongDouble::ZERO);
        }
        let power = self.exponent.saturating_sub(self.fraction);
        let top = power.saturating_add(self.digits.len() as i64);
        if !(POWER_MIN..=POWER_MAX).contains(&top) {
            return None;
        }
        let big = BigUint::from_radix_be(&self.digits, 10)?;
        let ten_to = |power: i64| BigUint::from(10u32).pow(power as u32);
        if power >= 0 {
            return LongDouble::rounded(&(big * ten_to(power)), 0, false);
        }
        // Shift left, so that the quotient has at least 66 bits.
        let divisor = ten_to(-power);
        let shift = (divisor.bits() + 66).saturating_sub(big.bits());
        let shifted = big << shift;
        let quotient = &shifted / &divisor;
        let sticky = &quotient * divisor != shifted;
        LongDouble::rounded(&quotient, -(shift as i64), sticky)
    }

    fn hexadecimal(self) -> Option<LongDouble> {
        if self.digits.is_empty() {
            return Some(LongDouble::ZERO);
        }
        let exponent = self.exponent.saturating_sub(4 * self.fraction);
        if exponent.abs() > 1 << 32 {
            return None;
        }
        let rounded = LongDouble::rounded(&BigUint::from_radix_be(&self.digits, 16)?, exponent, false)?;
        (TOP_MIN..=TOP_MAX).contains(&(rounded.exponent + 63)).then_some(rounded)
    }
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: i64, digit: &u8| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
    let value = digits.iter().fold(0i64, add).min(1 << 40);
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::LongDouble;
    use proptest::prelude::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        let add = LongDouble::parse(a.as_bytes())?.add(LongDouble::parse(b.as_bytes())?)?;
        Some(add.to_text())
    }

    #[test]
    fn sums_are_valkeys() {
        // The replies of Valkey 9.1.2 on x86-64.
        let cases = include_str!("long_double_cases.txt");
        let mut count = 0;
        for line in cases.lines().filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            let expected = (words[2] != "error").then(|| words[2].to_owned());
            assert_eq!(sum(words[0], words[1]), expected, "{line}");
            count += 1;
        }
        assert!(count > 100, "only {count} cases");
    }

    #[test]
    fn not_finite() {
        assert_eq!(sum("inf", "1"), None);
        assert_eq!(sum("inf", "-inf"), None);
        assert_eq!(LongDouble::parse(b"nan"), None);
        assert_eq!(LongDouble::parse(b"1e5000"), None);
        assert_eq!(LongDouble::parse(b"1e-5000"), None);
        assert_eq!(LongDouble::parse(b"1e99999999999999999999999"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+]?(0x)?[0-9a-fA-F.]{0,40}([eEpP][-+]?[0-9]{0,7})?") {
            if let Some(number) = LongDouble::parse(text.as_bytes()) {
                number.to_text();
                number.add(number);
            }
        }

        #[test]
        fn integers_are_exact(a in -1i64 << 61..1 << 61, b in -1i64 << 61..1 << 61) {
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), Some((a + b).to_string()));
        }

        #[test]
        fn what_is_written_reads_as_the_same_sum(a in -1e15f64..1e15, b in -1e15f64..1e15) {
            let text = sum(&a.to_string(), &b.to_string()).unwrap();
            prop_assert!((text.parse::<f64>().unwrap() - (a + b)).abs() <= (a.abs() + b.abs()) * 1e-15);
        }
    }
}
