//! What happened, in order: two runs of a seed must not differ anywhere in it.
//!
//! Every note is a line with the simulated time; all lines together are one number, and can be written to a file, so
//! that two runs that differ can be compared line by line.

use std::cell::RefCell;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::sim::clock::SimTime;

/// Everything that is noted. Clones are the same trace.
#[derive(Clone)]
pub struct Trace {
    time: SimTime,
    notes: Rc<RefCell<Notes>>,
}

#[derive(Default)]
struct Notes {
    // Its keys are fixed: the same notes give the same number everywhere.
    hash: DefaultHasher,
    file: Option<BufWriter<File>>,
}

impl Trace {
    /// Nothing noted yet. Notes go to `file` as well, if one is given.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(time: SimTime, file: Option<&Path>) -> io::Result<Trace> {
        let file = file.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Trace { time, notes: Rc::new(RefCell::new(Notes { file, ..Notes::default() })) })
    }

    /// Simulated time, as it is noted.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.time.elapsed()
    }

    /// Notes something with the time.
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

    /// The number of everything noted so far.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.notes.borrow().hash.finish()
    }
}
