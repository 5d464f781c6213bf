//! Scripts and functions: one unit each, suspended over turns of the loop, killed, rolled back, and on replicas.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fastness_shard::{Batching, DigestError, Outcome, Release, WaitsFor};
use fastness_types::Durability;
use support::{Client, OTHER, Reply, Setup, World, script};

const OK: &str = "+OK\r\n";
/// Writes a key, then runs for many slices.
const LONG_WRITE: &str = "redis.call('set', KEYS[1], ARGV[1]) local n = 0 for i = 1, 5000000 do n = n + 1 end return n";
/// Reads a key, then runs until it is killed.
const ENDLESS_READ: &str = "redis.call('get', KEYS[1]) while true do end";
const BUSY: &str = "-BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n";
const UNIT_BYTES: usize = 20_000;

fn eval(client: &mut Client, code: &str, rest: &[&str]) -> Reply {
    let mut words: Vec<&[u8]> = vec![b"EVAL", code.as_bytes()];
    words.extend(rest.iter().map(|word| word.as_bytes()));
    client.run_args(&words)
}

async fn close_and_commit(world: &World) {
    world.advance(Batching::default().async_age).await;
    world.commit_all().await;
}

impl World {
    /// Each look at the clock takes a millisecond from here on, so that a script is suspended after few of them.
    fn slow(&self) {
        self.clock.passes.store(1_000_000, Ordering::Relaxed);
    }

    fn normal(&self) {
        self.clock.passes.store(0, Ordering::Relaxed);
    }

    /// Runs a script until it is suspended for the first time.
    fn suspend(&self, client: &mut Client, code: &str, rest: &[&str]) {
        self.slow();
        let reply = eval(client, code, rest);
        self.normal();
        assert_eq!((reply.text.as_str(), reply.outcome), ("", Outcome::Busy));
        assert_eq!(client.session.waits_for(), WaitsFor::Turn);
    }
}

/// Runs the command of a suspended script again until it replies.
async fn finish(world: &World, client: &mut Client, code: &str, rest: &[&str]) -> Reply {
    loop {
        let reply = eval(client, code, rest);
        if reply.outcome != Outcome::Busy {
            return reply;
        }
        world.resolve().await;
    }
}

#[test]
fn a_script_is_one_unit_and_its_reply_waits_for_the_commit() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Sync)).await;
        let mut client = world.client();
        let code = "redis.call('set', KEYS[1], ARGV[1]) redis.call('incr', KEYS[1]) return redis.call('get', KEYS[1])";
        let before = world.units_in_log(*world.epoch.borrow());
        let reply = eval(&mut client, code, &["1", "k", "41"]);
        assert_eq!(reply.text, "$2\r\n42\r\n");
        assert!(reply.wrote());
        assert_eq!(client.leave(&reply), Release::Wait);
        // A script that only reads what is uncommitted waits, too.
        let mut reader = world.client();
        let read = eval(&mut reader, "return redis.call('get', KEYS[1])", &["1", "k"]);
        assert_eq!((read.text.as_str(), reader.leave(&read)), ("$2\r\n42\r\n", Release::Wait));
        let other = eval(&mut reader, "return redis.call('get', KEYS[1])", &["1", "other"]);
        assert_eq!(reader.leave(&other), Release::Now);
        world.commit_all().await;
        assert_eq!((client.leave(&reply), reader.leave(&read)), (Release::Now, Release::Now));
        assert_eq!(world.units_in_log(*world.epoch.borrow()), before + 1);
    });
}

#[test]
fn an_error_keeps_what_was_written_and_a_unit_that_is_too_long_leaves_nothing() {
    script(async {
        let batching = Batching { unit_bytes_max: UNIT_BYTES, ..Batching::default() };
        let world = World::primary(Setup { batching, ..Setup::ungated(Durability::Async) }).await;
        let mut client = world.client();
        let failed =
            eval(&mut client, "redis.call('set', KEYS[1], 'v') return redis.call('incr', KEYS[1])", &["1", "k"]);
        assert!(failed.text.starts_with("-ERR value is not an integer or out of range script: "), "{}", failed.text);
        assert!(failed.wrote());
        client.expect("GET k", "$1\r\nv\r\n");
        close_and_commit(&world).await;
        let before = (world.log.last(), world.shard.with_engine(|engine| engine.digest()));
        let code = "for i = 1, 1000 do redis.call('set', KEYS[1] .. i, string.rep('x', 100)) end";
        let reply = eval(&mut client, &format!("#!lua flags=allow-cross-slot-keys\n{code}"), &["1", "k"]);
        let text = format!("-ERR the command's effects exceed {UNIT_BYTES} bytes; no data was changed\r\n");
        assert_eq!((reply.text, reply.outcome), (text, Outcome::REPLY));
        close_and_commit(&world).await;
        assert_eq!((world.log.last(), world.shard.with_engine(|engine| engine.digest())), before, "it left no trace");
        client.expect("SET after 1", OK);
    });
}

#[test]
fn commands_are_checked_as_valkey_checks_them() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        let error = |text: &str, line: u32| format!("-ERR {text} script: on @user_script:{line}.\r\n");
        for (code, keys, text, line) in [
            ("return redis.call('nosuch')", &["0"][..], "Unknown command called from script", 1),
            ("return redis.call('get')", &["0"], "Wrong number of args calling command from script", 1),
            ("return redis.call('multi')", &["0"], "This Valkey command is not allowed from script", 1),
            ("return redis.call('command', 'x')", &["0"], "unknown subcommand 'x'. Try COMMAND HELP.", 1),
            (
                "#!lua flags=no-writes\nreturn redis.call('set', KEYS[1], 1)",
                &["1", "k"],
                "Write commands are not allowed from read-only scripts.",
                2,
            ),
            (
                "#!lua\nreturn redis.call('get', 'other')",
                &["1", "k"],
                "Script attempted to access keys that do not hash to the same slot",
                2,
            ),
            (
                "return redis.call('mget', 'k', 'other')",
                &["1", "k"],
                "Attempted to access a non local key in a cluster node",
                1,
            ),
        ] {
            assert_eq!(eval(&mut client, code, keys).text, error(text, line), "{code}");
        }
        assert_eq!(eval(&mut client, "return redis.call('get', 'other')", &["1", "k"]).text, "$-1\r\n");
        let ro = client.run_args(&[b"EVAL_RO", b"#!lua\nreturn 1", b"0"]);
        assert_eq!(ro.text, "-ERR Can not execute a script with write flag using *_ro command.\r\n");
        let cluster = eval(&mut client, "#!lua flags=no-cluster\nreturn 1", &["0"]);
        assert_eq!(cluster.text, "-ERR Can not run script on cluster, 'no-cluster' flag is set.\r\n");
        for (count, text) in [
            ("-1", "Number of keys can't be negative"),
            ("2", "Number of keys can't be greater than number of args"),
            ("x", "value is not an integer or out of range"),
        ] {
            assert_eq!(eval(&mut client, "return 1", &[count, "k"]).text, format!("-ERR {text}\r\n"));
        }
        client.expect("EVALSHA ffffffffffffffffffffffffffffffffffffffff 0", "-NOSCRIPT No matching script.\r\n");
        client.expect("SCRIPT EXISTS ffffffffffffffffffffffffffffffffffffffff", "*1\r\n:0\r\n");
        let sha = client.run_args(&[b"SCRIPT", b"LOAD", b"return 1"]).text;
        assert_eq!(sha, "$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n");
        client.expect("EVALSHA E0E1F9FABFC9D4800C877A703B823AC0578FF8DB 0", ":1\r\n");
        client.expect("SCRIPT FLUSH", OK);
        client.expect("EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", "-NOSCRIPT No matching script.\r\n");
    });
}

#[test]
fn a_long_script_is_suspended_and_others_wait_while_the_log_goes_on() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Sync)).await;
        let (mut first, mut client, mut other) = (world.client(), world.client(), world.client());
        let earlier = first.run("SET earlier 1");
        assert_eq!(first.leave(&earlier), Release::Wait);
        world.suspend(&mut client, LONG_WRITE, &["1", "k", "v"]);
        // The unit before it commits without it, and its reply leaves.
        world.commit_all().await;
        assert_eq!(first.leave(&earlier), Release::Now);
        assert_eq!(world.shard.digest().unwrap_err(), DigestError::Open);
        let stalled = other.run("GET k");
        assert_eq!((stalled.text.as_str(), stalled.outcome), ("", Outcome::Busy));
        assert!(matches!(other.session.waits_for(), WaitsFor::Script(Some(_))));
        // Nothing else is staged, however long it takes.
        let last = world.log.last();
        world.advance(Duration::from_secs(2)).await;
        world.commit_all().await;
        assert_eq!(world.log.last(), last);
        let waiting = tokio::task::spawn_local({
            let shard = world.shard.clone();
            async move { shard.script_ended(None).await }
        });
        let reply = finish(&world, &mut client, LONG_WRITE, &["1", "k", "v"]).await;
        assert_eq!(reply.text, ":5000000\r\n");
        assert_eq!(client.leave(&reply), Release::Wait);
        world.commit_all().await;
        assert_eq!(client.leave(&reply), Release::Now);
        assert!(waiting.is_finished(), "whoever waits is woken");
        other.expect("GET k", "$1\r\nv\r\n");
        assert!(world.shard.digest().is_ok());
    });
}

#[test]
fn from_the_threshold_on_others_are_answered_busy() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        world.shard.set_script_times(Duration::from_secs(5), Duration::from_secs(60));
        let (mut client, mut other) = (world.client(), world.client());
        world.suspend(&mut client, ENDLESS_READ, &["1", "k"]);
        world.advance(Duration::from_secs(6)).await;
        for line in ["PING", "GET k", "DBSIZE", "FUNCTION STATS", "FUNCTION KILL"] {
            other.expect(line, BUSY);
        }
        other.expect("EXEC", &format!("-EXECABORT Transaction discarded because of: {}", &BUSY[1..]));
        other.expect("MULTI", OK);
        other.expect("GET k", BUSY);
        other.expect("EXEC", &format!("-EXECABORT Transaction discarded because of: {}", &BUSY[1..]));
        other.expect("WATCH k", OK);
        other.expect("UNWATCH", OK);
        other.expect("SCRIPT KILL", OK);
        let reply = finish(&world, &mut client, ENDLESS_READ, &["1", "k"]).await;
        assert_eq!(reply.text, "-ERR Script killed by user with SCRIPT KILL. script: on @user_script:1.\r\n");
        other.expect("PING", "+PONG\r\n");
        other.expect("SCRIPT KILL", "-NOTBUSY No scripts in execution right now.\r\n");
        // One that has written can only be waited for.
        world.suspend(&mut client, LONG_WRITE, &["1", "k", "v"]);
        assert!(other.run("SCRIPT KILL").text.starts_with("-UNKILLABLE "));
        assert_eq!(finish(&world, &mut client, LONG_WRITE, &["1", "k", "v"]).await.text, ":5000000\r\n");
    });
}

#[test]
fn a_script_that_takes_too_long_is_rolled_back_even_if_it_has_written() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let (mut client, mut other) = (world.client(), world.client());
        other.expect("SET k before", OK);
        close_and_commit(&world).await;
        let before = (world.log.last(), world.shard.with_engine(|engine| engine.digest()));
        world.suspend(&mut client, LONG_WRITE, &["1", "k", "v"]);
        world.shard.set_script_times(Duration::ZERO, Duration::from_secs(1));
        world.advance(Duration::from_secs(2)).await;
        other.expect("GET k", "$6\r\nbefore\r\n");
        let reply = eval(&mut client, LONG_WRITE, &["1", "k", "v"]);
        assert_eq!(reply.text, "-ERR the script has run for longer than 1000 ms; no data was changed\r\n");
        close_and_commit(&world).await;
        assert_eq!((world.log.last(), world.shard.with_engine(|engine| engine.digest())), before);
        assert_eq!(world.shard.info().units_too_slow, 1);
    });
}

#[test]
fn a_client_that_leaves_takes_its_script_with_it() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let (mut client, mut other) = (world.client(), world.client());
        other.expect("SET k before", OK);
        world.suspend(&mut client, LONG_WRITE, &["1", "k", "v"]);
        // The unit before it commits while records of this one are kept.
        close_and_commit(&world).await;
        drop(client);
        other.expect("GET k", "$6\r\nbefore\r\n");
        other.expect("SET k after", OK);
        close_and_commit(&world).await;
        assert!(world.shard.digest().is_ok());
    });
}

#[test]
fn the_end_of_a_tenure_abandons_a_script() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let (mut client, mut other) = (world.client(), world.client());
        other.expect("SET k before", OK);
        close_and_commit(&world).await;
        let committed = world.shard.with_engine(|engine| engine.digest());
        // Uncommitted, and then the script above it.
        other.expect("SET k lost", OK);
        world.suspend(&mut client, LONG_WRITE, &["1", "k", "v"]);
        world.lose_to_other(2).await;
        assert_eq!(world.shard.with_engine(|engine| engine.digest()), committed);
        let reply = eval(&mut client, LONG_WRITE, &["1", "k", "v"]);
        assert!(reply.text.starts_with("-MOVED "), "{}", reply.text);
        // It leads again, and the command runs from its start.
        world.lead(3).await;
        close_and_commit(&world).await;
        let reply = finish(&world, &mut client, LONG_WRITE, &["1", "k", "v"]).await;
        assert_eq!(reply.text, ":5000000\r\n");
        client.expect("GET k", "$1\r\nv\r\n");
    });
}

#[test]
fn a_replica_runs_scripts_that_only_read_and_applies_nothing_meanwhile() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        world.client().expect("SET k v", OK);
        close_and_commit(&world).await;
        world.lose_to_other(2).await;
        world.hear();
        let mut client = world.client().readonly();
        assert!(eval(&mut client, "return redis.call('get', KEYS[1])", &["1", "k"]).text.starts_with("-MOVED "));
        let read: [&[u8]; 4] = [b"EVAL_RO", b"return redis.call('get', KEYS[1])", b"1", b"k"];
        assert_eq!(client.run_args(&read).text, "$1\r\nv\r\n");
        // Without keys it runs here, and cannot write.
        assert_eq!(eval(&mut client, "return 1", &["0"]).text, ":1\r\n");
        let write = eval(&mut client, "return redis.call('set', 'k', 1)", &["0"]).text;
        assert!(write.starts_with("-READONLY You can't write against a read only replica."), "{write}");
        let long: [&[u8]; 4] = [b"EVAL_RO", ENDLESS_READ.as_bytes(), b"1", b"k"];
        world.slow();
        assert_eq!(client.run_args(&long).outcome, Outcome::Busy);
        world.normal();
        let applied = world.shard.info().applied;
        world.foreign_blank(2).await;
        assert_eq!(world.shard.info().applied, applied, "the script sees one state");
        assert_eq!(world.client().run("SCRIPT KILL").text, OK);
        assert!(client.run_args(&long).text.starts_with("-ERR Script killed by user with SCRIPT KILL."));
        world.resolve().await;
        assert!(world.shard.info().applied > applied);
    });
}

#[test]
fn a_script_in_a_transaction_is_a_part_of_it() {
    script(async {
        let world = World::primary(Setup::ungated(Durability::Async)).await;
        let mut client = world.client();
        client.expect("MULTI", OK);
        client.expect("SET {k}a 1", "+QUEUED\r\n");
        assert_eq!(eval(&mut client, "return redis.call('incr', KEYS[1])", &["1", "{k}a"]).text, "+QUEUED\r\n");
        let before = world.units_in_log(*world.epoch.borrow());
        assert_eq!(client.run("EXEC").text, "*2\r\n+OK\r\n:2\r\n");
        close_and_commit(&world).await;
        assert_eq!(world.units_in_log(*world.epoch.borrow()), before + 1);
        // One without keys may write as well.
        client.expect("MULTI", OK);
        assert_eq!(eval(&mut client, "return redis.call('set', 'x', 1)", &["0"]).text, "+QUEUED\r\n");
        assert_eq!(client.run("EXEC").text, "*1\r\n+OK\r\n");
        // One that takes too long takes the transaction with it.
        client.expect("MULTI", OK);
        client.expect("SET {k}a 9", "+QUEUED\r\n");
        assert_eq!(eval(&mut client, "while true do end", &["1", "{k}a"]).text, "+QUEUED\r\n");
        world.clock.passes.store(20_000_000, Ordering::Relaxed);
        let exec = client.run("EXEC");
        world.normal();
        assert_eq!(exec.text, "-ERR the transaction has run for longer than 1500 ms; no data was changed\r\n");
        client.expect("GET {k}a", "$1\r\n2\r\n");
    });
}

const LIBRARY: &str = "#!lua name=lib\n\
     redis.register_function('put', function(keys, args) return redis.call('set', keys[1], args[1]) end)\n\
     redis.register_function{function_name='take', callback=function(keys) return redis.call('get', keys[1]) end, \
     flags={'no-writes'}}";

#[test]
fn functions_are_data_of_the_shard() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Sync)).await;
        let mut client = world.client();
        let load: [&[u8]; 3] = [b"FUNCTION", b"LOAD", LIBRARY.as_bytes()];
        let loaded = client.run_args(&load);
        assert_eq!((loaded.text.as_str(), client.leave(&loaded)), ("$3\r\nlib\r\n", Release::Wait));
        // What a function does depends on the library, which has not committed.
        let taken = client.run("FCALL take 1 k");
        assert_eq!((taken.text.as_str(), client.leave(&taken)), ("$-1\r\n", Release::Wait));
        world.commit_all().await;
        assert_eq!(client.leave(&taken), Release::Now);
        assert_eq!(client.run_args(&load).text, "-ERR Library 'lib' already exists\r\n");
        assert_eq!(client.run("FCALL put 1 k v").text, OK);
        world.commit_all().await;
        client.expect("FCALL_RO take 1 k", "$1\r\nv\r\n");
        client.expect("FCALL_RO put 1 k v", "-ERR Can not execute a script with write flag using *_ro command.\r\n");
        client.expect("FCALL none 1 k", "-ERR Function not found\r\n");
        assert_eq!(client.run("FLUSHALL").text, OK);
        world.commit_all().await;
        client.expect("FCALL take 1 k", "$-1\r\n");
        let dumped = client.run("FUNCTION DUMP").text;
        // A replica from the log has them.
        let replica = World::start_on(Setup::mode(Durability::Sync), world.log.clone(), world.clock.clone());
        replica.driver.set_role(fastness_consensus::handle::Role::Follower { leader: Some(OTHER) });
        replica.hear();
        replica.resolve().await;
        let mut reader = replica.client().readonly();
        reader.expect("FCALL_RO take 1 k", "$-1\r\n");
        assert_eq!(reader.run("FUNCTION DUMP").text, dumped);
        assert_eq!(reader.run("FUNCTION FLUSH").text, "-READONLY You can't write against a read only replica.\r\n");
        assert_eq!(replica.shard.digest().unwrap(), world.shard.digest().unwrap());
        // What did not commit is undone.
        client.run("FUNCTION DELETE lib");
        client.expect_not_found();
        world.lose_to_other(2).await;
        let mut client = client.readonly();
        assert_eq!(client.run("FCALL_RO take 1 k").text, "$-1\r\n");
    });
}

impl Client {
    /// The function is not there, which is uncommitted.
    fn expect_not_found(&mut self) {
        let reply = self.run("FCALL take 1 k");
        assert_eq!((reply.text.as_str(), self.leave(&reply)), ("-ERR Function not found\r\n", Release::Wait));
    }
}
