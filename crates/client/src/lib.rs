//! The Rust SDK of Fastness: typed calls over gRPC.
//!
//! ```no_run
//! # async fn example() -> Result<(), fastness_client::ClientError> {
//! use fastness_client::{CallSettings, Client};
//!
//! let client = Client::builder().cluster_file("dev/cluster.json").build()?;
//! client.set("greeting", "hello").await?;
//! assert_eq!(client.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
//!
//! // Calls that wait until their effect is on stable storage in two availability zones.
//! let durable = client.with_options(CallSettings { durability_sync: true, ..CallSettings::default() });
//! durable.increment("orders", 1).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What a call does
//!
//! 1. It computes the slot of its key and calls the node that serves this slot. The client learns which node that is
//!    from a stream of the topology that one node sends (opened with the first call, and again at another node after it
//!    broke), and from nodes that refuse a call with MOVED; as long as it does not know, it calls any known node. It
//!    keeps one connection to each node, made when it is first used.
//! 2. A call that certainly has not happened is tried again: the node was not the primary (MOVED, which is followed at
//!    once), the server says that nothing has happened (UNAVAILABLE with a RetryInfo), or no connection could be
//!    established. A read is also tried again after its connection broke.
//! 3. **A write takes effect once.** It has an idempotency key ([`Idempotency`]): if its outcome is unknown it is sent
//!    again, and the cluster answers what it recognises with the first result. Without time or budget for another try
//!    it fails with [`ClientError::OutcomeUnknown`]. So does, at once, a write without a key: one of a client with
//!    [`Idempotency::Off`], and a command ([`Client::execute`]) that is not known to write data.
//! 4. Retries wait (exponential backoff with full jitter, at least what the server asks for), end with the deadline of
//!    the call, and take from a budget that all clones of a client share ([`RetryOptions`]): a cluster that is in
//!    trouble is not called many times as often. The server receives the remaining time with each try.
//!
//! # Reads from replicas
//!
//! [`CallSettings::consistency`] says who answers reads: the primary by default, a replica in the client's own
//! availability zone, any replica whose data are not older than the caller accepts, or the primary after a quorum has
//! confirmed it. What that says about the answer, and which calls it is for: [`ReadConsistency`].
//!
//! # Several operations
//!
//! - [`Client::txn`] runs comparisons and operations on one slot at one moment ([`Txn`]).
//! - [`Client::update`] changes a string to what a function makes of its value, as often as others interfere.
//! - [`Client::batch`] runs operations on any keys, in one message to each node.
//! - [`Client::pipeline`] sends operations without waiting for those before them.
//!
//! # Changes
//!
//! [`Client::watch`] streams every committed change of keys, prefixes or all keys. It continues by itself after nodes
//! have failed, and in another process from the positions that were kept ([`WatchStream::positions`]).
//!
//! # What is not taken
//!
//! A pipeline holds the results that its caller has not taken, and a watch its events, up to a number and up to a size
//! in bytes ([`ClientBuilder::held_bytes`]). Beyond that their streams are read no further, and the bounds of the nodes
//! apply: a caller that is slow, or has stopped, does not fill the memory of its process.
//!
//! # Features
//!
//! - `blocking`: a client for code that is not async (`blocking::Client`), with pipelines and watches as iterators.
//! - `testing`: a server in memory for tests, with faults and a clock that the test controls (`testing::MockServer`);
//!   it serves watches as well.
//!
//! Both are off by default. What a client does can be observed in any case: a [`CallObserver`] learns of each finished
//! call, and each call is a span of `tracing` (target `fastness_client`, level DEBUG) with a span for each attempt.
//!
//! Dropping the future of a write leaves its outcome unknown, as a deadline does. Where that matters, make the key
//! before ([`Client::new_idempotency_key`]), and send the write again with it.
//!
//! # Not there yet
//!
//! - Messages are bounded by 16 MiB: a batch is not split where its operations on one node are longer together.
//! - A node that does not answer one operation of a pipeline holds up those after it on the same stream.
//! - A second try of a read before the first has failed: a node that stops answering without closing its connections
//!   costs the calls under way up to 8 s (or their deadline).
//! - The slot of a command that runs through [`Client::execute`] is that of its second word. A command whose key is
//!   elsewhere (`XREAD`) costs one MOVED per call. Typed calls know where their keys are.
//! - The shard of a command without keys (`DBSIZE`, `SCAN`) cannot be chosen: any node runs it on a shard of its own.
//! - A write whose deadline passes while its connection is still being made counts as one with an unknown outcome,
//!   although nothing was sent.
//! - Each shard that is watched takes one of the 128 calls that a node runs of one connection at a time.
//! - Certificates and passwords are read once, when the client is built.

mod batch;
mod bitmap;
#[cfg(feature = "blocking")]
pub mod blocking;
mod builder;
mod calls;
mod channels;
mod client;
mod error;
mod follower;
mod geo;
mod hash;
mod hyperloglog;
mod idempotency;
mod list;
mod observe;
mod operation;
mod pipeline;
mod reply;
mod retry;
mod routes;
mod script;
mod set;
mod sets;
mod settings;
mod slots;
mod sorted_set;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod topology;
mod txn;
mod typed;
mod verdict;
mod watch;
mod write_commands;

pub use bitmap::BitJoin;
pub use builder::ClientBuilder;
pub use channels::{ChannelError, NodeChannel};
pub use client::Client;
pub use error::{CONFLICT, CONNECTION_LOST, ClientError, MOVED, NOT_CONNECTED};
pub use geo::{GeoArea, GeoCenter, GeoMatch, GeoPosition};
pub use idempotency::{Idempotency, IdempotencyKey, InvalidIdempotencyKey};
pub use list::ListSide;
pub use observe::{CallObserver, FinishedCall, OutcomeKind};
pub use operation::{Operation, OperationResult};
pub use pipeline::{Pipeline, PipelineFull, PipelineOptions, PipelineResults, PipelineSender};
pub use reply::{ExpiringValue, ReplyValue};
pub use retry::RetryOptions;
pub use script::Script;
pub use set::{SetExpiry, SetIf, SetOptions, SetOutcome};
pub use settings::{CallSettings, ReadConsistency};
pub use slots::key_slot;
pub use sorted_set::{RankedMember, ScoredMember, SortedSetOptions};
pub use stream::{
    InvalidStreamId, StreamAddOptions, StreamClaimed, StreamEntry, StreamId, StreamPending, StreamTakeOver, StreamTrim,
};
/// The code of a refusal.
pub use tonic::Code;
pub use txn::{Txn, TxnOutcome};
pub use watch::{
    ChangeCause, ChangedExpiry, ChangedValue, CurrentContent, CurrentValue, ParsePositionsError, Watch, WatchChange,
    WatchEvent, WatchPosition, WatchPositions, WatchStream,
};
pub use write_commands::WRITE_COMMANDS;
