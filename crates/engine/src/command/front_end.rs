//! The commands that the front end and the shard's session run, and those that are refused in every form: one line
//! each.
//!
//! What a front end does not run has no line here: it is absent, and answered as an unknown command.

use super::help;
use super::spec::{Command, FrontEndCommand as FrontEnd, Run, SessionCommand as Session};

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
    Command::front_end("auth", "[<username>] <password>", "Names the user of this connection.", FrontEnd::Auth),
    Command::front_end("hello", "[<protover> [AUTH <username> <password>] [SETNAME <clientname>]]", "Chooses the protocol version and tells about the server.", FrontEnd::Hello),
    Command::front_end("quit", "", "Closes this connection.", FrontEnd::Quit),
    Command::front_end("reset", "", "Puts this connection into the state it began with.", FrontEnd::Reset),
    Command::front_end("client|capa", "<capability> [<capability> ...]", "Tells what this connection's client can do.", FrontEnd::ClientCapa),
    Command::front_end("client|durability", "[SYNC|DEFAULT]", "Tells, or chooses, whether this connection's replies wait for the commit of what they depend on.", FrontEnd::ClientDurability),
    Command::front_end("client|getname", "", "Tells this connection's name.", FrontEnd::ClientGetname),
    Command::front_end("client|getredir", "", "Tells which client gets this connection's invalidations.", FrontEnd::ClientGetredir),
    Command::front_end("client|id", "", "Tells this connection's number.", FrontEnd::ClientId),
    Command::front_end("client|info", "", "Describes this connection.", FrontEnd::ClientInfo),
    Command::front_end("client|kill", "<ip:port>|<option> <value> [<option> <value> ...]", "Closes the connections that the filters select.", FrontEnd::ClientKill),
    Command::front_end("client|list", "[<option> <value> ...]", "Describes the connections that the filters select.", FrontEnd::ClientList),
    Command::front_end("client|no-evict", "(ON|OFF)", "Keeps this connection when clients use too much memory.", FrontEnd::ClientNoEvict),
    Command::front_end("client|no-touch", "(ON|OFF)", "Lets this connection's commands leave access times alone.", FrontEnd::ClientNoTouch),
    Command::front_end("client|pause", "<timeout> [WRITE|ALL]", "Lets commands of clients wait, those that write or all.", FrontEnd::ClientPause),
    Command::front_end("client|reads", "[QUORUM|DEFAULT]", "Tells, or chooses, whether a quorum confirms this connection's reads.", FrontEnd::ClientReads),
    Command::front_end("client|reply", "(ON|OFF|SKIP)", "Chooses whether this connection gets replies.", FrontEnd::ClientReply),
    Command::front_end("client|setinfo", "(LIB-NAME <name>|LIB-VER <version>)", "Names the client library of this connection.", FrontEnd::ClientSetinfo),
    Command::front_end("client|setname", "<name>", "Names this connection.", FrontEnd::ClientSetname),
    Command::front_end("client|trackinginfo", "", "Tells how this connection tracks keys.", FrontEnd::ClientTrackinginfo),
    Command::front_end("client|unblock", "<client-id> [TIMEOUT|ERROR]", "Ends the wait of another connection.", FrontEnd::ClientUnblock),
    Command::front_end("client|unpause", "", "Ends CLIENT PAUSE.", FrontEnd::ClientUnpause),
    help::of("client|help"),
    // cluster
    Command::front_end("asking", "", "Lets the next command reach a slot that is being imported.", FrontEnd::Asking),
    Command::front_end("readonly", "", "Lets this connection read from a replica.", FrontEnd::Readonly),
    Command::front_end("readwrite", "", "Ends READONLY.", FrontEnd::Readwrite),
    Command::front_end("cluster|info", "", "Tells the state of the cluster.", FrontEnd::ClusterInfo),
    Command::front_end("cluster|links", "", "Describes the links between this node and its peers.", FrontEnd::ClusterLinks),
    Command::front_end("cluster|myid", "", "Tells this node's id.", FrontEnd::ClusterMyid),
    Command::front_end("cluster|myshardid", "", "Tells the id of this node's shard.", FrontEnd::ClusterMyshardid),
    Command::front_end("cluster|nodes", "", "Lists the nodes with their roles and slots.", FrontEnd::ClusterNodes),
    Command::front_end("cluster|replicas", "<node-id>", "Lists the replicas of a primary.", FrontEnd::ClusterReplicas),
    Command::front_end("cluster|shards", "", "Lists the shards with their slots and nodes.", FrontEnd::ClusterShards),
    Command::front_end("cluster|slaves", "<node-id>", "Lists the replicas of a primary; see CLUSTER REPLICAS.", FrontEnd::ClusterReplicas),
    Command::front_end("cluster|slots", "", "Lists the slot ranges with their nodes.", FrontEnd::ClusterSlots),
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
    Command::front_end("wait", "<numreplicas> <timeout>", "Waits until replicas hold this connection's writes on stable storage.", FrontEnd::Wait),
    Command::front_end("waitaof", "<numlocal> <numreplicas> <timeout>", "Waits until this node and replicas hold this connection's writes on stable storage.", FrontEnd::Waitaof),
    // server
    Command::front_end("acl|getuser", "<username>", "Describes a user.", FrontEnd::AclGetuser),
    Command::front_end("acl|list", "", "Describes the users as in a configuration file.", FrontEnd::AclList),
    Command::front_end("acl|users", "", "Names the users.", FrontEnd::AclUsers),
    Command::front_end("acl|whoami", "", "Names the user of this connection.", FrontEnd::AclWhoami),
    help::of("acl|help"),
    Command::front_end("commandlog|get", "<count> (SLOW|LARGE-REQUEST|LARGE-REPLY)", "Shows entries of a command log.", FrontEnd::CommandlogGet),
    Command::front_end("commandlog|len", "(SLOW|LARGE-REQUEST|LARGE-REPLY)", "Counts the entries of a command log.", FrontEnd::CommandlogLen),
    Command::front_end("commandlog|reset", "(SLOW|LARGE-REQUEST|LARGE-REPLY)", "Empties a command log.", FrontEnd::CommandlogReset),
    help::of("commandlog|help"),
    Command::front_end("config|get", "<pattern> [<pattern> ...]", "Tells the options that the patterns select.", FrontEnd::ConfigGet),
    Command::front_end("config|resetstat", "", "Sets the counters of INFO to zero.", FrontEnd::ConfigResetstat),
    Command::front_end("config|set", "<option> <value> [<option> <value> ...]", "Changes options.", FrontEnd::ConfigSet),
    help::of("config|help"),
    Command::front_end("info", "[<section> ...]", "Tells about the server, its work and its data.", FrontEnd::Info),
    Command::front_end("lastsave", "", "Tells when the data was last saved.", FrontEnd::Lastsave),
    Command::front_end("latency|histogram", "[<command> ...]", "Tells how long commands took.", FrontEnd::LatencyHistogram),
    Command::front_end("latency|history", "<event>", "Tells the latencies of an event.", FrontEnd::LatencyHistory),
    Command::front_end("latency|latest", "", "Tells the newest latency of each event.", FrontEnd::LatencyLatest),
    Command::front_end("latency|reset", "[<event> ...]", "Forgets latencies.", FrontEnd::LatencyReset),
    help::of("latency|help"),
    Command::front_end("module|list", "", "Lists the loaded modules.", FrontEnd::ModuleList),
    help::of("module|help"),
    Command::front_end("role", "", "Tells this node's role and its peers.", FrontEnd::Role),
    Command::front_end("shutdown", "[NOSAVE|SAVE] [NOW] [FORCE] [SAFE] [FAILOVER] | ABORT", "Hands over leadership and stops this node.", FrontEnd::Shutdown),
    refused_with("swapdb", "ERR SWAPDB is not allowed in cluster mode"),
    Command::front_end("slowlog|get", "[<count>]", "Shows entries of the slow log.", FrontEnd::SlowlogGet),
    Command::front_end("slowlog|len", "", "Counts the entries of the slow log.", FrontEnd::SlowlogLen),
    Command::front_end("slowlog|reset", "", "Empties the slow log.", FrontEnd::SlowlogReset),
    help::of("slowlog|help"),
];
