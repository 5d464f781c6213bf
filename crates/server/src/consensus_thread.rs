//! The thread of consensus: a runtime of its own, which runs before everything else of the process.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::process;
use crate::shared::NodeShared;

/// Runs until [`ConsensusThread::end`], or until it is dropped.
pub struct ConsensusThread {
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ConsensusThread {
    /// Starts it; what it is to run is spawned on the handle.
    ///
    /// # Errors
    /// The system gives no thread or runtime.
    pub fn start(shared: Arc<NodeShared>) -> std::io::Result<(Handle, ConsensusThread)> {
        let usual = process::nice();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Threads that it starts for blocking work, as reading snapshots, would inherit the priority.
            .on_thread_start(move || process::set_nice(usual))
            .build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("consensus".to_owned()).spawn(move || {
            let wanted = shared.config.load().consensus_nice as i32;
            let nice = process::prefer_this_thread(wanted);
            if wanted != 0 && nice != wanted {
                tracing::info!(
                    nice,
                    wanted,
                    "consensus and shards run at normal priority: on an overloaded machine heartbeats may be late and commands \
                     slow; CAP_SYS_NICE, or a higher limit on nice, gives them priority"
                );
            }
            shared.consensus_nice.store(nice, Ordering::Relaxed);
            // Ends on request, or when the sender was dropped.
            let _ = runtime.block_on(ended);
            // Threads for blocking work, which may be waiting for a stalled disk, are not waited for.
            runtime.shutdown_background();
        })?;
        Ok((handle, ConsensusThread { end, thread }))
    }

    /// Ends it, with everything that runs on it, and waits for that.
    pub async fn end(self) {
        // It may have ended by itself.
        let _ = self.end.send(());
        if !matches!(tokio::task::spawn_blocking(move || self.thread.join()).await, Ok(Ok(()))) {
            tracing::error!("the consensus thread has panicked");
        }
    }
}
