//! A client's writes with idempotency keys: counters that it raises one at a time. Each raise is sent until it is
//! answered, to whichever primary there is, and must count exactly once.

use std::cell::Cell;
use std::rc::Rc;

use fastness_load::outcome::{Outcome, classify};
use fastness_resp::value::Value;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Counters of one client.
const COUNTERS: u64 = 2;
/// One round of a client in so many is such a raise.
const ROUND_ODDS: u32 = 3;

/// One raise of a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRaise {
    /// The counter.
    pub key: String,
    /// The number in the idempotency key.
    pub sequence: u64,
}

/// What an answer to a raise means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyedAnswer {
    /// It has happened.
    Happened,
    /// It is sent again.
    Again,
    /// The cluster does not remember whether it has happened.
    Forgotten,
    /// The cluster takes it for another write.
    Mistaken,
}

/// The raises of one client.
pub struct KeyedRaises {
    client: usize,
    rng: SmallRng,
    /// The last sequence number of all clients: it takes the place of a clock that all clients share.
    last: Rc<Cell<u64>>,
    pending: Option<KeyedRaise>,
}

impl KeyedRaises {
    /// None yet.
    #[must_use]
    pub fn new(client: usize, seed: u64, last: Rc<Cell<u64>>) -> KeyedRaises {
        KeyedRaises { client, rng: SmallRng::seed_from_u64(seed), last, pending: None }
    }

    /// Whether the next round is one.
    pub fn is_next(&mut self) -> bool {
        self.rng.random_ratio(1, ROUND_ODDS)
    }

    /// The raise to send, and whether it is sent for the first time.
    pub fn next(&mut self) -> (KeyedRaise, bool) {
        if let Some(pending) = &self.pending {
            return (pending.clone(), false);
        }
        let sequence = self.last.get() + 1;
        self.last.set(sequence);
        let raise = KeyedRaise { key: format!("c{}:x{}", self.client, self.rng.random_range(0..COUNTERS)), sequence };
        self.pending = Some(raise.clone());
        (raise, true)
    }

    /// Takes an answer; `None`: none has come.
    pub fn answered(&mut self, answer: Option<&Value>) -> KeyedAnswer {
        let code = |value: &Value, code: &[u8]| value.as_error().is_some_and(|text| text.starts_with(code));
        let meaning = match answer {
            Some(value) if classify(value) == Outcome::Acknowledged => KeyedAnswer::Happened,
            Some(value) if code(value, b"IDEMPOTENCYPAST ") => KeyedAnswer::Forgotten,
            Some(value) if code(value, b"IDEMPOTENCYREUSED ") => KeyedAnswer::Mistaken,
            _ => KeyedAnswer::Again,
        };
        if meaning != KeyedAnswer::Again {
            self.pending = None;
        }
        meaning
    }

    /// What was sent and not answered, at the end.
    pub fn take_pending(&mut self) -> Option<KeyedRaise> {
        self.pending.take()
    }
}
