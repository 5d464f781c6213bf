//! `maxmemory` counts what clients make a replica hold, and effects that have not committed, over real sockets.

#![allow(clippy::unwrap_used)]

mod harness;

use fastness_resp::{Value, request};
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, eventually, simple};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const MIB: usize = 1 << 20;
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";

fn open(config: &str) -> FrontEnd {
    FrontEnd::open(Options { config: config.into(), durability: Durability::Async, ..Options::default() })
}

/// A figure of INFO memory.
fn figure(client: &mut Client, name: &str) -> u64 {
    let info = client.call_text(&["INFO", "memory"]);
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().parse().unwrap()
}

/// What all clients hold while a new one is the only one; more while others have not left yet.
fn alone(server: &FrontEnd) -> u64 {
    let mut client = server.connect_raw();
    client.call_text(&["INFO", "memory"]);
    figure(&mut client, "mem_clients_normal")
}

/// The parts are the whole.
fn check_sum(client: &mut Client) {
    let info = client.call_text(&["INFO", "memory"]);
    let of = |name: &str| -> u64 {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().parse().unwrap()
    };
    let beside = of("mem_clients_normal")
        + of("mem_client_tracking")
        + of("mem_uncommitted_effects")
        + of("mem_undo_log")
        + of("mem_log_fragments")
        + of("mem_snapshot_in_progress");
    assert_eq!(of("used_memory_overhead"), beside);
    assert_eq!(of("used_memory"), of("used_memory_dataset") + beside);
}

#[test]
fn clients_that_do_not_read_push_it_over_and_their_leaving_brings_it_back() {
    let server = open("maxmemory 24mb\nmaxmemory-clients 0");
    let mut client = server.connect();
    assert_eq!(client.call(&["SET", "big", &"x".repeat(MIB)]), simple("OK"));
    let mut readers: Vec<Client> = (0..30).map(|_| server.connect_raw()).collect();
    for reader in &mut readers {
        // More than the sockets on the way take.
        (0..12).for_each(|_| reader.send(&["GET", "big"]));
    }
    eventually("their replies count", || figure(&mut client, "mem_clients_normal") > 24 << 20);
    check_sum(&mut client);
    for write in [&["SET", "k", "v"][..], &["APPEND", "big", "x"], &["HSET", "h", "f", "v"]] {
        assert_eq!(client.call_text(write), OOM);
    }
    assert_eq!(client.call(&["STRLEN", "big"]), Value::Integer(MIB as i64));
    assert_eq!(client.call(&["MULTI"]), simple("OK"));
    assert_eq!(client.call_text(&["SET", "k", "v"]), OOM);
    assert!(client.call_text(&["EXEC"]).starts_with("-EXECABORT "));
    assert_eq!(client.call(&["DEL", "big"]), Value::Integer(1));
    assert!(client.call_text(&["MEMORY", "DOCTOR"]).contains("Over the bound"));
    drop(readers);
    eventually("writes are accepted again", || client.call_text(&["SET", "k", "v"]) == "OK");
    check_sum(&mut client);
}

#[test]
fn what_is_sent_and_not_executed_counts() {
    let server = open("maxmemory 8mb\nmaxmemory-clients 0");
    let mut client = server.connect();
    let mut writers: Vec<Client> = (0..6).map(|_| server.connect_raw()).collect();
    for writer in &mut writers {
        // Never whole.
        writer.send_raw(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", 4 * MIB).as_bytes());
        writer.send_raw(&vec![b'x'; 2 * MIB]);
    }
    eventually("it counts", || figure(&mut client, "mem_clients_normal") > 8 << 20);
    assert_eq!(client.call_text(&["SET", "k", "v"]), OOM);
    drop(writers);
    eventually("writes are accepted again", || client.call_text(&["SET", "k", "v"]) == "OK");
}

#[test]
fn queued_commands_and_watched_keys_count() {
    let server = open("maxmemory 4mb\nmaxmemory-clients 0");
    let (mut client, mut other) = (server.connect(), server.connect());
    let base = figure(&mut client, "mem_clients_normal");
    assert_eq!(other.call(&["WATCH", &"w".repeat(MIB)]), simple("OK"));
    assert_eq!(other.call(&["MULTI"]), simple("OK"));
    let value = "x".repeat(100_000);
    let (mut queued, mut counted) = (0, 0);
    while other.call_text(&["SET", "k", &value]) == "QUEUED" {
        counted = figure(&mut client, "mem_clients_normal") - base;
        queued += 1;
        assert!(queued < 100, "nothing counts");
    }
    assert!((15..31).contains(&queued), "{queued}");
    assert!((MIB as u64 + queued * 100_000..4 << 20).contains(&counted), "{counted}");
    assert!(other.call_text(&["EXEC"]).starts_with("-EXECABORT "));
    eventually("it is given back", || figure(&mut client, "mem_clients_normal") < base + 300_000);
    let list = client.call_text(&["CLIENT", "LIST"]);
    assert!(list.lines().all(|line| line.contains(" multi-mem=0 ")), "{list}");
}

#[test]
fn effects_that_have_not_committed_count() {
    let server = open("maxmemory 4mb");
    let mut client = server.connect();
    server.set_commits(false);
    let value = "x".repeat(MIB / 2);
    // The same key over and over: the data does not grow, what is to be committed and what that has replaced do.
    let mut written = 0;
    let refused = loop {
        let reply = client.call_text(&["SET", "k", &value]);
        if reply != "OK" {
            break reply;
        }
        written += 1;
        assert!(written < 20, "nothing counts");
    };
    assert_eq!(refused, OOM);
    assert!(written > 2, "{written}");
    let open = figure(&mut client, "mem_uncommitted_effects");
    assert!(open > written * MIB as u64 / 2, "{open} bytes of {written} writes");
    check_sum(&mut client);
    assert_eq!(client.call(&["DEL", "k"]), Value::Integer(1));
    server.set_commits(true);
    eventually("they have committed", || figure(&mut client, "mem_uncommitted_effects") == 0);
    assert_eq!(client.call(&["SET", "k", "v"]), simple("OK"));
}

/// Replies that are held for a commit count like those that a client does not take.
#[test]
fn held_replies_count() {
    let server = FrontEnd::open(Options { durability: Durability::Sync, ..Options::default() });
    let (mut client, mut other) = (server.connect(), server.connect());
    let value = "x".repeat(MIB);
    assert_eq!(other.call(&["SET", "k", &value]), simple("OK"));
    let base = figure(&mut client, "mem_clients_normal");
    server.set_commits(false);
    other.send(&["APPEND", "k", "x"]);
    other.send(&["GET", "k"]);
    eventually("it counts", || figure(&mut client, "mem_clients_normal") > base + MIB as u64);
    server.set_commits(true);
    assert_eq!(other.receive(), Value::Integer(MIB as i64 + 1));
    assert!(matches!(other.receive(), Value::Bulk(_)));
    eventually("it is given back", || figure(&mut client, "mem_clients_normal") < base + 100_000);
}

/// Whatever clients do, in any order: when they have gone nothing of them is left, and nothing was counted twice.
#[test]
fn what_all_clients_held_is_given_back() {
    let server = open("");
    let mut client = server.connect();
    client.call(&["SET", "big", &"x".repeat(MIB)]);
    client.call(&["DEL", "big"]);
    client.call(&["SET", "big", &"x".repeat(200_000)]);
    drop(client);
    let base = alone(&server);
    let mut client = server.connect();
    let seed = std::env::var("MEMORY_SEED").map_or(1, |seed| seed.parse().unwrap());
    eprintln!("MEMORY_SEED={seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut others: Vec<Client> = Vec::new();
    let mut most = 0;
    for _ in 0..400 {
        if others.is_empty() || rng.random_bool(0.2) {
            others.push(server.connect_raw());
        }
        let at = rng.random_range(0..others.len());
        let mut bytes = Vec::new();
        match rng.random_range(0..9) {
            0 => drop(others.swap_remove(at)),
            1 => request::encode(&["MULTI"], &mut bytes),
            2 => request::encode(&["SET", "k", &"y".repeat(rng.random_range(0..5_000))], &mut bytes),
            3 => request::encode(&["WATCH", "k", &"w".repeat(rng.random_range(1..5_000))], &mut bytes),
            4 => (0..5).for_each(|_| request::encode(&["GET", "big"], &mut bytes)),
            5 => request::encode(&["CLIENT", "SETNAME", &"n".repeat(rng.random_range(1..3_000))], &mut bytes),
            // A part of a command; what follows becomes its rest.
            6 => bytes
                .extend_from_slice(format!("*2\r\n$4\r\nECHO\r\n${}\r\nxxx", rng.random_range(3..50_000)).as_bytes()),
            7 => request::encode(&vec!["MGET"; rng.random_range(2..2_000)], &mut bytes),
            _ => request::encode(&[["EXEC", "DISCARD", "UNWATCH", "RESET"][rng.random_range(0..4)]], &mut bytes),
        }
        if let Some(other) = others.get_mut(at) {
            // It may have been closed for what it has sent before.
            let _ = other.stream.write_all(&bytes);
        }
        if rng.random_bool(0.1) {
            most = most.max(figure(&mut client, "mem_clients_normal"));
            check_sum(&mut client);
        }
    }
    assert!(most > base + 500_000, "{most}: the test shows nothing");
    eventually("all has committed", || figure(&mut client, "mem_uncommitted_effects") == 0);
    drop((others, client));
    // The figures in the reply may have another length; one connection that is forgotten would be some thousand bytes.
    eventually("all of it is given back", || alone(&server).abs_diff(base) < 500);
}
