//! The door's commands: what a connection may do, and the commands that need more than the data.

mod acl;
mod client;
mod client_filter;
mod client_pause;
mod cluster;
mod config;
mod hello;
mod info;
mod log;
mod role;

use std::rc::Rc;

use fastness_engine::command::{CommandSpec, DoorCommand, Flags};
use fastness_resp::{Args, ReplyBuf};
use fastness_shard::{Door, DoorOutcome, Session, ShardView};
use fastness_types::{NodeId, Slot};

use super::ReplicaDoor;
use super::clients::Client;

pub use info::{Snapshot, snapshot};

/// The door as one connection's commands see it.
pub(crate) struct ConnectionDoor<'a> {
    pub(crate) replica: &'a ReplicaDoor,
    pub(crate) client: &'a Rc<Client>,
    /// The command that was asked for last; `None`: there is no such command.
    pub(crate) spec: Option<&'static CommandSpec>,
}

/// One run of a door's command.
struct Call<'a, 's> {
    replica: &'a ReplicaDoor,
    client: &'a Rc<Client>,
    args: Args<'a>,
    session: &'a mut Session,
    shard: &'a mut ShardView<'s>,
    out: &'a mut ReplyBuf,
}

impl Door for ConnectionDoor<'_> {
    fn permit(&mut self, spec: &'static CommandSpec, _args: Args<'_>, _session: &Session, out: &mut ReplyBuf) -> bool {
        self.spec = Some(spec);
        self.client.command.set(spec.name);
        if self.client.authenticated.get() || spec.flags.has(Flags::NO_AUTH) {
            return true;
        }
        match hello::without_password(&self.replica.node) {
            Ok(true) => self.client.authenticated.set(true),
            Ok(false) => out.error("NOAUTH Authentication required."),
            Err(text) => out.error(text),
        }
        self.client.authenticated.get()
    }

    fn run(
        &mut self,
        command: DoorCommand,
        args: Args<'_>,
        session: &mut Session,
        shard: &mut ShardView<'_>,
        out: &mut ReplyBuf,
    ) -> DoorOutcome {
        run(command, Call { replica: self.replica, client: self.client, args, session, shard, out })
    }

    fn address(&self, slot: Slot, primary: Option<NodeId>) -> Option<String> {
        self.replica.with_view(self.client.tls, 0, true, |view| view.address(slot, primary)).flatten()
    }
}

fn run(command: DoorCommand, mut call: Call<'_, '_>) -> DoorOutcome {
    match command {
        DoorCommand::AclGetuser => acl::getuser(call),
        DoorCommand::AclList => acl::list(call),
        DoorCommand::AclUsers => acl::users(call),
        DoorCommand::AclWhoami => acl::whoami(call),
        DoorCommand::Auth => hello::auth(call),
        DoorCommand::Hello => hello::hello(&mut call),
        DoorCommand::ClientCapa => client::capa(call),
        DoorCommand::ClientDurability => client::durability(call),
        DoorCommand::ClientReads => client::reads(call),
        DoorCommand::ClientGetname => client::getname(call),
        DoorCommand::ClientGetredir => client::getredir(call),
        DoorCommand::ClientId => client::id(call),
        DoorCommand::ClientInfo => client::info(call),
        DoorCommand::ClientKill => return client::kill(call),
        DoorCommand::ClientList => client::list(call),
        DoorCommand::ClientNoEvict => client::no_evict(call),
        DoorCommand::ClientNoTouch => client::no_touch(call),
        DoorCommand::ClientPause => client_pause::pause(call),
        DoorCommand::ClientReply => client::reply(call),
        DoorCommand::ClientSetinfo => client::setinfo(call),
        DoorCommand::ClientSetname => client::setname(call),
        DoorCommand::ClientTrackinginfo => client::trackinginfo(call),
        DoorCommand::ClientUnblock => client_pause::unblock(call),
        DoorCommand::ClientUnpause => client_pause::unpause(call),
        DoorCommand::ClusterInfo => cluster::info(call),
        DoorCommand::ClusterLinks => cluster::links(call),
        DoorCommand::ClusterMyid => cluster::myid(call),
        DoorCommand::ClusterMyshardid => cluster::myshardid(call),
        DoorCommand::ClusterNodes => cluster::nodes(call),
        DoorCommand::ClusterReplicas => cluster::replicas(call),
        DoorCommand::ClusterShards => cluster::shards(call),
        DoorCommand::ClusterSlots => cluster::slots(call),
        DoorCommand::CommandlogGet => log::commandlog_get(call),
        DoorCommand::CommandlogLen => log::commandlog_len(call),
        DoorCommand::CommandlogReset => log::commandlog_reset(call),
        DoorCommand::ConfigGet => config::get(call),
        DoorCommand::ConfigResetstat => config::resetstat(call),
        DoorCommand::ConfigSet => return config::set(call),
        DoorCommand::Info => info::info(call),
        DoorCommand::Lastsave => role::lastsave(call),
        DoorCommand::LatencyHistogram => log::latency_histogram(call),
        DoorCommand::LatencyHistory => call.out.array(0),
        DoorCommand::LatencyLatest => call.out.array(0),
        DoorCommand::LatencyReset => call.out.integer(0),
        DoorCommand::ModuleList => call.out.array(0),
        DoorCommand::Quit => {
            call.out.ok();
            return DoorOutcome::Close;
        }
        DoorCommand::Readonly => cluster::readonly(call, true),
        DoorCommand::Readwrite => cluster::readonly(call, false),
        // No slot is ever being imported: what ASKING allows for the next command is allowed anyway or never.
        DoorCommand::Asking => call.out.ok(),
        DoorCommand::Reset => client::reset(&mut call),
        DoorCommand::Role => role::role(call),
        DoorCommand::Shutdown => role::shutdown(call),
        DoorCommand::SlowlogGet => log::slowlog_get(call),
        DoorCommand::SlowlogLen => log::slowlog_len(call),
        DoorCommand::SlowlogReset => log::slowlog_reset(call),
        // The shard runs these itself: they wait, and a door's commands do not.
        DoorCommand::Wait | DoorCommand::Waitaof => call.out.error("ERR WAIT cannot be run here"),
    }
    DoorOutcome::Reply
}

/// Whether an argument is this word, in any case.
fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// A whole number as Valkey's commands take it.
fn integer(arg: &[u8]) -> Option<i64> {
    fastness_resp::request::strict_integer(arg)
}

const SYNTAX: &str = "ERR syntax error";
