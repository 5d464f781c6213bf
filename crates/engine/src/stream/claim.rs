//! XCLAIM, XAUTOCLAIM.

use super::change::{Delivery, StreamChange};
use super::id::StreamId;
use super::look_up::{found, no_group, read, reply_entry};
use super::read::note_seen;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Key;
use fastness_resp::Args;
use std::collections::BTreeSet;

/// XCLAIM key group consumer min-idle-time id \[id ...] \[IDLE ms] \[TIME unix-time-milliseconds] \[RETRYCOUNT count]
/// \[FORCE] \[JUSTID] \[LASTID lastid]
pub const XCLAIM: Command = Command::data(
    "xclaim",
    "<key> <group> <consumer> <min-idle-time> <id> [<id> ...] [IDLE <ms>] [TIME <unix-time-milliseconds>] \
     [RETRYCOUNT <count>] [FORCE] [JUSTID] [LASTID <lastid>]",
    "Makes pending entries pending for another consumer of the group.",
    xclaim,
);
/// XAUTOCLAIM key group consumer min-idle-time start \[COUNT count] \[JUSTID]
pub const XAUTOCLAIM: Command = Command::data(
    "xautoclaim",
    "<key> <group> <consumer> <min-idle-time> <start> [COUNT <count>] [JUSTID]",
    "Makes entries that are pending for long pending for another consumer of the group.",
    xautoclaim,
);

/// How many pending entries XAUTOCLAIM looks at for each that it may claim.
const ATTEMPTS_PER_ENTRY: usize = 10;

/// The options of XCLAIM.
struct ClaimOptions {
    ids: Vec<StreamId>,
    time: i64,
    retries: Option<u64>,
    creates: bool,
    only_ids: bool,
    last: StreamId,
}

/// A number, with its own text for what is none.
fn number(text: &[u8], error: &'static str) -> Result<i64, CommandError> {
    integer(text).map_err(|_| CommandError::Fixed(error))
}

fn parse(args: Args<'_>, now: i64) -> Result<ClaimOptions, CommandError> {
    let ids: Vec<StreamId> = args.skip(5).iter().map_while(|text| StreamId::parse(text, 0).ok()).collect();
    let mut at = 5 + ids.len();
    let (mut time, mut retries, mut creates, mut only_ids, mut last) = (-1i64, -1, false, false, StreamId::MIN);
    while let Some(word) = args.try_get(at) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let value = args.try_get(at + 1);
        match value {
            _ if is("force") => creates = true,
            _ if is("justid") => only_ids = true,
            Some(value) => {
                if is("idle") {
                    time = now.wrapping_sub(number(value, "ERR Invalid IDLE option argument for XCLAIM")?);
                } else if is("time") {
                    time = number(value, "ERR Invalid TIME option argument for XCLAIM")?;
                } else if is("retrycount") {
                    retries = number(value, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                } else if is("lastid") {
                    last = StreamId::parse(value, 0)?;
                } else {
                    return Err(CommandError::quoting("ERR Unrecognized XCLAIM option '", word, "'"));
                }
                at += 1;
            }
            None => return Err(CommandError::quoting("ERR Unrecognized XCLAIM option '", word, "'")),
        }
        at += 1;
    }
    let time = if (0..=now).contains(&time) { time } else { now };
    Ok(ClaimOptions { ids, time, retries: u64::try_from(retries).ok(), creates, only_ids, last })
}

/// What a command has claimed so far, and has not staged yet.
#[derive(Default)]
struct Claimed {
    deliveries: Vec<Delivery>,
    /// Pending entries that do not exist any more.
    gone: Vec<StreamId>,
    seen: BTreeSet<StreamId>,
}

impl Claimed {
    fn stage(&mut self, engine: &mut Engine, key: &Key<'_>, names: (&[u8], &[u8]), env: &mut Env<'_>) {
        engine.deliver(key, names, &self.deliveries, env);
        engine.acknowledge(key, names.0, &self.gone, env);
        *self = Claimed::default();
    }
}

fn reply_claimed(engine: &Engine, key: &Key<'_>, group: &[u8], id: StreamId, only_id: bool, env: &mut Env<'_>) {
    let entry = found(engine, key, group).and_then(|(stream, _)| stream.get(id));
    match entry {
        Some(entry) if !only_id => reply_entry(entry, env.reply),
        _ => id.reply(env.reply),
    }
}

fn xclaim(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let (names, now) = ((args.get(2), args.get(3)), env.now.0 as i64);
    read(engine, &key, env)?;
    let (_, group) = found(engine, &key, names.0).ok_or_else(|| no_group(key.bytes, names.0))?;
    let idle = number(args.get(4), "ERR Invalid min-idle-time argument for XCLAIM")?.max(0);
    let options = parse(args, now)?;
    let (last, read_count) = (group.last, group.read);
    let old = group.consumer(names.1).map(|consumer| (consumer.seen, consumer.active));
    let active = old.map_or(-1, |(_, active)| active);
    if options.last > last {
        let set = StreamChange::SetGroup { group: names.0, last: options.last, read: read_count };
        engine.change_stream(&key, set, env);
    }
    note_seen(engine, &key, names, old, (now, active), env);
    let place = env.reply.defer();
    let (mut replied, mut claimed) = (0, Claimed::default());
    for id in options.ids {
        if !claimed.seen.insert(id) {
            claimed.stage(engine, &key, names, env);
            claimed.seen.insert(id);
        }
        let Some((stream, group)) = found(engine, &key, names.0) else { break };
        let pending = group.pending.get(id);
        if stream.get(id).is_none() {
            claimed.gone.extend(pending.map(|_| id));
            continue;
        }
        let count = match pending {
            Some(pending) if idle > 0 && now.wrapping_sub(pending.time) < idle => continue,
            Some(pending) => pending.count,
            // A new entry counts as delivered once.
            None if options.creates => 1,
            None => continue,
        };
        let counted = if options.only_ids { count } else { count.wrapping_add(1) };
        let count = options.retries.unwrap_or(counted);
        claimed.deliveries.push(Delivery { id, time: options.time, count });
        reply_claimed(engine, &key, names.0, id, options.only_ids, env);
        replied += 1;
    }
    claimed.stage(engine, &key, names, env);
    env.reply.finish_array(place, replied);
    if replied > 0 {
        note_seen(engine, &key, names, Some((now, active)), (now, now), env);
    }
    Ok(())
}

/// The count of XAUTOCLAIM.
fn autoclaim_count(text: &[u8]) -> Result<usize, CommandError> {
    const MAX: i64 = i64::MAX / 16;
    const TEXT: CommandError = CommandError::Fixed("ERR COUNT must be > 0");
    let count = integer(text).ok().filter(|count| (1..=MAX).contains(count)).ok_or(TEXT)?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn xautoclaim(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let idle = number(args.get(4), "ERR Invalid min-idle-time argument for XAUTOCLAIM")?.max(0);
    let start = StreamId::parse_start(args.get(5))?;
    let (mut count, mut only_ids, mut at) = (100, false, 6);
    while let Some(word) = args.try_get(at) {
        match args.try_get(at + 1) {
            Some(number) if word.eq_ignore_ascii_case(b"count") => {
                count = autoclaim_count(number)?;
                at += 1;
            }
            _ if word.eq_ignore_ascii_case(b"justid") => only_ids = true,
            _ => return Err(CommandError::Syntax),
        }
        at += 1;
    }
    let key = engine.first_key(args, env);
    let (names, now) = ((args.get(2), args.get(3)), env.now.0 as i64);
    read(engine, &key, env)?;
    let (stream, group) = found(engine, &key, names.0).ok_or_else(|| no_group(key.bytes, names.0))?;
    let old = group.consumer(names.1).map(|consumer| (consumer.seen, consumer.active));
    let (mut claimed, mut next) = (Claimed::default(), StreamId::MIN);
    let mut attempts = count.saturating_mul(ATTEMPTS_PER_ENTRY);
    for (id, pending) in group.pending.iter_from(start) {
        if attempts == 0 || count == 0 {
            next = id;
            break;
        }
        attempts -= 1;
        if stream.get(id).is_none() {
            claimed.gone.push(id);
            count -= 1;
        } else if idle == 0 || now.wrapping_sub(pending.time) >= idle {
            let count_of = if only_ids { pending.count } else { pending.count.wrapping_add(1) };
            claimed.deliveries.push(Delivery { id, time: now, count: count_of });
            count -= 1;
        }
    }
    env.reply.array(3);
    next.reply(env.reply);
    env.reply.array(claimed.deliveries.len());
    claimed.deliveries.iter().for_each(|one| reply_claimed(engine, &key, names.0, one.id, only_ids, env));
    env.reply.array(claimed.gone.len());
    claimed.gone.iter().for_each(|id| id.reply(env.reply));
    let active = if claimed.deliveries.is_empty() { old.map_or(-1, |(_, active)| active) } else { now };
    note_seen(engine, &key, names, old, (now, active), env);
    claimed.stage(engine, &key, names, env);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    const READ: &str = "XGROUP CREATE s g 0 MKSTREAM => +OK | XADD s 1 a 1 => $3 1-0 | XADD s 2 a 2 => $3 2-0 | \
        XADD s 3 a 3 => $3 3-0 | XREADGROUP GROUP g c COUNT 2 STREAMS s > => \
        *1 *2 $1 s *2 *2 $3 1-0 *2 $1 a $1 1 *2 $3 2-0 *2 $1 a $1 2 | wait 7";

    #[test]
    fn claims() {
        check(&format!(
            "{READ} | XCLAIM s g d 10 1 2 => *0 | XCLAIM s g d 5 1 3 => *1 *2 $3 1-0 *2 $1 a $1 1 | \
             XPENDING s g - + 9 => *2 *4 $3 1-0 $1 d :0 :2 *4 $3 2-0 $1 c :7 :1 | \
             XCLAIM s g d 0 2 JUSTID => *1 $3 2-0 | XPENDING s g - + 9 c => *0 | \
             XCLAIM s g c 0 2 3 IDLE 3 RETRYCOUNT 9 FORCE JUSTID => *2 $3 2-0 $3 3-0 | \
             XPENDING s g - + 9 c => *2 *4 $3 2-0 $1 c :3 :9 *4 $3 3-0 $1 c :3 :9"
        ));
        check(&format!(
            "{READ} | XDEL s 1 => :1 | XCLAIM s g d 0 1 2 2 JUSTID => *2 $3 2-0 $3 2-0 | XPENDING s g - + 9 => *1 *4 $3 2-0 $1 d :0 :1"
        ));
        check(&format!(
            "{READ} | XCLAIM s g d 0 2 LASTID 9-0 TIME 1699999999999 => *1 *2 $3 2-0 *2 $1 a $1 2 | XREADGROUP GROUP g e STREAMS s > => *-1 | XPENDING s g 2 2 1 => *1 *4 $3 2-0 $1 d :8 :2"
        ));
        check(&format!(
            "{READ} | XCLAIM s g d 0 3 FORCE => *1 *2 $3 3-0 *2 $1 a $1 3 | XPENDING s g 3 + 1 => *1 *4 $3 3-0 $1 d :0 :2"
        ));
    }

    #[test]
    fn claims_what_is_idle() {
        check(&format!(
            "{READ} | XAUTOCLAIM s g d 5 0 COUNT 1 => *3 $3 2-0 *1 *2 $3 1-0 *2 $1 a $1 1 *0 | XDEL s 1 => :1 | \
             XAUTOCLAIM s g d 0 - JUSTID => *3 $3 0-0 *1 $3 2-0 *1 $3 1-0 | \
             XPENDING s g - + 9 => *1 *4 $3 2-0 $1 d :0 :1 | XAUTOCLAIM s g e 9 0 => *3 $3 0-0 *0 *0"
        ));
    }

    #[test]
    fn refusals() {
        check("XCLAIM s g c 0 1 => -NOGROUP No such key 's' or consumer group 'g'");
        check(&format!("{READ} | XCLAIM s g c x 1 => -ERR Invalid min-idle-time argument for XCLAIM"));
        check(&format!(
            "{READ} | XCLAIM s g c 0 1 BAD => -ERR Unrecognized XCLAIM option 'BAD' | XCLAIM s g c 0 1 IDLE x => -ERR Invalid IDLE option argument for XCLAIM"
        ));
        check(
            "XAUTOCLAIM s g c x 0 => -ERR Invalid min-idle-time argument for XAUTOCLAIM | XAUTOCLAIM s g c 0 0 COUNT 0 => -ERR COUNT must be > 0",
        );
        check(
            "XAUTOCLAIM s g c 0 x => -ERR Invalid stream ID specified as stream command argument | XAUTOCLAIM s g c 0 0 => -NOGROUP No such key 's' or consumer group 'g'",
        );
    }
}
