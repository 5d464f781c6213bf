//! The voter's side of the lease: what this node has promised to leaders.

use std::time::Duration;

use fastness_types::{BootNs, Epoch, Plant};

/// Questions to the Raft core that may be pending for one promise. At the bound the core does not answer, and further
/// promises are refused.
pub(super) const PENDING_MAX: usize = 64;

/// A pending question to the Raft core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// What one node has promised in one group.
#[derive(Debug)]
pub(crate) struct Promises {
    length: Duration,
    /// No vote before this time: a restarted node does not know what it had promised.
    silent_until: BootNs,
    promises: Vec<Promise>,
    /// Leaders up to this term have closed their lease.
    released_term: u64,
    next_ticket: u64,
}

#[derive(Debug)]
struct Promise {
    to: Epoch,
    /// The end that answers have reported to the leader.
    answered_until: BootNs,
    /// The ends that pending answers would report to the leader.
    pending: Vec<(Ticket, BootNs)>,
}

impl Promise {
    fn until(&self) -> BootNs {
        self.pending.iter().map(|(_, until)| *until).fold(self.answered_until, BootNs::max)
    }
}

impl Promises {
    /// `silent_until`: the end of the silence after a restart; `BootNs(0)` on a node that has never run.
    pub(crate) fn new(length: Duration, silent_until: BootNs) -> Promises {
        let silent_until = if Plant::VoteAfterRestart.is_on() { BootNs(0) } else { silent_until };
        Promises { length, silent_until, promises: Vec::new(), released_term: 0, next_ticket: 0 }
    }

    /// Binds this node to the leader of `epoch` from `now` on. The ticket accompanies the question to the Raft core.
    pub(crate) fn promise(&mut self, epoch: Epoch, now: BootNs) -> Option<Ticket> {
        if epoch.term <= self.released_term {
            return None;
        }
        self.promises.retain(|promise| promise.until() > now || !promise.pending.is_empty());
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let until = now.plus(self.length);
        match self.promises.iter_mut().find(|promise| promise.to == epoch) {
            Some(promise) if promise.pending.len() >= PENDING_MAX => return None,
            Some(promise) => promise.pending.push((ticket, until)),
            None => {
                let pending = vec![(ticket, until)];
                self.promises.push(Promise { to: epoch, answered_until: BootNs(0), pending });
            }
        }
        Some(ticket)
    }

    /// Records the answer of the Raft core. Returns whether the leader gets a yes.
    pub(crate) fn resolve(&mut self, epoch: Epoch, ticket: Ticket, holds_vote: bool) -> bool {
        let Some(promise) = self.promises.iter_mut().find(|promise| promise.to == epoch) else {
            return false;
        };
        let Some(at) = promise.pending.iter().position(|(pending, _)| *pending == ticket) else {
            return false;
        };
        let (_, until) = promise.pending.swap_remove(at);
        if holds_vote {
            promise.answered_until = promise.answered_until.max(until);
        }
        holds_vote
    }

    /// Frees this node from the leader of `epoch`, which has closed its lease. This node never binds itself to that
    /// epoch again.
    pub(crate) fn release(&mut self, epoch: Epoch) {
        self.released_term = self.released_term.max(epoch.term);
        self.promises.retain(|promise| promise.to != epoch);
    }

    /// Whether this node must neither grant nor send a vote or pre-vote for `candidate` at `now`.
    pub(crate) fn bars(&self, candidate: Epoch, now: BootNs) -> bool {
        let is_promised =
            |promise: &Promise| promise.to != candidate && promise.until() > now && !Plant::VoteInPromise.is_on();
        now < self.silent_until || self.promises.iter().any(is_promised)
    }

    /// Whether the silence after a restart still lasts.
    pub(crate) fn silent(&self, now: BootNs) -> bool {
        now < self.silent_until
    }
}
