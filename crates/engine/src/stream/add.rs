//! XADD.

use super::change::StreamChange;
use super::id::{StreamId, WantedId};
use super::look_up::look_up;
use super::trim::{Trim, TrimOptions};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::PackedLimits;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use fastness_types::WallMs;

/// Most bytes of the texts of an entry.
const TEXTS_MAX: usize = 1 << 30;

/// XADD key \[NOMKSTREAM] \[(MAXLEN | MINID) \[= | ~] threshold \[LIMIT count]] (* | id) field value \[field value ...]
pub const XADD: Command = Command::data(
    "xadd",
    "<key> [NOMKSTREAM] [MAXLEN|MINID [=|~] <threshold> [LIMIT <count>]] *|<id> <field> <value> \
     [<field> <value> ...]",
    "Adds an entry to a stream and returns its id.",
    xadd,
);

struct XaddOptions {
    only_existing: bool,
    trim: Option<Trim>,
    id: WantedId,
    /// The place of the first field.
    fields: usize,
}

fn parse(args: Args<'_>, limits: PackedLimits) -> Result<XaddOptions, CommandError> {
    let (mut options, mut only_existing, mut at, mut id) = (TrimOptions::default(), false, 2, None);
    while let Some(word) = args.try_get(at) {
        if let Some(next) = options.parse(args, at)? {
            at = next;
        } else if word.eq_ignore_ascii_case(b"nomkstream") {
            only_existing = true;
            at += 1;
        } else {
            id = Some(WantedId::parse(word)?);
            break;
        }
    }
    let trim = options.finish(limits)?;
    let fields = at + 1;
    let count = args.len().saturating_sub(fields);
    match id {
        Some(id) if count >= 2 && count.is_multiple_of(2) => Ok(XaddOptions { only_existing, trim, id, fields }),
        _ => Err(CommandError::Arity("xadd")),
    }
}

/// The id of a new entry after `last`.
fn new_id(wanted: WantedId, last: StreamId, now: WallMs) -> Result<StreamId, CommandError> {
    const SMALL: CommandError =
        CommandError::Fixed("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    const EXHAUSTED: CommandError =
        CommandError::Fixed("ERR The stream has exhausted the last possible ID, unable to add more items");
    let next = last.next().ok_or(EXHAUSTED)?;
    let id = match wanted {
        WantedId::Any if now.0 > last.ms => StreamId::new(now.0, 0),
        WantedId::Any => next,
        WantedId::Within(ms) if ms == last.ms => StreamId::new(ms, last.seq.checked_add(1).ok_or(SMALL)?),
        WantedId::Within(ms) => StreamId::new(ms, 0),
        WantedId::Exactly(id) => id,
    };
    if id <= last { Err(SMALL) } else { Ok(id) }
}

fn xadd(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (now, limits) = (env.now, engine.keyspace().packed_limits());
    let options = parse(args, limits)?;
    if options.id == WantedId::Exactly(StreamId::MIN) {
        return Err(CommandError::Fixed("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let key = engine.first_key(args, env);
    let stream = look_up(engine, &key, env)?;
    if stream.is_none() && options.only_existing {
        env.reply.null();
        return Ok(());
    }
    let last = stream.map_or(StreamId::MIN, |stream| stream.last);
    let id = new_id(options.id, last, now)?;
    let fields = args.skip(options.fields);
    let texts: usize = fields.iter().map(<[u8]>::len).sum();
    if texts > TEXTS_MAX {
        return Err(CommandError::Fixed("ERR Elements are too large to be stored"));
    }
    let last_node = stream.and_then(|stream| stream.last_node()).map(|(_, node)| node);
    let in_new_node = last_node.is_none_or(|node| !node.admits(texts, limits));
    engine.change_stream(&key, StreamChange::Add { id, in_new_node, fields: fields.into() }, env);
    engine.notify(NotifyClasses::STREAM, "xadd", &key);
    if let Some(trim) = options.trim {
        engine.trim_stream(&key, trim, env)?;
    }
    id.reply(env.reply);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn ids() {
        check(
            "XADD s 5-1 a 1 => $3 5-1 | XADD s 5-* a 1 => $3 5-2 | XADD s 6-* a 1 => $3 6-0 | XADD s 7 a 1 => $3 7-0",
        );
        check(
            "XADD s * a 1 => $15 1700000000000-0 | XADD s * a 1 => $15 1700000000000-1 | wait 5 | XADD s * a 1 => $15 1700000000005-0",
        );
        let max = "18446744073709551615";
        check(&format!(
            "XADD s {max}-{max} a 1 => $41 {max}-{max} | XADD s * a 1 => -ERR The stream has exhausted the last \
             possible ID, unable to add more items"
        ));
        check("XADD s 9999999999999999-0 a 1 => $18 9999999999999999-0 | XADD s * a 1 => $18 9999999999999999-1");
    }

    #[test]
    fn options() {
        check("XADD s NOMKSTREAM * a 1 => $-1 | EXISTS s => :0 | XADD s NOMKSTREAM 1 a 1 => $-1");
        check("XADD s 1 a 1 => $3 1-0 | XADD s NOMKSTREAM MAXLEN 1 2 a 1 => $3 2-0 | XLEN s => :1");
        check("XADD s 1 a 1 => $3 1-0 | XADD s MINID = 2 3 a 1 => $3 3-0 | XRANGE s - + => *1 *2 $3 3-0 *2 $1 a $1 1");
        check("XADD s MAXLEN 0 1 a 1 => $3 1-0 | XLEN s => :0 | TYPE s => +stream | OBJECT ENCODING s => $6 stream");
    }

    #[test]
    fn refusals() {
        let small = "-ERR The ID specified in XADD is equal or smaller than the target stream top item";
        check(&format!("XADD s 5-1 a 1 => $3 5-1 | XADD s 5-1 a 1 => {small} | XADD s 4-* a 1 => {small}"));
        check("XADD s 0-0 a 1 => -ERR The ID specified in XADD must be greater than 0-0 | XADD s 0-* a 1 => $3 0-1");
        check("XADD s * a => -ERR wrong number of arguments for 'xadd' command");
        check("XADD s 1 a 1 b => -ERR wrong number of arguments for 'xadd' command");
        check("XADD s x a 1 => -ERR Invalid stream ID specified as stream command argument");
        check("SET k 1 => +OK | XADD k 1 a 1 => -WRONGTYPE Operation against a key holding the wrong kind of value");
    }

    #[test]
    fn effects_name_the_id() {
        let mut bench = Bench::new();
        bench.script("XADD s MAXLEN 1 * a 1 => $15 1700000000000-0");
        assert_eq!(bench.effects.count(), 1);
    }
}
