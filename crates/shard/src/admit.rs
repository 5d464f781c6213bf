//! Decides whether a command may run here and now. The checks come in Valkey's order: slot, role, then the shard's own.
//!
//! - A primary serves only under its lease: the deadline of the lease is compared with a clock reading that was taken
//!   **after** the bytes of the command were read.
//! - A replica serves only reads of connections in READONLY mode, and only from memory without uncommitted effects. A
//!   former primary with uncommitted effects serves nothing.
//! - A primary whose wall clock differs too much from those of the other nodes serves neither reads nor writes, because
//!   expirations and timestamps that it stages could not be reverted. It is about to hand over.
//! - In `async` all writes of the shard are refused while the durability lag is at its bound (`lag.rs`). This includes
//!   writes whose clients would wait for the commit: the gate protects the shard, and they would only add to the queue.
//! - While the lease has lapsed and no other primary is known, commands wait, reads and writes alike and in every mode,
//!   because most lapses are shorter than the time-outs of clients. Nothing is staged before or while a command waits,
//!   and every check is repeated afterwards: clocks, ACL, slot, role, gate.
//! - Everything that is refused here is refused before anything is staged.

use fastness_types::{BootNs, Plant, Slot};

use crate::client_override::{DurabilityOverride, ReadConfirmation};
use crate::front_end::FrontEnd;
use crate::leader::Leader;
use crate::now::Now;
use crate::refusal::Refusal;
use crate::role::{Phase, SeenRole};
use crate::session::SlotsSeen;
use crate::state::{Primary, Replica, State};

/// The properties of a command or transaction on which admission depends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) slots: SlotsSeen,
    pub(crate) writes: bool,
    /// It reads or changes the whole keyspace.
    pub(crate) whole: bool,
    /// After READONLY.
    pub(crate) readonly: bool,
    /// The name of one of its keys is longer than names may be.
    pub(crate) has_long_key: bool,
    /// Whether the lag gate was closed for commands that arrived in the same pipeline, if that was recorded.
    pub(crate) kept_gate: Option<bool>,
    /// Whether its reply waits for the commit whatever the mode.
    pub(crate) durability_override: DurabilityOverride,
    /// How it is confirmed, if it reads.
    pub(crate) reads: ReadConfirmation,
}

impl Request {
    /// Whether it touches data at all.
    #[inline]
    fn is_free(&self) -> bool {
        self.slots == SlotsSeen::None && !self.whole
    }
}

/// The role in which a replica runs a command.
pub(crate) enum Admitted<'a> {
    /// Any role, because the command touches no data.
    Free,
    /// The primary, under its lease.
    Primary(Primary<'a>),
    /// A replica, from committed memory, without changing anything.
    Replica,
}

/// Why a command does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    Refused(Refusal),
    /// Not now: run it again after [`crate::Shard::unblocked`].
    Busy,
    /// No primary is known, which may pass: run it again after [`crate::Shard::primary_found`], or refuse it with
    /// [`Refusal::ClusterDown`].
    NoPrimary,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Denied {
        Denied::Refused(refusal)
    }
}

impl State {
    /// Decides in which role the command runs; an error says why it does not run. See the module.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        request: Request,
        now: Now,
        front_end: &dyn FrontEnd,
    ) -> Result<Admitted<'_>, Denied> {
        if request.is_free() {
            return Ok(Admitted::Free);
        }
        if request.has_long_key {
            return Err(Refusal::KeyTooLong.into());
        }
        let replica = &self.replica;
        if request.durability_override == DurabilityOverride::Sync && !replica.settings.mode.in_force().is_durable() {
            return Err(Refusal::NotDurable.into());
        }
        let slot = match request.slots {
            SlotsSeen::None => None,
            SlotsSeen::One(slot) if replica.data.owns(slot) => Some(slot),
            SlotsSeen::One(slot) => return Err(elsewhere(slot, front_end).into()),
            SlotsSeen::Several => return Err(Refusal::CrossSlot.into()),
        };
        let State { leader, replica } = self;
        let acts = leader.as_ref().is_some_and(|leader| leader.may_act(now.boot));
        if acts
            && replica.phase == Phase::Serving
            && let Some(leader) = leader
        {
            let primary = Primary { leader, replica };
            primary.admit(request, now)?;
            return Ok(Admitted::Primary(primary));
        }
        replica.admit(leader.as_ref(), request, slot, now, front_end)?;
        Ok(Admitted::Replica)
    }

    /// See [`Replica::lacks_primary`].
    pub(crate) fn lacks_primary(&self, now: BootNs) -> bool {
        self.replica.lacks_primary(self.leader.as_ref(), now)
    }
}

impl Primary<'_> {
    #[inline]
    fn admit(&self, request: Request, now: Now) -> Result<(), Denied> {
        let flow = &self.replica.flow;
        if flow.is_draining() {
            return Err(if flow.is_holding(now.boot) { Denied::Busy } else { Refusal::ClusterDown.into() });
        }
        if !now.trusted {
            return Err(Refusal::ClusterDown.into());
        }
        if request.writes {
            if self.is_closed_to(request) {
                return Err(Refusal::Lagging.into());
            }
            if self.is_pressed() {
                return Err(Denied::Busy);
            }
        }
        Ok(())
    }

    /// Whether the lag gate refuses a write. One that arrived together with others meets the same answer as these did,
    /// but an open gate only up to the byte bound.
    #[inline]
    fn is_closed_to(&self, request: Request) -> bool {
        let is_closed = self.replica.flow.gate.is_closed();
        match request.kept_gate {
            None => is_closed,
            Some(was_closed) => was_closed || (is_closed && self.is_full()),
        }
    }
}

impl Replica {
    /// Whether a read may run from committed memory, where this replica is not the primary or may not act.
    #[cold]
    fn admit(
        &self,
        leader: Option<&Leader>,
        request: Request,
        slot: Option<Slot>,
        now: Now,
        front_end: &dyn FrontEnd,
    ) -> Result<(), Denied> {
        let primary = match &self.role {
            SeenRole::Follower { leader } => *leader,
            SeenRole::Leader { .. } | SeenRole::Stopped { .. } => None,
        };
        let is_replica = self.role.is_follower();
        // Without keys there is no slot to redirect with: a replica answers by itself, as in Valkey.
        // A quorum can only confirm a primary.
        let own_answer =
            request.reads == ReadConfirmation::Default && (request.readonly || (slot.is_none() && is_replica));
        if own_answer && !request.writes {
            return match self.admit_committed_read(leader) {
                Err(Refusal::ClusterDown) if self.lacks_primary(leader, now.boot) => Err(Denied::NoPrimary),
                admitted => Ok(admitted?),
            };
        }
        if let (Some(primary), Some(slot)) = (primary, slot)
            && let Some(address) = front_end.address(slot, Some(primary))
        {
            return Err(Refusal::Moved { slot, address }.into());
        }
        if slot.is_none() && request.writes && is_replica {
            return Err(Refusal::ReadOnly.into());
        }
        // The lease of a primary that hands over is closed before the next one is known.
        if self.flow.is_holding(now.boot) {
            return Err(Denied::Busy);
        }
        if self.lacks_primary(leader, now.boot) {
            return Err(Denied::NoPrimary);
        }
        Err(if self.phase == Phase::Restoring { Refusal::Loading } else { Refusal::ClusterDown }.into())
    }

    /// Whether no replica is known to serve the commands of the shard's primary, and this one may become the primary or
    /// learn of another.
    fn lacks_primary(&self, leader: Option<&Leader>, now: BootNs) -> bool {
        let acts = leader.is_some_and(|leader| leader.may_act(now));
        let may_pass = matches!(self.role, SeenRole::Leader { .. } | SeenRole::Follower { leader: None });
        self.phase == Phase::Serving && !acts && may_pass
    }

    /// Reads of committed memory: nothing that may be undone is shown.
    fn admit_committed_read(&self, leader: Option<&Leader>) -> Result<(), Refusal> {
        let is_clean = leader.is_none_or(|leader| leader.stage.is_clean());
        match self.phase {
            Phase::Restoring => Err(Refusal::Loading),
            Phase::Stopped(_) => Err(Refusal::ClusterDown),
            Phase::Serving if !self.served.is_open() => Err(Refusal::Loading),
            Phase::Serving if is_clean || Plant::DirtyReplica.is_on() => Ok(()),
            Phase::Serving => Err(Refusal::ClusterDown),
        }
    }
}

fn elsewhere(slot: Slot, front_end: &dyn FrontEnd) -> Refusal {
    match front_end.address(slot, None) {
        Some(address) => Refusal::Moved { slot, address },
        None => Refusal::SlotNotServed,
    }
}
