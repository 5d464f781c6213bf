//! Raft groups on openraft: log storage, transport between nodes, leases, membership, hand-over. The only crate that
//! names openraft.
//!
//! One [`Consensus`] per node runs any number of groups. The owner of a group's data, a shard's loop or the control
//! plane, talks to the group through [`handle`]. An operator or the control plane administers it through
//! [`GroupControl`].
//!
//! ```text
//! owner ── handle ──▶ proposer ──▶ openraft ──▶ raft::storage ──▶ log
//!   ▲                                │  ▲
//!   └── commits, roles ── state ◀────┘  └── raft::network ── link ═══ frames ═══ serve ──▶ openraft of the peer
//!                           └── lease ◀── heartbeat ── link ═══ frames ═══ serve ──▶ promises of the peer
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `group` | one group on this node: what its owner and administrators see of it, and the tasks that run it |
//! | `lease` | when a leader may serve: promises, the lease, heartbeats, clocks, the watchdog of the owner's loop |
//! | `raft` | what openraft needs: types, log storage, state machine, network, runtime |
//! | `peer` | traffic between nodes: links, frames, the identity of peers, what was observed of them |
//! | `snapshot` | snapshot files, and how a snapshot travels to a replica |
//! | `node` | what all groups of the node share |
//!
//! This crate does not know what a batch holds. It reads no clock and opens no socket of its own: the log, the clock
//! and the [`PeerTransport`] are arguments. All of its tasks run on the tokio runtime in which [`Consensus::new`] is
//! called.

mod consensus;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod group;
mod lease;
mod node;
mod options;
mod peer;
mod raft;
pub mod snapshot;
pub mod testing;

pub use consensus::Consensus;
pub use group::committed::committed_entry;
pub use group::control::{GroupControl, Progress};
pub use group::membership::{Goal, ReconcileError, Reconciled};
pub use group::placement::{AzRule, Member, PlacementError, PlacementWarning};
pub use group::status::{
    AddLearnerError, GroupStatus, HandOverError, InitializeError, MemberStatus, RoleName, StartError,
};
pub use group::{handle, placement};
pub use lease::clocks::{ClockCheck, TrustedWall, WallState};
pub use lease::pulse::Gaps;
pub use options::{ConsensusOptions, Timers, TimersError};
pub use peer::observed;
pub use peer::transport::{Class, FrameStream, PeerTransport, STREAM_FRAMES_MAX, TransportError};
