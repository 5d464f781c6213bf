//! Faults, and the errors that they and wrong requests lead to.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use fastness_wire::v1;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What a call meets instead of being served.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MockFault {
    /// It is refused with this code and reason; nothing has happened. With [`Code::Unavailable`] and a time to wait,
    /// the client tries it again after this time.
    Refused {
        /// The code of the status.
        code: Code,
        /// The word that programs go by; empty: as from something other than a server of Fastness.
        reason: String,
        /// How long the client is to wait before it tries again.
        retry_after: Option<Duration>,
    },
    /// The server does not know whether it has happened.
    OutcomeUnknown {
        /// Whether it has.
        applied: bool,
    },
    /// The connection breaks before the answer has arrived; a pipeline ends.
    Disconnected {
        /// Whether it has happened.
        applied: bool,
    },
    /// It is refused because another node serves these slots.
    Moved {
        /// The node to call, as `host:port`.
        address: String,
        /// The slots that it serves.
        slots: RangeInclusive<u16>,
    },
    /// It is served after this time, of the real clock.
    Delayed(Duration),
    /// It is never answered.
    Hangs,
    /// Of a transaction, or a batch: its operations meet these, one each, and the other ones are served. Operations can
    /// be refused, be moved, or have an unknown outcome.
    Within(Vec<Option<MockFault>>),
}

impl MockFault {
    /// Refused with this code and reason, for good.
    pub fn refused(code: Code, reason: impl Into<String>) -> MockFault {
        MockFault::Refused { code, reason: reason.into(), retry_after: None }
    }

    /// Refused because nobody can run it at the moment: the client tries it again after this time.
    #[must_use]
    pub fn unavailable(retry_after: Duration) -> MockFault {
        let reason = "CLUSTERDOWN".to_owned();
        MockFault::Refused { code: Code::Unavailable, reason, retry_after: Some(retry_after) }
    }

    /// Whether the call is run although it fails.
    pub(super) fn is_applied(&self) -> bool {
        matches!(self, MockFault::OutcomeUnknown { applied: true } | MockFault::Disconnected { applied: true })
    }

    /// The error of a call, or of an operation; absent: it is served.
    pub(super) fn refusal(self) -> Option<MockRefusal> {
        Some(match self {
            MockFault::Refused { code, reason, retry_after } => {
                MockRefusal { retry_after, ..MockRefusal::new(code, &reason, "a fault of the test") }
            }
            MockFault::OutcomeUnknown { .. } => MockRefusal::new(Code::Unknown, "OUTCOME_UNKNOWN", "nobody knows"),
            MockFault::Disconnected { .. } => MockRefusal::disconnected(),
            MockFault::Moved { address, slots } => {
                let facts = [("address", address), ("slots", format!("{}-{}", slots.start(), slots.end()))];
                let facts = facts.into_iter().chain([("shard", "1".to_owned())]);
                let metadata = facts.map(|(name, value)| (name.to_owned(), value)).collect();
                let refusal = MockRefusal::new(Code::FailedPrecondition, "MOVED", "another node serves it");
                MockRefusal { metadata, ..refusal }
            }
            MockFault::Delayed(_) | MockFault::Hangs | MockFault::Within(_) => return None,
        })
    }
}

/// Why an operation has failed.
#[derive(Debug, Clone)]
pub(super) struct MockRefusal {
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) message: String,
    metadata: HashMap<String, String>,
    retry_after: Option<Duration>,
}

impl MockRefusal {
    pub(super) fn new(code: Code, reason: &str, message: impl Into<String>) -> MockRefusal {
        let (reason, message) = (reason.to_owned(), message.into());
        MockRefusal { code, reason, message, metadata: HashMap::new(), retry_after: None }
    }

    /// The request itself is wrong.
    pub(super) fn invalid(message: impl Into<String>) -> MockRefusal {
        MockRefusal::new(Code::InvalidArgument, "INVALID_REQUEST", message)
    }

    /// An error without a word of its own.
    pub(super) fn plain(message: impl Into<String>) -> MockRefusal {
        MockRefusal::new(Code::InvalidArgument, "ERR", message)
    }

    pub(super) fn wrong_type() -> MockRefusal {
        let message = "the key holds a value of another type";
        MockRefusal::new(Code::FailedPrecondition, "WRONGTYPE", message)
    }

    /// The connection broke.
    pub(super) fn disconnected() -> MockRefusal {
        MockRefusal::new(Code::Unavailable, "", "the connection broke")
    }

    /// Of a watch: changes before this index are not kept any more.
    pub(super) fn purged(oldest_index: u64) -> MockRefusal {
        let message = format!("the changes before index {oldest_index} are not kept any more");
        let metadata = HashMap::from([("oldest_index".to_owned(), oldest_index.to_string())]);
        MockRefusal { metadata, ..MockRefusal::new(Code::OutOfRange, "POSITION_PURGED", message) }
    }

    /// Of a watch: the position is one that will be reached.
    pub(super) fn ahead() -> MockRefusal {
        let refusal = MockRefusal::new(Code::Unavailable, "POSITION_AHEAD", "the position is not reached yet");
        MockRefusal { retry_after: Some(Duration::from_millis(1)), ..refusal }
    }

    /// As the status of a call.
    pub(super) fn status(self) -> Status {
        if self.reason.is_empty() {
            return Status::new(self.code, self.message);
        }
        let mut details = ErrorDetails::with_error_info(&self.reason, "fastness", self.metadata);
        if self.retry_after.is_some() {
            details.set_retry_info(self.retry_after);
        }
        Status::with_error_details(self.code, format!("{} {}", self.reason, self.message), details)
    }

    /// As the error of one operation.
    pub(super) fn error(self) -> v1::Error {
        let MockRefusal { code, reason, message, metadata, retry_after } = self;
        let retry_after_ms = retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        let metadata = metadata.into_iter().collect();
        v1::Error { code: code as i32, message: format!("{reason} {message}"), reason, metadata, retry_after_ms }
    }
}
