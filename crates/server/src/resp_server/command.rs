//! The front end's commands: what a connection may do, and the commands that need more than the data.

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

use fastness_engine::command::{CommandSpec, Flags, FrontEndCommand};
use fastness_resp::{Args, ReplyBuf};
use fastness_shard::{FrontEnd, FrontEndOutcome, Session, ShardView};
use fastness_types::{NodeId, Slot};

use super::ReplicaServer;
use super::clients::Client;

pub use info::{Snapshot, snapshot};

/// The front end as one connection's commands see it.
pub(crate) struct ConnectionFrontEnd<'a> {
    pub(crate) replica: &'a ReplicaServer,
    pub(crate) client: &'a Rc<Client>,
    /// The command that was asked for last; `None`: there is no such command.
    pub(crate) spec: Option<&'static CommandSpec>,
}

/// One run of a front end's command.
struct Call<'a, 's> {
    replica: &'a ReplicaServer,
    client: &'a Rc<Client>,
    args: Args<'a>,
    session: &'a mut Session,
    shard: &'a mut ShardView<'s>,
    out: &'a mut ReplyBuf,
}

impl FrontEnd for ConnectionFrontEnd<'_> {
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
        command: FrontEndCommand,
        args: Args<'_>,
        session: &mut Session,
        shard: &mut ShardView<'_>,
        out: &mut ReplyBuf,
    ) -> FrontEndOutcome {
        run(command, Call { replica: self.replica, client: self.client, args, session, shard, out })
    }

    fn address(&self, slot: Slot, primary: Option<NodeId>) -> Option<String> {
        self.replica.with_view(self.client.tls, 0, true, |view| view.address(slot, primary)).flatten()
    }
}

fn run(command: FrontEndCommand, mut call: Call<'_, '_>) -> FrontEndOutcome {
    match command {
        FrontEndCommand::AclGetuser => acl::getuser(call),
        FrontEndCommand::AclList => acl::list(call),
        FrontEndCommand::AclUsers => acl::users(call),
        FrontEndCommand::AclWhoami => acl::whoami(call),
        FrontEndCommand::Auth => hello::auth(call),
        FrontEndCommand::Hello => hello::hello(&mut call),
        FrontEndCommand::ClientCapa => client::capa(call),
        FrontEndCommand::ClientDurability => client::durability(call),
        FrontEndCommand::ClientReads => client::reads(call),
        FrontEndCommand::ClientGetname => client::getname(call),
        FrontEndCommand::ClientGetredir => client::getredir(call),
        FrontEndCommand::ClientId => client::id(call),
        FrontEndCommand::ClientInfo => client::info(call),
        FrontEndCommand::ClientKill => return client::kill(call),
        FrontEndCommand::ClientList => client::list(call),
        FrontEndCommand::ClientNoEvict => client::no_evict(call),
        FrontEndCommand::ClientNoTouch => client::no_touch(call),
        FrontEndCommand::ClientPause => client_pause::pause(call),
        FrontEndCommand::ClientReply => client::reply(call),
        FrontEndCommand::ClientSetinfo => client::setinfo(call),
        FrontEndCommand::ClientSetname => client::setname(call),
        FrontEndCommand::ClientTrackinginfo => client::trackinginfo(call),
        FrontEndCommand::ClientUnblock => client_pause::unblock(call),
        FrontEndCommand::ClientUnpause => client_pause::unpause(call),
        FrontEndCommand::ClusterInfo => cluster::info(call),
        FrontEndCommand::ClusterLinks => cluster::links(call),
        FrontEndCommand::ClusterMyid => cluster::myid(call),
        FrontEndCommand::ClusterMyshardid => cluster::myshardid(call),
        FrontEndCommand::ClusterNodes => cluster::nodes(call),
        FrontEndCommand::ClusterReplicas => cluster::replicas(call),
        FrontEndCommand::ClusterShards => cluster::shards(call),
        FrontEndCommand::ClusterSlots => cluster::slots(call),
        FrontEndCommand::CommandlogGet => log::commandlog_get(call),
        FrontEndCommand::CommandlogLen => log::commandlog_len(call),
        FrontEndCommand::CommandlogReset => log::commandlog_reset(call),
        FrontEndCommand::ConfigGet => config::get(call),
        FrontEndCommand::ConfigResetstat => config::resetstat(call),
        FrontEndCommand::ConfigSet => return config::set(call),
        FrontEndCommand::Info => info::info(call),
        FrontEndCommand::Lastsave => role::lastsave(call),
        FrontEndCommand::LatencyHistogram => log::latency_histogram(call),
        FrontEndCommand::LatencyHistory => call.out.array(0),
        FrontEndCommand::LatencyLatest => call.out.array(0),
        FrontEndCommand::LatencyReset => call.out.integer(0),
        FrontEndCommand::ModuleList => call.out.array(0),
        FrontEndCommand::Quit => {
            call.out.ok();
            return FrontEndOutcome::Close;
        }
        FrontEndCommand::Readonly => cluster::readonly(call, true),
        FrontEndCommand::Readwrite => cluster::readonly(call, false),
        // No slot is ever being imported: what ASKING allows for the next command is allowed anyway or never.
        FrontEndCommand::Asking => call.out.ok(),
        FrontEndCommand::Reset => client::reset(&mut call),
        FrontEndCommand::Role => role::role(call),
        FrontEndCommand::Shutdown => role::shutdown(call),
        FrontEndCommand::SlowlogGet => log::slowlog_get(call),
        FrontEndCommand::SlowlogLen => log::slowlog_len(call),
        FrontEndCommand::SlowlogReset => log::slowlog_reset(call),
        // The shard runs these itself: they wait, and a front end's commands do not.
        FrontEndCommand::Wait | FrontEndCommand::Waitaof => call.out.error("ERR WAIT cannot be run here"),
    }
    FrontEndOutcome::Reply
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
