//! Why a call has failed, and whether it may be repeated.

use std::collections::BTreeMap;

use tonic::Code;

/// Why a call has failed.
///
/// The variant says whether the call can have changed data:
///
/// | variant | a write has happened | repeating it is safe |
/// |---|---|---|
/// | [`Refused`](ClientError::Refused) | only with a reason `REPLY_…` | if not; it will be refused again |
/// | [`OutcomeUnknown`](ClientError::OutcomeUnknown) | perhaps | with the same key, or if twice is harmless |
/// | [`DeadlineExceeded`](ClientError::DeadlineExceeded) | no | yes |
/// | [`Unavailable`](ClientError::Unavailable) | no | yes |
/// | [`PositionPurged`](ClientError::PositionPurged) | watches only | no |
/// | [`Invalid`](ClientError::Invalid) | no | yes, but it will fail again |
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server has refused the call, and would do so again. A write has not happened, with one exception: the
    /// reasons `REPLY_TOO_LONG` and `REPLY_DROPPED` say that it has, and that only its reply was too long for a
    /// message, or found no room in the node's memory for messages.
    #[error("refused ({reason}): {message}")]
    Refused {
        /// The code of the gRPC status.
        code: Code,
        /// The word that programs go by: `WRONGTYPE`, `OOM`, `CROSSSLOT`, `NOAUTH`, `ERR`, `INVALID_REQUEST`, …; empty
        /// if something other than a Fastness server refused the call.
        reason: String,
        /// A text for people.
        message: String,
        /// Facts that belong to the reason.
        metadata: BTreeMap<String, String>,
    },
    /// A write that may or may not have happened: its connection broke, its deadline passed, or the server could not
    /// find out. Repeating it is safe with the same idempotency key ([`Idempotency::Key`](crate::Idempotency::Key)), or
    /// if doing it twice is harmless; otherwise read first what is stored.
    #[error("outcome unknown, the write may have happened: {message}")]
    OutcomeUnknown {
        /// A text for people.
        message: String,
    },
    /// The deadline of a read has passed, or that of a write before it could run. Nothing has happened, so repeating it
    /// is safe.
    #[error("deadline exceeded: {message}")]
    DeadlineExceeded {
        /// A text for people.
        message: String,
    },
    /// Nobody could run the call, and the deadline or the retry budget did not allow another try. Nothing has happened,
    /// so repeating it is safe; wait at least 100 ms before.
    #[error("unavailable ({reason}): {message}")]
    Unavailable {
        /// The server's word for it (`CLUSTERDOWN`, `LOADING`, `NOT_SERVED`, …), or one of [`NOT_CONNECTED`],
        /// [`CONNECTION_LOST`], [`MOVED`] and [`CONFLICT`].
        reason: String,
        /// A text for people.
        message: String,
    },
    /// No node of the shard has the changes after the position of a watch any more (`watch-log-bytes`): some are
    /// missed. Read the data, and watch from now on.
    #[error("the changes after the position in shard {shard} are purged: {message}")]
    PositionPurged {
        /// The shard.
        shard: u32,
        /// A text for people.
        message: String,
    },
    /// An argument or an option of the client is wrong, or the address that a node named. Nothing has happened.
    #[error("invalid: {message}")]
    Invalid {
        /// What is wrong, for people.
        message: String,
    },
}

/// Reason of [`ClientError::Unavailable`]: no connection to the node could be established.
pub const NOT_CONNECTED: &str = "NOT_CONNECTED";
/// Reason of [`ClientError::Unavailable`]: the connection broke before a read was answered.
pub const CONNECTION_LOST: &str = "CONNECTION_LOST";
/// Reason of [`ClientError::Unavailable`]: the nodes kept naming each other as the primary.
pub const MOVED: &str = "MOVED";
/// Reason of [`ClientError::Unavailable`]: other clients kept changing what a transaction or an update compares.
pub const CONFLICT: &str = "CONFLICT";

/// The reason of a refusal: the idempotency key is too old.
const KEY_PAST: &str = "IDEMPOTENCYPAST";

impl ClientError {
    /// The word that programs go by: the server's reason, or the name of the variant in capitals.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            ClientError::Refused { reason, .. } | ClientError::Unavailable { reason, .. } => reason,
            ClientError::OutcomeUnknown { .. } => "OUTCOME_UNKNOWN",
            ClientError::DeadlineExceeded { .. } => "DEADLINE_EXCEEDED",
            ClientError::PositionPurged { .. } => "POSITION_PURGED",
            ClientError::Invalid { .. } => "INVALID",
        }
    }

    /// Whether a write that failed with this error may have changed data.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            ClientError::OutcomeUnknown { .. } => true,
            ClientError::Refused { reason, .. } => reason == "REPLY_TOO_LONG" || reason == "REPLY_DROPPED",
            _ => false,
        }
    }

    /// If the idempotency key is too old: the number above which keys are accepted.
    pub(crate) fn key_is_past(&self) -> Option<u64> {
        match self {
            ClientError::Refused { reason, metadata, .. } if reason == KEY_PAST => metadata.get("above")?.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> ClientError {
        ClientError::Invalid { message: message.into() }
    }

    /// Keys that must have one slot have several.
    pub(crate) fn several_slots() -> ClientError {
        ClientError::invalid("the keys of one call must have one slot: give them one hash tag")
    }

    pub(crate) fn unavailable(reason: &str, message: impl Into<String>) -> ClientError {
        ClientError::Unavailable { reason: reason.to_owned(), message: message.into() }
    }
}
