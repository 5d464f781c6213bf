//! What the status of a failed try means: who is to be called instead, whether trying again is safe, or the error.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use fastness_wire::v1;
use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt as _;

use crate::error::{CONFLICT, CONNECTION_LOST, ClientError, MOVED, NOT_CONNECTED};

/// The domain of the server's reasons.
const DOMAIN: &str = "fastness";
/// The reason of a call that the node refused, because its deadline had passed: nothing has happened.
const DEADLINE: &str = "DEADLINE";

/// What a call does to data, which decides what is safe after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Nothing: it may run twice.
    Read,
    /// It may change data: it must not run twice.
    Write,
    /// It may change data, and the cluster recognises it if it is sent again.
    KeyedWrite,
}

impl CallKind {
    /// Whether it may change data.
    pub(crate) fn writes(self) -> bool {
        self != CallKind::Read
    }
}

/// What to do after a failed try.
#[derive(Debug)]
pub(crate) enum Disposition {
    /// Nothing has happened: this node serves the slots. The error is for a call that is moved too often.
    Moved {
        address: Arc<str>,
        slots: Option<RangeInclusive<u16>>,
        shard: Option<u32>,
        /// The slot of the key, which the node knows for commands of any kind.
        key_slot: Option<u16>,
        error: ClientError,
    },
    /// Trying again is safe, at the earliest after this time. The error is for a call that must not; of a write that
    /// the cluster recognises it may be that the outcome is unknown.
    Again { after: Duration, error: ClientError },
    /// Nothing has happened, because others changed what was compared: as for `Again`, but the node is the right one.
    Contended { after: Duration, error: ClientError },
    /// The call ends with this error, about which the node could do nothing.
    Refused(ClientError),
    /// The call ends with this error: the node did not answer, or did not know.
    Lost(ClientError),
}

impl Disposition {
    /// The error, if nothing is tried again.
    pub(crate) fn into_error(self) -> ClientError {
        match self {
            Disposition::Moved { error, .. }
            | Disposition::Again { error, .. }
            | Disposition::Contended { error, .. }
            | Disposition::Refused(error)
            | Disposition::Lost(error) => error,
        }
    }
}

/// Decides what a status means.
pub(crate) fn disposition(kind: CallKind, status: &Status) -> Disposition {
    if is_connect_error(status) {
        let error = ClientError::unavailable(NOT_CONNECTED, text(status));
        return Disposition::Again { after: Duration::ZERO, error };
    }
    let details = status.get_error_details();
    let Some(info) = details.error_info().filter(|info| info.domain == DOMAIN) else {
        return without_reason(kind, status);
    };
    let retry_after = details.retry_info().map(|retry| retry.retry_delay.unwrap_or_default());
    let error = v1::Error {
        code: status.code() as i32,
        reason: info.reason.clone(),
        message: status.message().to_owned(),
        metadata: info.metadata.clone().into_iter().collect(),
        retry_after_ms: retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
    };
    reasoned(kind, error)
}

/// Decides what an error with a reason means: that of a call, or of one operation in a response.
pub(crate) fn reasoned(kind: CallKind, error: v1::Error) -> Disposition {
    let v1::Error { code, reason, message, metadata, retry_after_ms } = error;
    let (code, after) = (Code::from(code), retry_after_ms.map(Duration::from_millis));
    if reason == MOVED
        && let Some(address) = metadata.get("address").filter(|address| !address.is_empty())
    {
        let (address, slots) = (address.as_str().into(), metadata.get("slots").and_then(|text| slots(text)));
        let shard = metadata.get("shard").and_then(|shard| shard.parse().ok());
        let key_slot = metadata.get("slot").and_then(|slot| slot.parse().ok());
        let error = ClientError::unavailable(MOVED, message);
        return Disposition::Moved { address, slots, shard, key_slot, error };
    }
    if code == Code::DeadlineExceeded && reason == DEADLINE {
        return Disposition::Again { after: Duration::ZERO, error: ClientError::DeadlineExceeded { message } };
    }
    match (code, after) {
        // UNAVAILABLE without a time to wait is not promised to have had no effect.
        (Code::Unavailable, Some(after)) => {
            return Disposition::Again { after, error: ClientError::unavailable(&reason, message) };
        }
        (Code::Aborted, Some(after)) if reason == CONFLICT => {
            return Disposition::Contended { after, error: ClientError::unavailable(&reason, message) };
        }
        _ => {}
    }
    let may_have_happened = matches!(
        code,
        Code::Unknown
            | Code::Internal
            | Code::DataLoss
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
    );
    if may_have_happened || reason == "OUTCOME_UNKNOWN" {
        return unanswered(kind, code, format!("{code}: {message}"));
    }
    Disposition::Refused(ClientError::Refused { code, reason, message, metadata: metadata.into_iter().collect() })
}

/// A status that no Fastness server made: by this side's transport, the server's, or something between the two.
fn without_reason(kind: CallKind, status: &Status) -> Disposition {
    match status.code() {
        // Decided before a request reaches its handler. OUT_OF_RANGE is a request that is longer than a message may be:
        // responses never reach the client's limit, which is above the server's.
        Code::Unimplemented
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::Unauthenticated
        | Code::PermissionDenied => {
            let (message, metadata) = (status.message().to_owned(), BTreeMap::new());
            let reason = String::new();
            Disposition::Refused(ClientError::Refused { code: status.code(), reason, message, metadata })
        }
        code => unanswered(kind, code, text(status)),
    }
}

/// A try without an answer that says what has happened.
fn unanswered(kind: CallKind, code: Code, message: String) -> Disposition {
    match (kind, code) {
        (CallKind::Write, _) => Disposition::Lost(ClientError::OutcomeUnknown { message }),
        (CallKind::KeyedWrite, _) => {
            Disposition::Again { after: Duration::ZERO, error: ClientError::OutcomeUnknown { message } }
        }
        // A broken connection cancels its calls as well; if the deadline has passed, there is no time for another try.
        (CallKind::Read, Code::DeadlineExceeded | Code::Cancelled) => {
            Disposition::Again { after: Duration::ZERO, error: ClientError::DeadlineExceeded { message } }
        }
        (CallKind::Read, _) => {
            Disposition::Again { after: Duration::ZERO, error: ClientError::unavailable(CONNECTION_LOST, message) }
        }
    }
}

/// The slots of a MOVED: `FIRST-LAST`.
fn slots(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-')?;
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// Whether the connection could not be established, so that nothing was sent.
fn is_connect_error(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |cause| (**cause).source())
}

/// The status for people: its code, its message and what caused it.
fn text(status: &Status) -> String {
    let mut text = format!("{}: {}", status.code(), status.message());
    for cause in causes(status).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// No answer within the deadline, measured here.
pub(crate) fn timed_out(kind: CallKind, address: &str) -> ClientError {
    let message = format!("no answer from {address} within the deadline");
    match kind {
        CallKind::Read => ClientError::DeadlineExceeded { message },
        CallKind::Write | CallKind::KeyedWrite => ClientError::OutcomeUnknown { message },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, reason: &str, retry: Option<Duration>) -> Status {
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
        if retry.is_some() {
            details.set_retry_info(retry);
        }
        Status::with_error_details(code, "text", details)
    }

    /// What a failed try of a read, and of a write, leads to.
    #[track_caller]
    fn check(status: &Status, read: &str, write: &str) {
        for (kind, expect) in [(CallKind::Read, read), (CallKind::Write, write)] {
            let found = match disposition(kind, status) {
                Disposition::Moved { .. } => "moved".to_owned(),
                Disposition::Again { after, error } => format!("again {} {}", after.as_millis(), error.reason()),
                Disposition::Contended { after, error } => {
                    format!("contended {} {}", after.as_millis(), error.reason())
                }
                Disposition::Refused(error) => format!("refused {}", error.reason()),
                Disposition::Lost(error) => format!("lost {}", error.reason()),
            };
            assert_eq!(found, expect, "{kind:?} {status:?}");
        }
    }

    #[test]
    fn only_what_has_not_happened_and_reads_are_tried_again() {
        let again = Some(Duration::from_millis(100));
        let all = |status: Status, both: &str| check(&status, both, both);
        all(status(Code::Unavailable, "CLUSTERDOWN", again), "again 100 CLUSTERDOWN");
        all(status(Code::FailedPrecondition, "WRONGTYPE", None), "refused WRONGTYPE");
        all(status(Code::FailedPrecondition, "WRONGTYPE", again), "refused WRONGTYPE");
        all(status(Code::ResourceExhausted, "OOM", None), "refused OOM");
        all(status(Code::FailedPrecondition, "MOVED", None), "refused MOVED");
        all(status(Code::Aborted, "CONFLICT", again), "contended 100 CONFLICT");
        all(status(Code::DeadlineExceeded, "DEADLINE", None), "again 0 DEADLINE_EXCEEDED");
        all(Status::unimplemented("no such call"), "refused ");
        all(Status::out_of_range("too long"), "refused ");

        let read = "again 0 CONNECTION_LOST";
        for code in [Code::Unknown, Code::Internal, Code::Unavailable, Code::ResourceExhausted, Code::Aborted] {
            check(&Status::new(code, "broken"), read, "lost OUTCOME_UNKNOWN");
        }
        for code in [Code::Unknown, Code::Unavailable] {
            check(&status(code, "OUTCOME_UNKNOWN", None), read, "lost OUTCOME_UNKNOWN");
        }
        check(&status(Code::Aborted, "CONFLICT", None), read, "lost OUTCOME_UNKNOWN");
        check(&status(Code::Aborted, "OTHER", again), read, "lost OUTCOME_UNKNOWN");
        for code in [Code::DeadlineExceeded, Code::Cancelled] {
            check(&Status::new(code, "late"), "again 0 DEADLINE_EXCEEDED", "lost OUTCOME_UNKNOWN");
        }
    }

    #[test]
    fn what_could_not_be_sent_has_not_happened() {
        let error = ConnectError(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)));
        check(&Status::from_error(Box::new(error)), "again 0 NOT_CONNECTED", "again 0 NOT_CONNECTED");
    }

    #[test]
    fn a_moved_call_names_the_node_and_its_slots() {
        let moved = |slots: &str| {
            let metadata = HashMap::from(
                [("address", "a:1"), ("slots", slots), ("shard", "2"), ("slot", "7")]
                    .map(|(name, value)| (name.into(), value.into())),
            );
            let details = ErrorDetails::with_error_info("MOVED", DOMAIN, metadata);
            let status = Status::with_error_details(Code::FailedPrecondition, "MOVED 7 a:1", details);
            match disposition(CallKind::Write, &status) {
                Disposition::Moved { address, slots, shard: Some(2), key_slot: Some(7), .. } => {
                    (address.to_string(), slots)
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(moved("0-5460"), ("a:1".into(), Some(0..=5_460)));
        assert_eq!(moved("all"), ("a:1".into(), None));
    }
}
