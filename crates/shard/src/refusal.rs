//! The reasons why the shard refuses a command, and the texts of all error replies. Refused means: nothing was staged,
//! or it was rolled back before any client could see it, so a client may retry. Only [`UNKNOWN`] is not a refusal: the
//! write was staged, and its outcome is unknown.

use std::time::Duration;

use fastness_resp::ReplyBuf;
use fastness_types::{Slot, limits};

/// The primary lost its leadership before a staged write committed. No client retries on this prefix.
pub const UNKNOWN: &str =
    "UNKNOWN outcome: leadership was lost before the write was committed, it may not have happened";
/// No primary is known, or this one may not act. Every client that retries at all retries on this prefix.
pub const CLUSTER_DOWN: &str = "CLUSTERDOWN The cluster is down";
/// `async`: the durability lag is at its bound; another acknowledged write could be lost beyond that bound.
pub const LAGGING: &str =
    "CLUSTERDOWN Durability lag is over durability-max-lag: writes are refused until the log has caught up";
/// A replica that hears no primary received a read of data that may have expired meanwhile. Cluster-aware clients retry
/// on another node, as they should.
pub const CUT_OFF: &str = "CLUSTERDOWN This replica hears no primary, and a key that was read may have expired since";
/// `disabled`: a client requested that its replies wait for their commit.
pub const NOT_DURABLE: &str = "ERR this cluster's durability is disabled: no reply can be made to wait for a commit";

/// Another write was sent with the idempotency key before. Nothing has happened now.
pub const KEY_REUSED: &str =
    "IDEMPOTENCYREUSED the idempotency key belongs to another write: nothing was done with this one";
/// The idempotency key is too old: whether its write ran is not known any more. Nothing has happened now.
pub const KEY_PAST: &str = "IDEMPOTENCYPAST the idempotency key is older than what is remembered: nothing was done now, and whether its write \
     was done before is not known";

/// Valkey's text while a script runs for long. Nothing has happened.
pub const BUSY_SCRIPT: &str = "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
/// Valkey's text while a function runs for long.
pub const BUSY_FUNCTION: &str =
    "BUSY Valkey is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
/// The deadline of the command or transaction passed before it could run. Nothing has happened now.
pub const LATE: &str = "DEADLINE the deadline of the command passed before it could run: nothing was done";

/// An attribute on a queued command has no effect, because its reply is part of the reply to EXEC.
pub(crate) const MISPLACED_ATTRIBUTE: &str =
    "ERR a transaction's attribute belongs before its EXEC: neither MULTI nor a queued command takes one";
/// Valkey's text.
pub(crate) const EXEC_WITHOUT_MULTI: &str = "ERR EXEC without MULTI";

/// Valkey's text for a command that no transaction may hold.
pub(crate) fn not_in_transaction(command: &str) -> String {
    format!("ERR Command '{command}' not allowed inside a transaction")
}

/// Why WAIT or WAITAOF is refused, with Valkey's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WaitRefusal {
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR value is out of range, must be positive")]
    Negative,
    #[error("ERR value is out of range, value must between 0 and 1")]
    NotZeroOrOne,
    #[error("ERR timeout is not an integer or out of range")]
    TimeoutNotAnInteger,
    #[error("ERR timeout is negative")]
    TimeoutNegative,
    #[error(
        "ERR WAIT cannot be used with replica instances. Please also note that if a replica is configured to be \
         writable (which is not the default) writes to replicas are just local and are not propagated."
    )]
    OnReplica,
    #[error(
        "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
         and are not propagated."
    )]
    AofOnReplica,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The keys of one command or transaction lie in different slots.
    CrossSlot,
    /// Another replica serves the slot.
    Moved {
        /// The keys' slot.
        slot: Slot,
        /// `host:port` as this client reaches it.
        address: String,
    },
    /// No primary is known, or this one may not act now.
    ClusterDown,
    /// `async`: the durability lag has reached its bound. Reads are served.
    Lagging,
    /// A replica hears no primary, and cannot know whether a key has expired.
    CutOff,
    /// A replica cannot show that its data are as new as the client asks for.
    Stale {
        /// How old they may be.
        max: Duration,
    },
    /// No replica is known to serve the slot.
    SlotNotServed,
    /// The data is being restored from the log.
    Loading,
    /// A write without keys on a replica.
    ReadOnly,
    /// Over `maxmemory`.
    OutOfMemory,
    /// The effects of the command or transaction were longer than a unit may be; they were rolled back.
    TooLarge {
        /// How long they may be.
        bytes_max: usize,
    },
    /// The transaction ran for so long that the watchdog could take the loop for stuck. Its changes were rolled back.
    TooSlow {
        /// How long it may have run when its next command is due.
        time_max: Duration,
    },
    /// A key's name is longer than [`limits::KEY_BYTES_MAX`].
    KeyTooLong,
    /// The client overrides the mode, and the mode promises no commit.
    NotDurable,
    /// Another write was sent with the idempotency key before.
    KeyReused,
    /// The idempotency key is so old that a record of its write may have left.
    KeyPast {
        /// Sequence numbers above this one are not.
        floor: u64,
    },
    /// The idempotency key's sequence number lies in the future.
    KeyAhead,
    /// The idempotency key has no client, or a name that is too long.
    KeyClient,
    /// The reply is too long to be kept under an idempotency key; the write was rolled back.
    ReplyTooLong,
    /// A replica of the shard is of a version that does not know idempotency keys.
    KeysUnknown,
    /// A replica of the shard is of a version that does not know the data type; the write was rolled back.
    TypeUnknown,
    /// The client's deadline passed before the command could run.
    Late,
    /// Another connection's script has run for longer than `busy-reply-threshold`.
    ScriptRuns {
        /// It is a function.
        is_function: bool,
    },
    /// The script ran for longer than it may. Its changes were rolled back.
    ScriptTooSlow {
        /// How long it may run.
        time_max: Duration,
    },
}

impl Refusal {
    /// The line without the leading `-`.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Refusal::CrossSlot => "CROSSSLOT Keys in request don't hash to the same slot".into(),
            Refusal::Moved { slot, address } => format!("MOVED {} {address}", slot.0),
            Refusal::ClusterDown => CLUSTER_DOWN.into(),
            Refusal::Lagging => LAGGING.into(),
            Refusal::CutOff => CUT_OFF.into(),
            Refusal::Stale { max } => {
                format!("STALE This replica cannot show that its data are at most {} ms old", max.as_millis())
            }
            Refusal::SlotNotServed => "CLUSTERDOWN Hash slot not served".into(),
            Refusal::Loading => "LOADING Valkey is loading the dataset in memory".into(),
            Refusal::ReadOnly => "READONLY You can't write against a read only replica.".into(),
            Refusal::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.".into(),
            Refusal::NotDurable => NOT_DURABLE.into(),
            Refusal::TooLarge { bytes_max } => {
                format!("ERR the command's effects exceed {bytes_max} bytes; no data was changed")
            }
            Refusal::TooSlow { time_max } => {
                format!("ERR the transaction has run for longer than {} ms; no data was changed", time_max.as_millis())
            }
            Refusal::KeyReused => KEY_REUSED.into(),
            Refusal::KeyPast { floor } => format!("{KEY_PAST} (sequence numbers above {floor} are accepted)"),
            Refusal::KeyAhead => format!(
                "ERR the idempotency key's sequence number is a time more than {} s in the future",
                limits::IDEMPOTENCY_AHEAD_MAX.as_secs()
            ),
            Refusal::KeyClient => {
                format!("ERR the client of an idempotency key is 1 to {} bytes", limits::IDEMPOTENCY_CLIENT_BYTES_MAX)
            }
            Refusal::ReplyTooLong => format!(
                "ERR the reply is longer than the {} bytes that an idempotency key keeps; no data was changed",
                limits::IDEMPOTENCY_REPLY_BYTES_MAX
            ),
            Refusal::KeysUnknown => {
                "ERR idempotency keys are not available until every node of the shard has been upgraded".into()
            }
            Refusal::TypeUnknown => {
                "ERR lists, sets, sorted sets, streams and functions are not available until every node of the shard has been \
                 upgraded"
                    .into()
            }
            Refusal::Late => LATE.into(),
            Refusal::ScriptRuns { is_function: false } => BUSY_SCRIPT.into(),
            Refusal::ScriptRuns { is_function: true } => BUSY_FUNCTION.into(),
            Refusal::ScriptTooSlow { time_max } => {
                format!("ERR the script has run for longer than {} ms; no data was changed", time_max.as_millis())
            }
            Refusal::KeyTooLong => format!("ERR key name is longer than {} bytes", limits::KEY_BYTES_MAX),
        }
    }

    /// Appends the error.
    pub fn write(&self, out: &mut ReplyBuf) {
        out.error(self.text());
    }

    /// Valkey's text for an EXEC that is refused for this reason, if [`Refusal::is_redirect`] is false.
    pub(crate) fn exec_aborted(&self) -> String {
        format!("EXECABORT Transaction discarded because of: {}", self.text())
    }

    /// Whether EXEC returns this error itself instead of wrapping it in `EXECABORT`.
    #[must_use]
    pub fn is_redirect(&self) -> bool {
        matches!(
            self,
            Refusal::CrossSlot
                | Refusal::Moved { .. }
                | Refusal::ClusterDown
                | Refusal::Lagging
                | Refusal::CutOff
                | Refusal::Stale { .. }
                | Refusal::SlotNotServed
                | Refusal::Late
        )
    }
}
