use proptest::prelude::*;

use super::*;
use crate::history::check::sample::{after_all, at, good, open, places};
use crate::history::run::READER;

fn found(ops: impl IntoIterator<Item = Op<Transaction>>) -> Findings {
    let mut findings = Findings::default();
    check(&History::of(ops), &mut findings);
    findings
}

fn kinds(ops: impl IntoIterator<Item = Op<Transaction>>) -> Vec<Kind> {
    found(ops).kinds()
}

fn append(list: usize, element: u64) -> AppendOp {
    AppendOp::Append { list, element, length: None }
}

fn read(list: usize, elements: &[u64]) -> AppendOp {
    AppendOp::Read { list, elements: Some(elements.to_vec()) }
}

/// The name of the only violation.
fn cycle(ops: impl IntoIterator<Item = Op<Transaction>>) -> String {
    let findings = found(ops);
    assert_eq!(findings.kinds(), [Kind::Cycle]);
    findings.violations[0].what.clone()
}

#[test]
fn a_history_in_order_is_accepted() {
    let ops = [
        at(1, 0, 10, vec![append(0, 1), append(1, 2)]),
        at(2, 5, 30, vec![append(0, 3), read(0, &[1, 3]), read(1, &[2])]),
        at(3, 6, 40, vec![read(0, &[]), read(1, &[])]),
        open(4, 7, vec![append(0, 4)]),
        at(READER, 50, 60, vec![read(0, &[1, 3]), read(1, &[2])]),
    ];
    assert_eq!(kinds(ops.clone()), []);
    let late = at(READER, 70, 80, vec![read(0, &[1, 3, 4])]);
    assert_eq!(kinds(ops.into_iter().chain([late])), []);
}

#[test]
fn a_lost_append_is_refuted() {
    let ops = || [at(1, 0, 10, vec![append(0, 1)]), at(2, 20, 30, vec![append(0, 2)])];
    assert_eq!(kinds(ops().into_iter().chain([at(READER, 40, 50, vec![read(0, &[1])])])), [Kind::Lost]);
    assert_eq!(kinds(ops().into_iter().chain([at(READER, 40, 50, vec![read(0, &[])])])), [Kind::Lost]);
    let unread = found(ops().into_iter().chain([at(3, 15, 50, vec![read(0, &[1])])]));
    assert_eq!((unread.violations.len(), unread.undecided.len()), (0, 1));
}

#[test]
fn a_lost_append_is_told_from_an_order_that_two_histories_made() {
    // 2 was acknowledged and read; the next transaction did not see it, and appended without it.
    let ops = [
        at(1, 0, 10, vec![append(0, 1)]),
        at(1, 20, 30, vec![append(0, 2), read(0, &[1, 2])]),
        at(2, 40, 50, vec![append(0, 3)]),
        at(READER, 60, 70, vec![read(0, &[1, 3])]),
    ];
    assert_eq!(kinds(ops), [Kind::Lost, Kind::Order]);
}

#[test]
fn a_stale_read_is_refuted() {
    let ops =
        [at(1, 0, 10, vec![append(0, 1)]), at(2, 20, 30, vec![read(0, &[])]), at(READER, 40, 50, vec![read(0, &[1])])];
    assert_eq!(kinds(ops), [Kind::Stale]);
}

#[test]
fn a_duplicate_is_refuted() {
    assert_eq!(kinds([at(1, 0, 10, vec![append(0, 1)]), at(2, 20, 30, vec![read(0, &[1, 1])])]), [Kind::Duplicate]);
}

#[test]
fn an_element_that_was_refused_is_refuted() {
    // The transaction that appended 7 was refused, so it is not in the history.
    assert_eq!(kinds([at(1, 0, 10, vec![append(0, 1)]), at(2, 20, 30, vec![read(0, &[1, 7])])]), [Kind::Phantom]);
    // An element of another list.
    assert_eq!(
        kinds([at(1, 0, 10, vec![append(0, 1)]), at(2, 20, 30, vec![read(0, &[1]), read(1, &[1])])]),
        [Kind::Phantom]
    );
}

#[test]
fn reads_that_are_no_beginnings_of_each_other_are_refuted() {
    let ops = [
        at(1, 0, 10, vec![append(0, 1)]),
        at(2, 0, 10, vec![append(0, 2)]),
        at(3, 5, 30, vec![read(0, &[2])]),
        at(4, 5, 30, vec![read(0, &[1, 2])]),
    ];
    assert_eq!(kinds(ops), [Kind::Order]);
}

#[test]
fn an_append_is_where_its_answer_said() {
    let said = |length| vec![AppendOp::Append { list: 0, element: 2, length: Some(length) }];
    let ops = |length| {
        [at(1, 0, 10, vec![append(0, 1)]), at(2, 20, 30, said(length)), at(READER, 40, 50, vec![read(0, &[1, 2])])]
    };
    assert_eq!(kinds(ops(2)), []);
    assert_eq!(kinds(ops(1)), [Kind::Order]);
}

#[test]
fn half_of_a_transaction_is_refuted() {
    let whole = at(1, 0, 50, vec![append(0, 1), append(0, 2)]);
    let last = at(READER, 60, 70, vec![read(0, &[1, 2])]);
    assert_eq!(kinds([whole.clone(), at(2, 20, 30, vec![read(0, &[1])]), last.clone()]), [Kind::Torn]);
    assert_eq!(kinds([whole, at(2, 20, 30, vec![read(0, &[])]), last]), []);
    let blind = at(1, 0, 50, vec![append(0, 1), read(0, &[])]);
    assert_eq!(kinds([blind, at(READER, 60, 70, vec![read(0, &[1])])]), [Kind::Torn]);
}

#[test]
fn half_of_a_transaction_of_unknown_outcome_is_a_cycle() {
    let doubt = open(1, 0, vec![append(0, 1), append(1, 2)]);
    assert_eq!(cycle([doubt.clone(), at(READER, 20, 30, vec![read(0, &[1]), read(1, &[])])]), "G2");
    assert_eq!(kinds([doubt, at(READER, 20, 30, vec![read(0, &[]), read(1, &[])])]), []);
}

#[test]
fn writers_in_different_orders_are_g0() {
    let ops = [
        at(1, 0, 100, vec![append(0, 1), append(1, 2)]),
        at(2, 0, 100, vec![append(0, 3), append(1, 4)]),
        at(READER, 110, 120, vec![read(0, &[1, 3]), read(1, &[4, 2])]),
    ];
    assert_eq!(cycle(ops), "G0");
}

#[test]
fn two_that_read_each_others_writes_are_g1c() {
    let ops = [
        at(1, 0, 100, vec![append(0, 1), read(1, &[2])]),
        at(2, 0, 100, vec![append(1, 2), read(0, &[1])]),
        at(READER, 110, 120, vec![read(0, &[1]), read(1, &[2])]),
    ];
    assert_eq!(cycle(ops), "G1c");
}

#[test]
fn two_that_both_miss_each_others_writes_are_g2() {
    let ops = [
        at(1, 0, 100, vec![append(0, 1), read(1, &[])]),
        at(2, 0, 100, vec![append(1, 2), read(0, &[])]),
        at(READER, 110, 120, vec![read(0, &[1]), read(1, &[2])]),
    ];
    assert_eq!(cycle(ops), "G2");
}

#[test]
fn a_read_that_is_older_than_an_answer_is_a_cycle_in_real_time() {
    // The append of 1 was not acknowledged before the first read started; but the second read started after the first
    // one ended, and showed less.
    let ops = [
        open(1, 0, vec![append(0, 1)]),
        at(2, 10, 20, vec![read(0, &[1])]),
        at(3, 30, 40, vec![read(0, &[])]),
        at(READER, 50, 60, vec![read(0, &[1])]),
    ];
    assert_eq!(cycle(ops), "G2-realtime");
    // 1 is before 2 in the list, but 2 was answered before 1 was sent.
    let ops = [
        at(1, 0, 10, vec![append(0, 2)]),
        at(2, 20, 30, vec![append(0, 1)]),
        at(READER, 50, 60, vec![read(0, &[1, 2])]),
    ];
    assert_eq!(cycle(ops), "G1c-realtime");
}

/// Runs a transaction on the current lists.
fn run(lists: &mut [Vec<u64>; 3], mut choice: u64, next: &mut u64) -> Transaction {
    let steps = 1 + choice % 3;
    let mut transaction = Vec::new();
    for _ in 0..steps {
        choice /= 7;
        let list = choice as usize % 3;
        if choice % 5 < 3 {
            *next += 1;
            lists[list].push(*next);
            transaction.push(AppendOp::Append { list, element: *next, length: Some(lists[list].len()) });
        } else {
            transaction.push(read(list, &lists[list]));
        }
    }
    transaction
}

fn forget(transaction: &Transaction) -> Option<Transaction> {
    let without = |step: &AppendOp| match step {
        AppendOp::Append { list, element, .. } => append(*list, *element),
        AppendOp::Read { list, .. } => AppendOp::Read { list: *list, elements: None },
    };
    Some(transaction.iter().map(without).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_lists_have_answered_is_accepted_and_a_lost_end_is_not(places in places(150)) {
        let (mut lists, mut next) = (<[Vec<u64>; 3]>::default(), 0);
        let mut history = good(&places, |place| run(&mut lists, place.choice, &mut next), forget);
        let all = |lists: &[Vec<u64>; 3]| lists.iter().enumerate().map(|(list, is)| read(list, is)).collect::<Vec<_>>();
        history.ops.push(after_all(&history, all(&lists)));
        prop_assert_eq!(kinds(history.ops.clone()), vec![]);

        history.ops.pop();
        history.ops.push(after_all(&history, vec![append(0, 1_000_000)]));
        history.ops.push(after_all(&history, all(&lists)));
        prop_assert_eq!(kinds(history.ops), vec![Kind::Lost]);
    }
}
