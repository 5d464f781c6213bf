//! Operations as values, for transactions and batches: the request of each, and what its response means.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fastness_wire::v1::{self, expire_request, pipeline_request as request, pipeline_response as response};
use tonic::Code;

use crate::error::ClientError;
use crate::reply::{ExpiringValue, ReplyValue};
use crate::set::{SetOptions, SetOutcome, span_ms, time_ms};
use crate::slots::key_slot;
use crate::verdict::{CallKind, Disposition, reasoned};
use crate::write_commands::writes_data;

/// An operation on a key, to be run in a [`Txn`](crate::Txn) or a [batch](crate::Client::batch). It does what the call
/// of the same name does.
///
/// An argument that is wrong (no field, an expiry that cannot be represented) is reported when the operation is run.
#[derive(Debug, Clone)]
pub struct Operation {
    message: Result<request::Operation, ClientError>,
    place: Place,
    expects: Expects,
    kind: CallKind,
}

/// Where an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this slot.
    Slot(u16),
    /// Probably at this slot: only the server knows which words of a command are keys.
    Guess(u16),
    /// Anywhere.
    Any,
}

impl Place {
    /// Whether it was guessed wrong, because the key has this slot: the operation has no order among those of the
    /// guessed one.
    pub(crate) fn is_wrong(self, key_slot: Option<u16>) -> bool {
        matches!((self, key_slot), (Place::Guess(guess), Some(slot)) if guess != slot)
    }
}

/// How the response is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    Value,
    ExpiringValue,
    Set,
    Count,
    Sum,
    Applied,
    Fields,
    Reply,
}

/// What an operation has returned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum OperationResult {
    /// Of [`Operation::get`] and [`Operation::hash_get`]: the value; absent if there is no such key or field.
    Value(Option<Bytes>),
    /// Of [`Operation::get_with_ttl`]; absent if there is no such key.
    ExpiringValue(Option<ExpiringValue>),
    /// Of [`Operation::set`] and [`Operation::set_with`].
    Set(SetOutcome),
    /// Of [`Operation::delete`], [`Operation::delete_many`], [`Operation::hash_set`] and [`Operation::hash_delete`]:
    /// how many keys or fields there were, or are new.
    Count(u64),
    /// Of [`Operation::increment`].
    Sum(i64),
    /// Of [`Operation::expire`], [`Operation::expire_at`] and [`Operation::persist`]: whether it has changed anything.
    Applied(bool),
    /// Of [`Operation::hash_get_many`] and [`Operation::hash_get_all`]: the fields that exist.
    Fields(BTreeMap<Bytes, Bytes>),
    /// Of [`Operation::execute`] and [`Operation::execute_read`].
    Reply(ReplyValue),
}

impl OperationResult {
    /// The value of a string or a field, if there is one.
    #[must_use]
    pub fn as_value(&self) -> Option<&[u8]> {
        match self {
            OperationResult::Value(value) => value.as_deref(),
            OperationResult::ExpiringValue(stored) => stored.as_ref().map(|stored| &*stored.value),
            _ => None,
        }
    }

    /// The sum that an increment has returned.
    #[must_use]
    pub fn as_sum(&self) -> Option<i64> {
        match self {
            OperationResult::Sum(sum) => Some(*sum),
            _ => None,
        }
    }

    /// How many keys or fields there were, or are new.
    #[must_use]
    pub fn as_count(&self) -> Option<u64> {
        match self {
            OperationResult::Count(count) => Some(*count),
            _ => None,
        }
    }
}

fn copied(bytes: &(impl AsRef<[u8]> + ?Sized)) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

fn all_copied<A: AsRef<[u8]>>(items: impl IntoIterator<Item = A>) -> Vec<Bytes> {
    items.into_iter().map(|item| copied(&item)).collect()
}

fn some_fields<T>(fields: Vec<T>) -> Result<Vec<T>, ClientError> {
    if fields.is_empty() { Err(ClientError::invalid("at least one field is needed")) } else { Ok(fields) }
}

impl Operation {
    fn read(key: &Bytes, expects: Expects, message: Result<request::Operation, ClientError>) -> Operation {
        Operation { message, place: Place::Slot(key_slot(key)), expects, kind: CallKind::Read }
    }

    fn write(key: &Bytes, expects: Expects, message: Result<request::Operation, ClientError>) -> Operation {
        Operation { message, place: Place::Slot(key_slot(key)), expects, kind: CallKind::Write }
    }

    /// Returns the value of a string.
    pub fn get(key: impl AsRef<[u8]>) -> Operation {
        let key = copied(&key);
        let message = v1::GetRequest { key: key.clone(), with_ttl: false, options: None };
        Operation::read(&key, Expects::Value, Ok(request::Operation::Get(message)))
    }

    /// Returns the value of a string with its remaining time to live.
    pub fn get_with_ttl(key: impl AsRef<[u8]>) -> Operation {
        let key = copied(&key);
        let message = v1::GetRequest { key: key.clone(), with_ttl: true, options: None };
        Operation::read(&key, Expects::ExpiringValue, Ok(request::Operation::Get(message)))
    }

    /// Sets a string, whatever the key was before; it does not expire.
    pub fn set(key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Operation {
        Operation::set_with(key, value, SetOptions::default())
    }

    /// Sets a string with an expiry, under a condition, or returning the value before.
    pub fn set_with(key: impl AsRef<[u8]>, value: impl Into<Bytes>, options: SetOptions) -> Operation {
        let key = copied(&key);
        let message = options.request(key.clone(), value.into()).map(request::Operation::Set);
        Operation::write(&key, Expects::Set, message)
    }

    /// Removes a key of any type.
    pub fn delete(key: impl AsRef<[u8]>) -> Operation {
        Operation::delete_many([key])
    }

    /// Removes keys of any type that have one slot, at least one key.
    pub fn delete_many<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Operation {
        let keys = all_copied(keys);
        let first = keys.first().cloned().unwrap_or_default();
        let message = if keys.is_empty() {
            Err(ClientError::invalid("at least one key is needed"))
        } else if keys.iter().any(|key| key_slot(key) != key_slot(&first)) {
            Err(ClientError::several_slots())
        } else {
            Ok(request::Operation::Delete(v1::DeleteRequest { keys, options: None }))
        };
        Operation::write(&first, Expects::Count, message)
    }

    /// Adds to an integer that is stored as a string. A missing key counts as 0.
    pub fn increment(key: impl AsRef<[u8]>, by: i64) -> Operation {
        let key = copied(&key);
        let message = v1::IncrementRequest { key: key.clone(), by, options: None };
        Operation::write(&key, Expects::Sum, Ok(request::Operation::Increment(message)))
    }

    /// Makes a key of any type expire after this time (at least 1 ms; rounded up to milliseconds).
    pub fn expire(key: impl AsRef<[u8]>, after: Duration) -> Operation {
        let expiry = span_ms(after).map(expire_request::Expiry::TtlMs);
        Operation::set_expiry(&copied(&key), expiry.map(Some))
    }

    /// Makes a key of any type expire at this time, in milliseconds.
    pub fn expire_at(key: impl AsRef<[u8]>, at: SystemTime) -> Operation {
        let expiry = time_ms(at).map(expire_request::Expiry::ExpireAtMs);
        Operation::set_expiry(&copied(&key), expiry.map(Some))
    }

    /// Makes a key not expire any more.
    pub fn persist(key: impl AsRef<[u8]>) -> Operation {
        Operation::set_expiry(&copied(&key), Ok(None))
    }

    fn set_expiry(key: &Bytes, expiry: Result<Option<expire_request::Expiry>, ClientError>) -> Operation {
        let message = expiry
            .map(|expiry| request::Operation::Expire(v1::ExpireRequest { key: key.clone(), expiry, options: None }));
        Operation::write(key, Expects::Applied, message)
    }

    /// Returns the value of one field of a hash.
    pub fn hash_get(key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Operation {
        Operation::hash_read(&copied(&key), Expects::Value, Ok(vec![copied(&field)]))
    }

    /// Returns the values of several fields of a hash, at least one, without those that do not exist.
    pub fn hash_get_many<N: AsRef<[u8]>>(key: impl AsRef<[u8]>, fields: impl IntoIterator<Item = N>) -> Operation {
        // To the server, no field means all of them.
        Operation::hash_read(&copied(&key), Expects::Fields, some_fields(all_copied(fields)))
    }

    /// Returns all fields of a hash.
    pub fn hash_get_all(key: impl AsRef<[u8]>) -> Operation {
        Operation::hash_read(&copied(&key), Expects::Fields, Ok(Vec::new()))
    }

    fn hash_read(key: &Bytes, expects: Expects, fields: Result<Vec<Bytes>, ClientError>) -> Operation {
        let message = fields
            .map(|fields| request::Operation::HashGet(v1::HashGetRequest { key: key.clone(), fields, options: None }));
        Operation::read(key, expects, message)
    }

    /// Sets fields of a hash, at least one.
    pub fn hash_set<N: AsRef<[u8]>, V: Into<Bytes>>(
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Operation {
        let key = copied(&key);
        let field = |(name, value): (N, V)| v1::HashField { name: copied(&name), value: value.into() };
        let message = some_fields(fields.into_iter().map(field).collect())
            .map(|fields| request::Operation::HashSet(v1::HashSetRequest { key: key.clone(), fields, options: None }));
        Operation::write(&key, Expects::Count, message)
    }

    /// Removes fields of a hash, at least one.
    pub fn hash_delete<N: AsRef<[u8]>>(key: impl AsRef<[u8]>, fields: impl IntoIterator<Item = N>) -> Operation {
        let key = copied(&key);
        let message = some_fields(all_copied(fields)).map(|fields| {
            request::Operation::HashDelete(v1::HashDeleteRequest { key: key.clone(), fields, options: None })
        });
        Operation::write(&key, Expects::Count, message)
    }

    /// Runs any command that does not change the state of a connection: its name, then its arguments.
    pub fn execute<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Operation {
        Operation::command(CallKind::Write, all_copied(args))
    }

    /// Runs a command that changes nothing, for which the caller answers: it may run twice.
    pub fn execute_read<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Operation {
        Operation::command(CallKind::Read, all_copied(args))
    }

    fn command(kind: CallKind, args: Vec<Bytes>) -> Operation {
        let place = args.get(1).map_or(Place::Any, |key| Place::Guess(key_slot(key)));
        let message = if args.is_empty() {
            Err(ClientError::invalid("a command has at least a name"))
        } else {
            Ok(request::Operation::Execute(v1::ExecuteRequest { args, shard: 0, options: None }))
        };
        Operation { message, place, expects: Expects::Reply, kind }
    }

    /// Whether it is known to write data, so that an idempotency key has an effect.
    pub(crate) fn takes_key(&self) -> bool {
        match &self.message {
            Ok(request::Operation::Execute(request)) => self.kind.writes() && writes_data(&request.args),
            _ => self.kind.writes(),
        }
    }

    pub(crate) fn set_kind(&mut self, kind: CallKind) {
        self.kind = kind;
    }

    /// What it does to data.
    pub(crate) fn kind(&self) -> CallKind {
        self.kind
    }

    /// Where it runs.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// As messages have it.
    ///
    /// # Errors
    /// An argument is wrong.
    pub(crate) fn message(&self, options: Option<v1::CallOptions>) -> Result<v1::PipelineRequest, ClientError> {
        let mut operation = self.message.clone()?;
        *operation.options_mut() = options;
        Ok(v1::PipelineRequest { operation: Some(operation) })
    }

    /// What a response means; absent: the node has sent fewer responses than it got operations.
    pub(crate) fn result(&self, response: Option<v1::PipelineResponse>) -> Result<OperationResult, Disposition> {
        use response::Outcome;
        let outcome = response.and_then(|response| response.outcome);
        Ok(match (self.expects, outcome) {
            (_, Some(Outcome::Error(error))) => return Err(reasoned(self.kind, error)),
            (Expects::Value, Some(Outcome::Get(response))) => OperationResult::Value(response.value),
            (Expects::Value, Some(Outcome::HashGet(mut response))) => {
                OperationResult::Value(response.fields.pop().map(|field| field.value))
            }
            (Expects::ExpiringValue, Some(Outcome::Get(v1::GetResponse { value, ttl_ms }))) => {
                let ttl = ttl_ms.map(Duration::from_millis);
                OperationResult::ExpiringValue(value.map(|value| ExpiringValue { value, ttl }))
            }
            (Expects::Set, Some(Outcome::Set(v1::SetResponse { applied, previous }))) => {
                OperationResult::Set(SetOutcome { applied, previous })
            }
            (Expects::Count, Some(Outcome::Delete(response))) => OperationResult::Count(response.deleted),
            (Expects::Count, Some(Outcome::HashSet(response))) => OperationResult::Count(response.added),
            (Expects::Count, Some(Outcome::HashDelete(response))) => OperationResult::Count(response.deleted),
            (Expects::Sum, Some(Outcome::Increment(response))) => OperationResult::Sum(response.value),
            (Expects::Applied, Some(Outcome::Expire(response))) => OperationResult::Applied(response.applied),
            (Expects::Fields, Some(Outcome::HashGet(response))) => {
                let fields = response.fields.into_iter().map(|field| (field.name, field.value));
                OperationResult::Fields(fields.collect())
            }
            (Expects::Reply, Some(Outcome::Execute(response))) => {
                OperationResult::Reply(response.reply.map_or(ReplyValue::Unsupported, ReplyValue::from))
            }
            _ => {
                let message = "the response is missing, or of another kind than the operation".to_owned();
                let error = v1::Error { code: Code::Internal as i32, message, ..v1::Error::default() };
                return Err(reasoned(self.kind, error));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use response::Outcome;

    use super::*;

    fn result(operation: &Operation, outcome: Outcome) -> OperationResult {
        operation.result(Some(v1::PipelineResponse { outcome: Some(outcome) })).unwrap()
    }

    #[test]
    fn wrong_arguments_are_reported_with_the_message() {
        for operation in [
            Operation::delete_many([""; 0]),
            Operation::delete_many(["a", "b"]),
            Operation::expire("a", Duration::ZERO),
            Operation::hash_get_many("a", [""; 0]),
            Operation::hash_set("a", [("", ""); 0]),
            Operation::hash_delete("a", [""; 0]),
            Operation::execute([""; 0]),
        ] {
            assert!(matches!(operation.message(None), Err(ClientError::Invalid { .. })), "{operation:?}");
        }
        let options = v1::CallOptions { durability: 1, ..v1::CallOptions::default() };
        let message = Operation::persist("a").message(Some(options.clone())).unwrap();
        let Some(request::Operation::Expire(request)) = message.operation else { panic!() };
        assert_eq!(request.options, Some(options));
    }

    #[test]
    fn responses_are_read_as_the_operation_says() {
        let field = v1::HashField { name: "f".into(), value: "v".into() };
        let fields = || Outcome::HashGet(v1::HashGetResponse { fields: vec![field.clone()] });
        assert_eq!(result(&Operation::hash_get("h", "f"), fields()).as_value(), Some(&b"v"[..]));
        let all = BTreeMap::from([("f".into(), "v".into())]);
        assert_eq!(result(&Operation::hash_get_many("h", ["f"]), fields()), OperationResult::Fields(all));
        let get = || Outcome::Get(v1::GetResponse { value: Some("v".into()), ttl_ms: Some(5) });
        assert_eq!(result(&Operation::get("a"), get()), OperationResult::Value(Some("v".into())));
        let stored = ExpiringValue { value: "v".into(), ttl: Some(Duration::from_millis(5)) };
        assert_eq!(result(&Operation::get_with_ttl("a"), get()), OperationResult::ExpiringValue(Some(stored)));
        let sum = Outcome::Increment(v1::IncrementResponse { value: -1 });
        assert_eq!(result(&Operation::increment("a", -1), sum).as_sum(), Some(-1));
        let added = Outcome::HashSet(v1::HashSetResponse { added: 2 });
        assert_eq!(result(&Operation::hash_set("a", [("f", "v")]), added).as_count(), Some(2));
    }

    #[test]
    fn a_write_without_a_fitting_response_may_have_happened() {
        let missing = Operation::delete("a").result(None).unwrap_err();
        assert!(matches!(missing, Disposition::Lost(ClientError::OutcomeUnknown { .. })), "{missing:?}");
        let other = v1::PipelineResponse { outcome: Some(Outcome::Get(v1::GetResponse::default())) };
        let other = Operation::set("a", "1").result(Some(other)).unwrap_err();
        assert!(matches!(other, Disposition::Lost(ClientError::OutcomeUnknown { .. })), "{other:?}");
        let missing = Operation::get("a").result(None).unwrap_err();
        assert!(matches!(missing, Disposition::Again { .. }), "{missing:?}");
    }
}
