//! Eviction on a primary: what leaves while commits stall, what replicas make of it, and when it is refused.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fastness_engine::{EvictionOptions, EvictionPolicy};
use fastness_shard::{Batching, Outcome, PauseKind, Release, WaitsFor};
use fastness_types::limits::EXPIRY_UNIT_KEYS_MAX;
use fastness_types::{Durability, LogIndex};
use support::{Client, Setup, World, script};

const MS: Duration = Duration::from_millis(1);
const KEYS: u64 = 2_000;
const OK: &str = "+OK\r\n";
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

fn value() -> String {
    "v".repeat(1_000)
}

/// A primary whose `KEYS` keys have committed.
async fn filled(setup: Setup) -> World {
    let world = World::primary(setup).await;
    let (mut client, value) = (world.client(), value());
    for i in 0..KEYS {
        assert_eq!(client.run(&format!("SET {i} {value}")).text, OK);
    }
    settle(&world).await;
    assert_eq!(world.shard.memory().undo, 0);
    world
}

/// Lets everything commit, and frees what that leaves.
async fn settle(world: &World) {
    for _ in 0..20 {
        world.advance(Batching::default().async_age).await;
        world.commit_all().await;
    }
}

fn bound(world: &World, policy: EvictionPolicy, maxmemory: u64) {
    world.shard.set_memory_bound(maxmemory, EvictionOptions { policy, ..EvictionOptions::default() });
}

fn keys(world: &World) -> u64 {
    world.shard.with_engine(|engine| engine.keyspace_stats().keys)
}

fn evicted(world: &World) -> u64 {
    world.shard.with_engine(|engine| engine.stats().evicted)
}

/// Writes until one has to wait; returns how many ran.
fn write_until_full(client: &mut Client) -> u64 {
    let value = value();
    for i in 0..10_000 {
        let reply = client.run(&format!("SET new{i} {value}"));
        if reply.outcome == Outcome::Busy {
            assert_eq!(client.session.waits_for(), WaitsFor::Room);
            return i;
        }
        assert_eq!(reply.text, OK);
    }
    panic!("memory has no bound");
}

/// Schedule 48: evicted values stay in use, in undo records, until their commit. While none comes, no more is evicted
/// than what has to make room, and whoever needs memory waits.
#[test]
fn while_commits_stall_no_more_is_evicted_than_needed() {
    for durability in [Durability::Sync, Durability::Async] {
        script(async move {
            let world = filled(Setup::ungated(durability)).await;
            let used = world.shard.memory().total();
            let maxmemory = used + used / 32;
            bound(&world, EvictionPolicy::AllKeysLru, maxmemory);
            let mut client = world.client();
            let written = write_until_full(&mut client);
            let left = evicted(&world);
            // The reserve is a 64th of the bound, and each key that was written makes room for itself.
            assert!(written > 20 && (1..=written + KEYS / 32).contains(&left), "{left} evicted for {written}");
            for _ in 0..50 {
                world.advance(100 * MS).await;
                // What is freed meanwhile is room for a few more writes at most.
                assert!(write_until_full(&mut client) < 50);
            }
            assert!(evicted(&world) <= left + 50, "{} after {left}", evicted(&world));
            assert!(keys(&world) > KEYS * 9 / 10, "{} keys", keys(&world));
            // Reads and removals go on, and so does everybody else when it commits.
            assert_eq!(client.run("DEL nothing").text, ":0\r\n");
            let shard = world.shard.clone();
            let waits = tokio::task::spawn_local(async move { shard.room_made().await });
            world.resolve().await;
            assert!(!waits.is_finished());
            settle(&world).await;
            assert!(waits.is_finished());
            assert_eq!(client.run("SET waits 1").text, OK);
            settle(&world).await;
            assert!(world.shard.memory().total() <= maxmemory, "{:?} of {maxmemory}", world.shard.memory());
            assert!(keys(&world) > KEYS * 9 / 10, "{} keys", keys(&world));
        });
    }
}

#[test]
fn writes_go_on_at_the_bound() {
    script(async {
        let world = filled(Setup::mode(Durability::Sync)).await;
        let used = world.shard.memory().total();
        bound(&world, EvictionPolicy::AllKeysLru, used);
        let (mut client, value) = (world.client(), value());
        let mut waited = 0;
        for i in 0..3 * KEYS {
            while client.run(&format!("SET new{i} {value}")).outcome == Outcome::Busy {
                waited += 1;
                world.commit_all().await;
                world.advance(MS).await;
            }
            if i.is_multiple_of(4) {
                world.commit_all().await;
            }
            assert!(world.shard.memory().total() < used + used / 50, "{:?} of {used}", world.shard.memory());
        }
        assert!(waited < KEYS / 10, "the reserve lets most run at once: {waited} have waited");
        assert!(keys(&world) > KEYS * 9 / 10, "{} keys", keys(&world));
        assert!(evicted(&world) > 2 * KEYS, "{}", evicted(&world));
    });
}

/// Whoever has seen that a key was evicted depends on that as on any removal.
#[test]
fn a_reply_that_misses_an_evicted_key_waits_for_its_commit() {
    script(async {
        let world = filled(Setup::mode(Durability::Sync)).await;
        bound(&world, EvictionPolicy::AllKeysRandom, world.shard.memory().total() * 9 / 10);
        world.resolve().await;
        let mut client = world.client();
        let is_missing = |i: &u64| world.shard.with_engine(|engine| engine.type_of(i.to_string().as_bytes()).is_none());
        let (missing, there) = ((0..KEYS).find(is_missing).unwrap(), (0..KEYS).find(|i| !is_missing(i)).unwrap());
        let reply = client.run(&format!("GET {missing}"));
        assert_eq!(reply.text, "$-1\r\n");
        assert_eq!(client.leave(&reply), Release::Wait);
        let other = client.run(&format!("GET {there}"));
        assert!(other.pending().is_none() || client.leave(&other) == Release::Now);
        settle(&world).await;
        assert_eq!(client.leave(&reply), Release::Now);
    });
}

#[test]
fn replicas_apply_evictions_and_make_none() {
    script(async {
        let world = filled(Setup::mode(Durability::Sync)).await;
        let replica = World::start_on(Setup::default(), world.log.clone(), world.clock.clone());
        replica.hear();
        let half = world.shard.memory().total() / 2;
        for one in [&world, &replica] {
            bound(one, EvictionPolicy::AllKeysLru, half);
        }
        let catch_up = |last: LogIndex| replica.driver.advance_committed(last);
        settle(&world).await;
        catch_up(world.log.last());
        replica.resolve().await;
        assert!(evicted(&world) > KEYS / 4 && evicted(&replica) == 0, "{} {}", evicted(&world), evicted(&replica));
        assert_eq!((keys(&replica), keys(&world)), (KEYS - evicted(&world), KEYS - evicted(&world)));
        assert_eq!(replica.shard.digest().unwrap(), world.shard.digest().unwrap());
    });
}

#[test]
fn evictions_of_a_lost_tenure_are_undone() {
    script(async {
        let world = filled(Setup::mode(Durability::Sync)).await;
        let digest = world.shard.digest().unwrap().1;
        bound(&world, EvictionPolicy::AllKeysLru, world.shard.memory().total() * 3 / 4);
        world.resolve().await;
        assert!(evicted(&world) > KEYS / 8 && keys(&world) < KEYS);
        world.lose_to_other(2).await;
        assert_eq!(keys(&world), KEYS);
        assert_eq!(world.shard.digest().unwrap().1, digest);
        world.advance(1_000 * MS).await;
        assert_eq!(keys(&world), KEYS, "a replica evicts nothing");
        assert_eq!(world.shard.info().undone_by_records, 1);
    });
}

#[test]
fn without_a_key_that_may_leave_writes_are_refused() {
    script(async {
        let world = filled(Setup::mode(Durability::Sync)).await;
        bound(&world, EvictionPolicy::VolatileLru, world.shard.memory().total() - 10_000);
        let mut client = world.client();
        assert_eq!(client.run("SET a 1").text, OOM);
        client.expect("MULTI", OK);
        assert_eq!(client.run("SET a 1").text, OOM);
        assert!(client.run("EXEC").text.starts_with("-EXECABORT"));
        assert_eq!((evicted(&world), keys(&world)), (0, KEYS));
        // A key with a deadline may leave.
        for i in 0..200 {
            client.run(&format!("EXPIRE {i} 1000"));
        }
        settle(&world).await;
        assert_eq!(client.run("SET a 1").text, OK);
        assert!((1..200).contains(&evicted(&world)), "{}", evicted(&world));
    });
}

#[test]
fn a_transaction_waits_for_room_and_runs_whole() {
    script(async {
        let world = filled(Setup::mode(Durability::Sync)).await;
        bound(&world, EvictionPolicy::AllKeysLru, world.shard.memory().total());
        write_until_full(&mut world.client());
        let mut client = world.client();
        client.expect("MULTI", OK);
        client.expect("SET {t}a 1", "+QUEUED\r\n");
        client.expect("SET {t}b 2", "+QUEUED\r\n");
        assert_eq!(client.run("EXEC").outcome, Outcome::Busy);
        assert_eq!(client.session.waits_for(), WaitsFor::Room);
        settle(&world).await;
        assert_eq!(client.run("EXEC").text, "*2\r\n+OK\r\n+OK\r\n");
    });
}

/// The bound is lowered far below what is in use: slices, between which commands run; never one long pause.
#[test]
fn a_lowered_bound_is_reached_in_slices() {
    script(async {
        let world = filled(Setup::mode(Durability::Async)).await;
        let (mut client, used) = (world.client(), world.shard.memory().total());
        bound(&world, EvictionPolicy::AllKeysRandom, used / 2);
        let (mut before, mut rounds) = (0, 0);
        while client.run("SET a 1").text == OK {
            let now = evicted(&world);
            assert!((1..=EXPIRY_UNIT_KEYS_MAX as u64).contains(&(now - before)), "{now} {before}");
            rounds += 1;
            tokio::task::yield_now().await;
            before = evicted(&world);
        }
        assert!(rounds >= 2, "commands run between slices");
        assert_eq!(client.session.waits_for(), WaitsFor::Room);
        settle(&world).await;
        assert!(world.shard.memory().total() <= used / 2, "{:?} of {used}", world.shard.memory());
        assert!(world.shard.info().over_maxmemory.is_zero() && !world.shard.info().over_maxmemory_total.is_zero());
        // Less than what empty tables take: everything leaves, and nothing more is admitted.
        bound(&world, EvictionPolicy::AllKeysRandom, 1_000_000);
        settle(&world).await;
        assert_eq!(keys(&world), 0);
        assert_eq!(client.run("SET a 1").text, OOM);
        assert_eq!(client.run("GET a").text, "$-1\r\n");
    });
}

#[test]
fn nothing_is_evicted_while_the_lag_gate_is_closed_or_clients_are_paused() {
    script(async {
        let world = filled(Setup { max_lag: 100 * MS, ..Setup::mode(Durability::Async) }).await;
        let (mut client, used) = (world.client(), world.shard.memory().total());
        assert_eq!(client.run("SET a 1").text, OK);
        world.advance(500 * MS).await;
        assert!(client.run("SET a 1").text.starts_with("-CLUSTERDOWN Durability lag"));
        bound(&world, EvictionPolicy::AllKeysLru, used / 2);
        world.advance(500 * MS).await;
        assert_eq!(evicted(&world), 0, "the gate is closed");
        world.shard.pause_clients(2_000 * MS, PauseKind::Writes);
        settle(&world).await;
        assert_eq!(evicted(&world), 0, "clients are paused");
        world.advance(2_000 * MS).await;
        settle(&world).await;
        assert!(evicted(&world) > KEYS / 4, "{}", evicted(&world));
    });
}
