//! Streams to readers outside of the cluster: Valkey replicas, and tools that attach as one (PSYNC, SYNC).
//!
//! ```text
//! snapshot file ─▶ SnapshotExport: RDB ──┐
//!                                        ├─▶ queue ─▶ the reader's connection (resp_server/outbound.rs)
//! log ─▶ ChangeReader ─▶ UnitCommands ───┘
//! ```
//!
//! # Rules
//! - What is sent comes from a snapshot and from the committed log, never from execution: nothing is sent that may be
//!   undone. The RDB file has everything up to one log index, the commands everything from the next one on.
//! - A unit is one command, or commands between MULTI and EXEC.
//! - A reader is no member of the shard. It is never counted by WAIT or a quorum, and INFO shows it apart from the
//!   replicas.
//! - Every stream starts with all data: what a reader had before counts for nothing. A stream that ends is started
//!   again by its reader, from this or another replica of the shard.
//! - The log is the buffer of a reader. One that falls behind the start of the log, or takes nothing for a while, is
//!   cut off.
//!
//! Each stream has a thread, which reads, translates and fills the queue; the connection's task only passes the bytes
//! on. `readers`: what the node knows of all streams. `facts`: what a reader says of itself; `outlet`: what its command
//! leaves for its connection. `stream`: one stream. `rdb`: the file that it starts with.

pub mod facts;
pub mod outlet;
mod rdb;
pub mod readers;
mod stream;

pub use outlet::Outlet;
pub use rdb::FileForm;
pub use readers::{OutboundReader, OutboundReaders, OutboundState};
pub use stream::{OutboundRequest, OutboundSource, QueuedBytes, start};
