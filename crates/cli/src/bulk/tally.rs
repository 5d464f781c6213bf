//! What has become of the commands.

use std::time::Duration;

use serde_json::json;

use crate::format::escape;

/// Failures that are remembered with their texts.
pub const FAILURES_SHOWN: usize = 10;
/// Longest text of a failure, in characters.
const TEXT_CHARS_MAX: usize = 300;

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its number in the input, from 1.
    pub number: u64,
    /// Its name, as it was written.
    pub command: String,
    /// Why.
    pub text: String,
}

impl Failure {
    /// A failure; name and text are shown without control characters, and cut.
    #[must_use]
    pub fn new(number: u64, command: &[u8], text: &[u8]) -> Failure {
        let cut = |text: &[u8]| escape::text(text).chars().take(TEXT_CHARS_MAX).collect();
        Failure { number, command: cut(command), text: cut(text) }
    }
}

/// Counts of commands.
#[derive(Debug, Default)]
pub struct Tally {
    /// Commands that were answered, with whatever reply.
    pub replies: u64,
    /// Commands that failed: an error reply, one within the reply of EXEC, or one that was not sent.
    pub errors: u64,
    /// Commands of which it is not known whether they were executed.
    pub unknown: u64,
    /// The first failures and unknown outcomes.
    pub first: Vec<Failure>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Tally {
    /// Counts a failure.
    pub fn fail(&mut self, failure: Failure) {
        self.errors += 1;
        self.remember(failure);
    }

    /// Counts commands whose outcome is unknown.
    pub fn doubt(&mut self, commands: usize, failure: Failure) {
        self.unknown += commands as u64;
        self.remember(failure);
    }

    fn remember(&mut self, failure: Failure) {
        if self.first.len() < FAILURES_SHOWN {
            self.first.push(failure);
        }
    }

    /// Whether every command was answered without an error.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.errors == 0 && self.unknown == 0
    }

    /// The first failures, one on each line, and how many there are besides them.
    #[must_use]
    pub fn failures(&self) -> String {
        let mut text: String = self
            .first
            .iter()
            .map(|failure| format!("command {} ({}): {}\n", failure.number, failure.command, failure.text))
            .collect();
        let shown = self.first.len() as u64;
        if self.errors + self.unknown > shown && shown == FAILURES_SHOWN as u64 {
            text.push_str("further failures are counted only\n");
        }
        text
    }

    /// The counts as one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let seconds = self.elapsed.as_secs_f64();
        let unknown = if self.unknown > 0 { format!(", unknown outcomes: {}", self.unknown) } else { String::new() };
        format!("errors: {}, replies: {}{unknown}, seconds: {seconds:.1}\n", self.errors, self.replies)
    }

    /// The counts as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let first = self
            .first
            .iter()
            .map(|failure| json!({ "number": failure.number, "command": failure.command, "error": failure.text }));
        let value = json!({
            "replies": self.replies, "errors": self.errors, "unknown": self.unknown,
            "seconds": self.elapsed.as_secs_f64(), "first_failures": first.collect::<Vec<_>>(),
        });
        format!("{value}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_failures_are_remembered() {
        let mut tally = Tally { replies: 30, ..Tally::default() };
        assert!(tally.is_success());
        for number in 1..=20 {
            tally.fail(Failure::new(number, b"SET", b"ERR \x1bno"));
        }
        tally.doubt(3, Failure::new(21, b"MULTI", b"lost"));
        assert!(!tally.is_success());
        assert_eq!((tally.first.len(), tally.errors, tally.unknown), (FAILURES_SHOWN, 20, 3));
        assert!(tally.failures().starts_with("command 1 (SET): ERR \\x1bno\n"), "{}", tally.failures());
        assert!(tally.failures().ends_with("further failures are counted only\n"));
        assert_eq!(tally.summary(), "errors: 20, replies: 30, unknown outcomes: 3, seconds: 0.0\n");
        let json: serde_json::Value = serde_json::from_str(&tally.json()).unwrap();
        assert_eq!((json["errors"].as_u64(), json["first_failures"][0]["number"].as_u64()), (Some(20), Some(1)));
        assert_eq!(Failure::new(1, &vec![b'x'; 10_000], b"").command.len(), TEXT_CHARS_MAX);
    }
}
