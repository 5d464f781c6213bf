//! Clients of an `async` cluster with an override to `sync`, for a connection or for one command: their replies are
//! held as in `sync`, everybody else's leave as before.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use fastness_shard::{Batching, DurabilityOverride, Outcome, Release};
use fastness_types::Durability;
use support::{Client, Reply, Setup, World, script};

const OK: &str = "+OK\r\n";
const LAGGING: &str =
    "-CLUSTERDOWN Durability lag is over durability-max-lag: writes are refused until the log has caught up\r\n";
const NOT_DURABLE: &str = "-ERR this cluster's durability is disabled: no reply can be made to wait for a commit\r\n";
const MISPLACED: &str =
    "-ERR a transaction's attribute belongs before its EXEC: neither MULTI nor a queued command takes one\r\n";

async fn async_primary() -> World {
    World::primary(Setup::mode(Durability::Async)).await
}

/// Waits for the reply in a task of its own; returns whether it is released.
fn released(world: &World, client: &Client, reply: &Reply) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(world.shard.wait_released(&client.session, reply.pending().unwrap()))
}

#[test]
fn a_connections_writes_wait_for_their_commit_and_others_do_not() {
    script(async {
        let world = async_primary().await;
        let (mut durable, mut other) = (world.client().with_sync_override(), world.client());
        let set = durable.run("SET a 1");
        assert_eq!((set.text.as_str(), durable.leave(&set)), (OK, Release::Wait));
        other.expect("SET b 1", OK);
        other.expect("GET a", "$1\r\n1\r\n");
        let released = released(&world, &durable, &set);
        world.resolve().await;
        assert_eq!(world.take(), 1, "the batch is not left open for its age");
        assert!(!released.is_finished());
        assert!(world.commit().await);
        assert!(released.is_finished());
        assert_eq!(durable.leave(&set), Release::Now);
        other.expect("SET b 2", OK);
        world.resolve().await;
        assert_eq!(world.take(), 0, "the next one is open for its age again");
        assert_eq!(world.shard.info().delayed_by_override, 1);
    });
}

/// Rule 1 holds for a client with an override: what may be undone is not shown.
#[test]
fn a_connections_reads_wait_for_what_they_saw() {
    script(async {
        let world = async_primary().await;
        let (mut durable, mut other) = (world.client().with_sync_override(), world.client());
        durable.expect("GET a", "$-1\r\n");
        durable.expect("DBSIZE", ":0\r\n");
        other.expect("SET a 1", OK);
        world.resolve().await;
        assert_eq!(world.take(), 0);
        for read in ["GET a", "SET a 2 NX", "DBSIZE", "KEYS *"] {
            let reply = durable.run(read);
            assert!(!reply.wrote());
            assert_eq!(durable.leave(&reply), Release::Wait, "{read}");
        }
        durable.expect("GET b", "$-1\r\n");
        durable.expect("PING", "+PONG\r\n");
        world.resolve().await;
        assert_eq!(world.take(), 1, "the write that was read is hurried");
        let dirty = durable.run("GET a");
        assert!(world.commit().await);
        assert_eq!(durable.leave(&dirty), Release::Now);
        durable.expect("GET a", "$1\r\n1\r\n");
    });
}

#[test]
fn what_a_command_says_replaces_what_its_connection_says() {
    script(async {
        let world = async_primary().await;
        let (mut durable, mut other) = (world.client().with_sync_override(), world.client());
        let set = other.run_with_override(DurabilityOverride::Sync, "SET a 1");
        assert_eq!(other.leave(&set), Release::Wait);
        other.expect("SET a 2", OK);
        let set = durable.run_with_override(DurabilityOverride::Default, "SET b 1");
        assert_eq!(durable.leave(&set), Release::Now);
        let set = durable.run("SET b 2");
        assert_eq!(durable.leave(&set), Release::Wait);
        durable.expect("RESET", "+RESET\r\n");
        assert_eq!(durable.session.durability_override(), DurabilityOverride::Default);
        durable.expect("SET b 3", OK);
    });
}

#[test]
fn a_lost_write_with_an_override_is_answered_as_in_sync() {
    script(async {
        let world = async_primary().await;
        let (mut durable, mut reader, mut other) =
            (world.client().with_sync_override(), world.client().with_sync_override(), world.client());
        durable.run("SET a committed");
        world.commit_all().await;
        let lost = durable.run("SET a lost");
        let seen = reader.run("GET a");
        let once = other.run_with_override(DurabilityOverride::Sync, "INCR n");
        let acknowledged = other.run("SET c 1");
        assert_eq!(other.leave(&acknowledged), Release::Now);
        let waiting = [released(&world, &durable, &lost), released(&world, &reader, &seen)];
        world.resolve().await;
        world.lose_to_other(2).await;
        assert!(waiting.iter().all(tokio::task::JoinHandle::is_finished));
        for (client, reply) in [(&durable, &lost), (&reader, &seen), (&other, &once)] {
            assert_eq!(client.leave(reply), Release::Unknown);
        }
        assert!(lost.pending().unwrap().unknown_text().starts_with("UNKNOWN "));
        assert!(once.pending().unwrap().unknown_text().starts_with("UNKNOWN "));
        assert!(seen.pending().unwrap().unknown_text().starts_with("CLUSTERDOWN "), "a read may be repeated");
        let mut replica = world.client().with_sync_override().readonly();
        replica.expect("GET a", "$9\r\ncommitted\r\n");
    });
}

#[test]
fn a_transaction_is_held_whole() {
    script(async {
        let world = async_primary().await;
        let (mut durable, mut other) = (world.client().with_sync_override(), world.client());
        for (client, durability_override) in [(&mut durable, None), (&mut other, Some(DurabilityOverride::Sync))] {
            client.expect("MULTI", OK);
            client.expect("SET {t}a 1", "+QUEUED\r\n");
            client.expect("GET {t}a", "+QUEUED\r\n");
            let exec = match durability_override {
                Some(durability_override) => client.run_with_override(durability_override, "EXEC"),
                None => client.run("EXEC"),
            };
            assert_eq!(exec.text, "*2\r\n+OK\r\n$1\r\n1\r\n");
            assert_eq!(client.leave(&exec), Release::Wait);
            world.commit_all().await;
            assert_eq!(client.leave(&exec), Release::Now);
        }
        // One that only reads waits for what it saw.
        other.expect("SET {t}a 2", OK);
        durable.expect("MULTI", OK);
        durable.expect("GET {t}a", "+QUEUED\r\n");
        let exec = durable.run("EXEC");
        assert_eq!(durable.leave(&exec), Release::Wait);
        // And so does the news that a watched key has changed.
        world.commit_all().await;
        durable.expect("WATCH {t}a", OK);
        other.expect("SET {t}a 3", OK);
        durable.expect("MULTI", OK);
        let exec = durable.run("EXEC");
        assert_eq!((exec.text.as_str(), durable.leave(&exec)), ("*-1\r\n", Release::Wait));
    });
}

#[test]
fn a_queued_command_takes_no_attribute() {
    script(async {
        let world = async_primary().await;
        let mut client = world.client();
        for (line, text) in [("MULTI", MISPLACED), ("SET a 1", OK)] {
            assert_eq!(client.run_with_override(DurabilityOverride::Sync, line).text, text);
        }
        client.expect("MULTI", OK);
        assert_eq!(client.run_with_override(DurabilityOverride::Default, "SET a 2").text, MISPLACED);
        client.expect("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
        client.expect("MULTI", OK);
        assert_eq!(client.run_with_override(DurabilityOverride::Sync, "DISCARD").text, OK);
    });
}

#[test]
fn it_changes_nothing_in_sync_and_is_refused_in_disabled() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Sync)).await;
        for mut client in [world.client(), world.client().with_sync_override()] {
            let set = client.run("SET a 1");
            assert_eq!(client.leave(&set), Release::Wait);
            let set = client.run_with_override(DurabilityOverride::Default, "SET a 2");
            assert_eq!(client.leave(&set), Release::Wait, "nothing makes it laxer");
            world.commit_all().await;
        }
        assert_eq!(world.shard.info().delayed_by_override, 0);

        let world = World::primary(Setup::mode(Durability::Disabled)).await;
        let (mut durable, mut client) = (world.client().with_sync_override(), world.client());
        for refused in ["SET a 1", "GET a", "DBSIZE", "WATCH a"] {
            durable.expect(refused, NOT_DURABLE);
            assert_eq!(client.run_with_override(DurabilityOverride::Sync, refused).text, NOT_DURABLE);
        }
        durable.expect("PING", "+PONG\r\n");
        client.expect("SET a 1", OK);
        assert_eq!(client.run_with_override(DurabilityOverride::Default, "GET a").text, "$1\r\n1\r\n");
    });
}

/// The gate is the shard's: it refuses those who would wait too. What was held leaves with its commit and not with a
/// lag that is small again.
#[test]
fn the_lag_gate_refuses_it_and_a_small_lag_releases_nothing() {
    script(async {
        let world = async_primary().await;
        let (mut durable, mut other) = (world.client().with_sync_override(), world.client());
        let seconds = Duration::from_secs;
        other.expect("SET a 1", OK);
        world.advance(seconds(4)).await;
        let (held, late) = (durable.run("SET b 1"), other.run("SET c 1"));
        world.resolve().await;
        world.pause_process(seconds(7));
        for (client, reply) in [(&durable, &held), (&other, &late)] {
            assert_eq!(client.leave(reply), Release::Wait, "the oldest open write is 11 s old");
        }
        let waiting = [released(&world, &durable, &held), released(&world, &other, &late)];
        world.advance(Duration::from_millis(1)).await;
        durable.expect("SET b 2", LAGGING);
        durable.expect("GET d", "$-1\r\n");
        assert!(world.commit().await);
        assert!(!waiting[0].is_finished());
        assert!(waiting[1].is_finished(), "the lag is 7 s: an acknowledgement may leave again");
        assert_eq!(durable.leave(&held), Release::Wait, "its override requires the commit of its own write");
        assert!(world.commit().await);
        assert!(waiting[0].is_finished());
    });
}

/// Clients that wait for a commit are woken once, not at every turn of a busy async loop.
#[test]
fn a_waiting_client_is_not_woken_by_others_turns() {
    script(async {
        let world = async_primary().await;
        let (mut durable, mut other) = (world.client().with_sync_override(), world.client());
        let set = durable.run("SET a 1");
        let (polls, counted) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let released = world.shard.wait_released(&durable.session, set.pending().unwrap());
        let counting = polls.clone();
        let waiting = tokio::task::spawn_local(async move {
            let mut released = pin!(released);
            std::future::poll_fn(|cx| {
                counting.set(counting.get() + 1);
                released.as_mut().poll(cx)
            })
            .await;
            counted.set(1);
        });
        for _ in 0..20 {
            other.expect("SET b 1", OK);
            world.advance(Batching::default().async_age).await;
        }
        assert_eq!(polls.get(), 1);
        world.commit_all().await;
        assert!(waiting.is_finished());
        assert_eq!(polls.get(), 2);
    });
}

/// A commit costs the same for one write as for fifty: those who wait are batched as in `sync`.
#[test]
fn clients_that_wait_share_their_commits() {
    script(async {
        let world = async_primary().await;
        let mut clients: Vec<Client> = (0..50).map(|_| world.client().with_sync_override()).collect();
        let before = world.shard.info().batches;
        for round in 0..10 {
            // They come back one after the other, and the loop has its turns between them.
            for client in &mut clients {
                assert_eq!(client.run(&format!("SET k {round}")).outcome, client.run("SET k x").outcome);
                tokio::task::yield_now().await;
            }
            world.commit_all().await;
        }
        let batches = world.shard.info().batches - before;
        assert!(batches <= 12, "{batches} batches for 10 rounds");
        // Without company nobody waits for it.
        for _ in 0..3 {
            let set = clients[0].run("SET k y");
            world.advance(Batching::default().sync_wait).await;
            assert!(world.commit().await);
            assert_eq!(clients[0].leave(&set), Release::Now);
        }
    });
}

/// A switch to `sync` and back changes nothing for who asks.
#[test]
fn it_survives_switches_of_the_mode() {
    script(async {
        let world = async_primary().await;
        let mut durable = world.client().with_sync_override();
        for (version, mode) in [(2, Durability::Sync), (3, Durability::Async)] {
            let held = durable.run("SET a 1");
            world.shard.set_desired_mode(fastness_shard::DesiredMode { mode, version });
            world.resolve().await;
            assert_eq!(durable.leave(&held), Release::Wait);
            world.commit_all().await;
            assert_eq!(durable.leave(&held), Release::Now);
            assert_eq!(world.shard.info().durability, mode);
            let held = durable.run("SET a 2");
            assert_eq!(durable.leave(&held), Release::Wait);
            assert_ne!(held.outcome, Outcome::REPLY);
            world.commit_all().await;
        }
    });
}
