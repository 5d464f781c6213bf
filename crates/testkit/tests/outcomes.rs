//! The classification of errors: every code that a server can return is classified, and a write that was answered with
//! a code that means "certainly not applied" is never read later.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_engine::CommandError;
use fastness_load::outcome::{classify, of_code};
use fastness_load::{Connection, Outcome};
use fastness_resp::Value;
use fastness_shard::refusal::{self, Refusal};
use fastness_testkit::clients::outcome_of_reason;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_types::Slot;

const PATIENCE: Duration = Duration::from_secs(60);

fn error(text: &str) -> Value {
    Value::Error(text.as_bytes().to_vec())
}

fn all_refusals() -> Vec<Refusal> {
    vec![
        Refusal::CrossSlot,
        Refusal::Moved { slot: Slot(7), address: "host:1".into() },
        Refusal::ClusterDown,
        Refusal::Lagging,
        Refusal::CutOff,
        Refusal::SlotNotServed,
        Refusal::Loading,
        Refusal::Stale { max: Duration::from_secs(1) },
        Refusal::ReadOnly,
        Refusal::OutOfMemory,
        Refusal::TooLarge { bytes_max: 1 },
        Refusal::TooSlow { time_max: Duration::from_secs(1) },
        Refusal::KeyTooLong,
        Refusal::NotDurable,
        Refusal::KeyReused,
        Refusal::KeyAhead,
        Refusal::KeyClient,
        Refusal::ReplyTooLong,
        Refusal::KeysUnknown,
        Refusal::TypeUnknown,
        Refusal::Late,
        Refusal::ScriptRuns { is_function: false },
        Refusal::ScriptRuns { is_function: true },
        Refusal::ScriptTooSlow { time_max: Duration::from_secs(1) },
    ]
}

#[test]
fn every_refusal_is_one_and_the_doubt_is_none() {
    for refusal in &all_refusals() {
        // A new code belongs into the list above.
        match refusal {
            Refusal::CrossSlot
            | Refusal::Moved { .. }
            | Refusal::ClusterDown
            | Refusal::Lagging
            | Refusal::CutOff
            | Refusal::Stale { .. }
            | Refusal::SlotNotServed
            | Refusal::Loading
            | Refusal::ReadOnly
            | Refusal::OutOfMemory
            | Refusal::TooLarge { .. }
            | Refusal::TooSlow { .. }
            | Refusal::KeyTooLong
            | Refusal::NotDurable
            | Refusal::KeyReused
            | Refusal::KeyAhead
            | Refusal::KeyClient
            | Refusal::ReplyTooLong
            | Refusal::KeysUnknown
            | Refusal::TypeUnknown
            | Refusal::Late
            | Refusal::ScriptRuns { .. }
            | Refusal::ScriptTooSlow { .. } => {}
            // Below: it refuses this attempt, and says nothing of those before.
            Refusal::KeyPast { .. } => unreachable!("it is not in the list"),
        }
        assert_eq!(classify(&error(&refusal.text())), Outcome::Refused, "{}", refusal.text());
    }
    assert_eq!(classify(&error(refusal::UNKNOWN)), Outcome::Unknown);
    assert_eq!(classify(&error(&Refusal::KeyPast { floor: 7 }.text())), Outcome::Unknown);
    let command_errors = [
        CommandError::Syntax,
        CommandError::WrongType,
        CommandError::NotAnInteger,
        CommandError::NotAFloat,
        CommandError::Overflow,
        CommandError::NanOrInfinity,
        CommandError::DecrementOverflow,
        CommandError::Arity("set"),
        CommandError::InvalidExpire("set"),
        CommandError::OffsetOutOfRange,
        CommandError::StringTooLong,
        CommandError::OutOfMemory,
        CommandError::NoSuchKey,
    ];
    for refused in command_errors {
        assert_eq!(classify(&Value::Error(refused.line().to_vec())), Outcome::Refused, "{refused:?}");
    }
}

/// Reasons of the gRPC API that only streams of watches and of the topology end with.
const OF_STREAMS: &[&str] =
    &["MAX_STREAMS", "POSITION_PURGED", "POSITION_AHEAD", "WATCH_TOO_SLOW", "MAX_WATCHERS", "LOG_UNREADABLE"];

/// A reason that the clients of the test kit do not know would count as a doubt, and weaken what runs show.
#[test]
fn every_reason_of_the_grpc_api_is_classified() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/src/api/refusal.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let module = source.split("mod reason {").nth(1).unwrap().split("\n}").next().unwrap();
    let reasons: Vec<&str> =
        module.lines().filter_map(|line| line.split("&str = \"").nth(1)?.split('"').next()).collect();
    assert!(reasons.len() > 12, "found only {reasons:?}");
    for reason in &reasons {
        let outcome = outcome_of_reason(reason);
        assert_eq!(outcome.is_none(), OF_STREAMS.contains(reason), "{reason}: {outcome:?}");
    }
    for reason in ["OUTCOME_UNKNOWN", "REPLY_TOO_LONG", "REPLY_DROPPED", "IDEMPOTENCYPAST"] {
        assert_eq!(outcome_of_reason(reason), Some(Outcome::Unknown), "{reason}");
    }
}

/// Capitalised words at the start of a text that are neither an error's code nor the name of a command: units, options
/// and the like.
const NO_CODES: &[&str] = &["TLS", "HTTP", "PEM", "CA", "AES", "SLOTSRANGE", "HELP", "GROUP"];

/// The first word of each text literal of a source file, if it is in capitals and other words follow. Tests are
/// excluded.
fn first_words(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let texts = lines.flat_map(|line| line.split('"').skip(1).step_by(2).collect::<Vec<_>>());
    let words = texts.filter_map(|text| text.split_once(' ').map(|(word, _)| word));
    words.filter(|word| word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase())).map(str::to_owned).collect()
}

fn collect(folder: &Path, words: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "tests" {
            collect(&path, words);
        } else if name.ends_with(".rs") && !name.contains("tests") {
            words.extend(first_words(&std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_code_that_the_sources_name_is_classed() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut words = BTreeSet::new();
    for folder in ["shard", "server", "engine", "resp"] {
        collect(&crates.join(folder).join("src"), &mut words);
    }
    for code in ["ERR", "CLUSTERDOWN", "MOVED", "EXECABORT", "UNKNOWN", "NOAUTH"] {
        assert!(words.contains(code), "the search has missed {code}: {words:?}");
    }
    let commands: BTreeSet<String> =
        fastness_engine::command::table().all().iter().map(|spec| spec.name.to_uppercase()).collect();
    let is_code = |word: &&String| !commands.contains(*word) && !NO_CODES.contains(&word.as_str());
    let strange: Vec<&String> =
        words.iter().filter(is_code).filter(|word| of_code(word.as_bytes()).is_none()).collect();
    assert!(
        strange.is_empty(),
        "class these in crates/load/src/outcome.rs, or list them as words that are no codes: {strange:?}"
    );
}

/// Writes that were sent, each to a key of its own, and their answers.
#[derive(Default)]
struct Written {
    acknowledged: Vec<String>,
    refused: Vec<(String, String)>,
}

impl Written {
    /// Sends a write to `key` and records the answer.
    async fn send(&mut self, connection: &mut Connection, key: &str, command: &[&str]) -> Result<()> {
        let command: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
        let reply = connection.call(&command).await?;
        match (classify(&reply), reply) {
            (Outcome::Acknowledged, _) => self.acknowledged.push(key.to_owned()),
            (Outcome::Refused, Value::Error(text)) => {
                self.refused.push((key.to_owned(), String::from_utf8_lossy(&text).into_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    async fn set(&mut self, connection: &mut Connection, key: &str) -> Result<()> {
        self.send(connection, key, &["SET", key, "1"]).await
    }

    /// Number of writes refused with this code.
    fn with_code(&self, code: &str) -> usize {
        self.refused.iter().filter(|(_, text)| text.split(' ').next() == Some(code)).count()
    }
}

async fn call(connection: &mut Connection, command: &[&str]) -> Result<Value> {
    let command: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
    Ok(connection.call(&command).await?)
}

/// Errors that a primary returns after checking the command.
async fn refused_for_what_they_are(primary: &mut Connection, written: &mut Written) -> Result<()> {
    call(primary, &["HSET", "hash", "field", "1"]).await?;
    written.send(primary, "wrong:1", &["MSET", "wrong:1", "1", "wrong:2", "1"]).await?;
    written.send(primary, "wrong:3", &["SET", "wrong:3", "1", "NOSUCHOPTION"]).await?;
    written.send(primary, "{hash}:none", &["RENAME", "{hash}:missing", "{hash}:none"]).await?;
    ensure!(classify(&call(primary, &["APPEND", "hash", "x"]).await?) == Outcome::Refused);
    ensure!(call(primary, &["TYPE", "hash"]).await? == Value::Simple(b"hash".to_vec()));

    call(primary, &["MULTI"]).await?;
    call(primary, &["SET", "wrong:4", "1"]).await?;
    call(primary, &["SET", "wrong:4"]).await?;
    written.send(primary, "wrong:4", &["EXEC"]).await?;

    call(primary, &["CONFIG", "SET", "maxmemory", "1"]).await?;
    written.set(primary, "wrong:5").await?;
    call(primary, &["CONFIG", "SET", "maxmemory", "0"]).await?;
    Ok(())
}

/// Writes to a primary whose followers are stopped, until long after its lease: first a few writes of unknown outcome,
/// then refused ones.
async fn refused_without_a_quorum(cluster: &Cluster, node: u64, written: &mut Written) -> Result<()> {
    let others: Vec<u64> = (1..=3).filter(|other| *other != node).collect();
    others.iter().try_for_each(|other| cluster.pause(*other))?;
    let until = Instant::now() + PATIENCE;
    let mut connection = cluster.connect(node, 1, Duration::from_millis(300)).await?;
    for n in 0.. {
        // A write that waits for its commit blocks its connection; the next one uses another connection.
        if written.set(&mut connection, &format!("cut:{n}")).await.is_err() {
            connection = cluster.connect(node, 1, Duration::from_millis(300)).await?;
        }
        if written.with_code("CLUSTERDOWN") >= 50 {
            break;
        }
        ensure!(Instant::now() < until, "no lease was lost in {PATIENCE:?}");
    }
    others.iter().try_for_each(|other| cluster.resume(*other))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_refused_is_never_read() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut connection = cluster.connect(primary, 1, PATIENCE).await?;
    let mut written = Written::default();
    for n in 0..50 {
        written.set(&mut connection, &format!("good:{n}")).await?;
    }
    refused_for_what_they_are(&mut connection, &mut written).await?;
    let replica = (1..=3).find(|node| *node != primary).unwrap_or(1);
    let mut elsewhere = cluster.connect(replica, 1, PATIENCE).await?;
    for n in 0..50 {
        written.set(&mut elsewhere, &format!("elsewhere:{n}")).await?;
    }
    refused_without_a_quorum(&cluster, primary, &mut written).await?;

    for code in ["ERR", "CROSSSLOT", "EXECABORT", "OOM", "MOVED", "CLUSTERDOWN"] {
        ensure!(written.with_code(code) > 0, "no write was answered {code}: {:?}", written.refused);
    }
    let next = cluster.primary(1, PATIENCE).await?;
    let mut reader = cluster.connect(next, 1, PATIENCE).await?;
    for (key, text) in &written.refused {
        let value = call(&mut reader, &["GET", key]).await?;
        ensure!(value == Value::Null, "{key} was refused with {text:?}, and holds {value:?}");
    }
    for key in &written.acknowledged {
        let value = call(&mut reader, &["GET", key]).await?;
        ensure!(value == Value::Bulk(b"1".to_vec()), "{key} was acknowledged, and holds {value:?}");
    }
    cluster.discard_files();
    Ok(())
}
