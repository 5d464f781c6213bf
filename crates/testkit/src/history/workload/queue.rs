//! Queues, as lists: RPUSH, LPOP, BLPOP, LRANGE. A client that waits is served by the push of another one.

use async_trait::async_trait;
use fastness_resp::Value;
use rand::Rng;

use super::{KEYS, SEARCHED, Workload};
use crate::history::actor::{Actor, shape};
use crate::history::check::Findings;
use crate::history::check::linear::{self, Checked};
use crate::history::check::queue::{Queue, QueueOp};
use crate::history::record::{Keys, Ticket};
use crate::history::run::Run;

/// How long a take waits for an element, seconds.
const WAIT: &[u8] = b"0.05";

/// See the module.
pub(super) struct Queues {
    keys: Vec<Keys<QueueOp>>,
}

impl Queues {
    pub(super) fn new(name: &str) -> Queues {
        Queues { keys: (0..KEYS).map(|k| Keys::new(format!("{name}:k{k}"), SEARCHED)).collect() }
    }
}

fn elements(reply: &Value) -> Option<Vec<u64>> {
    let Value::Array(elements) = reply else { return None };
    elements.iter().map(|element| shape::number(element)?).collect()
}

/// The element, behind the name of its list in the reply of BLPOP.
fn taken(reply: &Value) -> Option<Option<u64>> {
    match reply {
        Value::NullArray => Some(None),
        Value::Array(both) => match &both[..] {
            [Value::Bulk(_), element] => shape::number(element),
            _ => None,
        },
        element => shape::number(element),
    }
}

async fn read(actor: &mut Actor, keys: &Keys<QueueOp>, at: &Ticket) -> Result<bool, String> {
    let attempt = actor.read(&[b"LRANGE", at.key.as_bytes(), b"0", b"-1"], elements).await?;
    if let Some(elements) = attempt.result.clone() {
        keys.note(at, actor.op(&attempt, QueueOp::Read(elements)), attempt.outcome);
    }
    Ok(attempt.is_done())
}

async fn add(actor: &mut Actor, keys: &Keys<QueueOp>, at: &Ticket) -> bool {
    let element = actor.new_value();
    let text = element.to_string();
    let attempt = actor.write(&[b"RPUSH", at.key.as_bytes(), text.as_bytes()], shape::integer).await;
    keys.note(at, actor.op(&attempt, QueueOp::Add { element, length: attempt.result }), attempt.outcome);
    attempt.is_done()
}

async fn take(actor: &mut Actor, keys: &Keys<QueueOp>, at: &Ticket, waits: bool) -> bool {
    let key = at.key.as_bytes();
    let attempt = match waits {
        true => actor.write(&[b"BLPOP", key, WAIT], taken).await,
        false => actor.write(&[b"LPOP", key], taken).await,
    };
    keys.note(at, actor.op(&attempt, QueueOp::Take { taken: attempt.result }), attempt.outcome);
    attempt.is_done()
}

#[async_trait]
impl Workload for Queues {
    fn name(&self) -> &'static str {
        Queue::WORKLOAD
    }

    async fn step(&self, _: u32, actor: &mut Actor) -> bool {
        let keys = &self.keys[actor.rng.random_range(0..KEYS)];
        let at = keys.take();
        // Slightly more is taken than added, so that takes have to wait and lists stay short.
        match actor.rng.random_range(0..20) {
            0..3 => read(actor, keys, &at).await.unwrap_or(false),
            3..11 => add(actor, keys, &at).await,
            11..15 => take(actor, keys, &at, false).await,
            _ => take(actor, keys, &at, true).await,
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
        self.keys.iter().for_each(|keys| keys.each(|history| linear::check::<Queue>(history, findings)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_found_in_replies_of_both_commands() {
        let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        assert_eq!(taken(&text("7")), Some(Some(7)));
        assert_eq!(taken(&Value::Array(vec![text("k"), text("7")])), Some(Some(7)));
        assert_eq!((taken(&Value::Null), taken(&Value::NullArray)), (Some(None), Some(None)));
        assert_eq!(taken(&text("x")), Some(Some(shape::NO_NUMBER)));
        assert_eq!((taken(&Value::Array(vec![])), taken(&Value::Integer(7))), (None, None));
        assert_eq!(elements(&Value::Array(vec![text("1"), text("2")])), Some(vec![1, 2]));
        assert_eq!(elements(&Value::Array(vec![Value::Null])), None);
    }
}
