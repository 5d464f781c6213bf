//! Replicas, lost leaderships, undo and restore, hand-over, WAIT (rules 2 and 3 of the design).

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fastness_consensus::handle::{EntryPayload, Role};
use fastness_resp::SharedBuf;
use fastness_shard::batch::{BatchHeader, UnitHead, UnitKind, encode};
use fastness_shard::{Batching, DigestError, Outcome, Release, Standing, WaitAnswer};
use fastness_types::{BootNs, Clock, Durability, Epoch, LogIndex, Seq, WallMs, limits};
use support::{Client, OTHER, Setup, World, script};

const DOWN: &str = "-CLUSTERDOWN The cluster is down\r\n";

#[test]
fn a_replica_redirects_and_serves_readonly_clients() {
    script(async {
        let world = World::primary(Setup::default()).await;
        world.client().run("SET a 1");
        world.commit_all().await;
        let replica = World::start_on(Setup::default(), world.log.clone(), world.clock.clone());
        replica.resolve().await;
        let mut client = replica.client();
        client.expect("GET a", DOWN);
        replica.driver.set_role(Role::Follower { leader: Some(OTHER) });
        replica.resolve().await;
        client.expect("GET a", "-MOVED 15495 node-2:7000\r\n");
        client.expect("SET a 2", "-MOVED 15495 node-2:7000\r\n");
        client.expect("DBSIZE", ":1\r\n");
        client.expect("FLUSHALL", "-READONLY You can't write against a read only replica.\r\n");
        client.expect("PING", "+PONG\r\n");
        let mut reader = replica.client().readonly();
        reader.expect("GET a", "$1\r\n1\r\n");
        reader.expect("SET a 2", "-MOVED 15495 node-2:7000\r\n");
        reader.expect("MULTI", "+OK\r\n");
        reader.expect("GET a", "+QUEUED\r\n");
        reader.expect("EXEC", "*1\r\n$1\r\n1\r\n");
        assert_eq!(replica.shard.digest().unwrap(), world.shard.digest().unwrap());
        assert_eq!(replica.shard.info().standing, Standing::Replica { leader: Some(OTHER) });
    });
}

/// Schedule 24: a replica hides what is past the newest applied timestamp, and not what is past its own clock.
#[test]
fn a_replica_uses_the_logs_time() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a 1 PX 100");
        world.commit_all().await;
        let replica = World::start_on(Setup::default(), world.log.clone(), world.clock.clone());
        replica.hear();
        replica.resolve().await;
        let mut reader = replica.client().readonly();
        world.pause_process(Duration::from_millis(500));
        reader.expect("GET a", "$1\r\n1\r\n");
        client.run("SET b 1");
        world.commit_all().await;
        replica.driver.advance_committed(world.log.last());
        replica.resolve().await;
        reader.expect("GET a", "$-1\r\n");
    });
}

/// A new primary serves after its own first entry is applied, not before.
#[test]
fn a_new_primary_waits_for_its_first_entry() {
    script(async {
        let world = World::start(Setup::default());
        world.resolve().await;
        world.win(1);
        world.resolve().await;
        let mut client = world.client();
        client.expect("SET a 1", DOWN);
        assert_eq!(world.shard.info().standing, Standing::Waiting);
        world.driver.advance_committed(world.log.last());
        world.resolve().await;
        client.run("SET a 1");
        world.advance(Batching::default().sync_hold).await;
        assert_eq!(world.take(), 2, "the mode, and the write that was held while the mode was in flight");
        assert_eq!(world.shard.info().standing, Standing::Primary);
    });
}

/// Rule 3: a foreign entry while own batches are open undoes them, and memory is the log's again.
#[test]
fn what_did_not_commit_is_undone() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a 1");
        world.commit_all().await;
        let (digest_before, applied_before) = {
            let (index, digest) = world.shard.digest().unwrap();
            (digest, index)
        };
        let write = client.run("SET a 2");
        let read = client.run("GET a");
        let flush = client.run("FLUSHALL");
        world.resolve().await;
        assert_eq!(world.shard.digest(), Err(DigestError::Open));
        let released = tokio::task::spawn_local(world.shard.wait_released(&client.session, write.pending().unwrap()));
        world.resolve().await;
        world.lose_to_other(2).await;
        assert!(released.is_finished());
        for reply in [&write, &read, &flush] {
            assert_eq!(client.leave(reply), Release::Unknown);
        }
        assert!(write.pending().unwrap().unknown_text().starts_with("UNKNOWN "));
        assert!(read.pending().unwrap().unknown_text().starts_with("CLUSTERDOWN "));
        world.client().readonly().expect("GET a", "$1\r\n1\r\n");
        let (index, digest) = world.shard.digest().unwrap();
        assert_eq!((index, digest), (LogIndex(applied_before.0 + 1), digest_before));
        let info = world.shard.info();
        assert_eq!((info.undone, info.undone_units, info.restores, info.unknown_replies), (1, 2, 1, 3));
        assert_eq!((info.undone_by_records, info.undo_bytes), (1, 0));
    });
}

/// Memory is at the committed point with the foreign entry itself: no turn between in which nothing is served.
#[test]
fn an_undo_by_records_restores_nothing() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a 1 PX 5000");
        client.run("HSET h f v");
        world.commit_all().await;
        let timestamp = world.shard.with_engine(|engine| engine.newest_timestamp());
        let digest = world.shard.digest().unwrap().1;
        world.advance(Duration::from_secs(2)).await;
        for command in ["APPEND a 2", "RENAME a b", "HSET h f w", "SET c 1", "MULTI", "DEL b", "HDEL h f", "EXEC"] {
            client.run(command);
        }
        world.resolve().await;
        assert!(world.shard.info().undo_bytes > 0);
        world.log.uncached.store(true, Ordering::Relaxed);
        world.lose_to_other(2).await;
        assert_eq!(world.log.disk_reads.load(Ordering::Relaxed), 1, "the foreign entry alone is read");
        let info = world.shard.info();
        assert_eq!((info.undone, info.undone_by_records, info.restores, info.restoring), (1, 1, 1, false));
        assert!(world.driver.ready());
        assert_eq!(world.shard.digest().unwrap().1, digest);
        // The time that was undone hides nothing.
        assert_eq!(world.shard.with_engine(|engine| engine.newest_timestamp()), timestamp);
        world.client().readonly().expect("GET a", "$1\r\n1\r\n");
    });
}

/// Past their bound records are dropped, and the undo is a restore; once what lost them has committed, they suffice
/// again.
#[test]
fn records_over_their_bound_lead_to_a_restore() {
    script(async {
        let world = World::primary(Setup::default().undo_bytes(400)).await;
        let mut client = world.client();
        for value in ["1", "2"] {
            client.run(&format!("SET a {value}{}", "x".repeat(500)));
            world.commit_all().await;
        }
        client.run("SET b 1");
        world.resolve().await;
        assert!(world.shard.info().undo_bytes > 0);
        world.lose_to_other(2).await;
        let info = world.shard.info();
        assert_eq!((info.undone, info.undone_by_records, info.restores), (1, 1, 1), "what was too large has committed");
        world.lead(3).await;
        world.commit_all().await;
        client.run("SET a 3");
        world.resolve().await;
        assert_eq!(world.shard.info().undo_bytes, 0, "too large");
        world.lose_to_other(4).await;
        let info = world.shard.info();
        assert_eq!((info.undone, info.undone_by_records, info.restores), (2, 1, 2));
        world.client().readonly().expect("GET a", &format!("$501\r\n2{}\r\n", "x".repeat(500)));
    });
}

/// Checked and sound in the list of schedules: a prefix commits, the rest is undone.
#[test]
fn a_prefix_commits_and_the_rest_is_undone() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        let first = client.run("SET a 1");
        world.resolve().await;
        let second = client.run("SET b 1");
        world.advance(Batching::default().sync_hold).await;
        assert_eq!(world.take(), 2);
        world.depose(None).await;
        assert!(world.commit().await, "it commits after the role is lost");
        assert_eq!(client.leave(&first), Release::Now);
        assert_eq!(client.leave(&second), Release::Wait);
        world.lose_to_other(2).await;
        assert_eq!((client.leave(&first), client.leave(&second)), (Release::Now, Release::Unknown));
        let mut reader = world.client().readonly();
        reader.expect("GET a", "$1\r\n1\r\n");
        reader.expect("GET b", "$-1\r\n");
    });
}

#[test]
fn nothing_is_undone_if_everything_committed() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        let write = client.run("SET a 1");
        world.resolve().await;
        world.take();
        world.depose(Some(OTHER)).await;
        world.commit_all().await;
        world.foreign_blank(2).await;
        assert_eq!(client.leave(&write), Release::Now);
        assert_eq!((world.shard.info().undone, world.shard.info().restores), (0, 1));
        world.client().readonly().expect("GET a", "$1\r\n1\r\n");
    });
}

/// Schedule 3: a deposed leader that hears no foreign entry shows nothing of what it has open.
#[test]
fn a_deposed_leader_with_open_batches_shows_nothing() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a 1");
        world.resolve().await;
        world.depose(None).await;
        let mut reader = world.client().readonly();
        for command in ["GET a", "GET b", "DBSIZE"] {
            reader.expect(command, DOWN);
            client.expect(command, DOWN);
        }
        assert_eq!(world.shard.digest(), Err(DigestError::Open));
        // The same with the role kept and the lease lost.
        let world = World::primary(Setup::default()).await;
        world.client().run("SET a 1");
        world.pause_process(Duration::from_secs(4000));
        world.client().readonly().expect("GET a", DOWN);
    });
}

/// Losing the lease alone fences and undoes nothing: what is open commits in the same term.
#[test]
fn a_lost_lease_undoes_nothing() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        let write = client.run("SET a 1");
        world.advance(Duration::from_secs(4000)).await;
        client.expect("GET a", DOWN);
        world.commit_all().await;
        assert_eq!(client.leave(&write), Release::Now);
        world.lease.borrow().extend(world.clock.boot().plus(Duration::from_secs(10)));
        client.expect("GET a", "$1\r\n1\r\n");
        assert_eq!(world.shard.info().undone, 0);
    });
}

/// Schedule 2: the same node wins again. Its own new term's first entry is foreign to the old one, and what was staged
/// under that is undone before anything is built upon it.
#[test]
fn winning_again_does_not_keep_what_was_refused() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        let refused = client.run("SET a 9");
        world.resolve().await;
        world.take();
        world.pending.borrow_mut().clear();
        world.lead(3).await;
        assert_eq!(client.leave(&refused), Release::Unknown);
        client.expect("GET a", "$-1\r\n");
        let write = client.run("SET a 10");
        world.commit_all().await;
        assert_eq!(client.leave(&write), Release::Now);
        let follower = World::start_on(Setup::default(), world.log.clone(), world.clock.clone());
        follower.resolve().await;
        assert_eq!(follower.shard.digest().unwrap(), world.shard.digest().unwrap());
    });
}

/// A change of members under another leader is a foreign entry as well; one of the own epoch is not.
#[test]
fn membership_entries() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        let before = client.run("SET a 1");
        world.commit_all().await;
        world.log.append(*world.epoch.borrow(), EntryPayload::Membership);
        world.driver.advance_committed(world.log.last());
        let after = client.run("SET b 1");
        world.commit_all().await;
        assert_eq!((client.leave(&before), client.leave(&after)), (Release::Now, Release::Now));
        assert_eq!(world.shard.info().undone, 0);
        let open = client.run("SET c 1");
        world.resolve().await;
        world.log.append(Epoch { term: 2, node: OTHER }, EntryPayload::Membership);
        world.driver.advance_committed(world.log.last());
        world.resolve().await;
        assert_eq!(client.leave(&open), Release::Unknown);
        assert_eq!(world.shard.info().undone, 1);
    });
}

/// While memory is restored, in slices, nothing is served, the driver knows, and the thread is never blocked for long.
#[test]
fn a_restore_serves_nothing_and_blocks_nobody() {
    script(async {
        let world = World::primary(Setup::default().undo_bytes(0)).await;
        let mut client = world.client();
        for i in 0..50 {
            client.run(&format!("SET key-{i} {i}"));
            world.commit().await;
        }
        assert!(world.driver.ready());
        client.run("SET key-0 undone");
        world.resolve().await;
        world.take();
        world.pending.borrow_mut().clear();
        world.log.uncached.store(true, Ordering::Relaxed);
        world.log.append(Epoch { term: 2, node: OTHER }, EntryPayload::Blank);
        world.lease.borrow().close();
        world.driver.set_role(Role::Follower { leader: None });
        world.driver.advance_committed(world.log.last());
        let mut reader = world.client().readonly();
        let (mut loading, mut loaded) = (0, 0);
        while reader.run("GET key-0").text != "$1\r\n0\r\n" {
            let text = reader.run("GET key-0").text;
            if text.starts_with("-LOADING ") {
                loading += 1;
                let info = world.shard.info().loading.expect("how far it is");
                assert!(info.loaded_bytes >= loaded && info.loaded_bytes <= info.total_bytes, "{info:?}");
                loaded = info.loaded_bytes;
                assert!(!world.driver.ready());
                assert!(reader.run("DBSIZE").text.starts_with("-LOADING "));
                assert!(client.run("GET key-0").text.starts_with("-LOADING "));
                assert_eq!(reader.run("PING").text, "+PONG\r\n");
            } else {
                assert_eq!(text, DOWN, "before the foreign entry is seen");
            }
            tokio::task::yield_now().await;
        }
        assert!(loading > 10 && loaded > 500, "{loading} turns, {loaded} bytes");
        assert_eq!(world.shard.info().loading, None);
        assert!(world.log.disk_reads.load(Ordering::Relaxed) > 10);
        world.resolve().await;
        assert!(world.driver.ready());
        reader.expect("DBSIZE", ":50\r\n");
    });
}

/// A leader elected while it restores serves only when memory is the log's.
#[test]
fn winning_while_restoring() {
    script(async {
        let world = World::primary(Setup::default().undo_bytes(0)).await;
        let mut client = world.client();
        for i in 0..20 {
            client.run(&format!("SET key-{i} {i}"));
            world.commit().await;
        }
        client.run("SET key-0 undone");
        world.resolve().await;
        world.take();
        world.pending.borrow_mut().clear();
        world.log.uncached.store(true, Ordering::Relaxed);
        world.win(5);
        world.driver.advance_committed(world.log.last());
        for _ in 0..200 {
            let text = client.run("GET key-0").text;
            assert!(text == "$1\r\n0\r\n" || text.starts_with('-') || world.shard.info().undone == 0, "{text}");
            tokio::task::yield_now().await;
        }
        client.expect("GET key-0", "$1\r\n0\r\n");
    });
}

/// Watched keys count as changed once memory was undone, or the memory that knew them was given up.
#[test]
fn an_undo_aborts_watching_transactions() {
    for bytes in [limits::UNDO_BYTES_MAX, 0] {
        script(undo_aborts_watching_transactions(bytes));
    }
}

async fn undo_aborts_watching_transactions(undo_bytes: usize) {
    let world = World::primary(Setup::default().undo_bytes(undo_bytes)).await;
    let mut client = world.client();
    client.expect("WATCH a", "+OK\r\n");
    client.run("SET b 1");
    world.resolve().await;
    world.lose_to_other(2).await;
    world.lead(3).await;
    client.expect("MULTI", "+OK\r\n");
    client.expect("SET a 1", "+QUEUED\r\n");
    client.expect("EXEC", "*-1\r\n");
    client.expect("MULTI", "+OK\r\n");
    assert_eq!(client.run("EXEC").text, "*0\r\n");
}

fn foreign_batch(seq: u64) -> EntryPayload {
    let header = BatchHeader { seq: Seq(seq), timestamp: WallMs(1_700_000_000_000), durability: Durability::Sync };
    let mode = UnitHead {
        kind: UnitKind::Mode,
        durability: Some(Durability::Sync),
        timestamp: header.timestamp,
        length: 0,
        record: None,
    };
    EntryPayload::Batch(encode(header, &[mode], &SharedBuf::default()))
}

/// Schedules 1, 9, 19: a hole in the order of batches is never stepped over.
#[test]
fn a_gap_stops_the_replica() {
    script(async {
        for (first, second) in [(2, 3), (1, 3), (1, 1)] {
            let world = World::start(Setup::default());
            world.resolve().await;
            let epoch = Epoch { term: 1, node: OTHER };
            world.log.append(epoch, EntryPayload::Blank);
            world.log.append(epoch, foreign_batch(first));
            world.log.append(epoch, foreign_batch(second));
            world.driver.advance_committed(world.log.last());
            world.resolve().await;
            let stopped = world.shard.info().stopped.expect("the replica has stopped");
            assert!(stopped.contains("was expected"), "{stopped}");
            assert!(!world.driver.ready());
            world.client().readonly().expect("GET a", DOWN);
        }
    });
}

#[test]
fn a_batch_that_cannot_be_read_stops_the_replica() {
    script(async {
        let world = World::start(Setup::default());
        world.resolve().await;
        world.log.append(Epoch { term: 1, node: OTHER }, EntryPayload::Batch(bytes::Bytes::from_static(b"\x09junk")));
        world.driver.advance_committed(world.log.last());
        world.resolve().await;
        assert_eq!(world.shard.info().stopped.unwrap(), "entry LogIndex(1): batch format version 9 is not known here");
    });
}

#[test]
fn a_group_that_stopped_leaves_open_writes_unknown() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        let write = client.run("SET a 1");
        let released = tokio::task::spawn_local(world.shard.wait_released(&client.session, write.pending().unwrap()));
        world.resolve().await;
        world.driver.set_role(Role::Stopped { reason: "fsync failed".into() });
        world.resolve().await;
        assert!(released.is_finished());
        assert_eq!(client.leave(&write), Release::Unknown);
        client.expect("GET a", DOWN);
        assert_eq!(world.shard.info().stopped.unwrap(), "fsync failed");
    });
}

/// Schedule 32: a process never resumes a leadership whose batches another process has staged.
#[test]
fn a_restarted_process_does_not_resume_an_epoch() {
    script(async {
        let world = World::primary(Setup::default()).await;
        world.client().run("SET a 1");
        world.commit_all().await;
        let again = World::start_on(Setup::default(), world.log.clone(), world.clock.clone());
        let lease = world.lease.borrow().clone();
        again.driver.set_role(Role::Leader { lease, first: LogIndex(1) });
        again.resolve().await;
        again.client().expect("SET a 2", DOWN);
        assert_eq!(again.take(), 0);
    });
}

/// Schedules 4 and 6: what is staged is committed before the lease is given up; commands wait at the front end
/// meanwhile.
#[test]
fn a_hand_over_drains() {
    for mode in [Durability::Sync, Durability::Async] {
        script(async move {
            let world = World::primary(Setup::mode(mode)).await;
            let mut client = world.client();
            let write = client.run("SET a 1");
            world.driver.set_drain(true);
            world.resolve().await;
            assert!(!world.driver.drained());
            assert_eq!(world.take(), 1, "the batch is closed at once in every mode");
            for command in ["SET a 2", "GET a"] {
                assert_eq!(client.run(command).outcome, Outcome::Busy);
            }
            let shard = world.shard.clone();
            let waiting = tokio::task::spawn_local(async move { shard.unblocked().await });
            world.commit_all().await;
            assert!(world.driver.drained());
            assert_eq!(client.leave(&write), Release::Now);
            assert!(!waiting.is_finished());
            world.lease.borrow().close();
            assert_eq!(client.run("GET a").outcome, Outcome::Busy, "until the next primary is known");
            world.driver.set_role(Role::Follower { leader: Some(OTHER) });
            world.resolve().await;
            client.expect("GET a", "-MOVED 15495 node-2:7000\r\n");
            world.driver.set_drain(false);
            world.resolve().await;
            assert!(waiting.is_finished());
        });
    }
}

#[test]
fn a_hand_over_that_fails_lets_commands_go_on() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        world.driver.set_drain(true);
        world.resolve().await;
        assert!(world.driver.drained());
        assert_eq!(client.run("GET a").outcome, Outcome::Busy);
        world.driver.set_drain(false);
        world.resolve().await;
        client.expect("GET a", "$-1\r\n");
        world.driver.set_drain(true);
        world.resolve().await;
        world.advance(Batching::default().drain_hold_max).await;
        client.expect("GET a", DOWN);
    });
}

#[test]
fn wait_counts_stable_copies() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        world.copies.replicas.replace(vec![LogIndex(2), LogIndex(2)]);
        world.copies.local.replace(LogIndex(2));
        let mut client = world.client();
        let nothing_written = world.wait(&mut client, "WAIT 2 0");
        world.resolve().await;
        assert_eq!(nothing_written.await.unwrap(), WaitAnswer::Replicas(2));
        client.run("SET a 1");
        let one = world.wait(&mut client, "WAIT 1 0");
        let both = world.wait(&mut client, "WAITAOF 1 2 1000");
        world.resolve().await;
        assert!(!one.is_finished());
        assert_eq!(world.take(), 1, "who waits does not wait for the batch's age");
        world.commit_all().await;
        world.acknowledge(&[3, 2]).await;
        assert!(one.is_finished());
        assert_eq!(one.await.unwrap(), WaitAnswer::Replicas(1));
        world.copies.local.replace(LogIndex(3));
        world.acknowledge(&[3, 2]).await;
        assert!(!both.is_finished());
        world.advance(Duration::from_secs(1)).await;
        assert_eq!(both.await.unwrap(), WaitAnswer::LocalAndReplicas(1, 1), "the time-out's answer is what is there");
    });
}

/// Found C10: each client looked at the replicas' positions every 5 ms.
#[test]
fn a_thousand_clients_in_wait_cost_as_much_as_one() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        world.acknowledge(&[2, 2]).await;
        let mut clients: Vec<Client> = (0..1_000).map(|_| world.client()).collect();
        let idle: Vec<_> = clients.iter_mut().map(|client| world.wait(client, "WAIT 9 0")).collect();
        world.resolve().await;
        world.copies.looks.set(0);
        for _ in 0..100 {
            world.advance(Duration::from_millis(100)).await;
        }
        assert!(world.copies.looks.get() <= 100, "{} looks in 10 s", world.copies.looks.get());
        assert!(idle.iter().all(|wait| !wait.is_finished()));
        idle.iter().for_each(|wait| wait.abort());

        // With writes of their own: woken by what they wait for, and looked at once each.
        clients.iter_mut().for_each(|client| client.expect("SET a 1", "+OK\r\n"));
        let written: Vec<_> = clients.iter_mut().map(|client| world.wait(client, "WAIT 1 0")).collect();
        world.resolve().await;
        world.commit_all().await;
        world.copies.looks.set(0);
        for _ in 0..100 {
            world.advance(Duration::from_millis(100)).await;
        }
        assert!(world.copies.looks.get() <= 5, "{} looks though nothing was acknowledged", world.copies.looks.get());
        world.acknowledge(&[3, 2]).await;
        assert!(world.copies.looks.get() <= 1_100, "{} looks", world.copies.looks.get());
        for wait in written {
            assert_eq!(wait.await.unwrap(), WaitAnswer::Replicas(1));
        }
    });
}

/// One timer for all: the shard sleeps until the earliest of their ends.
#[test]
fn waits_end_at_their_own_times() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        client.expect("SET a 1", "+OK\r\n");
        let spans = [300, 100, 200];
        let began = world.clock_boot();
        let waits = spans.map(|ms| world.wait(&mut client, &format!("WAIT 1 {ms}")));
        let for_ever = world.wait(&mut client, "WAIT 1 0");
        world.resolve().await;
        for passed in [99, 100, 199, 200, 300] {
            world.advance(Duration::from_millis(passed) - world.clock_boot().since(began)).await;
            for (wait, ends) in waits.iter().zip(spans) {
                assert_eq!(wait.is_finished(), ends <= passed, "{ends} after {passed}");
            }
        }
        assert!(!for_ever.is_finished());
        for wait in waits {
            assert_eq!(wait.await.unwrap(), WaitAnswer::Replicas(0));
        }
    });
}

#[test]
fn wait_ends_with_the_role() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a 1");
        let wait = world.wait(&mut client, "WAIT 1 0");
        world.resolve().await;
        world.lose_to_other(2).await;
        world.advance(Duration::from_millis(100)).await;
        assert_eq!(wait.await.unwrap(), WaitAnswer::Unblocked);
        assert!(client.run("WAIT 1 0").text.starts_with("-ERR WAIT cannot be used with replica instances."));
    });
}

#[test]
fn waits_arguments_are_checked_as_valkey_checks_them() {
    script(async {
        let world = World::primary(Setup::default()).await;
        world.copies.replicas.replace(vec![LogIndex(9)]);
        let mut client = world.client();
        for (command, text) in [
            ("WAIT a 0", "ERR value is not an integer or out of range"),
            ("WAIT 0 a", "ERR timeout is not an integer or out of range"),
            ("WAIT 0 -1", "ERR timeout is negative"),
            ("WAITAOF 2 0 0", "ERR value is out of range, value must between 0 and 1"),
            ("WAITAOF 0 -1 0", "ERR value is out of range, must be positive"),
            ("WAITAOF 0 0 -1", "ERR timeout is negative"),
        ] {
            client.expect(command, &format!("-{text}\r\n"));
        }
        client.expect("MULTI", "+OK\r\n");
        client.expect("WAIT 5 0", "+QUEUED\r\n");
        client.expect("WAITAOF 0 5 0", "+QUEUED\r\n");
        client.expect("EXEC", "*2\r\n:1\r\n*2\r\n:1\r\n:1\r\n");
    });
}

#[test]
fn lag_is_the_age_of_the_oldest_open_effect() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        assert_eq!(world.shard.info().lag, Duration::ZERO);
        world.client().run("SET a 1");
        world.advance(Duration::from_secs(3)).await;
        world.client().run("SET b 1");
        world.advance(Duration::from_secs(4)).await;
        assert_eq!(world.shard.info().lag, Duration::from_secs(7));
        world.commit_all().await;
        assert_eq!(world.shard.info().lag, Duration::ZERO);
        assert_eq!(world.shard.info().lag_longest, Duration::from_secs(7));
        assert!(world.clock.boot() > BootNs(0));
    });
}
