//! Leaderboards, as sorted sets: ZINCRBY, ZREM, ZPOPMIN, ZRANK, ZRANGE with scores.

use async_trait::async_trait;
use fastness_resp::Value;
use rand::Rng;

use super::{KEYS, SEARCHED, Workload};
use crate::history::actor::{Actor, shape};
use crate::history::check::Findings;
use crate::history::check::board::{Board, BoardOp, MEMBERS, Scored};
use crate::history::check::linear::{self, Checked};
use crate::history::record::{Keys, Ticket};
use crate::history::run::Run;

/// Stands for a member that no client can have added; it fits no state.
const NO_MEMBER: usize = usize::MAX;

/// See the module.
pub(super) struct Boards {
    keys: Vec<Keys<BoardOp>>,
}

impl Boards {
    pub(super) fn new(name: &str) -> Boards {
        Boards { keys: (0..KEYS).map(|k| Keys::new(format!("{name}:k{k}"), SEARCHED)).collect() }
    }
}

/// A score: a text of RESP2, a number of RESP3. It is integral, like everything that was added.
fn score(reply: &Value) -> Option<i64> {
    match reply {
        Value::Bulk(text) => shape::parse(text),
        Value::Double(number) if number.fract() == 0.0 => Some(*number as i64),
        _ => None,
    }
}

fn scored(member: &Value, value: &Value) -> Option<Scored> {
    let Value::Bulk(name) = member else { return None };
    Some((shape::parse(name).filter(|member| *member < MEMBERS).unwrap_or(NO_MEMBER), score(value)?))
}

/// Members and scores: in turn in RESP2, in pairs in RESP3.
fn members(reply: &Value) -> Option<Vec<Scored>> {
    let Value::Array(values) = reply else { return None };
    if values.iter().all(|value| matches!(value, Value::Array(_))) {
        let pair = |value: &Value| match value {
            Value::Array(pair) => scored(pair.first()?, pair.get(1)?),
            _ => None,
        };
        return values.iter().map(pair).collect();
    }
    values.chunks(2).map(|pair| scored(&pair[0], pair.get(1)?)).collect()
}

/// The member that ZPOPMIN took, if there was one.
fn first(reply: &Value) -> Option<Option<Scored>> {
    let taken = members(reply)?;
    (taken.len() <= 1).then(|| taken.first().copied())
}

fn rank(reply: &Value) -> Option<Option<i64>> {
    match reply {
        Value::Null => Some(None),
        rank => shape::integer(rank).map(Some),
    }
}

fn one(reply: &Value) -> Option<bool> {
    shape::integer(reply).filter(|count| (0..=1).contains(count)).map(|count| count == 1)
}

async fn read(actor: &mut Actor, keys: &Keys<BoardOp>, at: &Ticket) -> Result<bool, String> {
    let attempt = actor.read(&[b"ZRANGE", at.key.as_bytes(), b"0", b"-1", b"WITHSCORES"], members).await?;
    if let Some(members) = attempt.result.clone() {
        keys.note(at, actor.op(&attempt, BoardOp::Read(members)), attempt.outcome);
    }
    Ok(attempt.is_done())
}

async fn find(actor: &mut Actor, keys: &Keys<BoardOp>, at: &Ticket, member: usize) -> bool {
    let name = member.to_string();
    let Ok(attempt) = actor.read(&[b"ZRANK", at.key.as_bytes(), name.as_bytes()], rank).await else { return false };
    if let Some(rank) = attempt.result {
        keys.note(at, actor.op(&attempt, BoardOp::Rank { member, rank }), attempt.outcome);
    }
    attempt.is_done()
}

async fn raise(actor: &mut Actor, keys: &Keys<BoardOp>, at: &Ticket, member: usize) -> bool {
    let by = actor.rng.random_range(-3..8);
    let (text, name) = (by.to_string(), member.to_string());
    let attempt = actor.write(&[b"ZINCRBY", at.key.as_bytes(), text.as_bytes(), name.as_bytes()], score).await;
    keys.note(at, actor.op(&attempt, BoardOp::Raise { member, by, score: attempt.result }), attempt.outcome);
    attempt.is_done()
}

async fn remove(actor: &mut Actor, keys: &Keys<BoardOp>, at: &Ticket, member: usize) -> bool {
    let attempt = actor.write(&[b"ZREM", at.key.as_bytes(), member.to_string().as_bytes()], one).await;
    keys.note(at, actor.op(&attempt, BoardOp::Remove { member, was: attempt.result }), attempt.outcome);
    attempt.is_done()
}

async fn take_first(actor: &mut Actor, keys: &Keys<BoardOp>, at: &Ticket) -> bool {
    let attempt = actor.write(&[b"ZPOPMIN", at.key.as_bytes()], first).await;
    keys.note(at, actor.op(&attempt, BoardOp::TakeFirst { taken: attempt.result }), attempt.outcome);
    attempt.is_done()
}

#[async_trait]
impl Workload for Boards {
    fn name(&self) -> &'static str {
        Board::WORKLOAD
    }

    async fn step(&self, _: u32, actor: &mut Actor) -> bool {
        let keys = &self.keys[actor.rng.random_range(0..KEYS)];
        let at = keys.take();
        let member = actor.rng.random_range(0..MEMBERS);
        match actor.rng.random_range(0..20) {
            0..4 => read(actor, keys, &at).await.unwrap_or(false),
            4..7 => find(actor, keys, &at, member).await,
            7..16 => raise(actor, keys, &at, member).await,
            16..18 => remove(actor, keys, &at, member).await,
            _ => take_first(actor, keys, &at).await,
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
        self.keys.iter().for_each(|keys| keys.each(|history| linear::check::<Board>(history, findings)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_from_both_protocols() {
        let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let flat = Value::Array(vec![text("2"), text("-1"), text("0"), text("7")]);
        let pair = |name: &str, score| Value::Array(vec![text(name), Value::Double(score)]);
        assert_eq!(members(&flat), Some(vec![(2, -1), (0, 7)]));
        assert_eq!(members(&Value::Array(vec![pair("2", -1.0), pair("0", 7.0)])), Some(vec![(2, -1), (0, 7)]));
        assert_eq!(members(&Value::Array(vec![pair("9", 1.0)])), Some(vec![(NO_MEMBER, 1)]));
        assert_eq!(members(&Value::Array(vec![text("2")])), None);
        assert_eq!(first(&Value::Array(vec![])), Some(None));
        assert_eq!(first(&Value::Array(vec![text("2"), Value::Double(3.0)])), Some(Some((2, 3))));
        assert_eq!(first(&flat), None);
        assert_eq!((score(&Value::Double(0.5)), score(&text("x"))), (None, None));
        assert_eq!((rank(&Value::Null), rank(&Value::Integer(2))), (Some(None), Some(Some(2))));
    }
}
