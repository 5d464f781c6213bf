//! Sets, as the fields of hashes: HSET, HDEL, HKEYS.

use async_trait::async_trait;
use fastness_resp::Value;
use rand::Rng;

use super::{KEYS, SEARCHED, Workload};
use crate::history::actor::{Actor, shape};
use crate::history::check::Findings;
use crate::history::check::linear::{self, Checked};
use crate::history::check::set::{MEMBERS, Set, SetOp};
use crate::history::record::{Keys, Ticket};
use crate::history::run::Run;

/// A member that is never added: it stands for a member of a set that no client can have added, or that occurs twice.
const NEVER_ADDED: u32 = MEMBERS - 1;

/// See the module.
pub(super) struct Sets {
    keys: Vec<Keys<SetOp>>,
}

impl Sets {
    pub(super) fn new(name: &str) -> Sets {
        Sets { keys: (0..KEYS).map(|k| Keys::new(format!("{name}:k{k}"), SEARCHED)).collect() }
    }
}

/// The members as bits.
fn members(reply: &Value) -> Option<u64> {
    let (Value::Array(fields) | Value::Set(fields)) = reply else { return None };
    fields.iter().try_fold(0, |members, field| {
        let Value::Bulk(field) = field else { return None };
        let member = shape::parse(field).filter(|member| *member < NEVER_ADDED && members >> member & 1 == 0);
        Some(members | 1u64 << member.unwrap_or(NEVER_ADDED))
    })
}

fn one(reply: &Value) -> Option<bool> {
    match shape::integer(reply)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

async fn read(actor: &mut Actor, keys: &Keys<SetOp>, at: &Ticket) -> Result<bool, String> {
    let attempt = actor.read(&[b"HKEYS", at.key.as_bytes()], members).await?;
    if let Some(members) = attempt.result {
        keys.note(at, actor.op(&attempt, SetOp::Read(members)), attempt.outcome);
    }
    Ok(attempt.is_done())
}

async fn add(actor: &mut Actor, keys: &Keys<SetOp>, at: &Ticket, member: u32) -> bool {
    let (field, value) = (member.to_string(), actor.new_value().to_string());
    let attempt = actor.write(&[b"HSET", at.key.as_bytes(), field.as_bytes(), value.as_bytes()], one).await;
    keys.note(at, actor.op(&attempt, SetOp::Add { member, new: attempt.result }), attempt.outcome);
    attempt.is_done()
}

async fn remove(actor: &mut Actor, keys: &Keys<SetOp>, at: &Ticket, member: u32) -> bool {
    let attempt = actor.write(&[b"HDEL", at.key.as_bytes(), member.to_string().as_bytes()], one).await;
    keys.note(at, actor.op(&attempt, SetOp::Remove { member, was: attempt.result }), attempt.outcome);
    attempt.is_done()
}

#[async_trait]
impl Workload for Sets {
    fn name(&self) -> &'static str {
        Set::WORKLOAD
    }

    async fn step(&self, _: u32, actor: &mut Actor) -> bool {
        let keys = &self.keys[actor.rng.random_range(0..KEYS)];
        let at = keys.take();
        let member = actor.rng.random_range(0..NEVER_ADDED);
        match actor.rng.random_range(0..10) {
            0..4 => read(actor, keys, &at).await.unwrap_or(false),
            4..8 => add(actor, keys, &at, member).await,
            _ => remove(actor, keys, &at, member).await,
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
        self.keys.iter().for_each(|keys| keys.each(|history| linear::check::<Set>(history, findings)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_from_both_protocols_and_strangers_are_seen() {
        let of = |fields: &[&str]| fields.iter().map(|field| Value::Bulk(field.as_bytes().to_vec())).collect();
        assert_eq!(members(&Value::Array(of(&["0", "2"]))), Some(0b101));
        assert_eq!(members(&Value::Set(of(&["1"]))), Some(0b10));
        let stranger = 1 << NEVER_ADDED;
        assert_eq!(members(&Value::Array(of(&["1", "1"]))), Some(stranger | 0b10));
        assert_eq!(members(&Value::Array(of(&["x"]))), Some(stranger));
        assert_eq!(members(&Value::Array(of(&["64"]))), Some(stranger));
        assert_eq!(members(&Value::Null), None);
    }
}
