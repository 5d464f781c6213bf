//! WAIT and WAITAOF: how many copies of a connection's writes are on stable storage.
//!
//! Counted are replicas that hold the last write's log entry on stable storage, as the group's leader knows it. The
//! entry's index is known once it has committed; until then nothing is counted, so an answer is never too high.
//!
//! Asking closes the open batch at the end of the turn: who waits for a copy does not wait for company.
//!
//! Whoever waits stands in an index of the shard's ([`Waits`]) and is looked at when the answer may be another one:
//! those whose write has not committed when it does, the others in the order of their positions when a replica has
//! acknowledged something, all of them when the role is lost or their time is over. The loop does that, with one
//! subscription to acknowledgements and one timer for all: a thousand clients that wait cost as much as one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastness_engine::command::SessionCommand;
use fastness_resp::Args;
use fastness_types::{BootNs, LogIndex, Seq};

use crate::outcome::{Tenure, WaitAnswer, WaitRequest};
use crate::session::Session;
use crate::shard::Inner;
use crate::state::{Phase, SeenRole, State};

/// How often those are looked at who have written nothing and wait for replicas to answer: nobody tells of that.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// More copies than this nobody has: requests for more are kept together.
const COPIES_MAX: u64 = 64;

/// Checks the arguments of WAIT or WAITAOF; on refusal gives Valkey's text.
pub(crate) fn parse(
    command: SessionCommand,
    args: Args<'_>,
    session: &Session,
    state: &State,
) -> Result<WaitRequest, String> {
    let is_aof = command == SessionCommand::Waitaof;
    let (local, replicas_at) = if is_aof { (Some(local_copies(args.get(1))?), 2) } else { (None, 1) };
    let replicas = number(args.get(replicas_at)).ok_or("ERR value is not an integer or out of range")?;
    if is_aof && replicas < 0 {
        return Err("ERR value is out of range, must be positive".into());
    }
    let timeout = number(args.get(replicas_at + 1)).ok_or("ERR timeout is not an integer or out of range")?;
    let timeout = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
    if matches!(state.role, SeenRole::Follower { .. }) {
        return Err(replica_text(is_aof));
    }
    Ok(WaitRequest {
        written: session.written,
        local,
        replicas: u64::try_from(replicas).unwrap_or(0),
        timeout: (timeout > 0).then(|| Duration::from_millis(timeout)),
    })
}

/// Valkey's texts, which differ.
fn replica_text(is_aof: bool) -> String {
    if is_aof {
        "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and \
         are not propagated."
            .into()
    } else {
        "ERR WAIT cannot be used with replica instances. Please also note that if a replica is configured to be \
         writable (which is not the default) writes to replicas are just local and are not propagated."
            .into()
    }
}

fn local_copies(arg: &[u8]) -> Result<u64, String> {
    match number(arg) {
        Some(count @ 0..=1) => Ok(count as u64),
        _ => Err("ERR value is out of range, value must between 0 and 1".into()),
    }
}

fn number(arg: &[u8]) -> Option<i64> {
    std::str::from_utf8(arg).ok()?.parse().ok()
}

/// Where a connection's last write is.
enum Target {
    /// In the log at this index; 0: there is no write.
    At(LogIndex),
    /// Staged.
    NotCommitted(Tenure, Seq),
    /// Undone, or nobody knows any more.
    Lost,
}

impl State {
    fn wait_target(&self, request: &WaitRequest) -> Target {
        let Some(written) = request.written else { return Target::At(LogIndex(0)) };
        match &self.leader {
            Some(leader) if leader.tenure == written.tenure && written.seq <= leader.committed => {
                Target::At(leader.index_of(written.seq))
            }
            Some(leader) if leader.tenure == written.tenure => Target::NotCommitted(written.tenure, written.seq),
            _ => self.ended.committed_by(written.tenure, written.seq).map_or(Target::Lost, Target::At),
        }
    }

    fn has_lost_its_role(&self) -> bool {
        !matches!(self.role, SeenRole::Leader { .. }) || matches!(self.phase, Phase::Stopped(_))
    }
}

/// The answer as it is now, as inside of EXEC.
pub(crate) fn now(inner: &Inner, state: &State, request: &WaitRequest) -> WaitAnswer {
    let (local, replicas) = match state.wait_target(request) {
        Target::At(index) => (u64::from(inner.copies.local(index)), inner.copies.replicas(index)),
        Target::NotCommitted(..) | Target::Lost => (0, 0),
    };
    match request.local {
        Some(_) => WaitAnswer::LocalAndReplicas(local, replicas),
        None => WaitAnswer::Replicas(replicas),
    }
}

fn is_enough(request: &WaitRequest, answer: WaitAnswer) -> bool {
    match answer {
        WaitAnswer::Replicas(replicas) => replicas >= request.replicas,
        WaitAnswer::LocalAndReplicas(local, replicas) => {
            local >= request.local.unwrap_or(0) && replicas >= request.replicas
        }
        WaitAnswer::Unblocked | WaitAnswer::AskedToEnd => true,
    }
}

/// What is asked of the replicas' positions, and of the own disk's.
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

/// In which index somebody stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    Staged(Tenure, Seq),
    At(Need, LogIndex),
}

/// Somebody who waits.
struct Waiting {
    id: u64,
    request: WaitRequest,
    deadline: Option<BootNs>,
    place: Cell<Place>,
    answer: Cell<Option<WaitAnswer>>,
    waker: RefCell<Option<Waker>>,
}

impl Waiting {
    fn end(&self, answer: WaitAnswer) {
        self.answer.set(Some(answer));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// All who wait; see the module. Each stands in `staged` or in `placed`, and in `deadlines` if it has one.
#[derive(Default)]
pub(crate) struct Waits {
    ids: u64,
    /// By batch: their writes have not committed.
    staged: BTreeMap<(Tenure, Seq, u64), Rc<Waiting>>,
    /// By position: that of their writes, or 0.
    placed: BTreeMap<Need, BTreeMap<(LogIndex, u64), Rc<Waiting>>>,
    deadlines: BTreeMap<(BootNs, u64), Rc<Waiting>>,
}

impl Waits {
    fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.placed.is_empty()
    }

    /// Whether acknowledgements may end a wait.
    pub(crate) fn follow_copies(&self) -> bool {
        !self.placed.is_empty()
    }

    fn begin(&mut self, waiting: Rc<Waiting>) {
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

    fn remove(&mut self, waiting: &Waiting) {
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

    /// Nobody waits any more.
    pub(crate) fn end_all(&mut self) {
        self.deadlines.clear();
        let staged = std::mem::take(&mut self.staged).into_values();
        let placed = std::mem::take(&mut self.placed).into_values().flat_map(BTreeMap::into_values);
        staged.chain(placed).for_each(|waiting| waiting.end(WaitAnswer::Unblocked));
    }

    /// The one who waits for the earliest batch.
    fn first_staged(&self) -> Option<Rc<Waiting>> {
        self.staged.first_key_value().map(|(_, waiting)| waiting.clone())
    }

    /// Of each need the one who waits for the earliest position.
    fn first_placed(&self, need: Need) -> Option<Rc<Waiting>> {
        self.placed.get(&need)?.first_key_value().map(|(_, waiting)| waiting.clone())
    }

    fn first_due(&self, now: BootNs) -> Option<Rc<Waiting>> {
        let ((deadline, _), waiting) = self.deadlines.first_key_value()?;
        (*deadline <= now).then(|| waiting.clone())
    }
}

impl State {
    /// Answers those who need not wait any longer; gives when to look again.
    pub(crate) fn look_at_waits(&mut self, inner: &Inner, at: BootNs) -> Option<Duration> {
        if self.waits.is_empty() {
            return None;
        }
        if self.has_lost_its_role() {
            self.waits.end_all();
            return None;
        }
        while let Some(first) = self.waits.first_staged() {
            match self.wait_target(&first.request) {
                Target::NotCommitted(..) => break,
                Target::Lost => self.end_wait(&first, WaitAnswer::Unblocked),
                Target::At(index) => {
                    self.waits.remove(&first);
                    first.place.set(Place::At(Need::of(&first.request), index));
                    self.waits.begin(first);
                }
            }
        }
        let needs: Vec<Need> = self.waits.placed.keys().copied().collect();
        for need in needs {
            while let Some(first) = self.waits.first_placed(need) {
                let answer = now(inner, self, &first.request);
                if !is_enough(&first.request, answer) {
                    break;
                }
                self.end_wait(&first, answer);
            }
        }
        while let Some(due) = self.waits.first_due(at) {
            let answer = now(inner, self, &due.request);
            self.end_wait(&due, answer);
        }
        let due = self.waits.deadlines.first_key_value().map(|((deadline, _), _)| deadline.since(at));
        let is_silent = self
            .waits
            .placed
            .values()
            .any(|placed| placed.first_key_value().is_some_and(|((index, _), _)| *index == LogIndex(0)));
        due.into_iter().chain(is_silent.then_some(LOOK_EVERY)).min()
    }

    fn end_wait(&mut self, waiting: &Waiting, answer: WaitAnswer) {
        self.waits.remove(waiting);
        waiting.end(answer);
    }

    /// Somebody begins to wait, unless there is an answer at once.
    fn begin_wait(&mut self, inner: &Inner, request: WaitRequest) -> Result<Rc<Waiting>, WaitAnswer> {
        if self.has_lost_its_role() {
            return Err(WaitAnswer::Unblocked);
        }
        let answer = now(inner, self, &request);
        if is_enough(&request, answer) || request.timeout == Some(Duration::ZERO) {
            return Err(answer);
        }
        let place = match self.wait_target(&request) {
            Target::Lost => return Err(WaitAnswer::Unblocked),
            Target::NotCommitted(tenure, seq) => Place::Staged(tenure, seq),
            Target::At(index) => Place::At(Need::of(&request), index),
        };
        self.waits.ids += 1;
        let waiting = Rc::new(Waiting {
            id: self.waits.ids,
            request,
            deadline: request.timeout.map(|timeout| inner.clock.boot().plus(timeout)),
            place: Cell::new(place),
            answer: Cell::new(None),
            waker: RefCell::new(None),
        });
        self.waits.begin(waiting.clone());
        Ok(waiting)
    }
}

/// Waits until enough copies are there, or for the time-out.
pub(crate) async fn wait(inner: &Rc<Inner>, request: WaitRequest) -> WaitAnswer {
    let begun = inner.state.borrow_mut().begin_wait(inner, request);
    match begun {
        Ok(waiting) => {
            // The loop sets its timer, and follows the acknowledgements.
            inner.work.notify_one();
            Answer { inner: inner.clone(), waiting }.await
        }
        Err(answer) => answer,
    }
}

/// Resolves with the answer. Whoever drops it waits no longer.
struct Answer {
    inner: Rc<Inner>,
    waiting: Rc<Waiting>,
}

impl Future for Answer {
    type Output = WaitAnswer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WaitAnswer> {
        if let Some(answer) = self.waiting.answer.get() {
            return Poll::Ready(answer);
        }
        let mut waker = self.waiting.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.waiting.answer.get().is_none() {
            self.inner.state.borrow_mut().waits.remove(&self.waiting);
        }
    }
}
