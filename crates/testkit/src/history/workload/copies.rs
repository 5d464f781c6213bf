//! One client writes keys that share a slot, the others read them at every copy, after READONLY.

use async_trait::async_trait;
use rand::Rng;

use super::{Workload, in_slot};
use crate::history::actor::{Actor, shape};
use crate::history::check::Findings;
use crate::history::check::copies::{self, CopyOp};
use crate::history::record::{Bounds, Keys, Ticket};
use crate::history::run::Run;

/// Number of keys of one group.
const KEYS: usize = 3;
/// Keys are abandoned after the first unknown outcome: that write might take effect during later ones.
const BOUNDS: Bounds = Bounds { ops: 1000, unknown: 1 };

/// See the module.
pub(super) struct Copies {
    keys: Keys<CopyOp>,
}

impl Copies {
    pub(super) fn new(name: &str) -> Copies {
        Copies { keys: Keys::new(name.to_owned(), BOUNDS) }
    }

    async fn write(&self, actor: &mut Actor, at: &Ticket, key: usize) -> bool {
        let (name, value) = (in_slot(&at.key, key), actor.new_value());
        let attempt = actor.write(&[b"SET", name.as_bytes(), value.to_string().as_bytes()], shape::ok).await;
        self.keys.note(at, actor.op(&attempt, CopyOp::Write { key, value }), attempt.outcome);
        attempt.is_done()
    }

    /// Reads at a random copy; a copy that does not serve now refuses.
    async fn read(&self, actor: &mut Actor, at: &Ticket, key: usize) -> bool {
        let name = in_slot(&at.key, key);
        let copies = actor.copies(&name).await;
        if copies.is_empty() {
            return false;
        }
        let copy = &copies[actor.rng.random_range(0..copies.len())];
        let (connection, attempt) = actor.read_at(copy, &name, shape::number).await;
        if let Some(value) = attempt.result {
            let op = CopyOp::Read { copy: copy.to_string(), connection, key, value };
            self.keys.note(at, actor.op(&attempt, op), attempt.outcome);
        }
        attempt.is_done()
    }
}

#[async_trait]
impl Workload for Copies {
    fn name(&self) -> &'static str {
        copies::WORKLOAD
    }

    async fn step(&self, place: u32, actor: &mut Actor) -> bool {
        let (at, key) = (self.keys.take(), actor.rng.random_range(0..KEYS));
        match place {
            0 => self.write(actor, &at, key).await,
            _ => self.read(actor, &at, key).await,
        }
    }

    async fn read_back(&self, reader: &mut Actor) -> Result<(), String> {
        for at in self.keys.tickets() {
            for key in 0..KEYS {
                let attempt = reader.read(&[b"GET", in_slot(&at.key, key).as_bytes()], shape::number).await?;
                if let Some(value) = attempt.result {
                    let op = CopyOp::Read { copy: "the primary".into(), connection: 0, key, value };
                    self.keys.note(&at, reader.op(&attempt, op), attempt.outcome);
                }
            }
        }
        Ok(())
    }

    fn check(&self, _: &Run, findings: &mut Findings) {
        self.keys.each(|history| copies::check(history, findings));
    }
}
