//! Replies as they are, for scripts: nothing is escaped.

use fastness_resp::value::Value;

use super::number::double_text;

/// A reply: strings as their bytes, each item of a list on a line, name and value of a map on a line.
#[must_use]
pub fn render(reply: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value(reply, &mut out);
    out.push(b'\n');
    out
}

fn value(reply: &Value, out: &mut Vec<u8>) {
    match reply {
        Value::Simple(bytes)
        | Value::Error(bytes)
        | Value::Bulk(bytes)
        | Value::BigNumber(bytes)
        | Value::Verbatim(_, bytes) => out.extend_from_slice(bytes),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Double(number) => out.extend_from_slice(double_text(*number).as_bytes()),
        Value::Bool(yes) => out.extend_from_slice(if *yes { b"(true)" } else { b"(false)" }),
        Value::Null | Value::NullArray => {}
        Value::Array(values) | Value::Set(values) | Value::Push(values) => {
            for (at, item) in values.iter().enumerate() {
                if at > 0 {
                    out.push(b'\n');
                }
                value(item, out);
            }
        }
        Value::Map(pairs) => {
            for (at, (key, item)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.push(b'\n');
                }
                value(key, out);
                out.push(b' ');
                value(item, out);
            }
        }
        Value::Attribute(_, of) => value(of, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_as_they_are() {
        let bulk = |text: &[u8]| Value::Bulk(text.to_vec());
        for (reply, expected) in [
            (bulk(b"a\x1b\xff\n"), &b"a\x1b\xff\n\n"[..]),
            (Value::Null, b"\n"),
            (Value::Integer(7), b"7\n"),
            (Value::Double(0.5), b"0.5\n"),
            (Value::Bool(false), b"(false)\n"),
            (Value::Error(b"ERR no".to_vec()), b"ERR no\n"),
            (Value::Array(vec![bulk(b"a"), Value::Null, bulk(b"b")]), b"a\n\nb\n"),
            (Value::Map(vec![(bulk(b"a"), Value::Integer(1)), (bulk(b"b"), Value::Integer(2))]), b"a 1\nb 2\n"),
            (Value::Attribute(Vec::new(), Box::new(bulk(b"a"))), b"a\n"),
        ] {
            assert_eq!(render(&reply), expected, "{reply:?}");
        }
    }
}
