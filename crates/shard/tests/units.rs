//! Bounds of units and log entries: what is too large is taken back whole, what is accepted can be carried.

#![allow(clippy::unwrap_used)]

mod support;

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastness_shard::{Batching, Outcome, Release};
use fastness_types::{Durability, limits};
use support::{Client, MemorySnapshots, Setup, World, payload_bytes, script};

const OK: &str = "+OK\r\n";
/// A small unit, so that the tests need little memory.
const UNIT_BYTES: usize = 20_000;

fn small(mode: Durability) -> Setup {
    let batching = Batching { unit_bytes_max: UNIT_BYTES, ..Batching::default() };
    Setup { batching, ..Setup::ungated(mode) }
}

async fn close_and_commit(world: &World) {
    world.advance(Batching::default().async_age).await;
    world.commit_all().await;
}

/// `count` times a command, as one transaction; gives EXEC's reply.
fn transaction(client: &mut Client, commands: impl Iterator<Item = String>) -> support::Reply {
    assert_eq!(client.run("MULTI").text, OK);
    commands.for_each(|command| assert_eq!(client.run(&command).text, "+QUEUED\r\n", "{command}"));
    client.run("EXEC")
}

fn too_large() -> String {
    format!("-ERR the command's effects exceed {UNIT_BYTES} bytes; no data was changed\r\n")
}

/// Keys whose names are as long as half an entry are due at one moment: each is removed in a unit, and an entry, of its
/// own.
#[test]
fn keys_with_long_names_expire_at_one_deadline() {
    script(async {
        let world = World::primary(Setup::ungated(Durability::Async)).await;
        let mut client = world.client();
        let at = 1_700_000_000_000u64 + 500;
        let name = "x".repeat(31 << 20);
        for i in 0..3 {
            let key = format!("{{b}}{name}{i}");
            let set = client.run_args(&[b"SET", key.as_bytes(), b"v", b"PXAT", at.to_string().as_bytes()]);
            assert_eq!(set.text, OK);
            close_and_commit(&world).await;
        }
        client.expect("DBSIZE", ":3\r\n");
        let before = world.log.last();
        world.advance(Duration::from_secs(1)).await;
        for _ in 0..20 {
            close_and_commit(&world).await;
        }
        client.expect("DBSIZE", ":0\r\n");
        client.expect("SET a 1", OK);
        let expiries = world.log.entries().into_iter().filter(|entry| entry.index > before);
        let lengths: Vec<usize> = expiries.map(|entry| payload_bytes(&entry)).collect();
        assert!(lengths.iter().all(|length| *length <= limits::ENTRY_BYTES_MAX), "{lengths:?}");
        assert!(lengths.len() >= 2, "three names of 31 MiB are more than one entry: {lengths:?}");
    });
}

/// The effects of a command are measured where they are made: their length does not follow from its arguments.
#[test]
fn a_transaction_whose_effects_are_longer_than_its_arguments_is_taken_back_whole() {
    script(async {
        let world = World::primary(small(Durability::Async)).await;
        let mut client = world.client();
        client.expect("SET k 1", OK);
        client.expect("SET other 1", OK);
        close_and_commit(&world).await;
        let before = (world.log.last(), world.shard.with_engine(|engine| engine.digest()));
        let sums = (0..10).map(|_| "INCRBYFLOAT k 1e4900".to_owned());
        let others = ["SET {k}a 1", "DEL k"].map(str::to_owned).into_iter();
        let exec = transaction(&mut client, others.chain(sums));
        assert_eq!(exec.text, too_large());
        assert!(!exec.wrote());
        assert_eq!(client.leave(&exec), Release::Now);
        client.expect("GET k", "$1\r\n1\r\n");
        client.expect("EXISTS {k}a", ":0\r\n");
        close_and_commit(&world).await;
        assert_eq!((world.log.last(), world.shard.with_engine(|engine| engine.digest())), before, "it left no trace");
        assert_eq!(world.shard.info().units_too_large, 1);
        let exec = transaction(&mut client, (0..3).map(|_| "INCRBYFLOAT k 1e4900".to_owned()));
        assert!(exec.text.starts_with("*3\r\n$4901\r\n"), "one that fits runs");
    });
}

/// A transaction that would keep the loop for so long that its primary is deposed is taken back between two of its
/// commands.
#[test]
fn a_transaction_that_runs_for_too_long_is_taken_back_whole() {
    script(async {
        let world = World::primary(Setup::ungated(Durability::Async)).await;
        let mut client = world.client();
        client.expect("SET k 1", OK);
        close_and_commit(&world).await;
        let before = (world.log.last(), world.shard.with_engine(|engine| engine.digest()));
        assert_eq!(client.run("MULTI").text, OK);
        for command in ["SET {k}a 1", "FLUSHALL", "SET k 2"].into_iter().chain([("INCR k"); 100]) {
            assert_eq!(client.run(command).text, "+QUEUED\r\n");
        }
        // Every command takes 20 ms from here on.
        world.clock.passes.store(20_000_000, Ordering::Relaxed);
        let exec = client.run("EXEC");
        world.clock.passes.store(0, Ordering::Relaxed);
        assert_eq!(exec.text, "-ERR the transaction has run for longer than 1500 ms; no data was changed\r\n");
        assert!(!exec.wrote());
        client.expect("GET k", "$1\r\n1\r\n");
        client.expect("EXISTS {k}a", ":0\r\n");
        close_and_commit(&world).await;
        assert_eq!((world.log.last(), world.shard.with_engine(|engine| engine.digest())), before, "it left no trace");
        let info = world.shard.info();
        assert_eq!((info.units_too_slow, info.units_too_large), (1, 0));
        world.clock.passes.store(20_000_000, Ordering::Relaxed);
        let exec = transaction(&mut client, (0..50).map(|_| "INCR k".to_owned()));
        world.clock.passes.store(0, Ordering::Relaxed);
        assert!(exec.text.starts_with("*50\r\n:2\r\n"), "one of a second runs: {}", exec.text);
    });
}

/// Valkey's checksum of a DUMP payload.
fn crc64(bytes: &[u8]) -> u64 {
    let polynomial = 0xad93_d235_94c9_35a9_u64.reverse_bits();
    let bit = |crc: u64, _| if crc & 1 == 1 { (crc >> 1) ^ polynomial } else { crc >> 1 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ u64::from(*byte), bit))
}

/// At the limits that ship: 930,024 bytes that RESTORE expands to 78 MiB, more than one log entry holds, are accepted
/// and carried.
#[test]
fn a_restore_that_expands_to_more_than_an_entry_is_carried() {
    script(async {
        let world = World::primary(Setup::ungated(Durability::Async)).await;
        let mut client = world.client();
        let (compressed, length) = (2 + 3 * 310_000u32, 1 + 264 * 310_000u32);
        let mut payload =
            [&b"\x00\xc3\x80"[..], &compressed.to_be_bytes(), b"\x80", &length.to_be_bytes(), b"\x00A"].concat();
        payload.extend_from_slice(&b"\xe0\xff\x00".repeat(310_000));
        payload.extend_from_slice(&80u16.to_le_bytes());
        payload.extend_from_slice(&crc64(&payload).to_le_bytes());
        let restored = client.run_args(&[b"RESTORE", b"k", b"0", &payload]);
        assert_eq!(restored.text, OK);
        assert_eq!(client.run("SET behind 1").outcome, Outcome::Busy, "writers wait for the log, and are not refused");
        world.commit_all().await;
        client.expect("SET behind 1", OK);
        close_and_commit(&world).await;
        client.expect("STRLEN k", ":81840001\r\n");
        let entries: Vec<usize> = world.log.entries().iter().map(payload_bytes).collect();
        assert!(entries.iter().sum::<usize>() > limits::ENTRY_BYTES_MAX, "{entries:?}");
        assert!(entries.iter().all(|length| *length <= limits::FRAGMENT_BYTES_MAX + 64), "{entries:?}");
        let replica = World::start_on(Setup::ungated(Durability::Async), world.log.clone(), world.clock.clone());
        for _ in 0..20 {
            replica.resolve().await;
        }
        assert_eq!(replica.shard.digest().unwrap(), world.shard.digest().unwrap());
    });
}

/// What joins the open batch is kept apart from it when both do not fit into one entry: nothing was estimated before.
#[test]
fn a_unit_that_does_not_fit_beside_the_others_has_an_entry_of_its_own() {
    script(async {
        let batching = Batching { unit_bytes_max: 20_000, entry_bytes_max: 20_000, ..Batching::default() };
        let world = World::primary(Setup { batching, ..Setup::ungated(Durability::Async) }).await;
        let mut client = world.client();
        client.expect("SET k 1", OK);
        let replies: Vec<_> = (0..4).map(|_| client.run("INCRBYFLOAT k 1e4900")).collect();
        let transaction = transaction(&mut client, (0..4).map(|_| "INCRBYFLOAT k 1e4900".to_owned()));
        assert!(transaction.text.starts_with("*4\r\n"), "{}", transaction.text);
        client.expect("SET behind 1", OK);
        close_and_commit(&world).await;
        close_and_commit(&world).await;
        let lengths: Vec<usize> =
            world.log.entries().iter().map(payload_bytes).filter(|length| *length > 100).collect();
        assert!(lengths.len() >= 2 && lengths.iter().all(|length| *length <= 20_000), "{lengths:?}");
        assert!(replies.iter().all(|reply| client.leave(reply) == Release::Now));
        let replica = World::start_on(Setup::ungated(Durability::Async), world.log.clone(), world.clock.clone());
        replica.resolve().await;
        assert_eq!(replica.shard.digest().unwrap(), world.shard.digest().unwrap());
    });
}

/// A read that removes expired keys stages their removal, and is bounded like everything else.
#[test]
fn a_read_that_would_remove_too_much_is_taken_back() {
    script(async {
        let world = World::primary(small(Durability::Async)).await;
        let mut client = world.client();
        let keys: Vec<String> = (0..5).map(|i| format!("{{t}}{}{i}", "n".repeat(6_000))).collect();
        for key in &keys {
            client.expect(&format!("SET {key} 1 PX 20"), OK);
        }
        close_and_commit(&world).await;
        // Nobody is woken: the keys are due and no turn has removed them.
        world.pause_process(Duration::from_millis(50));
        let before = world.shard.with_engine(|engine| engine.digest());
        assert_eq!(client.run(&format!("EXISTS {}", keys.join(" "))).text, too_large());
        assert_eq!(world.shard.with_engine(|engine| engine.digest()), before);
        let some = client.run(&format!("EXISTS {} {}", keys[0], keys[1]));
        assert_eq!((some.text.as_str(), some.wrote()), (":0\r\n", true));
    });
}

/// Schedule 47: units are rolled back while a snapshot is written. It stays valid and does not start again; keys,
/// watches and the dirty keys of others stay as they were.
#[test]
fn a_unit_is_taken_back_beside_a_snapshot_and_leaves_no_trace() {
    script(async {
        let store = Rc::new(MemorySnapshots::default());
        let world = World::primary(Setup { snapshots: Some(store.clone()), ..small(Durability::Sync) }).await;
        let mut client = world.client();
        for i in 0..300 {
            client.run(&format!("SET {{t}}{i} {}", "v".repeat(400)));
            world.commit_all().await;
        }
        let (digest, at) = (world.shard.with_engine(|engine| engine.digest()), world.log.last());
        let mut watcher = world.client();
        watcher.run("WATCH {t}1");
        assert!(world.shard.snapshot());
        for round in 0..10 {
            world.advance(Duration::from_micros(500)).await;
            let mut commands: Vec<String> = (0..30).map(|i| format!("APPEND {{t}}{i} {}", "w".repeat(900))).collect();
            commands.insert(5, format!("DEL {{t}}{}", 299 - round));
            if round % 2 == 1 {
                commands.insert(9, "FLUSHALL".to_owned());
            }
            let exec = transaction(&mut client, commands.into_iter());
            assert_eq!(exec.text, too_large());
            assert_eq!(client.leave(&exec), Release::Now, "nothing that it saw is open");
            assert_eq!(world.shard.with_engine(|engine| engine.digest()), digest);
            let read = client.run("STRLEN {t}1");
            assert_eq!((read.text.as_str(), client.leave(&read)), (":400\r\n", Release::Now), "the key is not dirty");
        }
        for _ in 0..200 {
            world.advance(Duration::from_micros(500)).await;
        }
        let info = world.shard.info().snapshot;
        assert_eq!((info.written, info.given_up, info.newest), (1, 0, at));
        assert_eq!(world.shard.info().open_bytes, 0);
        let exec = transaction(&mut watcher, ["SET {t}1 new".to_owned()].into_iter());
        assert_eq!(exec.text, "*1\r\n+OK\r\n", "what it watches has not changed");
        world.commit_all().await;
        // A replica from the snapshot, and the log after it.
        let replica = World::start_on(
            Setup { snapshots: Some(store), ..small(Durability::Sync) },
            world.log.clone(),
            world.clock.clone(),
        );
        replica.advance(Duration::from_millis(1)).await;
        assert_eq!(replica.shard.digest().unwrap(), world.shard.digest().unwrap());
    });
}

/// A unit that overwrites far more than undo records may hold is taken back all the same, and earlier units keep
/// theirs.
#[test]
fn undo_records_of_the_unit_at_hand_have_no_bound_of_their_own() {
    script(async {
        let world = World::primary(small(Durability::Async).undo_bytes(2_000)).await;
        let mut client = world.client();
        client.expect(&format!("SET {{t}}large {}", "v".repeat(10_000)), OK);
        close_and_commit(&world).await;
        client.expect("SET {t}small 1", OK);
        let digest = world.shard.with_engine(|engine| engine.digest());
        let commands = ["DEL {t}large", "SET {t}small 2"].map(str::to_owned).into_iter();
        let exec =
            transaction(&mut client, commands.chain((0..3).map(|i| format!("SET {{t}}{i} {}", "w".repeat(9_000)))));
        assert_eq!(exec.text, too_large());
        assert_eq!(world.shard.with_engine(|engine| engine.digest()), digest);
        world.lose_to_other(2).await;
        assert_eq!((world.shard.info().undone_by_records, world.shard.info().restores), (1, 1), "no record was lost");
        let mut reader = world.client().readonly();
        reader.expect("EXISTS {t}small", ":0\r\n");
        reader.expect("STRLEN {t}large", ":10000\r\n");
    });
}

/// EXEC checks memory once, as Valkey does: no command of it is refused midway.
#[test]
fn a_transaction_over_maxmemory_runs_whole() {
    script(async {
        let world = World::primary(Setup { maxmemory: 20 << 20, ..Setup::ungated(Durability::Async) }).await;
        let mut client = world.client();
        let ranges = (0..5).map(|i| format!("SETRANGE {{k}}{i} 7000000 x"));
        let exec = transaction(&mut client, ranges.chain(["INCR {k}n".to_owned()]));
        assert_eq!(exec.text, format!("*6\r\n{}:1\r\n", ":7000001\r\n".repeat(5)));
        assert!(client.run("SET a 1").text.starts_with("-OOM "), "what comes next is refused");
        client.run("MULTI");
        assert!(client.run("SET a 1").text.starts_with("-OOM "));
        assert!(client.run("EXEC").text.starts_with("-EXECABORT "));
    });
}

/// Schedule 56: a transaction that was admitted over `maxmemory` as a whole ends at the limit of a unit, and memory is
/// as before.
#[test]
fn a_transaction_that_was_admitted_cannot_grow_without_end() {
    script(async {
        let world = World::primary(Setup { maxmemory: 20 << 20, ..small(Durability::Async) }).await;
        let mut client = world.client();
        client.expect("SET {k}a 1", OK);
        close_and_commit(&world).await;
        let before = world.shard.memory().data;
        let exec = transaction(&mut client, (0..100).map(|i| format!("SET {{k}}{i} {}", "v".repeat(1_000))));
        assert_eq!(exec.text, too_large());
        client.expect("DBSIZE", ":1\r\n");
        let after = world.shard.memory().data;
        assert!(after <= before + 16_384, "{before} bytes before, {after} after: only tables may have grown");
    });
}

/// FLUSHALL is two bytes of effects, and leaves tables of a few hundred kilobytes.
#[test]
fn a_transaction_that_removes_every_key_again_and_again_is_taken_back() {
    script(async {
        let world = World::primary(Setup::ungated(Durability::Async)).await;
        let mut client = world.client();
        client.expect("SET a 1", OK);
        let flushes = |count: usize| (0..count).map(|_| "FLUSHALL".to_owned());
        let exec = transaction(&mut client, flushes(limits::UNIT_FLUSHES_MAX + 1));
        assert!(exec.text.starts_with("-ERR the command's effects exceed "), "{}", exec.text);
        client.expect("GET a", "$1\r\n1\r\n");
        let exec = transaction(&mut client, flushes(limits::UNIT_FLUSHES_MAX));
        assert!(exec.text.starts_with("*1024\r\n+OK\r\n"), "{}", exec.text);
        client.expect("DBSIZE", ":0\r\n");
    });
}

#[test]
fn a_key_name_over_the_limit_is_refused() {
    script(async {
        let world = World::primary(Setup::ungated(Durability::Async)).await;
        let mut client = world.client();
        let long = vec![b'x'; limits::KEY_BYTES_MAX + 1];
        let error = "-ERR key name is longer than 33554432 bytes\r\n";
        let commands: [&[&[u8]]; 6] = [
            &[b"SET", &long, b"v"],
            &[b"GET", &long],
            &[b"MSET", b"a", b"1", &long, b"2"],
            &[b"RENAME", b"a", &long],
            &[b"COPY", b"a", &long],
            &[b"WATCH", &long],
        ];
        for command in commands {
            assert_eq!(client.run_args(command).text, error, "{}", String::from_utf8_lossy(command[0]));
        }
        client.run("MULTI");
        assert_eq!(client.run_args(&[b"SET", &long, b"v"]).text, error);
        assert!(client.run("EXEC").text.starts_with("-EXECABORT "));
        let longest = &long[1..];
        assert_eq!(client.run_args(&[b"SET", longest, b"v", b"PX", b"20"]).text, OK);
        close_and_commit(&world).await;
        world.advance(Duration::from_millis(100)).await;
        close_and_commit(&world).await;
        client.expect("DBSIZE", ":0\r\n");
    });
}
