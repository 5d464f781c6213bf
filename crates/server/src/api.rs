//! The data API over gRPC: `fastness.v1.KvService` and `fastness.v1.TopologyService`.
//!
//! ```text
//! grpc-port (shared runtime): guard ─▶ service ─▶ operation: commands ─▶ gateway: lane ═▶ replica's thread: connection
//! ```
//!
//! A call is translated to commands, and runs on a lane: a connection in memory to the shard's replica, which serves it
//! as any client's. So the order of effects, durability, admission, limits and statistics are the same as for clients
//! of the protocol, and there is one way in which a command runs.
//!
//! - `health`: what load balancers ask for.
//! - [`guard`]: users. `service`: the calls. `operation`: from requests to commands, and from replies to responses.
//! - [`memory`]: what messages may take. `pipeline`: streams of operations. `transaction`: comparisons and operations
//!   as one.
//! - `gateway`: which replica runs it. `forward`: what another node runs, for clients that know no shards. [`lane`]:
//!   connections to replicas. `refusal`: errors. `values`: replies.
//! - [`watch`]: streams of committed changes.
//! - [`topology`]: the stream of the topology.

mod forward;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod gateway;
pub mod guard;
pub(crate) mod health;
pub mod lane;
pub mod memory;
mod operation;
mod pipeline;
mod refusal;
pub mod service;
pub mod topology;
mod transaction;
mod values;
pub mod watch;
