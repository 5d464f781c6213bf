//! Commands that wait for keys: who is served, when, and with what.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fastness_shard::{Outcome, PauseKind, Release, WaitEnd, WaitsFor};
use fastness_types::Durability;
use support::{Client, OTHER, Reply, Setup, World, script};
use tokio::task::JoinHandle;

const NULL_ARRAY: &str = "*-1\r\n";

/// Runs a command until it replies, in a task of its own, as a connection does.
fn spawn(mut client: Client, line: &str) -> JoinHandle<(Client, Reply)> {
    let line = line.to_owned();
    tokio::task::spawn_local(async move {
        loop {
            let reply = client.run(&line);
            if reply.outcome != Outcome::Busy {
                return (client, reply);
            }
            assert_eq!(reply.text, "");
            match client.session.waits_for() {
                WaitsFor::Keys => client.session.key_wait().unwrap().ready().await,
                WaitsFor::Pause => client.shard.unpaused().await,
                WaitsFor::Primary(until) => client.shard.primary_found(until).await,
                WaitsFor::Shard => client.shard.unblocked().await,
                WaitsFor::Room => client.shard.room_made().await,
                WaitsFor::Lag(until) => client.shard.slowed(until).await,
                WaitsFor::Script(until) => client.shard.script_ended(until).await,
                WaitsFor::Turn => tokio::task::yield_now().await,
            }
        }
    })
}

impl World {
    /// A client that waits in a command.
    async fn waiting(&self, line: &str) -> JoinHandle<(Client, Reply)> {
        let task = spawn(self.client(), line);
        self.resolve().await;
        assert!(!task.is_finished(), "{line} does not wait");
        task
    }

    /// Everything commits, also what waits for further writes.
    async fn settle(&self) {
        loop {
            self.advance(Duration::from_millis(5)).await;
            if !self.commit().await {
                return;
            }
        }
    }

    async fn reply_of(&self, task: JoinHandle<(Client, Reply)>) -> String {
        self.resolve().await;
        assert!(task.is_finished());
        task.await.unwrap().1.text
    }
}

fn popped(key: &str, element: &str) -> String {
    format!("*2\r\n${}\r\n{key}\r\n${}\r\n{element}\r\n", key.len(), element.len())
}

#[test]
fn a_push_serves_once_it_has_committed_and_the_pop_replies_once_that_has() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let task = world.waiting("BLPOP l 0").await;
        assert_eq!(world.shard.info().key_waits.keys, 1);
        let mut pusher = world.client();
        let push = pusher.run("RPUSH l a");
        world.resolve().await;
        assert!(!task.is_finished(), "the push may be undone");
        world.commit().await;
        assert_eq!(pusher.leave(&push), Release::Now);
        assert!(task.is_finished());
        let (client, reply) = task.await.unwrap();
        assert_eq!(reply.text, popped("l", "a"));
        assert!(reply.wrote());
        assert_eq!(client.leave(&reply), Release::Wait, "the pop is durable first");
        world.settle().await;
        assert_eq!(client.leave(&reply), Release::Now);
        pusher.expect("EXISTS l", ":0\r\n");
        assert_eq!(world.shard.info().key_waits, Default::default());
    });
}

#[test]
fn in_async_a_push_serves_when_it_has_run() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let task = world.waiting("BLPOP l 0").await;
        world.client().run("RPUSH l a");
        world.resolve().await;
        assert_eq!(world.reply_of(task).await, popped("l", "a"));
    });
}

#[test]
fn first_come_first_served() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut tasks = Vec::new();
        for _ in 0..20 {
            tasks.push(world.waiting("BLPOP l 0").await);
        }
        let elements: Vec<String> = (0..15).map(|n| n.to_string()).collect();
        world.client().run(&format!("RPUSH l {}", elements.join(" ")));
        world.settle().await;
        let rest = tasks.split_off(15);
        for (task, element) in tasks.into_iter().zip(&elements) {
            assert_eq!(world.reply_of(task).await, popped("l", element));
        }
        assert!(rest.iter().all(|task| !task.is_finished()));
        world.client().run("RPUSH l z");
        world.settle().await;
        let mut rest = rest.into_iter();
        assert_eq!(world.reply_of(rest.next().unwrap()).await, popped("l", "z"));
        assert!(rest.all(|task| !task.is_finished()));
    });
}

/// The element lies there uncommitted, and the one who has waited for it gets it.
#[test]
fn a_new_client_does_not_overtake() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let first = world.waiting("BLPOP l 0").await;
        world.client().run("RPUSH l a");
        let second = world.waiting("BLPOP l 0").await;
        let moved = world.waiting("BLMOVE l {l}m LEFT LEFT 0").await;
        // Another type, another key.
        world.client().run("ZADD z 1 m");
        assert_eq!(world.client().run("BLPOP {l}k l 0.1").outcome, Outcome::Busy);
        assert!(world.client().run("BZPOPMIN z 0").text.starts_with("*3"));
        world.settle().await;
        assert_eq!(world.reply_of(first).await, popped("l", "a"));
        assert!(!second.is_finished() && !moved.is_finished());
        world.client().run("RPUSH l b c");
        world.settle().await;
        assert_eq!(world.reply_of(second).await, popped("l", "b"));
        assert_eq!(world.reply_of(moved).await, "$1\r\nc\r\n");
    });
}

#[test]
fn a_push_that_is_undone_serves_nobody_and_the_client_is_redirected() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let task = world.waiting("BLPOP l 0").await;
        world.client().run("RPUSH l a");
        world.lose_to_other(2).await;
        let (_, reply) = task.await.unwrap();
        assert!(reply.text.starts_with("-MOVED "), "{}", reply.text);
        assert!(!reply.wrote());
        assert_eq!(world.shard.info().undone, 1);
    });
}

/// The outcome of the pop is in doubt, like that of any write.
#[test]
fn a_pop_that_is_undone_has_an_unknown_outcome() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let task = world.waiting("BLPOP l 0").await;
        world.client().run("RPUSH l a");
        world.commit().await;
        let (client, reply) = task.await.unwrap();
        assert_eq!(client.leave(&reply), Release::Wait);
        world.lose_to_other(2).await;
        assert_eq!(client.leave(&reply), Release::Unknown);
        assert!(reply.pending().unwrap().unknown_text().starts_with("UNKNOWN"));
    });
}

#[test]
fn a_primary_that_steps_down_gives_each_client_one_reply() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut tasks = Vec::new();
        for line in ["BLPOP l 0", "BLPOP l k 5", "BZPOPMIN z 0", "BLMOVE l {l}m LEFT LEFT 0"] {
            // Keys of one slot.
            tasks.push(world.waiting(&line.replace(" k ", " {l}k ")).await);
        }
        world.depose(Some(OTHER)).await;
        for task in tasks {
            let text = world.reply_of(task).await;
            assert!(text.starts_with("-MOVED "), "{text}");
        }
        assert_eq!(world.shard.info().key_waits, Default::default());
    });
}

/// The same node leads again: the command waits on, until the time that it had from the start.
#[test]
fn a_new_tenure_of_the_same_node_keeps_the_deadline() {
    script(async {
        let setup = Setup { lease_wait_max: Duration::from_secs(5), ..Setup::default() };
        let world = World::primary(setup).await;
        let task = world.waiting("BLPOP l 3").await;
        world.advance(Duration::from_secs(1)).await;
        world.depose(None).await;
        world.foreign_blank(2).await;
        world.lead(3).await;
        world.settle().await;
        assert!(!task.is_finished());
        assert_eq!(world.shard.info().key_waits.keys, 1);
        world.advance(Duration::from_millis(1900)).await;
        assert!(!task.is_finished());
        world.advance(Duration::from_millis(100)).await;
        assert_eq!(world.reply_of(task).await, NULL_ARRAY);
    });
}

#[test]
fn a_lease_that_has_lapsed_for_long_releases_the_clients() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let task = world.waiting("BLPOP l 0").await;
        world.lease.borrow().close();
        world.advance(Duration::from_secs(1)).await;
        assert!(!task.is_finished());
        world.advance(Duration::from_secs(1)).await;
        assert_eq!(world.reply_of(task).await, "-CLUSTERDOWN The cluster is down\r\n");
    });
}

#[test]
fn a_client_that_has_gone_takes_nothing() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let gone = world.waiting("BLPOP l 0").await;
        let mut served = world.client();
        assert_eq!(served.run("BLPOP l 0").outcome, Outcome::Busy);
        let last = world.waiting("BLPOP l 0").await;
        gone.abort();
        world.resolve().await;
        world.client().run("RPUSH l a");
        world.commit().await;
        // It is being served, and its connection is closed before its command runs again.
        assert!(!last.is_finished());
        drop(served);
        assert_eq!(world.reply_of(last).await, popped("l", "a"));
        world.settle().await;
        assert_eq!(world.shard.info().key_waits, Default::default());
    });
}

#[test]
fn waits_end_with_their_time() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let pop = world.waiting("BLPOP l 0.5").await;
        let moved = world.waiting("BLMOVE l {l}m LEFT LEFT 0.5").await;
        let longer = world.waiting("BZMPOP 1 1 z MIN").await;
        assert_eq!(world.shard.info().key_waits.with_timeout, 3);
        world.advance(Duration::from_millis(499)).await;
        assert!(!pop.is_finished());
        world.advance(Duration::from_millis(1)).await;
        assert_eq!(world.reply_of(pop).await, NULL_ARRAY);
        assert_eq!(world.reply_of(moved).await, NULL_ARRAY, "as in Valkey");
        assert!(!longer.is_finished());
        world.advance(Duration::from_millis(500)).await;
        assert_eq!(world.reply_of(longer).await, NULL_ARRAY);
        // Nobody is left who would be served.
        world.client().run("RPUSH l a");
        world.settle().await;
        world.client().expect("LLEN l", ":1\r\n");
    });
}

/// Longer than the clock can count.
#[test]
fn a_timeout_may_be_very_long() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let task = world.waiting("BLPOP l 9000000000000").await;
        world.client().run("RPUSH l a");
        world.settle().await;
        assert_eq!(world.reply_of(task).await, popped("l", "a"));
    });
}

#[test]
fn unblocked_clients_take_nothing() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let (mut timed_out, mut refused) = (world.client(), world.client());
        for client in [&mut timed_out, &mut refused] {
            assert_eq!(client.run("BLPOP l 0").outcome, Outcome::Busy);
        }
        let last = world.waiting("BLPOP l 0").await;
        world.client().run("RPUSH l a");
        world.commit().await;
        world.shard.end_key_wait(&timed_out.session.key_wait().unwrap(), WaitEnd::TimedOut);
        world.shard.end_key_wait(&refused.session.key_wait().unwrap(), WaitEnd::UnblockedWithError);
        assert_eq!(timed_out.run("BLPOP l 0").text, NULL_ARRAY);
        let error = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
        assert_eq!(refused.run("BLPOP l 0").text, error);
        assert_eq!(world.reply_of(last).await, popped("l", "a"));
    });
}

#[test]
fn a_transaction_serves_after_its_end_and_does_not_wait() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let first = world.waiting("BLPOP l 0").await;
        let mut client = world.client();
        for line in ["MULTI", "RPUSH l a", "DEL l", "RPUSH l b c", "BLPOP k 0", "BLMOVE k {k}m LEFT LEFT 0"] {
            client.run(&line.replace(" k ", " {l} ").replace("{k}", "{l}"));
        }
        let text = client.run("EXEC").text;
        assert!(text.ends_with(":2\r\n*-1\r\n$-1\r\n"), "{text}");
        assert_eq!(world.reply_of(first).await, popped("l", "b"));
        client.expect("LLEN l", ":1\r\n");

        // Nothing is left at the end.
        client.run("DEL l");
        let second = world.waiting("BLPOP l 0").await;
        for line in ["MULTI", "RPUSH l a", "DEL l", "SET l x", "EXEC"] {
            client.run(line);
        }
        world.resolve().await;
        assert!(!second.is_finished());
    });
}

#[test]
fn whatever_creates_a_value_of_the_type_serves() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        for create in ["RENAME {l}src l", "COPY {l}src l", "LMOVE {l}src l LEFT LEFT", "LPUSH l a"] {
            client.run("DEL l {l}src");
            client.run("RPUSH {l}src a");
            let task = world.waiting("BLPOP l 0").await;
            client.run(create);
            assert_eq!(world.reply_of(task).await, popped("l", "a"), "{create}");
        }
        for create in ["ZADD l 1 a", "ZUNIONSTORE l 1 {l}src", "ZRANGESTORE l {l}src 0 -1", "ZINCRBY l 1 a"] {
            client.run("DEL l {l}src");
            client.run("ZADD {l}src 1 a");
            let task = world.waiting("BZPOPMIN l 0").await;
            client.run(create);
            assert_eq!(world.reply_of(task).await, "*3\r\n$1\r\nl\r\n$1\r\na\r\n$1\r\n1\r\n", "{create}");
        }
    });
}

#[test]
fn values_of_another_type_are_ignored_while_waiting() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let (list, zset) = (world.waiting("BLPOP l 0").await, world.waiting("BZPOPMAX l 0").await);
        let mut client = world.client();
        client.run("SET l x");
        client.run("DEL l");
        world.resolve().await;
        assert!(!list.is_finished() && !zset.is_finished());
        client.run("ZADD l 1 a");
        assert!(world.reply_of(zset).await.starts_with("*3"));
        client.run("RPUSH l a");
        assert_eq!(world.reply_of(list).await, popped("l", "a"));
        client.run("SET s x");
        assert!(client.run("BLPOP s 0").text.starts_with("-WRONGTYPE"));
    });
}

#[test]
fn a_chain_of_moves_serves_one_after_the_other() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let moves =
            [world.waiting("BLMOVE {l}a {l}b LEFT LEFT 0").await, world.waiting("BRPOPLPUSH {l}b {l}c 0").await];
        let pop = world.waiting("BLPOP {l}c 0").await;
        world.client().run("RPUSH {l}a x");
        world.settle().await;
        for task in moves {
            assert_eq!(world.reply_of(task).await, "$1\r\nx\r\n");
        }
        assert_eq!(world.reply_of(pop).await, popped("{l}c", "x"));
    });
}

/// The first ready key in the order of the arguments; its other places are given up.
#[test]
fn a_client_waits_at_several_keys() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        let task = world.waiting("BLPOP {l}a {l}b {l}a {l}c 0").await;
        assert_eq!(world.shard.info().key_waits.keys, 3);
        for line in ["MULTI", "RPUSH {l}c 3", "RPUSH {l}b 2", "EXEC"] {
            client.run(line);
        }
        assert_eq!(world.reply_of(task).await, popped("{l}b", "2"));
        assert_eq!(world.shard.info().key_waits, Default::default());
        client.expect("LLEN {l}c", ":1\r\n");
    });
}

/// Others are served in the meantime, and the client keeps its place.
#[test]
fn a_pause_holds_a_client_that_is_being_served() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let first = world.waiting("BLPOP l 0").await;
        let second = world.waiting("BLPOP l 0").await;
        world.client().run("RPUSH l a b");
        world.shard.pause_clients(Duration::from_secs(1), PauseKind::Writes);
        world.settle().await;
        assert!(!first.is_finished());
        world.advance(Duration::from_secs(2)).await;
        assert_eq!(world.reply_of(first).await, popped("l", "a"));
        assert_eq!(world.reply_of(second).await, popped("l", "b"));
    });
}

/// A pop that does not wait may take the element first; the client keeps its place.
#[test]
fn a_client_that_finds_nothing_keeps_its_place() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let first = world.waiting("BLPOP l 0").await;
        let second = world.waiting("BLPOP l 0").await;
        let mut client = world.client();
        client.run("RPUSH l a");
        client.run("LPOP l");
        world.settle().await;
        assert!(!first.is_finished() && !second.is_finished());
        client.run("RPUSH l b");
        world.settle().await;
        assert_eq!(world.reply_of(first).await, popped("l", "b"));
        assert!(!second.is_finished());
    });
}

/// An expired key is removed by the one who finds it, who then waits.
#[test]
fn an_expired_list_has_nothing() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let mut client = world.client();
        client.run("RPUSH l a");
        client.run("PEXPIRE l 10");
        world.pause_process(Duration::from_millis(20));
        let task = world.waiting("BLPOP l 0").await;
        client.run("RPUSH l b");
        assert_eq!(world.reply_of(task).await, popped("l", "b"));
    });
}

/// Whether a client that waits is to run its command again.
async fn is_served(client: &Client) -> bool {
    let waiter = client.session.key_wait().unwrap();
    tokio::select! {
        biased;
        _ = waiter.ready() => true,
        () = tokio::task::yield_now() => false,
    }
}

/// What consumers of a stream do gives nothing to those who wait for entries.
#[test]
fn only_what_arrives_at_a_stream_serves() {
    script(async {
        for durability in [Durability::Async, Durability::Sync] {
            let world = World::primary(Setup::mode(durability)).await;
            let mut other = world.client();
            for line in ["XGROUP CREATE s g 0 MKSTREAM", "XADD s 1 a 1", "XREADGROUP GROUP g c STREAMS s >"] {
                other.run(line);
            }
            world.settle().await;
            let mut waiting = world.client();
            let line = "XREADGROUP GROUP g d BLOCK 0 STREAMS s >";
            assert_eq!(waiting.run(line).outcome, Outcome::Busy);
            // Nothing is known yet of what had arrived when it came.
            other.run("XGROUP CREATECONSUMER s g e");
            world.settle().await;
            assert!(is_served(&waiting).await);
            assert_eq!(waiting.run(line).outcome, Outcome::Busy);
            for line in ["XCLAIM s g e 0 1", "XACK s g 1", "XGROUP CREATECONSUMER s g f", "XTRIM s MAXLEN 0"] {
                other.run(line);
                world.settle().await;
                assert!(!is_served(&waiting).await, "{line}");
            }
            other.run("XADD s 2 a 2");
            world.settle().await;
            assert!(is_served(&waiting).await);
            assert!(waiting.run(line).text.contains("$3\r\n2-0\r\n"));
            assert_eq!(waiting.run(line).outcome, Outcome::Busy);
            other.run("XGROUP DESTROY s g");
            world.settle().await;
            assert!(is_served(&waiting).await);
            assert!(waiting.run(line).text.starts_with("-NOGROUP "));
        }
    });
}

/// Clients in a queue who will not pass the turn on: nobody would serve one who waited behind them.
#[test]
fn nobody_waits_behind_clients_that_are_served_elsewhere_or_only_reply() {
    script(async {
        let world = World::primary(Setup::mode(Durability::Async)).await;
        let (mut served, mut pusher) = (world.client(), world.client());
        assert_eq!(served.run("BLPOP {l}a {l}b 0").outcome, Outcome::Busy);
        for line in ["MULTI", "RPUSH {l}a x", "RPUSH {l}b y", "EXEC"] {
            pusher.run(line);
        }
        assert_eq!(world.client().run("BLPOP {l}b 0").text, popped("{l}b", "y"));
        assert_eq!(served.run("BLPOP {l}a {l}b 0").text, popped("{l}a", "x"));

        let mut timed_out = world.client();
        assert_eq!(timed_out.run("BLPOP l 0").outcome, Outcome::Busy);
        world.shard.end_key_wait(&timed_out.session.key_wait().unwrap(), WaitEnd::TimedOut);
        pusher.run("RPUSH l a");
        assert_eq!(world.client().run("BLPOP l 0").text, popped("l", "a"));
        assert_eq!(timed_out.run("BLPOP l 0").text, NULL_ARRAY);
    });
}

/// The same write waits on two connections: the one that was first takes an element, and the end of the other's time
/// must not say that nothing was taken.
#[test]
fn a_retry_that_waited_gets_the_recorded_reply_at_its_end() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let (mut first, mut retry) = (world.client(), world.client());
        for client in [&mut first, &mut retry] {
            assert_eq!(client.run_keyed("BLPOP l 0", ("c", 1)).outcome, Outcome::Busy);
        }
        world.client().run("RPUSH l a");
        world.settle().await;
        assert_eq!(first.run_keyed("BLPOP l 0", ("c", 1)).text, popped("l", "a"));
        world.settle().await;
        world.shard.end_key_wait(&retry.session.key_wait().unwrap(), WaitEnd::TimedOut);
        assert_eq!(retry.run_keyed("BLPOP l 0", ("c", 1)).text, popped("l", "a"));
    });
}

/// A command with an idempotency key waits like any other, and its record is that of the pop.
#[test]
fn a_keyed_command_is_recorded_when_it_has_taken_something() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        assert_eq!(client.run_keyed("BLPOP l 0", ("c", 1)).outcome, Outcome::Busy);
        world.client().run("RPUSH l a b");
        world.settle().await;
        assert_eq!(client.run_keyed("BLPOP l 0", ("c", 1)).text, popped("l", "a"));
        world.settle().await;
        assert_eq!(world.client().run_keyed("BLPOP l 0", ("c", 1)).text, popped("l", "a"), "not the next one");
        world.client().expect("LLEN l", ":1\r\n");
    });
}

/// The deadline of a call ends the wait as well.
#[test]
fn a_command_with_a_deadline_waits_until_then() {
    script(async {
        let world = World::primary(Setup::default()).await;
        let mut client = world.client();
        client.deadline = Some(world.clock_boot().plus(Duration::from_secs(1)));
        let task = spawn(client, "BLPOP l 0");
        world.resolve().await;
        assert!(!task.is_finished());
        world.advance(Duration::from_secs(1)).await;
        assert!(world.reply_of(task).await.starts_with("-DEADLINE"));
    });
}

#[test]
fn a_replica_does_not_wait() {
    script(async {
        let world = World::start(Setup::default());
        world.resolve().await;
        world.depose(Some(OTHER)).await;
        let mut client = world.client().readonly();
        assert!(client.run("BLPOP l 0").text.starts_with("-MOVED "));
    });
}
