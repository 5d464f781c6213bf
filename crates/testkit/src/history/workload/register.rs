//! Registers: GET, SET, and the two ways of compare-and-set in Valkey: `SET … IFEQ`, and WATCH with a transaction.

use async_trait::async_trait;
use fastness_load::Outcome;
use rand::Rng;

use super::{KEYS, SEARCHED, Workload};
use crate::history::actor::{Actor, Attempt, shape};
use crate::history::check::Findings;
use crate::history::check::linear::{self, Checked};
use crate::history::check::register::{Register, RegisterOp};
use crate::history::record::{Keys, Ticket};
use crate::history::run::Run;

/// See the module.
pub(super) struct Registers {
    keys: Vec<Keys<RegisterOp>>,
}

impl Registers {
    pub(super) fn new(name: &str) -> Registers {
        Registers { keys: (0..KEYS).map(|k| Keys::new(format!("{name}:k{k}"), SEARCHED)).collect() }
    }

    async fn read(
        &self,
        actor: &mut Actor,
        keys: &Keys<RegisterOp>,
        at: &Ticket,
    ) -> Result<Attempt<Option<u64>>, String> {
        let attempt = actor.read(&[b"GET", at.key.as_bytes()], shape::number).await?;
        note_read(actor, keys, at, &attempt);
        Ok(attempt)
    }
}

fn note_read(actor: &Actor, keys: &Keys<RegisterOp>, at: &Ticket, attempt: &Attempt<Option<u64>>) {
    if let Some(value) = attempt.result {
        keys.note(at, actor.op(attempt, RegisterOp::Read(value)), attempt.outcome);
    }
}

async fn write(actor: &mut Actor, keys: &Keys<RegisterOp>, at: &Ticket) -> bool {
    let value = actor.new_value();
    let attempt = actor.write(&[b"SET", at.key.as_bytes(), value.to_string().as_bytes()], shape::ok).await;
    keys.note(at, actor.op(&attempt, RegisterOp::Write(value)), attempt.outcome);
    attempt.is_done()
}

/// Compare-and-set in the server, on the value read just before.
async fn swap(actor: &mut Actor, keys: &Keys<RegisterOp>, at: &Ticket, expected: Option<u64>) -> bool {
    let new = actor.new_value();
    let (key, value) = (at.key.as_bytes(), new.to_string());
    let attempt = match expected {
        None => actor.write(&[b"SET", key, value.as_bytes(), b"NX"], shape::done).await,
        Some(expected) => {
            let expected = expected.to_string();
            actor.write(&[b"SET", key, value.as_bytes(), b"IFEQ", expected.as_bytes()], shape::done).await
        }
    };
    let op = RegisterOp::Swap { expected, new, done: attempt.result };
    keys.note(at, actor.op(&attempt, op), attempt.outcome);
    attempt.is_done()
}

/// Compare-and-set by WATCH. A transaction that did not run shows that another client wrote, and changes nothing.
async fn watched(actor: &mut Actor, keys: &Keys<RegisterOp>, at: &Ticket) -> bool {
    let key = at.key.as_bytes();
    let Some((watching, read)) = actor.watch(&[b"WATCH", key], &[b"GET", key], shape::number).await else {
        return false;
    };
    note_read(actor, keys, at, &read);
    let (new, expected) = (actor.new_value(), read.result.flatten());
    let set: &[&[u8]] = &[b"SET", key, &new.to_string().into_bytes()];
    let attempt = actor.exec(&watching, &[set], |replies| shape::ok(replies.first()?)).await;
    let done = (attempt.outcome == Outcome::Acknowledged).then_some(true);
    keys.note(at, actor.op(&attempt, RegisterOp::Swap { expected, new, done }), attempt.outcome);
    attempt.is_done()
}

#[async_trait]
impl Workload for Registers {
    fn name(&self) -> &'static str {
        Register::WORKLOAD
    }

    async fn step(&self, _: u32, actor: &mut Actor) -> bool {
        let keys = &self.keys[actor.rng.random_range(0..KEYS)];
        let at = keys.take();
        match actor.rng.random_range(0..10) {
            0..3 => self.read(actor, keys, &at).await.is_ok_and(|attempt| attempt.is_done()),
            3..6 => write(actor, keys, &at).await,
            6..8 => match self.read(actor, keys, &at).await {
                Ok(Attempt { result: Some(value), .. }) => swap(actor, keys, &at, value).await,
                _ => false,
            },
            _ => watched(actor, keys, &at).await,
        }
    }

    async fn read_back(&self, reader: &mut Actor) -> Result<(), String> {
        for keys in &self.keys {
            for at in keys.tickets() {
                self.read(reader, keys, &at).await?;
            }
        }
        Ok(())
    }

    fn check(&self, _: &Run, findings: &mut Findings) {
        self.keys.iter().for_each(|keys| keys.each(|history| linear::check::<Register>(history, findings)));
    }
}
