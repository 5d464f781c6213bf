//! SORT, SORT_RO: the elements of a list, a set or a sorted set in another order, or the values of other keys in the
//! place of elements.
//!
//! - `options`: what the arguments mean, and which are refused.
//! - `look_ups`: the keys that BY and GET name.
//! - `order`: the elements in the requested order. Elements are not copied. One pass keeps no more than twice as many
//!   as LIMIT leaves before the end of its range; without an order only that range is read.
//!
//! A sort without STORE compares texts up to their first zero byte, as Valkey does in the locale `C`, the only one
//! here. Elements that compare as equal stay in their order in the list or sorted set, also with LIMIT, where Valkey
//! may change it.
//!
//! The keys that BY and GET name must be in the slot of the sorted key. A user who may not read every key is refused
//! them altogether: whoever checks the rights of users calls [`check_without_every_key`]. How many are read is bounded
//! ([`SORT_LOOK_UPS_MAX`]), because a short request may name any number of them for each element.

mod look_ups;
mod options;
mod order;
mod sortable;

use self::look_ups::{LookUps, TOO_MANY_LOOK_UPS};
use self::options::SortOptions;
use self::sortable::Sortable;
use crate::codec::listpack::Packable;
use crate::command::{Command, CommandSpec};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::list::NodeList;
use crate::notify::NotifyClasses;
use fastness_resp::{Args, ReplyBuf};
use fastness_types::limits::{SORT_LOOK_UPS_MAX, UNIT_BYTES_MAX};

/// SORT key \[BY pattern] \[LIMIT offset count] \[GET pattern \[GET pattern ...]] \[ASC|DESC] \[ALPHA]
/// \[STORE destination]
pub const SORT: Command = Command::data(
    "sort",
    "<key> [BY <pattern>] [LIMIT <offset> <count>] [GET <pattern> [GET <pattern> ...]] [ASC|DESC] [ALPHA] \
     [STORE <destination>]",
    "Sorts the elements of a list, a set or a sorted set, and returns or stores the result.",
    |engine, args, env| run(engine, args, env, true),
);
/// SORT_RO key \[BY pattern] \[LIMIT offset count] \[GET pattern \[GET pattern ...]] \[ASC|DESC] \[ALPHA]
pub const SORT_RO: Command = Command::data(
    "sort_ro",
    "<key> [BY <pattern>] [LIMIT <offset> <count>] [GET <pattern> [GET <pattern> ...]] [ASC|DESC] [ALPHA]",
    "Returns the sorted elements of a list, a set or a sorted set.",
    |engine, args, env| run(engine, args, env, false),
);

/// Longest reply, bytes: GET may repeat a long value for each element.
const REPLY_BYTES_MAX: usize = UNIT_BYTES_MAX;

/// Refuses a request of SORT or SORT_RO that reads keys which it does not name. For users who may not read every key;
/// other commands, and requests with errors before these options, are not refused.
///
/// # Errors
/// The reply to the request.
pub fn check_without_every_key(spec: &CommandSpec, args: Args<'_>) -> Result<(), CommandError> {
    let may_store = match spec.name {
        "sort" => true,
        "sort_ro" => false,
        _ => return Ok(()),
    };
    match SortOptions::parse(args, may_store, false) {
        Err(error) if options::is_about_rights(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, may_store: bool) -> Result<(), CommandError> {
    let options = SortOptions::parse(args, may_store, true)?;
    let key = engine.first_key(args, env);
    let exists = match engine.read(&key, env) {
        Some(entry) if Sortable::of(entry.value()).is_none() => return Err(CommandError::WrongType),
        entry => entry.is_some(),
    };
    let mut look_ups = LookUps::new(engine, env.now);
    let entry = engine.keyspace().find(&key).filter(|_| exists);
    let sortable = entry.and_then(|entry| Sortable::of(entry.value())).unwrap_or(Sortable::Missing);
    if options.look_ups(sortable.len()) > SORT_LOOK_UPS_MAX {
        return Err(TOO_MANY_LOOK_UPS);
    }
    let elements = order::elements(sortable, &options, &mut look_ups)?;
    let count = options.range(sortable.len()).len() * options.gets.len();
    let Some(destination) = options.store else {
        reply(count, elements, &options, &mut look_ups, env.reply)?;
        let (hits, misses, missed) = look_ups.ended();
        engine.count_look_ups(hits, misses, missed.as_ref());
        return Ok(());
    };
    let empty = NodeList::unpacked(engine.keyspace().list_node_limit());
    let list = gathered(elements, &options, &mut look_ups, (empty, UNIT_BYTES_MAX))?;
    let (hits, misses, missed) = look_ups.ended();
    engine.count_look_ups(hits, misses, missed.as_ref());
    let destination = engine.key(destination);
    let existed = engine.put_list(&destination, &list, env);
    engine.notify_stored(NotifyClasses::LIST, "sortstore", &destination, existed);
    env.reply.integer(count as i64);
    Ok(())
}

/// Replies with `count` values.
fn reply<'e>(
    count: usize,
    elements: impl Iterator<Item = Packable<'e>>,
    options: &SortOptions<'_>,
    look_ups: &mut LookUps<'e>,
    reply: &mut ReplyBuf,
) -> Result<(), CommandError> {
    let start = reply.len();
    reply.array(count);
    for element in elements {
        for pattern in &options.gets {
            match look_ups.find(pattern, element)? {
                Some(value) => reply.bulk(value.text(&mut itoa::Buffer::new())),
                None => reply.null(),
            }
            if reply.len() - start > REPLY_BYTES_MAX {
                return Err(CommandError::REPLY_TOO_LARGE);
            }
        }
    }
    Ok(())
}

/// The values, added to an empty list as long as they have so many bytes: empty texts for those that do not exist. They
/// are copied, because the destination may be the sorted key.
fn gathered<'e>(
    elements: impl Iterator<Item = Packable<'e>>,
    options: &SortOptions<'_>,
    look_ups: &mut LookUps<'e>,
    (mut list, bytes_max): (NodeList, usize),
) -> Result<NodeList, CommandError> {
    let mut bytes = 0;
    for element in elements {
        for pattern in &options.gets {
            let mut buffer = itoa::Buffer::new();
            let value = look_ups.find(pattern, element)?.unwrap_or(Packable::Text(b""));
            let text = value.text(&mut buffer);
            bytes += 1 + text.len();
            if bytes > bytes_max {
                return Err(CommandError::effects_too_long(bytes_max));
            }
            list.push_last(text);
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
