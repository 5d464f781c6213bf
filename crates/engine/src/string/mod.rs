//! The string commands, one file each or per tight family.
//!
//! A command parses all of its arguments before it looks at data, looks at data before it changes any, and replies
//! once. Errors come in the order in which Valkey finds them, since clients see the first.

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

/// Strings, as the commands know them.
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
