//! Hashes: their two forms ([`packed`], [`fields`]), effects, changes, images, DUMP form and commands. A command is in
//! a file of its own or with its closest relatives.
//!
//! Commands follow the rules of the string commands: arguments first, then data, then one reply, and errors in the
//! order in which Valkey finds them. An effect names only fields that it changes, each once.

pub mod all;
pub mod del;
pub(crate) mod dump;
pub mod effect;
pub mod expire;
pub mod fields;
pub mod get;
pub mod getex;
pub(crate) mod image;
pub mod incr;
mod keyspace;
mod look_up;
mod options;
pub mod packed;
pub mod randfield;
pub mod scan;
pub mod set;
pub mod setex;
pub mod ttl;
mod value;
pub mod view;
mod write;

use crate::command::typed::TypeCommands;

pub use fields::{FieldTable, pair};
pub use packed::{NUMBER, Pair};
pub use view::Hash;

/// The commands and the DUMP form of hashes.
#[rustfmt::skip]
pub(crate) const COMMANDS: TypeCommands = TypeCommands {
    commands: &[
        all::HGETALL,
        all::HKEYS,
        all::HVALS,
        del::HDEL,
        del::HGETDEL,
        expire::HEXPIRE,
        expire::HEXPIREAT,
        expire::HPERSIST,
        expire::HPEXPIRE,
        expire::HPEXPIREAT,
        get::HEXISTS,
        get::HGET,
        get::HLEN,
        get::HMGET,
        get::HSTRLEN,
        getex::HGETEX,
        incr::HINCRBY,
        incr::HINCRBYFLOAT,
        randfield::HRANDFIELD,
        scan::HSCAN,
        set::HMSET,
        set::HSET,
        set::HSETNX,
        setex::HSETEX,
        ttl::HEXPIRETIME,
        ttl::HPEXPIRETIME,
        ttl::HPTTL,
        ttl::HTTL,
    ],
    dump: dump::FORM,
};
