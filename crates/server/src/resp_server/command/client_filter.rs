//! The filters of CLIENT LIST and CLIENT KILL.

use fastness_resp::Args;

use super::call::{SYNTAX, integer, is};
use crate::resp_server::clients::Client;

/// What a connection must be to be selected; all given conditions at once.
pub(super) struct Filter {
    conditions: Vec<Condition>,
    /// Leaves out the connection that asks.
    skip_own: bool,
}

enum Condition {
    Ids(Vec<u64>, bool),
    Text(Text, Vec<u8>, bool),
    /// Clients are of one type here.
    Normal(bool),
    User(bool),
    /// All of these flags.
    Flags(Vec<u8>, bool),
    Capabilities(Vec<u8>, bool),
    /// There is one database.
    Database(bool),
    OldAtLeast(u64),
    IdleAtLeast(u64),
}

/// What a connection is compared by, byte for byte.
#[derive(Clone, Copy)]
enum Text {
    Address,
    LocalAddress,
    Ip,
    Name,
    LibraryName,
    LibraryVersion,
}

const TEXTS: [(&str, Text); 6] = [
    ("addr", Text::Address),
    ("laddr", Text::LocalAddress),
    ("ip", Text::Ip),
    ("name", Text::Name),
    ("lib-name", Text::LibraryName),
    ("lib-ver", Text::LibraryVersion),
];

impl Filter {
    /// The connection from this address, the asking one too.
    pub(super) fn address(address: &[u8]) -> Filter {
        Filter { conditions: vec![Condition::Text(Text::Address, address.to_vec(), true)], skip_own: false }
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
                let ids = read_ids(args.skip(at + 1).take(count.max(1)))?;
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

fn read_ids(args: Args<'_>) -> Result<Vec<u64>, String> {
    let id = |arg: &[u8]| integer(arg).filter(|id| *id > 0).map(|id| id as u64);
    match args.iter().next() {
        Some(first) if integer(first).is_none() => Err(SYNTAX.into()),
        _ => args.iter().map(|arg| id(arg).ok_or("ERR client-id should be greater than 0".to_owned())).collect(),
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
    for (word, text) in TEXTS {
        if let Some(wanted) = negatable(option, word) {
            return Ok(Condition::Text(text, value.to_vec(), wanted));
        }
    }
    type Read = fn(&[u8], bool) -> Result<Condition, String>;
    const OTHERS: [(&str, Read); 5] = [
        ("type", read_type),
        ("user", read_user),
        ("flags", |value, wanted| letters("flags", value, wanted, FLAGS).map(|v| Condition::Flags(v, wanted))),
        ("capa", |value, wanted| letters("capa", value, wanted, "r").map(|v| Condition::Capabilities(v, wanted))),
        ("db", read_database),
    ];
    for (word, read) in OTHERS {
        if let Some(wanted) = negatable(option, word) {
            return read(value, wanted);
        }
    }
    match () {
        () if is(option, "maxage") => Ok(Condition::OldAtLeast(seconds("maxage", value)?)),
        () if is(option, "idle") => Ok(Condition::IdleAtLeast(seconds("idle", value)?)),
        () => Err(SYNTAX.into()),
    }
}

fn read_type(value: &[u8], wanted: bool) -> Result<Condition, String> {
    let normal = is(value, "normal");
    let known = ["primary", "master", "replica", "slave", "pubsub"];
    if !normal && !known.iter().any(|kind| is(value, kind)) {
        return Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(value)));
    }
    Ok(Condition::Normal(normal == wanted))
}

fn read_user(value: &[u8], wanted: bool) -> Result<Condition, String> {
    if value != b"default" {
        return Err(format!("ERR No such user '{}'", String::from_utf8_lossy(value)));
    }
    Ok(Condition::User(wanted))
}

fn read_database(value: &[u8], wanted: bool) -> Result<Condition, String> {
    match integer(value) {
        Some(0) => Ok(Condition::Database(wanted)),
        Some(_) => Err("ERR DB number should be between 0 and 0".into()),
        None => Err(format!("ERR {}DB is not an integer or out of range", if wanted { "" } else { "NOT-" })),
    }
}

/// The letters of all flags that Valkey knows, also of those that no connection has here, and `D` of our own.
const FLAGS: &str = "ABDEIMNOPRSTUbcdeirtux";

fn letters(option: &str, value: &[u8], wanted: bool, known: &str) -> Result<Vec<u8>, String> {
    if value.iter().all(|letter| known.as_bytes().contains(letter)) {
        return Ok(value.to_vec());
    }
    let filter = if wanted { "provided".to_owned() } else { format!("NOT-{}", option.to_ascii_uppercase()) };
    Err(format!("ERR Unknown {option} found in the {filter} filter: {}", String::from_utf8_lossy(value)))
}

fn seconds(option: &str, value: &[u8]) -> Result<u64, String> {
    let seconds = integer(value).ok_or_else(|| format!("ERR {option} is not an integer or out of range"))?;
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| format!("ERR {option} should be greater than 0"))
}

impl Condition {
    fn holds(&self, client: &Client) -> bool {
        match self {
            Condition::Ids(ids, wanted) => ids.contains(&client.id) == *wanted,
            Condition::Text(text, value, wanted) => text.is(client, value) == *wanted,
            Condition::Normal(wanted) | Condition::User(wanted) | Condition::Database(wanted) => *wanted,
            Condition::Flags(flags, wanted) => {
                let set = client.flags();
                flags.iter().all(|flag| set.as_bytes().contains(flag)) == *wanted
            }
            Condition::Capabilities(letters, wanted) => (letters.is_empty() || client.redirect.get()) == *wanted,
            Condition::OldAtLeast(seconds) => client.connected_at.elapsed().as_secs() >= *seconds,
            Condition::IdleAtLeast(seconds) => client.active_at.get().elapsed().as_secs() >= *seconds,
        }
    }
}

impl Text {
    fn is(self, client: &Client, value: &[u8]) -> bool {
        match self {
            Text::Address => client.address.to_string().as_bytes() == value,
            Text::LocalAddress => client.local_address.to_string().as_bytes() == value,
            Text::Ip => client.address.ip().to_string().as_bytes() == value,
            Text::Name => *client.name.borrow() == value,
            Text::LibraryName => *client.library_name.borrow() == value,
            Text::LibraryVersion => *client.library_version.borrow() == value,
        }
    }
}
