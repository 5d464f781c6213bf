//! XGROUP and XACK.

use super::change::StreamChange;
use super::entries::Stream;
use super::id::StreamId;
use super::look_up::{found, look_up, no_group_of_key, read};
use super::remove::parse_ids;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Key;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use std::collections::BTreeSet;

/// XGROUP CREATE key group (id | $) \[MKSTREAM] \[ENTRIESREAD entries-read]
pub const CREATE: Command = Command::data(
    "xgroup|create",
    "<key> <group> <id>|$ [MKSTREAM] [ENTRIESREAD <entries-read>]",
    "Creates a consumer group.",
    create,
);
/// XGROUP CREATECONSUMER key group consumer
pub const CREATECONSUMER: Command = Command::data(
    "xgroup|createconsumer",
    "<key> <group> <consumer>",
    "Creates a consumer in a consumer group.",
    create_consumer,
);
/// XGROUP DELCONSUMER key group consumer
pub const DELCONSUMER: Command = Command::data(
    "xgroup|delconsumer",
    "<key> <group> <consumer>",
    "Removes a consumer from a consumer group and returns how many entries were pending for it.",
    delete_consumer,
);
/// XGROUP DESTROY key group
pub const DESTROY: Command = Command::data("xgroup|destroy", "<key> <group>", "Removes a consumer group.", destroy);
/// XGROUP SETID key group (id | $) \[ENTRIESREAD entries-read]
pub const SETID: Command = Command::data(
    "xgroup|setid",
    "<key> <group> <id>|$ [ENTRIESREAD <entries-read>]",
    "Sets the last delivered id of a consumer group.",
    set_id,
);
/// XACK key group id \[id ...]
pub const XACK: Command = Command::data(
    "xack",
    "<key> <group> <id> [<id> ...]",
    "Acknowledges entries that were delivered to a consumer group and returns how many were pending.",
    xack,
);

/// The error for wrong arguments of a subcommand.
pub(super) fn subcommand_syntax(container: &str, args: Args<'_>) -> CommandError {
    let name = &args.get(1)[..args.get(1).len().min(128)];
    let after = format!("'. Try {container} HELP.");
    CommandError::quoting("ERR unknown subcommand or wrong number of arguments for '", name, &after)
}

/// The stream of a key that has to exist.
fn existing<'e>(engine: &'e mut Engine, key: &Key<'_>, env: &mut Env<'_>) -> Result<&'e Stream, CommandError> {
    look_up(engine, key, env)?.ok_or(CommandError::Fixed(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
         option to create an empty stream automatically.",
    ))
}

/// The options after the id: MKSTREAM, if it is allowed, and the number of read entries.
fn options(args: Args<'_>, may_create: bool) -> Result<(bool, i64), CommandError> {
    let (mut creates, mut read, mut at) = (false, -1, 5);
    while at < args.len() {
        if may_create && args.get(at).eq_ignore_ascii_case(b"mkstream") {
            creates = true;
            at += 1;
        } else if args.get(at).eq_ignore_ascii_case(b"entriesread") && at + 1 < args.len() {
            read = integer(args.get(at + 1))?;
            if read < -1 {
                return Err(CommandError::Fixed("ERR value for ENTRIESREAD must be positive or -1"));
            }
            at += 2;
        } else {
            return Err(subcommand_syntax("XGROUP", args));
        }
    }
    Ok((creates, read))
}

fn create(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (creates, read) = options(args, true)?;
    let key = engine.key(args.get(2));
    let stream = if creates { look_up(engine, &key, env)? } else { Some(existing(engine, &key, env)?) };
    if args.len() > 8 {
        return Err(subcommand_syntax("XGROUP", args));
    }
    let group = args.get(3);
    let last = match args.get(4) {
        b"$" => stream.map_or(StreamId::MIN, |stream| stream.last),
        text => StreamId::parse(text, 0)?,
    };
    if stream.is_some_and(|stream| stream.group(group).is_some()) {
        return Err(CommandError::Fixed("BUSYGROUP Consumer Group name already exists"));
    }
    engine.change_stream(&key, StreamChange::CreateGroup { group, last, read }, env);
    engine.notify(NotifyClasses::STREAM, "xgroup-create", &key);
    env.reply.ok();
    Ok(())
}

fn set_id(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (_, read) = options(args, false)?;
    let key = engine.key(args.get(2));
    let group = args.get(3);
    let stream = existing(engine, &key, env)?;
    if stream.group(group).is_none() {
        return Err(no_group_of_key(key.bytes, group));
    }
    if args.len() > 7 {
        return Err(subcommand_syntax("XGROUP", args));
    }
    let last = match args.get(4) {
        b"$" => stream.last,
        text => StreamId::parse_bound(text, 0)?,
    };
    engine.change_stream(&key, StreamChange::SetGroup { group, last, read }, env);
    engine.notify(NotifyClasses::STREAM, "xgroup-setid", &key);
    env.reply.ok();
    Ok(())
}

fn destroy(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.key(args.get(2));
    let group = args.get(3);
    let exists = existing(engine, &key, env)?.group(group).is_some();
    if exists {
        engine.change_stream(&key, StreamChange::DestroyGroup { group }, env);
        engine.notify(NotifyClasses::STREAM, "xgroup-destroy", &key);
    }
    env.reply.integer(i64::from(exists));
    Ok(())
}

fn create_consumer(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.key(args.get(2));
    let (name, consumer) = (args.get(3), args.get(4));
    let stream = existing(engine, &key, env)?;
    let group = stream.group(name).ok_or_else(|| no_group_of_key(key.bytes, name))?;
    let exists = group.consumer(consumer).is_some();
    if !exists {
        let seen = env.now.0 as i64;
        engine.change_stream(&key, StreamChange::SetConsumer { group: name, consumer, seen, active: -1 }, env);
        engine.notify(NotifyClasses::STREAM, "xgroup-createconsumer", &key);
    }
    env.reply.integer(i64::from(!exists));
    Ok(())
}

fn delete_consumer(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.key(args.get(2));
    let (name, consumer) = (args.get(3), args.get(4));
    let stream = existing(engine, &key, env)?;
    let group = stream.group(name).ok_or_else(|| no_group_of_key(key.bytes, name))?;
    let pending = group.consumer(consumer).map(|consumer| consumer.pending.len());
    if pending.is_some() {
        engine.change_stream(&key, StreamChange::DeleteConsumer { group: name, consumer }, env);
        engine.notify(NotifyClasses::STREAM, "xgroup-delconsumer", &key);
    }
    env.reply.integer(pending.unwrap_or(0) as i64);
    Ok(())
}

fn xack(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let name = args.get(2);
    read(engine, &key, env)?;
    let Some((_, group)) = found(engine, &key, name) else {
        env.reply.integer(0);
        return Ok(());
    };
    let ids = parse_ids(args.skip(3))?;
    let mut seen = BTreeSet::new();
    let pending: Vec<StreamId> =
        ids.into_iter().filter(|id| group.pending.get(*id).is_some() && seen.insert(*id)).collect();
    engine.acknowledge(&key, name, &pending, env);
    env.reply.integer(pending.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn groups() {
        let requires = "-ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
                        the MKSTREAM option to create an empty stream automatically.";
        check(&format!("XGROUP CREATE s g $ => {requires} | XGROUP CREATE s g $ MKSTREAM => +OK | XLEN s => :0"));
        check(
            "XGROUP CREATE s g 0 MKSTREAM => +OK | XGROUP CREATE s g 0 => -BUSYGROUP Consumer Group name already exists",
        );
        check(
            "XADD s 1 a 1 => $3 1-0 | XGROUP CREATE s g $ => +OK | XGROUP SETID s g 0 ENTRIESREAD 0 => +OK | XGROUP DESTROY s g => :1 | XGROUP DESTROY s g => :0",
        );
        check("XADD s 1 a 1 => $3 1-0 | XGROUP SETID s g 0 => -NOGROUP No such consumer group 'g' for key name 's'");
        check(&format!("XGROUP DESTROY s g => {requires} | XGROUP SETID s g 0 => {requires}"));
        check(
            "XGROUP CREATE s g x MKSTREAM => -ERR Invalid stream ID specified as stream command argument | EXISTS s => :0",
        );
        check("XGROUP CREATE s g 0 MKSTREAM ENTRIESREAD -2 => -ERR value for ENTRIESREAD must be positive or -1");
        check(
            "XGROUP CREATE s g 0 BAD => -ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.",
        );
    }

    #[test]
    fn consumers() {
        check(
            "XGROUP CREATE s g 0 MKSTREAM => +OK | XGROUP CREATECONSUMER s g c => :1 | XGROUP CREATECONSUMER s g c => :0 | \
             XADD s 1 a 1 => $3 1-0 | XREADGROUP GROUP g c STREAMS s > => *1 *2 $1 s *1 *2 $3 1-0 *2 $1 a $1 1 | \
             XGROUP DELCONSUMER s g c => :1 | XGROUP DELCONSUMER s g c => :0 | XPENDING s g => *4 :0 $-1 $-1 *-1",
        );
        check(
            "XGROUP CREATE s g 0 MKSTREAM => +OK | XGROUP DELCONSUMER s h c => -NOGROUP No such consumer group 'h' for key name 's'",
        );
    }

    #[test]
    fn acknowledges() {
        check(
            "XGROUP CREATE s g 0 MKSTREAM => +OK | XADD s 1 a 1 => $3 1-0 | XADD s 2 a 2 => $3 2-0 | \
             XREADGROUP GROUP g c COUNT 1 STREAMS s > => *1 *2 $1 s *1 *2 $3 1-0 *2 $1 a $1 1 | \
             XACK s g 1 1 2 => :1 | XACK s g 1 => :0 | XACK s h x => :0 | XACK none g x => :0 | \
             XACK s g x => -ERR Invalid stream ID specified as stream command argument",
        );
    }
}
