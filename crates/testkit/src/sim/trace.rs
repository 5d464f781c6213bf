//! What happened, in order, as one number: two runs of a seed that differ anywhere differ in it.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;

use crate::sim::clock::SimTime;

/// A running hash of everything that is noted. Clones are the same trace.
#[derive(Clone)]
pub struct Trace {
    time: SimTime,
    // Its keys are fixed: the same notes give the same number everywhere.
    hash: Rc<RefCell<DefaultHasher>>,
}

impl Trace {
    /// Nothing noted yet.
    #[must_use]
    pub fn new(time: SimTime) -> Trace {
        Trace { time, hash: Rc::default() }
    }

    /// Notes something with the time.
    pub fn note(&self, what: impl FnOnce() -> String) {
        let (what, at) = (what(), self.time.elapsed());
        tracing::trace!(?at, what);
        (at, what).hash(&mut *self.hash.borrow_mut());
    }

    /// The number of everything noted so far.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.hash.borrow().finish()
    }
}
