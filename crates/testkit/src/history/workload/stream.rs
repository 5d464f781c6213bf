//! Streams with a consumer group: XADD, XRANGE, XREADGROUP (also with BLOCK), XACK, XPENDING. Each client is a
//! consumer.

use async_trait::async_trait;
use fastness_resp::Value;
use rand::Rng;

use super::Workload;
use crate::history::actor::{Actor, shape};
use crate::history::check::Findings;
use crate::history::check::stream::{self, Entry, Id, StreamOp};
use crate::history::record::{Bounds, Keys, Ticket};
use crate::history::run::Run;

/// Keeps streams short enough to be read whole all the time; the checker has no limit.
const BOUNDS: Bounds = Bounds { ops: 300, unknown: 50 };
const GROUP: &[u8] = b"g";
/// Most entries of a delivery.
const COUNT: &[u8] = b"3";
/// How long a delivery waits for an entry, ms.
const WAIT: &[u8] = b"50";
/// More entries than a stream has.
const ALL: &[u8] = b"100000";
/// How often the client that reads back tries to receive what was never delivered.
const TRIES: usize = 200;

/// See the module.
pub(super) struct Streams {
    keys: Keys<StreamOp>,
}

impl Streams {
    pub(super) fn new(name: &str) -> Streams {
        Streams { keys: Keys::new(name.to_owned(), BOUNDS) }
    }

    async fn read(&self, actor: &mut Actor, at: &Ticket) -> Result<bool, String> {
        let attempt = actor.read(&[b"XRANGE", at.key.as_bytes(), b"-", b"+"], entries).await?;
        if let Some(entries) = attempt.result.clone() {
            self.keys.note(at, actor.op(&attempt, StreamOp::Read(entries)), attempt.outcome);
        }
        Ok(attempt.is_done())
    }

    async fn add(&self, actor: &mut Actor, at: &Ticket) -> bool {
        let element = actor.new_value();
        let text = element.to_string();
        let command: &[&[u8]] = &[b"XADD", at.key.as_bytes(), b"*", b"e", text.as_bytes()];
        let attempt = actor.write(command, |reply| bulk(reply).and_then(id)).await;
        self.keys.note(at, actor.op(&attempt, StreamOp::Add { element, id: attempt.result }), attempt.outcome);
        attempt.is_done()
    }

    /// Receives entries; returns them if there was an answer. Without a group there is none, so it is created.
    async fn receive(&self, actor: &mut Actor, at: &Ticket, count: &[u8], waits: bool) -> Option<Vec<Entry>> {
        let (key, consumer) = (at.key.as_bytes(), actor.id.to_string());
        let mut command: Vec<&[u8]> = vec![b"XREADGROUP", b"GROUP", GROUP, consumer.as_bytes(), b"COUNT", count];
        command.extend(waits.then_some([&b"BLOCK"[..], WAIT]).into_iter().flatten());
        command.extend([&b"STREAMS"[..], key, b">"]);
        let attempt = actor.write(&command, delivered).await;
        if attempt.is_refused() {
            actor.write(&[b"XGROUP", b"CREATE", key, GROUP, b"0", b"MKSTREAM"], shape::ok).await;
        }
        self.keys.note(at, actor.op(&attempt, StreamOp::Deliver(attempt.result.clone())), attempt.outcome);
        attempt.result
    }

    async fn acknowledge(&self, actor: &mut Actor, at: &Ticket, id: Id) -> bool {
        let text = format!("{}-{}", id.0, id.1);
        let attempt = actor.write(&[b"XACK", at.key.as_bytes(), GROUP, text.as_bytes()], shape::integer).await;
        let was = attempt.result.map(|count| count == 1);
        self.keys.note(at, actor.op(&attempt, StreamOp::Acknowledge { id, was }), attempt.outcome);
        attempt.is_done()
    }

    /// Receives what no client was given, then asks what is pending.
    async fn read_back_one(&self, reader: &mut Actor, at: &Ticket) -> Result<(), String> {
        self.read(reader, at).await?;
        let mut tries = 0;
        while self.receive(reader, at, ALL, false).await.is_none_or(|entries| !entries.is_empty()) {
            tries += 1;
            if tries == TRIES {
                return Err(format!("{}: the group could not be read back", at.key));
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let attempt = reader.read(&[b"XPENDING", at.key.as_bytes(), GROUP, b"-", b"+", ALL], pending).await?;
        if let Some(pending) = attempt.result.clone() {
            self.keys.note(at, reader.op(&attempt, StreamOp::Pending(pending)), attempt.outcome);
        }
        Ok(())
    }
}

fn bulk(reply: &Value) -> Option<&[u8]> {
    match reply {
        Value::Bulk(text) => Some(text),
        _ => None,
    }
}

fn id(text: &[u8]) -> Option<Id> {
    let mut parts = text.split(|byte| *byte == b'-');
    let id = (shape::parse(parts.next()?)?, shape::parse(parts.next()?)?);
    parts.next().is_none().then_some(id)
}

/// An entry: its id, and its only field with the element.
fn entry(value: &Value) -> Option<Entry> {
    let Value::Array(entry) = value else { return None };
    let [id_of, Value::Array(fields)] = &entry[..] else { return None };
    let [_, element] = &fields[..] else { return None };
    Some((id(bulk(id_of)?)?, shape::parse(bulk(element)?).unwrap_or(shape::NO_NUMBER)))
}

fn entries(reply: &Value) -> Option<Vec<Entry>> {
    let Value::Array(entries) = reply else { return None };
    entries.iter().map(entry).collect()
}

/// The entries of the only stream of XREADGROUP's reply: a pair in an array of RESP2, a map of RESP3.
fn delivered(reply: &Value) -> Option<Vec<Entry>> {
    match reply {
        Value::Null | Value::NullArray => Some(Vec::new()),
        Value::Map(streams) => match &streams[..] {
            [(_, of_stream)] => entries(of_stream),
            _ => None,
        },
        Value::Array(streams) => match &streams[..] {
            [Value::Array(stream)] => entries(stream.get(1)?),
            _ => None,
        },
        _ => None,
    }
}

/// Ids and consumers of XPENDING's long reply.
fn pending(reply: &Value) -> Option<Vec<(Id, u32)>> {
    let Value::Array(all) = reply else { return None };
    let one = |value: &Value| {
        let Value::Array(fields) = value else { return None };
        Some((id(bulk(fields.first()?)?)?, shape::parse(bulk(fields.get(1)?)?)?))
    };
    all.iter().map(one).collect()
}

#[async_trait]
impl Workload for Streams {
    fn name(&self) -> &'static str {
        stream::WORKLOAD
    }

    async fn step(&self, _: u32, actor: &mut Actor) -> bool {
        let at = self.keys.take();
        match actor.rng.random_range(0..20) {
            0..3 => self.read(actor, &at).await.unwrap_or(false),
            3..12 => self.add(actor, &at).await,
            choice => {
                let Some(entries) = self.receive(actor, &at, COUNT, choice % 2 == 0).await else { return false };
                for (id, _) in entries {
                    // Some are left pending.
                    if actor.rng.random_range(0..4) > 0 {
                        self.acknowledge(actor, &at, id).await;
                    }
                }
                true
            }
        }
    }

    async fn read_back(&self, reader: &mut Actor) -> Result<(), String> {
        for at in self.keys.tickets() {
            self.read_back_one(reader, &at).await?;
        }
        Ok(())
    }

    fn check(&self, _: &Run, findings: &mut Findings) {
        self.keys.each(|history| stream::check(history, findings));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_from_both_protocols() {
        let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let entry = |id: &str| Value::Array(vec![text(id), Value::Array(vec![text("e"), text("7")])]);
        let all = || Value::Array(vec![entry("1-0"), entry("1-1")]);
        let expected = vec![((1, 0), 7), ((1, 1), 7)];
        assert_eq!(entries(&all()), Some(expected.clone()));
        assert_eq!(delivered(&Value::Map(vec![(text("k"), all())])), Some(expected.clone()));
        let stream = Value::Array(vec![text("k"), all()]);
        assert_eq!(delivered(&Value::Array(vec![stream])), Some(expected));
        assert_eq!((delivered(&Value::Null), delivered(&Value::NullArray)), (Some(vec![]), Some(vec![])));
        assert_eq!((delivered(&Value::Integer(1)), entries(&Value::Array(vec![text("1-0")]))), (None, None));
        assert_eq!((id(b"5-7"), id(b"5"), id(b"5-7-1"), id(b"x-1")), (Some((5, 7)), None, None, None));
        let one = Value::Array(vec![text("1-0"), text("3"), Value::Integer(10), Value::Integer(1)]);
        assert_eq!(pending(&Value::Array(vec![one])), Some(vec![((1, 0), 3)]));
    }
}
