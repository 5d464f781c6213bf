//! Keys with deadlines: each client has its own keys that it writes (SET, SET PX, PEXPIRE, PERSIST), and all clients
//! read all keys.

use std::time::Duration;

use async_trait::async_trait;
use fastness_resp::Value;
use rand::Rng;

use super::Workload;
use crate::history::actor::{Actor, shape};
use crate::history::check::Findings;
use crate::history::check::lives::{self, LifeOp};
use crate::history::record::{Bounds, Keys, Ticket};
use crate::history::run::Run;

/// Number of clients, each with its own keys.
const OWNERS: u32 = 4;
/// A key is abandoned after its first unknown outcome: that write might take effect during later ones.
const BOUNDS: Bounds = Bounds { ops: 300, unknown: 1 };
/// Range of lifetimes, milliseconds: long enough to be changed, short enough to be read after expiry.
const TTL_MS: std::ops::Range<u64> = 30..400;

/// See the module.
pub(super) struct KeysWithDeadlines {
    keys: Vec<Keys<LifeOp>>,
}

impl KeysWithDeadlines {
    pub(super) fn new(name: &str) -> KeysWithDeadlines {
        KeysWithDeadlines { keys: (0..OWNERS).map(|owner| Keys::new(format!("{name}:o{owner}"), BOUNDS)).collect() }
    }
}

async fn read(actor: &mut Actor, keys: &Keys<LifeOp>, at: &Ticket) -> Result<bool, String> {
    let attempt = actor.read(&[b"GET", at.key.as_bytes()], shape::number).await?;
    if let Some(value) = attempt.result {
        keys.note(at, actor.op(&attempt, LifeOp::Read(value)), attempt.outcome);
    }
    Ok(attempt.is_done())
}

async fn write(actor: &mut Actor, keys: &Keys<LifeOp>, at: &Ticket, ttl_ms: Option<u64>) -> bool {
    let (key, value) = (at.key.as_bytes(), actor.new_value());
    let text = value.to_string();
    let attempt = match ttl_ms {
        None => actor.write(&[b"SET", key, text.as_bytes()], shape::ok).await,
        Some(ttl) => actor.write(&[b"SET", key, text.as_bytes(), b"PX", ttl.to_string().as_bytes()], shape::ok).await,
    };
    let op = LifeOp::Write { value, ttl: ttl_ms.map(Duration::from_millis) };
    keys.note(at, actor.op(&attempt, op), attempt.outcome);
    attempt.is_done()
}

async fn expire(actor: &mut Actor, keys: &Keys<LifeOp>, at: &Ticket, ttl_ms: u64) -> bool {
    let attempt = actor.write(&[b"PEXPIRE", at.key.as_bytes(), ttl_ms.to_string().as_bytes()], hit).await;
    let op = LifeOp::Expire { ttl: Duration::from_millis(ttl_ms), hit: attempt.result };
    keys.note(at, actor.op(&attempt, op), attempt.outcome);
    attempt.is_done()
}

async fn persist(actor: &mut Actor, keys: &Keys<LifeOp>, at: &Ticket) -> bool {
    let attempt = actor.write(&[b"PERSIST", at.key.as_bytes()], hit).await;
    keys.note(at, actor.op(&attempt, LifeOp::Persist { hit: attempt.result }), attempt.outcome);
    attempt.is_done()
}

fn hit(reply: &Value) -> Option<bool> {
    match shape::integer(reply)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[async_trait]
impl Workload for KeysWithDeadlines {
    fn name(&self) -> &'static str {
        lives::WORKLOAD
    }

    fn clients(&self) -> u32 {
        OWNERS
    }

    async fn step(&self, place: u32, actor: &mut Actor) -> bool {
        let own = &self.keys[place as usize];
        let ttl_ms = actor.rng.random_range(TTL_MS);
        match actor.rng.random_range(0..20) {
            0..3 => write(actor, own, &own.take(), Some(ttl_ms)).await,
            3 => write(actor, own, &own.take(), None).await,
            4..6 => expire(actor, own, &own.take(), ttl_ms).await,
            6 => persist(actor, own, &own.take()).await,
            _ => {
                let keys = &self.keys[actor.rng.random_range(0..self.keys.len())];
                read(actor, keys, &keys.take()).await.unwrap_or(false)
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

    fn check(&self, run: &Run, findings: &mut Findings) {
        let slack = run.options.clock_slack;
        self.keys.iter().for_each(|keys| keys.each(|history| lives::check(history, slack, findings)));
    }
}
