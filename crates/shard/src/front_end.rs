//! What the shard needs of the front end that owns a connection.

use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_engine::command::{CommandSpec, CommandTable};
use fastness_engine::{Engine, Key};
use fastness_resp::{Args, ReplyBuf};
use fastness_types::{BootNs, NodeId, Slot};

use crate::client_override::{DurabilityOverride, ReadConfirmation};
use crate::client_pause::PauseKind;
use crate::info::ShardInfo;
use crate::leader::Leader;
use crate::now::Now;
use crate::session::Session;
use crate::state::Replica;

/// One connection's front end: the commands that need more than the data, and the addresses that this client is
/// redirected to.
///
/// Called with the shard's state borrowed: it uses the [`ShardView`] it is given and never the `Shard` itself.
pub trait FrontEnd {
    /// The commands that this front end has.
    fn commands(&self) -> &'static CommandTable;

    /// Runs a command of the front end. Inside of EXEC its outcome may not be [`FrontEndOutcome::Close`].
    fn run(
        &mut self,
        spec: &'static CommandSpec,
        args: Args<'_>,
        session: &mut Session,
        shard: &mut ShardView<'_>,
        out: &mut ReplyBuf,
    ) -> FrontEndOutcome;

    /// `host:port` of the replica that serves `slot`, as this client reaches it (its TLS port for a TLS client).
    /// `primary`: the slot is this shard's, and that node leads it. `None`: another shard's slot; its primary as far as
    /// the map says.
    fn address(&self, slot: Slot, primary: Option<NodeId>) -> Option<String>;
}

/// One command as a front end passes it on: looked up, complete, and permitted. Made by [`crate::Shard::call`].
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub(crate) spec: &'static CommandSpec,
    pub(crate) args: Args<'a>,
    pub(crate) at: Now,
    pub(crate) first: Option<Key<'a>>,
    pub(crate) durability_override: Option<DurabilityOverride>,
    pub(crate) reads: Option<ReadConfirmation>,
}

impl<'a> Call<'a> {
    /// With the first key as [`Engine::key`] gives it, if the front end has prefetched it. Of a command whose one key
    /// is its first argument ([`CommandSpec::key_is_first`]), nothing else is expected.
    #[must_use]
    pub fn with_first(mut self, key: Option<Key<'a>>) -> Call<'a> {
        self.first = key;
        self
    }

    /// With the command's own override, in the place of its connection's.
    #[must_use]
    pub fn with_durability_override(mut self, durability_override: Option<DurabilityOverride>) -> Call<'a> {
        self.durability_override = durability_override;
        self
    }

    /// The same for how a read is confirmed.
    #[must_use]
    pub fn with_reads(mut self, reads: Option<ReadConfirmation>) -> Call<'a> {
        self.reads = reads;
        self
    }
}

/// What a front end's command did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontEndOutcome {
    /// The reply shows nothing of the keyspace (or counts alone, as INFO).
    Reply,
    /// The reply shows keys: in `sync` it waits for everything staged.
    ShowsKeys,
    /// Close the connection after the reply.
    Close,
    /// Nothing was answered: the operation is under way. Run the same command again at this time. Only where
    /// [`ShardView::may_block`] says so.
    Again(BootNs),
}

/// The shard as a front end's command sees it.
pub struct ShardView<'a> {
    pub(crate) leader: Option<&'a Leader>,
    pub(crate) replica: &'a mut Replica,
    pub(crate) now: Now,
    pub(crate) handle: &'a GroupHandle,
    /// `false` inside of EXEC: nothing may block.
    pub(crate) may_block: bool,
}

impl ShardView<'_> {
    /// The data. On a primary it runs ahead of the log: a reply made of keys is [`FrontEndOutcome::ShowsKeys`].
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.replica.data.engine
    }

    /// The data, to set options (`maxmemory`). Data itself is changed by commands alone.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.replica.data.engine
    }

    /// Figures for INFO, CLUSTER and metrics.
    #[must_use]
    pub fn info(&self) -> ShardInfo {
        let clock = self.handle.check_wall(self.now.wall, self.now.boot);
        ShardInfo::of(self.leader, self.replica, self.now, clock, self.handle.stalls())
    }

    /// When the command's bytes were read, or later.
    #[must_use]
    pub fn boot_now(&self) -> BootNs {
        self.now.boot
    }

    /// Whether the command may wait (`false` inside of EXEC).
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.may_block
    }

    /// CLIENT PAUSE. Commands of clients that it applies to are answered [`crate::Outcome::Busy`].
    pub fn pause_clients(&mut self, span: Duration, kind: PauseKind) {
        self.replica.flow.client_pause.begin(self.now.boot, span, kind);
    }

    /// CLIENT UNPAUSE.
    pub fn unpause_clients(&mut self) {
        self.replica.flow.client_pause.end();
    }

    /// Which commands are paused, and for how long; `None`: none.
    #[must_use]
    pub fn client_pause(&self) -> Option<(PauseKind, Duration)> {
        self.replica.flow.client_pause.state(self.now.boot)
    }

    /// Drops the session's transaction and watched keys and leaves READONLY, as RESET does.
    pub fn reset(&mut self, session: &mut Session) {
        session.data.end(&mut self.replica.data.engine);
        session.data.readonly = false;
        session.no_touch = false;
        session.durability_override = DurabilityOverride::Default;
        session.reads = ReadConfirmation::Default;
    }
}
