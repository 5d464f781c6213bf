//! WATCH on two keys of which the transaction writes one, next to clients that write them unconditionally.

use std::time::Duration;

use async_trait::async_trait;
use fastness_resp::Value;
use rand::Rng;

use super::{SEARCHED, Workload, in_slot};
use crate::history::actor::{Actor, Attempt, shape};
use crate::history::check::Findings;
use crate::history::check::linear::{self, Checked};
use crate::history::check::pair::{Both, Pair, PairOp};
use crate::history::record::{Keys, Ticket};
use crate::history::run::Run;

/// Longest pause between the read and the transaction, so that others write in between.
const THINKING_MS_MAX: u64 = 3;

/// See the module.
pub(super) struct WatchedPairs {
    keys: Keys<PairOp>,
}

impl WatchedPairs {
    pub(super) fn new(name: &str) -> WatchedPairs {
        WatchedPairs { keys: Keys::new(name.to_owned(), SEARCHED) }
    }

    async fn read(&self, actor: &mut Actor, at: &Ticket) -> Result<bool, String> {
        let [one, other] = names(at);
        let (one, other): ([&[u8]; 2], [&[u8]; 2]) = ([b"GET", one.as_bytes()], [b"GET", other.as_bytes()]);
        let attempt = actor.read_together(&in_slot(&at.key, 0), &[&one, &other], both).await?;
        self.note_read(actor, at, &attempt);
        Ok(attempt.is_done())
    }

    fn note_read(&self, actor: &Actor, at: &Ticket, attempt: &Attempt<Both>) {
        if let Some(both) = attempt.result {
            self.keys.note(at, actor.op(attempt, PairOp::Read(both)), attempt.outcome);
        }
    }

    async fn write(&self, actor: &mut Actor, at: &Ticket) -> bool {
        let (which, new) = (actor.rng.random_range(0..2), actor.new_value());
        let key = in_slot(&at.key, which);
        let attempt = actor.write(&[b"SET", key.as_bytes(), new.to_string().as_bytes()], shape::ok).await;
        self.keys.note(at, actor.op(&attempt, PairOp::Write { which, new }), attempt.outcome);
        attempt.is_done()
    }

    async fn watched(&self, actor: &mut Actor, at: &Ticket) -> bool {
        let names = names(at);
        let [one, other] = [names[0].as_bytes(), names[1].as_bytes()];
        let array = |reply: &Value| match reply {
            Value::Array(values) => both(values),
            _ => None,
        };
        let (watch, mget): ([&[u8]; 3], [&[u8]; 3]) = ([b"WATCH", one, other], [b"MGET", one, other]);
        let Some((watching, look)) = actor.watch(&watch, &mget, array).await else { return false };
        self.note_read(actor, at, &look);
        let Some(seen) = look.result else { return false };
        tokio::time::sleep(Duration::from_millis(actor.rng.random_range(0..=THINKING_MS_MAX))).await;
        let (which, new) = (actor.rng.random_range(0..2), actor.new_value());
        let set: [&[u8]; 3] = [b"SET", names[which].as_bytes(), &new.to_string().into_bytes()];
        let attempt = actor.exec(&watching, &[&set], |replies| shape::ok(replies.first()?)).await;
        let op = PairOp::Watched { seen, which, new, known: attempt.is_done() };
        self.keys.note(at, actor.op(&attempt, op), attempt.outcome);
        attempt.is_done()
    }
}

fn names(at: &Ticket) -> [String; 2] {
    [in_slot(&at.key, 0), in_slot(&at.key, 1)]
}

fn both(replies: &[Value]) -> Option<Both> {
    match replies {
        [one, other] => Some([shape::number(one)?, shape::number(other)?]),
        _ => None,
    }
}

#[async_trait]
impl Workload for WatchedPairs {
    fn name(&self) -> &'static str {
        Pair::WORKLOAD
    }

    async fn step(&self, _: u32, actor: &mut Actor) -> bool {
        let at = self.keys.take();
        match actor.rng.random_range(0..10) {
            0..2 => self.read(actor, &at).await.unwrap_or(false),
            2..4 => self.write(actor, &at).await,
            _ => self.watched(actor, &at).await,
        }
    }

    async fn read_back(&self, reader: &mut Actor) -> Result<(), String> {
        for at in self.keys.tickets() {
            self.read(reader, &at).await?;
        }
        Ok(())
    }

    fn check(&self, _: &Run, findings: &mut Findings) {
        self.keys.each(|history| linear::check::<Pair>(history, findings));
    }
}
