//! XINFO.
//!
//! Streams are not kept in a radix tree here: `radix-tree-keys` is the number of nodes, as in Valkey, and
//! `radix-tree-nodes` what a flat tree of them has.

use super::entries::Stream;
use super::group::subcommand_syntax;
use super::groups::{Consumer, ConsumerGroup};
use super::id::StreamId;
use super::look_up::{no_group_of_key, read, reply_entries, reply_entry};
use super::node::NodeEntry;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};

/// XINFO CONSUMERS key group
pub const CONSUMERS: Command = Command::data(
    "xinfo|consumers",
    "<key> <group>",
    "Returns information about the consumers of a consumer group.",
    consumers,
);
/// XINFO GROUPS key
pub const GROUPS: Command =
    Command::data("xinfo|groups", "<key>", "Returns information about the consumer groups of a stream.", groups);
/// XINFO STREAM key \[FULL \[COUNT count]]
pub const STREAM: Command = Command::data(
    "xinfo|stream",
    "<key> [FULL [COUNT <count>]]",
    "Returns information about a stream; FULL: with entries, groups and consumers.",
    stream,
);

/// Entries that FULL shows, if no number is given.
const FULL_COUNT: i64 = 10;

fn existing<'e>(engine: &'e mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<&'e Stream, CommandError> {
    let key = engine.key(args.get(2));
    read(engine, &key, env)?.ok_or(CommandError::NoSuchKey)
}

fn reply_integer(name: &str, number: i64, reply: &mut ReplyBuf) {
    reply.bulk(name);
    reply.integer(number);
}

fn reply_optional(name: &str, number: Option<i64>, reply: &mut ReplyBuf) {
    reply.bulk(name);
    match number {
        Some(number) => reply.integer(number),
        None => reply.null(),
    }
}

fn reply_id(name: &str, id: StreamId, reply: &mut ReplyBuf) {
    reply.bulk(name);
    id.reply(reply);
}

fn reply_name(name: &[u8], reply: &mut ReplyBuf) {
    reply.bulk("name");
    reply.bulk(name);
}

fn consumers(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (name, now) = (args.get(3), env.now.0 as i64);
    let group = existing(engine, args, env)?.group(name).ok_or_else(|| no_group_of_key(args.get(2), name))?;
    env.reply.array(group.consumers().len());
    for consumer in group.consumers() {
        env.reply.map(4);
        reply_name(&consumer.name, env.reply);
        reply_integer("pending", consumer.pending.len() as i64, env.reply);
        reply_integer("idle", now.wrapping_sub(consumer.seen).max(0), env.reply);
        let inactive = if consumer.active == -1 { -1 } else { now.wrapping_sub(consumer.active) };
        reply_integer("inactive", inactive, env.reply);
    }
    Ok(())
}

fn groups(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let stream = existing(engine, args, env)?;
    env.reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        env.reply.map(6);
        reply_name(name, env.reply);
        reply_integer("consumers", group.consumers().len() as i64, env.reply);
        reply_integer("pending", group.pending.len() as i64, env.reply);
        reply_progress(stream, group, env.reply);
    }
    Ok(())
}

fn reply_progress(stream: &Stream, group: &ConsumerGroup, reply: &mut ReplyBuf) {
    reply_id("last-delivered-id", group.last, reply);
    reply_optional("entries-read", Some(group.read).filter(|read| *read != -1), reply);
    reply_optional("lag", stream.lag(group), reply);
}

/// The number of entries that FULL shows; `None` without it.
fn full_count(args: Args<'_>) -> Result<Option<usize>, CommandError> {
    let is = |at: usize, name: &str| args.try_get(at).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let count = match args.len() {
        3 => return Ok(None),
        4 if is(3, "full") => FULL_COUNT,
        6 if is(3, "full") && is(4, "count") => integer(args.get(5))?,
        _ => return Err(subcommand_syntax("XINFO", args)),
    };
    Ok(Some(usize::try_from(if count < 0 { FULL_COUNT } else { count }).unwrap_or(usize::MAX)))
}

fn stream(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let stream = existing(engine, args, env)?;
    let full = full_count(args)?;
    let reply = &mut *env.reply;
    reply.map(if full.is_some() { 9 } else { 10 });
    reply_integer("length", stream.len() as i64, reply);
    reply_integer("radix-tree-keys", stream.node_count() as i64, reply);
    reply_integer("radix-tree-nodes", stream.node_count() as i64 + 1, reply);
    reply_id("last-generated-id", stream.last, reply);
    reply_id("max-deleted-entry-id", stream.max_deleted, reply);
    reply_integer("entries-added", stream.added as i64, reply);
    reply_id("recorded-first-entry-id", stream.first_id(), reply);
    match full {
        None => {
            reply_integer("groups", stream.groups().len() as i64, reply);
            reply_one("first-entry", stream.range(StreamId::MIN, StreamId::MAX).next(), reply);
            reply_one("last-entry", stream.range_back(StreamId::MIN, StreamId::MAX).next(), reply);
        }
        Some(count) => {
            reply.bulk("entries");
            reply_entries(stream.range(StreamId::MIN, StreamId::MAX), count, reply);
            reply.bulk("groups");
            reply.array(stream.groups().len());
            let limit = if count == 0 { usize::MAX } else { count };
            stream.groups().for_each(|(name, group)| reply_group(stream, name, group, limit, reply));
        }
    }
    Ok(())
}

fn reply_one(name: &str, entry: Option<NodeEntry<'_>>, reply: &mut ReplyBuf) {
    reply.bulk(name);
    match entry {
        Some(entry) => reply_entry(entry, reply),
        None => reply.null(),
    }
}

/// A group, as FULL shows it.
fn reply_group(stream: &Stream, name: &[u8], group: &ConsumerGroup, limit: usize, reply: &mut ReplyBuf) {
    reply.map(7);
    reply_name(name, reply);
    reply_progress(stream, group, reply);
    reply_integer("pel-count", group.pending.len() as i64, reply);
    reply.bulk("pending");
    reply.array(group.pending.len().min(limit));
    for (id, pending) in group.pending.iter().take(limit) {
        reply.array(4);
        id.reply(reply);
        reply.bulk(&pending.consumer);
        reply.integer(pending.time);
        reply.integer(pending.count as i64);
    }
    reply.bulk("consumers");
    reply.array(group.consumers().len());
    group.consumers().for_each(|consumer| reply_consumer(group, consumer, limit, reply));
}

/// A consumer, as FULL shows it.
fn reply_consumer(group: &ConsumerGroup, consumer: &Consumer, limit: usize, reply: &mut ReplyBuf) {
    reply.map(5);
    reply_name(&consumer.name, reply);
    reply_integer("seen-time", consumer.seen, reply);
    reply_integer("active-time", consumer.active, reply);
    reply_integer("pel-count", consumer.pending.len() as i64, reply);
    reply.bulk("pending");
    reply.array(consumer.pending.len().min(limit));
    for (id, ()) in consumer.pending.iter().take(limit) {
        let (time, count) = group.pending.get(id).map_or((0, 0), |pending| (pending.time, pending.count));
        reply.array(3);
        id.reply(reply);
        reply.integer(time);
        reply.integer(count as i64);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    const READ: &str = "XGROUP CREATE s g 0 MKSTREAM => +OK | XADD s 1 a 1 => $3 1-0 | XADD s 2 a 2 => $3 2-0 | \
        XREADGROUP GROUP g c COUNT 1 STREAMS s > => *1 *2 $1 s *1 *2 $3 1-0 *2 $1 a $1 1 | wait 7";

    #[test]
    fn streams() {
        let head = "$6 length :2 $15 radix-tree-keys :1 $16 radix-tree-nodes :2 $17 last-generated-id $3 2-0 \
                    $20 max-deleted-entry-id $3 0-0 $13 entries-added :2 $23 recorded-first-entry-id $3 1-0";
        let (first, last) = ("*2 $3 1-0 *2 $1 a $1 1", "*2 $3 2-0 *2 $1 a $1 2");
        check(&format!(
            "{READ} | XINFO STREAM s => *20 {head} $6 groups :1 $11 first-entry {first} $10 last-entry {last}"
        ));
        let time = 1_700_000_000_000u64;
        check(&format!(
            "{READ} | XINFO STREAM s FULL COUNT 1 => *18 {head} $7 entries *1 {first} $6 groups *1 *14 $4 name $1 g \
             $17 last-delivered-id $3 1-0 $12 entries-read :1 $3 lag :1 $9 pel-count :1 $7 pending *1 \
             *4 $3 1-0 $1 c :{time} :1 $9 consumers *1 *10 $4 name $1 c $9 seen-time :{time} $11 active-time :{time} \
             $9 pel-count :1 $7 pending *1 *3 $3 1-0 :{time} :1"
        ));
    }

    #[test]
    fn groups_and_consumers() {
        check(&format!(
            "{READ} | XINFO GROUPS s => *1 *12 $4 name $1 g $9 consumers :1 $7 pending :1 $17 last-delivered-id $3 1-0 \
             $12 entries-read :1 $3 lag :1 | \
             XINFO CONSUMERS s g => *1 *8 $4 name $1 c $7 pending :1 $4 idle :7 $8 inactive :7"
        ));
        check(&format!(
            "{READ} | XDEL s 2 => :1 | XINFO GROUPS s => *1 *12 $4 name $1 g $9 consumers :1 $7 pending :1 \
             $17 last-delivered-id $3 1-0 $12 entries-read :1 $3 lag $-1"
        ));
    }

    #[test]
    fn refusals() {
        check("XINFO STREAM s => -ERR no such key | XINFO GROUPS s => -ERR no such key");
        check(&format!("{READ} | XINFO CONSUMERS s h => -NOGROUP No such consumer group 'h' for key name 's'"));
        check(&format!(
            "{READ} | XINFO STREAM s X => -ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP."
        ));
    }
}
