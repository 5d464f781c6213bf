//! Replies of commands as values of the data API.

use fastness_resp::Value as Reply;
use fastness_wire::v1::{self, value::Kind};
use tonic::Code;

use super::refusal::{ApiRefusal, reason};

/// Deepest nesting of arrays, sets and maps. Readers of protocol buffers stop at 100 messages within each other; a map
/// takes three of them for each level, and the response around it the rest.
const DEPTH_MAX: usize = 32;

/// Converts a reply. Attributes that describe it are left out: no command has any.
pub(super) fn value(reply: Reply) -> v1::Value {
    nested(reply, 0)
}

/// Converts a reply within `depth` others. No command nests as deep as is allowed.
fn nested(reply: Reply, depth: usize) -> v1::Value {
    let array = |values: Vec<Reply>| v1::Array { values: values.into_iter().map(|of| nested(of, depth + 1)).collect() };
    let kind = match reply {
        Reply::Array(_) | Reply::Push(_) | Reply::Set(_) | Reply::Map(_) if depth >= DEPTH_MAX => {
            let text = format!("a reply nests deeper than {DEPTH_MAX} levels, which clients cannot read");
            Kind::Error(ApiRefusal::new(Code::Internal, reason::REPLY_TOO_LONG, text).into())
        }
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
            let within = |of| Some(nested(of, depth + 1));
            let entry = |(key, of): (Reply, Reply)| v1::Entry { key: within(key), value: within(of) };
            Kind::Map(v1::Map { entries: pairs.into_iter().map(entry).collect() })
        }
        Reply::Error(text) => Kind::Error(ApiRefusal::from_reply(&text).into()),
        Reply::Attribute(_, described) => return nested(*described, depth),
    };
    v1::Value { kind: Some(kind) }
}

fn lossy(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Found by fuzzing: clients could not read a reply that nests deeply.
    #[test]
    fn a_reply_that_nests_too_deeply_for_clients_is_an_error_there() {
        use prost::Message as _;

        for piece in [&b"*1\r\n"[..], b"%1\r\n:1\r\n"] {
            let bytes = [&piece.repeat(60)[..], b":1\r\n"].concat();
            let reply = Some(value(fastness_resp::value::parse(&bytes).unwrap().unwrap().0));
            let outcome = Some(v1::pipeline_response::Outcome::Execute(v1::ExecuteResponse { reply }));
            let response = v1::TxnResponse { succeeded: true, responses: vec![v1::PipelineResponse { outcome }] };
            assert_eq!(v1::TxnResponse::decode(&response.encode_to_vec()[..]), Ok(response));
        }
    }

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
