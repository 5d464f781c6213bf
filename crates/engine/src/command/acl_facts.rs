//! What access control needs to know about a command and COMMAND does not report: which arguments are channels, and
//! which databases it uses. By name, as the generated facts.

use super::spec::{Categories, Facts, Flags, KeyFlags, category, flag, key_flag};
use fastness_resp::Args;
use fastness_resp::number::parse_int;
use smallvec::SmallVec;

/// Number of databases that Valkey has by default. A number from there on names no database, and the command refuses
/// it.
const DATABASES: i64 = 16;

/// Which arguments of a command are channels that the user must be allowed to use, and how they are compared with the
/// user's patterns. Unsubscribing needs no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelArguments {
    /// No argument.
    None,
    /// The first argument is a channel (PUBLISH).
    First,
    /// All arguments are channels (SUBSCRIBE).
    All,
    /// All arguments are patterns of channels (PSUBSCRIBE): the user must have equal ones.
    Patterns,
}

/// Which databases a command uses, besides those that its arguments name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseUse {
    /// None.
    None,
    /// The one that the connection has selected.
    Current,
    /// All.
    Every,
}

/// The arguments of a request that name databases: their places and the databases. Empty if one of them names none.
pub type NamedDatabases = SmallVec<[(usize, u32); 2]>;

/// Finds the arguments that name databases.
pub(super) type FindDatabases = fn(Args<'_>) -> NamedDatabases;

const CHANNELS: &[(&str, ChannelArguments)] = &[
    ("psubscribe", ChannelArguments::Patterns),
    ("publish", ChannelArguments::First),
    ("spublish", ChannelArguments::First),
    ("ssubscribe", ChannelArguments::All),
    ("subscribe", ChannelArguments::All),
];

const DATABASE_USES: &[(&str, DatabaseUse)] = &[
    ("cluster|cancelslotmigrations", DatabaseUse::Every),
    ("cluster|flushslot", DatabaseUse::Every),
    ("cluster|migrateslots", DatabaseUse::Every),
    ("flushall", DatabaseUse::Every),
    // It exchanges the databases that it names.
    ("swapdb", DatabaseUse::None),
];

const NAMED_DATABASES: &[(&str, FindDatabases)] = &[
    ("copy", of_copy),
    ("move", |args| databases_at(args, &[2])),
    ("select", |args| databases_at(args, &[1])),
    ("swapdb", |args| databases_at(args, &[1, 2])),
];

fn of_name<T: Copy>(list: &[(&str, T)], name: &str) -> Option<T> {
    list.iter().find(|(command, _)| *command == name).map(|(_, fact)| *fact)
}

/// The channels among the arguments of a command.
pub(super) fn channels(row: &Facts) -> ChannelArguments {
    of_name(CHANNELS, row.name).unwrap_or(ChannelArguments::None)
}

/// The databases that a command uses: that of the connection, if it has to do with keys.
pub(super) fn database_use(row: &Facts) -> DatabaseUse {
    let categories = Categories(category::KEYSPACE | category::READ | category::WRITE);
    let uses_keys = row.flags.has_any(Flags(flag::READONLY | flag::WRITE))
        || row.categories.has_any(categories)
        || row.key_specs.iter().any(|spec| !spec.flags.has(KeyFlags(key_flag::NOT_KEY)));
    let usual = if uses_keys { DatabaseUse::Current } else { DatabaseUse::None };
    of_name(DATABASE_USES, row.name).unwrap_or(usual)
}

/// How the databases are found that a request names.
pub(super) fn named_databases(row: &Facts) -> Option<FindDatabases> {
    of_name(NAMED_DATABASES, row.name)
}

fn database(text: &[u8]) -> Option<u32> {
    parse_int(text).filter(|number| (0..DATABASES).contains(number)).and_then(|number| u32::try_from(number).ok())
}

fn databases_at(args: Args<'_>, places: &[usize]) -> NamedDatabases {
    let named = places.iter().map(|at| Some((*at, database(args.try_get(*at)?)?)));
    named.collect::<Option<_>>().unwrap_or_default()
}

/// COPY source destination [DB number] [REPLACE]
fn of_copy(args: Args<'_>) -> NamedDatabases {
    let mut named = NamedDatabases::new();
    let mut at = 3;
    while let Some(word) = args.try_get(at) {
        if word.eq_ignore_ascii_case(b"db") {
            let Some(number) = args.try_get(at + 1).and_then(database) else { return NamedDatabases::new() };
            named.push((at + 1, number));
            at += 2;
        } else if word.eq_ignore_ascii_case(b"replace") {
            at += 1;
        } else {
            return NamedDatabases::new();
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    #[test]
    fn every_name_is_one_of_valkeys() {
        let names = CHANNELS.iter().map(|fact| fact.0).chain(DATABASE_USES.iter().map(|fact| fact.0));
        for name in names.chain(NAMED_DATABASES.iter().map(|fact| fact.0)) {
            assert!(table().named(name.as_bytes()).is_some(), "{name}");
        }
    }

    #[test]
    fn databases_that_arguments_name() {
        for (request, expected) in [
            ("select 3", &[(1, 3)][..]),
            ("select 16", &[]),
            ("select 03", &[]),
            ("swapdb 1 2", &[(1, 1), (2, 2)]),
            ("swapdb 1 -2", &[]),
            ("move a 15", &[(2, 15)]),
            ("copy a b", &[]),
            ("copy a b db 1 replace DB 2", &[(4, 1), (7, 2)]),
            ("copy a b db 1 other", &[]),
            ("copy a b db", &[]),
            ("get 1", &[]),
        ] {
            let words: Vec<&[u8]> = request.split_whitespace().map(str::as_bytes).collect();
            let spec = table().named(words[0]).expect("Valkey knows it");
            assert_eq!(spec.named_databases(Args::slices(&words)).as_slice(), expected, "{request}");
        }
    }

    #[test]
    fn commands_on_keys_use_the_database_of_the_connection() {
        for (name, expected) in [
            ("get", DatabaseUse::Current),
            ("eval", DatabaseUse::Current),
            ("dbsize", DatabaseUse::Current),
            ("object|help", DatabaseUse::Current),
            ("swapdb", DatabaseUse::None),
            ("select", DatabaseUse::None),
            ("spublish", DatabaseUse::None),
            ("flushall", DatabaseUse::Every),
        ] {
            assert_eq!(table().named(name.as_bytes()).expect("Valkey knows it").database_use, expected, "{name}");
        }
    }
}
