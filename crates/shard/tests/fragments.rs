//! A batch that is larger than a log entry should be: it is cut into several entries, which are applied as one.

#![allow(clippy::unwrap_used)]

mod support;

use std::rc::Rc;
use std::time::Duration;

use fastness_consensus::handle::EntryPayload;
use fastness_shard::{Batching, Release, SnapshotCheck, SnapshotPart};
use fastness_types::{Durability, Epoch, FormatLevel, LogIndex, ShardId};
use support::{MemorySnapshots, OTHER, Reply, Setup, World, payload_bytes, script};

const OK: &str = "+OK\r\n";
const FRAGMENT_BYTES: usize = 1_000;

fn setup(mode: Durability) -> Setup {
    let batching = Batching {
        fragment_bytes_max: FRAGMENT_BYTES,
        entry_bytes_max: 3_000,
        unit_bytes_max: 60_000,
        ..Batching::default()
    };
    Setup { batching, ..Setup::ungated(mode) }
}

async fn primary(setup: Setup) -> World {
    let world = World::primary(setup).await;
    level(&world, FormatLevel::BOUNDS).await;
    world
}

/// What every member of the group can read.
async fn level(world: &World, level: FormatLevel) {
    world.driver.set_format(level);
    world.resolve().await;
}

/// A write whose batch is six entries.
fn write_six(world: &World) -> Reply {
    let reply = world.client().run(&format!("SET large {}", "v".repeat(5_500)));
    assert_eq!(reply.text, OK);
    reply
}

/// A replica that has applied what has committed.
async fn replica(world: &World, setup: Setup) -> World {
    let replica = World::start_on(setup, world.log.clone(), world.clock.clone());
    follow(&replica).await;
    replica
}

async fn follow(replica: &World) {
    replica.driver.advance_committed(replica.log.last());
    for _ in 0..20 {
        replica.resolve().await;
    }
}

async fn same(one: &World, other: &World) {
    let (one, other) = (&one.shard, &other.shard);
    assert_eq!(one.digest().unwrap(), other.digest().unwrap());
    assert_eq!(one.info().log_checksum, other.info().log_checksum);
}

#[test]
fn a_large_unit_is_several_entries_and_applied_as_one() {
    script(async {
        let world = primary(setup(Durability::Sync)).await;
        let before = world.log.last();
        let follower = replica(&world, setup(Durability::Sync)).await;
        let checksum = follower.shard.info().log_checksum;
        let set = write_six(&world);
        let mut client = world.client();
        let behind = client.run("SET behind 1");
        let other = client.run("GET unrelated");
        assert_eq!(client.leave(&other), Release::Now);
        for fragment in 1..=6 {
            for reply in [&set, &behind, &client.run("GET large")] {
                assert_eq!(client.leave(reply), Release::Wait, "{fragment}");
            }
            let mut reader = follower.client().readonly();
            reader.expect("EXISTS large behind", "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
            reader.expect("EXISTS large", ":0\r\n");
            assert!(world.commit().await);
            assert!(world.take() <= Batching::default().in_flight_max);
            follow(&follower).await;
            let held = follower.shard.info().memory.fragments;
            assert_eq!(held > 0, fragment < 6, "{fragment}: {held} bytes");
            let position = if fragment < 6 { before } else { LogIndex(before.0 + 6) };
            assert_eq!(follower.shard.info().applied, position);
            let is_of_position = (follower.shard.info().log_checksum == checksum) == (fragment < 6);
            assert!(is_of_position, "the checksum that is told is that of the applied position");
            assert_eq!(follower.driver.applied(), position, "what is reported");
            assert!(follower.driver.ready(), "one of the replicas has to lead if the leader dies here");
        }
        assert_eq!(client.leave(&set), Release::Now);
        assert_eq!(client.leave(&behind), Release::Wait);
        world.advance(Batching::default().sync_hold).await;
        world.commit_all().await;
        assert_eq!(client.leave(&behind), Release::Now);
        follow(&follower).await;
        follower.client().readonly().expect("STRLEN large", ":5500\r\n");
        same(&world, &follower).await;
        same(&world, &replica(&world, setup(Durability::Sync)).await).await;
        assert!(world.log.entries().iter().all(|entry| payload_bytes(entry) <= FRAGMENT_BYTES + 26));
    });
}

/// Until every member of the group reads fragments, a unit is one entry at most.
#[test]
fn no_fragment_is_written_for_members_that_do_not_read_them() {
    script(async {
        let world = World::primary(setup(Durability::Sync)).await;
        level(&world, FormatLevel::BASE).await;
        let mut client = world.client();
        let refused = client.run(&format!("SET large {}", "v".repeat(5_500)));
        assert!(
            refused.text.starts_with("-ERR the command's effects exceed 2464 bytes; no data was changed"),
            "{refused:?}"
        );
        assert_eq!(client.run(&format!("SET large {}", "v".repeat(2_300))).text, OK);
        world.commit_all().await;
        assert!(world.log.entries().iter().any(|entry| payload_bytes(entry) > 2_300), "one entry, as ever");
        level(&world, FormatLevel::BOUNDS).await;
        write_six(&world);
        world.commit_all().await;
        client.expect("STRLEN large", ":5500\r\n");
    });
}

/// Schedule 41: the first fragments commit, and the leader dies before the last.
#[test]
fn a_foreign_entry_between_fragments_drops_the_batch() {
    script(async {
        let world = primary(setup(Durability::Sync)).await;
        let mut client = world.client();
        client.run("SET large before");
        world.commit_all().await;
        let follower = replica(&world, setup(Durability::Sync)).await;
        let digest = world.shard.digest().unwrap().1;
        let set = write_six(&world);
        for _ in 0..3 {
            assert!(world.commit().await);
        }
        assert_eq!(client.leave(&set), Release::Wait);
        follow(&follower).await;
        world.lose_to_other(2).await;
        follow(&follower).await;
        assert_eq!(client.leave(&set), Release::Unknown);
        let info = world.shard.info();
        assert_eq!((info.undone, info.undone_by_records, info.undone_units, info.restores), (1, 1, 1, 1));
        for node in [&world, &follower, &replica(&world, setup(Durability::Sync)).await] {
            assert_eq!(node.shard.digest().unwrap(), (world.log.last(), digest));
            assert_eq!(node.shard.info().memory.fragments, 0);
            node.client().readonly().expect("GET large", "$6\r\nbefore\r\n");
        }
        // The other node's batches are numbered from 1, and this one can win again.
        let epoch = Epoch { term: 2, node: OTHER };
        let effects = b"\x02\x02\x01a\x011";
        world.append_write(epoch, Durability::Sync, &effects[..].into());
        follow(&world).await;
        follow(&follower).await;
        follower.client().readonly().expect("GET a", "$1\r\n1\r\n");
        same(&world, &follower).await;
        world.lead(3).await;
        world.commit_all().await;
        write_six(&world);
        world.commit_all().await;
        world.client().expect("STRLEN large", ":5500\r\n");
        follow(&follower).await;
        same(&world, &follower).await;
    });
}

/// Fragments that have not committed are undone like any batch; records of what came before stay.
#[test]
fn an_open_batch_of_several_entries_is_undone() {
    script(async {
        let world = primary(setup(Durability::Async)).await;
        let mut client = world.client();
        client.expect("SET a 1", OK);
        let set = write_six(&world);
        client.expect("SET a 2", OK);
        world.advance(Duration::from_millis(20)).await;
        assert!(world.commit().await, "the batch before");
        assert!(world.commit().await, "the first fragment");
        world.lose_to_other(2).await;
        assert_eq!(client.leave(&set), Release::Unknown);
        let mut reader = world.client().readonly();
        reader.expect("GET a", "$1\r\n1\r\n");
        reader.expect("EXISTS large", ":0\r\n");
        assert_eq!(world.shard.info().undone_by_records, 1);
        same(&world, &replica(&world, setup(Durability::Async)).await).await;
    });
}

#[test]
fn a_restart_between_fragments_continues_from_memorys_position() {
    script(async {
        let store = Rc::new(MemorySnapshots::default());
        let world = primary(setup(Durability::Sync)).await;
        world.client().run("SET a 1");
        world.commit_all().await;
        write_six(&world);
        for _ in 0..3 {
            assert!(world.commit().await);
        }
        let restarted = replica(&world, Setup { snapshots: Some(store.clone()), ..setup(Durability::Sync) }).await;
        let before = LogIndex(world.log.last().0 - 3);
        assert_eq!(restarted.shard.digest().unwrap().0, before);
        // A snapshot that is requested here is cut when the batch is whole.
        assert!(restarted.shard.snapshot());
        for _ in 0..20 {
            restarted.advance(Duration::from_millis(1)).await;
        }
        assert!(!restarted.shard.info().snapshot.in_progress && store.finished.borrow().is_empty());
        world.commit_all().await;
        follow(&restarted).await;
        for _ in 0..20 {
            restarted.advance(Duration::from_millis(1)).await;
        }
        assert_eq!(store.finished.borrow().keys().copied().collect::<Vec<_>>(), [world.log.last()]);
        same(&world, &restarted).await;
        let again = replica(&world, Setup { snapshots: Some(store), ..setup(Durability::Sync) }).await;
        same(&world, &again).await;
    });
}

/// An entry of the same epoch that is no batch may lie between fragments: positions go on beyond it.
#[test]
fn a_change_of_members_between_fragments_drops_nothing() {
    script(async {
        let world = primary(setup(Durability::Sync)).await;
        let follower = replica(&world, setup(Durability::Sync)).await;
        let set = write_six(&world);
        for _ in 0..2 {
            assert!(world.commit().await);
        }
        world.log.append(*world.epoch.borrow(), EntryPayload::Membership);
        follow(&world).await;
        follow(&follower).await;
        assert_eq!(follower.shard.info().applied, LogIndex(world.log.last().0 - 3));
        world.commit_all().await;
        let mut client = world.client();
        assert_eq!(client.leave(&set), Release::Now);
        client.run("SET a 1");
        world.commit_all().await;
        follow(&follower).await;
        same(&world, &follower).await;
    });
}

/// A primary cuts a snapshot after a batch of several entries: it is at the last of them.
#[test]
fn a_snapshot_after_a_batch_of_several_entries_is_at_its_last() {
    script(async {
        let store = Rc::new(MemorySnapshots::default());
        let world = primary(Setup { snapshots: Some(store.clone()), ..setup(Durability::Sync) }).await;
        write_six(&world);
        assert!(world.commit().await);
        let last = LogIndex(world.log.last().0 + 5);
        assert!(world.shard.snapshot());
        for _ in 0..20 {
            world.advance(Duration::from_millis(1)).await;
        }
        assert!(store.finished.borrow().is_empty(), "what it shows has not committed");
        world.commit_all().await;
        for _ in 0..20 {
            world.advance(Duration::from_millis(1)).await;
        }
        assert_eq!(store.finished.borrow().keys().copied().collect::<Vec<_>>(), [last]);
        // What `fastness snapshot verify` does: from one snapshot to the next by the log between.
        write_six(&world);
        world.commit_all().await;
        assert!(world.shard.snapshot());
        for _ in 0..20 {
            world.advance(Duration::from_millis(1)).await;
        }
        let finished = store.finished.borrow().clone();
        let mut checked = finished.values().map(|parts| {
            let SnapshotPart::Head(head) = &parts[0] else { panic!("a head") };
            let mut check = SnapshotCheck::new(ShardId(1), head).unwrap();
            for part in &parts[1..] {
                match part {
                    SnapshotPart::Chunk(chunk) => check.chunk(chunk).unwrap(),
                    SnapshotPart::Tail(tail) => return check.finish(tail).unwrap(),
                    SnapshotPart::Head(_) => panic!("one head"),
                }
            }
            panic!("a tail");
        });
        let (_, mut replay) = checked.next().unwrap();
        let (newest, _) = checked.next().unwrap();
        for entry in world.log.entries().iter().filter(|entry| entry.index > last && entry.index <= newest.index) {
            replay.apply(entry).unwrap();
        }
        replay.compare(&newest).unwrap();
    });
}

/// Twenty entries through a window of four: the loop never waits, and what was staged later commits later.
#[test]
fn a_batch_of_more_entries_than_the_window_commits() {
    script(async {
        let world = primary(setup(Durability::Async)).await;
        let mut client = world.client();
        let exec = {
            client.run("MULTI");
            for i in 0..20 {
                client.run(&format!("SET {{t}}{i} {}", "v".repeat(1_000)));
            }
            client.run("EXEC")
        };
        assert_eq!(exec.text, format!("*20\r\n{}", OK.repeat(20)));
        client.expect("SET behind 1", OK);
        let mut entries = 0;
        loop {
            assert!(world.take() <= Batching::default().in_flight_max);
            if !world.commit().await {
                break;
            }
            entries += 1;
        }
        world.advance(Duration::from_millis(20)).await;
        world.commit_all().await;
        assert!(entries > 20, "{entries}");
        let info = world.shard.info();
        assert_eq!((info.open_batches, info.open_bytes, info.memory.open_effects), (0, 0, 0));
        same(&world, &replica(&world, setup(Durability::Async)).await).await;
    });
}

/// A key whose name is longer than a fragment expires.
#[test]
fn the_removal_of_a_key_with_a_long_name_is_cut_as_well() {
    script(async {
        let world = primary(setup(Durability::Async)).await;
        let mut client = world.client();
        for i in 0..3 {
            let key = format!("{{k}}{}{i}", "n".repeat(4_000));
            client.expect(&format!("SET {key} v PX 500"), OK);
        }
        world.commit_all().await;
        world.advance(Duration::from_secs(1)).await;
        for _ in 0..10 {
            world.advance(Duration::from_millis(30)).await;
            world.commit_all().await;
        }
        client.expect("DBSIZE", ":0\r\n");
        client.expect("SET a 1", OK);
        world.advance(Duration::from_millis(30)).await;
        world.commit_all().await;
        same(&world, &replica(&world, setup(Durability::Async)).await).await;
    });
}

/// The change of the mode, which carries no effects, never joins a batch that is cut.
#[test]
fn the_mode_changes_after_a_batch_that_is_cut() {
    script(async {
        let world = primary(setup(Durability::Async)).await;
        let write = write_six(&world);
        world.shard.set_desired_mode(fastness_shard::DesiredMode { mode: Durability::Sync, version: 9 });
        world.advance(Duration::from_millis(20)).await;
        world.commit_all().await;
        assert_eq!(world.shard.mode(), (Durability::Sync, 9));
        assert_eq!(world.client().leave(&write), Release::Now);
        same(&world, &replica(&world, setup(Durability::Sync)).await).await;
    });
}
