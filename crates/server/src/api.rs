//! The data API over gRPC: `fastness.v1.KvService`.
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
//! - `gateway`: which replica runs it. [`lane`]: connections to replicas. `refusal`: errors. `values`: replies.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gateway;
pub mod guard;
pub(crate) mod health;
pub mod lane;
pub mod memory;
mod operation;
mod pipeline;
mod refusal;
pub mod service;
mod transaction;
mod values;
