//! CLIENT and RESET.

use std::cell::Cell;

use fastness_connection::ReplyMode;
use fastness_engine::command::Group;
use fastness_engine::command::arguments::{Kind, arg};
use fastness_engine::command::own::OwnFacts;
use fastness_engine::command::spec::{category, fact, flag};
use fastness_resp::Protocol;
use fastness_shard::refusal::{self, Refusal};
use fastness_shard::{DurabilityOverride, FrontEndOutcome, IdempotencyCounter, ReadConfirmation};
use fastness_types::limits;

use super::call::{Call, SYNTAX, ServerCommand, is};
use super::client_filter::Filter;

/// What `since` says of commands that Valkey does not have.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const OVERRIDE_FLAGS: u32 = flag::NOSCRIPT | flag::LOADING | flag::STALE | flag::NO_MULTI | flag::ALLOW_BUSY;
const OVERRIDE_CATEGORIES: u32 = category::SLOW | category::CONNECTION;

const DURABILITY_FACTS: OwnFacts = OwnFacts {
    facts: fact("client|durability", Group::Connection, -2, OVERRIDE_FLAGS, OVERRIDE_CATEGORIES, &[], &[], VERSION),
    arguments: &[arg("wait-for", Kind::Oneof)
        .optional()
        .of(&[arg("sync", Kind::PureToken).token("SYNC"), arg("default", Kind::PureToken).token("DEFAULT")])],
};
const READS_FACTS: OwnFacts = OwnFacts {
    facts: fact("client|reads", Group::Connection, -2, OVERRIDE_FLAGS, OVERRIDE_CATEGORIES, &[], &[], VERSION),
    arguments: &[arg("confirmed-by", Kind::Oneof)
        .optional()
        .of(&[arg("quorum", Kind::PureToken).token("QUORUM"), arg("default", Kind::PureToken).token("DEFAULT")])],
};

const IDEMPOTENCY_FACTS: OwnFacts = OwnFacts {
    facts: fact("client|idempotency", Group::Connection, -2, OVERRIDE_FLAGS, OVERRIDE_CATEGORIES, &[], &[], VERSION),
    arguments: &[arg("keys", Kind::Oneof).optional().of(&[
        arg("off", Kind::PureToken).token("OFF"),
        arg("of-client", Kind::Block).of(&[arg("client", Kind::String), arg("sequence", Kind::Integer).optional()]),
    ])],
};

pub(super) const CAPA: ServerCommand = ServerCommand::reply(
    "client|capa",
    "<capability> [<capability> ...]",
    "Declares capabilities of the client of this connection.",
    capa,
)
.changing_connection();
pub(super) const DURABILITY: ServerCommand = ServerCommand::reply(
    "client|durability",
    "[SYNC|DEFAULT]",
    "Returns or sets whether replies of this connection wait for the commit of what they depend on.",
    durability,
)
.with_facts(&DURABILITY_FACTS)
.changing_connection();
pub(super) const GETNAME: ServerCommand =
    ServerCommand::reply("client|getname", "", "Returns the name of this connection.", getname);
pub(super) const ID: ServerCommand = ServerCommand::reply("client|id", "", "Returns the id of this connection.", id);
pub(super) const IDEMPOTENCY: ServerCommand = ServerCommand::reply(
    "client|idempotency",
    "[OFF|<client> [<sequence>]]",
    "Gives the writes of this connection idempotency keys with consecutive sequence numbers; returns the next one.",
    idempotency,
)
.with_facts(&IDEMPOTENCY_FACTS)
.changing_connection();
pub(super) const INFO: ServerCommand = ServerCommand::reply("client|info", "", "Describes this connection.", info);
pub(super) const KILL: ServerCommand = ServerCommand::outcome(
    "client|kill",
    "<ip:port>|<option> <value> [<option> <value> ...]",
    "Closes the connections that match the filters.",
    kill,
);
pub(super) const LIST: ServerCommand = ServerCommand::reply(
    "client|list",
    "[<option> <value> ...]",
    "Describes the connections that match the filters.",
    list,
);
pub(super) const NO_EVICT: ServerCommand =
    ServerCommand::reply("client|no-evict", "(ON|OFF)", "Exempts this connection from client eviction.", no_evict)
        .changing_connection();
pub(super) const NO_TOUCH: ServerCommand = ServerCommand::reply(
    "client|no-touch",
    "(ON|OFF)",
    "Keeps the commands of this connection from updating access times of keys.",
    no_touch,
)
.changing_connection();
pub(super) const READS: ServerCommand = ServerCommand::reply(
    "client|reads",
    "[QUORUM|DEFAULT]",
    "Returns or sets whether a quorum confirms the reads of this connection.",
    reads,
)
.with_facts(&READS_FACTS)
.changing_connection();
pub(super) const REPLY: ServerCommand = ServerCommand::reply(
    "client|reply",
    "(ON|OFF|SKIP)",
    "Sets whether the server replies to the commands of this connection.",
    reply,
)
.changing_connection();
pub(super) const SETINFO: ServerCommand = ServerCommand::reply(
    "client|setinfo",
    "(LIB-NAME <name>|LIB-VER <version>)",
    "Sets the name or version of the client library of this connection.",
    setinfo,
)
.changing_connection();
pub(super) const SETNAME: ServerCommand =
    ServerCommand::reply("client|setname", "<name>", "Sets the name of this connection.", setname)
        .changing_connection();
pub(super) const QUIT: ServerCommand =
    ServerCommand::outcome("quit", "", "Closes this connection.", quit).running_while_queueing().changing_connection();
pub(super) const RESET: ServerCommand =
    ServerCommand::reply("reset", "", "Resets the state of this connection.", reset)
        .running_while_queueing()
        .changing_connection();

fn quit(call: Call<'_, '_>) -> FrontEndOutcome {
    call.out.ok();
    FrontEndOutcome::Close
}

pub(super) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Whether a name may stand in CLIENT LIST: printable ASCII without blanks.
pub(super) fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn id(call: Call<'_, '_>) {
    call.out.integer(call.client.id as i64);
}

fn getname(call: Call<'_, '_>) {
    let name = call.client.name.borrow();
    if name.is_empty() { call.out.null() } else { call.out.bulk(&*name) }
}

fn setname(call: Call<'_, '_>) {
    let name = call.args.get(2);
    if !is_plain(name) {
        return call.out.error(BAD_NAME);
    }
    *call.client.name.borrow_mut() = name.to_vec();
    call.out.ok();
}

fn setinfo(call: Call<'_, '_>) {
    let (option, value) = (call.args.get(2), call.args.get(3));
    let (field, shown) = if is(option, "lib-name") {
        (&call.client.library_name, "lib-name")
    } else if is(option, "lib-ver") {
        (&call.client.library_version, "lib-ver")
    } else {
        return call.out.error(format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(option)));
    };
    if !is_plain(value) {
        return call.out.error(format!("ERR {shown} cannot contain spaces, newlines or special characters."));
    }
    *field.borrow_mut() = value.to_vec();
    call.out.ok();
}

fn info(call: Call<'_, '_>) {
    let mut line = call.client.line();
    line.push(b'\n');
    call.out.verbatim(*b"txt", &line);
}

fn list(call: Call<'_, '_>) {
    let filter = Filter::parse(call.args.skip(2), false);
    let filter = match filter.and_then(|filter| filter.of(&call.replica.node.accounts.load())) {
        Ok(filter) => filter,
        Err(error) => return call.out.error(error.to_string()),
    };
    let mut text = Vec::new();
    for client in call.replica.clients.all().iter().filter(|client| filter.selects(client, call.client.id)) {
        text.extend_from_slice(&client.line());
        text.push(b'\n');
    }
    call.out.verbatim(*b"txt", &text);
}

/// `CLIENT KILL ip:port` or `CLIENT KILL <filter> <value> …`.
fn kill(call: Call<'_, '_>) -> FrontEndOutcome {
    let by_address = call.args.len() == 3;
    let filter =
        if by_address { Ok(Filter::address(call.args.get(2))) } else { Filter::parse(call.args.skip(2), true) };
    let filter = match filter.and_then(|filter| filter.of(&call.replica.node.accounts.load())) {
        Ok(filter) => filter,
        Err(error) => {
            call.out.error(error.to_string());
            return FrontEndOutcome::Reply;
        }
    };
    let mut killed = 0;
    let mut own = false;
    for client in call.replica.clients.all().iter().filter(|client| filter.selects(client, call.client.id)) {
        killed += 1;
        // The one that asks gets its answer first.
        if client.id == call.client.id {
            own = true;
        } else {
            client.kill();
        }
    }
    match (by_address, killed) {
        (true, 0) => call.out.error("ERR No such client"),
        (true, _) => call.out.ok(),
        (false, killed) => call.out.integer(killed),
    }
    if own { FrontEndOutcome::Close } else { FrontEndOutcome::Reply }
}

/// `CLIENT CAPA capability …`: what is not known is passed over, as in Valkey.
fn capa(call: Call<'_, '_>) {
    if call.args.skip(2).iter().any(|capability| is(capability, "redirect")) {
        call.client.redirect.set(true);
    }
    call.out.ok();
}

/// Sets a switch of the connection's and tells how it stands now; `None`: the argument was neither ON nor OFF.
fn switch(call: &mut Call<'_, '_>, switch: &Cell<bool>) -> Option<bool> {
    let desired = call.args.get(2);
    let on = is(desired, "on");
    if !on && !is(desired, "off") {
        call.out.error(SYNTAX);
        return None;
    }
    switch.set(on);
    call.out.ok();
    Some(on)
}

/// Connections are never closed for want of memory, so that this one is not either.
fn no_evict(mut call: Call<'_, '_>) {
    let client = call.client.clone();
    switch(&mut call, &client.no_evict);
}

fn no_touch(mut call: Call<'_, '_>) {
    let client = call.client.clone();
    if let Some(on) = switch(&mut call, &client.no_touch) {
        call.session.set_no_touch(on);
    }
}

/// `CLIENT DURABILITY [SYNC|DEFAULT]`: Fastness' own. The shard does what it says; here it is said.
fn durability(call: Call<'_, '_>) {
    let Some(desired) = call.args.try_get(2) else { return call.out.bulk(call.session.durability_override().name()) };
    match DurabilityOverride::named(desired) {
        Some(durability_override) if call.args.len() == 3 => {
            if durability_override == DurabilityOverride::Sync && !call.shard.info().durability.is_durable() {
                return call.out.error(refusal::NOT_DURABLE);
            }
            call.session.set_durability_override(durability_override);
            call.client.durable.set(durability_override == DurabilityOverride::Sync);
            call.out.ok();
        }
        _ => call.out.error(SYNTAX),
    }
}

/// `CLIENT READS [QUORUM|DEFAULT]`: likewise.
fn reads(call: Call<'_, '_>) {
    let Some(desired) = call.args.try_get(2) else { return call.out.bulk(call.session.reads().name()) };
    match ReadConfirmation::named(desired) {
        Some(reads) if call.args.len() == 3 => {
            call.session.set_reads(reads);
            call.client.confirmed.set(reads == ReadConfirmation::Quorum);
            call.out.ok();
        }
        _ => call.out.error(SYNTAX),
    }
}

/// `CLIENT IDEMPOTENCY [OFF|<client> [<sequence>]]`: Fastness' own. Each command that writes and each EXEC takes the
/// next number, whatever it is answered. Without a sequence it begins with the time in microseconds.
fn idempotency(call: Call<'_, '_>) {
    let sequence = call.args.try_get(3).map(|text| std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()));
    let next = match (call.args.try_get(2), sequence) {
        _ if call.args.len() > 4 => return call.out.error(SYNTAX),
        (None, _) => {
            return match call.session.idempotency() {
                Some(counter) => call.out.integer(i64::try_from(counter.next).unwrap_or(i64::MAX)),
                None => call.out.null(),
            };
        }
        (Some(off), None) if is(off, "off") => {
            call.session.set_idempotency(None);
            return call.out.ok();
        }
        (Some(_), Some(None)) => return call.out.error("ERR value is not an integer or out of range"),
        (Some(_), Some(Some(next))) => next,
        (Some(_), None) => call.shard.wall_now().0.saturating_mul(1000),
    };
    let client = call.args.get(2);
    if client.is_empty() || client.len() > limits::IDEMPOTENCY_CLIENT_BYTES_MAX {
        return call.out.error(Refusal::KeyClient.text());
    }
    if i64::try_from(next).is_err() {
        return call.out.error("ERR value is not an integer or out of range");
    }
    call.session.set_idempotency(Some(IdempotencyCounter { client: client.into(), next }));
    call.out.integer(next as i64);
}

/// The connection drops the replies; here only the mode is set. ON alone is answered.
fn reply(call: Call<'_, '_>) {
    let Some(mode) = call.client.reply_mode.get().after(call.args.get(2)) else { return call.out.error(SYNTAX) };
    call.client.reply_mode.set(mode);
    if mode == ReplyMode::On {
        call.out.ok();
    }
}

/// RESET: as the connection began.
fn reset(mut call: Call<'_, '_>) {
    let call = &mut call;
    call.shard.reset(call.session);
    call.replica.pubsub.channels.leave(call.client);
    call.replica.pubsub.monitors.leave(call.client);
    call.replica.tracking.leave(call.client);
    call.client.reset();
    // Without success it has to authenticate.
    let _ = call.replica.let_in(call.client);
    call.out.protocol = Protocol::Resp2;
    call.out.simple("RESET");
}
