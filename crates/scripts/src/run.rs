//! One run of a script, in steps.

use std::rc::Rc;

use corosensei::CoroutineResult;
use corosensei::stack::DefaultStack;
use fastness_resp::Protocol;

use crate::inner::{Inner, SpareStack};
use crate::{LibrarySpec, StartError};

/// What a run is told of its caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallerFacts {
    /// The protocol version of the client, in which the reply is written.
    pub protocol: Protocol,
}

/// What the driver answers to a step.
#[derive(Debug)]
pub enum Answer {
    /// Begins a run, resumes after [`Step::Slice`], and follows [`Step::Log`].
    Continue,
    /// The reply to [`Step::Call`]: exactly one, in the protocol version that the step names.
    Reply(Vec<u8>),
    /// The answer to [`Step::MayRun`]; `None` if no such command exists or its arguments are wrong.
    MayRun(Option<bool>),
    /// Ends the run with this error line (`ERR Script killed by user with SCRIPT KILL.`), whichever step it follows. The
    /// place in the script is added to the line. The script cannot catch it, and does not stop again: the next step is the
    /// last one.
    Kill(Vec<u8>),
}

/// Why a run has stopped.
#[derive(Debug)]
pub enum Step {
    /// `redis.call` or `redis.pcall`: execute this command and answer with [`Answer::Reply`].
    Call {
        /// The command's name and its arguments.
        args: Vec<Vec<u8>>,
        /// The version in which the reply is expected (`redis.setresp`).
        protocol: Protocol,
    },
    /// `redis.acl_check_cmd`: answer with [`Answer::MayRun`].
    MayRun {
        /// The command's name and its arguments.
        args: Vec<Vec<u8>>,
    },
    /// `redis.log`: 0 debug, 1 verbose, 2 notice, 3 warning.
    Log {
        /// The level.
        level: u8,
        /// The message.
        message: Vec<u8>,
    },
    /// The script has executed [`crate::Options::slice_instructions`] instructions: look at the clock, then answer with
    /// [`Answer::Continue`], now or later, or with [`Answer::Kill`].
    Slice,
    /// The run of a script or function is over.
    Done(Outcome),
    /// A library was read ([`crate::Scripts::start_library`]).
    Library(Result<LibrarySpec, Vec<u8>>),
}

/// What a script has returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The reply for the client, encoded in its version of the protocol.
    pub reply: Vec<u8>,
    /// Set if the script has failed; the reply is then this error.
    pub failure: Option<Failure>,
}

/// Why a script has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The error line, its code first, without the leading `-`.
    pub line: Vec<u8>,
    /// The error counts in the statistics of errors; one that `redis.call` has raised was counted already.
    pub is_counted: bool,
}

/// What a run's stack is switched to and fro with.
type Coroutine = corosensei::Coroutine<Answer, Step, Step, DefaultStack>;

/// A run that has been started. A run that is dropped is killed first.
pub struct Run {
    inner: Rc<Inner>,
    /// `None` after the end.
    coroutine: Option<Coroutine>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("is_over", &self.is_over()).finish_non_exhaustive()
    }
}

impl Run {
    /// Prepares a run. `program` executes on the stack of the run, from its first step on.
    pub(crate) fn new(inner: &Rc<Inner>, program: impl FnOnce() -> Step + 'static) -> Result<Run, StartError> {
        if inner.is_running.get() {
            return Err(StartError::Busy);
        }
        let stack = match inner.stack.take() {
            Some(SpareStack(stack)) => stack,
            None => DefaultStack::new(inner.options.stack_bytes).map_err(|_| StartError::OutOfMemory)?,
        };
        inner.is_running.set(true);
        let link = Rc::clone(&inner.link);
        let coroutine = Coroutine::with_stack(stack, move |yielder, first| {
            link.begin(yielder);
            if let Answer::Kill(line) = first {
                link.kill(line);
            }
            let step = program();
            link.end();
            step
        });
        Ok(Run { inner: Rc::clone(inner), coroutine: Some(coroutine) })
    }

    /// Continues until the script stops the next time. After [`Step::Done`] or [`Step::Library`] the run is over; to step
    /// it again returns [`Step::Slice`] without effect.
    pub fn step(&mut self, answer: Answer) -> Step {
        let Some(coroutine) = &mut self.coroutine else { return Step::Slice };
        self.inner.link.switch(true);
        let stopped = coroutine.resume(answer);
        self.inner.link.switch(false);
        match stopped {
            CoroutineResult::Yield(step) => step,
            CoroutineResult::Return(step) => {
                self.end();
                step
            }
        }
    }

    /// Whether the run is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.coroutine.is_none()
    }

    fn end(&mut self) {
        if let Some(coroutine) = self.coroutine.take() {
            if coroutine.done() {
                self.inner.stack.replace(Some(SpareStack(coroutine.into_stack())));
            }
            self.inner.is_running.set(false);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // One step is enough: nothing that a run does stops again after it was killed.
        while self.coroutine.as_ref().is_some_and(|coroutine| coroutine.started() && !coroutine.done()) {
            self.step(Answer::Kill(b"ERR the run was dropped".to_vec()));
        }
        self.end();
    }
}
