//! Lists: their two forms ([`packed`], [`node_list`]), effects, changes, images, DUMP form and commands. A command is
//! in a file of its own or with its closest relatives.
//!
//! Commands follow the rules of the string commands: arguments first, then data, then one reply, and errors in the
//! order in which Valkey finds them. An effect says by position what changes, never by value, so a replica compares
//! nothing.
//!
//! - [`change`]: what an effect changes. `keyspace`: changes of lists in the keyspace. `write`: how commands stage
//!   them.
//! - [`packed`]: a small list in its key's entry. [`node_list`]: a large list; `nodes`: its structure; `node`, `limit`:
//!   its parts, and how large they may be.
//! - `undo`: undo records of large lists. `value`, `image`: lists as keyspace, digests and images see them.
//! - [`view`]: reading of lists in both forms.

pub mod blocking;
pub mod change;
mod dump;
pub mod effect;
pub mod get;
pub(crate) mod image;
mod keyspace;
mod limit;
pub mod lmove;
mod look_up;
mod node;
pub mod node_list;
mod nodes;
pub mod packed;
pub mod pop;
pub mod pos;
pub mod push;
pub mod remove;
pub mod set;
mod undo;
mod value;
pub mod view;
mod write;

#[cfg(test)]
mod tests;

use crate::command::typed::TypeCommands;

pub use node_list::NodeList;
pub use packed::NUMBER;
pub use view::List;

/// The commands and the DUMP form of lists.
#[rustfmt::skip]
pub(crate) const COMMANDS: TypeCommands = TypeCommands {
    commands: &[
        blocking::BLMOVE,
        blocking::BLMPOP,
        blocking::BLPOP,
        blocking::BRPOP,
        blocking::BRPOPLPUSH,
        get::LINDEX,
        set::LINSERT,
        get::LLEN,
        lmove::LMOVE,
        pop::LMPOP,
        pop::LPOP,
        pos::LPOS,
        push::LPUSH,
        push::LPUSHX,
        get::LRANGE,
        remove::LREM,
        set::LSET,
        remove::LTRIM,
        pop::RPOP,
        lmove::RPOPLPUSH,
        push::RPUSH,
        push::RPUSHX,
    ],
    dump: dump::FORM,
};
