//! The errors of the data API: a gRPC code, a reason that programs go by, and what goes with it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fastness_wire::v1;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of the reasons.
const DOMAIN: &str = "fastness";
/// How long a client waits before it tries again what was refused because nobody could run it.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Reasons that are no first word of an error reply.
pub(super) mod reason {
    /// The write may or may not have happened.
    pub(in crate::api) const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";
    /// The request itself is wrong.
    pub(in crate::api) const INVALID: &str = "INVALID_REQUEST";
    /// A command that changes the state of a connection.
    pub(in crate::api) const NEEDS_CONNECTION: &str = "NEEDS_CONNECTION";
    /// Other clients keep changing what a transaction compares.
    pub(in crate::api) const CONFLICT: &str = "CONFLICT";
    /// The reply is longer than a message may be.
    pub(in crate::api) const REPLY_TOO_LONG: &str = "REPLY_TOO_LONG";
    /// Other messages take too much of the node's memory: the request was not read.
    pub(in crate::api) const NO_MEMORY: &str = "NO_MEMORY";
    /// The same, for the reply.
    pub(in crate::api) const REPLY_DROPPED: &str = "REPLY_DROPPED";
    /// `maxclients` is reached.
    pub(in crate::api) const MAX_CLIENTS: &str = "MAX_CLIENTS";
    /// No password of this source is checked for the moment.
    pub(in crate::api) const TOO_MANY_FAILURES: &str = "TOO_MANY_FAILURES";
    /// The node has as many streams of the topology as it may have.
    pub(in crate::api) const MAX_STREAMS: &str = "MAX_STREAMS";
    /// The replica is not there (yet), or ends.
    pub(in crate::api) const NOT_SERVED: &str = "NOT_SERVED";
    /// The log does not have what follows a position any more.
    pub(in crate::api) const POSITION_PURGED: &str = "POSITION_PURGED";
    /// The replica has not reached a position.
    pub(in crate::api) const POSITION_AHEAD: &str = "POSITION_AHEAD";
    /// A watcher took nothing for too long.
    pub(in crate::api) const WATCH_TOO_SLOW: &str = "WATCH_TOO_SLOW";
    /// This node has as many watchers as it serves.
    pub(in crate::api) const MAX_WATCHERS: &str = "MAX_WATCHERS";
    /// The log is damaged, or of a newer version.
    pub(in crate::api) const LOG_UNREADABLE: &str = "LOG_UNREADABLE";
}

/// Why an operation has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiRefusal {
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) metadata: BTreeMap<String, String>,
    /// Nothing has happened, and trying again after this time makes sense.
    pub(super) retry_after: Option<Duration>,
}

impl ApiRefusal {
    pub(super) fn new(code: Code, reason: &str, message: impl Into<String>) -> ApiRefusal {
        let (reason, message) = (reason.to_owned(), message.into());
        ApiRefusal { code, reason, message, metadata: BTreeMap::new(), retry_after: None }
    }

    /// The request itself is wrong.
    pub(super) fn invalid(message: impl Into<String>) -> ApiRefusal {
        ApiRefusal::new(Code::InvalidArgument, reason::INVALID, message)
    }

    /// Nothing has happened: nobody could run it.
    pub(super) fn unavailable(reason: &str, message: impl Into<String>) -> ApiRefusal {
        ApiRefusal { retry_after: Some(RETRY_AFTER), ..ApiRefusal::new(Code::Unavailable, reason, message) }
    }

    /// Nobody knows whether it has happened.
    pub(super) fn unknown(message: impl Into<String>) -> ApiRefusal {
        ApiRefusal::new(Code::Unknown, reason::OUTCOME_UNKNOWN, message)
    }

    /// The same, with one more fact.
    pub(super) fn with(mut self, name: &str, value: impl ToString) -> ApiRefusal {
        self.metadata.insert(name.to_owned(), value.to_string());
        self
    }

    /// From an error reply without its leading `-`: the first word decides, as it does for clients of the protocol.
    pub(super) fn from_reply(text: &[u8]) -> ApiRefusal {
        // A line, as the protocol has it: what an error quotes may have line ends.
        let text = String::from_utf8_lossy(text).replace(['\r', '\n'], " ");
        let word = text.split(' ').next().unwrap_or_default();
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase());
        let word = if is_word { word } else { "ERR" };
        if word == "IDEMPOTENCYPAST" {
            return past_key(&text);
        }
        let code = match word {
            "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "TRYAGAIN" | "BUSY" | "STALE" => {
                return ApiRefusal::unavailable(word, &*text);
            }
            "UNKNOWN" => return ApiRefusal::unknown(&*text),
            "ERR" | "CROSSSLOT" | "SYNTAX" => Code::InvalidArgument,
            "OOM" => Code::ResourceExhausted,
            "NOAUTH" | "WRONGPASS" => Code::Unauthenticated,
            "NOPERM" | "DENIED" => Code::PermissionDenied,
            "DEADLINE" => Code::DeadlineExceeded,
            _ => Code::FailedPrecondition,
        };
        ApiRefusal::new(code, word, &*text)
    }
}

/// A key that is too old: the sequence number above which keys are accepted is in the metadata.
fn past_key(text: &str) -> ApiRefusal {
    let refusal = ApiRefusal::new(Code::FailedPrecondition, "IDEMPOTENCYPAST", text);
    let above = text.split_once("above ").and_then(|(_, rest)| rest.split(' ').next());
    match above.and_then(|above| above.parse::<u64>().ok()) {
        Some(above) => refusal.with("above", above),
        None => refusal,
    }
}

impl ApiRefusal {
    /// The refusal that another node has made a status of; `None`: no node has made it.
    pub(super) fn from_status(status: &Status) -> Option<ApiRefusal> {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
        Some(ApiRefusal {
            code: status.code(),
            reason: info.reason.clone(),
            message: status.message().to_owned(),
            metadata: info.metadata.clone().into_iter().collect(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        })
    }
}

impl From<v1::Error> for ApiRefusal {
    fn from(error: v1::Error) -> ApiRefusal {
        ApiRefusal {
            code: Code::from(error.code),
            reason: error.reason,
            message: error.message,
            metadata: error.metadata.into_iter().collect(),
            retry_after: error.retry_after_ms.map(Duration::from_millis),
        }
    }
}

impl From<ApiRefusal> for Status {
    fn from(refusal: ApiRefusal) -> Status {
        let metadata: HashMap<String, String> = refusal.metadata.into_iter().collect();
        let mut details = ErrorDetails::with_error_info(refusal.reason, DOMAIN, metadata);
        if let Some(after) = refusal.retry_after {
            details.set_retry_info(Some(after));
        }
        Status::with_error_details(refusal.code, refusal.message, details)
    }
}

impl From<ApiRefusal> for v1::Error {
    fn from(refusal: ApiRefusal) -> v1::Error {
        v1::Error {
            code: refusal.code as i32,
            reason: refusal.reason,
            message: refusal.message,
            metadata: refusal.metadata.into_iter().collect(),
            retry_after_ms: refusal.retry_after.map(|after| after.as_millis() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_what_has_not_happened_may_be_tried_again() {
        for (text, code, reason, again) in [
            ("CLUSTERDOWN The cluster is down", Code::Unavailable, "CLUSTERDOWN", true),
            ("LOADING Valkey is loading", Code::Unavailable, "LOADING", true),
            ("STALE This replica cannot show", Code::Unavailable, "STALE", true),
            ("UNKNOWN outcome: leadership was lost", Code::Unknown, "OUTCOME_UNKNOWN", false),
            ("MOVED 12 127.0.0.1:7000", Code::FailedPrecondition, "MOVED", false),
            ("WRONGTYPE Operation against", Code::FailedPrecondition, "WRONGTYPE", false),
            ("OOM command not allowed", Code::ResourceExhausted, "OOM", false),
            ("CROSSSLOT Keys in request", Code::InvalidArgument, "CROSSSLOT", false),
            ("DEADLINE the deadline of", Code::DeadlineExceeded, "DEADLINE", false),
            ("NOAUTH Authentication required.", Code::Unauthenticated, "NOAUTH", false),
            ("ERR value is not an integer or out of range", Code::InvalidArgument, "ERR", false),
            ("no word at all", Code::InvalidArgument, "ERR", false),
        ] {
            let refusal = ApiRefusal::from_reply(text.as_bytes());
            assert_eq!((refusal.code, &*refusal.reason, &*refusal.message), (code, reason, text));
            let status = Status::from(refusal);
            let details = status.get_error_details();
            assert_eq!(details.retry_info().is_some(), again, "{text}");
            assert_eq!(details.error_info().unwrap().reason, reason);
            assert_eq!(details.error_info().unwrap().domain, DOMAIN);
        }
    }
}
