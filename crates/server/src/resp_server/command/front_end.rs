//! The owner of a connection: who may run commands, what it may hold, and which commands the front end has.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::Guard;
use fail::fail_point;
use fastness_acl::{Denied, User};
use fastness_connection::attribute::TraceParent;
use fastness_connection::connection::is_http;
use fastness_connection::{Closing, Executed, Host, ReplyMode};
use fastness_engine::command::spec::key_flag;
use fastness_engine::command::{CommandSpec, Flags, Group, KeyFlags, Run, SessionCommand};
use fastness_engine::generic::sort::check_without_every_key;
use fastness_resp::{Args, Limits, Protocol, ProtocolError, ReplyBuf};
use fastness_shard::{ExecutedQueued, FrontEnd, FrontEndOutcome, Session, ShardView};
use fastness_types::{NodeId, Slot, slot_of};

use super::call::{Call, RunServer};
use super::{debug, registry};
use crate::access::{Lacking, Refused};
use crate::accounts::Account;
use crate::auth::AuthRefusal;
use crate::config::Config;
use crate::resp_server::ReplicaServer;
use crate::resp_server::clients::Client;
use crate::resp_server::command_log::CommandCost;
use crate::resp_server::latency::LatencyEvent;
use crate::resp_server::pubsub::monitors;
use crate::resp_server::stats::{add, is_rejection};
use crate::traces::record::TraceOutcome;
use crate::traces::write::{TracePlace, WriteTrace};

/// Replies that have not been sent, bytes: once `maxmemory` is reached, or nothing is left of `maxmemory-clients`, no
/// further command of the connection runs at it.
const UNSENT_BYTES_SOFT: usize = 16 * 1024;
/// The same for a connection that has to authenticate and has not: what strangers can make the server hold.
const UNSENT_BYTES_SOFT_UNAUTHENTICATED: usize = fastness_connection::connection::UNSENT_BYTES_FREE;

/// The reply to a command that MULTI has queued.
const QUEUED: &[u8] = b"+QUEUED\r\n";

/// Messages of channels from this length on are shared by their receivers; shorter ones are copied, bytes.
const SHARED_PUSH_BYTES_MIN: usize = 4 * 1024;
/// Messages of channels that go into one block of replies, bytes; the last one may exceed it.
const PUSHED_AT_ONCE_BYTES: usize = 256 * 1024;

/// The front end as one connection's commands see it.
pub(crate) struct ConnectionFrontEnd<'a> {
    replica: &'a ReplicaServer,
    client: &'a Rc<Client>,
    /// Loaded when it is first needed: in most uses it is not.
    config: OnceCell<Guard<Arc<Config>>>,
}

impl<'a> ConnectionFrontEnd<'a> {
    pub(crate) fn new(replica: &'a ReplicaServer, client: &'a Rc<Client>) -> ConnectionFrontEnd<'a> {
        ConnectionFrontEnd { replica, client, config: OnceCell::new() }
    }

    fn config(&self) -> &Config {
        self.config.get_or_init(|| self.replica.node.config.load())
    }

    /// Whether the client may use only few commands, because it is subscribed and speaks RESP2.
    #[inline]
    fn is_limited_to_subscriptions(&self) -> bool {
        self.client.is_subscribed() && self.client.protocol.get() == Protocol::Resp2
    }

    /// Whether a client may run a command that not everybody may.
    #[cold]
    fn check_rights(&self, spec: &'static CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool {
        if !self.client.is_authenticated() {
            // Nothing that a deleted user has sent runs as another one.
            let entered = match () {
                () if self.client.is_killed() => Err(AuthRefusal::Required),
                () if spec.flags.has(Flags::NO_AUTH) => return true,
                () => self.replica.let_in(self.client),
            };
            if let Err(refusal) = entered {
                out.error(refusal.to_string());
                return false;
            }
        }
        if self.client.is_outdated() && !spec.flags.has(Flags::NO_AUTH) {
            out.error(AuthRefusal::Outdated.to_string());
            return false;
        }
        let Some(account) = self.client.account() else { return false };
        let checked = account.user.check(spec, args);
        if let Err(denied) = &checked {
            self.note_denied(&account, *denied, (spec, args), "toplevel");
            out.error(denied.reply(account.name.as_bytes(), spec));
            return false;
        }
        permits_every_key(&account.user, spec, args, out)
    }

    /// Whether the client may still run a command that it has queued. Writes the refusal.
    #[cold]
    fn check_queued_rights(&self, spec: &'static CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool {
        let Some(account) = self.client.account() else {
            out.error(AuthRefusal::Required.to_string());
            return false;
        };
        let checked = account.user.check(spec, args);
        if let Err(denied) = &checked {
            self.note_denied(&account, *denied, (spec, args), "multi");
            let reason = match denied {
                Denied::Command => "no permission to execute the command or subcommand",
                Denied::Key(_) => "no permission to touch the specified keys",
                Denied::Channel(_) => "no permission to access one of the channels used as arguments to the command",
                Denied::Database(_) => "no permission to access the database",
            };
            out.error(format!(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
                 command is no longer allowed for the following reason: {reason}"
            ));
            return false;
        }
        permits_every_key(&account.user, spec, args, out)
    }

    /// Whether the client may run a command of its script. Writes the refusal.
    #[cold]
    fn check_script_rights(&self, spec: &'static CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool {
        let Some(account) = self.client.account() else {
            out.error(AuthRefusal::Required.to_string());
            return false;
        };
        let checked = account.user.check(spec, args);
        if let Err(denied) = &checked {
            self.note_denied(&account, *denied, (spec, args), "lua");
            let refusal = denied.reply(account.name.as_bytes(), spec);
            let reason = refusal.strip_prefix(b"NOPERM ").unwrap_or(&refusal);
            out.error([b"ERR ACL failure in script: ", reason].concat());
            return false;
        }
        permits_every_key(&account.user, spec, args, out)
    }

    /// Notes in ACL LOG what was refused.
    fn note_denied(
        &self,
        account: &Account,
        denied: Denied,
        (spec, args): (&'static CommandSpec, Args<'_>),
        context: &'static str,
    ) {
        let lacking = match denied {
            Denied::Command => Lacking::Command,
            Denied::Key(_) => Lacking::Key,
            Denied::Channel(_) => Lacking::Channel,
            Denied::Database(_) => Lacking::Database,
        };
        let object = denied.object(spec, args).to_vec();
        let user = account.name.clone().into_bytes();
        let refused = Refused { lacking, context, object, user, client: self.client.line() };
        self.replica.node.note_refused(refused);
    }

    /// Starts to trace a command that may run next, if it is a write and sampled.
    #[cold]
    fn trace(&self, spec: &'static CommandSpec, args: Args<'_>) {
        let (ReplicaServer { node, shard, group, shard_id, .. }, trace) = (self.replica, &self.client.trace);
        let parent = trace.take_parent();
        if trace.is_live() {
            trace.starts_again(shard, shard.boot_now());
            return;
        }
        let may_write = spec.is_write() || spec.name == "exec";
        let is_sampled = match (parent, self.config().traces.sample) {
            (Some(parent), _) => parent.is_sampled,
            (None, 0) => false,
            (None, one_in) => rand::random_range(0..one_in) == 0,
        };
        if may_write && is_sampled {
            let slot = spec.first_key_at().and_then(|at| args.try_get(at)).map(slot_of);
            let place = TracePlace { node, shard: *shard_id, group };
            let received = self.client.active_at.get();
            if let Some(begun) = WriteTrace::begin(&place, parent, (spec, slot), shard.boot_now(), received) {
                trace.start(begun, shard);
            }
        }
    }

    /// Counts a command that has run, and enters it in the logs.
    fn note_run(&self, (spec, args): (&'static CommandSpec, Args<'_>), cost: CommandCost, reply: &[u8]) {
        let (config, replica) = (self.config(), self.replica);
        replica.stats.count(spec, cost.took, reply);
        if !spec.flags.has(Flags::SKIP_COMMANDLOG) {
            replica.command_logs.note((spec, args), cost, self.client, config);
        }
        let event = if spec.flags.has(Flags::FAST) { LatencyEvent::FastCommand } else { LatencyEvent::Command };
        replica.latency.note(event, cost.took, config.latency_monitor_threshold);
    }

    /// Shows a command that has run to whoever monitors.
    #[inline]
    fn show(&self, spec: &CommandSpec, args: Args<'_>, reply: &[u8]) {
        if self.replica.pubsub.monitors.is_any() {
            // An EXEC that was refused is shown, because it ends a transaction whose MULTI was shown.
            let ends_transaction = matches!(spec.run, Run::Session(SessionCommand::Exec));
            if ends_transaction || !is_rejection(reply) {
                self.replica.show_command(self.client, spec, args);
            }
        }
    }

    /// Counts a request that the command table refuses: at its command, if it has a wrong number of arguments.
    #[cold]
    fn note_refused_request(&self, args: Args<'_>, reply: &[u8]) {
        let stats = &self.replica.stats;
        match registry::table().of_request(args) {
            Some(spec) if spec.runs() && !spec.takes(args.len()) => stats.count_refused(spec, reply),
            _ => stats.count_error(reply),
        }
    }

    /// A web page can make a browser send commands here, as the body of a request. Nothing of it runs from here on.
    #[cold]
    fn refuse_http(&self) -> Closing {
        add(&self.replica.stats.http_closes, 1);
        if let Some(others) = self.replica.node.throttles.http.permit() {
            tracing::warn!(
                client = %self.client.address, others,
                "closed: possible SECURITY ATTACK: it sends POST or Host:, as in cross protocol scripting"
            );
        }
        Closing::Now
    }
}

/// Whether a user may run a request that reads keys which it does not name (SORT with BY or GET), if it is one. Writes
/// the refusal.
fn permits_every_key(user: &User, spec: &CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool {
    match check_without_every_key(spec, args) {
        Err(refusal) if !user.may_run_on_every_key(spec, args, KeyFlags(key_flag::ACCESS)) => {
            out.error(refusal.line());
            false
        }
        _ => true,
    }
}

/// Whether a client that is subscribed may run a command in RESP2. If not, the error has been appended.
#[cold]
fn permit_to_subscriber(spec: &'static CommandSpec, out: &mut ReplyBuf) -> bool {
    let subscribes = spec.group == Group::Pubsub && spec.changes_connection;
    let is_permitted = subscribes || matches!(spec.name, "ping" | "quit" | "reset");
    if !is_permitted {
        out.error(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context",
            spec.name
        ));
    }
    is_permitted
}

/// Whether a client that monitors may run a command: not on data, as in Valkey. If not, the error has been appended.
#[cold]
fn permit_to_monitor(spec: &'static CommandSpec, out: &mut ReplyBuf) -> bool {
    let is_on_data = spec.flags.has_any(Flags(Flags::WRITE.0 | Flags::READONLY.0));
    let is_refused = is_on_data || matches!(spec.name, "publish" | "spublish");
    if is_refused {
        out.error("ERR Replica can't interact with the keyspace");
    }
    !is_refused
}

impl Host for ConnectionFrontEnd<'_> {
    fn clock(&self) -> Instant {
        Instant::now()
    }

    fn request_limits(&self) -> Limits {
        Limits {
            bulk_bytes_max: self.config().proto_max_bulk_len as usize,
            authenticated: self.client.is_authenticated(),
            ..Limits::DEFAULT
        }
    }

    fn unsent_bytes_max(&self) -> usize {
        if !self.client.is_authenticated() {
            return UNSENT_BYTES_SOFT_UNAUTHENTICATED;
        }
        if self.replica.shard.with_engine(|engine| engine.is_out_of_memory()) {
            return UNSENT_BYTES_SOFT;
        }
        // A client that does not take more than this is closed; replies that are pending beyond it wait.
        let limit = self.config().client_output_buffer_limit.of(self.client.is_subscribed());
        let hard = match limit.hard_bytes {
            0 => u64::MAX,
            hard => hard,
        };
        let room = if self.client.no_evict.get() { u64::MAX } else { self.replica.room_for_replies() };
        usize::try_from(hard.min(room)).unwrap_or(usize::MAX).max(UNSENT_BYTES_SOFT)
    }

    fn has_room(&self) -> bool {
        self.replica.has_room_for(self.client)
    }

    fn query_bytes_max(&self) -> u64 {
        self.config().client_query_buffer_limit
    }

    fn reply_mode(&self) -> &Cell<ReplyMode> {
        &self.client.reply_mode
    }

    fn set_trace_parent(&mut self, parent: TraceParent) {
        if self.replica.node.tracer.is_on() {
            self.client.trace.set_parent(parent);
        }
    }

    fn permit(&mut self, spec: &'static CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool {
        self.client.command.set(spec.name);
        if self.replica.node.tracer.is_on() {
            self.trace(spec, args);
        }
        self.client.renew(&self.replica.node.accounts);
        let has_rights =
            self.client.is_authenticated() && self.client.is_unrestricted() || self.check_rights(spec, args, out);
        let is_enabled = |out: &mut ReplyBuf| {
            !spec.flags.has(Flags::ADMIN) || debug::permit(spec, self.client.address, self.config(), out)
        };
        has_rights
            && is_enabled(out)
            && (!self.client.monitors.get() || permit_to_monitor(spec, out))
            && (!self.is_limited_to_subscriptions() || permit_to_subscriber(spec, out))
    }

    fn answer(&mut self, spec: &'static CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool {
        let is_answered = self.is_limited_to_subscriptions() && spec.name == "ping" && args.len() <= 2;
        if is_answered {
            out.array(2);
            out.bulk("pong");
            out.bulk(args.try_get(1).unwrap_or_default());
        }
        is_answered
    }

    fn append_pushes(&mut self, out: &mut ReplyBuf) -> bool {
        let subscriptions = &self.client.subscriptions;
        let before = out.len();
        while subscriptions.has_pushes() && out.len() - before < PUSHED_AT_ONCE_BYTES {
            match subscriptions.take_push() {
                Some(message) if message.len() >= SHARED_PUSH_BYTES_MIN => out.buf_mut().push_shared(&message),
                Some(message) => out.raw(&message),
                None => break,
            }
        }
        subscriptions.has_pushes()
    }

    fn set_running(&mut self, running: bool) {
        self.replica.executing.set(running);
        // At the end in any case: CLIENT TRACKING OFF may have ended NOLOOP.
        if !running || self.client.tracking.is_noloop() {
            self.replica.tracking.set_writer(self.client, running);
        }
        if running {
            fail_point!("server::executing");
        }
    }

    fn waits_for_keys(&mut self, spec: &'static CommandSpec, args: Args<'_>) {
        if !self.client.is_shown.replace(true) {
            self.show(spec, args, b"");
        }
    }

    fn executed(&mut self, executed: &Executed<'_>) -> Option<Closing> {
        let Executed { spec, args, took, request_bytes, reply_bytes, reply, outcome } = *executed;
        let Some(spec) = spec else {
            if is_http(args) {
                return Some(self.refuse_http());
            }
            add(&self.client.commands, 1);
            self.client.tracking.end_command(None, reply);
            self.note_refused_request(args, reply);
            return None;
        };
        add(&self.client.commands, 1);
        let is_exec = matches!(spec.run, Run::Session(SessionCommand::Exec));
        if self.client.subscriptions.has_published() && (is_exec || matches!(spec.run, Run::Script(_))) {
            // A script that fails keeps what it has done; one that is undone says so itself.
            self.replica.end_transaction(self.client, outcome, is_exec && reply.starts_with(b"-"));
        }
        if self.client.trace.is_live() {
            match reply {
                QUEUED => self.client.trace.discard(),
                _ => {
                    let outcome = if reply.starts_with(b"-") { TraceOutcome::Error } else { TraceOutcome::Ok };
                    self.client.trace.executed(&self.replica.shard, (request_bytes, reply_bytes), outcome);
                }
            }
        }
        if self.client.tracking.is_on() {
            if reply != QUEUED && !is_rejection(reply) {
                self.replica.tracking.note_read(self.client, (spec, args), self.config());
            }
            self.client.tracking.end_command(Some(spec), reply);
        }
        // EXEC reports each command that it runs, see `FrontEnd::executed_queued`.
        if reply != QUEUED {
            add(&self.replica.stats.command_nanos, took.as_nanos() as u64);
            self.note_run((spec, args), CommandCost { took, request_bytes, reply_bytes }, reply);
            if !self.client.is_shown.replace(false) {
                self.show(spec, args, reply);
            }
        }
        None
    }

    fn protocol_error(&mut self, error: &ProtocolError) {
        tracing::debug!(client = %self.client.address, %error, "protocol error");
    }

    fn query_too_long(&mut self, bytes_max: u64) {
        add(&self.replica.stats.query_limit_closes, 1);
        if let Some(others) = self.replica.node.throttles.query.permit() {
            let client = self.client.address;
            tracing::warn!(
                %client, limit = bytes_max, others,
                "closed: more was sent than may wait to be executed"
            );
        }
    }
}

impl FrontEnd for ConnectionFrontEnd<'_> {
    fn run(
        &mut self,
        spec: &'static CommandSpec,
        args: Args<'_>,
        session: &mut Session,
        shard: &mut ShardView<'_>,
        out: &mut ReplyBuf,
    ) -> FrontEndOutcome {
        let call = Call { replica: self.replica, client: self.client, args, session, shard, out };
        match registry::run_of(spec) {
            RunServer::Reply(run) => run(call),
            RunServer::Outcome(run) => return run(call),
        }
        FrontEndOutcome::Reply
    }

    fn permit_queued(&mut self, spec: &'static CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool {
        if self.client.is_unrestricted() {
            return true;
        }
        let start = out.len();
        let is_permitted = self.check_queued_rights(spec, args, out);
        if !is_permitted {
            self.replica.stats.count_error(out.buf().piece_at(start));
        }
        is_permitted
    }

    fn permit_in_script(&mut self, spec: &'static CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool {
        if self.client.is_unrestricted() {
            return true;
        }
        let start = out.len();
        let is_permitted = self.check_script_rights(spec, args, out);
        if !is_permitted {
            self.replica.stats.count_error(out.buf().piece_at(start));
        }
        is_permitted
    }

    fn may_run(&mut self, spec: &'static CommandSpec, args: Args<'_>) -> bool {
        self.client.is_unrestricted()
            || self.client.account().is_some_and(|account| account.user.check(spec, args).is_ok())
    }

    fn script_starts(&mut self, spec: &'static CommandSpec, args: Args<'_>) {
        // Before the commands of the script, which monitors see too.
        if self.replica.pubsub.monitors.is_any() {
            self.replica.show_line(&self.client.address, spec, args);
        }
    }

    fn executed_in_script(&mut self, executed: &ExecutedQueued<'_>) {
        let ExecutedQueued { spec, args, took, reply_bytes, reply } = *executed;
        self.replica.stats.count(spec, took, reply);
        if self.client.tracking.is_on() {
            self.replica.tracking.note_read(self.client, (spec, args), self.config());
        }
        if !spec.flags.has(Flags::SKIP_COMMANDLOG) {
            let request_bytes = fastness_resp::request::encoded_len(args);
            let cost = CommandCost { took, request_bytes, reply_bytes };
            self.replica.command_logs.note((spec, args), cost, self.client, self.config());
        }
        if self.replica.pubsub.monitors.is_any() && monitors::is_shown(spec) {
            self.replica.show_line(&"lua", spec, args);
        }
    }

    fn script_undone(&mut self) {
        if self.client.subscriptions.has_published() {
            self.replica.drop_published(self.client);
        }
    }

    fn executed_queued(&mut self, executed: &ExecutedQueued<'_>) {
        let ExecutedQueued { spec, args, took, reply_bytes, reply } = *executed;
        let request_bytes = fastness_resp::request::encoded_len(args);
        if self.client.tracking.is_on() {
            self.replica.tracking.note_read(self.client, (spec, args), self.config());
        }
        self.note_run((spec, args), CommandCost { took, request_bytes, reply_bytes }, reply);
        self.show(spec, args, reply);
    }

    fn user(&self) -> Vec<u8> {
        self.client.account().map(|account| account.name.clone().into_bytes()).unwrap_or_default()
    }

    fn address(&self, slot: Slot, primary: Option<NodeId>) -> Option<String> {
        self.replica.with_view(self.client.tls, 0, true, |view| view.address(slot, primary)).flatten()
    }
}
