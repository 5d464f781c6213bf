//! Strings: their effects, changes, DUMP form and commands. A command is in a file of its own or with its closest
//! relatives.
//!
//! A command parses all of its arguments before it reads data, reads data before it changes any, and replies once. It
//! checks for errors in the order in which Valkey does, because clients see the first one.

pub mod append;
pub mod delifeq;
pub(crate) mod dump;
pub mod effect;
pub mod get;
pub mod getex;
pub mod getrange;
pub mod incr;
pub mod incrbyfloat;
mod keyspace;
pub mod lcs;
pub(crate) mod look_up;
pub mod mset;
pub mod msetex;
pub mod options;
pub mod set;
mod write;

use crate::command::typed::TypeCommands;

/// The commands and the DUMP form of strings.
#[rustfmt::skip]
pub(crate) const COMMANDS: TypeCommands = TypeCommands {
    commands: &[
        append::APPEND,
        append::SETRANGE,
        delifeq::DELIFEQ,
        get::GET,
        get::GETDEL,
        get::GETSET,
        get::MGET,
        get::STRLEN,
        getex::GETEX,
        getrange::GETRANGE,
        getrange::SUBSTR,
        incr::DECR,
        incr::DECRBY,
        incr::INCR,
        incr::INCRBY,
        incrbyfloat::INCRBYFLOAT,
        lcs::LCS,
        mset::MSET,
        mset::MSETNX,
        msetex::MSETEX,
        set::PSETEX,
        set::SET,
        set::SETEX,
        set::SETNX,
    ],
    dump: dump::FORM,
};
