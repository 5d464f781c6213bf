//! Valkey's text form of floating point numbers: the fewest digits that read back as the same number, in the layout of
//! its `fpconv_dtoa` (plain up to seven zeros after the digits, `e` notation beyond).

/// Appends `number` in the form of replies and scores (`d2string`): whole numbers without an exponent.
pub fn write(number: f64, out: &mut Vec<u8>) {
    // As `double2ll`: half of the range of 64-bit integers, whose conversions are exact.
    const WHOLE_MAX: f64 = 4_611_686_018_427_387_904.0;
    if number != 0.0 && number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
    } else {
        write_shortest(number, out);
    }
}

/// Appends `number` in the form of `fpconv_dtoa`.
pub fn write_shortest(number: f64, out: &mut Vec<u8>) {
    if number.is_nan() {
        out.extend_from_slice(b"nan");
        return;
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    if number.is_infinite() {
        out.extend_from_slice(b"inf");
    } else if number == 0.0 {
        out.push(b'0');
    } else {
        write_digits(number.abs(), out);
    }
}

fn write_digits(number: f64, out: &mut Vec<u8>) {
    // `d.ddde-7`: the shortest digits, the decimal exponent of the first one.
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').expect("LowerExp always writes an exponent");
    let exponent: i32 = exponent.parse().expect("LowerExp writes a whole exponent");
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let count = digits.len() as i32;
    // The number is digits × 10^scale.
    let scale = exponent - (count - 1);
    if scale >= 0 && exponent.abs() < count + 7 {
        out.extend_from_slice(&digits);
        out.resize(out.len() + scale as usize, b'0');
    } else if scale < 0 && (scale > -7 || exponent.abs() < 4) {
        write_fraction(&digits, count + scale, out);
    } else {
        write_scientific(&digits, exponent, out);
    }
}

/// Appends the digits with `point` of them before the decimal point.
fn write_fraction(digits: &[u8], point: i32, out: &mut Vec<u8>) {
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let (whole, fraction) = digits.split_at(point as usize);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

fn write_scientific(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    out.extend_from_slice(itoa::Buffer::new().format(exponent.abs()).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(number: f64) -> (String, String) {
        let (mut as_reply, mut shortest) = (Vec::new(), Vec::new());
        write(number, &mut as_reply);
        write_shortest(number, &mut shortest);
        (String::from_utf8(as_reply).unwrap(), String::from_utf8(shortest).unwrap())
    }

    #[test]
    fn layout() {
        for (number, as_reply, shortest) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (1.5, "1.5", "1.5"),
            (-3.0, "-3", "-3"),
            (0.1, "0.1", "0.1"),
            (0.000_001, "0.000001", "0.000001"),
            (0.000_000_1, "1e-7", "1e-7"),
            (1e7, "10000000", "10000000"),
            (1e8, "100000000", "1e+8"),
            (1e17, "100000000000000000", "1e+17"),
            (4.6e18, "4600000000000000000", "4.6e+18"),
            (4_611_686_018_427_387_904.0, "4611686018427387904", "4611686018427388000"),
            (4_611_686_018_427_388_928.0, "4611686018427389000", "4611686018427389000"),
            (4.7e18, "4.7e+18", "4.7e+18"),
            (1e21, "1e+21", "1e+21"),
            (1.7976931348623157e308, "1.7976931348623157e+308", "1.7976931348623157e+308"),
            (2.345_67, "2.34567", "2.34567"),
            (123_456_789.125, "123456789.125", "123456789.125"),
            (f64::INFINITY, "inf", "inf"),
            (f64::NEG_INFINITY, "-inf", "-inf"),
            (f64::NAN, "nan", "nan"),
        ] {
            assert_eq!(spelled(number), (as_reply.to_owned(), shortest.to_owned()), "{number}");
        }
    }
}
