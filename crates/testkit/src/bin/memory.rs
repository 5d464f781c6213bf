//! `make bench-memory`: how much memory many small values of each type take in Fastness and in a real Valkey, by what
//! each says of itself (`used_memory` of INFO) and by what the process has.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fastness_load::connection::encode;
use fastness_load::{Connection, Endpoint};
use fastness_resp::value::Value;
use fastness_testkit::bench::{machine, processes, valkey::Valkey};
use fastness_testkit::cluster::{Cluster, ClusterOptions};

const TIMEOUT: Duration = Duration::from_secs(60);
/// Number of keys in one pipeline.
const PIPELINE: u64 = 1_000;
/// What a key's number takes the place of.
const NUMBER: &str = "__number__";

/// Compares the memory of small values with Valkey's.
#[derive(Debug, Parser)]
struct Arguments {
    /// Keys of each type.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// The valkey-server to compare with.
    #[arg(long, env = "FASTNESS_VALKEY_SERVER")]
    valkey_server: PathBuf,
    /// Only rows whose name contains this text.
    #[arg(long, default_value = "")]
    only: String,
}

/// A row: its name, and the command that writes a key.
type Values = (&'static str, &'static [&'static str]);

const TYPES: &[Values] = &[
    ("string of 20 bytes", &["SET", "key:__number__", "xxxxxxxxxxxxxxxxxxxx"]),
    ("string of 100 bytes", &["SET", "key:__number__", HUNDRED]),
    ("integer", &["SET", "key:__number__", "1__number__"]),
    ("string with a deadline", &["SET", "key:__number__", "xxxxxxxxxxxxxxxxxxxx", "EX", "100000"]),
    ("hash of 4 fields", &["HSET", "key:__number__", "name", "Anna", "age", "30", "city", "Rome", "id", "1__number__"]),
    ("list of 4 elements", &["RPUSH", "key:__number__", "first", "second", "30", "1__number__"]),
    ("set of 4 integers", &["SADD", "key:__number__", "1", "2", "30", "1__number__"]),
    ("set of 4 words", &["SADD", "key:__number__", "red", "green", "blue", "n__number__"]),
    (
        "sorted set of 4 members",
        &["ZADD", "key:__number__", "1", "red", "2.5", "green", "3", "blue", "4", "n__number__"],
    ),
    ("stream of 1 entry", &["XADD", "key:__number__", "*", "name", "Anna", "id", "1__number__"]),
    ("hash of 200 fields, a key of 200", &["HSET", "big:__hundreds__", "field:__number__", "value:__number__"]),
    ("set of 200 words, a key of 200", &["SADD", "big:__hundreds__", "member:__number__"]),
    ("sorted set of 200, a key of 200", &["ZADD", "big:__hundreds__", "__number__", "member:__number__"]),
    ("one hash", &["HSET", "hash", "field:__number__", "value:__number__"]),
    ("one list", &["RPUSH", "list", "element:__number__"]),
    ("one set", &["SADD", "set", "member:__number__"]),
    ("one sorted set", &["ZADD", "board", "__number__", "member:__number__"]),
    ("one stream", &["XADD", "stream", "*", "field", "value:__number__"]),
];
/// What the number of a key with 200 elements takes the place of.
const HUNDREDS: &str = "__hundreds__";
const HUNDRED: &str =
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!("machine: {}", machine::describe()?);
    println!("{} commands of each row; bytes of each, Fastness / Valkey", arguments.keys);
    println!();
    println!("| what | used_memory | ratio | of the process |");
    println!("|---|---|---|---|");
    for (name, command) in TYPES.iter().filter(|(name, _)| name.contains(&arguments.only)) {
        let cluster = Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?;
        let primary = cluster.primary(1, TIMEOUT).await?;
        let nodes = cluster.file()?.nodes;
        let node = nodes.iter().find(|node| node.id == primary).context("no such node")?;
        let pid = node.pid.context("the primary is not running")?;
        let ours = grown(&cluster.front_end(primary, 1)?, pid, command, arguments.keys).await?;
        drop(cluster);
        let valkey = Valkey::start(&arguments.valkey_server)?;
        let theirs = grown(&valkey.endpoint(), valkey.pids()[0], command, arguments.keys).await?;
        let each = |bytes: u64| bytes as f64 / arguments.keys as f64;
        println!(
            "| {name} | {:.1} / {:.1} | **{:.2}** | {:.1} / {:.1} |",
            each(ours.used),
            each(theirs.used),
            ours.used as f64 / theirs.used as f64,
            each(ours.resident),
            each(theirs.resident),
        );
    }
    Ok(())
}

/// Memory, bytes.
struct Memory {
    used: u64,
    resident: u64,
}

impl Memory {
    async fn now(client: &mut Connection, pid: i32) -> Result<Memory> {
        let Value::Bulk(info) = client.call(&[b"INFO", b"memory"]).await? else { anyhow::bail!("INFO is no text") };
        let info = String::from_utf8(info)?;
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
        Ok(Memory { used: used.trim().parse()?, resident: processes::resident_bytes(pid)? })
    }
}

/// By how much memory grows by these keys.
async fn grown(endpoint: &Endpoint, pid: i32, command: &[&str], keys: u64) -> Result<Memory> {
    let mut client = Connection::open(endpoint, None, TIMEOUT).await?;
    let before = Memory::now(&mut client, pid).await?;
    for first in (0..keys).step_by(PIPELINE as usize) {
        let last = keys.min(first + PIPELINE);
        let mut bytes = Vec::new();
        for number in first..last {
            let (number, hundreds) = (format!("{number:09}"), format!("{:09}", number / 200));
            let words = command.iter().map(|word| word.replace(NUMBER, &number).replace(HUNDREDS, &hundreds));
            let words: Vec<String> = words.collect();
            encode(&words.iter().map(String::as_bytes).collect::<Vec<_>>(), &mut bytes);
        }
        client.send_raw(&bytes).await?;
        let errors = client.skip_replies((last - first) as usize).await?;
        ensure!(errors == 0, "{errors} writes failed");
    }
    let after = Memory::now(&mut client, pid).await?;
    let grown = |of: fn(&Memory) -> u64| of(&after).saturating_sub(of(&before));
    Ok(Memory { used: grown(|memory| memory.used), resident: grown(|memory| memory.resident) })
}
