//! A client of the Rust SDK. It takes turns between the call of the same name, `execute`, a batch and a pipeline, so
//! that each command comes in all forms.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fastness_client::{
    CallSettings, Client, ClientError, Idempotency, Operation, OperationResult, Pipeline, ReadConsistency, ReplyValue,
    SetExpiry, SetIf, SetOptions, Txn,
};
use fastness_load::{Caller, Outcome};
use fastness_resp::Value;

use super::outcome::outcome_of_sdk;
use super::words::{bulk, is_read};

/// A client of the SDK.
pub struct SdkClient {
    client: Client,
    settings: CallSettings,
    pipeline: Pipeline,
    calls: usize,
}

fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn span(ms: &[u8]) -> Option<Duration> {
    number(ms).map(Duration::from_millis)
}

impl SdkClient {
    /// A client that shares the connections of `client`. `keyed`: its writes have idempotency keys.
    #[must_use]
    pub fn new(client: &Client, keyed: bool, timeout: Duration) -> SdkClient {
        let idempotency = if keyed { Idempotency::Automatic } else { Idempotency::Off };
        let settings = CallSettings { deadline: Some(timeout), idempotency, ..CallSettings::default() };
        let client = client.with_options(settings);
        SdkClient { pipeline: client.pipeline(), client, settings, calls: 0 }
    }

    /// Runs a command; the SDK repeats it by itself where that is safe.
    ///
    /// # Errors
    /// Those of the SDK.
    pub async fn run(&mut self, command: &[&[u8]]) -> Result<Value, ClientError> {
        self.calls += 1;
        match self.calls % 4 {
            0 => match self.typed(command).await {
                Some(answer) => answer,
                None => self.execute(command).await,
            },
            1 => self.execute(command).await,
            2 => {
                let mut results = self.client.batch([operation(command)]).await;
                results.pop().unwrap_or_else(|| Err(missing())).map(|result| reply(command, result))
            }
            _ => {
                self.pipeline.try_send(operation(command)).map_err(|_| missing())?;
                self.pipeline.next().await.unwrap_or_else(|| Err(missing())).map(|result| reply(command, result))
            }
        }
    }

    /// By the call of the same name, if there is one.
    async fn typed(&self, command: &[&[u8]]) -> Option<Result<Value, ClientError>> {
        let client = &self.client;
        let [name, key, rest @ ..] = command else { return None };
        let applied = |done: bool| Value::Integer(i64::from(done));
        Some(match (*name, rest) {
            (b"GET", []) => client.get(key).await.map(bulk),
            (b"SET", [value, rest @ ..]) => {
                client.set_with(key, copied(value), set_options(rest)?).await.map(|set| set_reply(set.applied))
            }
            (b"INCR", []) => client.increment(key, 1).await.map(Value::Integer),
            (b"INCRBY", [by]) => client.increment(key, number(by)?).await.map(Value::Integer),
            (b"PEXPIRE", [ms]) => client.expire(key, span(ms)?).await.map(applied),
            (b"PERSIST", []) => client.persist(key).await.map(applied),
            (b"HSET", [field, value]) => client.hash_set(key, [(*field, copied(value))]).await.map(count),
            (b"HDEL", fields @ [_, ..]) => client.hash_delete(key, fields).await.map(count),
            (b"HKEYS", []) => client.hash_get_all(key).await.map(|fields| names(fields.into_keys())),
            _ => return None,
        })
    }

    async fn execute(&self, command: &[&[u8]]) -> Result<Value, ClientError> {
        let reply =
            if is_read(command) { self.client.execute_read(command).await } else { self.client.execute(command).await };
        reply.map(value)
    }

    /// Runs commands as one transaction, if the keys have these values; returns the replies to the commands, or nothing
    /// if a value was another one.
    ///
    /// # Errors
    /// Those of the SDK.
    pub async fn transact(
        &mut self,
        compares: &[(Bytes, Option<Bytes>)],
        commands: &[&[&[u8]]],
    ) -> Result<Option<Vec<Value>>, ClientError> {
        let mut txn = Txn::new();
        for (key, expected) in compares {
            txn = match expected {
                Some(value) => txn.if_equal(key, value.clone()),
                None => txn.if_absent(key),
            };
        }
        let txn = commands.iter().fold(txn, |txn, command| txn.then(operation(command)));
        let outcome = self.client.txn(txn).await?;
        if !outcome.succeeded {
            return Ok(None);
        }
        let replies = commands.iter().zip(outcome.results).map(|(command, result)| match result {
            Ok(result) => reply(command, result),
            Err(error) => Value::Error(error.to_string().into_bytes()),
        });
        Ok(Some(replies.collect()))
    }

    /// Reads a string from a replica that the SDK chooses.
    ///
    /// # Errors
    /// What is known of it.
    pub async fn read_at_replica(&self, key: &[u8]) -> Result<Value, Outcome> {
        let consistency = ReadConsistency::Replica { max_staleness: None };
        let value = self.client.with_options(CallSettings { consistency, ..self.settings }).get(key).await;
        value.map(bulk).map_err(|error| outcome_of_sdk(&error))
    }
}

#[async_trait]
impl Caller for SdkClient {
    async fn call(&mut self, command: &[&[u8]]) -> Result<Value, Outcome> {
        self.run(command).await.map_err(|error| outcome_of_sdk(&error))
    }
}

/// The options of SET; `None`: the SDK has no call for them here.
fn set_options(words: &[&[u8]]) -> Option<SetOptions> {
    let options = SetOptions::default();
    Some(match words {
        [] => options,
        [b"NX"] => SetOptions { condition: Some(SetIf::Absent), ..options },
        [b"IFEQ", expected] => SetOptions { condition: Some(SetIf::Equal(copied(expected))), ..options },
        [b"PX", ms] => SetOptions { expiry: Some(SetExpiry::After(span(ms)?)), ..options },
        _ => return None,
    })
}

/// A command as an operation of the SDK: the one of the same name, or any command.
fn operation(command: &[&[u8]]) -> Operation {
    typed_operation(command).unwrap_or_else(|| {
        if is_read(command) { Operation::execute_read(command) } else { Operation::execute(command) }
    })
}

fn typed_operation(command: &[&[u8]]) -> Option<Operation> {
    let [name, key, rest @ ..] = command else { return None };
    Some(match (*name, rest) {
        (b"GET", []) => Operation::get(key),
        (b"SET", [value, rest @ ..]) => Operation::set_with(key, copied(value), set_options(rest)?),
        (b"INCR", []) => Operation::increment(key, 1),
        (b"INCRBY", [by]) => Operation::increment(key, number(by)?),
        (b"PEXPIRE", [ms]) => Operation::expire(key, span(ms)?),
        (b"PERSIST", []) => Operation::persist(key),
        (b"HSET", [field, value]) => Operation::hash_set(key, [(*field, copied(value))]),
        (b"HDEL", fields @ [_, ..]) => Operation::hash_delete(key, fields),
        (b"HKEYS", []) => Operation::hash_get_all(key),
        (b"HMGET", fields @ [_, ..]) => Operation::hash_get_many(key, fields),
        _ => return None,
    })
}

/// The reply that RESP would give to `command`.
fn reply(command: &[&[u8]], result: OperationResult) -> Value {
    match result {
        OperationResult::Value(found) => bulk(found),
        OperationResult::Set(set) => set_reply(set.applied),
        OperationResult::Count(number) => count(number),
        OperationResult::Sum(sum) => Value::Integer(sum),
        OperationResult::Applied(applied) => Value::Integer(i64::from(applied)),
        OperationResult::Fields(fields) => match command {
            [b"HMGET", _, requested @ ..] => {
                Value::Array(requested.iter().map(|name| bulk(fields.get::<[u8]>(name).cloned())).collect())
            }
            _ => names(fields.into_keys()),
        },
        OperationResult::Reply(reply) => value(reply),
        other => no_reply(&other),
    }
}

fn set_reply(applied: bool) -> Value {
    if applied { Value::Simple(b"OK".to_vec()) } else { Value::Null }
}

fn count(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn names(names: impl Iterator<Item = Bytes>) -> Value {
    Value::Array(names.map(|name| Value::Bulk(name.to_vec())).collect())
}

/// A reply as RESP has it.
fn value(reply: ReplyValue) -> Value {
    let all = |values: Vec<ReplyValue>| values.into_iter().map(value).collect();
    match reply {
        ReplyValue::Null => Value::Null,
        ReplyValue::Status(text) => Value::Simple(text.into_bytes()),
        ReplyValue::Bytes(bytes) => Value::Bulk(bytes.to_vec()),
        ReplyValue::Integer(number) => Value::Integer(number),
        ReplyValue::Array(values) => Value::Array(all(values)),
        ReplyValue::Set(values) => Value::Set(all(values)),
        ReplyValue::Double(number) => Value::Double(number),
        ReplyValue::Map(pairs) => {
            Value::Map(pairs.into_iter().map(|(key, of_key)| (value(key), value(of_key))).collect())
        }
        other => no_reply(&other),
    }
}

/// What no command of a workload is answered with: it matches no expected reply, so that the run is invalid.
fn no_reply(other: &impl std::fmt::Debug) -> Value {
    Value::Push(vec![Value::Bulk(format!("{other:?}").into_bytes())])
}

/// A result that the SDK owes.
fn missing() -> ClientError {
    ClientError::OutcomeUnknown { message: "the SDK has returned no result".to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn results_are_the_replies_of_resp() {
        let fields = || OperationResult::Fields(BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]));
        let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        assert_eq!(reply(&[b"HKEYS", b"k"], fields()), Value::Array(vec![text("a"), text("b")]));
        let hmget: &[&[u8]] = &[b"HMGET", b"k", b"b", b"x"];
        assert_eq!(reply(hmget, fields()), Value::Array(vec![text("2"), Value::Null]));
        assert_eq!(reply(&[b"INCR", b"k"], OperationResult::Sum(3)), Value::Integer(3));
        let nested = ReplyValue::Array(vec![ReplyValue::Null, ReplyValue::Integer(1)]);
        assert_eq!(value(nested), Value::Array(vec![Value::Null, Value::Integer(1)]));
        assert!(matches!(value(ReplyValue::Unsupported), Value::Push(_)));
    }

    #[test]
    fn the_options_of_set_are_those_of_the_sdk() {
        let of = |words: &[&[u8]]| set_options(words);
        assert_eq!(of(&[b"NX"]).and_then(|options| options.condition), Some(SetIf::Absent));
        assert_eq!(of(&[b"IFEQ", b"1"]).and_then(|options| options.condition), Some(SetIf::Equal("1".into())));
        let after = Some(SetExpiry::After(Duration::from_millis(70)));
        assert_eq!(of(&[b"PX", b"70"]).and_then(|options| options.expiry), after);
        assert_eq!(of(&[b"XX"]), None);
    }
}
