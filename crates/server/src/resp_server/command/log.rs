//! SLOWLOG, COMMANDLOG and LATENCY HISTOGRAM.

use super::call::{Call, ServerCommand, integer, is};
use crate::resp_server::stats::SlowCommand;

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
pub(super) const LATENCY_HISTOGRAM: ServerCommand = ServerCommand::reply(
    "latency|histogram",
    "[<command> ...]",
    "Returns the distribution of latencies of commands.",
    latency_histogram,
);
pub(super) const LATENCY_HISTORY: ServerCommand =
    ServerCommand::reply("latency|history", "<event>", "Returns the latency samples of an event.", |call| {
        call.out.array(0)
    });
pub(super) const LATENCY_LATEST: ServerCommand =
    ServerCommand::reply("latency|latest", "", "Returns the latest latency samples of all events.", |call| {
        call.out.array(0)
    });
pub(super) const LATENCY_RESET: ServerCommand =
    ServerCommand::reply("latency|reset", "[<event> ...]", "Removes the latency samples of events.", |call| {
        call.out.integer(0)
    });
pub(super) const SLOWLOG_GET: ServerCommand =
    ServerCommand::reply("slowlog|get", "[<count>]", "Returns the entries of the slow log.", slowlog_get);
pub(super) const SLOWLOG_LEN: ServerCommand =
    ServerCommand::reply("slowlog|len", "", "Returns the number of entries of the slow log.", slowlog_len);
pub(super) const SLOWLOG_RESET: ServerCommand =
    ServerCommand::reply("slowlog|reset", "", "Clears the slow log.", slowlog_reset);

/// `SLOWLOG GET [count]`; -1: all.
fn slowlog_get(call: Call<'_, '_>) {
    let count = match call.args.try_get(2).map(integer) {
        None => 10,
        Some(Some(count)) if count >= -1 => count,
        Some(_) => return call.out.error("ERR count should be greater than or equal to -1"),
    };
    write(call, count);
}

fn write(call: Call<'_, '_>, count: i64) {
    let entries = call.replica.stats.slow(usize::try_from(count).unwrap_or(usize::MAX));
    call.out.array(entries.len());
    for SlowCommand { id, at, micros, args, client, name, .. } in entries {
        call.out.array(6);
        call.out.integer(id as i64);
        call.out.integer(at as i64);
        call.out.integer(micros as i64);
        call.out.array(args.len());
        args.iter().for_each(|arg| call.out.bulk(arg));
        call.out.bulk(client);
        call.out.bulk(name);
    }
}

fn slowlog_len(call: Call<'_, '_>) {
    call.out.integer(call.replica.stats.slow_len() as i64);
}

fn slowlog_reset(call: Call<'_, '_>) {
    call.replica.stats.slow_reset();
    call.out.ok();
}

/// Which of Valkey's three logs. The two of large requests and replies are not kept.
enum Log {
    Slow,
    NotKept,
}

fn log(call: &mut Call<'_, '_>, at: usize) -> Option<Log> {
    let name = call.args.get(at);
    if is(name, "slow") {
        return Some(Log::Slow);
    }
    if is(name, "large-request") || is(name, "large-reply") {
        return Some(Log::NotKept);
    }
    call.out.error("ERR type should be one of the following: slow, large-request, large-reply");
    None
}

fn commandlog_get(mut call: Call<'_, '_>) {
    let count = match integer(call.args.get(2)) {
        Some(count) if count >= -1 => count,
        _ => return call.out.error("ERR count should be greater than or equal to -1"),
    };
    match log(&mut call, 3) {
        Some(Log::Slow) => write(call, count),
        Some(Log::NotKept) => call.out.array(0),
        None => {}
    }
}

fn commandlog_len(mut call: Call<'_, '_>) {
    match log(&mut call, 2) {
        Some(Log::Slow) => slowlog_len(call),
        Some(Log::NotKept) => call.out.integer(0),
        None => {}
    }
}

fn commandlog_reset(mut call: Call<'_, '_>) {
    match log(&mut call, 2) {
        Some(Log::Slow) => slowlog_reset(call),
        Some(Log::NotKept) => call.out.ok(),
        None => {}
    }
}

/// `LATENCY HISTOGRAM [command …]`: runs per power of two of a microsecond, cumulated.
fn latency_histogram(call: Call<'_, '_>) {
    let wanted: Vec<String> =
        call.args.skip(2).iter().map(|arg| String::from_utf8_lossy(arg).to_ascii_lowercase()).collect();
    let all = call.replica.stats.by_command();
    let shown: Vec<_> = all
        .iter()
        .filter(|(name, stats)| {
            let is_wanted =
                |w: &String| **name == w.as_str() || name.strip_prefix(w.as_str()).is_some_and(|r| r.starts_with('|'));
            stats.calls > 0 && (wanted.is_empty() || wanted.iter().any(is_wanted))
        })
        .collect();
    call.out.map(shown.len());
    for (name, stats) in shown {
        call.out.bulk(name);
        call.out.map(2);
        call.out.bulk("calls");
        call.out.integer(stats.calls as i64);
        call.out.bulk("histogram_usec");
        let filled: Vec<_> = stats.buckets.iter().enumerate().filter(|(_, count)| **count > 0).collect();
        call.out.map(filled.len());
        let mut sum = 0;
        for (bucket, count) in filled {
            sum += count;
            call.out.integer(1 << bucket);
            call.out.integer(sum as i64);
        }
    }
}
