//! Clients whose commands wait for keys (BLPOP and the like), in the order in which they are served.
//!
//! A waiting client is served by running its command again, like a new command of that client. This keeps one way for
//! every write: admission, access control, log, quorum and release of the reply are those of any command.
//!
//! Rules:
//! - **First come, first served.** There is a queue for each key and type. One client of a queue is served at a time,
//!   the earliest first; the next one follows when that command has run, or its connection is closed. So a push of many
//!   elements serves many clients, each in a task of its own, and the loop is never kept longer than by one command.
//! - **Nobody overtakes.** A new command that may wait does not take from a key at which others wait for the same type
//!   (`Blocking::is_behind`). Commands that never wait (LPOP) do not queue.
//! - **A change serves only when it cannot be undone.** In `sync` a queue is served when the batch that changed its key
//!   has committed; a change that is undone serves nobody. In `async` and `disabled` it is served when the change was
//!   executed, as replies are. What the served command then takes may include newer elements whose push has not
//!   committed, as with any pop; its reply waits for its own commit.
//! - **Only what arrives serves.** A change that gives nothing to those who wait (XACK, the delivery of an entry to a
//!   consumer) serves nobody: clients are served once for each state of what has arrived (`Engine::arrivals`).
//! - **No value lies beside a client that waits for it.** A command waits only if none of its keys has a value of its
//!   type, or if others wait for that value. Every later value is a change, and a change is followed by serving, or
//!   the tenure ends. A client that is served and finds nothing keeps its place.
//! - When the tenure ends, or the lease has lapsed for [`LAPSE_MAX`], every client's command runs again, and is
//!   answered like any command here: MOVED, or CLUSTERDOWN. Nothing was done for it.
//!
//! Costs: a wait and its end take O(log n) for each of the command's keys; a change of a key that nobody waits for
//! takes one look-up while anybody waits, and nothing otherwise.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use fastness_engine::{EffectBuf, Engine, TypeNumber};
use fastness_types::{BootNs, Seq};

use crate::key_waiter::{KeyWaiter, QueueKey, WaitEnd, WaitState};

/// How long a lease may have lapsed before clients are released. Most lapses are shorter.
const LAPSE_MAX: Duration = Duration::from_secs(1);
/// How often the lease is checked while clients wait.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Clients whose time is over that one turn of the loop wakes.
const ENDED_PER_TURN_MAX: usize = 256;

/// Clients that wait for a value of one type at one key.
#[derive(Debug, Default)]
struct KeyQueue {
    waiters: BTreeMap<u64, Rc<KeyWaiter>>,
    /// How many of them wait for any change.
    on_any_change: usize,
    /// The client that is being served.
    serving: Option<u64>,
    /// The key has changed while a client was being served: the earliest client is next.
    again: bool,
    /// What had arrived at the key when its clients were served the last time (`Engine::arrivals`).
    arrivals: Option<u64>,
    /// The newest batch that changed the key and was noted in [`KeyWaits::changed`].
    changed: Option<Seq>,
}

/// What a command waits for, with the names of its keys.
pub(crate) struct KeyRequest {
    pub(crate) of: TypeNumber,
    /// Hash and name of each key.
    pub(crate) keys: Vec<(u64, Rc<[u8]>)>,
    pub(crate) on_any_change: bool,
    pub(crate) deadline: Option<BootNs>,
    pub(crate) note: Box<[u8]>,
}

/// Numbers for INFO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyWaitCounts {
    /// Keys at which clients wait.
    pub keys: usize,
    /// Of these, keys at which clients wait for any change.
    pub keys_on_any_change: usize,
    /// Waiting clients that have a time-out.
    pub with_timeout: usize,
}

/// All clients that wait for keys; see the module.
#[derive(Debug, Default)]
pub(crate) struct KeyWaits {
    ids: u64,
    queues: BTreeMap<QueueKey, KeyQueue>,
    deadlines: BTreeMap<(BootNs, u64), Rc<KeyWaiter>>,
    /// Queues whose key was changed by a batch that has not committed, in the order of the changes. Only in `sync`.
    changed: VecDeque<(Seq, QueueKey)>,
    /// Since when the lease has lapsed.
    lapsed: Option<BootNs>,
    /// The first name in order.
    no_name: Rc<[u8]>,
}

impl KeyWaits {
    /// Whether no client waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    pub(crate) fn counts(&self) -> KeyWaitCounts {
        let (mut counts, mut last) = (KeyWaitCounts { with_timeout: self.deadlines.len(), ..Default::default() }, None);
        for (place, queue) in &self.queues {
            counts.keys += usize::from(last != Some(place.hash));
            last = Some(place.hash);
            counts.keys_on_any_change += usize::from(queue.on_any_change > 0);
        }
        counts
    }

    /// The types for which clients wait at a key, without those that only have to reply or are served for another key:
    /// nobody would serve the next one after them.
    pub(crate) fn types_at<'a>(&'a self, hash: u64, name: &'a [u8]) -> impl Iterator<Item = TypeNumber> + 'a {
        let first = QueueKey { hash, of: TypeNumber(0), name: self.no_name.clone() };
        let here = self.queues.range(first..).take_while(move |(place, _)| place.hash == hash);
        here.filter(move |(place, queue)| *place.name == *name && queue.is_awaited()).map(|(place, _)| place.of)
    }

    fn queues_of(&self, hash: u64) -> impl Iterator<Item = &QueueKey> {
        let first = QueueKey { hash, of: TypeNumber(0), name: self.no_name.clone() };
        self.queues.range(first..).map(|(place, _)| place).take_while(move |place| place.hash == hash)
    }

    /// Queues a client.
    pub(crate) fn start(&mut self, request: KeyRequest) -> Rc<KeyWaiter> {
        let KeyRequest { of, keys, on_any_change, deadline, note } = request;
        let mut places: Vec<QueueKey> = keys.into_iter().map(|(hash, name)| QueueKey { hash, of, name }).collect();
        places.sort();
        places.dedup();
        self.ids += 1;
        let waiter = Rc::new(KeyWaiter {
            id: self.ids,
            places,
            on_any_change,
            deadline,
            note,
            state: Cell::new(WaitState::Waiting),
            is_queued: Cell::new(true),
            waker: RefCell::new(None),
        });
        for place in &waiter.places {
            let queue = self.queues.entry(place.clone()).or_default();
            queue.waiters.insert(waiter.id, waiter.clone());
            queue.on_any_change += usize::from(waiter.on_any_change);
        }
        self.set_deadline(&waiter);
        waiter
    }

    fn set_deadline(&mut self, waiter: &Rc<KeyWaiter>) {
        if let Some(deadline) = waiter.deadline {
            self.deadlines.insert((deadline, waiter.id), waiter.clone());
        }
    }

    /// A client was served and has found nothing. It keeps its place.
    pub(crate) fn resume(&mut self, waiter: &Rc<KeyWaiter>, engine: &Engine) {
        waiter.state.set(WaitState::Waiting);
        self.set_deadline(waiter);
        waiter.places.iter().for_each(|place| self.pass_on(place, waiter.id, engine));
    }

    /// Removes a client whose command has replied, or whose connection is closed.
    pub(crate) fn remove(&mut self, waiter: &KeyWaiter, engine: &Engine) {
        if !waiter.is_queued.replace(false) {
            return;
        }
        if let Some(deadline) = waiter.deadline {
            self.deadlines.remove(&(deadline, waiter.id));
        }
        for place in &waiter.places {
            if let Some(queue) = self.queues.get_mut(place) {
                let removed = queue.waiters.remove(&waiter.id);
                queue.on_any_change -= usize::from(removed.is_some_and(|removed| removed.on_any_change));
                if queue.waiters.is_empty() {
                    self.queues.remove(place);
                }
            }
            self.pass_on(place, waiter.id, engine);
        }
        if self.queues.is_empty() {
            // Their tenure may end before they have committed, and nobody is left who would be released then.
            self.changed.clear();
            self.lapsed = None;
        }
    }

    /// Ends a wait. The command runs again and replies accordingly.
    pub(crate) fn end(&mut self, waiter: &KeyWaiter, end: WaitEnd) {
        if waiter.is_queued.get() && waiter.end().is_none() {
            waiter.wake(WaitState::Ended(end));
        }
    }

    /// Releases all clients, because this replica is not the primary any more.
    pub(crate) fn release_all(&mut self) {
        self.deadlines.clear();
        self.changed.clear();
        self.lapsed = None;
        for queue in std::mem::take(&mut self.queues).into_values() {
            for waiter in queue.waiters.into_values().filter(|waiter| waiter.is_queued.replace(false)) {
                if waiter.end().is_none() {
                    waiter.wake(WaitState::Released);
                }
            }
        }
    }

    /// The hashes of the keys that a unit has touched and at which clients wait.
    #[inline]
    pub(crate) fn touched(&self, effects: &EffectBuf) -> Vec<u64> {
        if self.is_empty() { Vec::new() } else { self.waited(effects) }
    }

    #[cold]
    fn waited(&self, effects: &EffectBuf) -> Vec<u64> {
        if effects.touches_all() {
            return self.queues.keys().map(|place| place.hash).collect();
        }
        effects.touched().iter().copied().filter(|hash| self.queues_of(*hash).next().is_some()).collect()
    }

    /// Serves the clients that wait at keys which were changed: now, or when the batch `after` has committed.
    pub(crate) fn change(&mut self, hashes: &[u64], after: Option<Seq>, engine: &Engine) {
        for hash in hashes {
            let places: Vec<QueueKey> = self.queues_of(*hash).cloned().collect();
            for place in places {
                match after {
                    Some(seq) => self.note_change(seq, place),
                    None => self.serve(&place, engine),
                }
            }
        }
    }

    fn note_change(&mut self, seq: Seq, place: QueueKey) {
        let Some(queue) = self.queues.get_mut(&place) else { return };
        if queue.changed.replace(seq) != Some(seq) {
            self.changed.push_back((seq, place));
        }
    }

    /// Serves the clients that wait at keys which were changed by a batch up to `seq`, which has committed.
    pub(crate) fn commit(&mut self, seq: Seq, engine: &Engine) {
        while self.changed.front().is_some_and(|(changed, _)| *changed <= seq)
            && let Some((_, place)) = self.changed.pop_front()
        {
            self.serve(&place, engine);
        }
    }

    /// Serves the earliest client of a queue, or after the one that is being served.
    fn serve(&mut self, place: &QueueKey, engine: &Engine) {
        let Some(queue) = self.queues.get_mut(place) else { return };
        let arrivals = engine.arrivals(&place.name);
        if arrivals.is_some() && arrivals == queue.arrivals {
            return;
        }
        queue.arrivals = arrivals;
        if queue.serving.is_some() {
            queue.again = true;
        } else {
            queue.serve_after(0, engine.type_of(&place.name) == Some(place.of));
        }
    }

    /// Serves the next client of a queue, if `id` was being served.
    fn pass_on(&mut self, place: &QueueKey, id: u64, engine: &Engine) {
        let Some(queue) = self.queues.get_mut(place).filter(|queue| queue.serving == Some(id)) else { return };
        let (again, has_value) = (std::mem::take(&mut queue.again), engine.type_of(&place.name) == Some(place.of));
        // Where a change may be for anyone, a pass reaches the last client before the next pass starts.
        let finishes = queue.on_any_change > 0;
        queue.serve_after(if again && !finishes { 0 } else { id }, has_value);
        if again && finishes {
            match queue.serving {
                Some(_) => queue.again = true,
                None => queue.serve_after(0, has_value),
            }
        }
    }

    /// Ends the waits whose time is over; returns when to check again. `may_act`: whether the lease holds. Must be
    /// called only on a primary.
    pub(crate) fn follow(&mut self, may_act: bool, now: BootNs) -> Option<Duration> {
        let since = *self.lapsed.get_or_insert(now);
        if may_act {
            self.lapsed = None;
        } else if now.since(since) >= LAPSE_MAX {
            self.release_all();
            return None;
        }
        for _ in 0..ENDED_PER_TURN_MAX {
            let Some(first) = self.deadlines.first_entry().filter(|first| first.key().0 <= now) else { break };
            let waiter = first.remove();
            // One that is being served finds out itself.
            if waiter.is_waiting() {
                waiter.wake(WaitState::Ended(WaitEnd::TimedOut));
            }
        }
        let due = self.deadlines.first_key_value().map(|((deadline, _), _)| deadline.since(now));
        Some(due.unwrap_or(CHECK_EVERY).min(CHECK_EVERY))
    }
}

impl KeyQueue {
    /// Whether a later change, or the end of the current service, serves the next client.
    fn is_awaited(&self) -> bool {
        self.serving.is_some() || self.waiters.values().any(|waiter| waiter.is_waiting())
    }

    /// Serves the first client that came after `after` and can be served. `has_value`: the key has a value of the type
    /// that they wait for.
    fn serve_after(&mut self, after: u64, has_value: bool) {
        if !has_value && self.on_any_change == 0 {
            self.serving = None;
            return;
        }
        let mut later = self.waiters.range(after + 1..).map(|(_, waiter)| waiter);
        let next = later.find(|waiter| waiter.is_waiting() && (has_value || waiter.on_any_change));
        self.serving = next.map(|waiter| waiter.id);
        if let Some(waiter) = next {
            waiter.wake(WaitState::Served);
        }
    }
}
