//! What a primary answers, and when its replies may leave (rules 1, 2, 5 and 6 of the design).

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fastness_consensus::{TrustedWall, WallState};
use fastness_shard::{Batching, Outcome, Release, SlotSet};
use fastness_types::{Durability, FormatLevel, WallMs, limits};
use support::{OTHER, Setup, World, script, timestamps};

const OK: &str = "+OK\r\n";

#[test]
fn a_sync_write_leaves_with_its_commit() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        let set = client.run("SET a 1");
        assert_eq!(set.text, OK);
        assert!(set.wrote());
        assert_eq!(client.leave(&set), Release::Wait);
        let released = world.shard.wait_released(&client.session, set.pending().unwrap());
        let released = tokio::task::spawn_local(released);
        world.resolve().await;
        assert!(!released.is_finished());
        assert!(world.commit().await);
        assert!(released.is_finished());
        assert_eq!(client.leave(&set), Release::Now);
    });
}

/// Its list of sources may be empty. What names no key at all is malformed, and its command says so.
#[test]
fn a_write_whose_list_of_keys_is_empty_is_logged() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        let merged = client.run("PFMERGE a");
        assert_eq!(merged.text, OK);
        assert!(merged.wrote());
        assert_eq!(client.leave(&merged), Release::Wait);
        world.commit_all().await;
        client.expect("EXISTS a", ":1\r\n");
        let malformed = client.run("MSETEX x a 1");
        assert!(malformed.text.starts_with("-ERR ") && !malformed.wrote(), "{}", malformed.text);
    });
}

/// Rule 1, and schedule 20: neither a value nor its absence is shown before it has committed.
#[test]
fn a_sync_read_of_a_dirty_key_waits_and_others_do_not() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let (mut writer, mut reader) = (world.client(), world.client());
        writer.run("SET a 1");
        let dirty = reader.run("GET a");
        assert_eq!(dirty.text, "$1\r\n1\r\n");
        assert_eq!(reader.leave(&dirty), Release::Wait);
        reader.expect("GET b", "$-1\r\n");
        let many = reader.run("MGET b {b}c");
        assert_eq!(reader.leave(&many), Release::Now);
        world.commit_all().await;
        assert_eq!(reader.leave(&dirty), Release::Now);
        reader.expect("GET a", "$1\r\n1\r\n");

        writer.run("DEL a");
        let gone = reader.run("GET a");
        assert_eq!(gone.text, "$-1\r\n");
        assert_eq!(reader.leave(&gone), Release::Wait, "a deleted key is dirty too");
        let none = reader.run("SET a 2 XX");
        assert_eq!(none.text, "$-1\r\n");
        assert!(!none.wrote());
        assert_eq!(reader.leave(&none), Release::Wait, "a write that did nothing has read");
        world.commit_all().await;
        assert_eq!(reader.leave(&none), Release::Now);
    });
}

/// Schedule 33: with a wall clock far off the other nodes' nothing is staged, neither by clients nor by expiry, and
/// nothing is read; what was staged before still commits.
#[test]
fn a_primary_whose_wall_clock_has_jumped_stages_nothing() {
    const DOWN: &str = "-CLUSTERDOWN The cluster is down\r\n";
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let right = |wall: WallMs| (wall.0 - world.clock_boot().0 / 1_000_000) as i64;
        let now = WallMs(1_700_000_000_000 + Batching::default().async_age.as_millis() as u64);
        world.driver.set_wall(Some(TrustedWall { median_ms: right(now), within_ms: 10_000 }), WallState::Fine);
        let mut client = world.client();
        client.expect("SET a 1 PX 60000", OK);
        world.set_wall(WallMs(now.0 + 365 * 86_400_000));
        world.pause_process(Duration::from_millis(1));
        assert!(!world.shard.info().clock.trusted);
        for command in ["SET a 2", "GET a", "DEL a", "FLUSHALL", "DBSIZE"] {
            client.expect(command, DOWN);
        }
        client.expect("PING", "+PONG\r\n");
        for _ in 0..5 {
            world.advance(Duration::from_secs(1)).await;
        }
        assert_eq!(world.take(), 1, "the write from before");
        world.commit_all().await;
        assert!(timestamps(&world.log).iter().all(|timestamp| timestamp.0 <= now.0), "{:?}", timestamps(&world.log));
        assert!(!world.commit().await, "no expiry");

        world.set_wall(WallMs(now.0 + 5_000));
        world.pause_process(Duration::from_millis(1));
        client.expect("GET a", "$1\r\n1\r\n");
        client.expect("SET a 2", OK);
    });
}

/// The turn that follows the news may still go by the reading before; nobody else wakes the loop then.
#[test]
fn a_tenure_starts_though_its_clock_was_trusted_a_moment_after_it_was_read() {
    script(async {
        let world = World::start(Setup::default());
        world.driver.set_wall(Some(TrustedWall { median_ms: 0, within_ms: 10_000 }), WallState::Off);
        world.resolve().await;
        world.lead(1).await;
        world.driver.set_wall(None, WallState::Fine);
        world.resolve().await;
        world.advance(Duration::from_millis(50)).await;
        assert!(world.commit().await, "the mode is staged");
    });
}

/// A tenure that would start with an effect does not start on a clock that is off, and starts once it is right.
#[test]
fn no_tenure_starts_while_the_wall_clock_is_off() {
    script(async {
        let world = World::start(Setup::default());
        world.driver.set_wall(Some(TrustedWall { median_ms: 0, within_ms: 10_000 }), WallState::Off);
        world.resolve().await;
        world.lead(1).await;
        assert_eq!(world.take(), 0, "the mode is not staged");
        world.driver.set_wall(None, WallState::Fine);
        world.pause_process(Duration::from_millis(1));
        world.resolve().await;
        assert!(world.commit().await);
        let mut client = world.client();
        client.run("SET a 1");
        assert!(world.commit().await);
    });
}

/// Schedule 20: after FLUSHALL any key is dirty.
#[test]
fn flushall_makes_every_key_dirty() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a 1");
        world.commit_all().await;
        client.run("FLUSHALL");
        for read in ["GET a", "GET never-written", "EXISTS x", "DBSIZE", "TTL y"] {
            let reply = client.run(read);
            assert_eq!(client.leave(&reply), Release::Wait, "{read}");
        }
        client.expect("PING", "+PONG\r\n");
        client.expect("ECHO x", "$1\r\nx\r\n");
        world.commit_all().await;
        client.expect("DBSIZE", ":0\r\n");
    });
}

#[test]
fn commands_over_the_keyspace_wait_for_everything_staged() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.expect("DBSIZE", ":0\r\n");
        client.run("SET a 1");
        for read in ["DBSIZE", "KEYS *", "SCAN 0", "RANDOMKEY"] {
            let reply = client.run(read);
            assert_eq!(client.leave(&reply), Release::Wait, "{read}");
        }
        world.commit_all().await;
        client.expect("DBSIZE", ":1\r\n");
        client.expect("KEYS *", "*1\r\n$1\r\na\r\n");
    });
}

/// Schedule 11 prepares for a switch of the mode: dirty keys are kept in every mode.
#[test]
fn async_replies_leave_at_once() {
    for mode in [Durability::Async, Durability::Disabled] {
        script(async move {
            let world = World::primary(Setup::mode(mode)).await;
            let mut client = world.client();
            client.expect("SET a 1", OK);
            client.expect("GET a", "$1\r\n1\r\n");
            client.expect("DBSIZE", ":1\r\n");
            assert_eq!(world.take(), 0, "the batch stays open for its age");
            world.advance(Batching::default().async_age).await;
            assert_eq!(world.take(), 1);
            assert_eq!(world.shard.info().durability, mode);
        });
    }
}

/// Schedule 23: an acknowledgement that was delayed past the lease waits for its commit.
#[test]
fn an_async_acknowledgement_checks_the_lease_again() {
    script(async {
        let world = World::primary(Setup::ungated(Durability::Async)).await;
        let mut client = world.client();
        let set = client.run("SET a 1");
        let read = client.run("GET a");
        world.pause_process(Duration::from_secs(4000));
        assert_eq!(client.leave(&set), Release::Wait);
        assert_eq!(client.leave(&read), Release::Now, "a read is linearized where its lease was checked");
        let released = tokio::task::spawn_local(world.shard.wait_released(&client.session, set.pending().unwrap()));
        world.resolve().await;
        assert!(!released.is_finished());
        world.advance(Duration::from_secs(2)).await;
        world.commit_all().await;
        assert_eq!(client.leave(&set), Release::Now, "it has committed in the same term");
        assert!(released.is_finished());
    });
}

#[test]
fn a_lease_that_holds_again_releases_async_replies() {
    script(async {
        let world = World::primary(Setup::ungated(Durability::Async)).await;
        let mut client = world.client();
        let set = client.run("SET a 1");
        world.pause_process(Duration::from_secs(4000));
        let released = tokio::task::spawn_local(world.shard.wait_released(&client.session, set.pending().unwrap()));
        world.resolve().await;
        world.lease.borrow().extend(world.clock_boot().plus(Duration::from_secs(1)));
        world.driver.wake_owner();
        world.resolve().await;
        assert!(released.is_finished());
        assert_eq!(client.leave(&set), Release::Now);
    });
}

/// Schedule 17: the deadline is compared with the clock as it is when the command runs, without any wake-up between.
#[test]
fn a_paused_primary_answers_nothing_after_its_lease() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a 1");
        world.commit_all().await;
        client.expect("GET a", "$1\r\n1\r\n");
        world.pause_process(Duration::from_secs(3601));
        for command in ["GET a", "SET a 2", "DBSIZE", "FLUSHALL", "WATCH a"] {
            client.expect(command, "-CLUSTERDOWN The cluster is down\r\n");
        }
        client.expect("PING", "+PONG\r\n");
        assert_eq!(world.take(), 0);
        // Nothing is uncommitted: committed data may be shown to READONLY clients.
        world.client().readonly().expect("GET a", "$1\r\n1\r\n");
        world.lease.borrow().extend(world.clock_boot().plus(Duration::from_secs(1)));
        client.expect("GET a", "$1\r\n1\r\n");
    });
}

/// Schedule 4: a lease that was closed for a hand-over is not opened by a late answer.
#[test]
fn a_closed_lease_stays_closed() {
    script(async {
        let world = World::primary(Setup::default()).await;
        world.lease.borrow().close();
        world.lease.borrow().extend(world.clock_boot().plus(Duration::from_secs(9)));
        world.client().expect("GET a", "-CLUSTERDOWN The cluster is down\r\n");
    });
}

#[test]
fn slots_decide_before_anything_else() {
    script(async {
        let slots: SlotSet = [8000..=16383].into_iter().collect();
        let world = World::primary(Setup { slots, ..Setup::default() }).await;
        let mut client = world.client();
        // foo is slot 12182, bar 5061, a 15495.
        client.expect("GET bar", "-MOVED 5061 elsewhere:7000\r\n");
        client.expect("MGET foo a", "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
        client.expect("MSET foo 1 a 2", "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
        client.expect("MGET {foo}1 {foo}2", "*2\r\n$-1\r\n$-1\r\n");
        client.expect("GET", "-ERR wrong number of arguments for 'get' command\r\n");
        client.expect("NOSUCH x", "-ERR unknown command 'NOSUCH', with args beginning with: 'x' \r\n");
    });
}

#[test]
fn a_front_end_may_close() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        assert_eq!(client.run("QUIT").outcome, Outcome::Close);
    });
}

#[test]
fn exec_is_one_unit() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.expect("MULTI", OK);
        client.expect("SET a 1", "+QUEUED\r\n");
        client.expect("INCR a", "+QUEUED\r\n");
        client.expect("NOSUCH a", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n");
        client.expect("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
        client.expect("EXEC", "-ERR EXEC without MULTI\r\n");

        client.expect("MULTI", OK);
        client.expect("SET a x", "+QUEUED\r\n");
        client.expect("INCR a", "+QUEUED\r\n");
        client.expect("GET a", "+QUEUED\r\n");
        client.expect("PING", "+QUEUED\r\n");
        let exec = client.run("EXEC");
        assert_eq!(exec.text, "*4\r\n+OK\r\n-ERR value is not an integer or out of range\r\n$1\r\nx\r\n+PONG\r\n");
        assert_eq!(client.leave(&exec), Release::Wait);
        let before = world.units_in_log(*world.epoch.borrow());
        world.commit_all().await;
        assert_eq!(client.leave(&exec), Release::Now);
        assert_eq!(world.units_in_log(*world.epoch.borrow()) - before, 1);
        client.expect("GET a", "$1\r\nx\r\n");
    });
}

#[test]
fn transactions_are_refused_as_valkey_refuses_them() {
    script(async {
        let slots: SlotSet = [8000..=16383].into_iter().collect();
        let world = World::primary(Setup { slots, ..Setup::default() }).await;
        let mut client = world.client();
        client.expect("DISCARD", "-ERR DISCARD without MULTI\r\n");
        client.expect("MULTI", OK);
        client.expect("MULTI", "-ERR Command 'multi' not allowed inside a transaction\r\n");
        client.expect("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
        client.expect("MULTI", OK);
        client.expect("WATCH foo", "-ERR Command 'watch' not allowed inside a transaction\r\n");
        client.expect("DISCARD", OK);
        client.expect("MULTI", OK);
        client.expect("GET bar", "-MOVED 5061 elsewhere:7000\r\n");
        client.expect("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
        client.expect("MULTI", OK);
        client.expect("SET foo 1", "+QUEUED\r\n");
        client.expect("SET a 1", "+QUEUED\r\n");
        client.expect("EXEC", "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
        client.expect("EXEC", "-ERR EXEC without MULTI\r\n");
        client.expect("MULTI", OK);
        client.expect("EXEC", "*0\r\n");
        client.expect("MULTI", OK);
        client.expect("SET foo 1", "+QUEUED\r\n");
        client.expect("RESET", "+RESET\r\n");
        client.expect("EXEC", "-ERR EXEC without MULTI\r\n");
        client.expect("MULTI", OK);
        client.expect("SET foo 1", "+QUEUED\r\n");
        world.depose(Some(OTHER)).await;
        client.expect("EXEC", "-MOVED 12182 node-2:7000\r\n");
        client.expect("EXEC", "-ERR EXEC without MULTI\r\n");
        client.expect("GET foo", "-MOVED 12182 node-2:7000\r\n");
    });
}

#[test]
fn watched_keys_abort_exec() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let (mut client, mut other) = (world.client(), world.client());
        client.expect("WATCH a", OK);
        other.run("SET a 1");
        world.commit_all().await;
        client.expect("MULTI", OK);
        client.expect("SET a 2", "+QUEUED\r\n");
        client.expect("EXEC", "*-1\r\n");
        client.expect("WATCH a", OK);
        client.expect("UNWATCH", OK);
        other.run("SET a 3");
        client.expect("MULTI", OK);
        client.expect("SET a 4", "+QUEUED\r\n");
        assert_eq!(client.run("EXEC").text, "*1\r\n+OK\r\n");
    });
}

/// A watched key changed by an effect that may be undone: that EXEC failed shows it.
#[test]
fn exec_that_saw_an_open_change_waits_for_it() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let (mut client, mut other) = (world.client(), world.client());
        client.expect("WATCH a", OK);
        other.run("SET a 1");
        client.expect("MULTI", OK);
        let exec = client.run("EXEC");
        assert_eq!(exec.text, "*-1\r\n");
        assert_eq!(client.leave(&exec), Release::Wait);
        world.commit_all().await;
        assert_eq!(client.leave(&exec), Release::Now);
    });
}

#[test]
fn a_dropped_session_stops_watching() {
    script(async {
        let world = World::primary(Setup::default()).await;
        for _ in 0..3 {
            let mut client = world.client();
            client.expect("WATCH a", OK);
            assert!(client.session.is_watching());
        }
        world.client().run("SET a 1");
    });
}

/// A primary of a group with a member that reads no fragments of batches.
async fn primary_of_an_older_group() -> World {
    let world = World::primary(Setup::default()).await;
    world.driver.set_format(FormatLevel::BASE);
    world.resolve().await;
    world
}

/// Schedule 22: what cannot be one log entry is not staged, while it has to be one.
#[test]
fn a_unit_over_the_entry_limit_is_refused_whole() {
    script(async {
        let world = primary_of_an_older_group().await;
        let mut client = world.client();
        let large = vec![b'x'; limits::ENTRY_BYTES_MAX - 50];
        let reply = client.run_args(&[b"SET", b"a", &large]);
        assert!(reply.text.starts_with("-ERR the command's effects exceed "), "{}", reply.text);
        assert!(!reply.wrote());
        client.expect("GET a", "$-1\r\n");
        let fits = vec![b'x'; limits::ENTRY_BYTES_MAX - 1024];
        assert_eq!(client.run_args(&[b"SET", b"a", &fits]).text, OK);
        // The same entry has no space for another.
        assert_eq!(client.run("STRLEN a").text, format!(":{}\r\n", fits.len()));
        world.commit_all().await;
        let largest = world.log.entries().iter().map(support::payload_bytes).max().unwrap();
        assert!(largest <= limits::ENTRY_BYTES_MAX, "{largest}");
    });
}

#[test]
fn units_that_do_not_fit_together_become_two_entries() {
    script(async {
        let world = primary_of_an_older_group().await;
        let mut client = world.client();
        let half = vec![b'x'; limits::ENTRY_BYTES_MAX / 2 + 1];
        // One session's commands in one turn, before the loop has run.
        client.run_args(&[b"SET", b"a", &half]);
        assert_eq!(client.run_args(&[b"SET", b"b", &half]).text, OK);
        assert_eq!(client.run("SET c 1").outcome, Outcome::Busy, "the byte bound is reached");
        world.commit_all().await;
        assert_eq!(world.shard.info().open_bytes, 0);
        assert_eq!(client.run("SET c 1").text, OK);
        world.commit_all().await;
        assert_eq!(world.log.entries().iter().filter(|entry| support::payload_bytes(entry) > half.len()).count(), 2);
        assert!(world.log.entries().iter().all(|entry| support::payload_bytes(entry) <= limits::ENTRY_BYTES_MAX));
    });
}

/// Rule 6: at the byte bound writers wait and are not refused; reads go on.
#[test]
fn at_the_byte_bound_writers_wait() {
    script(async {
        let batching = Batching { open_bytes_max: 1000, ..Batching::default() };
        let world = World::primary(Setup { batching, ..Setup::mode(Durability::Async) }).await;
        let mut client = world.client();
        let value = "v".repeat(1000);
        client.expect(&format!("SET a {value}"), OK);
        assert!(world.shard.write_pressure());
        assert_eq!(client.run("SET b 1").outcome, Outcome::Busy);
        assert_eq!(client.run("SET b 1").text, "", "nothing was run");
        client.expect("GET b", "$-1\r\n");
        let shard = world.shard.clone();
        let waiting = tokio::task::spawn_local(async move { shard.unblocked().await });
        world.resolve().await;
        assert!(!waiting.is_finished());
        world.advance(Duration::from_millis(10)).await;
        world.commit_all().await;
        assert!(waiting.is_finished());
        client.expect("SET b 1", OK);
    });
}

/// Schedule 21: a full window keeps the batch open; the loop does not wait, and commits come through.
#[test]
fn a_full_window_keeps_the_batch_open() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        let mut replies = Vec::new();
        for i in 0..limits::BATCHES_IN_FLIGHT_MAX {
            replies.push(client.run(&format!("SET a {i}")));
            world.advance(Batching::default().sync_hold).await;
            assert_eq!(world.take(), i + 1);
        }
        for i in 0..20 {
            replies.push(client.run(&format!("SET b {i}")));
            world.resolve().await;
        }
        assert_eq!(world.take(), limits::BATCHES_IN_FLIGHT_MAX, "the window is full");
        assert_eq!(world.shard.info().open_batches, limits::BATCHES_IN_FLIGHT_MAX + 1);
        client.expect("GET c", "$-1\r\n");
        world.commit().await;
        assert_eq!(client.leave(&replies[0]), Release::Now);
        assert_eq!(client.leave(&replies[1]), Release::Wait);
        world.commit_all().await;
        world.advance(Batching::default().sync_wait).await;
        world.commit_all().await;
        assert!(replies.iter().all(|reply| client.leave(reply) == Release::Now));
        // Mode, four batches, and one with all twenty.
        assert_eq!(world.shard.info().committed_seq.0, 6);
    });
}

/// Clients that were released together come back together: their writes share a batch. One alone never waits.
#[test]
fn a_sync_batch_waits_for_those_who_were_released() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut clients: Vec<_> = (0..10).map(|_| world.client()).collect();
        for client in &mut clients {
            client.run("SET a 1");
        }
        world.commit_all().await;
        for client in &mut clients[..9] {
            client.run("SET a 2");
            world.resolve().await;
        }
        assert_eq!(world.take(), 0, "one is still expected");
        clients[9].run("SET a 2");
        world.resolve().await;
        assert_eq!(world.take(), 1, "all are there");
        world.commit_all().await;

        clients[0].run("SET a 3");
        world.resolve().await;
        assert_eq!(world.take(), 0);
        world.advance(Batching::default().sync_wait).await;
        assert_eq!(world.take(), 1, "the wait has run out");
        world.commit_all().await;
        clients[0].run("SET a 4");
        world.resolve().await;
        assert_eq!(world.take(), 1, "one client alone does not wait");
    });
}

/// Two groups of clients become one: what is staged while a batch is in flight leaves with those whom it releases.
#[test]
fn a_sync_batch_stays_open_while_another_is_in_flight() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let (mut first, mut second) = (world.client(), world.client());
        first.run("SET a 1");
        world.resolve().await;
        assert_eq!(world.take(), 1);
        second.run("SET b 1");
        world.resolve().await;
        assert_eq!(world.take(), 1, "the first is in flight");
        world.commit().await;
        assert_eq!(world.take(), 0, "one was released and is expected back");
        first.run("SET a 2");
        world.resolve().await;
        assert_eq!(world.take(), 1, "both in one");
        world.commit_all().await;

        first.run("SET a 3");
        second.run("SET b 3");
        world.resolve().await;
        assert_eq!(world.take(), 1);
        world.client().run("SET c 3");
        world.advance(Batching::default().sync_hold).await;
        assert_eq!(world.take(), 2, "not for longer than that");
    });
}

/// Where writes come as they please, no more of them after a release than before, they are waited for less and less; at
/// first the wait is tried a few times.
#[test]
fn those_who_do_not_come_back_are_waited_for_less_and_less() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let wait = Batching::default().sync_wait;
        let mut clients: Vec<_> = (0..4).map(|_| world.client()).collect();
        for client in &mut clients {
            client.run("SET a 1");
        }
        world.resolve().await;
        assert_eq!(world.take(), 1);
        for part in [1, 1, 1, 1, 2, 4, 8, 16, 16] {
            // Two come while a batch is in flight, nobody after it.
            clients[0].run("SET a 2");
            clients[1].run("SET a 2");
            world.advance(Duration::from_millis(1)).await;
            world.commit().await;
            closes_after(&world, wait / part).await;
        }
    });
}

/// The open batch is closed after this span and not a little earlier.
async fn closes_after(world: &World, span: Duration) {
    let little = Duration::from_micros(50);
    world.resolve().await;
    world.advance(span - little).await;
    assert_eq!(world.take(), 0, "before {span:?}");
    world.advance(little).await;
    assert_eq!(world.take(), 1, "after {span:?}");
}

#[test]
fn a_batch_that_reaches_its_size_leaves_within_the_turn() {
    script(async {
        let batching = Batching { bytes_soft: 100, ..Batching::default() };
        let world = World::primary(Setup { batching, ..Setup::mode(Durability::Async) }).await;
        let mut client = world.client();
        for i in 0..20 {
            client.run(&format!("SET key-{i} 0123456789012345678901234567890123456789"));
        }
        assert_eq!(world.take(), limits::BATCHES_IN_FLIGHT_MAX, "no turn has ended yet");
    });
}

#[test]
fn keys_past_their_time_are_removed_by_an_effect() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a 1 PX 100");
        client.run("SET b 1 PX 100");
        world.commit_all().await;
        client.expect("DBSIZE", ":2\r\n");
        world.pause_process(Duration::from_millis(200));
        // A read that finds it past its time depends on the effect that removes it.
        let read = client.run("GET a");
        assert_eq!(read.text, "$-1\r\n");
        assert_eq!(client.leave(&read), Release::Wait);
        world.advance(Duration::from_millis(50)).await;
        world.commit_all().await;
        assert_eq!(client.leave(&read), Release::Now);
        client.expect("DBSIZE", ":0\r\n");
    });
}

/// Rule 4: timestamps never run backwards, whatever the wall clock does.
#[test]
fn time_never_runs_backwards_in_the_log() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.run("SET a 1 PX 60000");
        world.commit_all().await;
        world.set_wall(WallMs(1_600_000_000_000));
        client.run("SET b 1");
        client.expect("PTTL a", ":60000\r\n");
        world.commit_all().await;
        world.lose_to_other(2).await;
        world.lead(3).await;
        client.run("SET c 1");
        world.commit_all().await;
        let timestamps = support::timestamps(&world.log);
        assert!(timestamps.is_sorted(), "{timestamps:?}");
        assert!(timestamps.iter().all(|timestamp| *timestamp >= WallMs(1_700_000_000_000)), "{timestamps:?}");
    });
}

#[test]
fn over_maxmemory_writes_are_refused() {
    script(async {
        let world = World::primary(Setup { maxmemory: 1, ..Setup::default() }).await;
        let mut client = world.client();
        let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
        client.expect("SET a 1", oom);
        client.expect("GET a", "$-1\r\n");
        client.expect("DEL a", ":0\r\n");
        client.expect("MULTI", OK);
        client.expect("SET a 1", oom);
        client.expect("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    });
}

/// The first primary writes the mode that the cluster was created with into the log; the next one reads it there.
#[test]
fn the_mode_comes_from_the_log() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        assert_eq!(world.log.last().0, 2, "the blank and the mode");
        let again = World::start_on(Setup::mode(Durability::Sync), world.log.clone(), world.clock.clone());
        again.resolve().await;
        assert_eq!(again.shard.info().durability, Durability::Async);
        again.lead(2).await;
        again.resolve().await;
        assert_eq!(again.take(), 0, "nobody stages it again");
        again.client().expect("SET a 1", OK);
    });
}
