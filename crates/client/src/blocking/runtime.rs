//! The runtime of a blocking client, on which its connections, pipelines and watches run.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::error::ClientError;

/// Nothing has arrived within the given time. Nothing is lost: wait again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing has arrived in time")]
pub struct WaitTimedOut;

/// A runtime that may be dropped anywhere.
#[derive(Debug)]
pub(super) struct OwnedRuntime(Option<Runtime>);

impl OwnedRuntime {
    /// Starts a runtime of one thread.
    ///
    /// # Errors
    /// No thread could be started.
    pub(super) fn start() -> Result<OwnedRuntime, ClientError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("fastness-client").enable_all().build();
        let runtime = runtime.map_err(|error| ClientError::invalid(format!("no thread could be started: {error}")))?;
        Ok(OwnedRuntime(Some(runtime)))
    }

    /// Waits for a result.
    pub(super) fn wait<R>(&self, call: impl Future<Output = R>) -> R {
        match &self.0 {
            Some(runtime) => runtime.block_on(call),
            // It is taken only when the last client, pipeline or watch is dropped.
            None => unreachable!("a client without a runtime"),
        }
    }

    /// Waits for a result so long.
    ///
    /// # Errors
    /// It is not there by then.
    pub(super) fn wait_within<R>(&self, span: Duration, call: impl Future<Output = R>) -> Result<R, WaitTimedOut> {
        self.wait(async { tokio::time::timeout(span, call).await.map_err(|_| WaitTimedOut) })
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        // Waiting for its thread would panic within an async context. All calls have ended.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
