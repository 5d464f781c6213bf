//! `maxmemory` and what counts against it beside the data: open effects, and what connections hold.

#![allow(clippy::unwrap_used)]

mod support;

use fastness_shard::Batching;
use fastness_types::Durability;
use support::{Setup, World, script};

const OK: &str = "+OK\r\n";
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

/// A primary with this much room above what it uses; the key `k` holds 10,000 bytes.
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
                world.settle().await;
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
        world.settle().await;
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
fn queued_commands_and_watched_keys_are_told() {
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
