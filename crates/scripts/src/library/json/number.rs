//! Numbers as C prints them with `%.*g`, and as its `strtod` reads them.

/// Appends `number` with up to `precision` significant digits, as `%.*g` does.
pub(crate) fn write(number: f64, precision: usize, out: &mut Vec<u8>) {
    if number.is_nan() || number.is_infinite() {
        let text = if number.is_nan() { "nan" } else { "inf" };
        if number.is_sign_negative() {
            out.push(b'-');
        }
        return out.extend_from_slice(text.as_bytes());
    }
    let precision = precision.max(1);
    let scientific = format!("{number:.*e}", precision - 1);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= precision as i32 {
        out.extend_from_slice(without_zeros(digits).as_bytes());
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
    } else {
        let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
        out.extend_from_slice(without_zeros(&format!("{number:.decimals$}")).as_bytes());
    }
}

fn without_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// The number at the start of `text`, and its length; `None` if there is none.
pub(crate) fn read(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let body = &text[sign..];
    let (number, length) = read_hex(body).or_else(|| read_decimal(body)).or_else(|| read_word(body))?;
    Some((if negative { -number } else { number }, sign + length))
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn read_decimal(text: &[u8]) -> Option<(f64, usize)> {
    let whole = digits(text);
    let mut length = whole;
    let mut fraction = 0;
    if text.get(length) == Some(&b'.') {
        fraction = digits(&text[length + 1..]);
        if whole + fraction > 0 {
            length += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    length += exponent(&text[length..], b'e').map_or(0, |(_, length)| length);
    let number = std::str::from_utf8(&text[..length]).ok()?.parse().ok()?;
    Some((number, length))
}

/// An exponent after its letter, and its length.
fn exponent(text: &[u8], letter: u8) -> Option<(i32, usize)> {
    if text.first().map(u8::to_ascii_lowercase) != Some(letter) {
        return None;
    }
    let sign = usize::from(matches!(text.get(1), Some(b'-' | b'+')));
    let count = digits(&text[1 + sign..]);
    if count == 0 {
        return None;
    }
    let value = text[1 + sign..1 + sign + count]
        .iter()
        .fold(0_i32, |sum, digit| sum.saturating_mul(10).saturating_add(i32::from(digit - b'0')));
    Some((if text.get(1) == Some(&b'-') { -value } else { value }, 1 + sign + count))
}

fn read_hex(text: &[u8]) -> Option<(f64, usize)> {
    if text.first() != Some(&b'0') || text.get(1).map(u8::to_ascii_lowercase) != Some(b'x') {
        return None;
    }
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut at, mut number, mut count, mut scale) = (2, 0.0_f64, 0, 0_i32);
    let mut is_fraction = false;
    loop {
        if let Some(value) = digit(at) {
            number = number * 16.0 + f64::from(value);
            count += 1;
            scale -= if is_fraction { 4 } else { 0 };
        } else if text.get(at) == Some(&b'.') && !is_fraction && (count > 0 || digit(at + 1).is_some()) {
            is_fraction = true;
        } else {
            break;
        }
        at += 1;
    }
    if count == 0 {
        return None;
    }
    if let Some((value, length)) = exponent(&text[at..], b'p') {
        scale = scale.saturating_add(value);
        at += length;
    }
    Some((number * 2.0_f64.powi(scale), at))
}

fn read_word(text: &[u8]) -> Option<(f64, usize)> {
    let starts = |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    if starts("infinity") {
        return Some((f64::INFINITY, 8));
    }
    if starts("inf") {
        return Some((f64::INFINITY, 3));
    }
    if !starts("nan") {
        return None;
    }
    // `nan(…)` with letters, digits and underscores between the parentheses.
    let word = text[3..].iter().skip(1).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let is_long = text.get(3) == Some(&b'(') && text.get(4 + word) == Some(&b')');
    Some((f64::NAN, if is_long { 5 + word } else { 3 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_in_c() {
        for (number, precision, expected) in [
            (0.0, 14, "0"),
            (-0.0, 14, "-0"),
            (1.5, 14, "1.5"),
            (100.0, 14, "100"),
            (1e14, 14, "1e+14"),
            (1e13, 14, "10000000000000"),
            (0.0001, 14, "0.0001"),
            (0.00001, 14, "1e-05"),
            (1.0 / 3.0, 14, "0.33333333333333"),
            (1.0 / 3.0, 3, "0.333"),
            (99999.0, 3, "1e+05"),
            (1e300, 14, "1e+300"),
            (f64::NEG_INFINITY, 14, "-inf"),
        ] {
            let mut out = Vec::new();
            write(number, precision, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{number}");
        }
    }

    #[test]
    fn numbers_are_read_as_in_c() {
        for (text, expected) in [
            ("1", Some((1.0, 1))),
            ("1.", Some((1.0, 2))),
            (".5]", Some((0.5, 2))),
            ("-1.5e3,", Some((-1500.0, 6))),
            ("1e", Some((1.0, 1))),
            ("1e+", Some((1.0, 1))),
            ("0x1F ", Some((31.0, 4))),
            ("0x1.8p1", Some((3.0, 7))),
            ("0x", Some((0.0, 1))),
            ("-infinity", Some((f64::NEG_INFINITY, 9))),
            ("Inf", Some((f64::INFINITY, 3))),
            ("-", None),
            (".", None),
            ("abc", None),
        ] {
            assert_eq!(read(text.as_bytes()), expected, "{text}");
        }
        assert!(read(b"nan(0x1)]").is_some_and(|(number, length)| number.is_nan() && length == 8));
    }
}
