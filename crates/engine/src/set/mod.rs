//! Sets: their forms ([`packed`], [`table`]), effects, changes, images, DUMP form and commands. A command is in a file
//! of its own or with its closest relatives.
//!
//! Commands follow the rules of the string commands: arguments first, then data, then one reply, and errors in the
//! order in which Valkey finds them. An effect names only members that it adds or removes, each once: of a random
//! choice, those that were chosen.

pub mod add;
pub mod combine;
mod dump;
pub mod effect;
pub mod get;
pub(crate) mod image;
mod keyspace;
mod look_up;
pub mod member;
pub mod packed;
pub mod random;
pub mod rem;
pub mod scan;
pub mod table;
mod value;
pub mod view;
mod write;

#[cfg(test)]
mod tests;

use crate::command::typed::TypeCommands;

pub use member::SetMember;
pub use packed::SetForm;
pub use table::SetTable;
pub use view::Set;

/// The commands and the DUMP form of sets.
#[rustfmt::skip]
pub(crate) const COMMANDS: TypeCommands = TypeCommands {
    commands: &[
        add::SADD,
        combine::SDIFF,
        combine::SDIFFSTORE,
        combine::SINTER,
        combine::SINTERCARD,
        combine::SINTERSTORE,
        combine::SUNION,
        combine::SUNIONSTORE,
        get::SCARD,
        get::SISMEMBER,
        get::SMEMBERS,
        get::SMISMEMBER,
        random::SPOP,
        random::SRANDMEMBER,
        rem::SMOVE,
        rem::SREM,
        scan::SSCAN,
    ],
    dump: dump::FORM,
};
