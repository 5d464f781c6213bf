//! The durability mode changes while the shard serves (rule 7 of the design).

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fastness_shard::{DesiredMode, Release};
use fastness_types::Durability::{self, Async, Sync};
use support::{OTHER, Setup, World, script};

const OK: &str = "+OK\r\n";
/// A batch is closed by then, whatever it waits for.
const BATCH_AGE_MAX: Duration = Duration::from_millis(10);

fn desired(world: &World, mode: Durability, version: u64) {
    world.shard.set_desired_mode(DesiredMode { mode, version });
}

/// Schedule 11: what was staged under `async` counts as dirty from the moment `sync` is staged.
#[test]
fn sync_acts_when_it_is_staged() {
    script(async {
        let world = World::primary(Setup::mode(Async)).await;
        let (mut client, mut other) = (world.client(), world.client());
        client.expect("SET a 1", OK);
        assert_eq!(client.run("GET a").pending(), None, "async shows what may be undone");
        assert_eq!(world.shard.mode(), (Async, 1));
        desired(&world, Sync, 2);
        world.resolve().await;
        assert_eq!(world.shard.mode(), (Sync, 1));
        let read = other.run("GET a");
        let write = client.run("SET b 1");
        assert_eq!(other.leave(&read), Release::Wait, "staged under async, and not committed");
        assert_eq!(client.leave(&write), Release::Wait);
        world.commit().await;
        assert_eq!(world.shard.mode(), (Sync, 2), "its batch held everything from before");
        assert_eq!(other.leave(&read), Release::Now);
        world.advance(BATCH_AGE_MAX).await;
        world.commit_all().await;
        assert_eq!(client.leave(&write), Release::Now);
    });
}

#[test]
fn async_acts_when_it_has_committed() {
    script(async {
        let world = World::primary(Setup::mode(Sync)).await;
        let mut client = world.client();
        desired(&world, Async, 2);
        world.resolve().await;
        assert_eq!(world.take(), 1, "nothing but the mode is waited for");
        let write = client.run("SET a 1");
        assert_eq!(client.leave(&write), Release::Wait, "async is only staged");
        assert_eq!(world.shard.mode(), (Sync, 1));
        world.commit().await;
        assert_eq!(world.shard.mode(), (Async, 2));
        assert_eq!(client.leave(&write), Release::Wait, "it ran under sync");
        let later = client.run("SET a 2");
        assert_eq!(client.leave(&later), Release::Now);
        world.advance(BATCH_AGE_MAX).await;
        world.commit_all().await;
        assert_eq!(client.leave(&write), Release::Now);
    });
}

#[test]
fn a_change_that_is_undone_is_staged_by_the_next_primary_that_knows_the_desired_mode() {
    script(async {
        let world = World::primary(Setup::mode(Async)).await;
        desired(&world, Sync, 2);
        world.resolve().await;
        assert_eq!(world.shard.mode(), (Sync, 1));
        world.lose_to_other(2).await;
        assert_eq!(world.shard.mode(), (Async, 1), "it has not committed");
        world.lead(3).await;
        assert_eq!(world.shard.mode(), (Sync, 1));
        world.commit_all().await;
        assert_eq!(world.shard.mode(), (Sync, 2));
    });
}

/// A primary whose map is old must not revert the mode that an operator was shown.
#[test]
fn a_desired_mode_older_than_the_logs_changes_nothing() {
    script(async {
        let world = World::primary(Setup::mode(Async)).await;
        desired(&world, Sync, 2);
        world.commit_all().await;
        assert_eq!(world.shard.mode(), (Sync, 2));
        // Another node with the same log still has the first map.
        let behind = World::start_on(Setup::mode(Async), world.log.clone(), world.clock.clone());
        behind.resolve().await;
        behind.lead(2).await;
        assert_eq!(behind.take(), 0);
        assert_eq!(behind.shard.mode(), (Sync, 2));
        desired(&behind, Async, 1);
        behind.resolve().await;
        assert_eq!((behind.take(), behind.shard.mode()), (0, (Sync, 2)));
        desired(&behind, Async, 3);
        behind.commit_all().await;
        assert_eq!(behind.shard.mode(), (Async, 3));
    });
}

#[test]
fn the_next_change_waits_for_the_one_before() {
    script(async {
        let world = World::primary(Setup::mode(Async)).await;
        desired(&world, Sync, 2);
        world.resolve().await;
        desired(&world, Async, 3);
        world.resolve().await;
        assert_eq!(world.take(), 1);
        assert_eq!(world.shard.mode(), (Sync, 1), "sync is staged, and async has to wait for it");
        world.commit().await;
        assert_eq!(world.shard.mode(), (Sync, 2));
        world.commit().await;
        assert_eq!(world.shard.mode(), (Async, 3));
    });
}

#[test]
fn replicas_and_primaries_without_a_lease_stage_nothing() {
    script(async {
        let world = World::primary(Setup::mode(Async)).await;
        world.depose(Some(OTHER)).await;
        desired(&world, Sync, 2);
        world.advance(Duration::from_secs(1)).await;
        assert_eq!((world.take(), world.shard.mode()), (0, (Async, 1)));
        world.lead(2).await;
        assert_eq!(world.shard.mode(), (Sync, 1));
        world.commit_all().await;
        desired(&world, Async, 3);
        world.pause_process(Duration::from_secs(4000));
        world.resolve().await;
        assert_eq!(world.take(), 0, "its lease has run out");
        world.lease.borrow().extend(world.clock_boot().plus(Duration::from_secs(9)));
        world.driver.wake_owner();
        world.commit_all().await;
        assert_eq!(world.shard.mode(), (Async, 3));
    });
}
