//! Commands wait while the lease has lapsed and no other primary is known (schedule 44): nothing is staged before or
//! meanwhile, everything is checked again afterwards, and the wait is bounded.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fastness_shard::{Outcome, WaitsFor};
use fastness_types::{BootNs, Clock as _, Durability};
use support::{Client, OTHER, Setup, World, script};

const OK: &str = "+OK\r\n";
const DOWN: &str = "-CLUSTERDOWN The cluster is down\r\n";
const WAIT_MAX: Duration = Duration::from_millis(200);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn waiting(durability: Durability) -> Setup {
    Setup { lease_wait_max: WAIT_MAX, ..Setup::mode(durability) }
}

/// A primary whose lease ends now.
async fn lapsed(setup: Setup) -> World {
    let world = World::primary(setup).await;
    assert!(world.client().run("SET a 1").wrote());
    world.advance(ms(20)).await;
    world.commit_all().await;
    lapse(&world);
    world
}

fn lapse(world: &World) {
    world.lease.borrow().restrict(world.clock.boot());
}

/// The same primary's heartbeats are answered again.
async fn resume(world: &World) {
    world.lease.borrow().extend(world.clock.boot().plus(Duration::from_secs(3600)));
    world.driver.wake_owner();
    world.resolve().await;
}

/// Runs a command that has to wait for a primary; gives until when.
#[track_caller]
fn waits(client: &mut Client, line: &str) -> BootNs {
    let reply = client.run(line);
    assert_eq!((reply.text.as_str(), reply.outcome), ("", Outcome::Busy), "{line}");
    let WaitsFor::Primary(until) = client.session.waits_for() else { panic!("{:?}", client.session.waits_for()) };
    until
}

fn wait(world: &World, until: BootNs) -> tokio::task::JoinHandle<()> {
    let shard = world.shard.clone();
    tokio::task::spawn_local(async move { shard.primary_found(until).await })
}

#[test]
fn commands_wait_for_a_lapsed_lease_and_run_when_it_holds_again() {
    for durability in [Durability::Sync, Durability::Async, Durability::Disabled] {
        script(async move {
            let world = lapsed(waiting(durability)).await;
            let (mut reader, mut writer) = (world.client(), world.client());
            let until = waits(&mut reader, "GET a");
            assert_eq!(until, world.clock_boot().plus(WAIT_MAX));
            waits(&mut writer, "SET a 2");
            let staged = world.shard.info().staged_seq;
            let found = wait(&world, until);
            world.advance(ms(100)).await;
            assert!(!found.is_finished(), "nobody serves yet");
            assert_eq!(world.shard.info().staged_seq, staged, "nothing is staged by what waits");
            resume(&world).await;
            assert!(found.is_finished(), "whoever waits is woken when the lease holds again");
            reader.expect("GET a", "$1\r\n1\r\n");
            assert!(writer.run("SET a 2").wrote());
            assert_eq!((world.shard.info().lease_waits, world.shard.info().lease_waits_refused), (2, 0));
        });
    }
}

#[test]
fn the_wait_is_bounded_and_counts_from_the_first_attempt() {
    script(async {
        let world = lapsed(waiting(Durability::Sync)).await;
        let mut client = world.client();
        let until = waits(&mut client, "GET a");
        let found = wait(&world, until);
        world.advance(ms(150)).await;
        assert_eq!(waits(&mut client, "GET a"), until, "another attempt begins no other wait");
        world.advance(ms(50)).await;
        assert!(found.is_finished());
        client.expect("GET a", DOWN);
        // What arrived together with it does not wait once more; what arrives later does.
        client.expect("SET a 2", DOWN);
        client.session.arrived();
        waits(&mut client, "SET a 2");
        assert_eq!(world.shard.info().lease_waits_refused, 2);
    });
}

#[test]
fn another_primary_ends_the_wait_with_moved_at_once() {
    script(async {
        let world = lapsed(waiting(Durability::Async)).await;
        let mut client = world.client();
        let found = wait(&world, waits(&mut client, "SET a 2"));
        world.depose(Some(OTHER)).await;
        assert!(found.is_finished(), "no time has passed");
        let reply = client.run("SET a 2").text;
        assert!(reply.starts_with("-MOVED ") && reply.ends_with(" node-2:7000\r\n"), "{reply}");
    });
}

#[test]
fn a_replica_without_a_leader_lets_commands_wait_too() {
    script(async {
        let world = lapsed(waiting(Durability::Sync)).await;
        world.depose(None).await;
        let mut client = world.client();
        let found = wait(&world, waits(&mut client, "GET a"));
        world.advance(ms(50)).await;
        assert!(!found.is_finished());
        world.depose(Some(OTHER)).await;
        assert!(found.is_finished());
        assert!(client.run("GET a").text.starts_with("-MOVED "));
        // READONLY clients are served without a primary.
        world.depose(None).await;
        world.client().readonly().expect("GET a", "$1\r\n1\r\n");
    });
}

/// The lag gate shuts while a write waits: it was not admitted before the wait, and is refused after it.
#[test]
fn the_gate_is_checked_again_after_the_wait() {
    script(async {
        let setup = Setup { max_lag: ms(100), ..waiting(Durability::Async) };
        let world = World::primary(setup).await;
        let mut client = world.client();
        client.expect("SET a 1", OK);
        lapse(&world);
        let until = waits(&mut client, "SET a 2");
        let found = wait(&world, until);
        world.advance(ms(120)).await;
        assert!(!found.is_finished());
        resume(&world).await;
        assert!(found.is_finished());
        let reply = client.run("SET a 2");
        assert!(reply.text.starts_with("-CLUSTERDOWN Durability lag"), "{}", reply.text);
        client.expect("GET a", "$1\r\n1\r\n");
    });
}

/// A key whose time passes during the wait is read by the clock after it.
#[test]
fn clocks_are_read_again_after_the_wait() {
    script(async {
        let world = World::primary(waiting(Durability::Async)).await;
        let mut client = world.client();
        client.expect("SET a 1 PX 100", OK);
        world.advance(ms(20)).await;
        world.commit_all().await;
        lapse(&world);
        waits(&mut client, "GET a");
        world.advance(ms(150)).await;
        resume(&world).await;
        client.expect("GET a", "$-1\r\n");
    });
}

#[test]
fn a_transaction_waits_whole() {
    script(async {
        let world = lapsed(waiting(Durability::Async)).await;
        let mut client = world.client();
        client.expect("MULTI", OK);
        waits(&mut client, "INCR a");
        resume(&world).await;
        client.expect("INCR a", "+QUEUED\r\n");
        client.expect("INCR a", "+QUEUED\r\n");
        lapse(&world);
        client.session.arrived();
        waits(&mut client, "EXEC");
        assert!(client.session.in_multi());
        resume(&world).await;
        assert_eq!(client.run("EXEC").text, "*2\r\n:2\r\n:3\r\n");
        // A refused one has no effect.
        client.expect("MULTI", OK);
        client.expect("INCR a", "+QUEUED\r\n");
        lapse(&world);
        client.session.arrived();
        waits(&mut client, "EXEC");
        world.advance(WAIT_MAX).await;
        client.expect("EXEC", DOWN);
        assert!(!client.session.in_multi());
    });
}

/// A replica that restores says so at once: the wait is for a primary, not for memory.
#[test]
fn what_touches_no_data_and_what_is_refused_anyway_does_not_wait() {
    script(async {
        let world = lapsed(waiting(Durability::Sync)).await;
        let mut client = world.client();
        client.expect("PING", "+PONG\r\n");
        let cross = client.run("MGET a b").text;
        assert!(cross.starts_with("-CROSSSLOT"), "{cross}");
        world.driver.set_role(fastness_consensus::handle::Role::Stopped { reason: "for a test".into() });
        world.resolve().await;
        client.expect("GET a", DOWN);
    });
}

const LATE: &str = "-DEADLINE the deadline of the command passed before it could run: nothing was done\r\n";

/// The client has stopped waiting before the primary may act again: it takes the write for failed, so that it must not
/// run later.
#[test]
fn a_command_whose_deadline_passed_while_it_waited_does_not_run() {
    script(async {
        let world = World::primary(waiting(Durability::Sync)).await;
        let (mut late, mut in_time, mut transaction) = (world.client(), world.client(), world.client());
        assert!(world.client().run("SET a 1").wrote());
        transaction.expect("MULTI", OK);
        transaction.expect("SET a 4", "+QUEUED\r\n");
        world.advance(ms(20)).await;
        world.commit_all().await;
        lapse(&world);
        let deadline = Some(world.clock_boot().plus(ms(50)));
        late.deadline = deadline;
        in_time.deadline = Some(world.clock_boot().plus(ms(150)));
        transaction.deadline = deadline;
        waits(&mut late, "SET a 2");
        waits(&mut in_time, "SET b 3");
        waits(&mut transaction, "EXEC");
        world.advance(ms(100)).await;
        resume(&world).await;
        let staged = world.shard.info().staged_seq;
        late.expect("SET a 2", LATE);
        late.expect("GET a", LATE);
        transaction.expect("EXEC", LATE);
        assert_eq!(world.shard.info().staged_seq, staged, "nothing of them is staged");
        transaction.deadline = None;
        transaction.expect("EXEC", "-ERR EXEC without MULTI\r\n");
        assert!(in_time.run("SET b 3").wrote());
        world.advance(ms(20)).await;
        world.commit_all().await;
        world.client().expect("GET a", "$1\r\n1\r\n");
        world.client().expect("GET b", "$1\r\n3\r\n");
    });
}

/// As every attribute of a transaction, the deadline belongs to EXEC.
#[test]
fn a_deadline_before_a_queued_command_is_an_error() {
    script(async {
        let world = World::primary(waiting(Durability::Sync)).await;
        let mut client = world.client();
        client.expect("MULTI", OK);
        client.deadline = Some(world.clock_boot().plus(ms(50)));
        let reply = client.run("SET a 1");
        assert!(reply.text.starts_with("-ERR a transaction's attribute belongs before its EXEC"), "{reply:?}");
    });
}
