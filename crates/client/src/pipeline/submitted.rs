//! An operation that was given to a pipeline, and how its result is reported.

use std::time::Duration;

use fastness_wire::v1;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::held::ResultSender;
use crate::calls::EarlierTries;
use crate::error::{CONNECTION_LOST, ClientError};
use crate::observe::CallRecord;
use crate::operation::{Operation, OperationResult};
use crate::verdict::{CallKind, Disposition, disposition, timed_out};

/// An operation that was given to the pipeline.
pub(super) struct Submitted {
    pub(super) operation: Operation,
    pub(super) request: v1::PipelineRequest,
    pub(super) until: Instant,
    /// Closed if the caller does not wait any more.
    pub(super) reply: ResultSender,
    pub(super) record: CallRecord,
    /// Why it has not happened, where it is to be sent again.
    pub(super) failure: Option<FailedSending>,
    /// What the tries before may have done.
    pub(super) earlier: EarlierTries,
}

/// Why an operation has not happened.
pub(super) struct FailedSending {
    pub(super) error: ClientError,
    /// The shortest wait before it is sent again; absent: it was moved.
    pub(super) after: Option<Duration>,
}

/// Reports the result of an operation.
pub(super) fn finish(submitted: Submitted, result: Result<OperationResult, ClientError>) {
    let Submitted { operation, reply, record, .. } = submitted;
    let error = result.as_ref().err().cloned();
    if reply.send(result) {
        record.finish(error.as_ref());
    } else {
        // The caller has stopped waiting at the deadline.
        record.finish(Some(&timed_out(operation.kind(), "the node")));
    }
}

/// Reports that an operation has not happened.
pub(super) fn fail(submitted: Submitted) {
    let error = submitted.failure.as_ref().map(|failure| failure.error.clone());
    let error = error.unwrap_or_else(|| {
        let text = "operations on the same slot before it could not be run in time";
        ClientError::unavailable(CONNECTION_LOST, text)
    });
    finish(submitted, Err(error));
}

/// What the end of a stream means for an operation without an answer.
pub(super) fn unanswered(kind: CallKind, was_accepted: bool, status: &Status) -> Disposition {
    if !was_accepted {
        return disposition(kind, status);
    }
    // Whatever the status promises, it was not made for this operation.
    disposition(kind, &Status::new(Code::Unknown, format!("the stream has ended: {}", status.message())))
}
