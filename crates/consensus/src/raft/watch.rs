//! A value that tasks watch. Whoever waits for a change is woken in the order in which it began to wait.
//!
//! tokio's watch spreads those who wait at random over several queues, which saves contention between many threads and
//! makes the order in which a leader's followers are sent an entry another one in every run. Here it follows from what
//! was done before, so that a simulation of the same seed is the same; and a change looks at one queue instead of
//! eight.
//!
//! - A receiver sees the newest value, not every value. [`Receiver::changed`] resolves if there is one that this
//!   receiver has not seen, at once if there is one already.
//! - Without a sender nothing changes any more: what was sent last is still seen, then [`Closed`] is told.
//!
//! Does not know: openraft, which uses it through `raft/runtime.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// A look at the value; a change waits for it to end, so it is never held across an await.
pub(crate) type Ref<'a, T> = MappedRwLockReadGuard<'a, T>;

/// Every sender is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

#[derive(Debug)]
struct Watched<T> {
    value: RwLock<T>,
    /// Raised under the value's lock by every change.
    version: AtomicU64,
    changed: Notify,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

impl<T> Watched<T> {
    fn look(&self) -> Ref<'_, T> {
        RwLockReadGuard::map(self.value.read(), |value| value)
    }

    fn subscribe(self: &Arc<Self>) -> Receiver<T> {
        self.receivers.fetch_add(1, Ordering::AcqRel);
        Receiver { seen: self.version.load(Ordering::Acquire), shared: self.clone() }
    }
}

/// Changes the value. Clones change the same one.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    shared: Arc<Watched<T>>,
}

/// Watches the value. A clone has seen what its original has.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    shared: Arc<Watched<T>>,
    seen: u64,
}

impl<T> Sender<T> {
    pub(crate) fn new(value: T) -> Sender<T> {
        let shared = Watched {
            value: RwLock::new(value),
            version: AtomicU64::new(0),
            changed: Notify::new(),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
        };
        Sender { shared: Arc::new(shared) }
    }

    /// A receiver that has seen the value as it is.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        self.shared.subscribe()
    }

    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        self.shared.look()
    }

    /// Changes the value in place; it counts as a change, and wakes whoever waits, if `change` says so.
    pub(crate) fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.shared.value.write();
        let changed = change(&mut value);
        if changed {
            self.shared.version.fetch_add(1, Ordering::Release);
        }
        drop(value);
        if changed {
            self.shared.changed.notify_waiters();
        }
        changed
    }

    /// Puts a new value in the old one's place, whether or not anybody watches.
    pub(crate) fn send_replace(&self, value: T) {
        self.send_if_modified(|current| {
            *current = value;
            true
        });
    }

    /// The same, unless nobody watches: then the value is given back.
    pub(crate) fn send(&self, value: T) -> Result<(), T> {
        if self.shared.receivers.load(Ordering::Acquire) == 0 {
            return Err(value);
        }
        self.send_replace(value);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.shared.senders.fetch_add(1, Ordering::AcqRel);
        Sender { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.changed.notify_waiters();
        }
    }
}

impl<T> Receiver<T> {
    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        self.shared.look()
    }

    /// The value, which is seen then.
    pub(crate) fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.look();
        // Under the lock the version is the value's.
        self.seen = self.shared.version.load(Ordering::Acquire);
        value
    }

    /// Resolves once there is a value that was not seen, which is seen then.
    pub(crate) async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Made before the look: a change between the two wakes it although it was not polled yet.
            let woken = self.shared.changed.notified();
            // In this order, so that what the last sender has sent is seen before it is told that there is none.
            let closed = self.shared.senders.load(Ordering::Acquire) == 0;
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if closed {
                return Err(Closed);
            }
            woken.await;
        }
    }

    /// Resolves once the value is a `wanted` one.
    pub(crate) async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<(), Closed> {
        loop {
            if wanted(&self.borrow_and_update()) {
                return Ok(());
            }
            self.changed().await?;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.shared.receivers.fetch_add(1, Ordering::AcqRel);
        Receiver { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_woken_in_the_order_of_waiting() {
        let sender = Sender::new(0);
        let woken: Arc<Mutex<Vec<usize>>> = Arc::default();
        let tasks: Vec<_> = (0..20)
            .map(|waiter| {
                let (mut receiver, woken) = (sender.subscribe(), woken.clone());
                tokio::spawn(async move {
                    receiver.changed().await.unwrap();
                    woken.lock().unwrap().push(waiter);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        sender.send_replace(1);
        futures::future::join_all(tasks).await;
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_was_sent_last_is_seen_after_the_last_sender_has_gone() {
        let sender = Sender::new(0);
        let (mut receiver, other) = (sender.subscribe(), sender.clone());
        drop(sender);
        assert!(receiver.changed().now_or_never().is_none(), "there is another sender");
        other.send_replace(7);
        drop(other);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(*receiver.borrow(), 7);
        assert_eq!(receiver.changed().await, Err(Closed));
        assert_eq!(receiver.wait_for(|value| *value == 8).await, Err(Closed));
    }

    #[tokio::test]
    async fn a_value_that_was_looked_at_is_no_change() {
        let sender = Sender::new(0);
        assert_eq!(sender.send(1), Err(1), "nobody watches");
        let mut receiver = sender.subscribe();
        assert!(!sender.send_if_modified(|_| false));
        assert!(receiver.changed().now_or_never().is_none());
        assert_eq!(sender.send(2), Ok(()));
        assert_eq!(*receiver.borrow_and_update(), 2);
        assert!(receiver.changed().now_or_never().is_none());
    }
}
