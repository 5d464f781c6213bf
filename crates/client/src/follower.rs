//! The task that follows the topology (`topology.rs`), as the client holds it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// The task that follows the topology for all clones of a client.
#[derive(Debug, Default)]
pub(crate) struct TopologyFollower {
    runs: Arc<AtomicBool>,
    task: Mutex<Option<AbortHandle>>,
}

impl TopologyFollower {
    /// Whether the task runs.
    pub(crate) fn runs(&self) -> bool {
        self.runs.load(Ordering::Acquire)
    }

    /// Starts the task, unless another caller has.
    pub(crate) fn start(&self, runtime: &Handle, follow: impl Future<Output = ()> + Send + 'static) {
        let mut task = self.task.lock();
        if self.runs.swap(true, Ordering::AcqRel) {
            return;
        }
        let running = Running(self.runs.clone());
        let spawned = runtime.spawn(async move {
            let _running = running;
            follow.await;
        });
        *task = Some(spawned.abort_handle());
    }
}

impl Drop for TopologyFollower {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

/// Notes that the task has ended, whichever way.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
