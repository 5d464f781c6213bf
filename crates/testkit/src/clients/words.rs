//! Commands as operations of the gRPC API, and their responses as the replies that RESP would give. What has no typed
//! operation is run by `Execute`.

use bytes::Bytes;
use fastness_client::{WRITE_COMMANDS, key_slot};
use fastness_load::client::key_of;
use fastness_resp::Value;
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome as Response;
use fastness_wire::v1::value::Kind;
use fastness_wire::v1::{self, expire_request, set_request};

/// Whether a command only reads.
pub(super) fn is_read(command: &[&[u8]]) -> bool {
    let name = command.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    !WRITE_COMMANDS.iter().any(|write| write.as_bytes() == name)
}

/// The slot of a command's first key.
pub(super) fn slot(command: &[&[u8]]) -> u16 {
    key_slot(key_of(command))
}

fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The typed operation that does what a command does, if there is one.
pub(super) fn typed(command: &[&[u8]], options: Option<v1::CallOptions>) -> Option<Operation> {
    let [name, key, rest @ ..] = command else { return None };
    let key = copied(key);
    Some(match (*name, rest) {
        (b"GET", []) => Operation::Get(v1::GetRequest { key, with_ttl: false, options }),
        (b"SET", [value, rest @ ..]) => {
            let (condition, expiry) = match rest {
                [] => (None, None),
                [b"NX"] => (Some(set_request::Condition::IfAbsent(true)), None),
                [b"IFEQ", expected] => (Some(set_request::Condition::IfEqual(copied(expected))), None),
                [b"PX", span] => (None, Some(set_request::Expiry::TtlMs(number(span)?))),
                _ => return None,
            };
            let value = copied(value);
            Operation::Set(v1::SetRequest { key, value, expiry, condition, return_previous: false, options })
        }
        (b"INCR", []) => Operation::Increment(v1::IncrementRequest { key, by: 1, options }),
        (b"INCRBY", [by]) => Operation::Increment(v1::IncrementRequest { key, by: number(by)?, options }),
        (b"PEXPIRE", [span]) => {
            let expiry = Some(expire_request::Expiry::TtlMs(number(span)?));
            Operation::Expire(v1::ExpireRequest { key, expiry, options })
        }
        (b"PERSIST", []) => Operation::Expire(v1::ExpireRequest { key, expiry: None, options }),
        (b"HSET", [field, value]) => {
            let fields = vec![v1::HashField { name: copied(field), value: copied(value) }];
            Operation::HashSet(v1::HashSetRequest { key, fields, options })
        }
        (b"HDEL", fields @ [_, ..]) => {
            let fields = fields.iter().map(|field| copied(field)).collect();
            Operation::HashDelete(v1::HashDeleteRequest { key, fields, options })
        }
        (b"HKEYS", []) => Operation::HashGet(v1::HashGetRequest { key, fields: Vec::new(), options }),
        (b"HMGET", fields @ [_, ..]) => {
            let fields = fields.iter().map(|field| copied(field)).collect();
            Operation::HashGet(v1::HashGetRequest { key, fields, options })
        }
        _ => return None,
    })
}

/// A command as it is.
pub(super) fn executed(command: &[&[u8]], options: Option<v1::CallOptions>) -> Operation {
    let args = command.iter().map(|word| copied(word)).collect();
    Operation::Execute(v1::ExecuteRequest { args, shard: 0, options })
}

/// The reply that RESP would give to `command`; `None`: the response does not belong to it.
pub(super) fn reply(command: &[&[u8]], response: Response) -> Option<Value> {
    Some(match response {
        Response::Get(v1::GetResponse { value, ttl_ms: None }) => bulk(value),
        Response::Set(v1::SetResponse { applied: true, previous: None }) => Value::Simple(b"OK".to_vec()),
        Response::Set(v1::SetResponse { applied: false, previous: None }) => Value::Null,
        Response::Increment(v1::IncrementResponse { value }) => Value::Integer(value),
        Response::Expire(v1::ExpireResponse { applied }) => Value::Integer(i64::from(applied)),
        Response::HashSet(v1::HashSetResponse { added }) => Value::Integer(i64::try_from(added).ok()?),
        Response::HashDelete(v1::HashDeleteResponse { deleted }) => Value::Integer(i64::try_from(deleted).ok()?),
        Response::HashGet(v1::HashGetResponse { fields }) => fields_of(command, fields)?,
        Response::Execute(v1::ExecuteResponse { reply }) => value(reply?)?,
        _ => return None,
    })
}

pub(super) fn bulk(value: Option<Bytes>) -> Value {
    value.map_or(Value::Null, |value| Value::Bulk(value.to_vec()))
}

/// Fields that exist, as HKEYS and HMGET reply with them.
fn fields_of(command: &[&[u8]], fields: Vec<v1::HashField>) -> Option<Value> {
    match command {
        [b"HKEYS", _] => Some(Value::Array(fields.into_iter().map(|field| Value::Bulk(field.name.to_vec())).collect())),
        [b"HMGET", _, requested @ ..] => {
            let found = |name: &&[u8]| fields.iter().find(|field| field.name == *name).map(|field| field.value.clone());
            Some(Value::Array(requested.iter().map(|name| bulk(found(name))).collect()))
        }
        _ => None,
    }
}

/// A reply of `Execute`; `None`: no workload uses replies of this kind.
fn value(value: v1::Value) -> Option<Value> {
    let all = |array: v1::Array| array.values.into_iter().map(self::value).collect::<Option<Vec<_>>>();
    Some(match value.kind? {
        Kind::Null(_) => Value::Null,
        Kind::Status(text) => Value::Simple(text.into_bytes()),
        Kind::Bytes(bytes) => Value::Bulk(bytes.to_vec()),
        Kind::Integer(number) => Value::Integer(number),
        Kind::Array(array) => Value::Array(all(array)?),
        Kind::Set(array) => Value::Set(all(array)?),
        Kind::Double(number) => Value::Double(number),
        Kind::Map(map) => Value::Map(pairs(map)?),
        Kind::Error(error) => Value::Error(error.message.into_bytes()),
        _ => return None,
    })
}

fn pairs(map: v1::Map) -> Option<Vec<(Value, Value)>> {
    let pair = |entry: v1::Entry| Some((value(entry.key?)?, value(entry.value?)?));
    map.entries.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&[u8]> {
        text.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn commands_of_the_workloads_have_typed_operations() {
        let typed = |text: &str| typed(&words(text), None);
        assert!(matches!(typed("GET k"), Some(Operation::Get(request)) if request.key == "k"));
        let Some(Operation::Set(set)) = typed("SET k v IFEQ old") else { panic!() };
        assert_eq!((&*set.value, set.condition), (&b"v"[..], Some(set_request::Condition::IfEqual("old".into()))));
        let Some(Operation::Set(set)) = typed("SET k v PX 70") else { panic!() };
        assert_eq!((set.condition, set.expiry), (None, Some(set_request::Expiry::TtlMs(70))));
        assert!(matches!(typed("INCRBY k -7"), Some(Operation::Increment(request)) if request.by == -7));
        assert!(matches!(typed("PERSIST k"), Some(Operation::Expire(request)) if request.expiry.is_none()));
        assert!(matches!(typed("HDEL k f g"), Some(Operation::HashDelete(request)) if request.fields.len() == 2));
        for other in ["APPEND k v", "SET k v EX 1 NX", "INCRBY k x", "MGET a b", "DBSIZE"] {
            assert!(typed(other).is_none(), "{other}");
        }
        assert_eq!(slot(&words("EVAL s 1 {a}b x")), slot(&words("GET a")));
        assert!(is_read(&words("HMGET k f")) && is_read(&words("MGET k")));
        assert!(!is_read(&words("APPEND k v")) && !is_read(&words("SET k v")));
    }

    #[test]
    fn responses_are_the_replies_of_resp() {
        let field = |name: &'static str, value: &'static str| v1::HashField { name: name.into(), value: value.into() };
        let fields = || Response::HashGet(v1::HashGetResponse { fields: vec![field("b", "2"), field("a", "1")] });
        let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let of = |command: &str, response| reply(&words(command), response);
        let requested = Value::Array(vec![text("1"), Value::Null, text("2")]);
        assert_eq!(of("HMGET k a x b", fields()), Some(requested));
        assert_eq!(of("HKEYS k", fields()), Some(Value::Array(vec![text("b"), text("a")])));
        assert_eq!(of("GET k", fields()), None);
        let set = |applied| Response::Set(v1::SetResponse { applied, previous: None });
        assert_eq!(of("SET k v NX", set(false)), Some(Value::Null));
        assert_eq!(of("SET k v", set(true)), Some(Value::Simple(b"OK".to_vec())));
        let sum = Response::Increment(v1::IncrementResponse { value: -3 });
        assert_eq!(of("INCR k", sum), Some(Value::Integer(-3)));
        let kind = Some(Kind::Array(v1::Array { values: vec![v1::Value { kind: Some(Kind::Null(v1::Null {})) }] }));
        let mget = Response::Execute(v1::ExecuteResponse { reply: Some(v1::Value { kind }) });
        assert_eq!(of("MGET k", mget), Some(Value::Array(vec![Value::Null])));
        assert_eq!(of("MGET k", Response::Execute(v1::ExecuteResponse { reply: None })), None);
    }
}
