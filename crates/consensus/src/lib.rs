//! Raft groups on openraft: log storage, transport between nodes, leases, membership, hand-over. The only crate that
//! names openraft.
//!
//! One [`Consensus`] per node runs any number of groups. What a group's owner (a shard's loop, the control plane) sees of
//! it is [`handle`]; what an operator or the control plane can do with it is [`GroupControl`].
//!
//! It does not know what a batch holds, and reads no clock and opens no socket of its own: the log, the clock and
//! the [`PeerTransport`] are given to it.

pub mod handle;
mod options;
pub mod placement;
mod raft_types;
mod status;
mod transport;

pub use options::{ConsensusOptions, Timers, TimersError};
pub use placement::{Member, PlacementError, PlacementWarning};
pub use status::{GroupStatus, HandOverError, InitializeError, MemberStatus, RoleName, StartError};
pub use transport::{Class, FrameStream, PeerTransport, STREAM_FRAMES_MAX, TransportError};
