//! The list of the front end's commands, and the table of all commands that this server has.
//!
//! A new server command is one file and one line here.

use std::sync::LazyLock;

use fastness_engine::command::{self, Command, CommandSpec, CommandTable};

use super::call::{RunServer, ServerCommand};
use super::{
    acl, client, client_pause, client_tracking, cluster, config, debug, hello, info, latency, log, memory, monitor,
    psync, pubsub, role,
};

#[rustfmt::skip]
const COMMANDS: &[ServerCommand] = &[
    // connection
    hello::AUTH,
    hello::HELLO,
    client::QUIT,
    client::RESET,
    client::CAPA,
    client::DURABILITY,
    client::GETNAME,
    client::ID,
    client::IDEMPOTENCY,
    client::INFO,
    client::KILL,
    client::LIST,
    client::NO_EVICT,
    client::NO_TOUCH,
    client::READS,
    client::REPLY,
    client::SETINFO,
    client::SETNAME,
    client_pause::PAUSE,
    client_pause::UNBLOCK,
    client_pause::UNPAUSE,
    client_tracking::CACHING,
    client_tracking::GETREDIR,
    client_tracking::TRACKING,
    client_tracking::TRACKINGINFO,
    // cluster
    cluster::ASKING,
    cluster::READONLY,
    cluster::READWRITE,
    cluster::COUNT_FAILURE_REPORTS,
    cluster::GETSLOTMIGRATIONS,
    cluster::INFO,
    cluster::LINKS,
    cluster::MYID,
    cluster::MYSHARDID,
    cluster::NODES,
    cluster::REPLICAS,
    cluster::SAVECONFIG,
    cluster::SHARDS,
    cluster::SLAVES,
    cluster::SLOTS,
    // pubsub
    pubsub::PSUBSCRIBE,
    pubsub::PUBLISH,
    pubsub::CHANNELS,
    pubsub::NUMPAT,
    pubsub::NUMSUB,
    pubsub::SHARDCHANNELS,
    pubsub::SHARDNUMSUB,
    pubsub::PUNSUBSCRIBE,
    pubsub::SPUBLISH,
    pubsub::SSUBSCRIBE,
    pubsub::SUBSCRIBE,
    pubsub::SUNSUBSCRIBE,
    pubsub::UNSUBSCRIBE,
    // server
    acl::DELUSER,
    acl::DRYRUN,
    acl::GENPASS,
    acl::GETUSER,
    acl::LIST,
    acl::LOAD,
    acl::LOG,
    acl::SAVE,
    acl::SETUSER,
    acl::USERS,
    acl::WHOAMI,
    config::GET,
    config::RESETSTAT,
    config::SET,
    debug::DEBUG,
    info::INFO,
    latency::DOCTOR,
    latency::GRAPH,
    latency::HISTOGRAM,
    latency::HISTORY,
    latency::LATEST,
    latency::RESET,
    log::COMMANDLOG_GET,
    log::COMMANDLOG_LEN,
    log::COMMANDLOG_RESET,
    log::SLOWLOG_GET,
    log::SLOWLOG_LEN,
    log::SLOWLOG_RESET,
    memory::MALLOC_STATS,
    memory::PURGE,
    memory::STATS,
    monitor::MONITOR,
    psync::PSYNC,
    psync::REPLCONF,
    psync::SYNC,
    role::BGSAVE,
    role::LASTSAVE,
    role::MODULE_LIST,
    role::ROLE,
    role::SHUTDOWN,
];

const MANAGED: &str = "ERR slots and nodes are managed by the cluster itself; see 'fastness cluster --help'";

const HAND_OVER: &str = "ERR the cluster chooses primaries itself; move one with 'fastness cluster hand-over'";
const REPLICAS: &str = "ERR the cluster chooses primaries and replicas itself; see 'fastness cluster hand-over' and \
     'fastness cluster replace-replica'";
const SNAPSHOTS: &str = "ERR the cluster takes snapshots itself; start one with BGSAVE or 'fastness cluster snapshot', or \
     copy all data with 'valkey-cli --rdb'";
const LOG: &str = "ERR the log is shortened by snapshots; start one with 'fastness cluster snapshot'";
const CONFIG_FILE: &str = "ERR the config file is not rewritten: the cluster keeps its settings itself, and options of \
     a node are changed in its file";
const MODULES: &str = "ERR modules cannot be loaded; COMMAND LIST shows what is built in";
const MIGRATE: &str = "ERR keys are not migrated by the server; copy some with DUMP and RESTORE, or all with a replica \
     that attaches to this node";
const RESTORE: &str = "ERR slots are moved by the cluster itself; use RESTORE";

/// HELP of the containers, and what is refused in every form: what the cluster does itself, or is done in another way.
const OTHERS: &[Command] = &[
    command::help("client|help"),
    command::help("commandlog|help"),
    command::help("config|help"),
    command::help("latency|help"),
    command::help("module|help"),
    command::help("pubsub|help"),
    command::help("slowlog|help"),
    Command::refused("cluster|addslots", MANAGED),
    Command::refused("cluster|addslotsrange", MANAGED),
    Command::refused("cluster|bumpepoch", MANAGED),
    Command::refused("cluster|cancelslotmigrations", MANAGED),
    Command::refused("cluster|delslots", MANAGED),
    Command::refused("cluster|delslotsrange", MANAGED),
    Command::refused("cluster|failover", HAND_OVER),
    Command::refused("cluster|flushslots", MANAGED),
    Command::refused("cluster|forget", MANAGED),
    Command::refused("cluster|meet", MANAGED),
    Command::refused("cluster|migrateslots", MANAGED),
    Command::refused("cluster|replicate", MANAGED),
    Command::refused("cluster|reset", MANAGED),
    Command::refused("cluster|set-config-epoch", MANAGED),
    Command::refused("cluster|setslot", MANAGED),
    Command::refused("cluster|syncslots", MANAGED),
    Command::refused("bgrewriteaof", LOG),
    Command::refused("config|rewrite", CONFIG_FILE),
    Command::refused("failover", HAND_OVER),
    Command::refused("migrate", MIGRATE),
    Command::refused("module|load", MODULES),
    Command::refused("module|loadex", MODULES),
    Command::refused("module|unload", MODULES),
    Command::refused("replicaof", REPLICAS),
    Command::refused("restore-asking", RESTORE),
    Command::refused("save", SNAPSHOTS),
    Command::refused("slaveof", REPLICAS),
    Command::refused("swapdb", "ERR SWAPDB is not allowed in cluster mode"),
];

/// All commands of this server.
#[must_use]
pub fn table() -> &'static CommandTable {
    static TABLE: LazyLock<CommandTable> = LazyLock::new(|| {
        let of_front_end = COMMANDS.iter().map(|one| &one.command);
        CommandTable::new(command::commands().chain(of_front_end).chain(OTHERS))
    });
    &TABLE
}

/// The function of a command whose row says that the front end runs it.
pub(super) fn run_of(spec: &CommandSpec) -> RunServer {
    static RUNS: LazyLock<Vec<Option<RunServer>>> = LazyLock::new(|| {
        let mut runs = vec![None; table().all().len()];
        for one in COMMANDS {
            let spec = table().named(one.command.name().as_bytes()).expect("the table was made of this list");
            runs[spec.index] = Some(one.run);
        }
        runs
    });
    RUNS[spec.index].expect("the table was made of this list")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastness_engine::command::Run;

    #[test]
    fn every_command_of_the_front_end_has_its_function() {
        let rows: Vec<_> = table().all().iter().filter(|spec| matches!(spec.run, Run::FrontEnd)).collect();
        assert_eq!(rows.len(), COMMANDS.len());
        for spec in rows {
            _ = run_of(spec);
        }
    }
}
