//! One run of a script, in steps.

use fastness_resp::Protocol;

use crate::LibrarySpec;

/// What a run is told of its caller.
#[derive(Debug, Clone, Copy)]
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
    /// Ends the run with this error line (`ERR Error running script ...`), whichever step it follows. The script cannot
    /// catch it. Steps of the run may still follow, each of which is answered with `Kill` again.
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

/// A run that has been started. A run that is dropped is killed first.
#[derive(Debug)]
pub struct Run {
    ended: bool,
}

impl Run {
    pub(crate) fn new() -> Run {
        Run { ended: false }
    }

    /// Continues until the script stops the next time. After [`Step::Done`] or [`Step::Library`] the run is over; to step
    /// it again returns [`Step::Slice`] without effect.
    pub fn step(&mut self, answer: Answer) -> Step {
        let _ = answer;
        if std::mem::replace(&mut self.ended, true) {
            return Step::Slice;
        }
        Step::Done(Outcome { reply: b"$-1\r\n".to_vec(), failure: None })
    }

    /// Whether the run is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended
    }
}
