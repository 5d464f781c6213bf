//! XPENDING.

use super::groups::{ConsumerGroup, PendingEntry};
use super::id::StreamId;
use super::look_up::{no_group, read};
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};

/// XPENDING key group \[\[IDLE min-idle-time] start end count \[consumer]]
pub const XPENDING: Command = Command::data(
    "xpending",
    "<key> <group> [[IDLE <min-idle-time>] <start> <end> <count> [<consumer>]]",
    "Returns the entries that were delivered to a consumer group and are not acknowledged.",
    xpending,
);

/// Which pending entries are wanted.
struct WantedPending<'a> {
    /// How long ago they were delivered at least, ms; 0: any.
    idle: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

fn parse(args: Args<'_>) -> Result<Option<WantedPending<'_>>, CommandError> {
    match args.len() {
        3 => return Ok(None),
        6..=9 => {}
        _ => return Err(CommandError::Syntax),
    }
    let (mut idle, mut at) = (0, 3);
    if args.get(3).eq_ignore_ascii_case(b"idle") {
        idle = integer(args.get(4))?;
        if args.len() < 8 {
            return Err(CommandError::Syntax);
        }
        at = 5;
    }
    let count = usize::try_from(integer(args.get(at + 2))?.max(0)).unwrap_or(usize::MAX);
    let (start, end) = (StreamId::parse_start(args.get(at))?, StreamId::parse_end(args.get(at + 1))?);
    Ok(Some(WantedPending { idle, start, end, count, consumer: args.try_get(at + 3) }))
}

fn xpending(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let wanted = parse(args)?;
    let key = engine.first_key(args, env);
    let (name, now) = (args.get(2), env.now.0 as i64);
    let stream = read(engine, &key, env)?;
    let group = stream.and_then(|stream| stream.group(name)).ok_or_else(|| no_group(key.bytes, name))?;
    match wanted {
        None => reply_summary(group, env.reply),
        Some(wanted) => reply_pending(group, &wanted, now, env.reply),
    }
    Ok(())
}

fn reply_summary(group: &ConsumerGroup, reply: &mut ReplyBuf) {
    reply.array(4);
    reply.integer(group.pending.len() as i64);
    let (Some((first, _)), Some((last, _))) = (group.pending.first(), group.pending.last()) else {
        reply.null();
        reply.null();
        return reply.null_array();
    };
    first.reply(reply);
    last.reply(reply);
    let consumers = || group.consumers().filter(|consumer| !consumer.pending.is_empty());
    reply.array(consumers().count());
    for consumer in consumers() {
        reply.array(2);
        reply.bulk(&consumer.name);
        reply.bulk_integer(consumer.pending.len() as i64);
    }
}

fn reply_pending(group: &ConsumerGroup, wanted: &WantedPending<'_>, now: i64, reply: &mut ReplyBuf) {
    let all: Box<dyn Iterator<Item = (StreamId, &PendingEntry)>> = match wanted.consumer {
        None => Box::new(group.pending.iter_from(wanted.start)),
        Some(name) => {
            let ids = group.consumer(name).map(|consumer| consumer.pending.iter_from(wanted.start));
            Box::new(ids.into_iter().flatten().filter_map(|(id, ())| Some((id, group.pending.get(id)?))))
        }
    };
    let place = reply.defer();
    let mut replied = 0;
    let idle = |pending: &PendingEntry| now.wrapping_sub(pending.time);
    let chosen = all
        .take_while(|(id, _)| *id <= wanted.end)
        .filter(|(_, pending)| wanted.idle == 0 || idle(pending) >= wanted.idle)
        .take(wanted.count);
    for (id, pending) in chosen {
        reply.array(4);
        id.reply(reply);
        reply.bulk(&pending.consumer);
        reply.integer(idle(pending).max(0));
        reply.integer(pending.count as i64);
        replied += 1;
    }
    reply.finish_array(place, replied);
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    const READ: &str = "XGROUP CREATE s g 0 MKSTREAM => +OK | XADD s 1 a 1 => $3 1-0 | XADD s 2 a 2 => $3 2-0 | \
        XREADGROUP GROUP g c COUNT 1 STREAMS s > => *1 *2 $1 s *1 *2 $3 1-0 *2 $1 a $1 1 | wait 7 | \
        XREADGROUP GROUP g d COUNT 1 STREAMS s > => *1 *2 $1 s *1 *2 $3 2-0 *2 $1 a $1 2";

    #[test]
    fn shows_what_is_pending() {
        check(&format!("{READ} | XPENDING s g => *4 :2 $3 1-0 $3 2-0 *2 *2 $1 c $1 1 *2 $1 d $1 1"));
        let (first, second) = ("*4 $3 1-0 $1 c :7 :1", "*4 $3 2-0 $1 d :0 :1");
        check(&format!("{READ} | XPENDING s g - + 10 => *2 {first} {second} | XPENDING s g (1-0 + 10 => *1 {second}"));
        check(&format!("{READ} | XPENDING s g IDLE 5 - + 10 => *1 {first} | XPENDING s g - + 10 d => *1 {second}"));
        check(&format!(
            "{READ} | XPENDING s g - + 1 => *1 {first} | XPENDING s g - + -1 => *0 | XPENDING s g - + 10 e => *0"
        ));
    }

    #[test]
    fn refusals() {
        check("XPENDING s g => -NOGROUP No such key 's' or consumer group 'g'");
        check("XPENDING s g - => -ERR syntax error | XPENDING s g IDLE 5 - + => -ERR syntax error");
        check("XPENDING s g - + x => -ERR value is not an integer or out of range");
    }
}
