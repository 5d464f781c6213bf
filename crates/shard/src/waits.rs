//! Clients that are blocked in WAIT or WAITAOF, in the order in which their answers may change.
//!
//! A client is checked only when its answer may have changed: when its write commits; from then on, in the order of log
//! positions, when a replica acknowledges entries; when the replica loses its role; and when the client's time-out
//! expires. The shard loop does this with one subscription to acknowledgements and one timer for all clients, so a
//! thousand blocked clients cost no more than one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastness_types::{BootNs, Clock, LogIndex, Seq};

use crate::leader::Leader;
use crate::options::StableCopies;
use crate::outcome::{Tenure, WaitAnswer, WaitRequest};
use crate::tenures::Tenures;

/// How often clients are checked that have written nothing and wait until enough replicas answer. No event wakes the
/// loop for them.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// Upper bound on the copies of a shard. Requests for more copies share one queue.
const COPIES_MAX: u64 = 64;

/// The position of a connection's last write.
enum Target {
    /// Committed at this index; 0: the connection has written nothing.
    At(LogIndex),
    /// Staged, and not committed yet.
    NotCommitted(Tenure, Seq),
    /// Undone, or the tenure is no longer remembered.
    Lost,
}

/// The state from which answers are computed.
#[derive(Clone, Copy)]
pub(crate) struct Acknowledged<'a> {
    pub(crate) leader: Option<&'a Leader>,
    pub(crate) tenures: &'a Tenures,
    pub(crate) copies: &'a dyn StableCopies,
}

impl Acknowledged<'_> {
    fn target(self, request: &WaitRequest) -> Target {
        let Some(written) = request.written else { return Target::At(LogIndex(0)) };
        match self.leader {
            Some(leader) if leader.tenure == written.tenure && written.seq <= leader.committed => {
                Target::At(leader.index_of(written.seq))
            }
            Some(leader) if leader.tenure == written.tenure => Target::NotCommitted(written.tenure, written.seq),
            _ => self.tenures.committed_by(written.tenure, written.seq).map_or(Target::Lost, Target::At),
        }
    }

    /// The answer at this moment, which is also what a WAIT inside of EXEC returns.
    pub(crate) fn answer(self, request: &WaitRequest) -> WaitAnswer {
        let (local, replicas) = match self.target(request) {
            Target::At(index) => (u64::from(self.copies.local(index)), self.copies.replicas(index)),
            Target::NotCommitted(..) | Target::Lost => (0, 0),
        };
        match request.local {
            Some(_) => WaitAnswer::LocalAndReplicas(local, replicas),
            None => WaitAnswer::Replicas(replicas),
        }
    }
}

fn is_enough(request: &WaitRequest, answer: WaitAnswer) -> bool {
    match answer {
        WaitAnswer::Replicas(replicas) => replicas >= request.replicas,
        WaitAnswer::LocalAndReplicas(local, replicas) => {
            local >= request.local.unwrap_or(0) && replicas >= request.replicas
        }
        WaitAnswer::Unblocked | WaitAnswer::UnblockedWithError => true,
    }
}

/// What a client requires: copies on this node's disk, and on other replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    local: u64,
    replicas: u64,
}

impl Need {
    fn of(request: &WaitRequest) -> Need {
        Need { local: request.local.unwrap_or(0), replicas: request.replicas.min(COPIES_MAX) }
    }
}

/// The queue that a client is in.
#[derive(Debug, Clone, Copy)]
enum Place {
    Staged(Tenure, Seq),
    At(Need, LogIndex),
}

/// A blocked client.
pub(crate) struct Waiting {
    id: u64,
    request: WaitRequest,
    deadline: Option<BootNs>,
    place: Cell<Place>,
    answer: Cell<Option<WaitAnswer>>,
    waker: RefCell<Option<Waker>>,
}

impl Waiting {
    /// Ready with the answer once the wait has ended.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<WaitAnswer> {
        if let Some(answer) = self.answer.get() {
            return Poll::Ready(answer);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether the client is still blocked.
    pub(crate) fn is_open(&self) -> bool {
        self.answer.get().is_none()
    }

    fn end(&self, answer: WaitAnswer) {
        self.answer.set(Some(answer));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// All blocked clients; see the module. Each is either in `staged` or in `placed`, and also in `deadlines` if it has a
/// time-out.
#[derive(Default)]
pub(crate) struct Waits {
    ids: u64,
    /// Clients whose write has not committed, by batch.
    staged: BTreeMap<(Tenure, Seq, u64), Rc<Waiting>>,
    /// Clients whose write has committed, by its log position; 0 if they have written nothing.
    placed: BTreeMap<Need, BTreeMap<(LogIndex, u64), Rc<Waiting>>>,
    deadlines: BTreeMap<(BootNs, u64), Rc<Waiting>>,
}

impl Waits {
    /// Whether no client is blocked.
    pub(crate) fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.placed.is_empty()
    }

    /// Whether an acknowledgement of a replica may end a wait.
    pub(crate) fn follow_copies(&self) -> bool {
        !self.placed.is_empty()
    }

    fn insert(&mut self, waiting: Rc<Waiting>) {
        if let Some(deadline) = waiting.deadline {
            self.deadlines.insert((deadline, waiting.id), waiting.clone());
        }
        match waiting.place.get() {
            Place::Staged(tenure, seq) => drop(self.staged.insert((tenure, seq, waiting.id), waiting)),
            Place::At(need, index) => {
                drop(self.placed.entry(need).or_default().insert((index, waiting.id), waiting));
            }
        }
    }

    /// Removes a client whose wait has ended.
    pub(crate) fn remove(&mut self, waiting: &Waiting) {
        match waiting.place.get() {
            Place::Staged(tenure, seq) => drop(self.staged.remove(&(tenure, seq, waiting.id))),
            Place::At(need, index) => {
                if let Some(at) = self.placed.get_mut(&need) {
                    at.remove(&(index, waiting.id));
                    if at.is_empty() {
                        self.placed.remove(&need);
                    }
                }
            }
        }
        if let Some(deadline) = waiting.deadline {
            self.deadlines.remove(&(deadline, waiting.id));
        }
    }

    /// Ends all waits, because the replica has lost its role.
    pub(crate) fn end_all(&mut self) {
        self.deadlines.clear();
        let staged = std::mem::take(&mut self.staged).into_values();
        let placed = std::mem::take(&mut self.placed).into_values().flat_map(BTreeMap::into_values);
        staged.chain(placed).for_each(|waiting| waiting.end(WaitAnswer::Unblocked));
    }

    /// Answers the clients whose wait has ended; returns when to check again. Must be called only on a primary.
    pub(crate) fn follow(&mut self, acknowledged: Acknowledged<'_>, now: BootNs) -> Option<Duration> {
        while let Some(first) = self.first_staged() {
            match acknowledged.target(&first.request) {
                Target::NotCommitted(..) => break,
                Target::Lost => self.end(&first, WaitAnswer::Unblocked),
                Target::At(index) => {
                    self.remove(&first);
                    first.place.set(Place::At(Need::of(&first.request), index));
                    self.insert(first);
                }
            }
        }
        let needs: Vec<Need> = self.placed.keys().copied().collect();
        for need in needs {
            while let Some(first) = self.first_placed(need) {
                let answer = acknowledged.answer(&first.request);
                if !is_enough(&first.request, answer) {
                    break;
                }
                self.end(&first, answer);
            }
        }
        while let Some(due) = self.first_due(now) {
            let answer = acknowledged.answer(&due.request);
            self.end(&due, answer);
        }
        let due = self.deadlines.first_key_value().map(|((deadline, _), _)| deadline.since(now));
        let mut firsts = self.placed.values().filter_map(BTreeMap::first_key_value);
        let is_silent = firsts.any(|((index, _), _)| *index == LogIndex(0));
        due.into_iter().chain(is_silent.then_some(CHECK_EVERY)).min()
    }

    fn end(&mut self, waiting: &Waiting, answer: WaitAnswer) {
        self.remove(waiting);
        waiting.end(answer);
    }

    /// Blocks a client, unless it can be answered at once. Must be called only on a primary.
    pub(crate) fn start(
        &mut self,
        acknowledged: Acknowledged<'_>,
        request: WaitRequest,
        clock: &dyn Clock,
    ) -> Result<Rc<Waiting>, WaitAnswer> {
        let answer = acknowledged.answer(&request);
        if is_enough(&request, answer) || request.timeout == Some(Duration::ZERO) {
            return Err(answer);
        }
        let place = match acknowledged.target(&request) {
            Target::Lost => return Err(WaitAnswer::Unblocked),
            Target::NotCommitted(tenure, seq) => Place::Staged(tenure, seq),
            Target::At(index) => Place::At(Need::of(&request), index),
        };
        self.ids += 1;
        let waiting = Rc::new(Waiting {
            id: self.ids,
            request,
            deadline: request.timeout.map(|timeout| clock.boot().plus(timeout)),
            place: Cell::new(place),
            answer: Cell::new(None),
            waker: RefCell::new(None),
        });
        self.insert(waiting.clone());
        Ok(waiting)
    }

    /// The client that waits for the earliest batch.
    fn first_staged(&self) -> Option<Rc<Waiting>> {
        self.staged.first_key_value().map(|(_, waiting)| waiting.clone())
    }

    /// The client with this need that waits for the earliest position.
    fn first_placed(&self, need: Need) -> Option<Rc<Waiting>> {
        self.placed.get(&need)?.first_key_value().map(|(_, waiting)| waiting.clone())
    }

    fn first_due(&self, now: BootNs) -> Option<Rc<Waiting>> {
        let ((deadline, _), waiting) = self.deadlines.first_key_value()?;
        (*deadline <= now).then(|| waiting.clone())
    }
}
