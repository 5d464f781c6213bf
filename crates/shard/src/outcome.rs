//! What running a command returns: a reply that is released now or later, or something to wait for.

use std::time::Duration;

use fastness_types::{BootNs, Durability, Seq};

/// The outcome of [`crate::Shard::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The reply was appended.
    Reply {
        /// What the reply depends on; `None`: nothing.
        pending: Option<PendingReply>,
        /// Whether effects were staged.
        wrote: bool,
    },
    /// Nothing was appended, and nothing was run unless it is a script that is suspended: too much is uncommitted
    /// (`limits::OPEN_EFFECT_BYTES_MAX`), leadership is being handed over, clients are paused, writes are slowed,
    /// memory is full, a script runs, or no primary is known. Send the replies that are released, await what
    /// [`crate::Session::waits_for`] says, run the same command again.
    Busy,
    /// WAIT or WAITAOF: send the replies that are released, await [`crate::Shard::wait`], append its answer.
    Wait(WaitRequest),
    /// The reply was appended; close the connection once it has left.
    Close,
}

impl Outcome {
    /// A reply that depends on nothing.
    pub const REPLY: Outcome = Outcome::Reply { pending: None, wrote: false };
}

/// What a reply depends on: everything staged up to a sequence of one tenure as primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingReply {
    pub(crate) tenure: Tenure,
    pub(crate) seq: Seq,
    /// The mode that decides: the one in force when the command ran, or `Sync` by an override.
    pub(crate) durability: Durability,
    pub(crate) wrote: bool,
    /// If the reply is to a read that waits for a quorum (`confirm.rs`): the arrival time of the command. Else 0.
    pub(crate) arrived: BootNs,
}

impl PendingReply {
    /// The reply after [`Release::Unknown`], without the leading `-`. The outcome of a write is unknown, so it must not
    /// be retried blindly; a read may be retried.
    #[must_use]
    pub fn unknown_text(&self) -> &'static str {
        if self.wrote { crate::refusal::UNKNOWN } else { crate::refusal::CLUSTER_DOWN }
    }

    /// The same, whatever the mode: what the reply depends on has committed.
    #[must_use]
    pub fn until_commit(self) -> PendingReply {
        PendingReply { durability: Durability::Sync, arrived: BootNs(0), ..self }
    }

    /// Whether the command staged effects (else it read what others had staged).
    #[must_use]
    pub fn wrote(&self) -> bool {
        self.wrote
    }
}

/// Whether a pending reply may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Send it.
    Now,
    /// Await [`crate::Shard::wait_released`].
    Wait,
    /// Never send it: what it depends on was undone, or its outcome is unknown. See [`PendingReply::unknown_text`].
    Unknown,
}

/// One tenure of this replica as primary, by number, counted from the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tenure(pub(crate) u64);

/// A write's position: what WAIT waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenAt {
    pub(crate) tenure: Tenure,
    pub(crate) seq: Seq,
}

/// WAIT or WAITAOF, checked and ready to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitRequest {
    /// The connection's last write; `None`: it has not written.
    pub(crate) written: Option<WrittenAt>,
    /// WAITAOF: how many copies on this node (0 or 1) are required; `None`: WAIT.
    pub(crate) local: Option<u64>,
    /// How many other replicas are required.
    pub(crate) replicas: u64,
    /// `None`: no time-out.
    pub(crate) timeout: Option<Duration>,
}

impl WaitRequest {
    /// The same request with an expired time-out, for CLIENT UNBLOCK.
    #[must_use]
    pub fn at_once(self) -> WaitRequest {
        WaitRequest { timeout: Some(Duration::ZERO), ..self }
    }
}

/// The answer to WAIT or WAITAOF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitAnswer {
    /// WAIT: an integer.
    Replicas(u64),
    /// WAITAOF: an array of two integers.
    LocalAndReplicas(u64, u64),
    /// The replica lost its role meanwhile: an error with [`WaitAnswer::UNBLOCKED`].
    Unblocked,
    /// CLIENT UNBLOCK requested an error: [`WaitAnswer::UNBLOCKED_ERROR`].
    UnblockedWithError,
}

impl WaitAnswer {
    /// Valkey's text for a blocked client that another one has unblocked with an error.
    pub const UNBLOCKED_ERROR: &'static str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
    /// Valkey's text for a blocked client whose server's role has changed.
    pub const UNBLOCKED: &'static str =
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

    /// Appends the answer.
    pub fn write(self, out: &mut fastness_resp::ReplyBuf) {
        match self {
            WaitAnswer::Replicas(count) => out.integer(count as i64),
            WaitAnswer::LocalAndReplicas(local, count) => {
                out.array(2);
                out.integer(local as i64);
                out.integer(count as i64);
            }
            WaitAnswer::Unblocked => out.error(WaitAnswer::UNBLOCKED),
            WaitAnswer::UnblockedWithError => out.error(WaitAnswer::UNBLOCKED_ERROR),
        }
    }
}
