//! The filters of CLIENT LIST and CLIENT KILL.

use fastness_resp::Args;

use super::{SYNTAX, integer, is};
use crate::resp_door::clients::Client;

/// What a connection must be to be selected; all given conditions at once.
pub(super) struct Filter {
    conditions: Vec<Condition>,
    /// Leaves out the connection that asks.
    skip_own: bool,
}

enum Condition {
    Ids(Vec<u64>, bool),
    Address(Vec<u8>, bool),
    LocalAddress(Vec<u8>, bool),
    Ip(Vec<u8>, bool),
    User(Vec<u8>, bool),
    Normal(bool),
    Name(Vec<u8>, bool),
    LibraryName(Vec<u8>, bool),
    LibraryVersion(Vec<u8>, bool),
    OldAtLeast(u64),
    IdleAtLeast(u64),
}

impl Filter {
    /// The connection from this address, the asking one too.
    pub(super) fn address(address: &[u8]) -> Filter {
        Filter { conditions: vec![Condition::Address(address.to_vec(), true)], skip_own: false }
    }

    /// Reads `<option> <value> …`. KILL leaves out the asking connection unless told otherwise.
    pub(super) fn parse(args: Args<'_>, kill: bool) -> Result<Filter, String> {
        let mut filter = Filter { conditions: Vec::new(), skip_own: kill };
        let mut at = 0;
        while at < args.len() {
            let Some(value) = args.try_get(at + 1) else { return Err(SYNTAX.into()) };
            if is(args.get(at), "skipme") {
                filter.skip_own = match () {
                    () if is(value, "yes") => true,
                    () if is(value, "no") => false,
                    () => return Err(SYNTAX.into()),
                };
                at += 2;
            } else if let Some(wanted) = negatable(args.get(at), "id") {
                let count = args.skip(at + 1).iter().take_while(|arg| integer(arg).is_some()).count();
                let ids = read_ids(args.skip(at + 1).take(count.max(1)), kill)?;
                filter.conditions.push(Condition::Ids(ids, wanted));
                at += 1 + count.max(1);
            } else {
                filter.conditions.push(condition(args.get(at), value)?);
                at += 2;
            }
        }
        Ok(filter)
    }

    /// Whether `client` is selected; `own` is the id of the one that asks.
    pub(super) fn selects(&self, client: &Client, own: u64) -> bool {
        let left_out = self.skip_own && client.id == own;
        !left_out && !client.is_killed() && self.conditions.iter().all(|condition| condition.holds(client))
    }
}

fn read_ids(args: Args<'_>, kill: bool) -> Result<Vec<u64>, String> {
    let id = |arg: &[u8]| integer(arg).filter(|id| *id > 0).map(|id| id as u64);
    let bad = if kill { "ERR client-id should be greater than 0" } else { "ERR Invalid client ID" };
    match args.iter().next() {
        Some(first) if integer(first).is_none() => Err(SYNTAX.into()),
        _ => args.iter().map(|arg| id(arg).ok_or_else(|| bad.to_owned())).collect(),
    }
}

/// `Some(true)` for the word, `Some(false)` for `not-` and the word.
fn negatable(arg: &[u8], word: &str) -> Option<bool> {
    if is(arg, word) {
        return Some(true);
    }
    let not = arg.get(..4).is_some_and(|start| is(start, "not-"));
    (not && is(&arg[4..], word)).then_some(false)
}

fn condition(option: &[u8], value: &[u8]) -> Result<Condition, String> {
    type Make = fn(Vec<u8>, bool) -> Condition;
    const TEXTS: [(&str, Make); 7] = [
        ("addr", Condition::Address),
        ("laddr", Condition::LocalAddress),
        ("ip", Condition::Ip),
        ("user", Condition::User),
        ("name", Condition::Name),
        ("lib-name", Condition::LibraryName),
        ("lib-ver", Condition::LibraryVersion),
    ];
    for (word, make) in TEXTS {
        if let Some(wanted) = negatable(option, word) {
            return Ok(make(value.to_vec(), wanted));
        }
    }
    if let Some(wanted) = negatable(option, "type") {
        let normal = is(value, "normal");
        let known = ["primary", "master", "replica", "slave", "pubsub"];
        if !normal && !known.iter().any(|kind| is(value, kind)) {
            return Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(value)));
        }
        return Ok(Condition::Normal(normal == wanted));
    }
    let seconds = || {
        let seconds = integer(value).ok_or(SYNTAX)?;
        u64::try_from(seconds).map_err(|_| SYNTAX.to_owned())
    };
    if is(option, "maxage") {
        return Ok(Condition::OldAtLeast(seconds()?));
    }
    if is(option, "idle") {
        return Ok(Condition::IdleAtLeast(seconds()?));
    }
    Err(SYNTAX.into())
}

impl Condition {
    fn holds(&self, client: &Client) -> bool {
        match self {
            Condition::Ids(ids, wanted) => ids.contains(&client.id) == *wanted,
            Condition::Address(text, wanted) => (client.address.to_string().as_bytes() == text) == *wanted,
            Condition::LocalAddress(text, wanted) => (client.local_address.to_string().as_bytes() == text) == *wanted,
            Condition::Ip(text, wanted) => (client.address.ip().to_string().as_bytes() == text) == *wanted,
            Condition::User(user, wanted) => (user == b"default") == *wanted,
            Condition::Normal(wanted) => *wanted,
            Condition::Name(text, wanted) => (*client.name.borrow() == *text) == *wanted,
            Condition::LibraryName(text, wanted) => (*client.library_name.borrow() == *text) == *wanted,
            Condition::LibraryVersion(text, wanted) => (*client.library_version.borrow() == *text) == *wanted,
            Condition::OldAtLeast(seconds) => client.connected_at.elapsed().as_secs() >= *seconds,
            Condition::IdleAtLeast(seconds) => client.active_at.get().elapsed().as_secs() >= *seconds,
        }
    }
}
