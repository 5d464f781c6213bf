//! The interface of the front end that owns a connection, as the shard uses it.

use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_engine::command::CommandSpec;
use fastness_engine::{Engine, EvictionOptions, Key, RebuildError};
use fastness_resp::{Args, ReplyBuf};
use fastness_types::{BootNs, NodeId, Slot, WallMs};
use tokio::sync::Notify;

use crate::client_override::{DurabilityOverride, ReadConfirmation};
use crate::client_pause::PauseKind;
use crate::idempotency::IdempotencyKey;
use crate::info::ShardInfo;
use crate::leader::Leader;
use crate::now::Now;
use crate::role::Phase;
use crate::session::Session;
use crate::state::Replica;

/// One connection's front end: the commands that need more than the data, and the addresses that this client is
/// redirected to.
///
/// Called while the shard's state is borrowed: implementations use the given [`ShardView`] and never the `Shard`
/// itself.
pub trait FrontEnd {
    /// Runs a command of the front end. Inside of EXEC its outcome may not be [`FrontEndOutcome::Close`].
    fn run(
        &mut self,
        spec: &'static CommandSpec,
        args: Args<'_>,
        session: &mut Session,
        shard: &mut ShardView<'_>,
        out: &mut ReplyBuf,
    ) -> FrontEndOutcome;

    /// Whether the client may still run a command that it has queued: rights are checked again at EXEC, because they
    /// may have changed. If not, the error has been appended.
    fn permit_queued(&mut self, spec: &'static CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool;

    /// Whether the connection's user may run this command of a script. If not, the error has been appended.
    fn permit_in_script(&mut self, spec: &'static CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool {
        self.permit_queued(spec, args, out)
    }

    /// Whether the connection's user could run this command: for scripts that ask.
    fn may_run(&mut self, _spec: &'static CommandSpec, _args: Args<'_>) -> bool {
        true
    }

    /// A script or function starts, whose commands follow.
    fn script_starts(&mut self, _spec: &'static CommandSpec, _args: Args<'_>) {}

    /// A script has run a command.
    fn executed_in_script(&mut self, _executed: &ExecutedQueued<'_>) {}

    /// A script was undone: nothing of what its commands did counts.
    fn script_undone(&mut self) {}

    /// EXEC has run a command of its transaction.
    fn executed_queued(&mut self, _executed: &ExecutedQueued<'_>) {}

    /// The name of the connection's user, to which an idempotency key is bound.
    fn user(&self) -> Vec<u8>;

    /// `host:port` of the replica that serves `slot`, as this client reaches it (its TLS port for a TLS client).
    /// `primary`: the node that leads this shard, if the slot belongs to this shard. `None`: the slot belongs to
    /// another shard, whose primary is looked up in the map.
    fn address(&self, slot: Slot, primary: Option<NodeId>) -> Option<String>;
}

/// A command of a transaction that EXEC has run, or of a script.
#[derive(Clone, Copy)]
pub struct ExecutedQueued<'a> {
    /// What it was.
    pub spec: &'static CommandSpec,
    /// Its arguments.
    pub args: Args<'a>,
    /// From the end of the command before it (or the start of the transaction) to its own end.
    pub took: Duration,
    /// Bytes of its reply.
    pub reply_bytes: usize,
    /// The start of its reply, as far as that is in one piece.
    pub reply: &'a [u8],
}

/// A command that the front end passes to the shard: looked up, complete, and permitted by the ACL. Created by
/// [`crate::Shard::call`].
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub(crate) spec: &'static CommandSpec,
    pub(crate) args: Args<'a>,
    pub(crate) at: Now,
    pub(crate) first: Option<Key<'a>>,
    pub(crate) durability_override: Option<DurabilityOverride>,
    pub(crate) reads: Option<ReadConfirmation>,
    pub(crate) idempotency: Option<IdempotencyKey<'a>>,
    pub(crate) staleness_max: Option<Duration>,
    pub(crate) deadline: Option<BootNs>,
}

impl<'a> Call<'a> {
    /// Sets the first key as [`Engine::key`] returns it, if the front end has prefetched it. Only for commands whose
    /// single key is the first argument ([`CommandSpec::key_is_first`]).
    #[must_use]
    pub fn with_first(mut self, key: Option<Key<'a>>) -> Call<'a> {
        self.first = key;
        self
    }

    /// Sets an override for this command, which replaces that of its connection.
    #[must_use]
    pub fn with_durability_override(mut self, durability_override: Option<DurabilityOverride>) -> Call<'a> {
        self.durability_override = durability_override;
        self
    }

    /// Sets how this command is confirmed if it reads, which replaces the setting of its connection.
    #[must_use]
    pub fn with_reads(mut self, reads: Option<ReadConfirmation>) -> Call<'a> {
        self.reads = reads;
        self
    }

    /// Sets how old the data may be from which a replica answers this command; without effect on the primary.
    #[must_use]
    pub fn with_staleness_max(mut self, staleness_max: Option<Duration>) -> Call<'a> {
        self.staleness_max = staleness_max;
        self
    }

    /// Sets a time at which this command is refused instead of run, however long it has waited until then.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<BootNs>) -> Call<'a> {
        self.deadline = deadline;
        self
    }

    /// Sets the key by which this write is recognised when it is sent again, instead of the connection's next one.
    /// Without effect for a command that does not write.
    #[must_use]
    pub fn with_idempotency(mut self, key: Option<IdempotencyKey<'a>>) -> Call<'a> {
        self.idempotency = key;
        self
    }
}

/// The outcome of a command that the front end has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontEndOutcome {
    /// The reply shows nothing of the keyspace, or only counts, as INFO does.
    Reply,
    /// The reply shows keys: in `sync` it waits for everything staged.
    ShowsKeys,
    /// Close the connection after the reply.
    Close,
    /// No reply yet, because the operation is in progress. Run the same command again at this time. Only allowed if
    /// [`ShardView::may_block`] is true.
    Again(BootNs),
}

/// What has become of the request for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotRequest {
    /// It will be made as soon as possible.
    Accepted,
    /// One is in progress.
    InProgress,
    /// This replica stores no snapshots.
    NoStore,
}

/// The shard as a front end's command sees it.
pub struct ShardView<'a> {
    pub(crate) leader: Option<&'a Leader>,
    pub(crate) replica: &'a mut Replica,
    pub(crate) now: Now,
    pub(crate) handle: &'a GroupHandle,
    /// Wakes the loop.
    pub(crate) work: &'a Notify,
    /// `false` inside of EXEC: nothing may block.
    pub(crate) may_block: bool,
}

impl ShardView<'_> {
    /// The data. On a primary it contains uncommitted effects: a reply that shows keys must be
    /// [`FrontEndOutcome::ShowsKeys`].
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.replica.data.engine
    }

    /// The data, only to set options (`maxmemory`). The data itself is changed only by commands.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.replica.data.engine
    }

    /// Sets `maxmemory` and the options of eviction, which starts at once if memory is over the bound.
    pub fn set_memory_bound(&mut self, maxmemory: u64, eviction: EvictionOptions) {
        let engine = &mut self.replica.data.engine;
        engine.set_maxmemory(maxmemory);
        engine.set_eviction(eviction);
        if engine.eviction_excess() > 0 {
            self.work.notify_one();
        }
    }

    /// Figures for INFO, CLUSTER and metrics.
    #[must_use]
    pub fn info(&self) -> ShardInfo {
        let clock = self.handle.check_wall(self.now.wall, self.now.boot);
        ShardInfo::of(self.leader, self.replica, self.now, clock, self.handle.stalls())
    }

    /// Whether this shard has the slot.
    #[must_use]
    pub fn owns(&self, slot: Slot) -> bool {
        self.replica.data.owns(slot)
    }

    /// When the command's bytes were read, or later.
    #[must_use]
    pub fn boot_now(&self) -> BootNs {
        self.now.boot
    }

    /// The time that commands see.
    #[must_use]
    pub fn wall_now(&self) -> WallMs {
        self.now.wall
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

    /// DEBUG SET-ACTIVE-EXPIRE: whether this replica, while it is the primary, removes expired keys and fields that no
    /// command meets. Initially it does.
    pub fn set_active_expiry(&mut self, on: bool) {
        self.replica.expires_actively = on;
    }

    /// DEBUG SET-DISABLE-DENY-SCRIPTS: whether scripts on this replica may run DEBUG. Initially they may not.
    pub fn set_debug_in_scripts(&mut self, on: bool) {
        self.replica.scripts.allows_debug = on;
    }

    /// Whether the data is served: `false` while it is restored from snapshot and log.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.replica.phase == Phase::Serving
    }

    /// BGSAVE: requests a snapshot of this replica as soon as possible. [`crate::SnapshotInfo`] reports the progress.
    pub fn request_snapshot(&mut self) -> SnapshotRequest {
        let snapshots = &mut self.replica.snapshots;
        if !snapshots.have_store() {
            return SnapshotRequest::NoStore;
        }
        if snapshots.is_in_progress() {
            return SnapshotRequest::InProgress;
        }
        snapshots.want();
        self.work.notify_one();
        SnapshotRequest::Accepted
    }

    /// Whether a snapshot of this replica is in progress or requested.
    #[must_use]
    pub fn has_snapshot_to_make(&self) -> bool {
        self.replica.snapshots.is_in_progress() || self.replica.snapshots.is_wanted()
    }

    /// DEBUG RELOAD: replaces the data by what an image of it restores. The log is not concerned, because the data is
    /// the same.
    ///
    /// # Errors
    /// [`RebuildError`]; the data is unchanged. After [`RebuildError::Busy`] it may succeed later.
    pub fn rebuild_data(&mut self) -> Result<(), RebuildError> {
        self.replica.data.engine.rebuild()
    }

    /// Drops the session's transaction and watched keys and leaves READONLY, as RESET does.
    pub fn reset(&mut self, session: &mut Session) {
        session.data.end(&mut self.replica.data.engine);
        session.data.readonly = false;
        session.no_touch = false;
        session.durability_override = DurabilityOverride::Default;
        session.reads = ReadConfirmation::Default;
        session.idempotency = None;
    }
}
