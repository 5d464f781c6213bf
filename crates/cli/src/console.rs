//! What is printed, and where: replies to standard output, and notes beside them.

use std::io::Write;

use fastness_resp::value::Value;

use crate::format::{Output, escape};
use crate::session::{Note, SessionError};

/// Commands whose reply is text for people, although RESP2 has it as a string.
const TEXTS: &[&str] = &[
    "client|info",
    "client|list",
    "cluster|info",
    "cluster|nodes",
    "info",
    "latency|doctor",
    "latency|graph",
    "lolwut",
    "memory|doctor",
    "memory|malloc-stats",
];

/// Whether the reply to this command is text.
#[must_use]
pub fn is_text(command: &str) -> bool {
    TEXTS.contains(&command)
}

/// Where replies go, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    /// The form of replies.
    pub output: Output,
}

impl Console {
    /// Prints a reply.
    ///
    /// # Errors
    /// Standard output fails.
    pub fn reply(self, reply: &Value, is_text: bool) -> std::io::Result<()> {
        self.print(&self.output.render(reply, is_text))
    }

    /// Prints bytes to standard output.
    ///
    /// # Errors
    /// Standard output fails.
    pub fn print(self, bytes: &[u8]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Prints what happened while a command ran. For people it stands before the reply; otherwise standard output has
    /// replies alone.
    ///
    /// # Errors
    /// Standard output fails.
    pub fn note(self, note: &Note) -> std::io::Result<()> {
        match (note, self.output) {
            (Note::Push(message), _) => self.reply(message, false),
            (note, Output::Human) => self.print(format!("{}\n", text(note)).as_bytes()),
            (Note::Redirected(_), _) => Ok(()),
            (note, _) => {
                eprintln!("{}", text(note));
                Ok(())
            }
        }
    }

    /// Prints why a command has no reply.
    pub fn failure(self, error: &SessionError) {
        eprintln!("{}", escape::text(error.to_string().as_bytes()));
    }
}

fn text(note: &Note) -> String {
    match note {
        Note::Redirected(redirect) => {
            format!("-> Redirected to slot [{}] located at {}", redirect.slot, redirect.to)
        }
        Note::Unreachable(error) => format!("-> {error}; asking again"),
        Note::Lost(address) => format!("The connection to {address} was lost, and what CLIENT had set on it."),
        Note::Connected(address) => format!("Connected to {address}."),
        Note::Bound(redirect) => format!(
            "-> Not redirected to {}: what MULTI or WATCH has begun is on this connection. DISCARD or UNWATCH ends it.",
            redirect.to
        ),
        Note::Push(_) => String::new(),
    }
}
