//! The list of the engine's commands, and the table of what runs without a front end.
//!
//! A new command is one file in the folder of its data type and one line there (`COMMANDS`); one of no type has its
//! line in [`COMMANDS`] below. A front end lists its own and builds its table from both.

use std::sync::LazyLock;

use super::table::{Command, CommandTable};
use super::types::TYPES;
use super::{help, introspect, introspect_docs, scripting, transaction};
use crate::{bitmap, cluster, connection, generic, geo, hyperloglog, server};

/// Commands of no data type: one line each.
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
    help::of("acl|help"),
    help::of("cluster|help"),
    help::of("command|help"),
    help::of("function|help"),
    help::of("memory|help"),
    help::of("object|help"),
    help::of("script|help"),
    help::of("xgroup|help"),
    help::of("xinfo|help"),
    // bitmap
    bitmap::bitcount::BITCOUNT,
    bitmap::bitfield::BITFIELD,
    bitmap::bitfield::BITFIELD_RO,
    bitmap::bitop::BITOP,
    bitmap::bitpos::BITPOS,
    bitmap::setbit::GETBIT,
    bitmap::setbit::SETBIT,
    // cluster
    cluster::flush_slot::FLUSHSLOT,
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
    generic::persist::PERSIST,
    generic::randomkey::RANDOMKEY,
    generic::relocate::MOVE,
    generic::rename::RENAME,
    generic::rename::RENAMENX,
    generic::restore::RESTORE,
    generic::scan::SCAN,
    generic::sort::SORT,
    generic::sort::SORT_RO,
    generic::touch::TOUCH,
    generic::ttl::EXPIRETIME,
    generic::ttl::PEXPIRETIME,
    generic::ttl::PTTL,
    generic::ttl::TTL,
    generic::typename::TYPE,
    // hyperloglog: its values are strings
    hyperloglog::add::PFADD,
    hyperloglog::count::PFCOUNT,
    hyperloglog::debug::PFDEBUG,
    hyperloglog::merge::PFMERGE,
    hyperloglog::self_test::PFSELFTEST,
    // geo
    geo::add::GEOADD,
    geo::get::GEODIST,
    geo::get::GEOHASH,
    geo::get::GEOPOS,
    geo::radius::GEORADIUS,
    geo::radius::GEORADIUSBYMEMBER,
    geo::radius::GEORADIUSBYMEMBER_RO,
    geo::radius::GEORADIUS_RO,
    geo::search::GEOSEARCH,
    geo::search::GEOSEARCHSTORE,
    // server
    server::dbsize::DBSIZE,
    server::flush::FLUSHALL,
    server::flush::FLUSHDB,
    server::lolwut::LOLWUT,
    server::memory::DOCTOR,
    server::memory::USAGE,
    server::time::TIME,
];

/// The commands that need no front end: of the engine, of the table itself, of transactions.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    TYPES
        .iter()
        .flat_map(|one| one.commands)
        .chain(COMMANDS)
        .chain(transaction::COMMANDS)
        .chain(scripting::COMMANDS)
        .chain(of_tests())
}

#[cfg(any(test, feature = "test-type"))]
use crate::stack::commands as of_tests;

#[cfg(not(any(test, feature = "test-type")))]
const fn of_tests() -> &'static [Command] {
    &[]
}

/// The table of [`commands`]: for whoever runs an engine without a front end.
#[must_use]
pub fn table() -> &'static CommandTable {
    static TABLE: LazyLock<CommandTable> = LazyLock::new(|| CommandTable::new(commands()));
    &TABLE
}
