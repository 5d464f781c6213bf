//! Counters: INCR, INCRBY and GET. No attempt is repeated: after an unknown outcome the next one is a new attempt.

use async_trait::async_trait;
use rand::Rng;

use super::{KEYS, SEARCHED, Workload};
use crate::history::actor::{Actor, shape};
use crate::history::check::Findings;
use crate::history::check::counter::{Counter, CounterOp};
use crate::history::check::linear::{self, Checked};
use crate::history::record::{Keys, Ticket};
use crate::history::run::Run;

/// See the module.
pub(super) struct Counters {
    keys: Vec<Keys<CounterOp>>,
}

impl Counters {
    pub(super) fn new(name: &str) -> Counters {
        Counters { keys: (0..KEYS).map(|k| Keys::new(format!("{name}:k{k}"), SEARCHED)).collect() }
    }
}

async fn read(actor: &mut Actor, keys: &Keys<CounterOp>, at: &Ticket) -> Result<bool, String> {
    let attempt = actor.read(&[b"GET", at.key.as_bytes()], shape::sum).await?;
    if let Some(sum) = attempt.result {
        keys.note(at, actor.op(&attempt, CounterOp::Read(sum)), attempt.outcome);
    }
    Ok(attempt.is_done())
}

async fn add(actor: &mut Actor, keys: &Keys<CounterOp>, at: &Ticket, by: i64) -> bool {
    let key = at.key.as_bytes();
    let attempt = match by {
        1 => actor.write(&[b"INCR", key], shape::integer).await,
        by => actor.write(&[b"INCRBY", key, by.to_string().as_bytes()], shape::integer).await,
    };
    keys.note(at, actor.op(&attempt, CounterOp::Add { by, sum: attempt.result }), attempt.outcome);
    attempt.is_done()
}

#[async_trait]
impl Workload for Counters {
    fn name(&self) -> &'static str {
        Counter::WORKLOAD
    }

    async fn step(&self, _: u32, actor: &mut Actor) -> bool {
        let keys = &self.keys[actor.rng.random_range(0..KEYS)];
        let at = keys.take();
        match actor.rng.random_range(0..10) {
            0..3 => read(actor, keys, &at).await.unwrap_or(false),
            3..8 => add(actor, keys, &at, 1).await,
            _ => {
                let by = actor.rng.random_range(2..100);
                add(actor, keys, &at, by).await
            }
        }
    }

    async fn read_back(&self, reader: &mut Actor) -> Result<(), String> {
        for keys in &self.keys {
            for at in keys.tickets() {
                read(reader, keys, &at).await?;
            }
        }
        Ok(())
    }

    fn check(&self, _: &Run, findings: &mut Findings) {
        self.keys.iter().for_each(|keys| keys.each(|history| linear::check::<Counter>(history, findings)));
    }
}
