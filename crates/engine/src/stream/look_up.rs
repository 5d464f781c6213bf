//! Look-ups shared by the commands of streams, and what their replies share.

use super::entries::Stream;
use super::groups::ConsumerGroup;
use super::id::c_text;
use super::node::NodeEntry;
use crate::codec::listpack::Packable;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{Entry, Key, ValueRef};
use fastness_resp::ReplyBuf;

/// The stream of a value; `None` for other types.
fn of_value(value: ValueRef<'_>) -> Option<&Stream> {
    match value {
        ValueRef::Object(object) => object.downcast_ref(),
        ValueRef::Packed(_) | ValueRef::Text(_) | ValueRef::Int(_) | ValueRef::Long(_) => None,
    }
}

pub(super) fn of_entry(entry: &Entry) -> Result<&Stream, CommandError> {
    of_value(entry.value()).ok_or(CommandError::WrongType)
}

/// The stream of a key, for a reading command; counts a hit or miss.
pub(super) fn read<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<&'e Stream>, CommandError> {
    engine.read(key, env).map(of_entry).transpose()
}

/// The stream of a key, for a writing command.
pub(super) fn look_up<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<&'e Stream>, CommandError> {
    engine.look_up(key, env).map(of_entry).transpose()
}

/// The stream and the group of a key that was looked up before.
pub(super) fn found<'e>(engine: &'e Engine, key: &Key<'_>, group: &[u8]) -> Option<(&'e Stream, &'e ConsumerGroup)> {
    let stream = of_value(engine.keyspace().find(key)?.value())?;
    Some((stream, stream.group(group)?))
}

/// An error that quotes two arguments, as [`CommandError::quoting`] quotes one.
pub(super) fn quoting(texts: [&str; 3], first: &[u8], second: &[u8]) -> CommandError {
    let quoted = [texts[0].as_bytes(), c_text(first), texts[1].as_bytes(), c_text(second)].concat();
    CommandError::quoting("", &quoted, texts[2])
}

/// That key or group do not exist.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    quoting(["NOGROUP No such key '", "' or consumer group '", "'"], key, group)
}

/// That the group does not exist, but the key does.
pub(super) fn no_group_of_key(key: &[u8], group: &[u8]) -> CommandError {
    quoting(["NOGROUP No such consumer group '", "' for key name '", "'"], group, key)
}

fn reply_text(element: Packable<'_>, reply: &mut ReplyBuf) {
    reply.bulk(element.text(&mut itoa::Buffer::new()));
}

/// Replies with an entry: its id, and its fields with their values.
pub(super) fn reply_entry(entry: NodeEntry<'_>, reply: &mut ReplyBuf) {
    reply.array(2);
    entry.id.reply(reply);
    reply.array(2 * entry.count);
    for (field, value) in entry.fields() {
        reply_text(field, reply);
        reply_text(value, reply);
    }
}

/// Replies with entries, at most `count`, if it is not 0.
pub(super) fn reply_entries<'e>(entries: impl Iterator<Item = NodeEntry<'e>>, count: usize, reply: &mut ReplyBuf) {
    let place = reply.defer();
    let limit = if count == 0 { usize::MAX } else { count };
    let mut replied = 0;
    for entry in entries.take(limit) {
        reply_entry(entry, reply);
        replied += 1;
    }
    reply.finish_array(place, replied);
}
