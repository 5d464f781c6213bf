//! The commands that the mock runs.

use bytes::Bytes;
use fastness_wire::v1::value::Kind;
use fastness_wire::v1::{self, expire_request};
use tonic::Code;

use super::fault::MockRefusal;
use super::keyspace::{Keyspace, MockValue};

type CommandResult = Result<Kind, MockRefusal>;

fn number(count: impl TryInto<i64>) -> Kind {
    Kind::Integer(count.try_into().unwrap_or(i64::MAX))
}

fn optional(value: Option<&Bytes>) -> Kind {
    value.map_or(Kind::Null(v1::Null {}), |value| Kind::Bytes(value.clone()))
}

fn status(text: &str) -> Kind {
    Kind::Status(text.to_owned())
}

fn integer(text: &Bytes) -> Result<i64, MockRefusal> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| MockRefusal::plain("value is not an integer or out of range"))
}

/// Runs a command: its name, then its arguments.
pub(super) fn run(keys: &mut Keyspace, words: &[Bytes]) -> Result<v1::Value, MockRefusal> {
    let Some((name, args)) = words.split_first() else { return Err(MockRefusal::invalid("args: none")) };
    let name = String::from_utf8_lossy(name).to_ascii_uppercase();
    let kind = match args {
        [] => without_key(keys, &name),
        [key] if name == "ECHO" => Ok(Kind::Bytes(key.clone())),
        [key, rest @ ..] => on_key(keys, &name, key, rest),
    };
    Ok(v1::Value { kind: Some(kind?) })
}

fn not_run(name: &str, args: usize) -> MockRefusal {
    let message = format!("the mock server does not run {name} with {args} arguments; see fastness_client::testing");
    MockRefusal::new(Code::Unimplemented, "MOCK_UNIMPLEMENTED", message)
}

fn without_key(keys: &mut Keyspace, name: &str) -> CommandResult {
    Ok(match name {
        "PING" => status("PONG"),
        "DBSIZE" => number(keys.len()),
        "FLUSHALL" => {
            keys.clear();
            status("OK")
        }
        _ => return Err(not_run(name, 0)),
    })
}

fn on_key(keys: &mut Keyspace, name: &str, key: &Bytes, args: &[Bytes]) -> CommandResult {
    if name.starts_with('H') {
        return on_hash(keys, name, key, args);
    }
    Ok(match (name, args) {
        ("GET", []) => optional(keys.text(key)?),
        ("SET", [value]) => {
            let request = v1::SetRequest { key: key.clone(), value: value.clone(), ..Default::default() };
            keys.set(request)?;
            status("OK")
        }
        ("STRLEN", []) => number(keys.text(key)?.map_or(0, Bytes::len)),
        ("APPEND", [more]) => number(keys.append(key, more)?),
        ("INCR", []) => Kind::Integer(keys.increment(key.clone(), 1)?),
        ("DECR", []) => Kind::Integer(keys.increment(key.clone(), -1)?),
        ("INCRBY", [by]) => Kind::Integer(keys.increment(key.clone(), integer(by)?)?),
        ("DEL", more) => number(keys.delete(&[std::slice::from_ref(key), more].concat())),
        ("EXISTS", more) => number([key].into_iter().chain(more).filter(|key| keys.value(key).is_some()).count()),
        ("TYPE", []) => status(match keys.value(key) {
            None => "none",
            Some(MockValue::Text(_)) => "string",
            Some(MockValue::Hash(_)) => "hash",
        }),
        ("PERSIST", []) => number(u8::from(keys.expire(key, None))),
        ("EXPIRE", [seconds]) => {
            let ms = u64::try_from(integer(seconds)?).unwrap_or_default().saturating_mul(1_000);
            number(u8::from(keys.expire(key, Some(expire_request::Expiry::TtlMs(ms)))))
        }
        ("TTL", []) => remaining(keys, key, 1_000),
        ("PTTL", []) => remaining(keys, key, 1),
        _ => return Err(not_run(name, 1 + args.len())),
    })
}

/// The remaining time to live in units of so many milliseconds; -1 if the key does not expire, -2 if it does not exist.
fn remaining(keys: &Keyspace, key: &Bytes, unit_ms: u64) -> Kind {
    match (keys.value(key), keys.ttl_ms(key)) {
        (None, _) => Kind::Integer(-2),
        (Some(_), None) => Kind::Integer(-1),
        // Rounded, as servers do.
        (Some(_), Some(ms)) => number(ms.saturating_add(unit_ms / 2) / unit_ms),
    }
}

fn on_hash(keys: &mut Keyspace, name: &str, key: &Bytes, args: &[Bytes]) -> CommandResult {
    let field = |keys: &Keyspace, name: &Bytes| -> Result<Option<Bytes>, MockRefusal> {
        Ok(keys.fields(key)?.and_then(|fields| fields.get(name)).cloned())
    };
    Ok(match (name, args) {
        ("HGET", [name]) => optional(field(keys, name)?.as_ref()),
        ("HEXISTS", [name]) => number(u8::from(field(keys, name)?.is_some())),
        ("HLEN", []) => number(keys.fields(key)?.map_or(0, |fields| fields.len())),
        ("HSET", pairs) if !pairs.is_empty() && pairs.len() % 2 == 0 => {
            let pairs = pairs.chunks_exact(2);
            let fields = pairs.map(|pair| v1::HashField { name: pair[0].clone(), value: pair[1].clone() });
            number(keys.hash_set(key.clone(), fields.collect())?)
        }
        ("HDEL", names) if !names.is_empty() => number(keys.hash_delete(key, names)?),
        _ => return Err(not_run(name, 1 + args.len())),
    })
}
