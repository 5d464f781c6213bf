//! The lag gate of `async` (rule 6 of the design): what a failover can lose is bounded by what is acknowledged.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fastness_shard::{Batching, DesiredLagBound, GateState, Outcome, Release, WaitsFor};
use fastness_types::{Durability, FormatLevel};
use support::{Client, Setup, World, script};

const OK: &str = "+OK\r\n";
const LAGGING: &str =
    "-CLUSTERDOWN Durability lag is over durability-max-lag: writes are refused until the log has caught up\r\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn lagging(setup: Setup) -> (World, Client) {
    let world = World::primary(setup).await;
    let mut client = world.client();
    client.expect("SET a 1", OK);
    (world, client)
}

#[test]
fn writes_are_refused_at_the_bound_and_resume_by_themselves() {
    script(async {
        let (world, mut client) = lagging(Setup::mode(Durability::Async)).await;
        world.advance(seconds(4)).await;
        client.expect("SET a 2", OK);
        world.advance(seconds(6)).await;
        let mut other = world.client();
        for refused in ["SET a 3", "DEL b", "INCR c", "FLUSHALL"] {
            other.expect(refused, LAGGING);
        }
        other.expect("GET a", "$1\r\n2\r\n");
        assert_eq!(world.shard.info().gate.refused, 4);

        // The older batch commits: the newer one is 6 s old and over the lower mark.
        assert!(world.commit().await);
        client.expect("SET a 4", LAGGING);
        assert!(world.commit().await);
        client.expect("SET a 5", OK);
        assert_eq!(world.shard.info().gate.state, GateState::Open);
        assert_eq!(world.shard.info().gate.closures, 1);
    });
}

#[test]
fn writes_are_slowed_as_the_bound_nears() {
    script(async {
        let (world, mut client) = lagging(Setup::mode(Durability::Async)).await;
        world.advance(Duration::from_millis(7_500)).await;
        let slowed = client.run("SET a 2");
        assert_eq!((slowed.text.as_str(), slowed.outcome), ("", Outcome::Busy));
        let WaitsFor::Lag(until) = client.session.waits_for() else { panic!("{:?}", client.session.waits_for()) };
        let span = until.since(world.clock_boot());
        assert!(span > Duration::from_millis(100) && span < Duration::from_millis(250), "{span:?}");
        client.expect("GET a", "$1\r\n1\r\n");
        let waited = tokio::task::spawn_local({
            let shard = world.shard.clone();
            async move { shard.slowed(until).await }
        });
        world.advance(span - Duration::from_millis(1)).await;
        assert!(!waited.is_finished());
        assert_eq!(client.run("SET a 2").outcome, Outcome::Busy);
        world.advance(Duration::from_millis(1)).await;
        assert!(waited.is_finished());
        client.expect("SET a 2", OK);
        assert_eq!(client.run("SET a 3").outcome, Outcome::Busy, "each write is slowed");
        assert_eq!(world.shard.info().gate.slowed, 2);
    });
}

#[test]
fn a_transaction_is_slowed_and_refused_whole() {
    script(async {
        let (world, mut client) = lagging(Setup::mode(Durability::Async)).await;
        world.advance(seconds(9)).await;
        client.expect("MULTI", OK);
        client.expect("SET a 2", "+QUEUED\r\n");
        assert_eq!(client.run("EXEC").outcome, Outcome::Busy);
        world.advance(seconds(1)).await;
        client.expect("EXEC", LAGGING);
        client.expect("GET a", "$1\r\n1\r\n");
        client.expect("MULTI", OK);
        client.expect("SET a 3", LAGGING);
        client.expect("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    });
}

/// The promise counts from when an acknowledgement leaves, not from when its write ran.
#[test]
fn an_acknowledgement_checks_the_lag_again() {
    script(async {
        let (world, mut client) = lagging(Setup::mode(Durability::Async)).await;
        world.advance(seconds(4)).await;
        let set = client.run("SET a 2");
        assert_eq!(client.leave(&set), Release::Now);
        world.pause_process(seconds(7));
        assert_eq!(client.leave(&set), Release::Wait, "the oldest open write is 11 s old");
        let released = world.shard.wait_released(&client.session, set.pending().unwrap());
        let released = tokio::task::spawn_local(released);
        world.resolve().await;
        assert!(!released.is_finished());
        world.commit().await;
        assert!(released.is_finished(), "what is open still is 7 s old, and may be lost");
    });
}

#[test]
fn reads_and_other_modes_have_no_gate() {
    script(async {
        for mode in [Durability::Sync, Durability::Disabled] {
            let (world, mut client) = {
                let world = World::primary(Setup::mode(mode)).await;
                let mut client = world.client();
                assert_eq!(client.run("SET a 1").text, OK);
                (world, client)
            };
            world.advance(seconds(60)).await;
            assert_eq!(client.run("SET a 2").text, OK, "{mode:?}");
            assert_eq!(world.shard.info().gate.state, GateState::Open);
            assert!(world.shard.info().lag >= seconds(60));
        }
    });
}

#[test]
fn while_the_gate_is_closed_the_byte_bound_refuses_and_does_not_block() {
    script(async {
        let batching = Batching { open_bytes_max: 64, ..Batching::default() };
        let setup = Setup { batching, ..Setup::mode(Durability::Async) };
        let (world, mut client) = lagging(setup).await;
        let value = "x".repeat(100);
        client.expect(&format!("SET b {value}"), OK);
        assert_eq!(client.run("SET a 2").outcome, Outcome::Busy);
        assert_eq!(client.session.waits_for(), WaitsFor::Shard);
        let waiting = world.shard.clone();
        let waiting = tokio::task::spawn_local(async move { waiting.unblocked().await });
        world.resolve().await;
        assert!(!waiting.is_finished());
        world.advance(seconds(11)).await;
        assert!(waiting.is_finished());
        client.expect("SET a 2", LAGGING);
        world.commit_all().await;
        client.expect("SET a 3", OK);
    });
}

#[test]
fn a_bound_that_changes_counts_from_the_next_turn() {
    script(async {
        let (world, mut client) = lagging(Setup::mode(Durability::Async)).await;
        world.advance(seconds(3)).await;
        world.shard.set_max_lag(seconds(2));
        world.advance(seconds(2)).await;
        client.expect("SET a 2", LAGGING);
    });
}

/// What has arrived together takes more than one turn of the loop, and the gate moves in between: one answer for all of
/// it.
#[test]
fn a_pipeline_that_is_run_in_slices_meets_one_answer() {
    script(async {
        let (world, mut client) = lagging(Setup::mode(Durability::Async)).await;
        world.advance(seconds(4)).await;
        client.expect("SET a 2", OK);
        world.shard.keep_gate(&mut client.session);
        world.advance(seconds(7)).await;
        assert_eq!(world.shard.info().gate.state, GateState::Closed);
        world.client().expect("SET b 1", LAGGING);
        let reply = client.run("SET a 3");
        assert_eq!(reply.text, OK, "it was open to the commands before");
        assert_eq!(client.leave(&reply), Release::Wait, "an acknowledgement looks at the lag itself");
        client.session.release_gate();
        client.expect("SET a 4", LAGGING);

        // The other way round.
        world.shard.keep_gate(&mut client.session);
        world.commit_all().await;
        assert_eq!(world.shard.info().gate.state, GateState::Open);
        world.client().expect("SET b 1", OK);
        client.expect("SET a 4", LAGGING);
        client.session.release_gate();
        client.expect("SET a 4", OK);
    });
}

/// An open gate is not kept past the byte bound of open effects: memory has a bound, whatever arrived together.
#[test]
fn an_answer_of_the_gate_is_not_kept_beyond_the_byte_bound() {
    script(async {
        let batching = Batching { open_bytes_max: 1000, ..Batching::default() };
        let (world, mut client) = lagging(Setup { batching, ..Setup::mode(Durability::Async) }).await;
        world.shard.keep_gate(&mut client.session);
        world.advance(seconds(10)).await;
        assert_eq!(world.shard.info().gate.state, GateState::Closed);
        let value = "x".repeat(400);
        let accepted = (0..10).take_while(|_| client.run(&format!("SET a {value}")).text == OK).count();
        assert!((1..=3).contains(&accepted), "{accepted}");
        client.expect("SET a 1", LAGGING);
    });
}

/// Found D18, and schedule 49: the bound belongs to the shard's log. A lower one acts when it is staged, a higher one
/// when it has committed, and a failover falls back to no node's config.
#[test]
fn the_bound_of_the_lag_is_the_logs() {
    script(async {
        let snapshots = std::rc::Rc::new(support::MemorySnapshots::default());
        let setup = Setup { snapshots: Some(snapshots.clone()), ..Setup::mode(Durability::Async) };
        let (world, mut client) = lagging(setup).await;
        let bound = |world: &World| (world.shard.max_lag().0.as_secs(), world.shard.max_lag().1);
        let desired = |world: &World, bound, version| {
            world.shard.set_desired_lag_bound(DesiredLagBound { bound: seconds(bound), version })
        };
        assert_eq!(bound(&world), (10, 0));
        world.advance(seconds(4)).await;
        client.expect("SET a 2", OK);
        world.driver.set_format(FormatLevel::BASE);
        desired(&world, 2, 1);
        world.resolve().await;
        assert_eq!(bound(&world), (10, 0), "a member would not understand it");
        world.driver.set_format(FormatLevel::BOUNDS);
        world.resolve().await;
        assert_eq!(bound(&world), (2, 0), "staged");
        client.expect("SET a 3", LAGGING);
        world.commit_all().await;
        assert_eq!(bound(&world), (2, 1));
        assert_eq!(world.shard.info().max_lag_version, 1);
        client.expect("SET a 4", OK);
        world.shard.set_max_lag(seconds(60));
        assert_eq!(bound(&world), (2, 1), "a node's config counts no longer");
        world.shard.snapshot();
        for _ in 0..20 {
            world.advance(Duration::from_millis(20)).await;
            world.commit_all().await;
        }
        assert_eq!(snapshots.finished.borrow().len(), 1);

        desired(&world, 60, 2);
        world.resolve().await;
        assert_eq!(bound(&world), (2, 1), "higher, and only staged");
        world.lose_to_other(2).await;
        assert_eq!(bound(&world), (2, 1), "it was undone");
        // Another node, whose config says something else: from the log, and from a snapshot.
        let other = Setup { max_lag: seconds(300), ..Setup::mode(Durability::Async) };
        let replica = World::start_on(other, world.log.clone(), world.clock.clone());
        replica.resolve().await;
        assert_eq!(bound(&replica), (2, 1));
        let at = *snapshots.finished.borrow().keys().next().unwrap();
        world.log.purged.store(at.0, std::sync::atomic::Ordering::Relaxed);
        let other = Setup { max_lag: seconds(300), snapshots: Some(snapshots), ..Setup::mode(Durability::Async) };
        let restored = World::start_on(other, world.log.clone(), world.clock.clone());
        for _ in 0..20 {
            restored.resolve().await;
        }
        assert_eq!(bound(&restored), (2, 1));
        // The next primary stages what is desired still.
        world.lead(3).await;
        world.commit_all().await;
        assert_eq!(bound(&world), (60, 2));
    });
}
