//! The client: its calls on keys of any type, and on strings.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fastness_wire::v1::{self, expire_request};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::calls::{CallPlan, ClientCore, DEADLINE_MAX, NodeClient};
use crate::error::ClientError;
use crate::idempotency::{HasOptions, Idempotency, IdempotencyKey};
use crate::operation::Operation;
use crate::reply::{ExpiringValue, ReplyValue};
use crate::set::{SetOptions, SetOutcome, span_ms, time_ms};
use crate::settings::{CallSettings, ReadConsistency};
use crate::slots::key_slot;
use crate::topology::ensure_followed;
use crate::verdict::CallKind;
use crate::write_commands::writes_data;

/// A client of one cluster. Clones are cheap; they share connections, what was learned about the cluster, and the retry
/// budget.
///
/// Every call returns a [`ClientError`] that says whether the call can have changed data, and whether repeating it is
/// safe.
#[derive(Clone)]
pub struct Client {
    pub(crate) core: Arc<ClientCore>,
    pub(crate) settings: CallSettings,
}

impl fmt::Debug for Client {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(core: Arc<ClientCore>) -> Client {
        Client { core, settings: CallSettings::default() }
    }

    /// A client whose calls have these settings. It shares everything with this one.
    #[must_use]
    pub fn with_options(&self, settings: CallSettings) -> Client {
        Client { core: self.core.clone(), settings }
    }

    /// Returns the value of a string; absent if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, ClientError> {
        Ok(self.get_response(key.as_ref(), false).await?.value)
    }

    /// Returns the value of a string with its remaining time to live; absent if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_with_ttl(&self, key: impl AsRef<[u8]>) -> Result<Option<ExpiringValue>, ClientError> {
        let v1::GetResponse { value, ttl_ms } = self.get_response(key.as_ref(), true).await?;
        Ok(value.map(|value| ExpiringValue { value, ttl: ttl_ms.map(Duration::from_millis) }))
    }

    async fn get_response(&self, key: &[u8], with_ttl: bool) -> Result<v1::GetResponse, ClientError> {
        let request = v1::GetRequest { key: Bytes::copy_from_slice(key), with_ttl, options: self.options() };
        self.read("get", key, request, |mut node, request| async move { node.get(request).await }).await
    }

    /// Sets a string, whatever the key was before; it does not expire.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Result<(), ClientError> {
        self.set_with(key, value, SetOptions::default()).await.map(drop)
    }

    /// Sets a string with an expiry, under a condition, or returning the value before.
    ///
    /// # Errors
    /// See [`ClientError`]. A condition that does not hold is no error: see [`SetOutcome::applied`].
    pub async fn set_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: SetOptions,
    ) -> Result<SetOutcome, ClientError> {
        let key = key.as_ref();
        let mut request = options.request(Bytes::copy_from_slice(key), value.into())?;
        request.options = self.write_options();
        let send = |mut node: NodeClient, request| async move { node.set(request).await };
        let v1::SetResponse { applied, previous } = self.write("set", key, request, send).await?;
        Ok(SetOutcome { applied, previous })
    }

    /// Removes a key of any type; returns whether there was one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        Ok(self.delete_many([key]).await? > 0)
    }

    /// Removes keys of any type that have one slot (see [`key_slot`]); returns how many there were.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Invalid`] if the keys have several slots.
    pub async fn delete_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<u64, ClientError> {
        let keys: Vec<Bytes> = keys.into_iter().map(|key| Bytes::copy_from_slice(key.as_ref())).collect();
        let Some(first) = keys.first().cloned() else { return Ok(0) };
        if keys.iter().any(|key| key_slot(key) != key_slot(&first)) {
            return Err(ClientError::several_slots());
        }
        let request = v1::DeleteRequest { keys, options: self.write_options() };
        let send = |mut node: NodeClient, request| async move { node.delete(request).await };
        Ok(self.write("delete", &first, request, send).await?.deleted)
    }

    /// Adds to an integer that is stored as a string, and returns the sum. A missing key counts as 0.
    ///
    /// # Errors
    /// See [`ClientError`]; refused with the reason `ERR` if the value is no integer, or would be out of range.
    pub async fn increment(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, ClientError> {
        let key = key.as_ref();
        let request = v1::IncrementRequest { key: Bytes::copy_from_slice(key), by, options: self.write_options() };
        let send = |mut node: NodeClient, request| async move { node.increment(request).await };
        Ok(self.write("increment", key, request, send).await?.value)
    }

    /// Makes a key of any type expire after this time (at least 1 ms; rounded up to milliseconds). Returns whether
    /// there is such a key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn expire(&self, key: impl AsRef<[u8]>, after: Duration) -> Result<bool, ClientError> {
        self.set_expiry(key.as_ref(), Some(expire_request::Expiry::TtlMs(span_ms(after)?))).await
    }

    /// Makes a key of any type expire at this time, in milliseconds. Returns whether there is such a key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn expire_at(&self, key: impl AsRef<[u8]>, at: SystemTime) -> Result<bool, ClientError> {
        self.set_expiry(key.as_ref(), Some(expire_request::Expiry::ExpireAtMs(time_ms(at)?))).await
    }

    /// Makes a key not expire any more. Returns whether there is such a key and it would have expired.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn persist(&self, key: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        self.set_expiry(key.as_ref(), None).await
    }

    async fn set_expiry(&self, key: &[u8], expiry: Option<expire_request::Expiry>) -> Result<bool, ClientError> {
        let request = v1::ExpireRequest { key: Bytes::copy_from_slice(key), expiry, options: self.write_options() };
        let send = |mut node: NodeClient, request| async move { node.expire(request).await };
        Ok(self.write("expire", key, request, send).await?.applied)
    }

    /// Runs any command that does not change the state of a connection: its name, then its arguments. If it may have
    /// happened, it is sent again only if it is known to write data, so that its idempotency key makes that safe; see
    /// [`Client::execute_read`] for commands that only read.
    ///
    /// # Errors
    /// See [`ClientError`]. A command that is answered with an error is refused; errors within a reply are values.
    pub async fn execute<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> Result<ReplyValue, ClientError> {
        let args = copied(args);
        let slot = likely_slot(&args);
        self.run_command(CallKind::Write, args, slot).await
    }

    /// Runs a command that changes nothing, as [`Client::execute`] does. The caller answers for that: it may run twice,
    /// because it is tried again after its connection broke.
    ///
    /// # Errors
    /// As for [`Client::execute`].
    pub async fn execute_read<A: AsRef<[u8]>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<ReplyValue, ClientError> {
        let args = copied(args);
        let slot = likely_slot(&args);
        self.run_command(CallKind::Read, args, slot).await
    }

    /// Runs a command whose keys are in a slot. If that is another one, the node that is called names the right one.
    pub(crate) async fn run_command(
        &self,
        kind: CallKind,
        args: Vec<Bytes>,
        slot: Option<u16>,
    ) -> Result<ReplyValue, ClientError> {
        if args.is_empty() {
            return Err(ClientError::invalid("a command has at least a name"));
        }
        let is_keyed = kind == CallKind::Write && writes_data(&args);
        let (kind, options) = if is_keyed { (self.write_kind(), self.write_options()) } else { (kind, self.options()) };
        let request = v1::ExecuteRequest { args, shard: 0, options };
        let send = |mut node: NodeClient, request| async move { node.execute(request).await };
        let plan = CallPlan { consistency: self.settings.consistency, ..self.plan("execute", kind, slot) };
        let response = self.core.call(plan, request, send).await?;
        Ok(response.reply.map_or(ReplyValue::Unsupported, ReplyValue::from))
    }

    /// A new key for [`Idempotency::Key`]. Store it before the write is sent, and use it again when it is not known
    /// whether the write has happened.
    #[must_use]
    pub fn new_idempotency_key(&self) -> IdempotencyKey {
        self.core.keys.next()
    }

    /// The options of a request that reads.
    pub(crate) fn options(&self) -> Option<v1::CallOptions> {
        self.settings.message(None)
    }

    /// The options of a request that writes.
    pub(crate) fn write_options(&self) -> Option<v1::CallOptions> {
        self.settings.message(self.next_key())
    }

    /// The key of the next write.
    fn next_key(&self) -> Option<IdempotencyKey> {
        match self.settings.idempotency {
            Idempotency::Automatic => Some(self.core.keys.next()),
            Idempotency::Off => None,
            Idempotency::Key(key) => Some(key),
        }
    }

    /// What a write is to calls: whether it has a key.
    pub(crate) fn write_kind(&self) -> CallKind {
        if self.settings.idempotency == Idempotency::Off { CallKind::Write } else { CallKind::KeyedWrite }
    }

    /// An operation for a message of several, with its options.
    ///
    /// # Errors
    /// An argument is wrong, or one key was given for several writes.
    pub(crate) fn prepare(&self, operation: &mut Operation) -> Result<v1::PipelineRequest, ClientError> {
        if matches!(self.settings.idempotency, Idempotency::Key(_)) {
            return Err(ClientError::invalid("an idempotency key belongs to one write, not to a batch or a pipeline"));
        }
        let is_keyed = operation.takes_key() && self.settings.idempotency == Idempotency::Automatic;
        if is_keyed {
            operation.set_kind(CallKind::KeyedWrite);
        }
        operation.message(if is_keyed { self.write_options() } else { self.options() })
    }

    /// Makes a call that reads a key.
    pub(crate) async fn read<Q, R, F>(
        &self,
        operation: &'static str,
        key: &[u8],
        request: Q,
        send: impl Fn(NodeClient, Request<Q>) -> F,
    ) -> Result<R, ClientError>
    where
        Q: Clone + HasOptions,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let plan = self.plan(operation, CallKind::Read, Some(key_slot(key)));
        self.core.call(CallPlan { consistency: self.settings.consistency, ..plan }, request, send).await
    }

    /// Makes a call that may change a key.
    pub(crate) async fn write<Q, R, F>(
        &self,
        operation: &'static str,
        key: &[u8],
        request: Q,
        send: impl Fn(NodeClient, Request<Q>) -> F,
    ) -> Result<R, ClientError>
    where
        Q: Clone + HasOptions,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.core.call(self.plan(operation, self.write_kind(), Some(key_slot(key))), request, send).await
    }

    /// A call that goes to the primary.
    pub(crate) fn plan(&self, operation: &'static str, kind: CallKind, slot: Option<u16>) -> CallPlan {
        let renews_key = kind == CallKind::KeyedWrite && self.settings.idempotency == Idempotency::Automatic;
        ensure_followed(&self.core);
        let consistency = ReadConsistency::Primary;
        CallPlan { operation, kind, slot, until: self.until(), consistency, renews_key }
    }

    /// When a call that begins now must have ended.
    pub(crate) fn until(&self) -> Instant {
        Instant::now() + self.settings.deadline.unwrap_or(self.core.deadline).min(DEADLINE_MAX)
    }
}

/// Words of a caller.
fn copied<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Vec<Bytes> {
    args.into_iter().map(|arg| Bytes::copy_from_slice(arg.as_ref())).collect()
}

/// The slot of the second word, which is the first key of almost every command.
fn likely_slot(args: &[Bytes]) -> Option<u16> {
    args.get(1).map(|key| key_slot(key))
}
