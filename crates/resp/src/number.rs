//! Integers in their one decimal form, in requests, replies, arguments and values alike.

/// Longest decimal form of a 64-bit integer.
const INT_TEXT_MAX: usize = 20;

/// Parses the one decimal form of an integer: no sign but `-`, no leading zero, no space, no `-0`. As Valkey's
/// `string2ll`, so that an integer can be stored instead of its text.
#[inline]
#[must_use]
pub fn parse_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if text.len() <= INT_TEXT_MAX => {}
        _ => return None,
    }
    let mut value: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// Writes the decimal form into `buffer`.
pub fn int_text(value: i64, buffer: &mut itoa::Buffer) -> &[u8] {
    buffer.format(value).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_form_is_a_number() {
        for good in ["0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808"] {
            let value = parse_int(good.as_bytes()).unwrap();
            assert_eq!(value.to_string(), good);
        }
        let bad = ["", "-", "+1", "01", "-0", "00", " 1", "1 ", "1a", "9223372036854775808", "-9223372036854775809"];
        for bad in bad.iter().chain(&["99999999999999999999", "100000000000000000000", "0x1", "1.0"]) {
            assert_eq!(parse_int(bad.as_bytes()), None, "{bad}");
        }
    }
}
