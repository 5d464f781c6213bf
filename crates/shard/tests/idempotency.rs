//! Writes with idempotency keys take effect once, in every order of events, and records leave without letting a write
//! run again.

#![allow(clippy::unwrap_used)]

mod support;

use std::rc::Rc;
use std::time::Duration;

use fastness_engine::Digest;
use fastness_resp::Protocol;
use fastness_shard::refusal::{KEY_PAST, KEY_REUSED};
use fastness_shard::{IdempotencyCounter, IdempotencyLimits, Release};
use fastness_types::{Durability, FormatLevel, LogIndex, limits};
use support::{MemorySnapshots, Setup, World, script};

const BATCH_AGE_MAX: Duration = Duration::from_millis(10);
/// A key of now: the scripted wall clock starts there.
const NOW: u64 = 1_700_000_000_000_000;

fn key(number: u64) -> (&'static str, u64) {
    ("c", NOW + number)
}

async fn commit_all(world: &World) {
    world.advance(BATCH_AGE_MAX).await;
    world.commit_all().await;
}

fn is_past(reply: &support::Reply) -> bool {
    reply.text.starts_with("-IDEMPOTENCYPAST ")
}

fn past(floor: u64) -> String {
    format!("{KEY_PAST} (sequence numbers above {floor} are accepted)")
}

fn error(text: &str) -> String {
    format!("-{text}\r\n")
}

/// What a replica holds that reads the whole log.
async fn replayed(world: &World) -> (LogIndex, Digest) {
    let replica = World::start_on(Setup::ungated(Durability::Sync), world.log.clone(), world.clock.clone());
    stands(&replica).await
}

async fn stands(world: &World) -> (LogIndex, Digest) {
    for _ in 0..100 {
        world.resolve().await;
    }
    let digest = world.shard.digest();
    digest.unwrap_or_else(|error| panic!("{error}: {:?}", world.shard.info().stopped))
}

/// Schedule 51: the first attempt is uncommitted when the second arrives.
#[test]
fn a_repeated_write_waits_for_the_commit_of_the_first_attempt_in_every_mode() {
    for mode in [Durability::Sync, Durability::Async, Durability::Disabled] {
        script(async {
            let world = World::primary(Setup::mode(mode)).await;
            let (mut client, mut other) = (world.client(), world.client());
            let first = client.run_keyed("INCR n", key(1));
            let again = other.run_keyed("INCR n", key(1));
            assert_eq!((&*first.text, &*again.text), (":1\r\n", ":1\r\n"));
            assert_eq!((first.wrote(), again.wrote()), (true, false));
            assert_eq!(other.leave(&again), Release::Wait, "{mode}");
            commit_all(&world).await;
            assert_eq!((client.leave(&first), other.leave(&again)), (Release::Now, Release::Now));
            client.expect("GET n", "$1\r\n1\r\n");
            assert_eq!(other.run_keyed("INCR n", key(1)).pending(), None, "it has committed");
            assert_eq!((world.shard.info().repeated_writes, world.shard.info().idempotency_records), (2, 1));
        });
    }
}

/// Schedule 51: the first attempt is undone. The second is answered UNKNOWN, and the third runs.
#[test]
fn an_undone_write_runs_again() {
    for undo_bytes in [1 << 20, 0] {
        script(async {
            let world = World::primary(Setup::mode(Durability::Async).undo_bytes(undo_bytes)).await;
            let mut client = world.client();
            client.run_keyed("INCR n", key(1));
            commit_all(&world).await;
            let before = replayed(&world).await.1;
            client.run_keyed("INCR n", key(2));
            let again = client.run_keyed("INCR n", key(2));
            assert_eq!(again.text, ":2\r\n");
            world.resolve().await;
            world.lose_to_other(2).await;
            assert_eq!(client.leave(&again), Release::Unknown);
            assert!(again.pending().unwrap().unknown_text().starts_with("UNKNOWN"));
            assert_eq!(stands(&world).await.1, before, "record and effect are undone");
            world.lead(3).await;
            assert_eq!(client.run_keyed("INCR n", key(1)).text, ":1\r\n");
            let third = client.run_keyed("INCR n", key(2));
            assert_eq!((&*third.text, third.wrote()), (":2\r\n", true));
            commit_all(&world).await;
            assert_eq!(stands(&world).await, replayed(&world).await);
        });
    }
}

/// Schedule 51: the second attempt arrives at another primary, which has the first from the log, or from a snapshot.
#[test]
fn another_primary_answers_with_the_first_reply() {
    script(async {
        let store: Rc<MemorySnapshots> = Rc::default();
        let setup = || Setup { snapshots: Some(store.clone()), ..Setup::ungated(Durability::Sync) };
        let world = World::primary(setup()).await;
        let mut client = world.client();
        for i in 0..2000 {
            client.run_keyed(&format!("SET k{i} {i} GET"), ("c", NOW + i));
        }
        client.run_keyed("INCR n", ("d", NOW));
        commit_all(&world).await;
        let from_log = World::start_on(Setup::ungated(Durability::Sync), world.log.clone(), world.clock.clone());
        assert_eq!(stands(&from_log).await, stands(&world).await);
        assert!(world.shard.snapshot());
        for _ in 0..400 {
            world.advance(Duration::from_micros(500)).await;
        }
        assert_eq!(world.shard.info().snapshot.written, 1);
        client.run_keyed("INCR n", ("d", NOW + 1));
        commit_all(&world).await;
        let expected = stands(&world).await;

        let again = World::start_on(setup(), world.log.clone(), world.clock.clone());
        assert_eq!(stands(&again).await, expected);
        assert_eq!(store.read.get(), 1, "it was restored from the snapshot");
        again.lead(2).await;
        let mut client = again.client();
        for (line, key, text) in [
            ("INCR n", ("d", NOW), ":1\r\n"),
            ("INCR n", ("d", NOW + 1), ":2\r\n"),
            ("SET k7 7 GET", ("c", NOW + 7), "$-1\r\n"),
        ] {
            let reply = client.run_keyed(line, key);
            assert_eq!((&*reply.text, reply.wrote(), reply.pending()), (text, false, None), "{line}");
        }
        assert_eq!(client.run_keyed("INCR n", ("d", NOW + 2)).text, ":3\r\n");
    });
}

#[test]
fn a_key_belongs_to_one_write() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        client.run_keyed("SET a 1", key(1));
        for other in ["SET a 2", "SET b 1", "SET a 1 GET", "DEL a"] {
            assert_eq!(client.run_keyed(other, key(1)).text, error(KEY_REUSED), "{other}");
        }
        assert_eq!(client.run_keyed("SET a 1", ("other", NOW + 1)).text, "+OK\r\n", "another client's");
        client.expect("GET a", "$1\r\n1\r\n");
        assert_eq!(world.shard.info().keys_refused, 4);
    });
}

/// A write without effect may take effect when it is sent again; a read ignores the key.
#[test]
fn what_changes_nothing_leaves_no_record() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        assert_eq!(client.run_keyed("DEL a", key(1)).text, ":0\r\n");
        assert_eq!(client.run_keyed("GET a", key(1)).text, "$-1\r\n");
        assert_eq!(client.run_keyed("LOLLOL a", key(1)).text.split(' ').next(), Some("-ERR"));
        client.expect("SET a 1", "+OK\r\n");
        assert_eq!(client.run_keyed("INCRBY a x", key(1)).text, "-ERR value is not an integer or out of range\r\n");
        assert_eq!(world.shard.info().idempotency_records, 0);
        assert_eq!(client.run_keyed("DEL a", key(1)).text, ":1\r\n");
        assert_eq!(client.run_keyed("DEL a", key(1)).text, ":1\r\n");
        assert_eq!(world.shard.info().idempotency_records, 1);
    });
}

#[test]
fn wrong_keys_are_refused_before_anything_runs() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        let long = "x".repeat(limits::IDEMPOTENCY_CLIENT_BYTES_MAX + 1);
        for (key, text) in [
            (("", NOW), "ERR the client of an idempotency key is 1 to 64 bytes"),
            ((&*long, NOW), "ERR the client of an idempotency key is 1 to 64 bytes"),
            (("c", 0), &past(0)),
            (
                ("c", NOW + 61_000_000),
                "ERR the idempotency key's sequence number is a time more than 60 s in the future",
            ),
            (("c", u64::MAX), "ERR the idempotency key's sequence number is a time more than 60 s in the future"),
        ] {
            assert_eq!(client.run_keyed("INCR n", key).text, error(text), "{key:?}");
        }
        assert_eq!(client.run_keyed("INCR n", (&long[1..], NOW + 59_000_000)).text, ":1\r\n");
        world.driver.set_format(FormatLevel::USERS);
        world.resolve().await;
        let text = "ERR idempotency keys are not available until every node of the shard has been upgraded";
        assert_eq!(client.run_keyed("INCR n", key(1)).text, error(text));
        client.expect("GET n", "$1\r\n1\r\n");
    });
}

/// What cannot be kept is not done.
#[test]
fn a_reply_that_is_too_long_to_keep_rolls_the_write_back() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        let (longest, too_long) = ("x".repeat(limits::IDEMPOTENCY_REPLY_BYTES_MAX - 10), "x".repeat(70_000));
        client.expect(&format!("SET a {longest}"), "+OK\r\n");
        client.expect(&format!("SET b {too_long}"), "+OK\r\n");
        let text = "ERR the reply is longer than the 65536 bytes that an idempotency key keeps; no data was changed";
        assert_eq!(client.run_keyed("GETDEL b", key(1)).text, error(text));
        client.expect("STRLEN b", ":70000\r\n");
        let reply = format!("${}\r\n{longest}\r\n", longest.len());
        assert_eq!(client.run_keyed("GETDEL a", key(1)).text, reply, "the key is free");
        assert_eq!(client.run_keyed("GETDEL a", key(1)).text, reply);
        commit_all(&world).await;
        assert_eq!(stands(&world).await, replayed(&world).await);
    });
}

/// The same transaction again: with what it watches changed by its own first attempt, and in the other protocol.
#[test]
fn a_transaction_takes_effect_once() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Sync)).await;
        let mut client = world.client();
        client.run("HSET {t}h f 1");
        commit_all(&world).await;
        let run = |client: &mut support::Client, number| {
            for line in ["MULTI", "INCR {t}n", "HGETALL {t}h", "GET {t}missing", "EXEC"] {
                if line == "EXEC" {
                    return client.run_keyed(line, key(number));
                }
                client.run(line);
            }
            unreachable!()
        };
        client.run("WATCH {t}n");
        let first = run(&mut client, 1);
        assert_eq!(first.text, "*3\r\n:1\r\n*2\r\n$1\r\nf\r\n$1\r\n1\r\n$-1\r\n");
        client.run("WATCH {t}n");
        world.client().run("INCR {t}n");
        let again = run(&mut client, 1);
        assert_eq!(again.text, first.text, "although n was touched");
        assert!(!client.session.in_multi() && !client.session.is_watching());
        let mut other = world.client();
        other.protocol = Protocol::Resp3;
        assert_eq!(run(&mut other, 1).text, "*3\r\n:1\r\n%1\r\n$1\r\nf\r\n$1\r\n1\r\n_\r\n");
        commit_all(&world).await;
        client.expect("GET {t}n", "$1\r\n2\r\n");
        for line in ["MULTI", "INCR {t}n"] {
            client.run(line);
        }
        assert_eq!(client.run_keyed("EXEC", key(1)).text, error(KEY_REUSED), "another transaction");
        client.expect("GET {t}n", "$1\r\n2\r\n");
        client.run("MULTI");
        let misplaced = client.run_keyed("INCR {t}n", key(9)).text;
        assert!(misplaced.starts_with("-ERR a transaction's attribute belongs before its EXEC"), "{misplaced}");
    });
}

/// CLIENT IDEMPOTENCY: each write takes the next number, a refused one, too, and nothing else does.
#[test]
fn a_connection_counts_its_writes() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        let count_from = |client: &mut support::Client, next| {
            client.session.set_idempotency(Some(IdempotencyCounter { client: b"c"[..].into(), next }));
        };
        let next = |client: &support::Client| client.session.idempotency().unwrap().next - NOW;
        count_from(&mut client, NOW);
        let lines = ["INCR n", "GET n", "INCRBY n x", "MULTI", "INCR n", "INCR n", "EXEC", "PING", "INCR n"];
        lines.iter().for_each(|line| drop(client.run(line)));
        assert_eq!(next(&client), 4);
        let mut other = world.client();
        count_from(&mut other, NOW);
        let replies: Vec<String> = lines.iter().map(|line| other.run(line).text).collect();
        assert_eq!((&*replies[0], &*replies[6], &*replies[8]), (":1\r\n", "*2\r\n:2\r\n:3\r\n", ":4\r\n"));
        client.expect("GET n", "$1\r\n4\r\n");
        client.run_keyed("INCR n", ("c", NOW + 100));
        assert_eq!(next(&client), 4, "a key of its own takes no number");
        assert_eq!(client.run("RESET").text, "+RESET\r\n");
        assert_eq!(client.session.idempotency(), None);
    });
}

#[test]
fn records_leave_and_nothing_runs_again() {
    script(async {
        let idempotency =
            IdempotencyLimits { client_records_max: 5, bytes_max: 4000, age_max: Duration::from_secs(10) };
        let world = World::primary(Setup { idempotency, ..Setup::ungated(Durability::Async) }).await;
        let mut client = world.client();
        for i in 0..8 {
            client.run_keyed("INCR n", key(i));
        }
        assert_eq!(world.shard.info().idempotency_records, 5);
        for i in 0..3 {
            assert_eq!(client.run_keyed("INCR n", key(i)).text, error(&past(NOW + 2)));
        }
        assert_eq!(client.run_keyed("INCR n", key(3)).text, ":4\r\n");
        for other in 0..50 {
            client.run_keyed("INCR n", (&format!("o{other}"), NOW + 100 + other));
        }
        assert!(world.shard.memory().records <= 4000);
        assert!(is_past(&client.run_keyed("INCR n", key(7))), "others have used up the memory");
        assert!(is_past(&client.run_keyed("INCR n", ("new", NOW + 100))), "nobody knows");
        assert_eq!(client.run_keyed("INCR n", ("new", NOW + 1000)).text, ":59\r\n");
        commit_all(&world).await;
        // Nobody writes: they leave by themselves, in the log.
        for _ in 0..15 {
            world.advance(Duration::from_secs(1)).await;
            commit_all(&world).await;
        }
        let info = world.shard.info();
        assert_eq!((info.idempotency_records, info.memory.records), (0, 0));
        assert_eq!(client.run_keyed("INCR n", ("new", NOW + 1000)).text, error(&past(NOW + 1000)));
        client.expect("GET n", "$2\r\n59\r\n");
        assert_eq!(stands(&world).await, replayed(&world).await);
        let last = world.log.last();
        for _ in 0..5 {
            world.advance(Duration::from_secs(1)).await;
            commit_all(&world).await;
        }
        assert_eq!(world.log.last(), last, "without records nothing is written");
    });
}
