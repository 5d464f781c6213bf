//! The judge is judged: what it must find, and what it must let pass.

use fastness_types::{Epoch, LogIndex};

use super::*;

const SHARD: ShardId = ShardId(1);
const BOUND: Duration = Duration::from_secs(1);

fn origin(term: u64, mode: Durability, left_ms: u64) -> ReplyOrigin {
    ReplyOrigin {
        node: NodeId(term),
        life: 1,
        primary: true,
        epoch: Epoch { term, node: NodeId(term) },
        mode,
        version: 1,
        applied: LogIndex(1),
        left: Duration::from_millis(left_ms),
    }
}

fn replica(node: u64, life: u64) -> ReplyOrigin {
    ReplyOrigin { node: NodeId(node), life, primary: false, ..origin(1, Durability::Async, 0) }
}

/// A ledger with as many acknowledged writes, a second apart, all of term 1.
fn with(acknowledged: u64, mode: Durability) -> Ledger {
    let mut ledger = Ledger::new(BOUND);
    for at in 0..acknowledged {
        let number = ledger.next_number(SHARD, "k");
        ledger.wrote("k", number, Outcome::Acknowledged, Some(origin(1, mode, at * 500)));
    }
    ledger
}

fn read(ledger: &mut Ledger, shown: u64, by: ReplyOrigin) -> Vec<String> {
    let start = ledger.before_read("k");
    ledger.read("k", start, Some(format!("{shown}:x").as_bytes()), by);
    ledger.take_violations()
}

fn replica_read(ledger: &mut Ledger, shown: &[u8], by: ReplyOrigin) {
    let start = ledger.before_read("k");
    ledger.replica_read("k", start, Some(shown), by);
}

#[test]
fn a_read_that_was_under_way_when_a_loss_was_seen_may_still_show_it() {
    let mut ledger = with(2, Durability::Async);
    let under_way = ledger.before_read("k");
    assert_eq!(read(&mut ledger, 1, origin(2, Durability::Async, 9_000)), Vec::<String>::new());
    ledger.read("k", under_way, Some(b"2:x"), origin(1, Durability::Async, 500));
    assert_eq!(ledger.take_violations(), Vec::<String>::new());
    assert_eq!(read(&mut ledger, 2, origin(2, Durability::Async, 9_000)).len(), 1);
}

#[test]
fn what_sync_acknowledged_must_be_seen_by_every_later_epoch() {
    let mut ledger = with(3, Durability::Sync);
    assert_eq!(read(&mut ledger, 3, origin(2, Durability::Sync, 9_000)), Vec::<String>::new());
    assert_eq!(read(&mut ledger, 2, origin(3, Durability::Sync, 9_000)).len(), 1);
    assert_eq!(ledger.summary().stale, 1);
}

#[test]
fn what_sync_acknowledged_stays_when_the_mode_is_looser() {
    let mut ledger = with(3, Durability::Sync);
    assert_eq!(read(&mut ledger, 2, origin(2, Durability::Async, 9_000)).len(), 1);
}

#[test]
fn async_may_lose_the_newest_writes_in_a_failover_and_no_more_than_the_bound() {
    let mut ledger = with(4, Durability::Async);
    assert_eq!(read(&mut ledger, 2, origin(2, Durability::Async, 9_000)), Vec::<String>::new());
    assert_eq!((ledger.summary().lost_within_bound, ledger.longest_loss()), (2, Duration::from_millis(500)));
    let mut ledger = with(4, Durability::Async);
    assert_eq!(read(&mut ledger, 0, origin(2, Durability::Async, 9_000)).len(), 1, "1.5 s are lost");
}

#[test]
fn a_loss_counts_from_the_newest_acknowledgement_of_its_tenure_on_any_key() {
    let mut ledger = with(1, Durability::Async);
    assert_eq!(read(&mut ledger, 0, origin(2, Durability::Async, 9_000)), Vec::<String>::new());
    let number = ledger.next_number(SHARD, "other");
    ledger.wrote("other", number, Outcome::Acknowledged, Some(origin(1, Durability::Async, 1_100)));
    assert_eq!(ledger.take_violations().len(), 1);
}

#[test]
fn nothing_is_lost_without_a_failover_and_a_deposed_primary_is_stale() {
    for term in [1, 0] {
        let mut ledger = with(2, Durability::Async);
        assert_eq!(read(&mut ledger, 1, origin(term, Durability::Async, 9_000)).len(), 1);
    }
}

#[test]
fn what_was_lost_is_never_shown_again_and_disabled_has_no_bound() {
    let mut ledger = with(9, Durability::Disabled);
    assert_eq!(read(&mut ledger, 1, origin(2, Durability::Disabled, 9_000)), Vec::<String>::new());
    assert_eq!(read(&mut ledger, 5, origin(3, Durability::Disabled, 9_000)).len(), 1);
}

#[test]
fn what_was_shown_under_sync_or_by_a_replica_is_settled() {
    let mut ledger = with(2, Durability::Async);
    assert_eq!(read(&mut ledger, 2, origin(1, Durability::Sync, 1_000)), Vec::<String>::new());
    assert_eq!(read(&mut ledger, 1, origin(2, Durability::Async, 9_000)).len(), 1);
    let mut ledger = with(2, Durability::Async);
    replica_read(&mut ledger, b"2:x", replica(3, 1));
    assert_eq!(read(&mut ledger, 1, origin(2, Durability::Async, 9_000)).len(), 1);
}

#[test]
fn a_replica_never_goes_back_while_it_runs() {
    let mut ledger = with(3, Durability::Sync);
    replica_read(&mut ledger, b"2:x", replica(3, 1));
    replica_read(&mut ledger, b"1:x", replica(2, 1));
    replica_read(&mut ledger, b"1:x", replica(3, 2));
    assert_eq!(ledger.take_violations(), Vec::<String>::new(), "another replica, another life");
    let earlier = ReplyOrigin { applied: LogIndex(0), ..replica(3, 1) };
    replica_read(&mut ledger, b"1:x", earlier);
    assert_eq!(ledger.take_violations(), Vec::<String>::new(), "a reply that was overtaken");
    replica_read(&mut ledger, b"1:x", replica(3, 1));
    assert_eq!(ledger.take_violations().len(), 1);
}

#[test]
fn a_write_of_unknown_outcome_may_be_seen_or_not_and_a_refused_one_never() {
    let mut ledger = with(1, Durability::Sync);
    let number = ledger.next_number(SHARD, "k");
    ledger.wrote("k", number, Outcome::Unknown, None);
    assert_eq!(read(&mut ledger, 2, origin(1, Durability::Sync, 600)), Vec::<String>::new());
    let mut ledger = with(1, Durability::Sync);
    let number = ledger.next_number(SHARD, "k");
    ledger.wrote("k", number, Outcome::Refused, None);
    assert_eq!(read(&mut ledger, 2, origin(1, Durability::Sync, 600)).len(), 1);
    assert_eq!(read(&mut ledger, 3, origin(1, Durability::Sync, 600)).len(), 1, "never written");
}

#[test]
fn a_counter_holds_what_was_settled_and_no_raise_twice() {
    let mut ledger = Ledger::new(BOUND);
    let raise = |ledger: &mut Ledger, value, mode| {
        ledger.raised("c", Outcome::Acknowledged, Some(value), Some(origin(1, mode, 0)));
        ledger.take_violations().len()
    };
    assert_eq!(raise(&mut ledger, 1, Durability::Sync), 0);
    assert_eq!(raise(&mut ledger, 2, Durability::Async), 0);
    assert_eq!(raise(&mut ledger, 2, Durability::Async), 0, "one that async acknowledged may be lost");
    assert_eq!(raise(&mut ledger, 1, Durability::Async), 1, "one that sync acknowledged may not");
    assert_eq!(raise(&mut ledger, 6, Durability::Async), 1, "more than all raises together");
}

#[test]
fn nothing_is_answered_under_a_looser_mode_than_the_one_that_has_committed() {
    let mut ledger = Ledger::new(BOUND);
    for (mode, committed, is_broken) in [
        (Durability::Sync, Some(Durability::Sync), false),
        (Durability::Sync, Some(Durability::Async), false),
        (Durability::Async, Some(Durability::Sync), true),
        (Durability::Disabled, Some(Durability::Async), true),
        (Durability::Async, None, false),
    ] {
        ledger.check_mode(origin(1, mode, 0), committed);
        assert_eq!(ledger.take_violations().len(), usize::from(is_broken), "{mode:?} {committed:?}");
    }
    ledger.check_mode(ReplyOrigin { primary: false, ..origin(1, Durability::Async, 0) }, Some(Durability::Sync));
    assert!(ledger.take_violations().is_empty(), "a replica acknowledges nothing");
}

#[test]
fn a_counter_may_be_raised_by_who_still_waits() {
    let mut ledger = Ledger::new(BOUND);
    ledger.raise_started("n");
    ledger.raised("n", Outcome::Acknowledged, Some(1), Some(origin(1, Durability::Sync, 0)));
    ledger.raise_started("n");
    ledger.read_counter("n", Some(2));
    assert_eq!(ledger.take_violations(), Vec::<String>::new());
    ledger.raised("n", Outcome::Refused, None, None);
    ledger.read_counter("n", Some(2));
    assert_eq!(ledger.take_violations().len(), 1, "nobody waits any more");
}
