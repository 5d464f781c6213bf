//! The data: keyspace, command table, execute and apply.
//!
//! A write is executed once, on the primary: [`Engine::execute`] runs the command against memory and appends a reply and
//! [effects](effect). Everywhere else the effects are [applied](Engine::apply). Both end in the same function, so that
//! replicas that applied the same log have the same [digest](digest::Digest).
//!
//! - [`keyspace`]: the table of keys, one per hash slot, with deadlines and the account of memory.
//! - [`value`]: what a key holds; one module per data type.
//! - [`command`]: the table of commands, from which dispatch, routing, COMMAND and the docs are read.
//! - [`string`], [`hash`], [`generic`], [`connection`], [`cluster`], [`server`]: the commands themselves, one file each or per
//!   tight family.
//! - [`transaction`], [`watch`]: MULTI and WATCH.
//! - [`undo`]: back to what is committed.
//! - [`image`]: all data at one point, written out while commands go on, and read back.
//!
//! Pure and deterministic: no clock, no randomness, no I/O, no threads. Time and randomness are passed in ([`Env`]).
//! Knows nothing of Raft, sockets, disks and sessions other than their transaction.

pub mod apply;
pub mod cluster;
pub mod command;
pub mod connection;
pub mod digest;
pub mod effect;
pub mod engine;
pub mod error;
pub mod execute;
pub mod generic;
pub mod hash;
pub mod image;
pub mod keyspace;
pub mod server;
pub mod string;
#[cfg(test)]
pub(crate) mod testing;
pub mod transaction;
pub mod undo;
pub mod value;
pub mod watch;

pub use apply::ApplyError;
pub use digest::Digest;
pub use effect::EffectBuf;
pub use engine::{Engine, EngineOptions, KeyspaceStats, Stats};
pub use error::CommandError;
pub use execute::{Env, Random};
pub use image::{ImageError, ImageLost, ImageSum};
pub use keyspace::retired::Freeing;
pub use keyspace::{ExpiryChange, Key};
pub use transaction::Session;
pub use undo::Savepoint;
