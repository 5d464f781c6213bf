//! The filters of CLIENT LIST and CLIENT KILL.

use fastness_resp::Args;

use super::call::{SYNTAX, integer, is};
use crate::accounts::Accounts;
use crate::resp_server::clients::Client;

/// Selects connections: those that meet all of its conditions.
pub(super) struct Filter {
    conditions: Vec<Condition>,
    /// Leaves out the connection that sent the command.
    skip_own: bool,
}

enum Condition {
    Ids(Vec<u64>, bool),
    Text(Text, Vec<u8>, bool),
    Type(ClientType, bool),
    User(Vec<u8>, bool),
    /// All of these flags.
    Flags(Vec<u8>, bool),
    Capabilities(Vec<u8>, bool),
    /// There is one database.
    Database(bool),
    OldAtLeast(u64),
    IdleAtLeast(u64),
}

/// What a connection is used for.
#[derive(Clone, Copy)]
enum ClientType {
    Normal,
    /// It has subscriptions.
    Pubsub,
    /// Links between nodes: none of the connections is one.
    Replication,
}

/// A property of a connection that is compared byte for byte.
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

/// Why a filter is refused, in Valkey's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FilterError {
    #[error("{SYNTAX}")]
    Syntax,
    #[error("ERR client-id should be greater than 0")]
    ClientId,
    #[error("ERR Unknown client type '{0}'")]
    UnknownType(String),
    #[error("ERR No such user '{0}'")]
    UnknownUser(String),
    #[error("ERR DB number should be between 0 and 0")]
    DatabaseRange,
    #[error("ERR {not}DB is not an integer or out of range")]
    DatabaseNumber { not: &'static str },
    #[error("ERR Unknown {option} found in the {filter} filter: {found}")]
    UnknownLetter { option: &'static str, filter: String, found: String },
    #[error("ERR {0} is not an integer or out of range")]
    NotANumber(&'static str),
    #[error("ERR {0} should be greater than 0")]
    NotPositive(&'static str),
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

impl Filter {
    /// Selects the connection from this address, even if it sent the command.
    pub(super) fn address(address: &[u8]) -> Filter {
        Filter { conditions: vec![Condition::Text(Text::Address, address.to_vec(), true)], skip_own: false }
    }

    /// The filter, if all users that it names exist.
    pub(super) fn of(self, accounts: &Accounts) -> Result<Filter, FilterError> {
        let unknown = self.conditions.iter().find_map(|condition| match condition {
            Condition::User(name, _) if accounts.get(name).is_none() => Some(text(name)),
            _ => None,
        });
        unknown.map_or(Ok(self), |name| Err(FilterError::UnknownUser(name)))
    }

    /// Reads `<option> <value> …`. KILL leaves out its own connection unless `SKIPME no` is given.
    pub(super) fn parse(args: Args<'_>, kill: bool) -> Result<Filter, FilterError> {
        let mut filter = Filter { conditions: Vec::new(), skip_own: kill };
        let mut at = 0;
        while at < args.len() {
            let Some(value) = args.try_get(at + 1) else { return Err(FilterError::Syntax) };
            if is(args.get(at), "skipme") {
                filter.skip_own = match () {
                    () if is(value, "yes") => true,
                    () if is(value, "no") => false,
                    () => return Err(FilterError::Syntax),
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

    /// Whether `client` is selected; `own` is the id of the one that sent the command.
    pub(super) fn selects(&self, client: &Client, own: u64) -> bool {
        let left_out = self.skip_own && client.id == own;
        !left_out && !client.is_killed() && self.conditions.iter().all(|condition| condition.holds(client))
    }
}

fn read_ids(args: Args<'_>) -> Result<Vec<u64>, FilterError> {
    let id = |arg: &[u8]| integer(arg).filter(|id| *id > 0).map(|id| id as u64);
    match args.iter().next() {
        Some(first) if integer(first).is_none() => Err(FilterError::Syntax),
        _ => args.iter().map(|arg| id(arg).ok_or(FilterError::ClientId)).collect(),
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

fn condition(option: &[u8], value: &[u8]) -> Result<Condition, FilterError> {
    for (word, text) in TEXTS {
        if let Some(wanted) = negatable(option, word) {
            return Ok(Condition::Text(text, value.to_vec(), wanted));
        }
    }
    type Read = fn(&[u8], bool) -> Result<Condition, FilterError>;
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
        () => Err(FilterError::Syntax),
    }
}

fn read_type(value: &[u8], wanted: bool) -> Result<Condition, FilterError> {
    const REPLICATION: [&str; 4] = ["primary", "master", "replica", "slave"];
    let kind = match () {
        () if is(value, "normal") => ClientType::Normal,
        () if is(value, "pubsub") => ClientType::Pubsub,
        () if REPLICATION.iter().any(|kind| is(value, kind)) => ClientType::Replication,
        () => return Err(FilterError::UnknownType(text(value))),
    };
    Ok(Condition::Type(kind, wanted))
}

fn read_user(value: &[u8], wanted: bool) -> Result<Condition, FilterError> {
    Ok(Condition::User(value.to_vec(), wanted))
}

fn read_database(value: &[u8], wanted: bool) -> Result<Condition, FilterError> {
    match integer(value) {
        Some(0) => Ok(Condition::Database(wanted)),
        Some(_) => Err(FilterError::DatabaseRange),
        None => Err(FilterError::DatabaseNumber { not: if wanted { "" } else { "NOT-" } }),
    }
}

/// The letters of all flags that Valkey has, including those that no connection has here, and our own `D`.
const FLAGS: &str = "ABDEIMNOPRSTUbcdeirtux";

fn letters(option: &'static str, value: &[u8], wanted: bool, known: &str) -> Result<Vec<u8>, FilterError> {
    if value.iter().all(|letter| known.as_bytes().contains(letter)) {
        return Ok(value.to_vec());
    }
    let filter = if wanted { "provided".to_owned() } else { format!("NOT-{}", option.to_ascii_uppercase()) };
    Err(FilterError::UnknownLetter { option, filter, found: text(value) })
}

fn seconds(option: &'static str, value: &[u8]) -> Result<u64, FilterError> {
    let seconds = integer(value).ok_or(FilterError::NotANumber(option))?;
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).ok_or(FilterError::NotPositive(option))
}

impl Condition {
    fn holds(&self, client: &Client) -> bool {
        match self {
            Condition::Ids(ids, wanted) => ids.contains(&client.id) == *wanted,
            Condition::Text(text, value, wanted) => text.is(client, value) == *wanted,
            Condition::User(name, wanted) => (client.user_name().as_bytes() == name) == *wanted,
            Condition::Type(kind, wanted) => kind.is_of(client) == *wanted,
            Condition::Database(wanted) => *wanted,
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

impl ClientType {
    fn is_of(self, client: &Client) -> bool {
        match self {
            ClientType::Normal => !client.is_subscribed(),
            ClientType::Pubsub => client.is_subscribed(),
            ClientType::Replication => false,
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
