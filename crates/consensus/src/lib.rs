//! Raft groups on openraft: log storage, transport between nodes, leases, membership, hand-over. The only crate that
//! names openraft.
//!
//! One [`Consensus`] per node runs any number of groups. What a group's owner (a shard's loop, the control plane) sees
//! of it is [`handle`]; what an operator or the control plane can do with it is [`GroupControl`].
//!
//! ```text
//! owner ── handle.rs ──▶ proposer.rs ──▶ openraft ──▶ storage.rs ──▶ log
//!   ▲                                      │  ▲
//!   └── committed, roles ── group.rs ◀─────┘  └── network.rs ── link.rs ═══ frames ═══ serve.rs ──▶ its openraft
//!                              └── lease.rs ◀── heartbeat.rs ── link.rs ═══ frames ═══ serve.rs ──▶ its promises
//! ```
//!
//! It does not know what a batch holds, and reads no clock and opens no socket of its own: the log, the clock and
//! the [`PeerTransport`] are given to it. All of it is plain tasks on the runtime that [`Consensus::new`] is called in.

mod clocks;
mod codec;
mod consensus;
mod control;
mod driver;
mod frame;
mod group;
pub mod handle;
mod handover;
mod heartbeat;
mod identity;
mod lease;
mod link;
mod machine;
mod membership;
mod network;
mod node;
pub mod observed;
mod options;
pub mod placement;
mod proposer;
mod pulse;
mod raft_types;
mod runtime;
mod serve;
pub mod snapshot;
mod status;
mod storage;
pub mod testing;
mod transfer;
mod transport;
mod watch;
mod watchdog;

pub use clocks::{ClockCheck, TrustedWall, WallState};
pub use consensus::Consensus;
pub use control::{GroupControl, Progress};
pub use membership::{Goal, ReconcileError, Reconciled};
pub use options::{ConsensusOptions, Timers, TimersError};
pub use placement::{AzRule, Member, PlacementError, PlacementWarning};
pub use pulse::Gaps;
pub use status::{GroupStatus, HandOverError, InitializeError, MemberStatus, RoleName, StartError};
pub use storage::committed_entry;
pub use transport::{Class, FrameStream, PeerTransport, STREAM_FRAMES_MAX, TransportError};
