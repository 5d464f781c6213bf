//! XDEL, XSETID.

use super::change::{StreamChange, write_ids};
use super::id::StreamId;
use super::look_up::look_up;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use std::collections::BTreeSet;

/// XDEL key id \[id ...]
pub const XDEL: Command =
    Command::data("xdel", "<key> <id> [<id> ...]", "Removes entries from a stream and returns their number.", xdel);
/// XSETID key last-id \[ENTRIESADDED entries-added] \[MAXDELETEDID max-deleted-id]
pub const XSETID: Command = Command::data(
    "xsetid",
    "<key> <last-id> [ENTRIESADDED <entries-added>] [MAXDELETEDID <max-deleted-id>]",
    "Sets the last id of a stream, and its counters.",
    xsetid,
);

/// Reads ids.
pub(super) fn parse_ids(args: Args<'_>) -> Result<Vec<StreamId>, CommandError> {
    args.iter().map(|text| StreamId::parse(text, 0)).collect()
}

fn xdel(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let Some(stream) = look_up(engine, &key, env)? else {
        env.reply.integer(0);
        return Ok(());
    };
    let ids = parse_ids(args.skip(2))?;
    let mut seen = BTreeSet::new();
    let found: Vec<StreamId> = ids.into_iter().filter(|id| seen.insert(*id) && stream.get(*id).is_some()).collect();
    if !found.is_empty() {
        let ids = write_ids(found.iter().copied());
        engine.change_stream(&key, StreamChange::Delete { ids: &ids }, env);
        engine.notify(NotifyClasses::STREAM, "xdel", &key);
    }
    env.reply.integer(found.len() as i64);
    Ok(())
}

fn xsetid(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let last = StreamId::parse(args.get(2), 0)?;
    let (mut added, mut max_deleted, mut at) = (None, StreamId::MIN, 3);
    while at < args.len() {
        let Some(value) = args.try_get(at + 1) else { return Err(CommandError::Syntax) };
        if args.get(at).eq_ignore_ascii_case(b"entriesadded") {
            let number = integer(value)?;
            added = Some(u64::try_from(number).map_err(|_| CommandError::Fixed("ERR entries_added must be positive"))?);
        } else if args.get(at).eq_ignore_ascii_case(b"maxdeletedid") {
            max_deleted = StreamId::parse(value, 0)?;
            if last < max_deleted {
                return Err(CommandError::Fixed(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    let key = engine.first_key(args, env);
    let stream = look_up(engine, &key, env)?.ok_or(CommandError::NoSuchKey)?;
    if last < stream.max_deleted {
        return Err(CommandError::Fixed("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"));
    }
    // A node can outlive its entries; later ones must not be added before it.
    if last < stream.last_entry_id() || stream.last_node().is_some_and(|(node, _)| last < node) {
        return Err(CommandError::Fixed("ERR The ID specified in XSETID is smaller than the target stream top item"));
    }
    if !stream.is_empty() && added.is_some_and(|added| added < stream.len()) {
        return Err(CommandError::Fixed(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    let added = added.unwrap_or(stream.added);
    let max_deleted = if max_deleted == StreamId::MIN { stream.max_deleted } else { max_deleted };
    engine.change_stream(&key, StreamChange::SetCounters { last, added, max_deleted }, env);
    engine.notify(NotifyClasses::STREAM, "xsetid", &key);
    env.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    const ADD: &str = "XADD s 1-0 a 1 => $3 1-0 | XADD s 1-1 b x => $3 1-1 | XADD s 2-0 a 3 => $3 2-0";

    #[test]
    fn removes_entries() {
        check(&format!("{ADD} | XDEL s 1-1 1-1 5 => :1 | XLEN s => :2 | XRANGE s 1-1 + => *1 *2 $3 2-0 *2 $1 a $1 3"));
        check(&format!(
            "{ADD} | XDEL s 1-0 1-1 2-0 => :3 | XLEN s => :0 | EXISTS s => :1 | XADD s 2-0 a 1 => -ERR The ID specified in XADD is equal or smaller than the target stream top item"
        ));
        check(&format!(
            "{ADD} | XDEL s 1-0 x => -ERR Invalid stream ID specified as stream command argument | XLEN s => :3"
        ));
        check("XDEL s x => :0");
    }

    #[test]
    fn sets_the_last_id() {
        check(&format!("{ADD} | XSETID s 9-0 => +OK | XADD s 9-* a 1 => $3 9-1"));
        check(&format!(
            "{ADD} | XSETID s 1-1 => -ERR The ID specified in XSETID is smaller than the target stream top item"
        ));
        check(&format!(
            "{ADD} | XSETID s 3 ENTRIESADDED 2 => -ERR The entries_added specified in XSETID is smaller than the target stream length"
        ));
        check(&format!(
            "{ADD} | XSETID s 3 MAXDELETEDID 4 => -ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"
        ));
        check(&format!(
            "{ADD} | XDEL s 2-0 => :1 | XSETID s 1-1 => -ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"
        ));
        check(
            "XSETID s 1 => -ERR no such key | XSETID s 1 x => -ERR syntax error | XSETID s 1 ENTRIESADDED -1 => -ERR entries_added must be positive",
        );
    }
}
