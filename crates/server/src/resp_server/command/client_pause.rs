//! CLIENT PAUSE, UNPAUSE and UNBLOCK: what one client does to the commands of others.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastness_shard::PauseKind;

use super::call::{Call, ServerCommand, integer, is};
use crate::resp_server::clients::Unblock;

pub(super) const PAUSE: ServerCommand = ServerCommand::reply(
    "client|pause",
    "<timeout> [WRITE|ALL]",
    "Suspends the commands of clients: all, or those that write.",
    pause,
);
pub(super) const UNBLOCK: ServerCommand = ServerCommand::reply(
    "client|unblock",
    "<client-id> [TIMEOUT|ERROR]",
    "Unblocks a client that waits in a blocking command.",
    unblock,
);
pub(super) const UNPAUSE: ServerCommand =
    ServerCommand::reply("client|unpause", "", "Resumes the commands of paused clients.", unpause);

/// `CLIENT PAUSE timeout [WRITE|ALL]`.
fn pause(call: Call<'_, '_>) {
    let kind = match call.args.try_get(3).filter(|_| call.args.len() == 4) {
        None => PauseKind::All,
        Some(kind) if is(kind, "all") => PauseKind::All,
        Some(kind) if is(kind, "write") => PauseKind::Writes,
        Some(_) => return call.out.error("ERR CLIENT PAUSE mode must be WRITE or ALL"),
    };
    match span(call.args.get(2)) {
        Ok(span) => {
            call.shard.pause_clients(span, kind);
            call.out.ok();
        }
        Err(error) => call.out.error(error),
    }
}

/// A time-out in milliseconds, as Valkey refuses it: its end has to be a time that can be told.
fn span(text: &[u8]) -> Result<Duration, &'static str> {
    let ms = integer(text).ok_or("ERR timeout is not an integer or out of range")?;
    let ms = u64::try_from(ms).map_err(|_| "ERR timeout is negative")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    if u128::from(ms) + now > i64::MAX as u128 {
        return Err("ERR timeout is out of range");
    }
    Ok(Duration::from_millis(ms))
}

/// `CLIENT UNPAUSE`.
fn unpause(call: Call<'_, '_>) {
    call.shard.unpause_clients();
    call.out.ok();
}

/// `CLIENT UNBLOCK client-id [TIMEOUT|ERROR]`. A client that waits since clients are paused cannot be unblocked.
fn unblock(call: Call<'_, '_>) {
    let how = match call.args.try_get(3).filter(|_| call.args.len() == 4) {
        None => Unblock::TimedOut,
        Some(how) if is(how, "timeout") => Unblock::TimedOut,
        Some(how) if is(how, "error") => Unblock::Error,
        Some(_) => return call.out.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
    };
    let Some(id) = integer(call.args.get(2)) else {
        return call.out.error("ERR value is not an integer or out of range");
    };
    let client = u64::try_from(id).ok().and_then(|id| call.replica.clients.get(id));
    call.out.integer(client.is_some_and(|client| client.request_unblock(how)).into());
}
