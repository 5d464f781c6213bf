//! Snapshots: when they are cut, at which log position they count, and restoring from them.

#![allow(clippy::unwrap_used)]

mod support;

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastness_engine::Digest;
use fastness_shard::{Release, SinkError, SnapshotPart, Standing};
use fastness_types::{Durability, FormatLevel, LogIndex};
use support::{MemorySnapshots, OTHER, Setup, World, script};

const OK: &str = "+OK\r\n";
/// A batch is closed by then, whatever it waits for.
const BATCH_AGE_MAX: Duration = Duration::from_millis(10);

fn store() -> Rc<MemorySnapshots> {
    Rc::default()
}

fn setup(mode: Durability, store: &Rc<MemorySnapshots>) -> Setup {
    Setup { snapshots: Some(store.clone()), ..Setup::ungated(mode) }
}

async fn commit_all(world: &World) {
    world.advance(BATCH_AGE_MAX).await;
    world.commit_all().await;
}

/// Lets a snapshot be written to its end, as far as it can be.
async fn write_out(world: &World) {
    for _ in 0..200 {
        world.advance(Duration::from_micros(500)).await;
    }
}

/// What the log alone says at its end: position, data, checksum.
async fn replayed(world: &World) -> (LogIndex, Digest, u64) {
    let replica = World::start_on(Setup::ungated(Durability::Sync), world.log.clone(), world.clock.clone());
    stands(&replica).await
}

async fn stands(world: &World) -> (LogIndex, Digest, u64) {
    for _ in 0..100 {
        world.resolve().await;
    }
    let (index, digest) = world.shard.digest().unwrap();
    (index, digest, world.shard.info().log_checksum)
}

#[test]
fn a_restart_reads_the_snapshot_and_the_log_after_it() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Async, &store)).await;
        let mut client = world.client();
        for i in 0..500 {
            client.expect(&format!("SET key{i} {i}"), OK);
        }
        commit_all(&world).await;
        assert!(world.shard.snapshot());
        write_out(&world).await;
        let info = world.shard.info().snapshot;
        assert_eq!((info.written, info.newest, info.keys, info.in_progress), (1, world.log.last(), 500, false));
        client.expect("SET behind 1", OK);
        client.expect("SET key7 other", OK);
        commit_all(&world).await;

        let expected = replayed(&world).await;
        let reads_before = world.log.disk_reads.load(Ordering::Relaxed);
        world.log.uncached.store(true, Ordering::Relaxed);
        let again = World::start_on(setup(Durability::Async, &store), world.log.clone(), world.clock.clone());
        let mut seen = vec![again.shard.info().loading.expect("it begins with a restore")];
        while let Some(loading) = again.shard.info().loading {
            assert!(loading.loaded_bytes <= loading.total_bytes, "{loading:?}");
            seen.push(loading);
            tokio::task::yield_now().await;
        }
        assert!(seen.iter().any(|seen| seen.total_bytes >= info.bytes && seen.loaded_bytes == 0), "{seen:?}");
        assert_eq!(stands(&again).await, expected);
        assert_eq!((store.read.get(), again.shard.info().snapshot.newest), (1, info.newest));
        assert!(world.log.disk_reads.load(Ordering::Relaxed) - reads_before <= 2, "of the log only the end is read");
        assert_eq!(again.shard.mode(), (Durability::Async, 1));
        again.lead(2).await;
        assert_eq!(again.shard.info().standing, Standing::Primary);
        again.client().expect("GET key7", "$5\r\nother\r\n");
    });
}

/// BGSAVE, as a client sends it: the loop makes a snapshot without anything else that wakes it.
#[test]
fn a_client_may_request_a_snapshot() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Async, &store)).await;
        let mut client = world.client();
        client.expect("SET a 1", OK);
        commit_all(&world).await;
        client.expect("BGSAVE", "+Accepted\r\n");
        write_out(&world).await;
        let info = world.shard.info().snapshot;
        assert_eq!((info.written, info.newest, info.keys), (1, world.log.last(), 1));
        client.expect("SET a 2", OK);
        client.expect("BGSAVE", "+Accepted\r\n");
        world.resolve().await;
        client.expect("BGSAVE", "+InProgress\r\n");
        commit_all(&world).await;
        write_out(&world).await;
        assert_eq!(world.shard.info().snapshot.written, 2, "one at a time");
        let without = World::primary(Setup::ungated(Durability::Async)).await;
        without.client().expect("BGSAVE", "+NoStore\r\n");
    });
}

/// A primary's memory is ahead of the log: the snapshot is at the index where its last batch commits, and shows nothing
/// later.
#[test]
fn a_primary_cuts_after_its_open_batch() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Async, &store)).await;
        let mut client = world.client();
        client.expect("SET a 1", OK);
        world.shard.snapshot();
        world.resolve().await;
        assert_eq!(world.take(), 1, "the open batch is closed for it");
        client.expect("SET a 2", OK);
        client.expect("SET b 2", OK);
        write_out(&world).await;
        assert_eq!(world.shard.info().snapshot.written, 0, "what it shows has not committed");
        world.commit().await;
        let at = world.log.last();
        let expected = replayed(&world).await;
        assert_eq!(world.shard.info().snapshot.newest, at);
        commit_all(&world).await;
        assert!(world.log.last() > at);

        let finished = store.finished.borrow().clone();
        assert_eq!(finished.keys().copied().collect::<Vec<_>>(), [at]);
        let Some(SnapshotPart::Tail(tail)) = finished[&at].last() else { panic!("no tail") };
        let tail = String::from_utf8_lossy(tail);
        for part in
            [format!("\"index\":{}", at.0), format!("\"digest\":\"{}\"", expected.1), format!("{:016x}", expected.2)]
        {
            assert!(tail.contains(&part), "{part} is not in {tail}");
        }
        let again = World::start_on(setup(Durability::Async, &store), world.log.clone(), world.clock.clone());
        assert_eq!(stands(&again).await, replayed(&world).await);
    });
}

#[test]
fn what_was_undone_is_in_no_snapshot() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Async, &store)).await;
        let mut client = world.client();
        client.expect("SET a committed", OK);
        commit_all(&world).await;
        client.expect("SET a ghost", OK);
        world.shard.snapshot();
        write_out(&world).await;
        assert!(world.shard.info().snapshot.in_progress, "it waits for its batch");
        world.lose_to_other(2).await;
        write_out(&world).await;
        let info = world.shard.info();
        assert_eq!((info.undone, info.undone_by_records, store.read.get()), (1, 1, 0), "undo records suffice");
        assert_eq!((info.snapshot.written, info.snapshot.given_up), (1, 1), "it is made anew");
        assert_eq!(info.snapshot.newest, world.log.last());
        let again = World::start_on(setup(Durability::Async, &store), world.log.clone(), world.clock.clone());
        assert_eq!(stands(&again).await, replayed(&world).await);
        world.client().readonly().expect("GET a", "$9\r\ncommitted\r\n");
    });
}

#[test]
fn an_undo_without_records_restores_a_snapshot() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Async, &store).undo_bytes(0)).await;
        let mut client = world.client();
        client.expect("SET a committed", OK);
        commit_all(&world).await;
        world.shard.snapshot();
        write_out(&world).await;
        client.expect("SET a ghost", OK);
        world.shard.snapshot();
        write_out(&world).await;
        assert!(world.shard.info().snapshot.in_progress, "it waits for its batch");
        world.lose_to_other(2).await;
        for _ in 0..100 {
            world.resolve().await;
        }
        let info = world.shard.info();
        assert_eq!((info.snapshot.written, info.snapshot.given_up, info.snapshot.in_progress), (1, 1, false));
        assert_eq!((info.undone, info.undone_by_records, store.read.get()), (1, 0, 1), "the snapshot from before");
        world.client().readonly().expect("GET a", "$9\r\ncommitted\r\n");
        assert_eq!(stands(&world).await, replayed(&world).await);
    });
}

#[test]
fn a_damaged_snapshot_is_passed_over() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Async, &store)).await;
        for round in 0..3 {
            for i in 0..50 {
                world.client().expect(&format!("SET key{i} {round}"), OK);
            }
            commit_all(&world).await;
            world.shard.snapshot();
            write_out(&world).await;
        }
        let newest: Vec<LogIndex> = store.finished.borrow().keys().rev().copied().collect();
        assert_eq!(newest.len(), 3);
        let expected = replayed(&world).await;
        let damage = |index: LogIndex, damaged: &dyn Fn(&mut Vec<SnapshotPart>)| {
            damaged(store.finished.borrow_mut().get_mut(&index).unwrap());
        };
        damage(newest[0], &|parts| drop(parts.pop()));
        damage(newest[1], &|parts| drop(parts.remove(1)));
        for reads in [3, 6] {
            let again = World::start_on(setup(Durability::Async, &store), world.log.clone(), world.clock.clone());
            assert_eq!(stands(&again).await, expected);
            assert_eq!(store.read.get(), reads);
            damage(newest[2], &|parts| parts[1] = SnapshotPart::Chunk(b"\x01k\x1f"[..].into()));
        }
    });
}

#[test]
fn a_slow_disk_is_waited_for_and_a_failing_one_given_up() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Async, &store)).await;
        let mut client = world.client();
        for i in 0..3_000 {
            client.expect(&format!("SET key{i} {}", "x".repeat(50)), OK);
        }
        commit_all(&world).await;
        store.room.set(Some(2));
        world.shard.snapshot();
        write_out(&world).await;
        assert!(world.shard.info().snapshot.in_progress);
        client.expect("SET key2999 later", OK);
        store.room.set(None);
        write_out(&world).await;
        assert_eq!(world.shard.info().snapshot.written, 1);

        *store.failure.borrow_mut() =
            Some(SinkError::Write(Arc::from(Box::<dyn Error + Send + Sync>::from("no space"))));
        world.shard.snapshot();
        write_out(&world).await;
        let info = world.shard.info().snapshot;
        assert_eq!((info.written, info.given_up, info.in_progress), (1, 1, false));
        *store.failure.borrow_mut() = None;
        world.shard.snapshot();
        write_out(&world).await;
        assert_eq!(world.shard.info().snapshot.written, 1, "not at once");
        world.advance(Duration::from_secs(60)).await;
        commit_all(&world).await;
        write_out(&world).await;
        assert_eq!(world.shard.info().snapshot.written, 2);
    });
}

/// Two values of some megabytes: a text, and a hash of many fields.
async fn with_large_values(store: &Rc<MemorySnapshots>) -> World {
    let world = World::primary(setup(Durability::Async, store)).await;
    let mut client = world.client();
    client.expect("SETRANGE text 3000000 x", ":3000001\r\n");
    for i in 0..20 {
        let fields: Vec<String> = (0..500).map(|field| format!("field{i}/{field} {}", "x".repeat(100))).collect();
        client.expect(&format!("HSET hash {}", fields.join(" ")), ":500\r\n");
    }
    client.expect("SET small 1", OK);
    commit_all(&world).await;
    world
}

/// The lengths of the chunks of the newest snapshot, and whether another replica that starts from it has the same data.
async fn chunks_of(world: &World, store: &Rc<MemorySnapshots>) -> Vec<usize> {
    while world.shard.info().snapshot.in_progress {
        world.advance(Duration::from_micros(500)).await;
    }
    let again = World::start_on(setup(Durability::Async, store), world.log.clone(), world.clock.clone());
    assert_eq!(stands(&again).await, replayed(world).await);
    let finished = store.finished.borrow();
    let parts = finished.values().next_back().unwrap().iter();
    parts.filter_map(|part| if let SnapshotPart::Chunk(chunk) = part { Some(chunk.len()) } else { None }).collect()
}

/// However large a value, a chunk of a snapshot, which is what a turn writes and what a transfer sends, is a slice and
/// one record at most; what of the image waits for the disk is memory in use.
#[test]
fn chunks_are_bounded_whatever_the_size_of_a_value() {
    script(async {
        let store = store();
        let world = with_large_values(&store).await;
        store.room.set(Some(2));
        world.shard.snapshot();
        write_out(&world).await;
        let mut client = world.client();
        client.expect("APPEND text more", ":3000005\r\n");
        client.expect("RENAME hash {hash}2", OK);
        client.expect("HSET {hash}2 field1/1 changed", ":0\r\n");
        commit_all(&world).await;
        assert!(world.shard.memory().image > 0, "two chunks wait");
        store.room.set(None);
        let chunks = chunks_of(&world, &store).await;
        let longest = chunks.iter().copied().max().unwrap();
        assert!(longest <= 32 * 1024 + 256 * 1024 + 1024, "{longest}");
        assert!(chunks.iter().sum::<usize>() > 4_000_000);
    });
}

/// Below the format level of parts every key is one record, as every version reads it.
#[test]
fn values_are_not_cut_before_every_member_reads_parts() {
    script(async {
        let store = store();
        let world = with_large_values(&store).await;
        world.driver.set_format(FormatLevel::BASE);
        world.shard.snapshot();
        write_out(&world).await;
        let chunks = chunks_of(&world, &store).await;
        assert!(chunks.iter().copied().max() > Some(3_000_000), "{chunks:?}");
    });
}

#[test]
fn one_is_cut_after_so_much_log() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Async, &store)).await;
        world.shard.set_snapshot_log_bytes(1_000);
        for i in 0..100 {
            world.client().expect(&format!("SET key{i} {}", "x".repeat(50)), OK);
            commit_all(&world).await;
        }
        write_out(&world).await;
        // After 1 KB, 1 KB more, and then as much as there was; what an entry takes beside its batch counts, too.
        let info = world.shard.info().snapshot;
        assert!((3..=10).contains(&info.written), "{info:?}");
        assert!(info.bytes >= 2_000 && info.log_bytes < info.bytes + 1_000, "{info:?}");
    });
}

/// A snapshot that the disk does not hold would end as a draft that takes up the last of it.
#[test]
fn one_that_the_disk_does_not_hold_is_not_begun() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Sync, &store)).await;
        store.full.set(true);
        world.shard.snapshot();
        write_out(&world).await;
        let info = world.shard.info().snapshot;
        assert_eq!((info.in_progress, info.written, info.given_up), (false, 0, 0));
        assert!(info.refused >= 1, "{info:?}");
        store.full.set(false);
        world.advance(Duration::from_secs(1)).await;
        commit_all(&world).await;
        write_out(&world).await;
        assert_eq!(world.shard.info().snapshot.written, 1, "the snapshot is retried automatically");
    });
}

/// However large the newest is, and whatever the option says: the log of all shards has to fit on the disk.
#[test]
fn one_is_cut_when_the_shards_share_of_the_disk_is_used() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Async, &store)).await;
        world.shard.set_snapshot_log_bytes(1 << 30);
        world.shard.set_log_share(500);
        for round in 0..10 {
            for i in 0..20 {
                world.client().expect(&format!("SET key{round}:{i} {}", "x".repeat(50)), OK);
                commit_all(&world).await;
            }
            write_out(&world).await;
        }
        let info = world.shard.info().snapshot;
        assert!(info.written >= 8 && info.bytes > 2 * 500, "{info:?}");
    });
}

#[test]
fn a_replica_cuts_at_its_newest_entry() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Sync, &store)).await;
        let mut client = world.client();
        let set = client.run("SET a 1");
        assert_eq!(set.text, OK);
        commit_all(&world).await;
        world.depose(Some(OTHER)).await;
        world.foreign_blank(2).await;
        world.shard.snapshot();
        write_out(&world).await;
        assert_eq!(world.shard.info().snapshot.newest, world.log.last());
        let again = World::start_on(setup(Durability::Sync, &store), world.log.clone(), world.clock.clone());
        assert_eq!(stands(&again).await, replayed(&world).await);
        assert_eq!(again.shard.info().epoch, world.shard.info().epoch);
    });
}

/// Time does not run backwards, not even if there is no key that says how late it was.
#[test]
fn an_empty_snapshot_brings_its_time() {
    script(async {
        let store = store();
        let world = World::primary(setup(Durability::Async, &store)).await;
        let mut client = world.client();
        client.expect("SET a 1", OK);
        client.expect("DEL a", ":1\r\n");
        commit_all(&world).await;
        let timestamp = world.shard.with_engine(|engine| engine.newest_timestamp());
        world.shard.snapshot();
        write_out(&world).await;
        assert_eq!(world.shard.info().snapshot.written, 1);
        let again = World::start_on(setup(Durability::Async, &store), world.log.clone(), world.clock.clone());
        stands(&again).await;
        assert_eq!(store.read.get(), 1);
        assert_eq!(again.shard.with_engine(|engine| engine.newest_timestamp()), timestamp);
    });
}

/// A snapshot of another replica in this one's store, as consensus installs it: the log before it is removed.
fn install(world: &World, to: &Rc<MemorySnapshots>, from: &Rc<MemorySnapshots>) -> LogIndex {
    let (index, parts) = from.finished.borrow().last_key_value().map(|(index, parts)| (*index, parts.clone())).unwrap();
    to.finished.borrow_mut().insert(index, parts);
    world.log.purged.store(index.0, Ordering::Relaxed);
    world.driver.set_installed(index);
    index
}

#[test]
fn a_replica_continues_from_a_snapshot_that_was_installed() {
    script(async {
        let (store, other_store) = (store(), store());
        let world = World::primary(setup(Durability::Async, &store)).await;
        let mut client = world.client();
        client.expect("SET early 1", OK);
        client.expect("SET changed 1", OK);
        commit_all(&world).await;
        let replica = World::start_on(setup(Durability::Async, &other_store), world.log.clone(), world.clock.clone());
        let early = stands(&replica).await;
        for i in 0..50 {
            client.expect(&format!("SET key{i} {i}"), OK);
        }
        client.expect("SET changed 2", OK);
        commit_all(&world).await;
        world.shard.snapshot();
        write_out(&world).await;
        client.expect("SET behind 1", OK);
        commit_all(&world).await;
        let expected = replayed(&world).await;
        assert_eq!(world.driver.own_snapshot().map(|own| own.index), Some(world.shard.info().snapshot.newest));

        let index = install(&replica, &other_store, &store);
        assert!(early.0 < index);
        replica.driver.advance_committed(world.log.last());
        assert_eq!(stands(&replica).await, expected);
        let info = replica.shard.info();
        assert_eq!((info.snapshot.received, info.snapshot.newest, info.undone), (1, index, 0));
        assert_eq!(replica.driver.own_snapshot().map(|own| own.index), Some(index), "it may be sent on");
        replica.client().readonly().expect("GET changed", "$1\r\n2\r\n");
        // And so after a restart, from the snapshot alone.
        let again = World::start_on(setup(Durability::Async, &other_store), world.log.clone(), world.clock.clone());
        assert_eq!(stands(&again).await, expected);
    });
}

/// The log is cut before that is on the disk, and on a slow disk long before the snapshot is reported as installed: an
/// owner that has not applied all that is committed finds the log removed meanwhile.
#[test]
fn a_replica_that_finds_its_log_cut_continues_from_the_snapshot_that_is_being_installed() {
    script(async {
        let (store, other_store) = (store(), store());
        let world = World::primary(setup(Durability::Async, &store)).await;
        let mut client = world.client();
        client.expect("SET early 1", OK);
        commit_all(&world).await;
        let replica = World::start_on(setup(Durability::Async, &other_store), world.log.clone(), world.clock.clone());
        let early = stands(&replica).await;
        client.expect("SET changed 2", OK);
        commit_all(&world).await;
        world.shard.snapshot();
        write_out(&world).await;
        let expected = replayed(&world).await;

        let (index, parts) =
            store.finished.borrow().last_key_value().map(|(index, parts)| (*index, parts.clone())).unwrap();
        other_store.finished.borrow_mut().insert(index, parts);
        world.log.purged.store(index.0, Ordering::Relaxed);
        replica.driver.advance_committed(LogIndex(early.0.0 + 1));
        assert_eq!(stands(&replica).await, expected);
        replica.driver.set_installed(index);
        assert_eq!(stands(&replica).await, expected);
        let info = replica.shard.info();
        assert_eq!((info.stopped, info.snapshot.received), (None, 1));
    });
}

/// It replaces entries of another leader: what this primary had not committed is lost.
#[test]
fn a_snapshot_that_is_installed_ends_a_tenure_with_open_effects() {
    script(async {
        let (store, other_store) = (store(), store());
        let world = World::primary(setup(Durability::Sync, &other_store)).await;
        let mut client = world.client();
        client.run("SET a 1");
        commit_all(&world).await;
        let reply = client.run("SET a ghost");
        world.advance(BATCH_AGE_MAX).await;
        assert!(world.take() > 0);
        world.pending.borrow_mut().clear();
        // The log of the others continues.
        let others = World::start_on(setup(Durability::Sync, &store), world.log.clone(), world.clock.clone());
        others.resolve().await;
        others.lead(2).await;
        others.client().run("SET a 2");
        commit_all(&others).await;
        others.shard.snapshot();
        write_out(&others).await;
        let expected = replayed(&world).await;

        install(&world, &other_store, &store);
        world.depose(Some(OTHER)).await;
        assert_eq!(stands(&world).await, expected);
        assert_eq!(client.leave(&reply), Release::Unknown);
        let info = world.shard.info();
        assert_eq!((info.undone, info.snapshot.received), (1, 1));
        world.client().readonly().expect("GET a", "$1\r\n2\r\n");
    });
}

#[test]
fn without_a_snapshot_that_can_be_used_a_purged_log_stops_the_replica() {
    script(async {
        let (store, other_store) = (store(), store());
        let world = World::primary(setup(Durability::Async, &store)).await;
        world.client().expect("SET a 1", OK);
        commit_all(&world).await;
        let replica = World::start_on(setup(Durability::Async, &other_store), world.log.clone(), world.clock.clone());
        replica.resolve().await;
        world.client().expect("SET a 2", OK);
        commit_all(&world).await;
        world.shard.snapshot();
        write_out(&world).await;
        for parts in store.finished.borrow_mut().values_mut() {
            parts.pop();
        }
        install(&replica, &other_store, &store);
        stands_still(&replica).await;
        let again = World::start_on(setup(Durability::Async, &other_store), world.log.clone(), world.clock.clone());
        stands_still(&again).await;
        for stopped in [&replica, &again] {
            let reason = stopped.shard.info().stopped.expect("it has stopped");
            assert!(reason.contains("fastness cluster replace-replica"), "{reason}");
        }
    });
}

async fn stands_still(world: &World) {
    for _ in 0..100 {
        world.resolve().await;
    }
}
