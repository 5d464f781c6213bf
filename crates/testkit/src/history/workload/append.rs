//! Lists that share a slot. They are strings to which APPEND adds unique elements of equal width, within transactions
//! that read and append.

use async_trait::async_trait;
use fastness_resp::Value;
use rand::Rng;

use super::{Workload, in_slot};
use crate::history::actor::{Actor, shape};
use crate::history::check::Findings;
use crate::history::check::append::{self, AppendOp, Transaction};
use crate::history::record::{Bounds, Keys, Ticket};
use crate::history::run::Run;

/// Number of lists of one group.
const LISTS: usize = 4;
/// Maximum number of steps of one transaction.
const STEPS_MAX: usize = 4;
/// Width of an element, bytes: hexadecimal digits and a comma. The client's id takes the bits above the lowest 32.
const WIDTH: usize = 14;
/// Keeps lists short enough to be read whole all the time; the checker has no limit.
const BOUNDS: Bounds = Bounds { ops: 150, unknown: 50 };

/// See the module.
pub(super) struct GrowingLists {
    keys: Keys<Transaction>,
}

impl GrowingLists {
    pub(super) fn new(name: &str) -> GrowingLists {
        GrowingLists { keys: Keys::new(name.to_owned(), BOUNDS) }
    }

    async fn run(&self, actor: &mut Actor, at: &Ticket, requested: Transaction) -> Result<bool, String> {
        let words: Vec<[String; 3]> = requested.iter().map(|step| command(&at.key, step)).collect();
        let commands: Vec<Vec<&[u8]>> = words.iter().map(|words| arguments(words)).collect();
        let commands: Vec<&[&[u8]]> = commands.iter().map(Vec::as_slice).collect();
        let answered = |replies: &[Value]| fill(&requested, replies);
        let writes = requested.iter().any(|step| matches!(step, AppendOp::Append { .. }));
        let key = in_slot(&at.key, 0);
        let attempt = if writes {
            actor.transact(&key, &commands, answered).await
        } else {
            actor.read_together(&key, &commands, answered).await?
        };
        let transaction = attempt.result.clone().unwrap_or_else(|| requested.clone());
        self.keys.note(at, actor.op(&attempt, transaction), attempt.outcome);
        Ok(attempt.is_done())
    }
}

fn choose(actor: &mut Actor) -> Transaction {
    let steps = actor.rng.random_range(1..=STEPS_MAX);
    let step = |_| {
        let list = actor.rng.random_range(0..LISTS);
        if actor.rng.random_range(0..10) < 6 {
            AppendOp::Append { list, element: actor.new_value(), length: None }
        } else {
            AppendOp::Read { list, elements: None }
        }
    };
    (0..steps).map(step).collect()
}

/// The words of a step's command; the last one is empty for a command of two words.
fn command(key: &str, step: &AppendOp) -> [String; 3] {
    match step {
        AppendOp::Append { list, element, .. } => ["APPEND".into(), in_slot(key, list), text(*element)],
        AppendOp::Read { list, .. } => ["GET".into(), in_slot(key, list), String::new()],
    }
}

fn arguments(words: &[String; 3]) -> Vec<&[u8]> {
    words.iter().filter(|word| !word.is_empty()).map(String::as_bytes).collect()
}

fn text(element: u64) -> String {
    format!("{element:0width$x},", width = WIDTH - 1)
}

/// A transaction with the answers of EXEC.
fn fill(requested: &Transaction, replies: &[Value]) -> Option<Transaction> {
    if requested.len() != replies.len() {
        return None;
    }
    let filled = |(step, reply): (&AppendOp, &Value)| match step {
        AppendOp::Append { list, element, .. } => {
            let bytes = usize::try_from(shape::integer(reply)?).ok()?;
            // A length that is not a multiple of the width is the place of no element.
            let length = if bytes.is_multiple_of(WIDTH) { bytes / WIDTH } else { 0 };
            Some(AppendOp::Append { list: *list, element: *element, length: Some(length) })
        }
        AppendOp::Read { list, .. } => Some(AppendOp::Read { list: *list, elements: Some(elements(reply)?) }),
    };
    requested.iter().zip(replies).map(filled).collect()
}

fn elements(reply: &Value) -> Option<Vec<u64>> {
    let text = shape::text(reply)?;
    let element = |text: &[u8]| {
        let digits = text.strip_suffix(b",").filter(|_| text.len() == WIDTH);
        let number = digits.and_then(|digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        number.unwrap_or(shape::NO_NUMBER)
    };
    Some(text.chunks(WIDTH).map(element).collect())
}

#[async_trait]
impl Workload for GrowingLists {
    fn name(&self) -> &'static str {
        append::WORKLOAD
    }

    async fn step(&self, _: u32, actor: &mut Actor) -> bool {
        let at = self.keys.take();
        let transaction = choose(actor);
        self.run(actor, &at, transaction).await.unwrap_or(false)
    }

    async fn read_back(&self, reader: &mut Actor) -> Result<(), String> {
        for at in self.keys.tickets() {
            let all = (0..LISTS).map(|list| AppendOp::Read { list, elements: None }).collect();
            self.run(reader, &at, all).await?;
        }
        Ok(())
    }

    fn check(&self, _: &Run, findings: &mut Findings) {
        self.keys.each(|history| append::check(history, findings));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_back_and_torn_ones_are_nobodys() {
        let list = [7u64 << 32 | 1, 9].map(text).concat();
        assert_eq!(elements(&Value::Bulk(list.clone().into_bytes())), Some(vec![7u64 << 32 | 1, 9]));
        assert_eq!(elements(&Value::Null), Some(vec![]));
        let torn = list[..list.len() - 1].to_owned();
        assert_eq!(elements(&Value::Bulk(torn.into_bytes())), Some(vec![7u64 << 32 | 1, shape::NO_NUMBER]));
    }

    #[test]
    fn answers_are_put_into_their_steps() {
        let requested =
            vec![AppendOp::Append { list: 0, element: 5, length: None }, AppendOp::Read { list: 1, elements: None }];
        let filled = fill(&requested, &[Value::Integer(2 * WIDTH as i64), Value::Null]).unwrap();
        assert_eq!(filled[0], AppendOp::Append { list: 0, element: 5, length: Some(2) });
        assert_eq!(filled[1], AppendOp::Read { list: 1, elements: Some(vec![]) });
        assert_eq!(fill(&requested, &[Value::Integer(14)]), None);
        assert_eq!(fill(&requested, &[Value::Integer(14), Value::Error(b"OOM".to_vec())]), None);
    }
}
