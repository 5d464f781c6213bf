//! A bounded queue of messages for one replica or one other node.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::message::Publication;

/// See the module. A queue that is not open takes nothing.
#[derive(Debug)]
pub struct MessageQueue {
    waiting: Mutex<Messages>,
    arrived: Notify,
    is_open: AtomicBool,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Messages {
    queue: VecDeque<Arc<Publication>>,
    bytes: usize,
}

impl MessageQueue {
    /// One that is not open, with this bound; one message may exceed it.
    #[must_use]
    pub fn new(bytes_max: usize) -> MessageQueue {
        MessageQueue { waiting: Mutex::default(), arrived: Notify::new(), is_open: AtomicBool::new(false), bytes_max }
    }

    /// Takes messages from now on.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    /// Whether it takes messages.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Takes nothing more, and drops what waits; returns how many messages these were.
    pub fn close(&self) -> usize {
        self.is_open.store(false, Ordering::Release);
        let dropped = std::mem::take(&mut *self.waiting.lock());
        dropped.queue.len()
    }

    /// Appends a message; `false`: it is full or not open.
    pub fn offer(&self, message: &Arc<Publication>) -> bool {
        let mut waiting = self.waiting.lock();
        // Under the lock: a queue that was closed stays empty.
        if !self.is_open() || waiting.bytes >= self.bytes_max {
            return false;
        }
        waiting.bytes += message.bytes();
        waiting.queue.push_back(message.clone());
        let is_first = waiting.queue.len() == 1;
        drop(waiting);
        if is_first {
            self.arrived.notify_one();
        }
        true
    }

    /// Takes the oldest messages: at least one if there is any, then as long as they have fewer than `bytes` together.
    pub fn take(&self, bytes: usize) -> Vec<Arc<Publication>> {
        let mut waiting = self.waiting.lock();
        let (mut taken, mut taken_bytes) = (Vec::new(), 0);
        while taken_bytes < bytes
            && let Some(message) = waiting.queue.pop_front()
        {
            taken_bytes += message.bytes();
            taken.push(message);
        }
        waiting.bytes -= taken_bytes;
        if waiting.queue.is_empty() {
            waiting.queue.shrink_to(64);
        }
        taken
    }

    /// Resolves when a message has arrived, or the last one that [`MessageQueue::take`] has left waits still. For one
    /// taker.
    pub async fn arrived(&self) {
        while self.waiting.lock().queue.is_empty() {
            self.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Arc<Publication> {
        Arc::new(Publication { channel: "c".into(), payload: vec![0; len].into(), shard: None })
    }

    #[tokio::test]
    async fn messages_leave_in_order_and_within_the_bound() {
        let queue = MessageQueue::new(1000);
        assert!(!queue.offer(&message(1)), "it is not open");
        queue.open();
        assert!((0..3).all(|len| queue.offer(&message(len))));
        assert!(queue.offer(&message(5000)), "one may exceed the bound");
        assert!(!queue.offer(&message(0)));
        queue.arrived().await;
        let lens = |taken: Vec<Arc<Publication>>| taken.iter().map(|one| one.payload.len()).collect::<Vec<_>>();
        assert_eq!(lens(queue.take(200)), [0, 1]);
        assert_eq!(lens(queue.take(0)), [0; 0]);
        assert_eq!(lens(queue.take(10_000)), [2, 5000]);
        assert!(queue.offer(&message(7)));
        assert_eq!(queue.close(), 1);
        assert!(!queue.offer(&message(7)));
        assert_eq!(lens(queue.take(1)), [0; 0]);
    }
}
