//! What the replies to one unit mean.

use fastness_resp::value::Value;

use crate::address::Address;
use crate::redirect::{is_refused_for_now, redirect};

use super::unit::Place;

/// The replies of one unit, judged as they arrive.
#[derive(Debug)]
pub struct Verdict {
    /// Replies that are missing.
    missing: usize,
    commands: usize,
    /// Errors, with the number of their command within the unit, from 0.
    pub errors: Vec<(usize, Vec<u8>)>,
    /// Errors beyond those.
    pub more_errors: u64,
    /// Where it is to be sent again; `None`: it has been executed, or has failed for good.
    again: Option<Again>,
    last_is_error: bool,
}

/// Why a unit is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Where to; `None`: where it belongs then.
    pub place: Option<Place>,
    /// The error.
    pub reason: Vec<u8>,
}

/// Errors of one unit that are kept with their texts.
const ERRORS_KEPT: usize = 10;

impl Verdict {
    /// Of a unit with this many commands, of which no reply has arrived.
    #[must_use]
    pub fn new(commands: usize) -> Verdict {
        Verdict { missing: commands, commands, errors: Vec::new(), more_errors: 0, again: None, last_is_error: false }
    }

    /// Takes a reply of the node at `from`; returns whether it was the last one.
    pub fn take(&mut self, reply: &Value, from: &Address) -> bool {
        let at = self.commands - self.missing;
        self.missing -= 1;
        self.last_is_error = reply.as_error().is_some();
        if let Some(error) = reply.as_error() {
            let reason = || error.to_vec();
            if let Some(to) = redirect(reply, from) {
                let place = Some(Place::Node { address: to.to, is_ask: to.is_ask });
                self.again.get_or_insert(Again { place, reason: reason() });
            } else if is_refused_for_now(error) {
                self.again.get_or_insert(Again { place: None, reason: reason() });
            }
        }
        self.collect(at, reply);
        self.missing == 0
    }

    fn collect(&mut self, at: usize, reply: &Value) {
        match reply {
            Value::Error(text) if self.errors.len() < ERRORS_KEPT => self.errors.push((at, text.clone())),
            Value::Error(_) => self.more_errors += 1,
            // The replies of a transaction's commands.
            Value::Array(values) if self.commands > 1 => values.iter().for_each(|value| self.collect(at, value)),
            _ => {}
        }
    }

    /// Whether and where the unit is to be sent again. A transaction has not been executed if EXEC failed.
    #[must_use]
    pub fn again(&self) -> Option<&Again> {
        self.again.as_ref().filter(|_| self.last_is_error)
    }

    /// Whether the node does not know itself what became of it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.errors.iter().any(|(_, text)| text.starts_with(b"UNKNOWN "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Value {
        Value::Error(text.as_bytes().to_vec())
    }

    fn verdict(replies: &[Value]) -> Verdict {
        let mut verdict = Verdict::new(replies.len());
        for (at, reply) in replies.iter().enumerate() {
            assert_eq!(verdict.take(reply, &Address::new("h", 1)), at + 1 == replies.len());
        }
        verdict
    }

    #[test]
    fn what_was_not_executed_is_sent_again() {
        let moved = verdict(&[error("MOVED 1 h:2")]);
        let place = moved.again().unwrap().place.clone();
        assert_eq!(place, Some(Place::Node { address: Address::new("h", 2), is_ask: false }));
        let asked = verdict(&[error("ASK 1 h:2")]).again().unwrap().place.clone();
        assert_eq!(asked, Some(Place::Node { address: Address::new("h", 2), is_ask: true }));
        assert_eq!(verdict(&[error("CLUSTERDOWN x")]).again().unwrap().place, None);
        for final_reply in [error("ERR x"), error("UNKNOWN x"), Value::Integer(1)] {
            assert_eq!(verdict(&[final_reply]).again(), None);
        }
        assert!(verdict(&[error("UNKNOWN x")]).is_unknown());
    }

    #[test]
    fn a_transaction_is_sent_again_only_if_exec_failed() {
        let (ok, queued) = (Value::Simple(b"OK".to_vec()), Value::Simple(b"QUEUED".to_vec()));
        let aborted = verdict(&[ok.clone(), error("MOVED 1 h:2"), error("EXECABORT x")]);
        assert!(aborted.again().is_some());
        let done = verdict(&[ok.clone(), queued.clone(), Value::Array(vec![error("LOADING x"), error("ERR y")])]);
        assert_eq!(done.again(), None);
        assert_eq!(done.errors, [(2, b"LOADING x".to_vec()), (2, b"ERR y".to_vec())]);
        assert!(verdict(&[ok, queued, error("CLUSTERDOWN x")]).again().is_some());
    }

    #[test]
    fn errors_within_other_replies_are_data() {
        let list = Value::Array(vec![error("ERR x")]);
        assert!(verdict(&[list]).errors.is_empty());
    }
}
