//! Replies as JSON, each on one line.
//!
//! Maps are objects, whose names are the keys' strings (or the JSON of a key of another type); sets are arrays; nil is
//! null. An error is `{"error": text}`, wherever it is. A string that is not UTF-8 has one character from U+0000 to
//! U+00FF for each of its bytes. Infinity and NaN, which JSON does not have, are strings. A big number is a number.

use fastness_resp::value::Value;
use serde_json::Value as Json;

use super::number::double_text;

/// A reply.
#[must_use]
pub fn render(reply: &Value) -> String {
    let mut out = String::new();
    value(reply, &mut out);
    out.push('\n');
    out
}

/// The text of bytes: as UTF-8, else one character for each byte.
fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned)
}

fn push_string(bytes: &[u8], out: &mut String) {
    out.push_str(&Json::from(text(bytes)).to_string());
}

fn value(reply: &Value, out: &mut String) {
    match reply {
        Value::Simple(bytes) | Value::Bulk(bytes) | Value::Verbatim(_, bytes) => push_string(bytes, out),
        Value::Error(bytes) => {
            out.push_str("{\"error\":");
            push_string(bytes, out);
            out.push('}');
        }
        Value::Integer(number) => out.push_str(&number.to_string()),
        Value::Double(number) if number.is_finite() => out.push_str(&Json::from(*number).to_string()),
        Value::Double(number) => push_string(double_text(*number).as_bytes(), out),
        Value::BigNumber(digits) if is_number(digits) => out.push_str(&text(digits)),
        Value::BigNumber(digits) => push_string(digits, out),
        Value::Bool(yes) => out.push_str(&yes.to_string()),
        Value::Null | Value::NullArray => out.push_str("null"),
        Value::Array(values) | Value::Set(values) | Value::Push(values) => {
            out.push('[');
            separated(values, out, value);
            out.push(']');
        }
        Value::Map(pairs) => {
            out.push('{');
            separated(pairs, out, |(name, item), out| {
                push_name(name, out);
                out.push(':');
                value(item, out);
            });
            out.push('}');
        }
        Value::Attribute(_, of) => value(of, out),
    }
}

fn is_number(digits: &[u8]) -> bool {
    let digits = digits.strip_prefix(b"-").unwrap_or(digits);
    let is_plain = digits.len() == 1 || !digits.starts_with(b"0");
    !digits.is_empty() && is_plain && digits.iter().all(u8::is_ascii_digit)
}

fn push_name(name: &Value, out: &mut String) {
    match name.as_bytes() {
        Some(bytes) => push_string(bytes, out),
        None => {
            let mut inner = String::new();
            value(name, &mut inner);
            push_string(inner.as_bytes(), out);
        }
    }
}

fn separated<T>(items: &[T], out: &mut String, mut push: impl FnMut(&T, &mut String)) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push(item, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &[u8]) -> Value {
        Value::Bulk(text.to_vec())
    }

    #[test]
    fn every_type_is_valid_json() {
        for (reply, expected) in [
            (Value::Simple(b"OK".to_vec()), r#""OK""#),
            (bulk(b"a\"\x1b\n"), r#""a\"\u001b\n""#),
            (bulk("m\u{fc}".as_bytes()), "\"m\u{fc}\""),
            (bulk(b"\xff\x00"), "\"\u{ff}\\u0000\""),
            (Value::Integer(-1), "-1"),
            (Value::Double(1.5), "1.5"),
            (Value::Double(f64::NEG_INFINITY), r#""-inf""#),
            (Value::BigNumber(b"123456789012345678901234567890".to_vec()), "123456789012345678901234567890"),
            (Value::BigNumber(b"012".to_vec()), r#""012""#),
            (Value::Bool(true), "true"),
            (Value::Null, "null"),
            (Value::NullArray, "null"),
            (Value::Array(vec![Value::Null, Value::Error(b"ERR x".to_vec())]), r#"[null,{"error":"ERR x"}]"#),
            (Value::Set(Vec::new()), "[]"),
            (Value::Map(vec![(bulk(b"a"), Value::Integer(1)), (Value::Integer(2), bulk(b"b"))]), r#"{"a":1,"2":"b"}"#),
            (Value::Attribute(vec![(bulk(b"a"), Value::Null)], Box::new(Value::Integer(1))), "1"),
            (Value::Verbatim(*b"txt", b"x".to_vec()), r#""x""#),
        ] {
            let text = render(&reply);
            assert_eq!(text, format!("{expected}\n"));
            assert!(serde_json::from_str::<Json>(&text).is_ok(), "{text}");
        }
    }
}
