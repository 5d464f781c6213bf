//! Replies as one line of comma-separated values, as valkey-cli writes them.

use fastness_resp::value::Value;

use super::escape;
use super::number::double_text;

/// A reply: strings in quotes, with backslashes before what is escaped; nested lists without a mark.
#[must_use]
pub fn render(reply: &Value) -> String {
    let mut cells = Vec::new();
    collect(reply, &mut cells);
    cells.join(",") + "\n"
}

fn collect(reply: &Value, cells: &mut Vec<String>) {
    match reply {
        Value::Simple(bytes) | Value::Bulk(bytes) | Value::Verbatim(_, bytes) => cells.push(escape::quoted(bytes)),
        Value::Error(text) => cells.extend(["ERROR".to_owned(), escape::quoted(text)]),
        Value::Integer(number) => cells.push(number.to_string()),
        Value::Double(number) => cells.push(double_text(*number)),
        Value::BigNumber(digits) => cells.push(escape::text(digits)),
        Value::Bool(yes) => cells.push(yes.to_string()),
        Value::Null | Value::NullArray => cells.push("NULL".to_owned()),
        Value::Array(values) | Value::Set(values) | Value::Push(values) => {
            values.iter().for_each(|value| collect(value, cells));
        }
        Value::Map(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).for_each(|part| collect(part, cells)),
        Value::Attribute(_, of) => collect(of, cells),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_whatever_the_reply_is() {
        let bulk = |text: &[u8]| Value::Bulk(text.to_vec());
        let list = Value::Array(vec![bulk(b"a,\"b\"\n"), Value::Null, Value::Array(vec![Value::Integer(1)])]);
        assert_eq!(render(&list), "\"a,\\\"b\\\"\\n\",NULL,1\n");
        assert_eq!(render(&Value::Error(b"ERR no".to_vec())), "ERROR,\"ERR no\"\n");
        assert_eq!(render(&Value::Map(vec![(bulk(b"a"), Value::Bool(true))])), "\"a\",true\n");
        assert_eq!(render(&Value::Double(1.0)), "1\n");
        assert_eq!(render(&Value::BigNumber(b"12".to_vec())), "12\n");
    }
}
