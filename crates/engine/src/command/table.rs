//! The table: every command that Valkey knows, and which of them are there; and those of our own (`own.rs`).
//!
//! A new command is one file in the folder of its data type and one line there (`COMMANDS`); one of no type has its
//! line in [`COMMANDS`] below; a new command of the front end is one line in `front end.rs`; one that Valkey does not
//! have has its facts in `own.rs`. Everything else (look-up, arity, routing, COMMAND, HELP) is read from the joined
//! table.

use std::ops::Range;
use std::sync::LazyLock;

use super::front_end;
use super::help;
use super::own;
use super::spec::{Begin, Command, CommandSpec, Facts, Find, KeyFlags, KeyPositions, KeySpec, Run, key_flag};
use super::types::TYPES;
use super::{introspect, introspect_docs};
use crate::{cluster, connection, generic, server};

/// Commands of no data type that are there and are not run by the front end: one line each.
#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    // the table itself
    introspect::COMMAND,
    introspect::COUNT,
    introspect::INFO,
    introspect::LIST,
    introspect::GETKEYS,
    introspect::GETKEYSANDFLAGS,
    introspect::ACL_CAT,
    introspect_docs::DOCS,
    help::of("command|help"),
    // cluster
    cluster::keys_in_slot::COUNT,
    cluster::keys_in_slot::GET,
    cluster::keyslot::KEYSLOT,
    cluster::scan::CLUSTERSCAN,
    cluster::slot_stats::SLOT_STATS,
    // connection
    connection::echo::ECHO,
    connection::ping::PING,
    connection::select::SELECT,
    // generic
    generic::copy::COPY,
    generic::del::DEL,
    generic::del::UNLINK,
    generic::dump::DUMP,
    generic::exists::EXISTS,
    generic::expire::EXPIRE,
    generic::expire::EXPIREAT,
    generic::expire::PEXPIRE,
    generic::expire::PEXPIREAT,
    generic::keys::KEYS,
    generic::object::ENCODING,
    generic::object::FREQ,
    generic::object::IDLETIME,
    generic::object::REFCOUNT,
    help::of("object|help"),
    generic::persist::PERSIST,
    generic::randomkey::RANDOMKEY,
    generic::relocate::MOVE,
    generic::rename::RENAME,
    generic::rename::RENAMENX,
    generic::restore::RESTORE,
    generic::scan::SCAN,
    generic::touch::TOUCH,
    generic::ttl::EXPIRETIME,
    generic::ttl::PEXPIRETIME,
    generic::ttl::PTTL,
    generic::ttl::TTL,
    generic::typename::TYPE,
    // server
    server::dbsize::DBSIZE,
    server::flush::FLUSHALL,
    server::flush::FLUSHDB,
    server::lolwut::LOLWUT,
    server::memory::DOCTOR,
    server::memory::USAGE,
    help::of("memory|help"),
    server::time::TIME,
];

/// The joined table with its index by name.
struct Table {
    specs: Vec<CommandSpec>,
    /// Open addressing: index of a spec plus 1, 0 is free. Top-level commands alone.
    by_name: Box<[u16; BUCKETS]>,
}

/// Four times the number of top-level commands, so that most look-ups compare one name.
const BUCKETS: usize = 1024;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::join(&own::rows()));

impl Table {
    fn join(facts: &[Facts]) -> Table {
        let mut specs: Vec<CommandSpec> =
            facts.iter().enumerate().map(|(index, row)| spec(index, row, facts)).collect();
        for command in TYPES.iter().flat_map(|one| one.commands).chain(COMMANDS).chain(front_end::COMMANDS) {
            let spec = specs
                .iter_mut()
                .find(|spec| spec.name == command.name)
                .unwrap_or_else(|| panic!("{} is in the table, and there are no facts about it", command.name));
            assert!(matches!(spec.run, Run::Absent), "{} is in the table twice", command.name);
            (spec.syntax, spec.summary, spec.run) = (command.syntax, command.summary, command.run);
        }
        for index in 0..specs.len() {
            let runs = |run: Run| !matches!(run, Run::Absent | Run::Refused(_));
            specs[index].is_there = runs(specs[index].run)
                || specs[index].subcommands.clone().any(|sub| runs(specs[sub].run) && !is_help(specs[sub].name));
        }
        let mut table = Table { specs, by_name: Box::new([0; BUCKETS]) };
        for index in 0..table.specs.len() {
            table.enter(index);
        }
        table
    }

    fn enter(&mut self, index: usize) {
        let name = self.specs[index].name;
        if name.contains('|') {
            return;
        }
        let mut bucket = bucket_of(name.as_bytes());
        while self.by_name[bucket] != 0 {
            bucket = (bucket + 1) % BUCKETS;
        }
        self.by_name[bucket] = index as u16 + 1;
    }

    #[inline]
    fn top_level(&self, name: &[u8]) -> Option<&CommandSpec> {
        let mut bucket = bucket_of(name);
        while self.by_name[bucket] != 0 {
            let spec = &self.specs[usize::from(self.by_name[bucket]) - 1];
            if spec.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(spec);
            }
            bucket = (bucket + 1) % BUCKETS;
        }
        None
    }
}

/// A container whose only subcommand is HELP helps nobody.
fn is_help(name: &str) -> bool {
    name.ends_with("|help")
}

/// FNV-1a over the name in lower case.
#[inline]
fn bucket_of(name: &[u8]) -> usize {
    let hash =
        name.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte | 0x20)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 15) as usize % BUCKETS
}

fn spec(index: usize, row: &Facts, facts: &[Facts]) -> CommandSpec {
    CommandSpec {
        index,
        name: row.name,
        arity: row.arity,
        flags: row.flags,
        categories: row.categories,
        key_specs: row.key_specs,
        positions: positions(row.key_specs),
        routed_by: row.key_specs.iter().find_map(routes),
        tips: row.tips,
        since: row.since,
        group: row.group,
        syntax: "",
        summary: "",
        run: Run::Absent,
        subcommands: subcommands(row.name, facts),
        is_there: false,
        is_own: own::is_own(row.name),
        key_is_first: key_is_first(row.key_specs),
    }
}

fn key_is_first(specs: &[KeySpec]) -> bool {
    let [KeySpec { begin: Begin::At(1), find: Find::Range { last: 0, .. }, flags, .. }] = specs else { return false };
    !flags.has(KeyFlags(key_flag::NOT_KEY))
}

/// The argument that a key specification names though it is no key.
fn routes(spec: &KeySpec) -> Option<usize> {
    match spec.begin {
        Begin::At(at) if spec.flags.has(KeyFlags(key_flag::NOT_KEY)) => Some(at.into()),
        _ => None,
    }
}

/// The rows are sorted by name, so a container's subcommands stand in one range.
fn subcommands(container: &str, facts: &[Facts]) -> Range<usize> {
    let belongs = |row: &Facts| row.name.strip_prefix(container).is_some_and(|rest| rest.starts_with('|'));
    let first = facts.iter().position(belongs).unwrap_or(0);
    first..first + facts[first..].iter().take_while(|row| belongs(row)).count()
}

/// The one range that older clients route by: the groups of keys with fixed places that follow each other.
fn positions(specs: &[KeySpec]) -> KeyPositions {
    if let [KeySpec { begin: Begin::At(at), find: Find::Range { last, step, .. }, .. }] = *specs {
        let first = i16::from(at);
        return KeyPositions { first, last: absolute(first, last), step: i16::from(step) };
    }
    let mut found = KeyPositions::default();
    for spec in specs {
        let (Begin::At(at), Find::Range { last, step: 1, .. }) = (spec.begin, spec.find) else { continue };
        let first = i16::from(at);
        if found.first == 0 {
            found = KeyPositions { first, last: absolute(first, last), step: 1 };
        } else if first == found.last + 1 {
            found.last = absolute(first, last);
        }
    }
    found
}

fn absolute(first: i16, last: i8) -> i16 {
    let last = i16::from(last);
    if last >= 0 { first + last } else { last }
}

/// Every command and subcommand that Valkey knows, and our own, by group and name.
#[must_use]
pub fn all() -> &'static [CommandSpec] {
    &TABLE.specs
}

/// What clients may use: everything that runs, and the containers of what runs.
pub fn present() -> impl Iterator<Item = &'static CommandSpec> {
    all().iter().filter(|spec| spec.is_there)
}

/// What Valkey has and this product has not: for the documentation.
pub fn absent() -> impl Iterator<Item = &'static CommandSpec> {
    all().iter().filter(|spec| !spec.is_there)
}

/// The row of this name (`object|encoding` for a subcommand), in upper or lower case, whether or not it runs.
#[must_use]
pub fn named(name: &[u8]) -> Option<&'static CommandSpec> {
    match name.iter().position(|byte| *byte == b'|') {
        None => TABLE.top_level(name),
        Some(bar) => subcommand(TABLE.top_level(&name[..bar])?, &name[bar + 1..]),
    }
}

/// A top-level command by its name alone.
#[inline]
pub(super) fn top_level(name: &[u8]) -> Option<&'static CommandSpec> {
    TABLE.top_level(name)
}

/// A container's subcommand.
pub(super) fn subcommand(container: &CommandSpec, name: &[u8]) -> Option<&'static CommandSpec> {
    let prefix = container.name.len() + 1;
    all()[container.subcommands.clone()].iter().find(|spec| spec.name.as_bytes()[prefix..].eq_ignore_ascii_case(name))
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
