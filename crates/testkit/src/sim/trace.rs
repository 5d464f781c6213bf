//! The trace of a simulation: everything that happened, in order. Two runs of a seed must not differ in it.
//!
//! Every note is a line with the simulated time. All lines together have one hash, and can be written to a file, so
//! that two runs that differ can be compared line by line.

use std::cell::RefCell;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::sim::clock::SimTime;

/// The trace of one simulation. Clones are the same trace.
#[derive(Clone)]
pub struct Trace {
    time: SimTime,
    notes: Rc<RefCell<Notes>>,
}

#[derive(Default)]
struct Notes {
    // The hasher's keys are fixed: equal notes give the same number everywhere.
    hash: DefaultHasher,
    file: Option<BufWriter<File>>,
}

impl Trace {
    /// Creates an empty trace. Notes go to `file` as well, if one is given.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn new(time: SimTime, file: Option<&Path>) -> io::Result<Trace> {
        let file = file.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Trace { time, notes: Rc::new(RefCell::new(Notes { file, ..Notes::default() })) })
    }

    /// Simulated time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.time.elapsed()
    }

    /// Adds a note with the time.
    ///
    /// # Panics
    /// If the file cannot be written: half a trace would be taken for a whole one.
    pub fn note(&self, what: impl FnOnce() -> String) {
        let line = format!("{:>12} {}\n", self.time.elapsed().as_nanos(), what());
        tracing::trace!(line);
        let mut notes = self.notes.borrow_mut();
        line.hash(&mut notes.hash);
        if let Some(file) = &mut notes.file {
            file.write_all(line.as_bytes()).expect("the trace's file can be written");
        }
    }

    /// The hash of all notes so far.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.notes.borrow().hash.finish()
    }
}
