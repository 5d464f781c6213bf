//! Replies for people: nested lists with numbers, types where the value does not show them.

use fastness_resp::value::Value;

use super::escape;
use super::number::double_text;

/// A reply. `is_text`: a bulk string is shown as lines of text.
#[must_use]
pub fn render(reply: &Value, is_text: bool) -> String {
    let mut out = String::new();
    match reply {
        Value::Bulk(text) if is_text => push_lines(text, &mut out),
        reply => value(reply, 0, &mut out),
    }
    out
}

fn push_lines(text: &[u8], out: &mut String) {
    let lines = escape::lines(text);
    out.push_str(&lines);
    if !lines.ends_with('\n') {
        out.push('\n');
    }
}

fn value(reply: &Value, indent: usize, out: &mut String) {
    match reply {
        Value::Array(values) => list(values, ')', "array", indent, out),
        Value::Set(values) => list(values, '~', "set", indent, out),
        Value::Push(values) => list(values, ')', "push", indent, out),
        Value::Map(pairs) => map(pairs, "hash", indent, out),
        Value::Attribute(pairs, of) => {
            map(pairs, "attribute", indent, out);
            out.extend(std::iter::repeat_n(' ', indent));
            value(of, indent, out);
        }
        Value::Verbatim(_, text) => push_lines(text, out),
        one => {
            out.push_str(&scalar(one));
            out.push('\n');
        }
    }
}

fn scalar(reply: &Value) -> String {
    match reply {
        Value::Simple(text) => escape::text(text),
        Value::Error(text) => format!("(error) {}", escape::text(text)),
        Value::Integer(number) => format!("(integer) {number}"),
        Value::Bulk(bytes) => escape::quoted(bytes),
        Value::Double(number) => format!("(double) {}", double_text(*number)),
        Value::Bool(yes) => format!("({yes})"),
        Value::BigNumber(digits) => format!("(big number) {}", escape::text(digits)),
        _ => "(nil)".to_owned(),
    }
}

fn digits(number: usize) -> usize {
    number.max(1).ilog10() as usize + 1
}

/// The items, each behind its number; further lines of an item are indented by the width of the number.
fn list(values: &[Value], separator: char, kind: &str, indent: usize, out: &mut String) {
    if values.is_empty() {
        out.push_str(&format!("(empty {kind})\n"));
        return;
    }
    let width = digits(values.len());
    for (at, item) in values.iter().enumerate() {
        number(at, width, separator, indent, out);
        value(item, indent + width + 2, out);
    }
}

fn number(at: usize, width: usize, separator: char, indent: usize, out: &mut String) {
    // What precedes the first item has been written by the caller.
    let indent = if at == 0 { 0 } else { indent };
    out.push_str(&format!("{:indent$}{:>width$}{separator} ", "", at + 1));
}

fn map(pairs: &[(Value, Value)], kind: &str, indent: usize, out: &mut String) {
    if pairs.is_empty() {
        out.push_str(&format!("(empty {kind})\n"));
        return;
    }
    let separator = if kind == "attribute" { '|' } else { '#' };
    let width = digits(pairs.len());
    for (at, (key, item)) in pairs.iter().enumerate() {
        number(at, width, separator, indent, out);
        value(key, indent + width + 2, out);
        // The value follows its key on the same line.
        out.truncate(out.trim_end_matches('\n').len());
        out.push_str(" => ");
        value(item, indent + width + 2, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    #[track_caller]
    fn check(reply: &Value, expected: &str) {
        assert_eq!(render(reply, false), expected);
    }

    #[test]
    fn single_values_show_their_type() {
        check(&Value::Simple(b"OK".to_vec()), "OK\n");
        check(&Value::Error(b"ERR no\x1b[m".to_vec()), "(error) ERR no\\x1b[m\n");
        check(&Value::Integer(-3), "(integer) -3\n");
        check(&bulk("a\n"), "\"a\\n\"\n");
        check(&Value::Null, "(nil)\n");
        check(&Value::NullArray, "(nil)\n");
        check(&Value::Double(1.5), "(double) 1.5\n");
        check(&Value::Double(f64::INFINITY), "(double) inf\n");
        check(&Value::Bool(true), "(true)\n");
        check(&Value::BigNumber(b"123".to_vec()), "(big number) 123\n");
        check(&Value::Verbatim(*b"txt", b"# Server\r\na:\x1b1\r\n".to_vec()), "# Server\na:\\x1b1\n");
        assert_eq!(render(&bulk("# Server\r\na:1"), true), "# Server\na:1\n");
    }

    #[test]
    fn lists_are_numbered_and_nested() {
        check(&Value::Array(Vec::new()), "(empty array)\n");
        check(&Value::Set(Vec::new()), "(empty set)\n");
        check(&Value::Map(Vec::new()), "(empty hash)\n");
        check(&Value::Set(vec![bulk("a")]), "1~ \"a\"\n");
        let inner = Value::Array(vec![bulk("x"), bulk("y")]);
        let mut items = vec![inner, Value::Integer(1)];
        check(&Value::Array(items.clone()), "1) 1) \"x\"\n   2) \"y\"\n2) (integer) 1\n");
        items.extend((0..8).map(Value::Integer));
        let text = render(&Value::Array(items), false);
        assert!(text.starts_with(" 1) 1) \"x\"\n    2) \"y\"\n 2) (integer) 1\n"), "{text}");
        assert!(text.ends_with("\n10) (integer) 7\n"), "{text}");
    }

    #[test]
    fn maps_show_pairs() {
        let pairs = vec![(bulk("a"), Value::Integer(1)), (bulk("b"), Value::Array(vec![bulk("x"), bulk("y")]))];
        check(&Value::Map(pairs), "1# \"a\" => (integer) 1\n2# \"b\" => 1) \"x\"\n   2) \"y\"\n");
        let ttl = vec![(bulk("ttl"), Value::Integer(3))];
        check(&Value::Attribute(ttl, Box::new(bulk("x"))), "1| \"ttl\" => (integer) 3\n\"x\"\n");
    }
}
