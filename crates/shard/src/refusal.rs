//! Why the shard refuses a command: all texts of user replies, in one file. All of these are *refused*: nothing was
//! staged, or what was is rolled back before anybody has seen it, and a client may try again. [`UNKNOWN`] alone is not
//! a refusal: the write was staged and is in doubt.

use std::time::Duration;

use fastness_resp::ReplyBuf;
use fastness_types::{Slot, limits};

/// A staged write whose primary lost its leadership before it committed. No client retries this prefix.
pub const UNKNOWN: &str =
    "UNKNOWN outcome: leadership was lost before the write was committed, it may not have happened";
/// No primary is known, or this one may not act. Every client that retries at all retries this.
pub const CLUSTER_DOWN: &str = "CLUSTERDOWN The cluster is down";
/// `async`: the log is so far behind that another acknowledged write could exceed the promised window of loss.
pub const LAGGING: &str =
    "CLUSTERDOWN Durability lag is over durability-max-lag: writes are refused until the log has caught up";
/// A replica that hears no primary gets a read of what may have expired meanwhile. Clients that know clusters choose
/// another node and try again, which helps.
pub const CUT_OFF: &str = "CLUSTERDOWN This replica hears no primary, and a key that was read may have expired since";
/// `disabled`: a client wants its replies to wait for their commit.
pub const NOT_DURABLE: &str = "ERR this cluster's durability is disabled: no reply can be made to wait for a commit";

/// An attribute would be lost on a command of a transaction, whose replies leave with EXEC's.
pub(crate) const MISPLACED_ATTRIBUTE: &str =
    "ERR a transaction's attribute belongs before its EXEC: neither MULTI nor a queued command takes one";
/// Valkey's text.
pub(crate) const EXEC_WITHOUT_MULTI: &str = "ERR EXEC without MULTI";

/// Valkey's text for a command that no transaction may hold.
pub(crate) fn not_in_transaction(command: &str) -> String {
    format!("ERR Command '{command}' not allowed inside a transaction")
}

/// Why WAIT or WAITAOF is refused, in Valkey's texts.
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
    /// The transaction has run for so long that the loop could be mistaken for a stuck one; its changes were rolled
    /// back.
    TooSlow {
        /// How long it may have run when its next command is due.
        time_max: Duration,
    },
    /// A key's name is longer than [`limits::KEY_BYTES_MAX`].
    KeyTooLong,
    /// The client overrides the mode, and the mode promises no commit.
    NotDurable,
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
            Refusal::KeyTooLong => format!("ERR key name is longer than {} bytes", limits::KEY_BYTES_MAX),
        }
    }

    /// Appends the error.
    pub fn write(&self, out: &mut ReplyBuf) {
        out.error(self.text());
    }

    /// Valkey's text of an EXEC that is refused for this, where [`Refusal::is_redirect`] is false.
    pub(crate) fn exec_aborted(&self) -> String {
        format!("EXECABORT Transaction discarded because of: {}", self.text())
    }

    /// Whether EXEC answers it as it is and not within `EXECABORT`.
    #[must_use]
    pub fn is_redirect(&self) -> bool {
        matches!(
            self,
            Refusal::CrossSlot
                | Refusal::Moved { .. }
                | Refusal::ClusterDown
                | Refusal::Lagging
                | Refusal::CutOff
                | Refusal::SlotNotServed
        )
    }
}
