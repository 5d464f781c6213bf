//! Transactions: comparisons and operations on one slot that happen at one moment.

use std::time::Duration;

use bytes::Bytes;
use fastness_wire::v1::{self, compare::Condition};
use tokio::time::Instant;

use crate::calls::NodeClient;
use crate::client::Client;
use crate::error::{CONFLICT, ClientError};
use crate::operation::{Operation, OperationResult, Place};
use crate::retry::RetryOptions;
use crate::set::{SetExpiry, SetIf, SetOptions};
use crate::settings::{CallSettings, ReadConsistency};
use crate::slots::key_slot;
use crate::verdict::{CallKind, Disposition};

/// Waits of [`Client::update`] after another client has changed the value: one write takes a few milliseconds.
const CONFLICT_WAIT_MIN: Duration = Duration::from_millis(4);
const CONFLICT_WAIT_MAX: Duration = Duration::from_millis(250);

/// A transaction: comparisons, the operations to run if all of them hold, and those to run otherwise. All keys must
/// have one slot: give them one hash tag (see [`key_slot`]).
///
/// ```no_run
/// # async fn example(client: &fastness_client::Client) -> Result<(), fastness_client::ClientError> {
/// use fastness_client::{Operation, Txn};
///
/// let take = Txn::new()
///     .if_equal("{item:7}stock", "1")
///     .then(Operation::increment("{item:7}stock", -1))
///     .then(Operation::hash_set("{item:7}sales", [("order-12", "1")]))
///     .otherwise(Operation::get("{item:7}stock"));
/// let outcome = client.txn(take).await?;
/// assert!(outcome.succeeded);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Txn {
    compares: Vec<v1::Compare>,
    operations: Vec<Operation>,
    otherwise: Vec<Operation>,
}

/// What a transaction has done.
#[derive(Debug, Clone, PartialEq)]
pub struct TxnOutcome {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// Of the operations that were run, in their order. One that failed undoes none of the others.
    pub results: Vec<Result<OperationResult, ClientError>>,
}

impl TxnOutcome {
    /// The results, if no operation has failed.
    ///
    /// # Errors
    /// That of the first operation that has failed. The others have happened.
    pub fn into_results(self) -> Result<Vec<OperationResult>, ClientError> {
        self.results.into_iter().collect()
    }
}

impl Txn {
    /// One without comparisons, which always holds.
    pub fn new() -> Txn {
        Txn::default()
    }

    fn compare(mut self, key: &[u8], field: Option<&[u8]>, condition: Condition) -> Txn {
        let (key, field) = (Bytes::copy_from_slice(key), field.map(Bytes::copy_from_slice));
        self.compares.push(v1::Compare { key, field, condition: Some(condition) });
        self
    }

    /// Holds if the key is a string with this value.
    pub fn if_equal(self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Txn {
        self.compare(key.as_ref(), None, Condition::Equals(value.into()))
    }

    /// Holds if there is such a key, of any type.
    pub fn if_exists(self, key: impl AsRef<[u8]>) -> Txn {
        self.compare(key.as_ref(), None, Condition::Exists(true))
    }

    /// Holds if there is no such key.
    pub fn if_absent(self, key: impl AsRef<[u8]>) -> Txn {
        self.compare(key.as_ref(), None, Condition::Exists(false))
    }

    /// Holds if the field of the hash has this value.
    pub fn if_field_equal(self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Txn {
        self.compare(key.as_ref(), Some(field.as_ref()), Condition::Equals(value.into()))
    }

    /// Holds if the hash has this field.
    pub fn if_field_exists(self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Txn {
        self.compare(key.as_ref(), Some(field.as_ref()), Condition::Exists(true))
    }

    /// Holds if the hash does not have this field, or does not exist.
    pub fn if_field_absent(self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Txn {
        self.compare(key.as_ref(), Some(field.as_ref()), Condition::Exists(false))
    }

    /// Adds an operation that is run if all comparisons hold.
    pub fn then(mut self, operation: Operation) -> Txn {
        self.operations.push(operation);
        self
    }

    /// Adds an operation that is run if a comparison does not hold.
    pub fn otherwise(mut self, operation: Operation) -> Txn {
        self.otherwise.push(operation);
        self
    }

    /// The slot of all keys.
    ///
    /// # Errors
    /// There are several, or no key at all.
    fn slot(&self) -> Result<u16, ClientError> {
        let places = || self.operations.iter().chain(&self.otherwise).map(Operation::place);
        let certain = places().filter_map(|place| if let Place::Slot(slot) = place { Some(slot) } else { None });
        let mut slots = self.compares.iter().map(|compare| key_slot(&compare.key)).chain(certain);
        let guess = || places().find_map(|place| if let Place::Guess(slot) = place { Some(slot) } else { None });
        let Some(slot) = slots.next() else {
            return guess().ok_or_else(|| ClientError::invalid("a transaction has at least one key"));
        };
        if slots.all(|other| other == slot) { Ok(slot) } else { Err(ClientError::several_slots()) }
    }

    fn kind(&self) -> CallKind {
        let writes = self.operations.iter().chain(&self.otherwise).any(|operation| operation.kind().writes());
        if writes { CallKind::Write } else { CallKind::Read }
    }

    /// Whether all that may write is known to write data: a key covers it.
    fn takes_key(&self) -> bool {
        let mut writes = self.operations.iter().chain(&self.otherwise).filter(|operation| operation.kind().writes());
        writes.all(Operation::takes_key)
    }

    fn request(&self, options: Option<v1::CallOptions>) -> Result<v1::TxnRequest, ClientError> {
        let all = |operations: &[Operation]| -> Result<Vec<v1::PipelineRequest>, ClientError> {
            operations.iter().map(|operation| operation.message(None)).collect()
        };
        let (operations, otherwise) = (all(&self.operations)?, all(&self.otherwise)?);
        Ok(v1::TxnRequest { compares: self.compares.clone(), operations, otherwise, options })
    }
}

impl Client {
    /// Runs a transaction. After a conflict with other clients, with which nothing has happened, it is tried again as
    /// any call is that has not happened.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Invalid`] if the keys have several slots, and unavailable with the reason
    /// [`CONFLICT`] if others kept changing what is compared. Neither a comparison that does not hold nor an operation
    /// that fails is an error of the transaction: see [`TxnOutcome`].
    pub async fn txn(&self, txn: Txn) -> Result<TxnOutcome, ClientError> {
        let slot = txn.slot()?;
        let (kind, options) = match txn.kind() {
            CallKind::Read => (CallKind::Read, self.options()),
            CallKind::Write | CallKind::KeyedWrite if txn.takes_key() => (self.write_kind(), self.write_options()),
            kind => (kind, self.options()),
        };
        let request = txn.request(options)?;
        let send = |mut node: NodeClient, request| async move { node.txn(request).await };
        let plan = self.plan("txn", kind, Some(slot));
        let response: v1::TxnResponse = self.core.call(plan, request, send).await?;
        let v1::TxnResponse { succeeded, responses } = response;
        let branch = if succeeded { &txn.operations } else { &txn.otherwise };
        let mut responses = responses.into_iter();
        let result = |operation: &Operation| operation.result(responses.next()).map_err(Disposition::into_error);
        Ok(TxnOutcome { succeeded, results: branch.iter().map(result).collect() })
    }

    /// Changes a string to what a function makes of it: reads the key, calls the function with its value (absent if
    /// there is no such key), and sets what the function returns if the key still has the value that was read. If
    /// another client has changed it meanwhile, all of that is done again after a short random wait, within the
    /// deadline.
    ///
    /// Returns the value that was set, or nothing if the function returned nothing, which leaves the key as it is. The
    /// key keeps its time to live. The function may be called many times; it must not have effects of its own.
    ///
    /// ```no_run
    /// # async fn example(client: &fastness_client::Client) -> Result<(), fastness_client::ClientError> {
    /// client.update("names", |names| Some([names.unwrap_or_default(), ",Ada".into()].concat().into())).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`ClientError`]. A write with an unknown outcome ends it: the value was set at most once. Unavailable with
    /// the reason [`CONFLICT`]: other clients kept changing the key until the deadline; nothing has happened.
    pub async fn update(
        &self,
        key: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<Bytes>) -> Option<Bytes>,
    ) -> Result<Option<Bytes>, ClientError> {
        let key = key.as_ref();
        let waits =
            RetryOptions { backoff_min: CONFLICT_WAIT_MIN, backoff_max: CONFLICT_WAIT_MAX, ..self.core.retries };
        let until = self.until();
        let mut conflicts = 0;
        loop {
            let left = || Some(until.saturating_duration_since(Instant::now()));
            let settings = |client: &Client| {
                // What a replica answers may be older: the value would often not be the one that is compared.
                let consistency = match client.settings.consistency {
                    ReadConsistency::Linearizable => ReadConsistency::Linearizable,
                    _ => ReadConsistency::Primary,
                };
                CallSettings { deadline: left(), consistency, ..client.settings }
            };
            let before = self.with_options(settings(self)).get(key).await?;
            let Some(value) = change(before.clone()) else { return Ok(None) };
            let (condition, expiry) = match before {
                Some(before) => (SetIf::Equal(before), Some(SetExpiry::Keep)),
                None => (SetIf::Absent, None),
            };
            let options = SetOptions { condition: Some(condition), expiry, ..SetOptions::default() };
            if self.with_options(settings(self)).set_with(key, value.clone(), options).await?.applied {
                return Ok(Some(value));
            }
            let wait = waits.wait(conflicts, rand::random::<f64>(), Duration::ZERO);
            if wait >= until.saturating_duration_since(Instant::now()) {
                let text = "other clients have changed the value in each try before the deadline";
                return Err(ClientError::unavailable(CONFLICT, text));
            }
            tokio::time::sleep(wait).await;
            conflicts += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn all_keys_have_one_slot() {
        let txn = Txn::new().if_exists("{t}a").then(Operation::set("{t}b", "1")).otherwise(Operation::get("{t}c"));
        assert_eq!(txn.slot().unwrap(), key_slot(b"t"));
        assert!(txn.clone().then(Operation::get("other")).slot().is_err());
        assert!(txn.clone().otherwise(Operation::get("other")).slot().is_err());
        assert!(txn.clone().if_absent("other").slot().is_err());
        // Which of a command's words are keys, the server knows.
        let script = Operation::execute(["EVAL", "return 1", "1", "{t}a"]);
        assert_eq!(txn.then(script.clone()).slot().unwrap(), key_slot(b"t"));
        assert_eq!(Txn::new().then(script).slot().unwrap(), key_slot(b"return 1"));
        assert!(Txn::new().slot().is_err());
        assert!(Txn::new().then(Operation::execute(["DBSIZE"])).slot().is_err());
    }

    #[test]
    fn one_write_makes_it_a_write() {
        let reads = Txn::new().if_exists("a").then(Operation::get("a")).otherwise(Operation::hash_get_all("a"));
        assert_eq!(reads.kind(), CallKind::Read);
        assert_eq!(reads.clone().otherwise(Operation::delete("a")).kind(), CallKind::Write);
        assert_eq!(reads.then(Operation::execute(["STRLEN", "a"])).kind(), CallKind::Write);
    }
}
