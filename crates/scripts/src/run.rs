//! One run of a script, in steps.

use std::rc::Rc;

use corosensei::CoroutineResult;
use corosensei::stack::DefaultStack;

use crate::inner::{Inner, SpareStack};
use crate::options::StartError;
use crate::step::{Answer, Step};

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

    /// Continues until the script stops the next time. After [`Step::Done`] or [`Step::Library`] the run is over; to
    /// step it again returns [`Step::Slice`] without effect.
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
