//! What a shard reports of changed keys to a front end whose clients cache what they have read, and when.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fastness_engine::ChangedKeys;
use fastness_shard::{DurabilityOverride, KeyTracker, Release};
use fastness_types::{Durability, Seq};
use support::{OTHER, Setup, World, script};

/// Notes what is reported, each as a word.
#[derive(Default)]
struct Noted(RefCell<Vec<String>>);

impl Noted {
    /// What was reported since the last call.
    fn take(&self) -> String {
        self.0.take().join(" ")
    }
}

impl KeyTracker for Noted {
    fn changed(&self, keys: &ChangedKeys, after: Option<Seq>) {
        assert!(!keys.is_empty());
        let names: Vec<_> = keys.names().map(String::from_utf8_lossy).collect();
        let names = if keys.is_everything() { "*".to_owned() } else { names.join(",") };
        let when = if after.is_some() { "waits" } else { "now" };
        self.0.borrow_mut().push(format!("{names}:{when}"));
    }

    fn committed(&self, _: Seq) {
        self.0.borrow_mut().push("committed".to_owned());
    }

    fn lost(&self) {
        self.0.borrow_mut().push("lost".to_owned());
    }
}

fn track(world: &World) -> Rc<Noted> {
    let noted = Rc::new(Noted::default());
    world.shard.set_key_tracker(noted.clone());
    world.shard.with_engine(|engine| engine.note_changes(true));
    world.shard.check_tracking();
    noted
}

#[test]
fn in_sync_a_change_is_reported_when_staged_and_when_committed() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let noted = track(&world);
        let mut client = world.client();
        let write = client.run("SET a 1");
        assert_eq!(noted.take(), "a:waits");
        let read = world.client().run("GET a");
        assert_eq!(client.leave(&read), Release::Wait, "a read between both moments waits for the commit");
        assert_eq!(noted.take(), "");
        world.commit().await;
        assert_eq!(noted.take(), "committed");
        assert_eq!((client.leave(&write), client.leave(&read)), (Release::Now, Release::Now));
        client.run("MULTI");
        for line in ["SET {}a 2", "RPUSH {}l x y", "SET {}a 3", "RENAME {}l {}m", "COPY {}a {}b"] {
            assert_eq!(client.run(&line.replace("{}", "{t}")).text, "+QUEUED\r\n");
        }
        client.run("EXEC");
        let names = noted.take().replace("{t}", "");
        assert_eq!(names, "a,l,a,l,m,b:waits", "the whole transaction at once; what is copied has not changed");
        client.run("FLUSHALL");
        assert_eq!(noted.take(), "*:waits");
        client.run("GET a");
        assert_eq!(noted.take(), "");
    });
}

#[test]
fn in_async_a_change_is_reported_at_once_but_for_writes_with_an_override() {
    for durability in [Durability::Async, Durability::Disabled] {
        script(async move {
            let world = World::primary(Setup::mode(durability)).await;
            let noted = track(&world);
            let mut client = world.client();
            client.run("SET a 1");
            assert_eq!(noted.take(), "a:now");
            if durability == Durability::Async {
                client.run_with_override(DurabilityOverride::Sync, "SET a 2");
                assert_eq!(noted.take(), "a:waits");
                client.run_with_override(DurabilityOverride::Sync, "DEL nothing");
                client.run("SET a 3");
                assert_eq!(noted.take(), "a:now", "an override is that of one write");
            }
            client.run("FLUSHALL");
            assert_eq!(noted.take(), "*:now");
        });
    }
}

#[test]
fn nothing_is_noted_unless_somebody_tracks() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let noted = track(&world);
        world.shard.with_engine(|engine| engine.note_changes(false));
        world.client().run("SET a 1");
        world.advance(Duration::from_secs(1)).await;
        world.commit_all().await;
        world.lose_to_other(2).await;
        assert_eq!(noted.take(), "");
        assert!(world.shard.with_engine(|engine| engine.changed_keys().is_empty()));
    });
}

#[test]
fn a_unit_that_is_rolled_back_is_not_reported() {
    script(async {
        let mut setup = Setup::mode(Durability::Async);
        setup.batching.unit_bytes_max = 300;
        let world = World::primary(setup).await;
        let noted = track(&world);
        let mut client = world.client();
        client.run("MULTI");
        for i in 0..10 {
            client.run(&format!("SET {{a}}{i} {}", "v".repeat(40)));
        }
        let reply = client.run("EXEC");
        assert!(reply.text.starts_with("-ERR the command's effects exceed"), "{}", reply.text);
        assert_eq!(noted.take(), "");
        client.run("SET a 1");
        assert_eq!(noted.take(), "a:now");
    });
}

#[test]
fn expired_keys_are_reported_by_whoever_removes_them() {
    script(async {
        let world = World::primary(Setup::ungated(Durability::Async)).await;
        let mut client = world.client();
        client.run("SET a 1 PX 100");
        client.run("SET b 1 PX 100000");
        client.run("HSET h f v g v");
        client.run("HPEXPIRE h 100 FIELDS 1 f");
        let noted = track(&world);
        world.advance(Duration::from_secs(2)).await;
        let words = noted.take();
        let mut names: Vec<&str> = words.split([',', ' ']).map(|word| word.trim_end_matches(":now")).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "h"], "{words}");
        world.pause_process(Duration::from_secs(200));
        client.run("GET b");
        assert_eq!(noted.take(), "b:now", "the read that meets it");
    });
}

/// What was read of a tenure that ends may never have happened, and another primary may know more.
#[test]
fn everything_is_invalid_when_a_tenure_starts_or_ends() {
    for undo_bytes in [1 << 20, 0] {
        script(async move {
            let world = World::primary(Setup::default().undo_bytes(undo_bytes)).await;
            let noted = track(&world);
            world.client().run("SET a 1");
            assert_eq!(noted.take(), "a:waits");
            world.lose_to_other(2).await;
            let words = noted.take();
            assert!(words.starts_with("lost lost") && !words.contains("committed"), "deposed, then undone: {words}");
            assert!(words.split(' ').all(|word| word == "lost"), "nothing else while memory is restored: {words}");
            world.lead(3).await;
            assert!(noted.take().starts_with("lost"), "a tenure has started");
            // Without anything uncommitted.
            world.depose(Some(OTHER)).await;
            assert_eq!(noted.take().split(' ').filter(|word| *word == "lost").count(), 1);
        });
    }
}

/// A primary that is cut off does not hear of what another one accepts.
#[test]
fn a_lease_that_has_lapsed_for_long_invalidates_everything_once() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let noted = track(&world);
        world.advance(Duration::from_secs(5)).await;
        assert_eq!(noted.take(), "");
        world.lease.borrow().restrict(world.clock_boot());
        world.advance(Duration::from_millis(900)).await;
        assert_eq!(noted.take(), "", "most lapses are short");
        for _ in 0..5 {
            world.advance(Duration::from_secs(1)).await;
        }
        assert_eq!(noted.take(), "lost");
    });
}

#[test]
fn a_replica_reports_what_it_applies_and_nothing_while_it_is_restored() {
    script(async {
        let primary = World::primary(Setup::default()).await;
        primary.client().run("SET before 1");
        primary.commit_all().await;
        let replica = World::start_on(Setup::default(), primary.log.clone(), primary.clock.clone());
        let noted = track(&replica);
        replica.resolve().await;
        replica.client().readonly().expect("GET before", "$1\r\n1\r\n");
        assert_eq!(noted.take(), "", "it was restored");
        for line in ["MSET {x}a 1 {x}b 1", "FLUSHALL"] {
            primary.client().run(line);
            primary.commit_all().await;
            replica.driver.advance_committed(primary.log.last());
            replica.resolve().await;
        }
        assert_eq!(noted.take(), "{x}a,{x}b:now *:now");
    });
}
