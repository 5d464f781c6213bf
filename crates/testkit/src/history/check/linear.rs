//! Linearizability of one key's history, checked by porcupine.
//!
//! The search is exponential in the number of concurrent operations, and an operation of unknown outcome is concurrent
//! with all later ones. Measurements of porcupine-rs 0.3.0 (10,000 operations of 5 clients in 0.14 s; a violation next
//! to 35 unknown outcomes not found in 20 s, next to 17 in 2 s) give the limits below; the workloads retire a key
//! before it reaches them. A history beyond them, or one that takes longer, is undecided.

use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use super::{Findings, Kind, Violation};
use crate::history::record::{History, Op};
use crate::history::run::READER;

/// Maximum number of operations of one key.
pub const OPS_MAX: usize = 1000;
/// Maximum number of these that have an unknown outcome.
pub const UNKNOWN_MAX: usize = 15;
/// Maximum number of clients of one key, including the one that reads it back.
pub const CLIENTS_MAX: usize = 5;
/// Time limit of one search.
const SEARCH_MAX: Duration = Duration::from_secs(20);
/// Time limit of a search that only determines the kind of a violation.
const EXPLAIN_MAX: Duration = Duration::from_secs(2);

/// What the checker needs to know about a model's operations to determine the kind of a violation.
pub trait Checked: Model<Metadata = ()> {
    /// The name in the verdict.
    const WORKLOAD: &'static str;

    /// Whether an operation changes nothing.
    fn is_read(op: &Self::Op) -> bool;
}

/// Checks the history of one key.
pub fn check<M: Checked>(history: &History<M::Op>, findings: &mut Findings) {
    if let Some(why) = past_bounds(history) {
        findings.undecided.push(format!("{} {}: {why}", M::WORKLOAD, history.key));
        return;
    }
    match search::<M>(history, SEARCH_MAX, |_| true) {
        CheckResult::Ok => findings.ops_checked += history.ops.len() as u64,
        CheckResult::Unknown => {
            let ops = history.ops.len();
            findings.undecided.push(format!("{} {}: no verdict on {ops} operations", M::WORKLOAD, history.key));
        }
        CheckResult::Illegal => {
            findings.ops_checked += history.ops.len() as u64;
            findings.violations.push(explain::<M>(history));
        }
    }
}

fn past_bounds<T>(history: &History<T>) -> Option<String> {
    let unknown = history.ops.iter().filter(|op| op.span.end.is_none()).count();
    let mut clients: Vec<u32> = history.ops.iter().map(|op| op.client).collect();
    clients.sort_unstable();
    clients.dedup();
    let figures = [
        ("operations", history.ops.len(), OPS_MAX),
        ("of unknown outcome", unknown, UNKNOWN_MAX),
        ("clients", clients.len(), CLIENTS_MAX),
    ];
    let over = figures.into_iter().find(|(_, is, max)| is > max);
    over.map(|(what, is, max)| format!("{is} {what}, the checker decides up to {max}"))
}

/// Searches for an order of the operations for which `keep` is true.
fn search<M: Checked>(history: &History<M::Op>, longest: Duration, keep: impl Fn(&Op<M::Op>) -> bool) -> CheckResult {
    let operations: Vec<Operation<M>> = history.ops.iter().filter(|op| keep(op)).map(operation).collect();
    check_operations_timeout(&operations, longest)
}

fn operation<M: Checked>(op: &Op<M::Op>) -> Operation<M> {
    Operation {
        client_id: Some(op.client),
        call_time: op.span.call as i64,
        return_time: op.span.end.map_or(i64::MAX, |end| end as i64),
        op: op.what.clone(),
        metadata: None,
    }
}

/// Determines the kind of a violation by what can be left out so that the rest fits: the reads after the run, or all
/// reads.
fn explain<M: Checked>(history: &History<M::Op>) -> Violation {
    let fits = |keep: fn(&Op<M::Op>) -> bool| search::<M>(history, EXPLAIN_MAX, keep) == CheckResult::Ok;
    let (kind, what) = if fits(|op| op.client != READER) {
        (Kind::Lost, "the state after the run fits no order of the operations")
    } else if fits(|op| !M::is_read(&op.what)) {
        (Kind::Stale, "the reads fit no order of the operations")
    } else {
        (Kind::Order, "the answers to writes fit no order of them")
    };
    Violation {
        workload: M::WORKLOAD,
        key: history.key.clone(),
        kind,
        what: what.to_owned(),
        history: lines(history, |op| M::describe_operation(op)),
    }
}

/// A history in the order of its calls, one line for each operation.
pub(crate) fn lines<T>(history: &History<T>, describe: impl Fn(&T) -> String) -> Vec<String> {
    let mut ops: Vec<&Op<T>> = history.ops.iter().collect();
    ops.sort_by_key(|op| op.span.call);
    let line = |op: &&Op<T>| {
        let end = op.span.end.map_or("unknown".to_owned(), |end| format!("{:.3}", end as f64 / 1e6));
        format!("{:.3}-{end} ms client {}: {}", op.span.call as f64 / 1e6, op.client, describe(&op.what))
    };
    ops.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::check::counter::{Counter, CounterOp};
    use crate::history::check::sample::{History as Sample, at, open};

    #[test]
    fn histories_past_the_bounds_are_undecided() {
        let undecided = |history: &History<CounterOp>| {
            let mut findings = Findings::default();
            check::<Counter>(history, &mut findings);
            assert!(findings.violations.is_empty());
            findings.undecided.len()
        };
        let read = |client, n: u64| at(client, 2 * n, 2 * n + 1, CounterOp::Read(0));
        let reads = |count, clients: u64| Sample::of((0..count).map(|n| read((n % clients) as u32, n)));
        assert_eq!(undecided(&reads(OPS_MAX as u64, 5)), 0);
        assert_eq!(undecided(&reads(OPS_MAX as u64 + 1, 5)), 1);
        assert_eq!(undecided(&reads(10, 6)), 1);
        let doubts =
            |count: usize| Sample::of((0..count).map(|n| open(1, n as u64, CounterOp::Add { by: 1, sum: None })));
        assert_eq!(undecided(&doubts(UNKNOWN_MAX)), 0);
        assert_eq!(undecided(&doubts(UNKNOWN_MAX + 1)), 1);
    }
}
