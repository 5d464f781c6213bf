//! Replies of commands as values of the data API.

use fastness_resp::Value as Reply;
use fastness_wire::v1::{self, value::Kind};

use super::refusal::ApiRefusal;

/// Converts a reply. Attributes that describe it are left out: no command has any.
pub(super) fn value(reply: Reply) -> v1::Value {
    let kind = match reply {
        Reply::Null | Reply::NullArray => Kind::Null(v1::Null {}),
        Reply::Simple(text) => Kind::Status(lossy(text)),
        Reply::Bulk(bytes) => Kind::Bytes(bytes.into()),
        Reply::Integer(number) => Kind::Integer(number),
        Reply::Double(number) => Kind::Double(number),
        Reply::Bool(yes) => Kind::Boolean(yes),
        Reply::BigNumber(digits) => Kind::BigNumber(lossy(digits)),
        Reply::Verbatim(format, text) => {
            Kind::Verbatim(v1::Verbatim { format: lossy(format.to_vec()), text: text.into() })
        }
        Reply::Array(values) | Reply::Push(values) => Kind::Array(array(values)),
        Reply::Set(values) => Kind::Set(array(values)),
        Reply::Map(pairs) => {
            let entry = |(key, of): (Reply, Reply)| v1::Entry { key: Some(value(key)), value: Some(value(of)) };
            Kind::Map(v1::Map { entries: pairs.into_iter().map(entry).collect() })
        }
        Reply::Error(text) => Kind::Error(ApiRefusal::from_reply(&text).into()),
        Reply::Attribute(_, described) => return value(*described),
    };
    v1::Value { kind: Some(kind) }
}

fn array(values: Vec<Reply>) -> v1::Array {
    v1::Array { values: values.into_iter().map(value).collect() }
}

fn lossy(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_type_of_reply_has_a_value() {
        let of = |bytes: &[u8]| value(fastness_resp::value::parse(bytes).unwrap().unwrap().0).kind.unwrap();
        assert_eq!(of(b"+OK\r\n"), Kind::Status("OK".into()));
        assert_eq!(of(b"$2\r\n\xff\x00\r\n"), Kind::Bytes(vec![255, 0].into()));
        assert_eq!(of(b":-3\r\n"), Kind::Integer(-3));
        assert_eq!(of(b",1.5\r\n"), Kind::Double(1.5));
        assert_eq!(of(b"#f\r\n"), Kind::Boolean(false));
        assert_eq!(of(b"(123\r\n"), Kind::BigNumber("123".into()));
        assert_eq!(of(b"_\r\n"), Kind::Null(v1::Null {}));
        assert_eq!(of(b"=5\r\ntxt:a\r\n"), Kind::Verbatim(v1::Verbatim { format: "txt".into(), text: "a".into() }));
        let one = v1::Value { kind: Some(Kind::Integer(1)) };
        assert_eq!(of(b"*1\r\n:1\r\n"), Kind::Array(v1::Array { values: vec![one.clone()] }));
        assert_eq!(of(b"~1\r\n:1\r\n"), Kind::Set(v1::Array { values: vec![one.clone()] }));
        let entries = vec![v1::Entry { key: Some(one.clone()), value: Some(one.clone()) }];
        assert_eq!(of(b"%1\r\n:1\r\n:1\r\n"), Kind::Map(v1::Map { entries }));
        assert_eq!(of(b"|1\r\n+a\r\n:1\r\n:1\r\n"), Kind::Integer(1));
        let Kind::Error(error) = of(b"-WRONGTYPE no\r\n") else { panic!("no error") };
        assert_eq!((&*error.reason, error.retry_after_ms), ("WRONGTYPE", None));
    }
}
