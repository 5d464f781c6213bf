//! The results that a pipeline holds until its caller takes them, and what is read of the streams meanwhile.
//!
//! Once they are as long together as they may be, nothing is read any more. If the result that the caller takes next is
//! not among them, the streams on which it is waited for are read all the same: what is held never keeps back what has
//! to be taken before it. So there is at most one result more than there is room for, unless operations are sent again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::order::LineKey;
use crate::error::ClientError;
use crate::operation::OperationResult;
use crate::reply::ReplyValue;

/// What a result, or a value within it, takes beside its bytes.
const VALUE_BYTES: usize = 64;
/// What an error takes, with its texts.
const ERROR_BYTES: usize = 256;
/// How long a result is waited for at least, counted from when it is the next one, if the stream was not read
/// meanwhile: its answer may have arrived in time.
const LATE_WAIT_MIN: Duration = Duration::from_secs(1);

/// What is read of the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    All,
    /// Only streams on which operations of this line are on their way.
    Line(LineKey),
    Nothing,
}

/// See the module. Shared by both ends of a pipeline and its task.
#[derive(Debug)]
pub(super) struct HeldResults {
    bytes_max: usize,
    state: Mutex<HeldState>,
    /// While reading is restricted: more may be read.
    room: Notify,
}

#[derive(Debug, Default)]
struct HeldState {
    bytes: usize,
    /// Results that were taken. Operations are numbered from 1, so the next one to be taken has this number plus one.
    taken: u64,
    /// Operations without a result, by number.
    unfinished: HashMap<u64, LineKey>,
    is_restricted: bool,
    /// When reading was last restricted.
    restricted_at: Option<Instant>,
}

impl HeldResults {
    pub(super) fn new(bytes_max: usize) -> HeldResults {
        HeldResults { bytes_max: bytes_max.max(1), state: Mutex::default(), room: Notify::new() }
    }

    /// An operation waits for its result in this line.
    pub(super) fn waits(&self, number: u64, line: LineKey) {
        self.state.lock().unfinished.insert(number, line);
    }

    /// What is read of the streams from now on.
    pub(super) fn reading(&self) -> Reading {
        let mut state = self.state.lock();
        let is_full = state.bytes >= self.bytes_max;
        if is_full || state.is_restricted {
            state.restricted_at = Some(Instant::now());
        }
        state.is_restricted = is_full;
        if !is_full {
            return Reading::All;
        }
        state.unfinished.get(&(state.taken + 1)).map_or(Reading::Nothing, |line| Reading::Line(*line))
    }

    /// Waits until more may be read than [`HeldResults::reading`] has said.
    pub(super) async fn has_room(&self) {
        self.room.notified().await;
    }

    /// Until when a result is waited for that is the next one, and whose operation was sent at `sent`.
    pub(super) fn until(&self, sent: Instant, until: Instant) -> Instant {
        let restricted_at = self.state.lock().restricted_at;
        if restricted_at.is_some_and(|at| at >= sent) { until.max(Instant::now() + LATE_WAIT_MIN) } else { until }
    }

    /// The caller has taken the next result, or waits for it no longer.
    pub(super) fn taken(&self) {
        self.change(|state| state.taken += 1);
    }

    fn change(&self, change: impl FnOnce(&mut HeldState)) {
        let mut state = self.state.lock();
        change(&mut state);
        if state.is_restricted {
            self.room.notify_one();
        }
    }
}

/// Where the result of an operation goes.
#[derive(Debug)]
pub(super) struct ResultSender {
    /// Of the operation, from 1.
    pub(super) number: u64,
    pub(super) to_caller: oneshot::Sender<HeldResult>,
    pub(super) held: Arc<HeldResults>,
}

/// A result until it is taken.
#[derive(Debug)]
pub(super) struct HeldResult {
    pub(super) result: Result<OperationResult, ClientError>,
    _bytes: HeldBytes,
}

/// Room that a result takes.
#[derive(Debug)]
struct HeldBytes {
    bytes: usize,
    held: Arc<HeldResults>,
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.held.change(|state| state.bytes -= self.bytes);
    }
}

impl ResultSender {
    /// Passes the result on; returns whether the caller still waits for it.
    pub(super) fn send(self, result: Result<OperationResult, ClientError>) -> bool {
        let bytes = result_bytes(&result);
        self.held.change(|state| {
            state.bytes += bytes;
            state.unfinished.remove(&self.number);
        });
        let bytes = HeldBytes { bytes, held: self.held };
        self.to_caller.send(HeldResult { result, _bytes: bytes }).is_ok()
    }

    /// Whether the caller has stopped waiting.
    pub(super) fn is_closed(&self) -> bool {
        self.to_caller.is_closed()
    }
}

/// About how many bytes a result takes.
fn result_bytes(result: &Result<OperationResult, ClientError>) -> usize {
    let Ok(result) = result else { return ERROR_BYTES };
    let optional = |value: Option<&Bytes>| value.map_or(0, Bytes::len);
    VALUE_BYTES
        + match result {
            OperationResult::Value(value) => optional(value.as_ref()),
            OperationResult::ExpiringValue(stored) => optional(stored.as_ref().map(|stored| &stored.value)),
            OperationResult::Set(outcome) => optional(outcome.previous.as_ref()),
            OperationResult::Count(_) | OperationResult::Sum(_) | OperationResult::Applied(_) => 0,
            OperationResult::Fields(fields) => {
                fields.iter().map(|(name, value)| VALUE_BYTES + name.len() + value.len()).sum()
            }
            OperationResult::Reply(reply) => reply_bytes(reply),
        }
}

fn reply_bytes(reply: &ReplyValue) -> usize {
    VALUE_BYTES
        + match reply {
            ReplyValue::Status(text) | ReplyValue::BigNumber(text) => text.len(),
            ReplyValue::Bytes(bytes) | ReplyValue::Verbatim { text: bytes, .. } => bytes.len(),
            ReplyValue::Array(values) | ReplyValue::Set(values) => values.iter().map(reply_bytes).sum(),
            ReplyValue::Map(entries) => entries.iter().map(|(key, value)| reply_bytes(key) + reply_bytes(value)).sum(),
            ReplyValue::Error(_) => ERROR_BYTES,
            ReplyValue::Null
            | ReplyValue::Integer(_)
            | ReplyValue::Double(_)
            | ReplyValue::Boolean(_)
            | ReplyValue::Unsupported => 0,
        }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn value(bytes: usize) -> Result<OperationResult, ClientError> {
        Ok(OperationResult::Value(Some(vec![b'x'; bytes].into())))
    }

    #[tokio::test]
    async fn what_is_held_restricts_reading_to_the_result_that_is_taken_next() {
        let held = Arc::new(HeldResults::new(1_000));
        let line = LineKey::Slot;
        let mut results: Vec<_> = (1..=3)
            .map(|number| {
                let (to_caller, result) = oneshot::channel();
                held.waits(number, line(u16::try_from(number).unwrap()));
                (Some(ResultSender { number, to_caller, held: held.clone() }), Some(result))
            })
            .collect();
        let sent = Instant::now();
        assert_eq!(held.reading(), Reading::All);
        // The second one is there, and the first one is not.
        assert!(results[1].0.take().unwrap().send(value(1_000)));
        assert_eq!(held.reading(), Reading::Line(line(1)));
        assert!(results[0].0.take().unwrap().send(value(1)));
        held.has_room().await;
        assert_eq!(held.reading(), Reading::Nothing);
        drop(results[0].1.take());
        held.taken();
        held.has_room().await;
        assert_eq!(held.reading(), Reading::Nothing, "the second one is there");
        let taken = results[1].1.take().unwrap().await.unwrap();
        assert_eq!(taken.result, value(1_000));
        drop(taken);
        held.taken();
        held.has_room().await;
        assert_eq!(held.reading(), Reading::All);
        // What was sent before that may be late, and what is sent afterwards is not.
        assert!(held.until(sent, sent) > sent);
        tokio::time::sleep(Duration::from_millis(2)).await;
        let sent = Instant::now();
        assert_eq!(held.until(sent, sent), sent);
        // Nobody waits for the last one: it takes no room.
        drop(results[2].1.take());
        assert!(!results[2].0.take().unwrap().send(value(5_000)));
        assert_eq!((held.reading(), held.state.lock().bytes), (Reading::All, 0));
    }

    #[test]
    fn the_size_of_a_result_is_that_of_its_values() {
        let long = |count| Bytes::from(vec![b'x'; count]);
        let at_least = |result, bytes| {
            let found = result_bytes(&Ok(result));
            assert!((bytes..bytes + 10 * VALUE_BYTES).contains(&found), "{found}, not {bytes}");
        };
        at_least(OperationResult::Count(1), 0);
        at_least(OperationResult::Fields([(long(100), long(2_000)), (long(50), long(3_000))].into()), 5_150);
        let nested = ReplyValue::Array(vec![ReplyValue::Bytes(long(4_000)), ReplyValue::Null]);
        at_least(OperationResult::Reply(ReplyValue::Map(vec![(ReplyValue::Integer(1), nested)])), 4_000);
    }
}
