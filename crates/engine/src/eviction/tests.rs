//! What the policies leave, and when eviction stops.

use super::policy::{EvictionOptions, EvictionPolicy};
use crate::engine::evict::{Evicted, EvictionEnd};
use crate::room::{MemoryBeside, Room};
use crate::testing::{Bench, Counter};
use fastness_types::Seq;

const KEYS: usize = 4_000;

/// Keys `0` to `KEYS`, each a second newer than the one before, with these options of SET.
fn filled(policy: EvictionPolicy, options: impl Fn(usize) -> Vec<String>) -> Bench {
    let mut bench = Bench::new();
    bench.engine.set_eviction(EvictionOptions { policy, ..EvictionOptions::default() });
    let value = "v".repeat(200);
    for i in 0..KEYS {
        let name = i.to_string();
        let options = options(i);
        let mut words = vec![&b"SET"[..], name.as_bytes(), value.as_bytes()];
        words.extend(options.iter().map(String::as_bytes));
        assert_eq!(bench.run(&words), b"+OK\r\n");
        bench.now.0 += 1_000;
    }
    bench
}

/// Sets `maxmemory` so that this part of the data, in percent, must leave.
fn press(bench: &mut Bench, percent: u64) {
    let (used, empty) = (bench.engine.memory_used(), Bench::new().engine.memory_used());
    let goal = used - (used - empty) * percent / 100;
    // Above the goal there is the reserve.
    bench.engine.set_maxmemory(goal + goal / 63);
}

fn evict_some(bench: &mut Bench, keys_max: usize) -> Evicted {
    let mut random = Counter(bench.engine.stats().evicted + 3);
    bench.engine.evict(bench.now, keys_max, &mut random, &mut bench.effects)
}

/// Evicts slice by slice; returns why the last one stopped.
fn evict_all(bench: &mut Bench) -> EvictionEnd {
    loop {
        let Evicted { keys, end } = evict_some(bench, 50);
        assert!(keys <= 50);
        if end != EvictionEnd::Bounded {
            return end;
        }
    }
}

/// How many of these keys exist.
fn left(bench: &Bench, keys: impl Iterator<Item = usize>) -> usize {
    let exists = |i: &usize| bench.engine.type_of(i.to_string().as_bytes()).is_some();
    keys.filter(exists).count()
}

fn deadline(seconds: usize) -> Vec<String> {
    vec!["EX".to_owned(), (seconds + 100_000).to_string()]
}

#[test]
fn lru_keeps_what_was_accessed_last() {
    let mut bench = filled(EvictionPolicy::AllKeysLru, |_| Vec::new());
    // The oldest hundred are used again.
    (0..100).for_each(|i| _ = bench.run(&[b"GET", i.to_string().as_bytes()]));
    press(&mut bench, 50);
    assert_eq!(evict_all(&mut bench), EvictionEnd::Enough);
    let kept = left(&bench, 0..KEYS);
    assert!((KEYS * 4 / 10..KEYS * 6 / 10).contains(&kept), "{kept}");
    assert_eq!(bench.engine.stats().evicted as usize, KEYS - kept);
    let [used_again, old, new] = [0..100, 100..1_000, 3_000..4_000].map(|keys| left(&bench, keys));
    assert!(used_again >= 95 && old <= 90 && new >= 950, "{used_again} {old} {new}");
}

#[test]
fn lfu_keeps_what_is_accessed_often() {
    let mut bench = filled(EvictionPolicy::AllKeysLfu, |_| Vec::new());
    for _ in 0..30 {
        (0..1_000).for_each(|i| _ = bench.run(&[b"GET", i.to_string().as_bytes()]));
    }
    // One access, the newest of all.
    (1_000..1_500).for_each(|i| _ = bench.run(&[b"GET", i.to_string().as_bytes()]));
    // Most keys are so old that their counters have lost everything.
    press(&mut bench, 65);
    assert_eq!(evict_all(&mut bench), EvictionEnd::Enough);
    let [often, once] = [0..1_000, 1_000..1_500].map(|keys| left(&bench, keys));
    assert!(often >= 980 && once < 450, "{often} {once}");
}

#[test]
fn random_policies_prefer_nobody() {
    let mut bench = filled(EvictionPolicy::AllKeysRandom, |_| Vec::new());
    press(&mut bench, 50);
    assert_eq!(evict_all(&mut bench), EvictionEnd::Enough);
    let [old, new] = [0..2_000, 2_000..4_000].map(|keys| left(&bench, keys));
    assert!(old.abs_diff(new) < 200 && old > 800, "{old} {new}");
}

#[test]
fn volatile_policies_spare_keys_without_a_deadline() {
    let every_other = |i: usize| if i.is_multiple_of(2) { deadline(KEYS - i) } else { Vec::new() };
    for policy in [EvictionPolicy::VolatileLru, EvictionPolicy::VolatileLfu, EvictionPolicy::VolatileRandom] {
        let mut bench = filled(policy, every_other);
        if policy == EvictionPolicy::VolatileLfu {
            (0..20).for_each(|_| (2_000..4_000).for_each(|i| _ = bench.run(&[b"GET", i.to_string().as_bytes()])));
        }
        press(&mut bench, 25);
        assert_eq!(evict_all(&mut bench), EvictionEnd::Enough);
        assert_eq!(left(&bench, (1..KEYS).step_by(2)), KEYS / 2, "{policy:?}");
        let [old, new] = [0..2_000, 2_000..4_000].map(|keys| left(&bench, keys.step_by(2)));
        assert!((700..1_300).contains(&(old + new)), "{policy:?}: {old} {new}");
        if policy == EvictionPolicy::VolatileRandom {
            assert!(old.abs_diff(new) < 150, "{old} {new}");
        } else {
            assert!(new > old * 3, "{policy:?}: {old} {new}");
        }
        // When the last one with a deadline has left, nothing is left to evict.
        bench.engine.set_maxmemory(1);
        assert_eq!(evict_all(&mut bench), EvictionEnd::NothingLeft);
        assert_eq!(bench.engine.keyspace_stats().keys as usize, KEYS / 2);
        assert_eq!((bench.engine.can_evict(), bench.engine.room(false)), (false, Room::Lacking));
    }
}

#[test]
fn volatile_ttl_removes_the_earliest_deadlines() {
    let mut bench = filled(EvictionPolicy::VolatileTtl, |i| deadline((i * 7_919) % KEYS * 10));
    press(&mut bench, 30);
    assert_eq!(evict_all(&mut bench), EvictionEnd::Enough);
    let is_left = |i: usize| left(&bench, std::iter::once(i)) == 1;
    let deadline_of = |i: usize| (i * 7_919) % KEYS * 10 + i;
    let latest_removed = (0..KEYS).filter(|i| !is_left(*i)).map(deadline_of).max().unwrap();
    let earliest_kept = (0..KEYS).filter(|i| is_left(*i)).map(deadline_of).min().unwrap();
    assert!(latest_removed <= earliest_kept, "{latest_removed} {earliest_kept}");
}

#[test]
fn nothing_is_evicted_without_a_policy_or_within_the_bound() {
    let mut bench = filled(EvictionPolicy::NoEviction, deadline);
    press(&mut bench, 50);
    assert_eq!(evict_some(&mut bench, 9), Evicted { keys: 0, end: EvictionEnd::NothingLeft });
    let mut bench = filled(EvictionPolicy::AllKeysLru, |_| Vec::new());
    let used = bench.engine.memory_used();
    for maxmemory in [0, used * 2] {
        bench.engine.set_maxmemory(maxmemory);
        assert_eq!(evict_some(&mut bench, 9), Evicted { keys: 0, end: EvictionEnd::Enough });
    }
}

/// Schedule 48: what is evicted stays in use, as undo records, until its commit. It is evicted once.
#[test]
fn what_commits_will_free_is_not_evicted_again() {
    let mut bench = filled(EvictionPolicy::AllKeysLru, |_| Vec::new());
    bench.engine.keep_undo(64 << 20);
    let (digest, effects_before) = (bench.engine.digest(), bench.effects.len());
    press(&mut bench, 30);
    assert_eq!(evict_all(&mut bench), EvictionEnd::Enough);
    bench.engine.end_unit(Seq(1));
    let evicted = bench.engine.stats().evicted as usize;
    assert!((KEYS / 5..KEYS * 2 / 5).contains(&evicted), "{evicted}");
    for _ in 0..10 {
        assert_eq!(evict_some(&mut bench, 50), Evicted { keys: 0, end: EvictionEnd::Enough });
    }
    assert!(bench.engine.is_out_of_memory(), "it is all still in use");
    assert_eq!(bench.engine.room(true), Room::AfterCommit);
    // What a replica makes of the effects, and what the commit frees.
    let mut replica = filled(EvictionPolicy::AllKeysLru, |_| Vec::new());
    let effects = bench.effects.encoded().to_vec();
    replica.engine.apply(bench.now, &effects[effects_before..]).unwrap();
    assert_eq!(replica.engine.digest(), bench.engine.digest());
    bench.engine.forget_undo(Seq(1));
    while bench.engine.release_some() {}
    assert_eq!((bench.engine.room(true), bench.engine.eviction_excess()), (Room::Enough, 0));
    assert_eq!(left(&bench, 0..KEYS), KEYS - evicted);
    assert_ne!(bench.engine.digest(), digest);
}

#[test]
fn an_eviction_that_does_not_commit_is_undone() {
    let mut bench = filled(EvictionPolicy::VolatileTtl, deadline);
    let (digest, used) = (bench.engine.digest(), bench.engine.memory_of_data());
    bench.engine.keep_undo(64 << 20);
    press(&mut bench, 60);
    assert_eq!(evict_all(&mut bench), EvictionEnd::Enough);
    bench.engine.end_unit(Seq(1));
    assert_ne!(bench.engine.digest(), digest);
    assert!(bench.engine.undo());
    assert_eq!(bench.engine.digest(), digest);
    assert_eq!(left(&bench, 0..KEYS), KEYS);
    let after = bench.engine.memory_of_data();
    assert!(after.abs_diff(used) < used / 20, "{used} {after}");
}

#[test]
fn evictions_leave_half_of_the_undo_records_to_others() {
    let mut bench = filled(EvictionPolicy::AllKeysRandom, |_| Vec::new());
    bench.engine.keep_undo(100_000);
    press(&mut bench, 90);
    assert_eq!(evict_all(&mut bench), EvictionEnd::AwaitsCommit);
    bench.engine.end_unit(Seq(1));
    let evicted = bench.engine.stats().evicted;
    assert!((100..300).contains(&evicted), "{evicted}");
    assert_eq!(bench.engine.room(bench.engine.can_evict()), Room::AfterCommit);
    bench.engine.forget_undo(Seq(1));
    assert!(evict_some(&mut bench, 50).keys > 0);
    bench.engine.end_unit(Seq(2));
    assert!(bench.engine.undo(), "records are complete");
}

/// What FLUSHALL has removed is in use until its commit, too: what is set afterwards stays.
#[test]
fn a_flush_that_has_not_committed_evicts_nothing() {
    let mut bench = filled(EvictionPolicy::AllKeysRandom, |_| Vec::new());
    bench.engine.keep_undo(64 << 20);
    let used = bench.engine.memory_used();
    bench.run(&[b"FLUSHALL"]);
    (0..100).for_each(|i| _ = bench.run(&[b"MSET", i.to_string().as_bytes(), b"v"]));
    bench.engine.set_maxmemory(used * 3 / 4);
    assert_eq!(evict_some(&mut bench, 50), Evicted { keys: 0, end: EvictionEnd::Enough });
    assert_eq!(bench.engine.room(true), Room::AfterCommit);
    bench.engine.end_unit(Seq(1));
    bench.engine.forget_undo(Seq(1));
    while bench.engine.release_some() {}
    let account = bench.engine.keyspace().account();
    assert_eq!((account.removed, bench.engine.room(true)), (0, Room::Enough));
}

#[test]
fn an_undone_flush_counts_as_before() {
    let mut bench = filled(EvictionPolicy::AllKeysRandom, |_| Vec::new());
    bench.engine.keep_undo(64 << 20);
    let before = bench.engine.keyspace().account();
    bench.run(&[b"FLUSHALL"]);
    bench.run(&[b"SET", b"a", b"1"]);
    bench.engine.end_unit(Seq(1));
    assert!(bench.engine.keyspace().account().live() < before.live() * 3 / 4);
    assert!(bench.engine.undo());
    while bench.engine.release_some() {}
    let after = bench.engine.keyspace().account();
    assert_eq!((after.bytes, after.removed), (before.bytes, 0));
}

#[test]
fn a_key_larger_than_the_bound_is_evicted() {
    let mut bench = Bench::new();
    let policy = EvictionPolicy::AllKeysLru;
    bench.engine.set_eviction(EvictionOptions { policy, ..EvictionOptions::default() });
    let base = bench.engine.memory_used();
    bench.run(&[b"SET", b"large", &vec![b'v'; 8 << 20]]);
    bench.engine.set_maxmemory(base + (1 << 20));
    assert_eq!(evict_all(&mut bench), EvictionEnd::Enough);
    while bench.engine.release_some() {}
    assert_eq!((bench.engine.stats().evicted, bench.engine.room(false)), (1, Room::Enough));
    // Below what empty tables take, no eviction helps.
    bench.run(&[b"DEL", b"large"]);
    bench.engine.set_maxmemory(1_000);
    assert_eq!((evict_all(&mut bench), bench.engine.room(false)), (EvictionEnd::NothingLeft, Room::Lacking));
}

/// An image grows with each key that is evicted before it is written, so it must not make more keys leave than its
/// share.
#[test]
fn an_image_in_progress_costs_at_most_its_share() {
    let mut bench = filled(EvictionPolicy::AllKeysRandom, |_| Vec::new());
    let used = bench.engine.memory_used();
    bench.engine.set_maxmemory(used);
    bench.engine.begin_image(usize::MAX);
    let (mut random, mut chunk) = (Counter(1), Vec::new());
    assert_eq!(bench.engine.image_step(1_000, &mut chunk), Ok(None));
    loop {
        bench.effects.clear();
        let Evicted { keys, .. } = bench.engine.evict(bench.now, 50, &mut random, &mut bench.effects);
        bench.engine.end_unit(Seq(1));
        if keys == 0 {
            break;
        }
    }
    let evicted = bench.engine.stats().evicted as usize;
    assert!((100..KEYS / 2).contains(&evicted), "{evicted}");
    // Clients' buffers make room for themselves, without a bound.
    bench.engine.set_memory_beside(MemoryBeside { rest: used, ..MemoryBeside::default() });
    assert_eq!(evict_all(&mut bench), EvictionEnd::NothingLeft);
}
