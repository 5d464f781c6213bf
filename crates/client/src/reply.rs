//! Replies to commands of any kind.

use std::time::Duration;

use bytes::Bytes;
use fastness_wire::v1::{self, value::Kind};
use tonic::Code;

use crate::error::ClientError;

/// A value with its remaining time to live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiringValue {
    /// The value.
    pub value: Bytes,
    /// The remaining time to live, exact to the millisecond; absent if the key does not expire.
    pub ttl: Option<Duration>,
}

/// The reply to a command, as RESP3 has it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ReplyValue {
    /// No value.
    Null,
    /// A status such as `OK`.
    Status(String),
    /// A string of bytes.
    Bytes(Bytes),
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// A truth value.
    Boolean(bool),
    /// An integer of any size, in decimal digits.
    BigNumber(String),
    /// A text with its format, as three letters (`txt`, `mkd`).
    Verbatim {
        /// The three letters.
        format: String,
        /// The text.
        text: Bytes,
    },
    /// Values in order.
    Array(Vec<ReplyValue>),
    /// Different values in any order.
    Set(Vec<ReplyValue>),
    /// Pairs of key and value, in the order of the reply.
    Map(Vec<(ReplyValue, ReplyValue)>),
    /// An error within an aggregate, for instance of one command of a script.
    Error(ClientError),
    /// A value of a kind that this version of the client does not know.
    Unsupported,
}

impl ReplyValue {
    /// The bytes of a string, a status or a verbatim text.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            ReplyValue::Bytes(bytes) | ReplyValue::Verbatim { text: bytes, .. } => Some(bytes),
            ReplyValue::Status(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The value of an integer.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            ReplyValue::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The values of an array or a set.
    #[must_use]
    pub fn as_values(&self) -> Option<&[ReplyValue]> {
        match self {
            ReplyValue::Array(values) | ReplyValue::Set(values) => Some(values),
            _ => None,
        }
    }
}

impl From<v1::Value> for ReplyValue {
    fn from(value: v1::Value) -> ReplyValue {
        match value.kind {
            None => ReplyValue::Unsupported,
            Some(Kind::Null(_)) => ReplyValue::Null,
            Some(Kind::Status(text)) => ReplyValue::Status(text),
            Some(Kind::Bytes(bytes)) => ReplyValue::Bytes(bytes),
            Some(Kind::Integer(value)) => ReplyValue::Integer(value),
            Some(Kind::Double(value)) => ReplyValue::Double(value),
            Some(Kind::Boolean(value)) => ReplyValue::Boolean(value),
            Some(Kind::BigNumber(digits)) => ReplyValue::BigNumber(digits),
            Some(Kind::Verbatim(v1::Verbatim { format, text })) => ReplyValue::Verbatim { format, text },
            Some(Kind::Array(array)) => ReplyValue::Array(values(array)),
            Some(Kind::Set(array)) => ReplyValue::Set(values(array)),
            Some(Kind::Map(map)) => ReplyValue::Map(map.entries.into_iter().map(pair).collect()),
            Some(Kind::Error(error)) => ReplyValue::Error(nested(error)),
        }
    }
}

fn values(array: v1::Array) -> Vec<ReplyValue> {
    array.values.into_iter().map(ReplyValue::from).collect()
}

fn pair(entry: v1::Entry) -> (ReplyValue, ReplyValue) {
    let of = |value: Option<v1::Value>| value.map_or(ReplyValue::Unsupported, ReplyValue::from);
    (of(entry.key), of(entry.value))
}

fn nested(error: v1::Error) -> ClientError {
    let v1::Error { code, reason, message, metadata, retry_after_ms } = error;
    if reason == "OUTCOME_UNKNOWN" {
        return ClientError::OutcomeUnknown { message };
    }
    if retry_after_ms.is_some() {
        return ClientError::Unavailable { reason, message };
    }
    ClientError::Refused { code: Code::from(code), reason, message, metadata: metadata.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_value() {
        let of = |kind| ReplyValue::from(v1::Value { kind: Some(kind) });
        let one = v1::Value { kind: Some(Kind::Integer(1)) };
        assert_eq!(of(Kind::Null(v1::Null {})), ReplyValue::Null);
        assert_eq!(of(Kind::Status("OK".into())).as_bytes(), Some(&b"OK"[..]));
        assert_eq!(of(Kind::Bytes("a".into())).as_bytes(), Some(&b"a"[..]));
        assert_eq!(of(Kind::Integer(-1)).as_integer(), Some(-1));
        assert_eq!(of(Kind::Double(0.5)), ReplyValue::Double(0.5));
        assert_eq!(of(Kind::Boolean(true)), ReplyValue::Boolean(true));
        assert_eq!(of(Kind::BigNumber("12".into())), ReplyValue::BigNumber("12".into()));
        let verbatim = v1::Verbatim { format: "txt".into(), text: "a".into() };
        assert_eq!(of(Kind::Verbatim(verbatim)).as_bytes(), Some(&b"a"[..]));
        let array = v1::Array { values: vec![one.clone(), v1::Value { kind: None }] };
        let expect = [ReplyValue::Integer(1), ReplyValue::Unsupported];
        assert_eq!(of(Kind::Array(array.clone())).as_values(), Some(&expect[..]));
        assert_eq!(of(Kind::Set(array)).as_values(), Some(&expect[..]));
        let entry = v1::Entry { key: Some(one), value: None };
        let map = of(Kind::Map(v1::Map { entries: vec![entry] }));
        assert_eq!(map, ReplyValue::Map(vec![(ReplyValue::Integer(1), ReplyValue::Unsupported)]));
        let error = |reason: &str, retry_after_ms| {
            let error = v1::Error { code: 9, reason: reason.into(), retry_after_ms, ..Default::default() };
            match of(Kind::Error(error)) {
                ReplyValue::Error(error) => error,
                other => panic!("{other:?}"),
            }
        };
        assert!(matches!(error("WRONGTYPE", None), ClientError::Refused { code: Code::FailedPrecondition, .. }));
        assert!(matches!(error("OUTCOME_UNKNOWN", None), ClientError::OutcomeUnknown { .. }));
        assert!(matches!(error("LOADING", Some(1)), ClientError::Unavailable { .. }));
    }
}
