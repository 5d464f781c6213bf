//! CONFIG GET, SET and RESETSTAT, all read from the table of options.

use std::sync::Arc;

use super::Call;
use crate::config::{Change, Config, OPTIONS, find};
use crate::glob;
use crate::resp_door::redact::is_secret_option;

/// `CONFIG GET pattern …`.
pub(super) fn get(call: Call<'_, '_>) {
    let config = call.replica.node.config.load();
    let maxmemory = call.shard.engine().maxmemory();
    let patterns: Vec<Vec<u8>> = call.args.skip(2).iter().map(<[u8]>::to_ascii_lowercase).collect();
    let selected: Vec<_> = OPTIONS
        .iter()
        .filter(|option| patterns.iter().any(|pattern| glob::matches(pattern, option.name.as_bytes())))
        .collect();
    call.out.map(selected.len());
    for option in selected {
        call.out.bulk(option.name);
        let value = option.get(&config);
        match option.name {
            "maxmemory" => call.out.bulk(maxmemory.to_string()),
            "maxclients" => call.out.bulk(call.replica.node.maxclients().to_string()),
            // Shown as set or not, never as they are.
            name if is_secret_option(name.as_bytes()) && !value.is_empty() => call.out.bulk("*****"),
            _ => call.out.bulk(value),
        }
    }
}

/// `CONFIG SET option value …`: all of them or none.
pub(super) fn set(call: Call<'_, '_>) {
    let pairs = call.args.skip(2);
    if !pairs.len().is_multiple_of(2) {
        return call.out.error(super::SYNTAX);
    }
    let text = |i: usize| String::from_utf8_lossy(pairs.get(i)).into_owned();
    let mut seen: Vec<&str> = Vec::new();
    let mut changed: Config = (**call.replica.node.config.load()).clone();
    for at in (0..pairs.len()).step_by(2) {
        let (name, value) = (text(at), text(at + 1));
        let Some(option) = find(&name) else {
            return call.out.error(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"));
        };
        let failed = |why: &str| format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
        if seen.contains(&option.name) {
            return call.out.error(failed("duplicate parameter"));
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
            return call.out.error(failed(&why));
        }
    }
    // The node's other replicas follow within a second (`replica::housekeeping`).
    call.shard.engine_mut().set_maxmemory(changed.maxmemory);
    call.replica.node.config.store(Arc::new(changed));
    call.out.ok();
}

/// `CONFIG RESETSTAT`.
pub(super) fn resetstat(call: Call<'_, '_>) {
    call.replica.stats.reset();
    call.shard.engine_mut().reset_stats();
    call.out.ok();
}
