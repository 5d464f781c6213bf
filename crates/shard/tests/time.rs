//! Time moves with the log alone (rule 9 of the design), what replicas show after a start, and reads that need no
//! clock.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fastness_consensus::handle::{EntryPayload, Role};
use fastness_shard::batch::{Batch, UnitKind};
use fastness_shard::{Batching, PauseKind, ReadConfirmation, Release};
use fastness_types::{Clock, Durability, FormatLevel, LogIndex, WallMs, limits};
use support::{Client, OTHER, Setup, World, script};

const OK: &str = "+OK\r\n";
const NIL: &str = "$-1\r\n";
const DOWN: &str = "-CLUSTERDOWN The cluster is down\r\n";
const CUT_OFF: &str = "-CLUSTERDOWN This replica hears no primary, and a key that was read may have expired since\r\n";

/// Seconds pass, and what is proposed commits at once; the replica follows.
async fn pass(world: &World, replica: Option<&World>, seconds: u64) {
    for _ in 0..seconds * 10 {
        world.advance(Duration::from_millis(100)).await;
        world.commit_all().await;
        if let Some(replica) = replica {
            replica.driver.advance_committed(world.log.last());
            replica.resolve().await;
        }
    }
}

/// A replica of the primary's log, which hears a leader.
async fn replica_of(world: &World) -> World {
    let replica = World::start_on(Setup::default(), world.log.clone(), world.clock.clone());
    replica.driver.set_role(Role::Follower { leader: Some(OTHER) });
    replica.hear();
    replica.resolve().await;
    replica
}

fn time_units(world: &World) -> usize {
    let is_time = |payload: &[u8]| Batch::decode(payload).unwrap().units().any(|unit| unit.kind == UnitKind::Time);
    let entries = world.log.entries();
    entries.iter().filter(|entry| matches!(&entry.payload, EntryPayload::Batch(payload) if is_time(payload))).count()
}

/// Found E24: a replica of an idle shard said TTL 100 for ever.
#[test]
fn time_moves_on_an_idle_replica() {
    for durability in [Durability::Sync, Durability::Async] {
        script(async move {
            let world = World::primary(Setup::mode(durability)).await;
            world.client().run("SET k v EX 100");
            world.client().run("HSET h f v");
            world.client().run("HPEXPIRE h 12000 FIELDS 1 f");
            pass(&world, None, 1).await;
            let replica = replica_of(&world).await;
            let mut reader = replica.client().readonly();
            for second in 1..=10 {
                pass(&world, Some(&replica), 1).await;
                let ttl = reader.run("PTTL k").text;
                let left: i64 = ttl[1..].trim_end().parse().unwrap();
                let right = 99_000 - 1_000 * second;
                assert!((right..=right + 1_200).contains(&left), "{left} ms after {second} s");
            }
            pass(&world, Some(&replica), 4).await;
            reader.expect("EXISTS h", ":0\r\n");
            pass(&world, Some(&replica), 90).await;
            reader.expect("GET k", NIL);
            // One a second and no more, and none without deadlines.
            let units = time_units(&world);
            assert!((90..=110).contains(&units), "{units}");
            let last = world.log.last();
            pass(&world, Some(&replica), 10).await;
            assert_eq!(world.log.last(), last, "a shard without deadlines is silent");
        });
    }
}

/// A member that does not understand a timestamp alone is not sent one.
#[test]
fn no_timestamp_alone_before_everybody_understands_it() {
    script(async {
        let world = World::primary(Setup::default()).await;
        world.driver.set_format(FormatLevel::BASE);
        world.client().run("SET k v EX 100");
        pass(&world, None, 5).await;
        assert_eq!(time_units(&world), 0);
        world.driver.set_format(FormatLevel::BOUNDS);
        pass(&world, None, 3).await;
        assert!(time_units(&world) >= 2);
    });
}

/// A log that does not commit is not filled with timestamps.
#[test]
fn one_timestamp_at_a_time() {
    script(async {
        let world = World::primary(Setup::ungated(Durability::Async)).await;
        world.client().run("SET k v EX 1000");
        world.advance(Duration::from_millis(100)).await;
        world.commit_all().await;
        for _ in 0..50 {
            world.advance(Duration::from_secs(1)).await;
        }
        assert_eq!(world.take(), 1);
        assert_eq!(world.shard.info().time_units, 1);
    });
}

/// Found E24: during CLIENT PAUSE a key past its deadline was readable. It is hidden by a timestamp that has committed,
/// not before.
#[test]
fn paused_clients_see_keys_expire_once_that_has_committed() {
    for durability in [Durability::Sync, Durability::Async] {
        script(async move {
            let world = World::primary(Setup::mode(durability)).await;
            let mut client = world.client();
            client.run("SET k v PX 1500");
            world.advance(Batching::default().async_age).await;
            world.commit_all().await;
            pause(&world, PauseKind::Writes);
            for _ in 0..30 {
                world.advance(Duration::from_millis(100)).await;
                // What is staged may be undone: it hides nothing.
                client.expect("GET k", "$1\r\nv\r\n");
            }
            world.commit_all().await;
            for _ in 0..20 {
                world.advance(Duration::from_millis(100)).await;
                world.commit_all().await;
            }
            client.expect("GET k", NIL);
            assert_eq!(
                world.shard.with_engine(|engine| engine.keyspace_stats().keys),
                1,
                "nothing is removed meanwhile"
            );
        });
    }
}

fn pause(world: &World, kind: PauseKind) {
    world.shard.pause_clients(Duration::from_secs(60), kind);
}

/// Schedule 42: heartbeats report a later time while a batch that was timestamped before it is on its way. Time moves
/// by entries alone, so the PERSIST in it finds a key that was never hidden.
#[test]
fn heartbeats_move_no_time() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        client.run("SET k v PX 2000");
        pass(&world, None, 1).await;
        let replica = replica_of(&world).await;
        let mut reader = replica.client().readonly();
        client.run("PERSIST k");
        world.resolve().await;
        world.take();
        // The batch is under way for long, while heartbeats arrive.
        for _ in 0..50 {
            world.advance(Duration::from_millis(100)).await;
            replica.hear();
            reader.expect("GET k", "$1\r\nv\r\n");
        }
        pass(&world, Some(&replica), 3).await;
        reader.expect("GET k", "$1\r\nv\r\n");
        reader.expect("TTL k", ":-1\r\n");
    });
}

/// Found E24, and schedule 43: a replica that is cut off goes by no clock, own or other. It answers an error for what
/// may have expired, and shows the rest; if the log then brings a later deadline, nobody was shown anything else.
#[test]
fn a_replica_that_is_cut_off_neither_shows_nor_hides_what_may_have_expired() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        client.run("SET k v PX 5000");
        client.run("SET other v PX 500000");
        client.run("SET lasting v");
        client.run("HSET h f v g v");
        client.run("HPEXPIRE h 5000 FIELDS 1 f");
        pass(&world, None, 1).await;
        let replica = World::start_on(Setup::default(), world.log.clone(), world.clock.clone());
        replica.driver.set_heard_until(world.clock_boot().plus(Duration::from_millis(350)));
        replica.resolve().await;
        let mut reader = replica.client().readonly();
        // A longer life is on its way, and the wall clock jumps ahead: neither decides anything here.
        client.run("PEXPIRE k 600000");
        world.set_wall(WallMs(world.clock.wall().0 + 100_000));
        reader.expect("GET k", "$1\r\nv\r\n");
        world.pause_process(Duration::from_millis(3_900));
        reader.expect("GET k", "$1\r\nv\r\n");
        reader.expect("KEYS l*", "*1\r\n$7\r\nlasting\r\n");
        // From when the newest timestamp came, which was up to a second after it was made.
        world.pause_process(Duration::from_millis(1_600));
        for command in ["GET k", "TTL k", "EXISTS k", "MGET {k}x k", "HGETALL h", "HGET h g"] {
            reader.expect(command, CUT_OFF);
        }
        for whole in ["DBSIZE", "KEYS *", "SCAN 0", "RANDOMKEY"] {
            reader.expect(whole, CUT_OFF);
        }
        reader.expect("GET other", "$1\r\nv\r\n");
        reader.expect("GET lasting", "$1\r\nv\r\n");
        reader.expect("PING", "+PONG\r\n");
        reader.expect("MULTI", OK);
        reader.expect("GET k", "+QUEUED\r\n");
        reader.expect("EXEC", CUT_OFF);
        // The leader is heard again, and with it comes a longer life.
        pass(&world, Some(&replica), 1).await;
        replica.hear();
        reader.expect("GET k", "$1\r\nv\r\n");
    });
}

/// Found E30: after a restart a replica served what it knew to be committed, which could be from before what it, or a
/// primary, had told clients.
#[test]
fn a_restarted_replica_serves_only_what_its_leader_reports() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a old");
        world.commit_all().await;
        let known = world.log.last();
        client.run("SET a new");
        world.commit_all().await;
        // The newest commit was not stored before the replica was killed: it knows of the one before.
        let setup = Setup { leader_heard: false, ..Setup::default() };
        let replica = World::start_knowing(setup, world.log.clone(), world.clock.clone(), known);
        replica.driver.set_role(Role::Follower { leader: Some(OTHER) });
        replica.resolve().await;
        let mut reader = replica.client().readonly();
        assert!(reader.run("GET a").text.starts_with("-LOADING "));
        let info = replica.shard.info();
        assert!(info.reads_closed && info.loading.is_some() && !info.restoring, "{info:?}");
        replica.driver.set_leader_committed(world.log.last());
        replica.resolve().await;
        assert!(reader.run("GET a").text.starts_with("-LOADING "), "reported, and not applied");
        // More is committed all the time: what counts is what was committed when the leader was first heard.
        replica.driver.set_leader_committed(LogIndex(world.log.last().0 + 100));
        replica.driver.advance_committed(world.log.last());
        replica.resolve().await;
        reader.expect("GET a", "$3\r\nnew\r\n");
        let info = replica.shard.info();
        assert!(!info.reads_closed && info.loading.is_none());
        // What is shown is reported, so that it is stored, and not more often than necessary.
        replica.resolve().await;
        assert!(replica.driver.take_served());
        reader.expect("GET a", "$3\r\nnew\r\n");
        replica.resolve().await;
        assert!(!replica.driver.take_served());
    });
}

/// Without a leader, as when all nodes start and too few come up, it serves what it knows, after a while.
#[test]
fn a_replica_without_a_leader_serves_what_it_had_shown() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a 1");
        world.commit_all().await;
        let setup = Setup { leader_heard: false, ..Setup::default() };
        let replica = World::start_on(setup, world.log.clone(), world.clock.clone());
        replica.resolve().await;
        let mut reader = replica.client().readonly();
        assert!(reader.run("GET a").text.starts_with("-LOADING "));
        for _ in 0..40 {
            replica.advance(Duration::from_millis(100)).await;
        }
        reader.expect("GET a", "$1\r\n1\r\n");
    });
}

/// A read's reply as a connection sees it end.
fn released(world: &World, client: &Client, reply: &support::Reply) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(world.shard.wait_released(&client.session, reply.pending().unwrap()))
}

/// Found D21: a read that rests on no clock waits for a quorum that answered what was sent after it came. One round
/// serves all.
#[test]
fn a_quorum_read_waits_for_a_round_that_began_after_it() {
    for durability in [Durability::Sync, Durability::Async, Durability::Disabled] {
        script(async move {
            let world = World::primary(Setup::mode(durability)).await;
            let mut clients: Vec<Client> = (0..10).map(|_| world.client()).collect();
            clients.iter_mut().for_each(|client| client.session.set_reads(ReadConfirmation::Quorum));
            let before = world.clock_boot();
            assert!(!world.lease.borrow().confirm(before), "an answer to what was sent before");
            let replies: Vec<_> = clients.iter_mut().map(|client| client.run("GET a")).collect();
            let waits: Vec<_> =
                clients.iter().zip(&replies).map(|(client, reply)| released(&world, client, reply)).collect();
            world.resolve().await;
            assert!(world.driver.take_round() && !world.driver.take_round());
            assert!(waits.iter().all(|wait| !wait.is_finished()));
            // One command alone may be confirmed as well, and everybody else is not held.
            world.client().expect("GET a", NIL);
            world.advance(Duration::from_millis(1)).await;
            assert!(!world.driver.take_round(), "one round at a time");
            if world.lease.borrow().confirm(world.clock_boot()) {
                world.driver.wake_owner();
            }
            world.resolve().await;
            assert!(waits.iter().all(tokio::task::JoinHandle::is_finished));
            assert!(clients.iter().zip(&replies).all(|(client, reply)| client.leave(reply) == Release::Now));
        });
    }
}

/// It also waits for the commit of what it saw, in every mode.
#[test]
fn a_quorum_read_waits_for_commits_too() {
    for durability in [Durability::Async, Durability::Disabled] {
        script(async move {
            let world = World::primary(Setup::mode(durability)).await;
            let mut reader = world.client();
            reader.session.set_reads(ReadConfirmation::Quorum);
            world.client().expect("SET a 1", OK);
            let dirty = reader.run("GET a");
            let wait = released(&world, &reader, &dirty);
            world.advance(Duration::from_millis(1)).await;
            world.lease.borrow().confirm(world.clock_boot());
            world.driver.wake_owner();
            world.resolve().await;
            assert!(!wait.is_finished(), "confirmed, and not committed");
            world.commit_all().await;
            assert!(wait.is_finished());
            assert_eq!(reader.leave(&dirty), Release::Now);
            let write = reader.run("INCR a");
            assert_eq!(reader.leave(&write), Release::Wait);
            world.commit_all().await;
            assert_eq!(reader.leave(&write), Release::Now, "its commit confirms it");
        });
    }
}

/// Without a quorum, and after a lost leadership, it is refused within a bound.
#[test]
fn a_quorum_read_that_nobody_confirms_is_refused() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut reader = world.client();
        reader.session.set_reads(ReadConfirmation::Quorum);
        let read = reader.run("GET a");
        let wait = released(&world, &reader, &read);
        world.resolve().await;
        for _ in 0..limits::READ_CONFIRM_MAX.as_millis() / 50 {
            assert!(!wait.is_finished());
            world.advance(Duration::from_millis(50)).await;
        }
        world.advance(Duration::from_millis(50)).await;
        assert!(wait.is_finished());
        assert_eq!(reader.leave(&read), Release::Unknown);
        assert_eq!(format!("-{}\r\n", read.pending().unwrap().unknown_text()), DOWN);

        let read = reader.run("GET a");
        let wait = released(&world, &reader, &read);
        world.lose_to_other(2).await;
        world.resolve().await;
        assert!(wait.is_finished());
        assert_eq!(reader.leave(&read), Release::Unknown);
        // A replica does not answer instead.
        let mut reader = reader.readonly();
        assert!(reader.run("GET a").text.starts_with("-MOVED "));
        assert_eq!(reader.run("DBSIZE").text, DOWN);
    });
}

/// A read that bounds the age of the data is answered only while the replica can show that it has applied everything up
/// to that age; alone and as a transaction.
#[test]
fn a_replica_answers_only_what_is_new_enough() {
    script(async {
        let world = World::primary(Setup::default()).await;
        world.client().run("SET a 1");
        world.commit_all().await;
        let replica = replica_of(&world).await;
        let mut reader = replica.client().readonly();
        let stale = "-STALE This replica cannot show that its data are at most 500 ms old\r\n";
        let mut check = |max_ms: Option<u64>, expect: &str| {
            reader.staleness_max = max_ms.map(Duration::from_millis);
            reader.expect("GET a", expect);
            reader.staleness_max = None;
            reader.expect("MULTI", OK);
            reader.expect("GET a", "+QUEUED\r\n");
            reader.staleness_max = max_ms.map(Duration::from_millis);
            let expect = if expect.starts_with('-') { expect.to_owned() } else { format!("*1\r\n{expect}") };
            reader.expect("EXEC", &expect);
        };
        let (one, two) = ("$1\r\n1\r\n", "$1\r\n2\r\n");
        check(None, one);
        check(Some(500), stale);
        // Everything that was acknowledged until now is applied here.
        replica.driver.prove(world.log.last(), replica.clock_boot());
        check(Some(500), one);
        world.advance(Duration::from_millis(500)).await;
        check(Some(500), one);
        world.advance(Duration::from_millis(1)).await;
        check(Some(500), stale);
        check(Some(501), one);

        world.client().run("SET a 2");
        world.commit_all().await;
        replica.driver.prove(world.log.last(), replica.clock_boot());
        check(Some(500), stale);
        replica.driver.advance_committed(world.log.last());
        replica.resolve().await;
        check(Some(500), two);
    });
}

/// On a primary the bound has no effect.
#[test]
fn a_primary_is_never_stale() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.staleness_max = Some(Duration::from_millis(1));
        client.run("SET a 1");
        world.commit_all().await;
        client.expect("GET a", "$1\r\n1\r\n");
        let mut readonly = world.client().readonly();
        readonly.staleness_max = Some(Duration::from_millis(1));
        readonly.expect("GET a", "$1\r\n1\r\n");
    });
}
