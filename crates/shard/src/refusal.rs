//! Why the shard refuses a command, with the texts, in this one file. All of these are *refused*: nothing was staged,
//! or what was is taken back before anybody has seen it, and a client may try again. [`UNKNOWN`] alone is not a
//! refusal: the write was staged and is in doubt.

use std::time::Duration;

use fastness_resp::ReplyBuf;
use fastness_types::{Slot, limits};

/// A staged write whose primary lost its leadership before it committed. No client retries this prefix.
pub const UNKNOWN: &str =
    "UNKNOWN outcome: leadership was lost before the write was committed, it may not have happened";
/// No primary is known, or this one may not act. Every client that retries at all retries this.
pub const CLUSTER_DOWN: &str = "CLUSTERDOWN The cluster is down";
/// `async`: the log is so far behind that another acknowledged write could be lost outside of the promised window.
pub const LAGGING: &str =
    "CLUSTERDOWN Durability lag is over durability-max-lag: writes are refused until the log has caught up";
/// A replica that hears no primary is asked for what may have expired meanwhile. Clients that know clusters look for
/// another node and try again, which is what helps.
pub const CUT_OFF: &str =
    "CLUSTERDOWN This replica hears no primary, and the time to live of what was asked for may be over";
/// `disabled`: a client asks that its replies wait for their commit.
pub const NOT_DURABLE: &str = "ERR this cluster's durability is disabled: no reply can be made to wait for a commit";

/// An attribute would be lost on a command of a transaction, whose replies leave with EXEC's.
pub(crate) const MISPLACED_ATTRIBUTE: &str =
    "ERR a transaction's attribute stands in front of its EXEC: neither MULTI nor a command that is queued takes one";
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

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The keys of one command or transaction lie in different slots.
    CrossSlot,
    /// Another replica is to be asked.
    Moved {
        /// The keys' slot.
        slot: Slot,
        /// `host:port` as this client is to be told.
        address: String,
    },
    /// No primary is known, or this one may not act now.
    ClusterDown,
    /// `async`: the durability lag has reached its bound. Reads go on.
    Lagging,
    /// A replica hears no primary, and cannot know whether a key has expired.
    CutOff,
    /// Nobody is known to serve the slot.
    SlotNotServed,
    /// The data is being restored from the log.
    Loading,
    /// A write without keys on a replica.
    ReadOnly,
    /// Over `maxmemory`.
    OutOfMemory,
    /// The effects of the command or transaction were longer than a unit may be; they have been taken back.
    TooLarge {
        /// How long they may be.
        bytes_max: usize,
    },
    /// The transaction has run for so long that the loop could be taken for stuck; what it had changed has been taken
    /// back.
    TooSlow {
        /// How long it may have run when its next command is due.
        time_max: Duration,
    },
    /// A key's name is longer than [`limits::KEY_BYTES_MAX`].
    KeyTooLong,
    /// The client asks for a commit, and the mode promises none.
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
