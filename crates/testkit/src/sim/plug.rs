//! The network cable of a node between two starts. It is pulled just before a crash, so that the node's streams end in
//! the order in which they were opened.
//!
//! tokio drops the tasks of a runtime in an order that depends on how many tasks the process has ever had. Without the
//! plug the streams would end in a different order in every run.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// See the module.
#[derive(Default)]
pub struct Plug {
    is_pulled: AtomicBool,
    waiting: Notify,
}

impl Plug {
    /// Ends all network activity of the node.
    pub fn pull(&self) {
        self.is_pulled.store(true, Ordering::Release);
        self.waiting.notify_waiters();
    }

    /// Resolves once the plug is pulled; waiters are woken in the order of waiting.
    pub async fn pulled(&self) {
        let woken = self.waiting.notified();
        if !self.is_pulled.load(Ordering::Acquire) {
            woken.await;
        }
    }
}
