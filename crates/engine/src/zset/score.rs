//! Scores: their order, and their forms in requests, packed sorted sets, images, effects and ZSCAN.
//!
//! Scores are 64-bit floating-point numbers, infinities included, never NaN. `-0` and `0` are equal, so that members
//! with these scores are ordered by their names; replies distinguish them.

/// Bytes of a score in entries and effects: its bits, little-endian.
pub const SCORE_BYTES: usize = size_of::<f64>();

/// A number that orders scores: two scores compare as their numbers do.
#[inline]
#[must_use]
pub fn order_of(score: f64) -> u64 {
    // The sum of -0 and 0 is 0.
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The bytes of a score in entries and effects.
#[must_use]
pub fn bytes_of(score: f64) -> [u8; SCORE_BYTES] {
    score.to_bits().to_le_bytes()
}

/// The score that [`bytes_of`] wrote; `None` for other bytes, and for NaN.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<f64> {
    let score = f64::from_bits(u64::from_le_bytes(bytes.try_into().ok()?));
    (!score.is_nan()).then_some(score)
}

/// Parses a score: all of the text, in decimal. Numbers that are too large or too small for 64 bits are refused, and
/// so is NaN.
#[must_use]
pub fn parse(text: &[u8]) -> Option<f64> {
    let score = parse_rounded(text)?;
    let digits = |text: &[u8]| text.iter().take_while(|byte| !byte.eq_ignore_ascii_case(&b'e')).any(is_nonzero_digit);
    let is_in_range = match score {
        0.0 => !digits(text),
        score if score.is_infinite() => !text.iter().any(u8::is_ascii_digit),
        _ => true,
    };
    is_in_range.then_some(score)
}

fn is_nonzero_digit(byte: &u8) -> bool {
    matches!(byte, b'1'..=b'9')
}

/// As [`parse`], but numbers out of range become infinite or zero.
fn parse_rounded(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|score: &f64| !score.is_nan())
}

/// Parses the limit of a range of scores, which Valkey reads as a C string: it ends at a zero byte, an empty one is 0,
/// and numbers out of range become infinite or zero.
#[must_use]
pub fn parse_limit(text: &[u8]) -> Option<f64> {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    if end == 0 { Some(0.0) } else { parse_rounded(&text[..end]) }
}

/// The largest score, plus 1, that the head of a packed score contains itself.
const SMALL_END: i64 = 0x80;
/// Whole scores below this are exact, and are packed as integers.
const WHOLE_END: u64 = 1 << 53;

/// Appends the packed form of a score: a head, and up to eight bytes.
///
/// | head | score |
/// |---|---|
/// | 0 to 127 | the head itself |
/// | 128 + n, n from 1 to 7 | a signed integer of n bytes, which follow, little-endian |
/// | 136 | any number: its bits follow, little-endian |
pub(super) fn write_packed(score: f64, out: &mut Vec<u8>) {
    let whole = score as i64;
    let is_whole = (whole as f64).to_bits() == score.to_bits() && whole.unsigned_abs() < WHOLE_END;
    if !is_whole {
        out.push(0x80 + SCORE_BYTES as u8);
        out.extend_from_slice(&bytes_of(score));
    } else if (0..SMALL_END).contains(&whole) {
        out.push(whole as u8);
    } else {
        let magnitude = if whole < 0 { !whole } else { whole };
        let len = (u64::BITS - magnitude.leading_zeros()) as usize / 8 + 1;
        out.push(0x80 + len as u8);
        out.extend_from_slice(&whole.to_le_bytes()[..len]);
    }
}

/// How many bytes follow the head of a packed score; `None` for a byte that is no head.
pub(super) fn packed_len(head: u8) -> Option<usize> {
    match head {
        0..=0x7f => Some(0),
        0x81..=0x88 => Some(usize::from(head - 0x80)),
        _ => None,
    }
}

/// The score of a head and the bytes that follow it, which are as many as [`packed_len`] says.
pub(super) fn unpacked(head: u8, bytes: &[u8]) -> f64 {
    if head < 0x80 {
        return f64::from(head);
    }
    let is_negative = bytes.len() < SCORE_BYTES && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if is_negative { 0xff } else { 0 }; SCORE_BYTES];
    whole[..bytes.len()].copy_from_slice(bytes);
    if bytes.len() == SCORE_BYTES { f64::from_le_bytes(whole) } else { i64::from_le_bytes(whole) as f64 }
}

/// Digits of a score in ZSCAN.
const SCANNED_DIGITS: i32 = 17;

/// The form of a score in ZSCAN of a large sorted set: 17 significant digits, as C's `%.17g` writes them.
pub(super) fn scanned(score: f64) -> Vec<u8> {
    if score == 0.0 || score.is_infinite() {
        let mut text = Vec::new();
        fastness_resp::double::write(score, &mut text);
        return text;
    }
    let text = format!("{score:.16e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if score < 0.0 { "-" } else { "" };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let kept = digits.trim_end_matches('0');
    let text = if !(-4..SCANNED_DIGITS).contains(&exponent) {
        let (first, rest) = kept.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.unsigned_abs())
    } else if exponent < 0 {
        format!("{sign}0.{}{kept}", "0".repeat((-exponent - 1) as usize))
    } else {
        let (whole, fraction) = digits.split_at(exponent as usize + 1);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    };
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_as_valkey_does() {
        for (text, score) in [
            ("5", 5.0),
            ("+5", 5.0),
            ("-5", -5.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("1e5", 1e5),
            ("1E-5", 1e-5),
            ("inf", f64::INFINITY),
            ("-INF", f64::NEG_INFINITY),
            ("+Infinity", f64::INFINITY),
            ("0", 0.0),
            ("0e5", 0.0),
            ("0.000", 0.0),
            ("1e-310", 1e-310),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(score), "{text}");
        }
        for text in ["", " 5", "5 ", "nan", "-nan", "1e400", "1e-400", "0x10", "1e", "(5", "5\0", "x", "+", ".", "1_0"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        for (text, score) in [
            ("", 0.0),
            ("5\0x", 5.0),
            ("\0", 0.0),
            ("1e400", f64::INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
        ] {
            assert_eq!(parse_limit(text.as_bytes()), Some(score), "{text}");
        }
        for text in ["nan", " 5", "x", "0x1", "5 "] {
            assert_eq!(parse_limit(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn seventeen_digits() {
        for (score, text) in [
            (0.1, "0.10000000000000001"),
            (3e-7, "2.9999999999999999e-07"),
            (1e17, "1e+17"),
            (1e16, "10000000000000000"),
            (5e18, "5e+18"),
            (-123.5, "-123.5"),
            (0.0, "0"),
            (-0.0, "-0"),
            (f64::NEG_INFINITY, "-inf"),
            (1e300, "1.0000000000000001e+300"),
            (4_503_599_627_370_497.0, "4503599627370497"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
        ] {
            assert_eq!(String::from_utf8(scanned(score)).unwrap(), text);
        }
    }

    fn packed(score: f64) -> Vec<u8> {
        let mut out = Vec::new();
        write_packed(score, &mut out);
        assert_eq!(packed_len(out[0]), Some(out.len() - 1));
        out
    }

    #[test]
    fn small_integers_are_short() {
        for (score, len) in [(0.0, 1), (127.0, 1), (-1.0, 2), (-128.0, 2), (128.0, 3), (-129.0, 3), (32_767.0, 3)] {
            assert_eq!(packed(score).len(), len, "{score}");
        }
        for score in [1e15, -1e15, 9_007_199_254_740_991.0, -9_007_199_254_740_991.0] {
            assert!(packed(score).len() <= 8, "{score}");
        }
        assert_eq!(packed(-0.0).len(), 9);
        assert_eq!((packed_len(0x80), packed_len(0x89)), (None, None));
    }

    fn any_score() -> impl Strategy<Value = f64> {
        const SPECIAL: &[f64] = &[0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX];
        prop_oneof![
            any::<f64>().prop_filter("NaN is no score", |score| !score.is_nan()),
            any::<i64>().prop_map(|whole| whole as f64),
            (any::<i64>(), 0u32..64).prop_map(|(whole, shift)| (whole >> shift) as f64),
            prop::sample::select(SPECIAL),
        ]
    }

    proptest! {
        #[test]
        fn packing_keeps_every_bit(score in any_score()) {
            let packed = packed(score);
            prop_assert_eq!(unpacked(packed[0], &packed[1..]).to_bits(), score.to_bits());
            prop_assert_eq!(from_bytes(&bytes_of(score)).map(f64::to_bits), Some(score.to_bits()));
        }

        #[test]
        fn numbers_order_as_scores_do(a in any_score(), b in any_score()) {
            prop_assert_eq!(Some(order_of(a).cmp(&order_of(b))), a.partial_cmp(&b));
        }

        #[test]
        fn seventeen_digits_read_back(score in any_score()) {
            let text = String::from_utf8(scanned(score)).unwrap();
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), score.to_bits());
        }
    }
}
