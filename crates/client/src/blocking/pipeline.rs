//! Pipelines of blocking clients.

use std::sync::Arc;
use std::time::Duration;

use super::BlockingClient;
use super::runtime::{OwnedRuntime, WaitTimedOut};
use crate::error::ClientError;
use crate::operation::{Operation, OperationResult};
use crate::pipeline::{Pipeline, PipelineFull, PipelineOptions, PipelineResults, PipelineSender};

/// Sends operations without waiting for their results, and returns these in the order of the operations. It does what
/// [`crate::Pipeline`] does. Dropping it ends it at once: the outcome of operations that are on their way is unknown.
///
/// One thread that sends what there is room for, and takes the results:
///
/// ```
/// # let runtime = tokio::runtime::Runtime::new()?;
/// # let server = runtime.block_on(fastness_client::testing::MockServer::start())?;
/// # let client = server.client_builder().build_blocking()?;
/// use fastness_client::Operation;
///
/// let mut pipeline = client.pipeline();
/// for number in 0..1_000 {
///     let mut operation = Operation::set(format!("k{number}"), number.to_string());
///     while let Err(full) = pipeline.try_send(operation) {
///         // 256 are in flight: one result makes room for one operation.
///         pipeline.next().transpose()?;
///         operation = full.into_operation();
///     }
/// }
/// for result in pipeline {
///     result?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Two threads, of which one sends and one takes: [`BlockingPipeline::split`].
///
/// # Panics
/// Waiting for a result panics within an async context, as every call of a blocking client.
#[derive(Debug)]
pub struct BlockingPipeline {
    pipeline: Pipeline,
    runtime: Arc<OwnedRuntime>,
}

/// Where operations are given to a [`BlockingPipeline`]. Dropping it ends the pipeline after the last result.
pub struct BlockingPipelineSender {
    sender: PipelineSender,
    runtime: Arc<OwnedRuntime>,
}

/// Where the results of a [`BlockingPipeline`] are taken: an iterator over them, in the order of the operations. It
/// waits for each, at most for its deadline, and ends once the sender was dropped and all were taken. Dropping it ends
/// the pipeline at once: the outcome of operations that are on their way is unknown.
pub struct BlockingPipelineResults {
    results: PipelineResults,
    runtime: Arc<OwnedRuntime>,
}

impl BlockingClient {
    /// Opens a pipeline with up to 256 operations in flight; see [`crate::Client::pipeline`].
    #[must_use]
    pub fn pipeline(&self) -> BlockingPipeline {
        self.pipeline_with(PipelineOptions::default())
    }

    /// Opens a pipeline; see [`crate::Client::pipeline_with`].
    #[must_use]
    pub fn pipeline_with(&self, options: PipelineOptions) -> BlockingPipeline {
        // Its task is started on the runtime.
        let pipeline = self.wait(async { self.client.pipeline_with(options) });
        BlockingPipeline { pipeline, runtime: self.runtime.clone() }
    }
}

impl BlockingPipeline {
    /// Sends an operation if there is room for one more in flight. Never waits.
    ///
    /// # Errors
    /// The pipeline is full; the error has the operation.
    pub fn try_send(&mut self, operation: Operation) -> Result<(), PipelineFull> {
        self.pipeline.try_send(operation)
    }

    /// As `next`, but waits no longer than this.
    ///
    /// # Errors
    /// The next result is not there by then.
    pub fn next_timeout(
        &mut self,
        span: Duration,
    ) -> Result<Option<Result<OperationResult, ClientError>>, WaitTimedOut> {
        self.runtime.wait_within(span, self.pipeline.next())
    }

    /// The two ends, for two threads.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new()?;
    /// # let server = runtime.block_on(fastness_client::testing::MockServer::start())?;
    /// # let client = server.client_builder().build_blocking()?;
    /// use fastness_client::{ClientError, Operation};
    ///
    /// let (mut sender, results) = client.pipeline().split();
    /// let sending = std::thread::spawn(move || {
    ///     for _ in 0..1_000 {
    ///         // Waits while 256 results were not taken.
    ///         sender.send(Operation::increment("n", 1))?;
    ///     }
    ///     Ok::<(), ClientError>(())
    /// });
    /// let sums: Vec<_> = results.collect::<Result<_, _>>()?;
    /// sending.join().unwrap()?;
    /// assert_eq!(sums.last().unwrap().as_sum(), Some(1_000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn split(self) -> (BlockingPipelineSender, BlockingPipelineResults) {
        let BlockingPipeline { pipeline, runtime } = self;
        let (sender, results) = pipeline.split();
        let sender = BlockingPipelineSender { sender, runtime: runtime.clone() };
        (sender, BlockingPipelineResults { results, runtime })
    }
}

/// Its items are the results, in the order of the operations. It waits for each, at most for its deadline. It ends when
/// the results of all operations that were sent were taken, and has further items once more are sent.
impl Iterator for BlockingPipeline {
    type Item = Result<OperationResult, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.wait(self.pipeline.next())
    }
}

impl BlockingPipelineSender {
    /// Sends an operation. Waits while as many are in flight as may be; another thread has to take results meanwhile.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: [`BlockingPipelineResults`] was dropped. Nothing was sent.
    pub fn send(&mut self, operation: Operation) -> Result<(), ClientError> {
        self.runtime.wait(self.sender.send(operation))
    }
}

impl BlockingPipelineResults {
    /// As `next`, but waits no longer than this.
    ///
    /// # Errors
    /// The next result is not there by then.
    pub fn next_timeout(
        &mut self,
        span: Duration,
    ) -> Result<Option<Result<OperationResult, ClientError>>, WaitTimedOut> {
        self.runtime.wait_within(span, self.results.next())
    }
}

impl Iterator for BlockingPipelineResults {
    type Item = Result<OperationResult, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.wait(self.results.next())
    }
}
