//! How replies are shown.
//!
//! - [`human`]: for people, as valkey-cli shows them on a terminal. [`escape`]: nothing that a terminal obeys gets
//!   there.
//! - [`raw`]: bytes as they are, for scripts. [`csv`], [`json`]: for other programs.

pub mod csv;
pub mod escape;
pub mod human;
pub mod json;
mod number;
pub mod raw;

use fastness_resp::value::Value;

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people; control characters are escaped.
    Human,
    /// Strings as they are.
    Raw,
    /// Comma-separated.
    Csv,
    /// One JSON value on a line.
    Json,
}

impl Output {
    /// The output for one reply, which ends with a line feed. `is_text`: a string in it is meant to be read as text
    /// (INFO), whatever its type says.
    #[must_use]
    pub fn render(self, reply: &Value, is_text: bool) -> Vec<u8> {
        match self {
            Output::Human => human::render(reply, is_text).into_bytes(),
            Output::Raw => raw::render(reply),
            Output::Csv => csv::render(reply).into_bytes(),
            Output::Json => json::render(reply).into_bytes(),
        }
    }
}

/// Whether a reply is an error, or contains one (EXEC).
#[must_use]
pub fn has_error(reply: &Value) -> bool {
    match reply {
        Value::Error(_) => true,
        Value::Array(values) | Value::Set(values) | Value::Push(values) => values.iter().any(has_error),
        Value::Map(pairs) => pairs.iter().any(|(key, value)| has_error(key) || has_error(value)),
        Value::Attribute(_, value) => has_error(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_wherever_they_are() {
        let error = || Value::Error(b"ERR no".to_vec());
        assert!(has_error(&error()));
        assert!(has_error(&Value::Array(vec![Value::Null, Value::Array(vec![error()])])));
        assert!(has_error(&Value::Map(vec![(Value::Null, error())])));
        assert!(has_error(&Value::Attribute(Vec::new(), Box::new(error()))));
        assert!(!has_error(&Value::Array(vec![Value::Bulk(b"ERR no".to_vec())])));
    }

    #[test]
    fn every_form_ends_its_line() {
        for output in [Output::Human, Output::Raw, Output::Csv, Output::Json] {
            for value in [Value::Null, Value::Bulk(b"a".to_vec()), Value::Array(vec![Value::Integer(1)])] {
                assert!(output.render(&value, false).ends_with(b"\n"), "{output:?} {value:?}");
            }
        }
    }
}
