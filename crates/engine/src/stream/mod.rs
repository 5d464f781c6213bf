//! Streams: their representation, effects, changes, images, DUMP form and commands. A command is in a file of its own
//! or with its closest relatives.
//!
//! Commands follow the rules of the string commands: arguments first, then data, then one reply, and errors in the
//! order in which Valkey finds them. An effect names ids, and the times and counts that result: no clock and no `*`.
//!
//! - [`change`]: what an effect changes. `keyspace`: changes of streams in the keyspace. `write`: how commands stage
//!   them. `undo`: how a stream changes, and how that is undone.
//! - [`entries`]: a stream. `node`: a run of its entries; `id_map`: a sorted map by ids; [`id`]: an id; `groups`:
//!   consumer groups.
//! - `value`, `image`: streams as keyspace, digests and images see them.

pub mod add;
pub mod change;
pub mod claim;
mod dump;
pub mod effect;
pub mod entries;
pub mod get;
pub mod group;
mod groups;
pub mod id;
mod id_map;
pub(crate) mod image;
pub mod info;
mod keyspace;
mod look_up;
mod node;
pub mod pending;
pub mod read;
pub mod remove;
pub mod trim;
mod undo;
pub(crate) mod value;
mod write;

#[cfg(test)]
mod tests;

use crate::command::typed::TypeCommands;

pub use entries::Stream;
pub use id::StreamId;

/// The live entries of a node of an [`change::StreamChange::AddNode`], in order: of each its id, and its fields with
/// their values, one after the other. `None`: the bytes are no such node, and the change adds nothing.
pub(crate) fn node_entries(
    id: StreamId,
    (live, deleted): (u64, u64),
    bytes: &[u8],
) -> Option<Vec<(StreamId, Vec<Vec<u8>>)>> {
    let node = node::StreamNode::of_bytes(id, live, deleted, bytes)?;
    let texts = |entry: node::NodeEntry<'_>| {
        let pairs = entry.fields().flat_map(|(field, value)| [field.to_vec(), value.to_vec()]);
        (entry.id, pairs.collect())
    };
    Some(node.all(id).filter(|entry| !entry.is_deleted).map(texts).collect())
}

/// The commands and the DUMP form of streams.
#[rustfmt::skip]
pub(crate) const COMMANDS: TypeCommands = TypeCommands {
    commands: &[
        group::XACK,
        add::XADD,
        claim::XAUTOCLAIM,
        claim::XCLAIM,
        remove::XDEL,
        group::CREATE,
        group::CREATECONSUMER,
        group::DELCONSUMER,
        group::DESTROY,
        group::SETID,
        info::CONSUMERS,
        info::GROUPS,
        info::STREAM,
        get::XLEN,
        pending::XPENDING,
        get::XRANGE,
        read::XREAD,
        read::XREADGROUP,
        get::XREVRANGE,
        remove::XSETID,
        trim::XTRIM,
    ],
    dump: dump::FORM,
};
