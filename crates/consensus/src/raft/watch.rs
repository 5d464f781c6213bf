//! A watch channel that wakes waiting tasks in the order in which they started to wait.
//!
//! tokio's watch spreads waiting tasks at random over several queues, which reduces contention between many threads.
//! But then the order in which a leader sends an entry to its followers differs from run to run. Here it depends only
//! on what happened before, so that a simulation with the same seed runs the same way. A change also visits one queue
//! instead of eight.
//!
//! - A receiver sees the newest value, not every value. [`Receiver::changed`] resolves once there is a value that this
//!   receiver has not seen.
//! - When the last sender is dropped, the newest value is still seen. After that [`Closed`] is returned.
//!
//! This module does not know openraft, which uses it through `raft/runtime.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// Read access to the value. Changes wait until it is dropped, so it is never held across an await.
pub(crate) type Ref<'a, T> = MappedRwLockReadGuard<'a, T>;

/// All senders were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

#[derive(Debug)]
struct Watched<T> {
    value: RwLock<T>,
    /// Incremented by every change, under the lock of the value.
    version: AtomicU64,
    changed: Notify,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

impl<T> Watched<T> {
    fn read(&self) -> Ref<'_, T> {
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

/// Watches the value. A clone has seen what the original has seen.
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

    /// A receiver that has seen the current value.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        self.shared.subscribe()
    }

    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    /// Changes the value in place. Counts as a change, and wakes waiting tasks, if `change` returns true.
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

    /// Replaces the value, whether or not there are receivers.
    pub(crate) fn send_replace(&self, value: T) {
        self.send_if_modified(|current| {
            *current = value;
            true
        });
    }

    /// Replaces the value. Without receivers, returns the new value instead.
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
        self.shared.read()
    }

    /// The current value. It counts as seen.
    pub(crate) fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.read();
        // Under the lock the version belongs to the value.
        self.seen = self.shared.version.load(Ordering::Acquire);
        value
    }

    /// Resolves once there is an unseen value. It counts as seen.
    pub(crate) async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Created before the check: a change between the two wakes it although it was not polled yet.
            let woken = self.shared.changed.notified();
            // Senders before the version, so that the last sender's value is seen before `Closed`.
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

    /// Resolves once `wanted` returns true for the value.
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
    async fn tasks_are_woken_in_the_order_of_waiting() {
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
    async fn the_last_value_is_seen_after_the_last_sender_was_dropped() {
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
    async fn a_value_that_was_seen_is_no_change() {
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
