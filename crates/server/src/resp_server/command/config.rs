//! CONFIG GET, SET and RESETSTAT, all read from the table of options.
//!
//! An option that is a setting of the cluster (`settings.rs`) is changed by way of group 0: the connection waits until
//! all nodes that can be reached have confirmed the change, other options of the same command are changed after that.

use std::sync::Arc;
use std::time::Duration;

use fastness_control::Password;
use fastness_engine::glob;
use fastness_resp::Args;
use fastness_shard::FrontEndOutcome;
use tokio::sync::oneshot::error::TryRecvError;

use super::call::{Call, ServerCommand};
use crate::config::{Change, Config, OPTIONS, find};
use crate::settings::{self, SettingsError};

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

/// How often it is checked whether a change of the cluster's settings has come into force.
const LOOK: Duration = Duration::from_millis(10);

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
        match option.name {
            "maxmemory" => call.out.bulk(maxmemory.to_string()),
            "maxclients" => call.out.bulk(call.replica.node.maxclients().to_string()),
            "requirepass" if call.replica.node.password() == Password::None => call.out.bulk(""),
            // Shown as set or not, never as it is.
            "requirepass" => call.out.bulk("*****"),
            _ => call.out.bulk(option.get(&config)),
        }
    }
}

/// `CONFIG SET option value …`: all of them or none.
fn set(mut call: Call<'_, '_>) -> FrontEndOutcome {
    match checked(&call) {
        Err(text) => call.out.error(text),
        Ok((changed, of_cluster)) => {
            if let Some(server) = call.replica.settings_server.as_ref().filter(|_| !of_cluster.is_empty()) {
                if !call.shard.may_block() {
                    call.out.error(format!(
                        "ERR CONFIG SET failed (possibly related to argument '{}') - a setting of the cluster cannot be \
                         changed inside of MULTI",
                        of_cluster[0]
                    ));
                    return FrontEndOutcome::Reply;
                }
                let mut waits = call.client.setting.borrow_mut();
                let waited = waits.get_or_insert_with(|| server.change(settings::change_of(&of_cluster, &changed)));
                let outcome = match waited.try_recv() {
                    Ok(outcome) => outcome,
                    Err(TryRecvError::Empty) => return FrontEndOutcome::Again(call.shard.boot_now().plus(LOOK)),
                    Err(TryRecvError::Closed) => Err(SettingsError::Unknown("the node is stopping".to_owned())),
                };
                *waits = None;
                if let Err(error) = outcome {
                    let name = of_cluster[0];
                    call.out.error(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {error}"));
                    return FrontEndOutcome::Reply;
                }
            }
            store(&mut call, changed, &of_cluster);
            call.out.ok();
        }
    }
    FrontEndOutcome::Reply
}

/// The configuration as it shall be, and which of the changed options are settings of the cluster.
fn checked(call: &Call<'_, '_>) -> Result<(Config, Vec<&'static str>), String> {
    let pairs = call.args.skip(2);
    if !pairs.len().is_multiple_of(2) {
        return Err(super::call::SYNTAX.to_owned());
    }
    let text = |i: usize| String::from_utf8_lossy(pairs.get(i)).into_owned();
    let mut seen: Vec<&'static str> = Vec::new();
    let mut changed: Config = (**call.replica.node.config.load()).clone();
    for at in (0..pairs.len()).step_by(2) {
        let (name, value) = (text(at), text(at + 1));
        let Some(option) = find(&name) else {
            return Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"));
        };
        let failed = |why: &str| format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
        if seen.contains(&option.name) {
            return Err(failed("duplicate parameter"));
        }
        seen.push(option.name);
        let refused = match option.set(&mut changed, &[value.as_str()]) {
            Err(problem) => Some(problem.to_string()),
            // Asking for the value that it always has changes nothing and is granted.
            Ok(()) if option.name == "maxclients" && changed.maxclients > call.replica.node.clients_max() => {
                Some(format!(
                    "The operating system is not able to handle the specified number of clients, try with {}",
                    call.replica.node.clients_max()
                ))
            }
            Ok(()) if option.change == Change::Start => Some("can't set immutable config".to_owned()),
            Ok(()) => None,
        };
        if let Some(why) = refused {
            return Err(failed(&why));
        }
    }
    seen.retain(|name| settings::NAMES.contains(name));
    Ok((changed, seen))
}

/// What is changed here. The node's other replicas follow within a second (`replica::housekeeping`).
fn store(call: &mut Call<'_, '_>, mut changed: Config, of_cluster: &[&str]) {
    call.shard.engine_mut().set_maxmemory(changed.maxmemory);
    if call.replica.settings_server.as_ref().is_some() {
        // Another client may have changed it since; the map says what holds. A password is in no node's options but the
        // file's.
        let now = call.replica.node.config.load();
        changed.requirepass.clone_from(&now.requirepass);
        if of_cluster.contains(&"durability-max-lag") {
            changed.durability_max_lag = now.durability_max_lag;
        }
    }
    call.replica.node.config.store(Arc::new(changed));
}

/// `CONFIG RESETSTAT`.
fn resetstat(call: Call<'_, '_>) {
    call.replica.stats.reset();
    call.shard.engine_mut().reset_stats();
    call.out.ok();
}
