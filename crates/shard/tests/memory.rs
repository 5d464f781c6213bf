//! `maxmemory` and what counts against it beside the data: open effects, and what connections hold.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fastness_consensus::handle::EntryPayload;
use fastness_engine::EffectBuf;
use fastness_engine::effect::KeyEffect;
use fastness_shard::Batching;
use fastness_types::{Durability, Epoch};
use support::{OTHER, Setup, World, script};

const MS: Duration = Duration::from_millis(1);

const OK: &str = "+OK\r\n";
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

/// A primary with this much free memory above what it uses; the key `k` holds 10,000 bytes.
async fn primary(durability: Durability, room: u64) -> World {
    let world = World::primary(Setup::mode(durability)).await;
    world.client().run(&set());
    world.advance(Batching::default().async_age).await;
    world.commit_all().await;
    let used = world.shard.memory().total();
    assert_eq!(used, world.shard.memory().data, "nothing is open");
    world.shard.with_engine(|engine| engine.set_maxmemory(used + room));
    world
}

fn set() -> String {
    format!("SET k {}", "x".repeat(10_000))
}

#[test]
fn open_effects_count_until_they_commit() {
    for durability in [Durability::Async, Durability::Sync] {
        script(async move {
            let world = primary(durability, 75_000).await;
            let (mut client, data) = (world.client(), world.shard.memory().data);
            for _ in 0..4 {
                assert_eq!(client.run(&set()).text, OK);
                world.resolve().await;
            }
            assert_eq!(client.run(&set()).text, OOM);
            let memory = world.shard.memory();
            assert_eq!(memory.data, data, "the same value over and over");
            assert!((40_000..45_000).contains(&memory.open_effects), "{memory:?}");
            assert_eq!(client.run("GET k").text.len(), 10_010);
            assert_eq!(client.run("DEL nothing").text, ":0\r\n");
            client.expect("MULTI", OK);
            assert_eq!(client.run("SET k v").text, OOM);
            client.run("DISCARD");
            world.advance(Batching::default().async_age).await;
            world.commit_all().await;
            assert_eq!(world.shard.memory().open_effects, 0);
            assert_eq!(client.run(&set()).text, OK);
        });
    }
}

#[test]
fn what_is_undone_does_not_count() {
    script(async {
        let world = primary(Durability::Async, 75_000).await;
        let mut client = world.client();
        (0..4).for_each(|_| assert_eq!(client.run(&set()).text, OK));
        world.lose_to_other(2).await;
        world.resolve().await;
        assert_eq!(world.shard.memory().open_effects, 0);
    });
}

#[test]
fn what_connections_hold_counts_until_they_end() {
    script(async {
        let world = primary(Durability::Async, 1_000).await;
        let mut client = world.client();
        client.expect("SET a 1", OK);
        let (mut one, mut other) = (world.shard.client_share(), world.shard.client_share());
        one.set(600);
        other.set(600);
        client.expect("SET a 2", OOM);
        client.expect("GET a", "$1\r\n1\r\n");
        one.set(100);
        client.expect("SET a 2", OK);
        other.set(5_000);
        client.expect("SET a 3", OOM);
        assert_eq!(world.shard.memory().clients, 5_100);
        drop(other);
        client.expect("SET a 3", OK);
        drop(one);
        assert_eq!(world.shard.memory().clients, 0);
    });
}

#[test]
fn queued_commands_and_watched_keys_are_reported() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        assert_eq!(client.session.held_bytes(), 0);
        client.expect(&format!("WATCH {}", "w".repeat(1_000)), OK);
        assert!((1_000..1_200).contains(&client.session.held_bytes()));
        client.expect("MULTI", OK);
        client.expect(&set(), "+QUEUED\r\n");
        assert!((11_000..11_400).contains(&client.session.held_bytes()));
        assert!((10_000..10_200).contains(&client.session.queued_bytes()));
        // A transaction that has failed keeps nothing.
        assert!(client.run("NOSUCH").text.starts_with("-ERR "));
        assert_eq!(client.session.queued_bytes(), 0);
        client.run("EXEC");
        assert_eq!(client.session.held_bytes(), 0);
    });
}

const KEYS: usize = 40_000;

/// Keys that take some megabytes, all of them committed.
async fn fill(world: &World) {
    let mut client = world.client();
    for i in 0..KEYS {
        assert_eq!(client.run(&format!("SET key{i} value{i}")).text, OK);
    }
    let fields: Vec<String> = (0..KEYS).map(|i| format!("f{i} v")).collect();
    assert_eq!(client.run(&format!("HSET hash {}", fields.join(" "))).text, format!(":{KEYS}\r\n"));
    client.run("SETRANGE text 4000000 x");
    world.advance(Batching::default().async_age).await;
    world.commit_all().await;
}

/// Time passes until nothing is left to be freed.
async fn free_all(world: &World) {
    for _ in 0..10_000 {
        world.advance(MS).await;
        if world.shard.info().freeing.pending_objects == 0 {
            return;
        }
    }
    panic!("{:?}", world.shard.info().freeing);
}

/// Found B5: only writes freed memory, and at `maxmemory` none was admitted.
#[test]
fn flushed_memory_is_freed_though_nobody_writes() {
    for durability in [Durability::Async, Durability::Sync] {
        script(async move {
            let world = World::primary(Setup::mode(durability)).await;
            let empty = world.shard.memory().total();
            fill(&world).await;
            let used = world.shard.memory().total();
            world.shard.with_engine(|engine| engine.set_maxmemory(empty + (used - empty) / 4));
            let mut client = world.client();
            assert_eq!(client.run("SET a 1").text, OOM);
            assert_eq!(client.run("FLUSHALL").text, OK);
            assert_eq!(client.run("SET a 1").text, OOM, "it may have to come back");
            world.advance(Batching::default().async_age).await;
            world.commit_all().await;
            world.resolve().await;
            assert!(
                !world.shard.with_engine(|engine| engine.is_out_of_memory()),
                "without a rest, while writes are refused"
            );
            free_all(&world).await;
            assert!(world.shard.info().freeing.freed_objects >= KEYS as u64);
            assert_eq!(world.shard.memory().total(), empty);
            assert_eq!(client.run("SET a 1").text, OK);
        });
    }
}

/// Found B5, and schedule 48: what was removed counts while it may have to be restored, and is freed once the removal
/// has committed, on a shard that is idle otherwise.
#[test]
fn a_removed_hash_is_freed_once_its_removal_has_committed() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        fill(&world).await;
        let used = world.shard.memory().total();
        world.shard.with_engine(|engine| engine.set_maxmemory(used - 1_000));
        let mut client = world.client();
        assert_eq!(client.run("DEL hash").text, ":1\r\n");
        world.resolve().await;
        assert_eq!(client.run("SET a 1").text, OOM, "the removal may be undone");
        assert!(world.shard.memory().undo > 1_000_000, "undo records hold it: {:?}", world.shard.memory());
        world.advance(Batching::default().async_age).await;
        world.commit_all().await;
        free_all(&world).await;
        assert!(world.shard.memory().total() < used - 1_000_000, "{:?}", world.shard.memory());
        assert_eq!(client.run("SET a 1").text, OK);
    });
}

/// The work of one turn has a bound, and each turn gives way to whoever else is ready.
#[test]
fn a_turn_frees_a_bounded_part() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        fill(&world).await;
        world.client().run("FLUSHALL");
        world.advance(Batching::default().async_age).await;
        let mut slices = world.shard.info().freeing.slices;
        world.take();
        let flush = world.pending.borrow_mut().pop_front().unwrap();
        world.log.append(flush.epoch, EntryPayload::Batch(flush.payload));
        world.driver.advance_committed(world.log.last());
        let mut turns = 0;
        while world.shard.info().freeing.pending_objects > 0 || turns == 0 {
            world.advance(MS).await;
            let now = world.shard.info().freeing.slices;
            assert!(now - slices <= 64, "{} slices in one turn", now - slices);
            world.client().run("SET wakes 1");
            world.resolve().await;
            assert_eq!(world.shard.info().freeing.slices, now, "a rest, whatever else wakes the loop");
            turns += usize::from(now > slices);
            slices = now;
        }
        assert!(turns >= 3, "{turns}");
    });
}

/// A replica frees by itself as well, and so does a former primary whose memory was given up for a restore.
#[test]
fn replicas_and_restores_free_memory_too() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async).undo_bytes(0)).await;
        let empty = world.shard.memory().total();
        fill(&world).await;
        let used = world.shard.memory().total();
        world.client().run("SET undone 1");
        world.lose_to_other(2).await;
        for _ in 0..20 {
            world.resolve().await;
        }
        free_all(&world).await;
        let info = world.shard.info();
        assert_eq!((info.undone, info.undone_by_records, info.restoring), (1, 0, false));
        assert_eq!(info.freeing.pending_objects, 0);
        assert_eq!(world.shard.memory().total(), used, "the old memory is given back");

        let other = World::start_on(Setup::default(), world.log.clone(), world.clock.clone());
        other.resolve().await;
        for _ in 0..20 {
            other.resolve().await;
        }
        assert_eq!(other.shard.memory().data, used);
        let mut effects = EffectBuf::new();
        effects.push(&KeyEffect::FlushAll);
        world.append_write(Epoch { term: 2, node: OTHER }, Durability::Async, effects.encoded());
        other.driver.advance_committed(world.log.last());
        free_all(&other).await;
        assert_eq!(other.shard.memory().total(), empty);
    });
}
