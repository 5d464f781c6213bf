//! One client whose command waits for keys.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use fastness_engine::{Blocking, Key, KeyWait, TypeNumber};
use fastness_types::BootNs;

/// Approximate memory of one place in a queue, besides the key's name, in bytes.
const PLACE_BYTES: usize = 128;

/// The key of a queue: clients that wait for a value of one type at one key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    /// The engine's hash of the name. Effects report this hash.
    pub(crate) hash: u64,
    pub(crate) of: TypeNumber,
    pub(crate) name: Rc<[u8]>,
}

/// How a wait ends without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitEnd {
    /// Its time is over, or CLIENT UNBLOCK requested this: the reply is null.
    TimedOut,
    /// CLIENT UNBLOCK requested an error.
    UnblockedWithError,
}

/// The state of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitState {
    Waiting,
    /// The command runs again, because one of its keys may have what it waits for.
    Served,
    /// The command runs again, and replies this.
    Ended(WaitEnd),
    /// The command runs again as a new one, because this replica is not the primary any more.
    Released,
}

/// A client whose command waits for keys. It is in the queue of each of its keys until the command has replied, or the
/// connection is closed.
#[derive(Debug)]
pub struct KeyWaiter {
    /// Its place in all queues: clients that came earlier have lower numbers.
    pub(crate) id: u64,
    pub(crate) places: Vec<QueueKey>,
    pub(crate) on_any_change: bool,
    pub(crate) deadline: Option<BootNs>,
    /// What the command's first run has noted.
    pub(crate) note: Box<[u8]>,
    pub(crate) state: Cell<WaitState>,
    /// Whether it is in the queues.
    pub(crate) is_queued: Cell<bool>,
    pub(crate) waker: RefCell<Option<Waker>>,
}

impl KeyWaiter {
    /// Resolves when the command must run again.
    pub async fn ready(self: Rc<KeyWaiter>) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.state.get() != WaitState::Waiting {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Has the command run again.
    pub(crate) fn wake(&self, state: WaitState) {
        self.state.set(state);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.state.get() == WaitState::Waiting
    }

    /// What the command replies instead of running again.
    pub(crate) fn end(&self) -> Option<WaitEnd> {
        match self.state.get() {
            WaitState::Ended(end) => Some(end),
            WaitState::Waiting | WaitState::Served | WaitState::Released => None,
        }
    }

    /// Memory of the wait, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let names: usize = self.places.iter().map(|place| place.name.len()).sum();
        size_of::<KeyWaiter>() + self.places.len() * PLACE_BYTES + names + self.note.len()
    }
}

/// What a command that may wait is told, and what it wants.
pub(crate) struct Asked {
    /// Keys at which others wait, and for which type.
    pub(crate) behind: Vec<(u64, TypeNumber)>,
    /// The wait of its earlier runs.
    pub(crate) before: Option<Rc<KeyWaiter>>,
    /// Set if it found nothing.
    pub(crate) wait: Option<KeyWait>,
}

impl Blocking for Asked {
    fn is_behind(&self, key: &Key<'_>, of: TypeNumber) -> bool {
        self.behind.contains(&(key.hash, of))
    }

    fn note(&self) -> Option<&[u8]> {
        self.before.as_ref().map(|before| &*before.note)
    }

    fn wait(&mut self, wait: KeyWait) {
        self.wait = Some(wait);
    }
}
