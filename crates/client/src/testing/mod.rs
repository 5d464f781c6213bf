//! A server in memory, for tests of code that uses the client: one node that serves all slots, with a clock and with
//! faults that the test controls.
//!
//! ```
//! use std::time::Duration;
//!
//! use fastness_client::ClientError;
//! use fastness_client::testing::{MockFault, MockServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MockServer::start().await?;
//! let client = server.client_builder().build()?;
//! client.set("session", "ada").await?;
//!
//! // Time passes only when the test says so.
//! client.expire("session", Duration::from_secs(60)).await?;
//! server.advance(Duration::from_secs(59));
//! assert!(client.get("session").await?.is_some());
//! server.advance(Duration::from_secs(1));
//! assert!(client.get("session").await?.is_none());
//!
//! // A write whose outcome is unknown, and which has happened. What does the code under test make of it?
//! server.fail_next(MockFault::OutcomeUnknown { applied: true });
//! let error = client.increment("orders", 1).await.unwrap_err();
//! assert!(matches!(error, ClientError::OutcomeUnknown { .. }));
//! assert_eq!(client.increment("orders", 0).await?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What it does as a cluster does
//!
//! - All typed calls on strings and hashes, transactions with their comparisons, batches, and pipelines.
//! - Expiry, at a clock that only [`MockServer::advance`] moves.
//! - These commands of [`Client::execute`](crate::Client::execute): APPEND, DBSIZE, DECR, DEL, ECHO, EXISTS, EXPIRE,
//!   FLUSHALL, GET, HDEL, HEXISTS, HGET, HLEN, HSET, INCR, INCRBY, PERSIST, PING, PTTL, SET (without options), STRLEN,
//!   TTL, TYPE. Every other one is refused with [`Code::Unimplemented`](crate::Code::Unimplemented), reason
//!   `MOCK_UNIMPLEMENTED`.
//!
//! # What it does not
//!
//! Shards, replicas, durability, users, memory limits and slow disks: what it stores is gone when it is dropped. The
//! texts of its errors are not those of a cluster; their codes and reasons are.

mod commands;
mod fault;
mod keyspace;
mod operations;
mod server;
mod service;

pub use fault::MockFault;
pub use server::MockServer;
pub use service::SeenCall;
