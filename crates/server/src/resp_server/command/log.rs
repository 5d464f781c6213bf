//! SLOWLOG and COMMANDLOG.

use super::call::{Call, ServerCommand, integer};
use crate::resp_server::command_log::{LogKind, LoggedCommand};

pub(super) const COMMANDLOG_GET: ServerCommand = ServerCommand::reply(
    "commandlog|get",
    "<count> (SLOW|LARGE-REQUEST|LARGE-REPLY)",
    "Returns the entries of a command log.",
    commandlog_get,
);
pub(super) const COMMANDLOG_LEN: ServerCommand = ServerCommand::reply(
    "commandlog|len",
    "(SLOW|LARGE-REQUEST|LARGE-REPLY)",
    "Returns the number of entries of a command log.",
    commandlog_len,
);
pub(super) const COMMANDLOG_RESET: ServerCommand = ServerCommand::reply(
    "commandlog|reset",
    "(SLOW|LARGE-REQUEST|LARGE-REPLY)",
    "Clears a command log.",
    commandlog_reset,
);
pub(super) const SLOWLOG_GET: ServerCommand =
    ServerCommand::reply("slowlog|get", "[<count>]", "Returns the entries of the slow log.", slowlog_get);
pub(super) const SLOWLOG_LEN: ServerCommand =
    ServerCommand::reply("slowlog|len", "", "Returns the number of entries of the slow log.", slowlog_len);
pub(super) const SLOWLOG_RESET: ServerCommand =
    ServerCommand::reply("slowlog|reset", "", "Clears the slow log.", slowlog_reset);

/// `SLOWLOG GET [count]`; -1: all.
fn slowlog_get(call: Call<'_, '_>) {
    match call.args.try_get(2).map_or(Some(10), count) {
        Some(count) => write(call, LogKind::Slow, count),
        None => call.out.error(COUNT),
    }
}

const COUNT: &str = "ERR count should be greater than or equal to -1";

/// How many entries are wanted; -1: all.
fn count(arg: &[u8]) -> Option<usize> {
    let count = integer(arg).filter(|count| *count >= -1)?;
    Some(usize::try_from(count).unwrap_or(usize::MAX))
}

fn write(call: Call<'_, '_>, kind: LogKind, count: usize) {
    let entries = call.replica.command_logs.newest(kind, count);
    call.out.array(entries.len());
    for LoggedCommand { id, at, value, args, client, name, .. } in entries {
        call.out.array(6);
        call.out.integer(id as i64);
        call.out.integer(at as i64);
        call.out.integer(value as i64);
        call.out.array(args.len());
        args.iter().for_each(|arg| call.out.bulk(arg));
        call.out.bulk(client);
        call.out.bulk(name);
    }
}

fn slowlog_len(call: Call<'_, '_>) {
    len(call, LogKind::Slow);
}

fn slowlog_reset(call: Call<'_, '_>) {
    reset(call, LogKind::Slow);
}

fn len(call: Call<'_, '_>, kind: LogKind) {
    call.out.integer(call.replica.command_logs.len(kind) as i64);
}

fn reset(call: Call<'_, '_>, kind: LogKind) {
    call.replica.command_logs.clear(kind);
    call.out.ok();
}

/// The log that an argument names; if it names none, the error has been written.
fn log(call: &mut Call<'_, '_>, at: usize) -> Option<LogKind> {
    let kind = LogKind::named(call.args.get(at));
    if kind.is_none() {
        call.out.error("ERR type should be one of the following: slow, large-request, large-reply");
    }
    kind
}

fn commandlog_get(mut call: Call<'_, '_>) {
    let Some(count) = count(call.args.get(2)) else { return call.out.error(COUNT) };
    if let Some(kind) = log(&mut call, 3) {
        write(call, kind, count);
    }
}

fn commandlog_len(mut call: Call<'_, '_>) {
    if let Some(kind) = log(&mut call, 2) {
        len(call, kind);
    }
}

fn commandlog_reset(mut call: Call<'_, '_>) {
    if let Some(kind) = log(&mut call, 2) {
        reset(call, kind);
    }
}
