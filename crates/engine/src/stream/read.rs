//! XREAD, XREADGROUP.
//!
//! XREADGROUP notes that the consumer has tried to read (`seen`), even if there is nothing to read: that is data, which
//! XINFO shows and DUMP has, so it is an effect, unless the time is the same already. In Valkey a replica does not
//! learn it.
//!
//! With BLOCK, a read that finds nothing waits for a change of one of its streams. `$` is the last entry of the first
//! run (`Blocking::note`). While a consumer waits, only that it exists is noted: a time would wake the others that wait
//! at the same key.

use super::change::{Delivery, StreamChange};
use super::entries::Stream;
use super::id::{StreamId, c_text};
use super::look_up::{found, quoting, read, reply_entries, reply_entry};
use super::value::NUMBER;
use crate::blocking::KeyWait;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Key;
use crate::notify::NotifyClasses;
use fastness_resp::{Args, Protocol, ReplyBuf};
use fastness_types::WallMs;
use std::ops::Range;
use std::time::Duration;

/// XREAD \[COUNT count] \[BLOCK milliseconds] STREAMS key \[key ...] id \[id ...]
pub const XREAD: Command = Command::data(
    "xread",
    "[COUNT <count>] [BLOCK <milliseconds>] STREAMS <key> [<key> ...] <id>|$|+ [<id>|$|+ ...]",
    "Returns the entries of streams after the given ids.",
    |engine, args, env| xread(engine, args, env, false),
);
/// XREADGROUP GROUP group consumer \[COUNT count] \[BLOCK milliseconds] \[NOACK] STREAMS key \[key ...] id \[id ...]
pub const XREADGROUP: Command = Command::data(
    "xreadgroup",
    "GROUP <group> <consumer> [COUNT <count>] [BLOCK <milliseconds>] [NOACK] STREAMS <key> [<key> ...] \
     <id>|> [<id>|> ...]",
    "Returns the entries of streams that were not delivered to a consumer group, or what is pending for a consumer.",
    |engine, args, env| xread(engine, args, env, true),
);

/// The arguments of a read.
struct ReadOptions<'a> {
    /// How many entries of each stream are returned at most; 0: all.
    count: usize,
    /// Whether the command waits for entries, if there are none, and how long: `None` is without limit.
    wait: Option<Option<Duration>>,
    no_ack: bool,
    /// The names of group and consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    keys: Args<'a>,
    /// Which arguments are the keys.
    keys_at: Range<usize>,
    ids: Args<'a>,
}

/// What is read of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadFrom {
    /// The entries after this id.
    After(StreamId),
    /// The entries that were not delivered to the group.
    New,
    /// What is pending for the consumer after this id.
    Pending(StreamId),
}

/// The time for which a command waits; `None`: 0, which is without limit.
fn timeout(text: &[u8], now: WallMs) -> Result<Option<Duration>, CommandError> {
    const TEXT: CommandError = CommandError::Fixed("ERR timeout is not an integer or out of range");
    let ms = integer(text).map_err(|_| TEXT)?;
    if ms < 0 {
        return Err(CommandError::Fixed("ERR timeout is negative"));
    }
    if ms.checked_add(now.0 as i64).is_none() {
        return Err(CommandError::Fixed("ERR timeout is out of range"));
    }
    Ok((ms > 0).then(|| Duration::from_millis(ms as u64)))
}

fn parse<'a>(args: Args<'a>, of_group: bool, now: WallMs) -> Result<ReadOptions<'a>, CommandError> {
    let (mut count, mut wait, mut no_ack, mut group, mut at) = (0, None, false, None, 1);
    while at < args.len() {
        let (word, more) = (args.get(at), args.len() - at - 1);
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("block") && more > 0 {
            wait = Some(timeout(args.get(at + 1), now)?);
            at += 2;
        } else if is("count") && more > 0 {
            count = usize::try_from(integer(args.get(at + 1))?.max(0)).unwrap_or(usize::MAX);
            at += 2;
        } else if is("streams") && more > 0 {
            if more % 2 != 0 {
                return Err(CommandError::Fixed(if of_group {
                    "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
                } else {
                    "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified."
                }));
            }
            if of_group && group.is_none() {
                return Err(CommandError::Fixed("ERR Missing GROUP option for XREADGROUP"));
            }
            let keys_at = at + 1..at + 1 + more / 2;
            let (keys, ids) = (args.take(keys_at.end).skip(keys_at.start), args.skip(keys_at.end));
            return Ok(ReadOptions { count, wait, no_ack, group, keys, keys_at, ids });
        } else if is("group") && more >= 2 {
            if !of_group {
                return Err(CommandError::Fixed(
                    "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                ));
            }
            group = Some((args.get(at + 1), args.get(at + 2)));
            at += 3;
        } else if is("noack") {
            if !of_group {
                return Err(CommandError::Fixed(
                    "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                ));
            }
            no_ack = true;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Err(CommandError::Syntax)
}

/// What an id of a read means.
fn from(text: &[u8], stream: Option<&Stream>, of_group: bool) -> Result<ReadFrom, CommandError> {
    match c_text(text) {
        b"$" if of_group => Err(CommandError::Fixed(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by \
             specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result \
             set.",
        )),
        b"+" if of_group => Err(CommandError::Fixed(
            "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by \
             specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty result \
             set.",
        )),
        b"$" => Ok(ReadFrom::After(stream.map_or(StreamId::MIN, |stream| stream.last))),
        b"+" => match stream {
            Some(stream) => stream
                .last
                .previous()
                .map(ReadFrom::After)
                .ok_or(CommandError::Fixed("ERR the stream last element ID is 0-0")),
            None => Ok(ReadFrom::After(StreamId::MIN)),
        },
        b">" if of_group => Ok(ReadFrom::New),
        b">" => Err(CommandError::Fixed(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        _ => match StreamId::parse(text, 0)? {
            // In Valkey the largest id stands for `>`.
            StreamId::MAX if of_group => Ok(ReadFrom::New),
            id if of_group => Ok(ReadFrom::Pending(id)),
            id => Ok(ReadFrom::After(id)),
        },
    }
}

fn xread(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, of_group: bool) -> Result<(), CommandError> {
    let options = parse(args, of_group, env.now)?;
    let noted = noted(env);
    let mut wanted = Vec::with_capacity(options.ids.len());
    for (number, (name, id)) in options.keys.iter().zip(options.ids.iter()).enumerate() {
        let key = engine.key(name);
        let stream = read(engine, &key, env)?;
        if let Some((group, _)) = options.group
            && stream.is_none_or(|stream| stream.group(group).is_none())
        {
            const TEXTS: [&str; 3] =
                ["NOGROUP No such key '", "' or consumer group '", "' in XREADGROUP with GROUP option"];
            return Err(quoting(TEXTS, name, group));
        }
        let from = match noted.get(number) {
            // `+` is the last entry of the run that replies, as in Valkey.
            Some(noted) if c_text(id) != b"+" => ReadFrom::After(*noted),
            _ => from(id, stream, of_group)?,
        };
        wanted.push((key, from));
    }
    let note = note(&wanted);
    let place = env.reply.defer();
    let mut replied = 0;
    for (key, from) in wanted {
        let has_replied = match (options.group, from) {
            (Some(names), from) => read_group(engine, &key, names, from, &options, env),
            (None, ReadFrom::After(id)) => read_after(engine, &key, id, options.count, env),
            (None, ReadFrom::New | ReadFrom::Pending(_)) => false,
        };
        replied += usize::from(has_replied);
    }
    match (replied, env.reply.protocol) {
        (0, _) => match options.wait {
            Some(timeout) => {
                let keys = options.keys_at;
                let wait = KeyWait { of: NUMBER, keys, timeout, on_any_change: of_group, note };
                env.wait_or(wait, ReplyBuf::null_array);
            }
            None => env.reply.null_array(),
        },
        (_, Protocol::Resp2) => env.reply.finish_array(place, replied),
        (_, Protocol::Resp3) => env.reply.finish_map(place, replied),
    }
    Ok(())
}

/// After which entries the streams are read, if that was found out by a run before.
fn noted(env: &Env<'_>) -> Vec<StreamId> {
    let note = env.blocking.as_ref().and_then(|blocking| blocking.note()).unwrap_or_default();
    let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
    let (halves, _) = note.as_chunks::<8>();
    let (ids, _) = halves.as_chunks::<2>();
    ids.iter().map(|[ms, seq]| StreamId::new(number(ms), number(seq))).collect()
}

/// The same for the runs that follow. What a group reads is known from its own state.
fn note(wanted: &[(Key<'_>, ReadFrom)]) -> Box<[u8]> {
    let ids = wanted.iter().filter_map(|(_, from)| match from {
        ReadFrom::After(id) => Some([id.ms.to_be_bytes(), id.seq.to_be_bytes()]),
        ReadFrom::New | ReadFrom::Pending(_) => None,
    });
    ids.flatten().flatten().collect()
}

/// Starts the reply of one stream.
fn reply_key(key: &Key<'_>, env: &mut Env<'_>) {
    if env.reply.protocol == Protocol::Resp2 {
        env.reply.array(2);
    }
    env.reply.bulk(key.bytes);
}

/// Replies with the entries after an id, if there is any.
fn read_after(engine: &mut Engine, key: &Key<'_>, id: StreamId, count: usize, env: &mut Env<'_>) -> bool {
    let Ok(Some(stream)) = read(engine, key, env) else { return false };
    let Some(start) = id.next().filter(|_| stream.last_entry_id() > id) else { return false };
    reply_key(key, env);
    reply_entries(stream.range(start, StreamId::MAX), count, env.reply);
    true
}

/// Reads for a consumer of a group; returns whether it has replied.
fn read_group(
    engine: &mut Engine,
    key: &Key<'_>,
    names: (&[u8], &[u8]),
    from: ReadFrom,
    options: &ReadOptions<'_>,
    env: &mut Env<'_>,
) -> bool {
    let now = env.now.0 as i64;
    // Counts as a read, as in Valkey.
    let _ = engine.read(key, env);
    let Some((stream, group)) = found(engine, key, names.0) else { return false };
    let old = group.consumer(names.1).map(|consumer| (consumer.seen, consumer.active));
    let limit = if options.count == 0 { usize::MAX } else { options.count };
    let (mut deliveries, mut progress, mut has_replied) = (Vec::new(), None, true);
    let mut replied = 0;
    match from {
        ReadFrom::New if stream.last_entry_id() > group.last => {
            reply_key(key, env);
            let place = env.reply.defer();
            let (mut read, first, mut last) = (group.read, stream.first_id(), group.last);
            let start = group.last.next().unwrap_or(StreamId::MAX);
            for entry in stream.range(start, StreamId::MAX).take(limit) {
                let id = entry.id;
                if read != -1 && !stream.has_removed_after(last) {
                    read = read.wrapping_add(1);
                } else if stream.added > 0 {
                    read = stream.read_up_to(id, first).map_or(-1, |read| read as i64);
                }
                last = id;
                progress = Some((id, read));
                reply_entry(entry, env.reply);
                replied += 1;
                if !options.no_ack {
                    deliveries.push(Delivery { id, time: now, count: 1 });
                }
            }
            env.reply.finish_array(place, replied);
        }
        ReadFrom::New | ReadFrom::After(_) => has_replied = false,
        ReadFrom::Pending(after) => {
            reply_key(key, env);
            let place = env.reply.defer();
            let pending = group.consumer(names.1).map(|consumer| &consumer.pending);
            let start = after.next().unwrap_or(StreamId::MAX);
            for (id, ()) in pending.into_iter().flat_map(|pending| pending.iter_from(start)).take(limit) {
                match stream.get(id) {
                    Some(entry) => {
                        reply_entry(entry, env.reply);
                        let count = group.pending.get(id).map_or(0, |pending| pending.count);
                        deliveries.push(Delivery { id, time: now, count: count.wrapping_add(1) });
                    }
                    None => {
                        env.reply.array(2);
                        id.reply(env.reply);
                        env.reply.null_array();
                    }
                }
                replied += 1;
            }
            env.reply.finish_array(place, replied);
        }
    }
    let delivers_new = matches!(from, ReadFrom::New) && !deliveries.is_empty();
    let active = if delivers_new { now } else { old.map_or(-1, |(_, active)| active) };
    let waits = !has_replied && options.wait.is_some() && env.blocking.is_some();
    if !waits || old.is_none() {
        note_seen(engine, key, names, old, (now, active), env);
    }
    engine.deliver(key, names, &deliveries, env);
    if let Some((last, read)) = progress {
        engine.change_stream(key, StreamChange::SetGroup { group: names.0, last, read }, env);
    }
    has_replied
}

/// Sets the times of a consumer, if they differ from the old ones or the consumer does not exist.
pub(super) fn note_seen(
    engine: &mut Engine,
    key: &Key<'_>,
    (group, consumer): (&[u8], &[u8]),
    old: Option<(i64, i64)>,
    (seen, active): (i64, i64),
    env: &mut Env<'_>,
) {
    if old != Some((seen, active)) {
        engine.change_stream(key, StreamChange::SetConsumer { group, consumer, seen, active }, env);
    }
    if old.is_none() {
        engine.notify(NotifyClasses::STREAM, "xgroup-createconsumer", key);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;
    use std::time::Duration;

    const ADD: &str = "XADD s 1 a 1 => $3 1-0 | XADD s 2 a 2 => $3 2-0 | XADD s 3 a 3 => $3 3-0";

    #[test]
    fn reads_after_an_id() {
        check(&format!("{ADD} | XREAD COUNT 1 STREAMS s none 1 0 => *1 *2 $1 s *1 *2 $3 2-0 *2 $1 a $1 2"));
        check(&format!("{ADD} | XREAD STREAMS s $ => *-1 | XREAD STREAMS s + => *1 *2 $1 s *1 *2 $3 3-0 *2 $1 a $1 3"));
        check(&format!("{ADD} | XREAD BLOCK 0 STREAMS s 3 => *-1 | XREAD STREAMS none $ => *-1"));
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script(&format!(
            "{ADD} | XREAD STREAMS s 2 => %1 $1 s *1 *2 $3 3-0 *2 $1 a $1 3 | XREAD STREAMS s 3 => _"
        ));
    }

    #[test]
    fn delivers_to_a_group() {
        let (first, second) = ("*2 $3 1-0 *2 $1 a $1 1", "*2 $3 2-0 *2 $1 a $1 2");
        check(&format!(
            "{ADD} | XGROUP CREATE s g 0 => +OK | XREADGROUP GROUP g c COUNT 2 STREAMS s > => *1 *2 $1 s *2 {first} {second} | \
             XREADGROUP GROUP g d STREAMS s > => *1 *2 $1 s *1 *2 $3 3-0 *2 $1 a $1 3 | \
             XREADGROUP GROUP g d STREAMS s > => *-1 | wait 5 | \
             XREADGROUP GROUP g c COUNT 1 STREAMS s 0 => *1 *2 $1 s *1 {first} | \
             XREADGROUP GROUP g e STREAMS s 0 => *1 *2 $1 s *0 | \
             XPENDING s g - + 9 => *3 *4 $3 1-0 $1 c :0 :2 *4 $3 2-0 $1 c :5 :1 *4 $3 3-0 $1 d :5 :1 | \
             XDEL s 1 => :1 | XREADGROUP GROUP g c COUNT 1 STREAMS s 0 => *1 *2 $1 s *1 *2 $3 1-0 *-1"
        ));
    }

    #[test]
    fn without_acknowledgement_nothing_is_pending() {
        check(&format!(
            "{ADD} | XGROUP CREATE s g 2 => +OK | XREADGROUP GROUP g c NOACK STREAMS s > => *1 *2 $1 s *1 *2 $3 3-0 *2 $1 a $1 3 | \
             XPENDING s g => *4 :0 $-1 $-1 *-1 | XINFO CONSUMERS s g => *1 *8 $4 name $1 c $7 pending :0 $4 idle :0 $8 inactive :-1"
        ));
    }

    #[test]
    fn a_look_without_result_is_one_effect() {
        let mut bench = Bench::new();
        bench.script("XGROUP CREATE s g 0 MKSTREAM => +OK | XREADGROUP GROUP g c STREAMS s > => *-1");
        bench.effects.clear();
        bench.script("XREADGROUP GROUP g c STREAMS s > => *-1");
        assert_eq!(bench.effects.count(), 0);
        bench.script("wait 1 | XREADGROUP GROUP g c STREAMS s > => *-1");
        assert_eq!(bench.effects.count(), 1);
    }

    #[test]
    fn refusals() {
        check(
            "XREAD STREAMS a b 0 => -ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.",
        );
        check(
            "XREAD BLOCK -1 STREAMS a 0 => -ERR timeout is negative | XREAD BLOCK x STREAMS a 0 => -ERR timeout is not an integer or out of range",
        );
        check(
            "XREAD NOACK STREAMS a 0 => -ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
        );
        check(
            "XREAD GROUP g c STREAMS a 0 => -ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
        );
        check(
            "XREADGROUP GROUP g c STREAMS s > => -NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option",
        );
        check(
            "XREAD COUNT 1 COUNT 2 => -ERR syntax error | XREAD STREAMS a x => -ERR Invalid stream ID specified as stream command argument",
        );
        check("XREADGROUP NOACK NOACK NOACK STREAMS a > => -ERR Missing GROUP option for XREADGROUP");
    }

    #[test]
    fn waits_for_what_is_after_the_last_entry_of_the_first_run() {
        let mut bench = Bench::new();
        bench.script(ADD);
        let words = [&b"XREAD"[..], b"BLOCK", b"500", b"STREAMS", b"s", b"none", b"$", b"7"];
        let (reply, wait) = bench.run_waiting(&words, false);
        let wait = wait.unwrap();
        assert!(reply.is_empty() && !wait.on_any_change);
        assert_eq!((wait.keys.clone(), wait.timeout), (4..6, Some(Duration::from_millis(500))));
        assert_eq!(bench.run_again(&words, &wait), (Vec::new(), Some(wait.clone())), "it still finds nothing");
        bench.script("XADD s 4 a 4 => $3 4-0 | XADD s 5 a 5 => $3 5-0");
        let (reply, again) = bench.run_again(&words, &wait);
        assert_eq!(again, None);
        assert_eq!(
            reply.escape_ascii().to_string().replace("\\r\\n", " "),
            "*1 *2 $1 s *2 *2 $3 4-0 *2 $1 a $1 4 *2 $3 5-0 *2 $1 a $1 5 "
        );
    }

    #[test]
    fn a_consumer_that_waits_exists_and_has_no_new_time() {
        let mut bench = Bench::new();
        bench.script(&format!("{ADD} | XGROUP CREATE s g $ => +OK"));
        let words = [&b"XREADGROUP"[..], b"GROUP", b"g", b"c", b"BLOCK", b"0", b"STREAMS", b"s", b">"];
        let (_, wait) = bench.run_waiting(&words, false);
        let wait = wait.unwrap();
        assert!(wait.on_any_change && wait.timeout.is_none());
        bench.script("XINFO CONSUMERS s g => *1 *8 $4 name $1 c $7 pending :0 $4 idle :0 $8 inactive :-1 | wait 9");
        let effects = bench.effects.encoded().to_vec().len();
        assert_eq!(bench.run_again(&words, &wait).1, Some(wait.clone()));
        assert_eq!(bench.effects.encoded().to_vec().len(), effects);
        bench.script("XINFO CONSUMERS s g => *1 *8 $4 name $1 c $7 pending :0 $4 idle :9 $8 inactive :-1");
        bench.script("XGROUP DESTROY s g => :1");
        let (reply, again) = bench.run_again(&words, &wait);
        assert!(reply.starts_with(b"-NOGROUP No such key 's' or consumer group 'g'") && again.is_none());
    }

    /// What a group has read is known again from the first entry on, if entries before it were removed.
    #[test]
    fn entries_that_were_removed_make_the_count_of_a_group_unknown() {
        const FIVE: &str = "XADD s 1 a 1 => $3 1-0 | XADD s 2 a 1 => $3 2-0 | XADD s 3 a 1 => $3 3-0 | XADD s 4 a 1 => $3 4-0 \
                            | XADD s 5 a 1 => $3 5-0";
        let group = |consumers: u32, pending: u32, last: &str, read: &str, lag: &str| {
            format!(
                "XINFO GROUPS s => *1 *12 $4 name $1 g $9 consumers :{consumers} $7 pending :{pending} $17 \
                 last-delivered-id $3 {last} $12 entries-read {read} $3 lag {lag}"
            )
        };
        let read = "XREADGROUP GROUP g c COUNT 1 STREAMS s > => *1 *2 $1 s *1 *2 $3 5-0 *2 $1 a $1 1";
        check(&format!(
            "{FIVE} | XGROUP CREATE s g 2 ENTRIESREAD 2 => +OK | XDEL s 4 => :1 | XTRIM s MINID 5 => :3 | {} | {read} | {}",
            group(0, 0, "2-0", ":2", "$-1"),
            group(1, 1, "5-0", ":5", ":0"),
        ));
        check(&format!(
            "{FIVE} | XGROUP CREATE s g 0 ENTRIESREAD 0 => +OK | XDEL s 4 => :1 | XTRIM s MINID 5 => :3 | {}",
            group(0, 0, "0-0", ":0", ":1"),
        ));
    }
}
