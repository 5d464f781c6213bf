//! Data and changes in the forms that Valkey's replicas read: for readers outside of the cluster.
//!
//! - [`dialect`]: what a reader understands, by the version that it names.
//! - [`rdb`]: an RDB file, written from the records of an image.
//! - [`unit`](mod@unit): the effects of one unit as commands. `keys`, `lists`, `streams`: those of these types;
//!   `writer`: how a command is written.
//!
//! # Rules
//! - An effect is translated by itself, without the data that it changes. What a command needs beside the effect is
//!   in the effect ([`FormatLevel::OUTBOUND`](fastness_types::FormatLevel)). Effects of older versions that lack it are
//!   refused ([`untranslated::Untranslated`]); their reader starts again with an RDB file that has their changes.
//! - A unit that is more than one command is sent between MULTI and EXEC, so that it is applied as a whole or not at
//!   all.
//! - Commands remove what has expired; a reader need not do it, and a replica of Valkey does not.
//!
//! # What is not carried
//! - Deadlines of fields of hashes, to readers before Valkey 9: their removal is, when they have expired.
//! - When a consumer of a stream was last seen, and when it last got an entry: the reader uses its own time.
//! - Pending entries of a restored stream whose entries were removed.
//! - The forms in memory: a reader chooses its own.

pub mod dialect;
mod keys;
mod lists;
pub mod rdb;
mod streams;
pub mod unit;
pub mod untranslated;
mod writer;

#[cfg(test)]
mod tests;
