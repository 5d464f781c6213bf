//! CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO. See [`crate::resp_server::tracking`].

use super::call::{Call, SYNTAX, ServerCommand, integer, is};
use crate::resp_server::clients::Client;
use crate::resp_server::tracking::TooManyPrefixes;
use crate::resp_server::tracking::client::{ClientTracking, TrackingOptions};

pub(super) const CACHING: ServerCommand = ServerCommand::reply(
    "client|caching",
    "(YES|NO)",
    "Sets whether the keys that the next command of this connection reads are tracked.",
    caching,
)
.changing_connection();
pub(super) const GETREDIR: ServerCommand = ServerCommand::reply(
    "client|getredir",
    "",
    "Returns the id of the client that receives the invalidation messages of this connection.",
    getredir,
);
pub(super) const TRACKING: ServerCommand = ServerCommand::reply(
    "client|tracking",
    "(ON|OFF) [REDIRECT <client-id>] [PREFIX <prefix> [PREFIX <prefix> ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
    "Sets whether this connection is informed of changes of the keys that it has read.",
    tracking,
)
.changing_connection();
pub(super) const TRACKINGINFO: ServerCommand = ServerCommand::reply(
    "client|trackinginfo",
    "",
    "Describes the client-side caching of this connection.",
    trackinginfo,
);

/// Why CLIENT TRACKING is refused; nothing has changed. Valkey's texts, but for the bounds.
#[derive(Debug, thiserror::Error)]
enum TrackingRefusal {
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    Number,
    #[error("ERR The client ID you want redirect to does not exist")]
    NoClient,
    #[error("ERR A client can only redirect to a single other client")]
    Redirects,
    #[error("ERR PREFIX option requires BCAST mode to be enabled")]
    PrefixAlone,
    #[error("ERR OPTIN and OPTOUT are not compatible with BCAST")]
    BcastWithChoice,
    #[error("ERR You can't specify both OPTIN mode and OPTOUT mode")]
    BothChoices,
    #[error(
        "ERR You can't switch {0} mode{1} before disabling tracking for this client, and then re-enabling it with a different \
         mode."
    )]
    Switched(&'static str, &'static str),
    #[error("ERR Prefix '{own}' overlaps with {kind} prefix '{other}'. Prefixes for a single client must not overlap.")]
    Overlap { own: String, kind: &'static str, other: String },
    #[error(transparent)]
    Bound(#[from] TooManyPrefixes),
}

fn tracking(call: Call<'_, '_>) {
    match run_tracking(&call) {
        Ok(()) => {
            if call.client.tracking.is_on() && !call.shard.engine().notes_changes() {
                call.shard.engine_mut().note_changes(true);
            }
            call.out.ok();
        }
        Err(refusal) => call.out.error(refusal.to_string()),
    }
}

fn run_tracking(call: &Call<'_, '_>) -> Result<(), TrackingRefusal> {
    let options = parse(call)?;
    let (desired, state) = (call.args.get(2), &call.client.tracking);
    if is(desired, "on") {
        check(&options, state)?;
        call.replica.tracking.set_bounds(&call.replica.node.config.load());
        return Ok(call.replica.tracking.enter(call.client, &options)?);
    }
    if is(desired, "off") {
        call.replica.tracking.leave(call.client);
        return Ok(());
    }
    Err(TrackingRefusal::Syntax)
}

/// The options after ON or OFF, in the order of Valkey's checks.
fn parse<'a>(call: &Call<'a, '_>) -> Result<TrackingOptions<'a>, TrackingRefusal> {
    let mut options = TrackingOptions::default();
    let mut at = 3;
    while let Some(option) = call.args.try_get(at) {
        let value = call.args.try_get(at + 1);
        at += 1;
        match value {
            Some(id) if is(option, "redirect") => {
                if options.redirect != 0 {
                    return Err(TrackingRefusal::Redirects);
                }
                let id = integer(id).ok_or(TrackingRefusal::Number)?;
                options.redirect =
                    u64::try_from(id).ok().filter(|id| may_receive(call, *id)).ok_or(TrackingRefusal::NoClient)?;
                at += 1;
            }
            Some(prefix) if is(option, "prefix") => {
                options.prefixes.push(prefix);
                at += 1;
            }
            _ if is(option, "bcast") => options.is_bcast = true,
            _ if is(option, "optin") => options.is_optin = true,
            _ if is(option, "optout") => options.is_optout = true,
            _ if is(option, "noloop") => options.is_noloop = true,
            _ => return Err(TrackingRefusal::Syntax),
        }
    }
    Ok(options)
}

/// Whether a connection exists to which messages may be sent: those in memory, of calls over gRPC, expect none.
fn may_receive(call: &Call<'_, '_>, id: u64) -> bool {
    call.replica.clients.get(id).is_some_and(|client: std::rc::Rc<Client>| client.fd >= 0)
}

/// Whether the options are compatible with each other, and with what the connection has set before.
fn check(options: &TrackingOptions<'_>, state: &ClientTracking) -> Result<(), TrackingRefusal> {
    let TrackingOptions { is_bcast, is_optin, is_optout, prefixes, .. } = options;
    let switches = |is_different: bool, what: &'static str, how: &'static str| match is_different {
        true => Err(TrackingRefusal::Switched(what, how)),
        false => Ok(()),
    };
    if !is_bcast && !prefixes.is_empty() {
        return Err(TrackingRefusal::PrefixAlone);
    }
    switches(state.is_on() && state.is_bcast() != *is_bcast, "BCAST", " on/off")?;
    if *is_bcast && (*is_optin || *is_optout) {
        return Err(TrackingRefusal::BcastWithChoice);
    }
    if *is_optin && *is_optout {
        return Err(TrackingRefusal::BothChoices);
    }
    let is_opposite = (*is_optin && state.is_optout()) || (*is_optout && state.is_optin());
    switches(is_opposite, "OPTIN/OPTOUT", "")?;
    check_overlaps(prefixes, state)
}

/// A key is in one of a connection's prefixes at most.
fn check_overlaps(prefixes: &[&[u8]], state: &ClientTracking) -> Result<(), TrackingRefusal> {
    let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    // Valkey prints them as C strings.
    let text = |name: &[u8]| {
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    let refusal = |own: &[u8], kind: &'static str, other: &[u8]| TrackingRefusal::Overlap {
        own: text(own),
        kind,
        other: text(other),
    };
    for (i, prefix) in prefixes.iter().enumerate() {
        let mut existing = None;
        state.each_prefix(|other| {
            if existing.is_none() && overlap(prefix, other) {
                existing = Some(refusal(prefix, "an existing", other));
            }
        });
        if let Some(refusal) = existing {
            return Err(refusal);
        }
        if let Some(other) = prefixes[i + 1..].iter().find(|other| overlap(prefix, other)) {
            return Err(refusal(prefix, "another provided", other));
        }
    }
    Ok(())
}

fn caching(call: Call<'_, '_>) {
    let (desired, state) = (call.args.get(2), &call.client.tracking);
    let text = if !state.is_on() {
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
    } else if is(desired, "yes") && !state.is_optin() {
        "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
    } else if is(desired, "no") && !state.is_optout() {
        "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
    } else if !is(desired, "yes") && !is(desired, "no") {
        SYNTAX
    } else {
        state.cache_next();
        return call.out.ok();
    };
    call.out.error(text);
}

fn getredir(call: Call<'_, '_>) {
    call.out.integer(shown_redirect(&call.client.tracking));
}

/// As Valkey shows it: 0 if there is none, -1 if the connection does not track.
fn shown_redirect(state: &ClientTracking) -> i64 {
    state.redirect().map_or(-1, |id| i64::try_from(id).unwrap_or(i64::MAX))
}

fn trackinginfo(call: Call<'_, '_>) {
    let (state, out) = (&call.client.tracking, call.out);
    let flags = [
        (state.is_on(), "on"),
        (!state.is_on(), "off"),
        (state.is_bcast(), "bcast"),
        (state.is_optin(), "optin"),
        (state.is_optin() && state.is_caching(), "caching-yes"),
        (state.is_optout(), "optout"),
        (state.is_optout() && state.is_caching(), "caching-no"),
        (state.is_noloop(), "noloop"),
        (state.is_broken(), "broken_redirect"),
    ];
    let flags: Vec<&str> = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).collect();
    out.map(3);
    out.bulk("flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag));
    out.bulk("redirect");
    out.integer(shown_redirect(state));
    out.bulk("prefixes");
    out.array(state.prefix_count());
    state.each_prefix(|prefix| out.bulk(&prefix[..]));
}
