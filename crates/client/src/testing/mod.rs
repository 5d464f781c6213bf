//! A server in memory, for tests of code that uses the client: one node that serves all slots, with a clock and with
//! faults that the test controls.
//!
//! ```
//! use std::time::Duration;
//!
//! use fastness_client::{CallSettings, ClientError, Idempotency};
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
//! // The answer to a write is lost: it is sent again, and happens once.
//! server.fail_next(MockFault::OutcomeUnknown { applied: true });
//! assert_eq!(client.increment("orders", 1).await?, 1);
//!
//! // A write whose outcome stays unknown. What does the code under test make of it?
//! let once = client.with_options(CallSettings { idempotency: Idempotency::Off, ..CallSettings::default() });
//! server.fail_next(MockFault::OutcomeUnknown { applied: true });
//! let error = once.increment("orders", 1).await.unwrap_err();
//! assert!(matches!(error, ClientError::OutcomeUnknown { .. }));
//! assert_eq!(client.increment("orders", 0).await?, 2);
//! # Ok(())
//! # }
//! ```
//!
//! Watches, and what happens to them:
//!
//! ```
//! # use fastness_client::ClientError;
//! # use fastness_client::testing::{MockFault, MockServer};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MockServer::start().await?;
//! let client = server.client_builder().build()?;
//! let mut events = client.watch().prefix("user:").start().await?;
//! client.set("user:1", "ada").await?;
//! let first = events.next().await.unwrap()?;
//!
//! // The connection breaks: the stream continues where it was.
//! assert_eq!(server.cut_watches(), 1);
//! client.delete("user:1").await?;
//! let second = events.next().await.unwrap()?;
//! assert!(second.position > first.position);
//!
//! // Another process continues later, when the changes after its position are not kept any more. What does the code
//! // under test do then?
//! let positions = events.positions().clone();
//! drop(events);
//! client.set("user:2", "eve").await?;
//! server.keep_changes(0);
//! let error = client.watch().prefix("user:").after(positions).start().await.err().unwrap();
//! assert!(matches!(error, ClientError::PositionPurged { .. }));
//! # Ok(())
//! # }
//! ```
//!
//! # What it does as a cluster does
//!
//! - All typed calls on strings and hashes, transactions with their comparisons, batches, and pipelines.
//! - Idempotency keys: a write that is sent again is answered with its first result.
//! - Expiry, at a clock that only [`MockServer::advance`] moves.
//! - These commands of [`Client::execute`](crate::Client::execute): APPEND, DBSIZE, DECR, DEL, ECHO, EXISTS, EXPIRE,
//!   FLUSHALL, GET, HDEL, HEXISTS, HGET, HLEN, HSET, INCR, INCRBY, PERSIST, PING, PTTL, SET (without options), STRLEN,
//!   TTL, TYPE. Every other one is refused with [`Code::Unimplemented`](crate::Code::Unimplemented), reason
//!   `MOCK_UNIMPLEMENTED`.
//!
//! - Watches of keys, of prefixes, and of all keys of its one shard (id 1): committed changes in their order, what a
//!   transaction does as one event, current values, starts at a position or with the oldest change that is kept. Every
//!   100 ms they show that nothing has changed, and how far they are. It keeps a bounded number of changes
//!   ([`MockServer::keep_changes`]) and refuses positions before these.
//! - The stream of the topology: one node in the availability zone `a`. Reads on replicas are answered by it, and no
//!   data is ever too old.
//!
//! # What it does not
//!
//! Shards, several replicas, durability, users, memory limits and slow disks: what it stores is gone when it is
//! dropped. A watch that is not read waits, instead of being cut off after 10 s; its events are never in parts. The
//! texts of its errors are not those of a cluster; their codes and reasons are.

mod changes;
mod commands;
mod fault;
mod keyspace;
mod operations;
mod server;
mod service;
mod watching;

pub use fault::MockFault;
pub use server::MockServer;
pub use service::SeenCall;
