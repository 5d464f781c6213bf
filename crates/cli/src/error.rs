//! Why the client ends with a failure.

use fastness_resp::ProtocolError;
use rustyline::error::ReadlineError;

use crate::access::AccessError;
use crate::session::SessionError;

/// Why the client ends with a failure.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// No node can be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A command has no reply.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Standard output fails.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
    /// Standard input fails.
    #[error("cannot read standard input: {0}")]
    Input(std::io::Error),
    /// The terminal fails.
    #[error("cannot use the terminal: {0}")]
    Terminal(std::io::Error),
    /// The line editor fails.
    #[error("cannot use the terminal: {0}")]
    Editor(#[from] ReadlineError),
    /// A line of standard input whose quotes do not match.
    #[error("line {0} of standard input: the quotes do not match; nothing from there on was executed")]
    Quotes(u64),
    /// A line or value of standard input over the limit.
    #[error("standard input has a {what} of more than {max} bytes")]
    InputTooLong {
        /// What is too long.
        what: &'static str,
        /// The limit, bytes.
        max: u64,
    },
    /// The input of `--pipe` is neither RESP nor lines of commands.
    #[error("standard input, byte {at}: {error}; nothing from there on was sent")]
    Malformed {
        /// Where the command starts.
        at: u64,
        /// What is wrong.
        error: ProtocolError,
    },
    /// The input of `--pipe` ends within a command.
    #[error("standard input ends within a command, at byte {at}; it was not sent")]
    Truncated {
        /// Where the command starts.
        at: u64,
    },
    /// Nodes do not serve commands for too long.
    #[error("no node has served a command for {seconds} s: {reason}; the rest of the input was not sent")]
    GaveUp {
        /// How long.
        seconds: u64,
        /// The last refusal.
        reason: String,
    },
}
