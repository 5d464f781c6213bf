//! CONFIG GET, SET and RESETSTAT, all read from the table of options.
//!
//! An option that is a setting of the cluster (`settings.rs`) is changed through group 0: the connection waits until
//! all reachable nodes have confirmed the change; the other options of the same command are changed after that.

use std::sync::Arc;

use fastness_engine::glob;
use fastness_events::Event;
use fastness_resp::Args;
use fastness_shard::FrontEndOutcome;

use super::call::{Call, ServerCommand};
use super::cluster_change::await_change;
use crate::config::{Change, Config, OPTIONS, Problem, find};
use crate::settings::{self, SettingsError, SettingsServer};

pub(super) const GET: ServerCommand = ServerCommand::reply(
    "config|get",
    "<pattern> [<pattern> ...]",
    "Returns the options that match the patterns.",
    get,
);
pub(super) const RESETSTAT: ServerCommand =
    ServerCommand::reply("config|resetstat", "", "Resets the statistics of INFO.", resetstat);
pub(super) const SET: ServerCommand =
    ServerCommand::outcome("config|set", "<option> <value> [<option> <value> ...]", "Sets options.", set)
        .with_secrets(secrets);

/// Options whose values are secrets, also those of Valkey that do not exist here: clients may send them.
const SECRET_OPTIONS: [&str; 7] = [
    "requirepass",
    "masterauth",
    "primaryauth",
    "masteruser",
    "primaryuser",
    "tls-key-file-pass",
    "tls-client-key-file-pass",
];

fn secrets(args: Args<'_>, hide: &mut dyn FnMut(usize)) {
    let is_secret = |name: &[u8]| SECRET_OPTIONS.iter().any(|secret| name.eq_ignore_ascii_case(secret.as_bytes()));
    let options = (2..args.len()).step_by(2).filter(|at| is_secret(args.get(*at)));
    options.for_each(|at| hide(at + 1));
}

/// `CONFIG GET pattern …`.
fn get(call: Call<'_, '_>) {
    let config = call.replica.node.config.load();
    let maxmemory = call.shard.engine().maxmemory();
    let patterns = call.args.skip(2);
    let selected: Vec<_> = OPTIONS
        .iter()
        .filter(|option| patterns.iter().any(|pattern| glob::matches_any_case(pattern, option.name.as_bytes())))
        .collect();
    call.out.map(selected.len());
    for option in selected {
        call.out.bulk(option.name);
        let needs_none = || call.replica.node.accounts.default_user().user.passwords().next().is_none();
        match option.name {
            "maxmemory" => call.out.bulk(maxmemory.to_string()),
            "maxclients" => call.out.bulk(call.replica.node.maxclients().to_string()),
            "requirepass" if needs_none() => call.out.bulk(""),
            // Shows whether one is set, never which.
            "requirepass" => call.out.bulk("*****"),
            _ => call.out.bulk(option.get(&config)),
        }
    }
}

/// `CONFIG SET option value …`: all of them or none.
fn set(mut call: Call<'_, '_>) -> FrontEndOutcome {
    let (changed, of_cluster) = match checked(&call) {
        Ok(checked) => checked,
        Err(error) => return refuse(call, &error),
    };
    if let Some((server, first)) = call.replica.settings_server.as_ref().zip(of_cluster.first()) {
        if !call.shard.may_block() {
            return refuse(call, &SetError::refused(first, Refusal::InTransaction));
        }
        let start = |server: &SettingsServer| server.change(settings::change_of(&of_cluster, &changed));
        let outcome = match await_change(&call, server, start) {
            Ok(outcome) => outcome,
            Err(wait) => return wait,
        };
        if let Err(error) = outcome {
            return refuse(call, &SetError::refused(first, Refusal::Cluster(error)));
        }
    }
    store(&mut call, changed, &of_cluster);
    record(&call);
    call.out.ok();
    FrontEndOutcome::Reply
}

/// Records the names of the options of this node that were changed. A change of the cluster's settings is recorded
/// where it is applied.
fn record(call: &Call<'_, '_>) {
    let pairs = call.args.skip(2);
    let names = (0..pairs.len()).step_by(2).filter_map(|at| find(&String::from_utf8_lossy(pairs.get(at))));
    let names = names.map(|option| option.name).filter(|name| !settings::NAMES.contains(name));
    let options = names.collect::<Vec<_>>().join(", ");
    if !options.is_empty() {
        let user = call.client.user_name();
        call.replica.node.events.record(Event::OptionsChanged { options, user });
    }
}

fn refuse(call: Call<'_, '_>, error: &SetError) -> FrontEndOutcome {
    call.out.error(error.to_string());
    FrontEndOutcome::Reply
}

/// Why CONFIG SET changes nothing, in Valkey's words where it has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum SetError {
    #[error("{}", super::call::SYNTAX)]
    Syntax,
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")]
    Refused { name: String, why: Refusal },
}

/// Why one option is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("duplicate parameter")]
    Duplicate,
    #[error(transparent)]
    Value(Problem),
    #[error("The operating system is not able to handle the specified number of clients, try with {0}")]
    TooManyClients(u64),
    #[error("can't set immutable config")]
    Immutable,
    #[error("can't set immutable config: it is always '{0}' here")]
    Fixed(&'static str),
    #[error("a setting of the cluster cannot be changed inside of MULTI")]
    InTransaction,
    #[error(transparent)]
    Cluster(SettingsError),
}

impl Refusal {
    fn of(problem: Problem) -> Refusal {
        match problem {
            Problem::Fixed(value) => Refusal::Fixed(value),
            Problem::Expected { .. } | Problem::PercentTooLarge | Problem::EventClass => Refusal::Value(problem),
        }
    }
}

impl SetError {
    fn refused(name: &str, why: Refusal) -> SetError {
        SetError::Refused { name: name.to_owned(), why }
    }
}

/// The configuration with the changes, and which of the changed options are settings of the cluster.
fn checked(call: &Call<'_, '_>) -> Result<(Config, Vec<&'static str>), SetError> {
    let pairs = call.args.skip(2);
    if !pairs.len().is_multiple_of(2) {
        return Err(SetError::Syntax);
    }
    let text = |i: usize| String::from_utf8_lossy(pairs.get(i)).into_owned();
    let mut seen: Vec<&'static str> = Vec::new();
    let mut changed: Config = (**call.replica.node.config.load()).clone();
    for at in (0..pairs.len()).step_by(2) {
        let (name, value) = (text(at), text(at + 1));
        let Some(option) = find(&name) else {
            // As everywhere, an error ends what it quotes at a zero byte.
            let name = name.split('\0').next().unwrap_or_default();
            return Err(SetError::Unknown(name.to_owned()));
        };
        let mut set = || {
            if seen.contains(&option.name) {
                return Err(Refusal::Duplicate);
            }
            seen.push(option.name);
            // A fixed option accepts the value that it has.
            option.set(&mut changed, &[value.as_str()]).map_err(Refusal::of)?;
            let clients_max = call.replica.node.clients_max();
            if option.name == "maxclients" && changed.maxclients > clients_max {
                return Err(Refusal::TooManyClients(clients_max));
            }
            if option.change == Change::Start { Err(Refusal::Immutable) } else { Ok(()) }
        };
        set().map_err(|why| SetError::Refused { name, why })?;
    }
    seen.retain(|name| settings::NAMES.contains(name));
    Ok((changed, seen))
}

/// Applies the changes to this node. Its other replicas follow within a second (`replica::housekeeping`).
fn store(call: &mut Call<'_, '_>, mut changed: Config, of_cluster: &[&str]) {
    call.shard.set_memory_bound(changed.maxmemory, changed.eviction);
    call.shard.engine_mut().set_packed_limits(changed.packed_limits);
    call.shard.engine_mut().set_notify_classes(changed.notify_keyspace_events);
    if call.replica.settings_server.is_some() {
        // Another client may have changed it since then; the map is authoritative. A node's options have the password
        // of the config file only.
        let now = call.replica.node.config.load();
        changed.requirepass.clone_from(&now.requirepass);
        if of_cluster.contains(&"durability-max-lag") {
            changed.durability_max_lag = now.durability_max_lag;
        }
    }
    call.replica.node.config.store(Arc::new(changed));
    // Without a control plane the password is this node's.
    call.replica.node.follow_users();
}

/// `CONFIG RESETSTAT`.
fn resetstat(call: Call<'_, '_>) {
    call.replica.stats.reset();
    call.replica.node.access.reset_counts();
    call.shard.engine_mut().reset_stats();
    call.out.ok();
}
