//! What a run and its driver say to each other.

use fastness_resp::Protocol;

use crate::options::ScriptError;
use crate::script::LibrarySpec;

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
    /// Ends the run with this error line (`ERR Script killed by user with SCRIPT KILL.`), whichever step it follows.
    /// The place in the script is added to the line. The script cannot catch it, and does not stop again: the next step
    /// is the last one.
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
    Library(Result<LibrarySpec, ScriptError>),
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
