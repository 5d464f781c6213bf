//! The cable of one life of a node: pulled just before it crashes, so that its streams end in the order in which they
//! were opened.
//!
//! tokio drops the tasks of a runtime in an order that depends on how many tasks the process has ever had. Left to
//! that, the streams would end in another order in every run.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// See the module.
#[derive(Default)]
pub struct Plug {
    is_pulled: AtomicBool,
    waiting: Notify,
}

impl Plug {
    /// Everything on the network ends.
    pub fn pull(&self) {
        self.is_pulled.store(true, Ordering::Release);
        self.waiting.notify_waiters();
    }

    /// Resolves once it is pulled; whoever has waited longest goes first.
    pub async fn pulled(&self) {
        let woken = self.waiting.notified();
        if !self.is_pulled.load(Ordering::Acquire) {
            woken.await;
        }
    }
}
