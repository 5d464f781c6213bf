//! The commands that the door and the shard's session run, and those that are refused in every form: one line each.
//!
//! What a door does not run has no line here: it is absent, and answered as an unknown command.

use super::help;
use super::spec::{Command, DoorCommand as Door, Run, SessionCommand as Session};

const fn refused(name: &'static str) -> Command {
    refused_with(name, MANAGED)
}

const fn refused_with(name: &'static str, text: &'static str) -> Command {
    Command { name, syntax: "", summary: "", run: Run::Refused(text) }
}

const MANAGED: &str = "ERR slots and nodes are managed by the cluster itself; see 'fastness cluster --help'";

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = &[
    // transactions
    Command::session("multi", "", "Starts a transaction.", Session::Multi),
    Command::session("exec", "", "Runs the queued commands as one atomic unit.", Session::Exec),
    Command::session("discard", "", "Drops the queued commands.", Session::Discard),
    Command::session("watch", "<key> [<key> ...]", "Lets the next EXEC run only if these keys stay unchanged.", Session::Watch),
    Command::session("unwatch", "", "Forgets the watched keys.", Session::Unwatch),
    // connection
    Command::door("auth", "[<username>] <password>", "Names the user of this connection.", Door::Auth),
    Command::door("hello", "[<protover> [AUTH <username> <password>] [SETNAME <clientname>]]", "Chooses the protocol version and tells about the server.", Door::Hello),
    Command::door("quit", "", "Closes this connection.", Door::Quit),
    Command::door("reset", "", "Puts this connection into the state it began with.", Door::Reset),
    Command::door("client|capa", "<capability> [<capability> ...]", "Tells what this connection's client can do.", Door::ClientCapa),
    Command::door("client|durability", "[SYNC|DEFAULT]", "Tells, or chooses, whether this connection's replies wait for the commit of what they depend on.", Door::ClientDurability),
    Command::door("client|getname", "", "Tells this connection's name.", Door::ClientGetname),
    Command::door("client|getredir", "", "Tells which client gets this connection's invalidations.", Door::ClientGetredir),
    Command::door("client|id", "", "Tells this connection's number.", Door::ClientId),
    Command::door("client|info", "", "Describes this connection.", Door::ClientInfo),
    Command::door("client|kill", "<ip:port>|<option> <value> [<option> <value> ...]", "Closes the connections that the filters select.", Door::ClientKill),
    Command::door("client|list", "[<option> <value> ...]", "Describes the connections that the filters select.", Door::ClientList),
    Command::door("client|no-evict", "(ON|OFF)", "Keeps this connection when clients use too much memory.", Door::ClientNoEvict),
    Command::door("client|no-touch", "(ON|OFF)", "Lets this connection's commands leave access times alone.", Door::ClientNoTouch),
    Command::door("client|pause", "<timeout> [WRITE|ALL]", "Lets commands of clients wait, those that write or all.", Door::ClientPause),
    Command::door("client|reads", "[QUORUM|DEFAULT]", "Tells, or chooses, whether a quorum confirms this connection's reads.", Door::ClientReads),
    Command::door("client|reply", "(ON|OFF|SKIP)", "Chooses whether this connection gets replies.", Door::ClientReply),
    Command::door("client|setinfo", "(LIB-NAME <name>|LIB-VER <version>)", "Names the client library of this connection.", Door::ClientSetinfo),
    Command::door("client|setname", "<name>", "Names this connection.", Door::ClientSetname),
    Command::door("client|trackinginfo", "", "Tells how this connection tracks keys.", Door::ClientTrackinginfo),
    Command::door("client|unblock", "<client-id> [TIMEOUT|ERROR]", "Ends the wait of another connection.", Door::ClientUnblock),
    Command::door("client|unpause", "", "Ends CLIENT PAUSE.", Door::ClientUnpause),
    help::of("client|help"),
    // cluster
    Command::door("asking", "", "Lets the next command reach a slot that is being imported.", Door::Asking),
    Command::door("readonly", "", "Lets this connection read from a replica.", Door::Readonly),
    Command::door("readwrite", "", "Ends READONLY.", Door::Readwrite),
    Command::door("cluster|info", "", "Tells the state of the cluster.", Door::ClusterInfo),
    Command::door("cluster|links", "", "Describes the links between this node and its peers.", Door::ClusterLinks),
    Command::door("cluster|myid", "", "Tells this node's id.", Door::ClusterMyid),
    Command::door("cluster|myshardid", "", "Tells the id of this node's shard.", Door::ClusterMyshardid),
    Command::door("cluster|nodes", "", "Lists the nodes with their roles and slots.", Door::ClusterNodes),
    Command::door("cluster|replicas", "<node-id>", "Lists the replicas of a primary.", Door::ClusterReplicas),
    Command::door("cluster|shards", "", "Lists the shards with their slots and nodes.", Door::ClusterShards),
    Command::door("cluster|slaves", "<node-id>", "Lists the replicas of a primary; see CLUSTER REPLICAS.", Door::ClusterReplicas),
    Command::door("cluster|slots", "", "Lists the slot ranges with their nodes.", Door::ClusterSlots),
    help::of("cluster|help"),
    refused("cluster|addslots"),
    refused("cluster|addslotsrange"),
    refused("cluster|bumpepoch"),
    refused("cluster|cancelslotmigrations"),
    refused("cluster|delslots"),
    refused("cluster|delslotsrange"),
    refused("cluster|failover"),
    refused("cluster|flushslots"),
    refused("cluster|forget"),
    refused("cluster|meet"),
    refused("cluster|migrateslots"),
    refused("cluster|replicate"),
    refused("cluster|reset"),
    refused("cluster|set-config-epoch"),
    refused("cluster|setslot"),
    // durability
    Command::door("wait", "<numreplicas> <timeout>", "Waits until replicas hold this connection's writes on stable storage.", Door::Wait),
    Command::door("waitaof", "<numlocal> <numreplicas> <timeout>", "Waits until this node and replicas hold this connection's writes on stable storage.", Door::Waitaof),
    // server
    Command::door("acl|getuser", "<username>", "Describes a user.", Door::AclGetuser),
    Command::door("acl|list", "", "Describes the users as in a configuration file.", Door::AclList),
    Command::door("acl|users", "", "Names the users.", Door::AclUsers),
    Command::door("acl|whoami", "", "Names the user of this connection.", Door::AclWhoami),
    help::of("acl|help"),
    Command::door("commandlog|get", "<count> (SLOW|LARGE-REQUEST|LARGE-REPLY)", "Shows entries of a command log.", Door::CommandlogGet),
    Command::door("commandlog|len", "(SLOW|LARGE-REQUEST|LARGE-REPLY)", "Counts the entries of a command log.", Door::CommandlogLen),
    Command::door("commandlog|reset", "(SLOW|LARGE-REQUEST|LARGE-REPLY)", "Empties a command log.", Door::CommandlogReset),
    help::of("commandlog|help"),
    Command::door("config|get", "<pattern> [<pattern> ...]", "Tells the options that the patterns select.", Door::ConfigGet),
    Command::door("config|resetstat", "", "Sets the counters of INFO to zero.", Door::ConfigResetstat),
    Command::door("config|set", "<option> <value> [<option> <value> ...]", "Changes options.", Door::ConfigSet),
    help::of("config|help"),
    Command::door("info", "[<section> ...]", "Tells about the server, its work and its data.", Door::Info),
    Command::door("lastsave", "", "Tells when the data was last saved.", Door::Lastsave),
    Command::door("latency|histogram", "[<command> ...]", "Tells how long commands took.", Door::LatencyHistogram),
    Command::door("latency|history", "<event>", "Tells the latencies of an event.", Door::LatencyHistory),
    Command::door("latency|latest", "", "Tells the newest latency of each event.", Door::LatencyLatest),
    Command::door("latency|reset", "[<event> ...]", "Forgets latencies.", Door::LatencyReset),
    help::of("latency|help"),
    Command::door("module|list", "", "Lists the loaded modules.", Door::ModuleList),
    help::of("module|help"),
    Command::door("role", "", "Tells this node's role and its peers.", Door::Role),
    Command::door("shutdown", "[NOSAVE|SAVE] [NOW] [FORCE] [SAFE] [FAILOVER] | ABORT", "Hands over leadership and stops this node.", Door::Shutdown),
    refused_with("swapdb", "ERR SWAPDB is not allowed in cluster mode"),
    Command::door("slowlog|get", "[<count>]", "Shows entries of the slow log.", Door::SlowlogGet),
    Command::door("slowlog|len", "", "Counts the entries of the slow log.", Door::SlowlogLen),
    Command::door("slowlog|reset", "", "Empties the slow log.", Door::SlowlogReset),
    help::of("slowlog|help"),
];
