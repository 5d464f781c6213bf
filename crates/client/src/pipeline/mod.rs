//! Pipelines: operations that are sent without waiting for those before them.

mod held;
mod order;
mod run;
mod streams;
mod submitted;

use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::calls::EarlierTries;
use crate::client::Client;
use crate::error::ClientError;
use crate::observe::CallRecord;
use crate::operation::{Operation, OperationResult};
use crate::topology::ensure_followed;
use crate::verdict::{CallKind, timed_out};
use held::{HeldResult, HeldResults, ResultSender};
use submitted::Submitted;

/// In flight by default.
const IN_FLIGHT: usize = 256;
/// In flight at most: what a node takes of a stream before it has answered anything.
const IN_FLIGHT_MAX: usize = 1_024;

/// How a pipeline runs; see [`Client::pipeline_with`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineOptions {
    /// How many operations may have been sent whose results were not taken; 256 by default, at least 1 and at most
    /// 1024. Results that are not taken are kept in memory: they are at most as many, and together at most about as
    /// long as [`ClientBuilder::held_bytes`](crate::ClientBuilder::held_bytes) says.
    pub in_flight: usize,
}

impl Default for PipelineOptions {
    fn default() -> PipelineOptions {
        PipelineOptions { in_flight: IN_FLIGHT }
    }
}

/// No more operations may be in flight: take a result first.
#[derive(Debug, thiserror::Error)]
#[error("the pipeline is full: take a result first")]
pub struct PipelineFull {
    operation: Box<Operation>,
}

impl PipelineFull {
    /// The operation that was not sent.
    #[must_use]
    pub fn into_operation(self) -> Operation {
        *self.operation
    }
}

/// Sends operations without waiting for their results, and returns these in the order of the operations.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = fastness_client::testing::MockServer::start().await?;
/// # let client = server.client_builder().build()?;
/// use fastness_client::Operation;
///
/// let (mut sender, mut results) = client.pipeline().split();
/// let sending = tokio::spawn(async move {
///     for number in 0..1_000 {
///         // Waits while 256 results were not taken.
///         sender.send(Operation::set(format!("k{number}"), number.to_string())).await?;
///     }
///     Ok::<(), fastness_client::ClientError>(())
/// });
/// while let Some(result) = results.next().await {
///     result?;
/// }
/// sending.await??;
/// # Ok(())
/// # }
/// ```
///
/// # Order
///
/// There is one stream to each node that is needed. Operations on one slot (on one key, therefore) happen in the order
/// in which they were sent; those on different slots in any. Results are returned in the order of all operations. The
/// slot of a command ([`Operation::execute`]) is that of its second word: one whose key is elsewhere has no order.
///
/// An operation that has not happened because its node was not the primary, or could not run it, is sent again, within
/// its deadline and the retry budget. This is the rule by which the order is kept: from then on, further operations on
/// its slot are held back until those that are on their way are answered; then all that have not happened are sent
/// again in their order. One that was overtaken, because a later one on its slot has happened and one of both writes,
/// fails with [`ClientError::Unavailable`] instead: it has not happened.
///
/// # Failures
///
/// Each result says what has happened to its own operation. A write whose outcome is unknown, as that of all writes
/// that were not answered when a stream breaks, is sent again with its idempotency key, in its order; without a key
/// ([`Idempotency::Off`](crate::Idempotency::Off)), or if a later operation on its slot has happened, it is reported as
/// [`ClientError::OutcomeUnknown`]. Later operations go on, on a new stream. The deadline of each operation begins when
/// it is sent; when it passes, its result is returned, but those on the same stream after it still wait for the node.
///
/// # Results that are not taken
///
/// They are held in memory, up to [`ClientBuilder::held_bytes`](crate::ClientBuilder::held_bytes). Beyond that the
/// streams are read no further, except for the result that is to be taken next, until the caller takes some; the nodes
/// then hold a bounded part of the answers back, and run no further operations. A result that was not read for this
/// reason is waited for at least one second from when it is the next one, even if its deadline has passed by then.
pub struct Pipeline {
    sender: PipelineSender,
    results: PipelineResults,
}

/// Where operations are given to a [`Pipeline`]. Dropping it ends the pipeline after the last result.
pub struct PipelineSender {
    client: Client,
    to_run: mpsc::Sender<Submitted>,
    to_results: mpsc::Sender<DueResult>,
    room: Arc<Semaphore>,
    held: Arc<HeldResults>,
    /// Operations that were sent.
    sent: u64,
}

/// Where the results of a [`Pipeline`] are taken. Dropping it ends the pipeline at once: the outcome of operations that
/// are on their way is unknown.
pub struct PipelineResults {
    due: mpsc::Receiver<DueResult>,
    /// The one that is being waited for.
    first: Option<DueResult>,
    held: Arc<HeldResults>,
    _taken: oneshot::Receiver<()>,
}

/// The result of an operation that was sent.
struct DueResult {
    result: oneshot::Receiver<HeldResult>,
    kind: CallKind,
    sent: Instant,
    until: Instant,
    _room: OwnedSemaphorePermit,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("room", &self.sender.room.available_permits()).finish_non_exhaustive()
    }
}

impl Client {
    /// Opens a pipeline with up to 256 operations in flight; see [`Pipeline`]. Its operations have the settings of this
    /// client. It runs on the tokio runtime of the caller.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn pipeline(&self) -> Pipeline {
        self.pipeline_with(PipelineOptions::default())
    }

    /// Opens a pipeline; see [`Client::pipeline`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn pipeline_with(&self, options: PipelineOptions) -> Pipeline {
        ensure_followed(&self.core);
        let in_flight = options.in_flight.clamp(1, IN_FLIGHT_MAX);
        let (to_run, arrivals) = mpsc::channel(in_flight);
        let (to_results, due) = mpsc::channel(in_flight);
        let (taken_by, taken) = oneshot::channel();
        let held = Arc::new(HeldResults::new(self.core.held_bytes));
        tokio::spawn(run::run(self.core.clone(), held.clone(), in_flight, arrivals, taken_by));
        let room = Arc::new(Semaphore::new(in_flight));
        let sender = PipelineSender { client: self.clone(), to_run, to_results, room, held: held.clone(), sent: 0 };
        Pipeline { sender, results: PipelineResults { due, first: None, held, _taken: taken } }
    }
}

impl Pipeline {
    /// Sends an operation if there is room for one more in flight.
    ///
    /// # Errors
    /// The pipeline is full; the error has the operation.
    pub fn try_send(&mut self, operation: Operation) -> Result<(), PipelineFull> {
        let Ok(room) = self.sender.room.clone().try_acquire_owned() else {
            return Err(PipelineFull { operation: Box::new(operation) });
        };
        // The results are here: they are taken.
        let _ = self.sender.submit(operation, room);
        Ok(())
    }

    /// The next result, in the order of the operations; absent if all were taken. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<OperationResult, ClientError>> {
        if self.results.first.is_none() && self.results.due.is_empty() {
            return None;
        }
        self.results.next().await
    }

    /// The two ends, for two tasks.
    #[must_use]
    pub fn split(self) -> (PipelineSender, PipelineResults) {
        (self.sender, self.results)
    }
}

impl PipelineSender {
    /// Sends an operation. Waits while as many are in flight as may be; somebody has to take results meanwhile.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: [`PipelineResults`] was dropped. Nothing was sent.
    pub async fn send(&mut self, operation: Operation) -> Result<(), ClientError> {
        // Room is given back when results are dropped.
        let room = self.room.clone().acquire_owned().await;
        self.submit(operation, room.map_err(|_| ClientError::invalid("the pipeline has ended"))?)
    }

    fn submit(&mut self, mut operation: Operation, room: OwnedSemaphorePermit) -> Result<(), ClientError> {
        let (to_caller, result) = oneshot::channel();
        let request = self.client.prepare(&mut operation);
        let (kind, sent, until) = (operation.kind(), Instant::now(), self.client.until());
        let due = DueResult { result, kind, sent, until, _room: room };
        // Neither channel is ever full: both have room for all that may be in flight.
        if self.to_results.try_send(due).is_err() {
            return Err(ClientError::invalid("the results of this pipeline are not taken any more"));
        }
        self.sent += 1;
        let reply = ResultSender { number: self.sent, to_caller, held: self.held.clone() };
        match request {
            // Its result is the error.
            Err(error) => _ = reply.send(Err(error)),
            Ok(request) => {
                let record = CallRecord::begin(self.client.core.observer.clone(), "pipeline");
                let submitted = Submitted {
                    operation,
                    request,
                    until,
                    reply,
                    record,
                    failure: None,
                    earlier: EarlierTries::default(),
                };
                // If the run has ended with its runtime, the result says so.
                drop(self.to_run.try_send(submitted));
            }
        }
        Ok(())
    }
}

impl PipelineResults {
    /// The next result, in the order of the operations: waits until it is there, at most for its deadline. Absent once
    /// [`PipelineSender`] was dropped and all results were taken. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<OperationResult, ClientError>> {
        if self.first.is_none() {
            let mut first = self.due.recv().await?;
            first.until = self.held.until(first.sent, first.until);
            self.first = Some(first);
        }
        let first = self.first.as_mut()?;
        let result = match tokio::time::timeout_at(first.until, &mut first.result).await {
            Ok(Ok(HeldResult { result, .. })) => result,
            Ok(Err(_)) => Err(match first.kind {
                CallKind::Write | CallKind::KeyedWrite => {
                    ClientError::OutcomeUnknown { message: "the pipeline has ended".to_owned() }
                }
                CallKind::Read => ClientError::unavailable(crate::error::CONNECTION_LOST, "the pipeline has ended"),
            }),
            Err(_) => Err(timed_out(first.kind, "the node")),
        };
        self.first = None;
        self.held.taken();
        Some(result)
    }
}
