//! The data of a shard: the keyspace, the command table, executing commands and applying effects.
//!
//! A write is executed once, on the primary: [`Engine::execute`] runs the command against memory and appends a reply
//! and [effects](effect). All other replicas [apply](Engine::apply) the effects. Both call the same function, so that
//! replicas that applied the same log have the same [digest](digest::Digest).
//!
//! The modules, from the lowest to the highest; none imports a higher one:
//!
//! - [`random`], [`error`], [`notify`], `codec`: encodings, notations and interfaces that know nothing of the data.
//! - [`keyspace`]: the keys of all hash slots, with deadlines, undo records and the account of memory.
//! - [`effect`]: what a command changed, in a form that replicas repeat; [`mod@env`]: the environment of a command.
//! - [`digest`], [`image`], [`watch`], [`stored`]: what reads data outside of commands, or observes changes.
//! - [`engine`]: the data of one replica: executes commands, applies effects, undoes and expires.
//! - [`expiry`]: deadlines as commands take and report them. `sampling`: random parts of a value; `pairs`: pairs in
//!   replies.
//! - [`string`], [`hash`], [`list`], [`set`], [`zset`], [`stream`]: the data types, each with its representations,
//!   effects, changes and commands. [`types`] lists them. [`bitmap`] and [`hyperloglog`]: further commands of strings.
//!   [`geo`]: positions as scores of sorted sets. [`generic`], [`connection`], [`cluster`], [`server`]: the commands
//!   that belong to no type.
//! - [`functions`]: libraries of functions as data; what runs them is the shard.
//! - [`outbound`]: effects as commands of Valkey, and data as an RDB file, for readers outside of the cluster.
//! - [`transaction`]: MULTI and EXEC. [`blocking`]: commands that wait for keys.
//! - [`command`]: the table of commands, which dispatch, routing, COMMAND and the documentation read.
//!
//! Pure and deterministic: no clock, no randomness, no I/O, no threads. Time and randomness are passed in ([`Env`]).
//! The engine knows nothing of Raft, sockets and disks, and of connections only their transaction.

pub mod bitmap;
pub mod blocking;
pub mod changed;
pub mod cluster;
mod codec;
pub mod command;
pub mod connection;
pub mod digest;
pub mod effect;
pub mod engine;
pub mod env;
pub mod error;
pub mod eviction;
pub mod expiry;
pub mod functions;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod image;
pub mod keyspace;
pub mod list;
pub mod notify;
#[cfg(test)]
mod notify_tests;
pub mod outbound;
pub(crate) mod pairs;
pub mod random;
pub mod room;
pub(crate) mod sampling;
pub mod server;
pub mod set;
#[cfg(any(test, feature = "test-type"))]
mod stack;
pub mod stored;
pub mod stream;
pub mod string;
#[cfg(test)]
pub(crate) mod testing;
pub mod transaction;
pub mod types;
pub mod watch;
pub mod zset;

pub use blocking::{Blocking, KeyWait};
pub use changed::ChangedKeys;
pub use codec::glob;
pub use digest::Digest;
pub use effect::EffectBuf;
pub use engine::apply::ApplyError;
pub use engine::evict::{Evicted, EvictionEnd};
pub use engine::rebuild::RebuildError;
pub use engine::undo::Savepoint;
pub use engine::{Engine, EngineOptions, KeyspaceStats, Stats};
pub use env::Env;
pub use error::CommandError;
pub use eviction::policy::{EvictionOptions, EvictionPolicy};
pub use image::{ImageError, ImageLost, ImageSum};
pub use keyspace::libraries::{Libraries, Library};
pub use keyspace::retired::Freeing;
pub use keyspace::{ExpiryChange, Key, PackedLimits, TypeNumber};
pub use notify::{Notification, Notifications, NotifyClasses};
pub use random::Random;
pub use room::{MemoryBeside, Room};
pub use transaction::TransactionState;
