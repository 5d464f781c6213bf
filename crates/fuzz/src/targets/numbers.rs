//! Numbers as texts.

use fastness_engine::fuzzing;
use fastness_resp::{double, number};

use super::input::{inputs, words};
use crate::Target;

pub(super) const NUMBER: Target = Target {
    name: "number",
    what: "integers have one form; doubles are read back as they were written; long doubles of INCRBYFLOAT keep their \
           text, and sums do not depend on the order",
    bytes_max: 48,
    share: 40,
    seeds: || {
        inputs(&[
            b"0",
            b"-9223372036854775808",
            b"9223372036854775807",
            b"3.14159265358979323846",
            b"1e4932",
            b"-1.5e-4900",
            b"0x1.8p10",
            b"inf",
            b"1234567890.12345678901234567 -0.00000000000000001",
            b"0.1 0.2",
            b"18446744073709551615 1",
            b"\x01\x02\x03\x04\x05\x06\xf0\x3f",
        ])
    },
    words: || words(&["e", "0x", ".", "-", "p-3", "e400", "inf", "nan", " ", "99999999999999999"]),
    memory: |length| (1 << 20) + 4096 * length,
    run: check,
};

fn check(input: &[u8]) -> bool {
    let parsed = number::parse_int(input);
    if let Some(number) = parsed {
        assert_eq!(number.to_string().as_bytes(), input, "an integer has one form");
    } else if let Some(number) = std::str::from_utf8(input).ok().and_then(|text| text.parse::<i64>().ok()) {
        assert_ne!(number.to_string().as_bytes(), input, "an integer in its form is one");
    }
    if let Some(bytes) = input.first_chunk::<8>() {
        doubles(f64::from_le_bytes(*bytes));
    }
    let at = input.iter().position(|byte| *byte == b' ').unwrap_or(input.len());
    let (a, b) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    let sum = fuzzing::long_double_sum(a, b);
    assert_eq!(fuzzing::long_double_sum(b, a), sum, "a sum depends on the order");
    if let Some(sum) = sum {
        settled(&sum);
    }
    let text = fuzzing::long_double_text(a);
    if let Some(text) = &text {
        settled(text);
        let same = fuzzing::long_double_sum(a, b"0").expect("the sum with 0 is finite");
        assert_eq!(&same, text, "0 changes a number");
    }
    text.is_some()
}

/// A text that was written is read, and written again, as itself.
fn settled(text: &str) {
    assert_eq!(fuzzing::long_double_text(text.as_bytes()).as_deref(), Some(text), "a number is read as it was written");
}

fn doubles(number: f64) {
    let (mut short, mut plain) = (Vec::new(), Vec::new());
    double::write_shortest(number, &mut short);
    double::write(number, &mut plain);
    for text in [short, plain] {
        let text = std::str::from_utf8(&text).expect("a number is ASCII");
        let read: f64 = text.parse().expect("what was written is a number");
        assert!(read == number || read.is_nan() && number.is_nan(), "{number:e} is written as {text}");
    }
}
