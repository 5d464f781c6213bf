//! The data: keyspace, command table, execute and apply.
//!
//! A write is executed once, on the primary: [`Engine::execute`] runs the command against memory and appends a reply
//! and [effects](effect). Everywhere else the effects are [applied](Engine::apply). Both end in the same function, so
//! that replicas that applied the same log have the same [digest](digest::Digest).
//!
//! From below to the top; nothing imports from above:
//!
//! - [`random`], [`error`], `codec`: what knows nothing of the data.
//! - [`keyspace`]: the table of keys, one per hash slot, with deadlines, undo records and the account of memory.
//! - [`effect`]: what a command changed, as a replica repeats it; [`mod@env`]: what a command is given.
//! - [`digest`], [`image`], [`watch`]: what looks at all data, or at what changes.
//! - [`engine`]: the data of one replica: runs commands, applies effects, undoes, expires.
//! - [`string`], [`hash`]: the data types: representations, effects, changes and commands, one file each or per tight
//!   family. [`types`] lists them.
//!   [`generic`], [`connection`], [`cluster`], [`server`]: the commands of no type.
//! - [`transaction`]: MULTI and EXEC.
//! - [`command`]: the table of commands, from which dispatch, routing, COMMAND and the docs are read.
//!
//! Pure and deterministic: no clock, no randomness, no I/O, no threads. Time and randomness are passed in ([`Env`]).
//! Knows nothing of Raft, sockets, disks and sessions other than their transaction.

pub mod cluster;
pub(crate) mod codec;
pub mod command;
pub mod connection;
pub mod digest;
pub mod effect;
pub mod engine;
pub mod env;
pub mod error;
pub mod expiry;
pub mod generic;
pub mod hash;
pub mod image;
pub mod keyspace;
pub mod random;
pub mod server;
#[cfg(test)]
mod stack;
pub mod string;
#[cfg(test)]
pub(crate) mod testing;
pub mod transaction;
pub mod types;
pub mod watch;

pub use codec::glob;
pub use digest::Digest;
pub use effect::EffectBuf;
pub use engine::apply::ApplyError;
pub use engine::undo::Savepoint;
pub use engine::{Engine, EngineOptions, KeyspaceStats, Stats};
pub use env::Env;
pub use error::CommandError;
pub use image::{ImageError, ImageLost, ImageSum};
pub use keyspace::retired::Freeing;
pub use keyspace::{ExpiryChange, Key};
pub use random::Random;
pub use transaction::TransactionState;
