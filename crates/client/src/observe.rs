//! Who learns of calls: spans for tracing, and a hook for metrics. Neither receives keys, values or passwords.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::field::Empty;
use tracing::{Span, debug_span};

use crate::error::ClientError;

/// How a call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// It has succeeded.
    Ok,
    /// [`ClientError::Refused`].
    Refused,
    /// [`ClientError::OutcomeUnknown`].
    OutcomeUnknown,
    /// [`ClientError::DeadlineExceeded`].
    DeadlineExceeded,
    /// [`ClientError::Unavailable`].
    Unavailable,
    /// [`ClientError::Invalid`].
    Invalid,
    /// Its future was dropped before it had ended; a write may have happened.
    Dropped,
}

impl OutcomeKind {
    /// A label for metrics: `ok`, `refused`, `outcome_unknown`, `deadline_exceeded`, `unavailable`, `invalid`,
    /// `dropped`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            OutcomeKind::Ok => "ok",
            OutcomeKind::Refused => "refused",
            OutcomeKind::OutcomeUnknown => "outcome_unknown",
            OutcomeKind::DeadlineExceeded => "deadline_exceeded",
            OutcomeKind::Unavailable => "unavailable",
            OutcomeKind::Invalid => "invalid",
            OutcomeKind::Dropped => "dropped",
        }
    }

    fn of(error: Option<&ClientError>) -> OutcomeKind {
        match error {
            None => OutcomeKind::Ok,
            Some(ClientError::OutcomeUnknown { .. }) => OutcomeKind::OutcomeUnknown,
            Some(ClientError::DeadlineExceeded { .. }) => OutcomeKind::DeadlineExceeded,
            Some(ClientError::Unavailable { .. }) => OutcomeKind::Unavailable,
            // Watches are no calls.
            Some(ClientError::Refused { .. } | ClientError::PositionPurged { .. }) => OutcomeKind::Refused,
            Some(ClientError::Invalid { .. }) => OutcomeKind::Invalid,
        }
    }
}

/// What a [`CallObserver`] learns of a call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FinishedCall<'a> {
    /// The name of the call: `get`, `set`, `hash_get`, `execute`, `txn`, `batch`, …; `pipeline` for each operation of a
    /// pipeline. A call of [`Client::update`](crate::Client::update) shows as the calls that it is made of.
    pub operation: &'static str,
    /// How often a node was called: more than once if the call was moved or tried again. For a batch: the messages.
    pub attempts: u32,
    /// The whole time, with all attempts and the waits between them.
    pub duration: Duration,
    /// How it has ended. A batch has ended as its first operation that failed.
    pub outcome: OutcomeKind,
    /// The error, unless it succeeded or was dropped. Its texts are for people, its reason
    /// ([`ClientError::reason`]) for metrics.
    pub error: Option<&'a ClientError>,
}

/// Learns of each finished call, for metrics. Set with [`ClientBuilder::observer`](crate::ClientBuilder::observer).
///
/// It is called on the task of the call, after it has ended: it must return quickly. A call that the client refuses by
/// itself because of its arguments, before anything is sent, is not reported.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use fastness_client::testing::MockServer;
/// use fastness_client::{CallObserver, FinishedCall, OutcomeKind};
///
/// #[derive(Default)]
/// struct Failures(AtomicU64);
///
/// impl CallObserver for Failures {
///     fn call_finished(&self, call: &FinishedCall<'_>) {
///         if call.outcome != OutcomeKind::Ok {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (server, failures) = (MockServer::start().await?, Arc::new(Failures::default()));
/// let client = server.client_builder().observer(failures.clone()).build()?;
/// client.hash_set("h", [("field", "value")]).await?;
/// assert!(client.get("h").await.is_err(), "it is a hash");
/// assert_eq!(failures.0.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
pub trait CallObserver: Send + Sync {
    /// A call has ended.
    fn call_finished(&self, call: &FinishedCall<'_>);
}

impl<T: CallObserver + ?Sized> CallObserver for Arc<T> {
    fn call_finished(&self, call: &FinishedCall<'_>) {
        (**self).call_finished(call);
    }
}

/// One call under way. It reports its end once: with `finish`, or when it is dropped.
pub(crate) struct CallRecord {
    observer: Option<Arc<dyn CallObserver>>,
    operation: &'static str,
    start: Instant,
    attempts: u32,
    span: Span,
    is_finished: bool,
}

impl CallRecord {
    pub(crate) fn begin(observer: Option<Arc<dyn CallObserver>>, operation: &'static str) -> CallRecord {
        let span = debug_span!(target: "fastness_client", "call", operation, attempts = Empty, outcome = Empty);
        CallRecord { observer, operation, start: Instant::now(), attempts: 0, span, is_finished: false }
    }

    /// A node is called: returns the span of this attempt. The shard is absent as long as it is not known.
    pub(crate) fn attempt(&mut self, node: &str, shard: Option<u32>) -> Span {
        self.attempts += 1;
        let attempt = self.attempts;
        debug_span!(target: "fastness_client", parent: &self.span, "attempt", attempt, node, shard, outcome = Empty)
    }

    pub(crate) fn finish(mut self, error: Option<&ClientError>) {
        self.report(OutcomeKind::of(error), error);
    }

    fn report(&mut self, outcome: OutcomeKind, error: Option<&ClientError>) {
        self.is_finished = true;
        self.span.record("attempts", self.attempts).record("outcome", outcome.as_str());
        if let Some(observer) = &self.observer {
            let (operation, attempts, duration) = (self.operation, self.attempts, self.start.elapsed());
            observer.call_finished(&FinishedCall { operation, attempts, duration, outcome, error });
        }
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        if !self.is_finished {
            self.report(OutcomeKind::Dropped, None);
        }
    }
}
