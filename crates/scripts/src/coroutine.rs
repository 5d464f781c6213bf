//! The link between a run, which executes on a stack of its own, and its driver.
//!
//! A run stops by switching to the driver's stack, from inside a Lua hook or from inside a function that a script has
//! called. The frames of Lua and of this crate stay where they are until the driver resumes the run, on the same
//! thread. Lua's own jumps (errors) never leave the stack of the run. A stack is never unwound from outside: a run that
//! is to end gets [`Answer::Kill`], and an error that scripts cannot catch ends it from inside.

use std::cell::{Cell, RefCell};
use std::ptr;

use corosensei::Yielder;

use crate::step::{Answer, Step};

thread_local! {
    /// Whether the run that executes on this thread was killed. Lua's C functions that catch errors read it.
    static KILLED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the run that executes on this thread was killed: what catches errors must pass them on.
pub(crate) fn is_killed_here() -> bool {
    KILLED.get()
}

/// The run was killed: whatever executes for it returns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Killed;

/// What the functions of a Lua state share with the run that executes them. At most one run at a time.
#[derive(Debug)]
pub(crate) struct Link {
    /// The way back to the driver while a run executes or is suspended; null otherwise.
    yielder: Cell<*const Yielder<Answer, Step>>,
    /// The error line with which the run was killed.
    killed: RefCell<Option<Vec<u8>>>,
    /// Work that functions of this crate have done since the last stop, in steps of about an instruction.
    work: Cell<u32>,
    /// Work after which a run stops.
    slice: u32,
}

impl Link {
    pub(crate) fn new(slice: u32) -> Link {
        Link { yielder: Cell::new(ptr::null()), killed: RefCell::new(None), work: Cell::new(0), slice }
    }

    /// Begins a run; called on its stack.
    pub(crate) fn begin(&self, yielder: &Yielder<Answer, Step>) {
        self.yielder.set(yielder);
        self.killed.replace(None);
        self.work.set(0);
    }

    /// Ends the run; called on its stack.
    pub(crate) fn end(&self) {
        self.yielder.set(ptr::null());
        self.killed.replace(None);
        KILLED.set(false);
    }

    /// To be called on the driver's stack before the run is resumed, with `true`, and after it has stopped.
    pub(crate) fn switch(&self, is_resumed: bool) {
        KILLED.set(is_resumed && self.killed.borrow().is_some());
    }

    /// The line with which the run was killed.
    pub(crate) fn killed(&self) -> Option<Vec<u8>> {
        self.killed.borrow().clone()
    }

    /// Marks the run as killed.
    pub(crate) fn kill(&self, line: Vec<u8>) {
        self.killed.borrow_mut().get_or_insert(line);
        KILLED.set(true);
    }

    /// Stops the run until the driver answers. Outside of a run there is nobody to answer, which counts as killed.
    #[allow(unsafe_code)]
    pub(crate) fn stop(&self, step: Step) -> Result<Answer, Killed> {
        if self.killed.borrow().is_some() {
            return Err(Killed);
        }
        // SAFETY: `begin` has stored a reference that lives until the closure of the run returns, `end` removes it
        // before that, and only code that executes on the stack of the run calls this function.
        let Some(yielder) = (unsafe { self.yielder.get().as_ref() }) else { return Err(Killed) };
        self.work.set(0);
        match yielder.suspend(step) {
            Answer::Kill(line) => {
                self.kill(line);
                Err(Killed)
            }
            answer => Ok(answer),
        }
    }

    /// Stops the run because it has executed enough.
    pub(crate) fn slice(&self) -> Result<(), Killed> {
        if self.yielder.get().is_null() {
            return Ok(());
        }
        self.stop(Step::Slice).map(|_| ())
    }

    /// Counts work of a function that executes no Lua instructions, and stops the run when it was enough.
    pub(crate) fn work(&self, steps: usize) -> Result<(), Killed> {
        let work = self.work.get().saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
        self.work.set(work);
        if work < self.slice {
            return Ok(());
        }
        self.work.set(0);
        self.slice()
    }
}
