//! The digest of a replica is computed in slices, at one point of the log, for everybody who waits for it, and not
//! finished when nobody does any more.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fastness_shard::{DigestError, DigestResult};
use fastness_types::Durability;
use support::{Setup, World, script};
use tokio::sync::oneshot;

const KEYS: usize = 3_000;
/// A slice of an image and the pause after it.
const SLICE: Duration = Duration::from_micros(500);

async fn filled() -> World {
    let world = World::primary(Setup::ungated(Durability::Async)).await;
    let mut client = world.client();
    for i in 0..KEYS {
        client.run(&format!("SET key:{i} {}", "v".repeat(100)));
    }
    world.advance(Duration::from_millis(20)).await;
    world.commit_all().await;
    world
}

fn durability_override(world: &World) -> oneshot::Receiver<DigestResult> {
    let (answer, answered) = oneshot::channel();
    world.shard.request_digest(answer);
    answered
}

async fn answer(world: &World, answered: &mut oneshot::Receiver<DigestResult>) -> (usize, DigestResult) {
    for turns in 0..10_000 {
        if let Ok(result) = answered.try_recv() {
            return (turns, result);
        }
        world.advance(SLICE).await;
    }
    panic!("it never comes");
}

#[test]
fn a_digest_is_computed_in_slices_between_which_clients_are_served_and_is_of_one_point() {
    script(async {
        let world = filled().await;
        let before = world.shard.digest().unwrap();
        let (mut one, mut client) = (durability_override(&world), world.client());
        world.advance(SLICE).await;
        // Whatever is changed now does not show.
        for i in (0..KEYS).step_by(7) {
            client.run(&format!("DEL key:{i}"));
            client.run(&format!("SET new:{i} v"));
        }
        let mut other = durability_override(&world);
        let (slices, digest) = answer(&world, &mut one).await;
        assert_eq!(digest, Ok(before));
        assert!(slices > 3, "{KEYS} keys in {slices} slices");
        assert_eq!(other.try_recv().unwrap(), Ok(before), "requests in the meantime share the result");
        assert_eq!(answer(&world, &mut durability_override(&world)).await.1, Err(DigestError::Open));
        world.advance(Duration::from_millis(20)).await;
        world.commit_all().await;
        let after = answer(&world, &mut durability_override(&world)).await.1.unwrap();
        assert_eq!(after, world.shard.digest().unwrap());
        assert_ne!(after.1, before.1);
    });
}

#[test]
fn a_digest_that_nobody_waits_for_is_not_finished() {
    script(async {
        let world = filled().await;
        let (one, other) = (durability_override(&world), durability_override(&world));
        world.advance(SLICE).await;
        let in_image = || world.shard.with_engine(|engine| engine.has_image());
        assert!(in_image());
        drop(one);
        world.advance(SLICE).await;
        assert!(in_image(), "somebody still waits");
        drop(other);
        world.advance(SLICE).await;
        assert!(!in_image());
    });
}
