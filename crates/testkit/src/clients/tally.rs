//! Operations by outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use fastness_load::outcome::classify;
use fastness_load::{Caller, Outcome};
use fastness_resp::Value;
use serde::{Deserialize, Serialize};

use super::words::is_read;

/// Numbers of operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Acknowledged writes; a transaction that wrote counts as one.
    pub acknowledged: u64,
    /// Refused writes, which were certainly not applied.
    pub refused: u64,
    /// Writes of unknown outcome.
    pub unknown: u64,
    /// Reads answered with data.
    pub reads: u64,
}

impl std::ops::Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            acknowledged: self.acknowledged + other.acknowledged,
            refused: self.refused + other.refused,
            unknown: self.unknown + other.unknown,
            reads: self.reads + other.reads,
        }
    }
}

/// Counts that clients add to.
#[derive(Debug, Default)]
pub struct Tally {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    reads: AtomicU64,
}

impl Tally {
    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            acknowledged: of(&self.acknowledged),
            refused: of(&self.refused),
            unknown: of(&self.unknown),
            reads: of(&self.reads),
        }
    }

    /// Counts a write.
    pub fn wrote(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Acknowledged => &self.acknowledged,
            Outcome::Refused => &self.refused,
            Outcome::Unknown => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answered read.
    pub fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client whose operations are counted.
pub struct Tallied {
    client: Box<dyn Caller>,
    tally: Arc<Tally>,
}

impl Tallied {
    /// Counts the operations of `client`.
    #[must_use]
    pub fn new(client: Box<dyn Caller>, tally: Arc<Tally>) -> Tallied {
        Tallied { client, tally }
    }
}

#[async_trait]
impl Caller for Tallied {
    async fn call(&mut self, command: &[&[u8]]) -> Result<Value, Outcome> {
        let answer = self.client.call(command).await;
        let outcome = answer.as_ref().map_or_else(|outcome| *outcome, classify);
        match (is_read(command), outcome) {
            (false, outcome) => self.tally.wrote(outcome),
            (true, Outcome::Acknowledged) => self.tally.read(),
            (true, _) => {}
        }
        answer
    }
}
