//! The working memory of an agent: the steps of its task, what it has learned, and a scratchpad that several workers
//! share. An agent that crashes at any moment resumes where it was.
//!
//! Steps are appended once each, whatever happens to the agent or the cluster: a transaction compares their number with
//! what the agent has seen. Only the latest ones are kept at hand, as a context window is bounded. All keys of a task
//! have one hash tag, hence one slot, which is what a transaction needs.
//!
//! Run it against a cluster, whose `cluster.json` is the first argument or in FASTNESS_CLUSTER:
//!
//! ```sh
//! fastness dev --dir dev --detach
//! cargo run -p fastness-client --example agent_memory -- dev/cluster.json
//! ```
//!
//! It prints what it does, checks every answer, and exits with 0 only if all are right.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastness_client::{
    CONFLICT, CallSettings, Client, ClientError, Operation, OperationResult, SetIf, SetOptions, Txn,
};
use futures::future::try_join_all;

/// Steps of the task.
const STEPS: usize = 120;
/// How many of the latest steps are kept at hand.
const WINDOW: usize = 32;
/// The agent crashes after about so many steps.
const CRASH_AFTER: usize = 50;
/// Workers that share the scratchpad, and lines that each of them adds.
const WORKERS: usize = 4;
const LINES: usize = 6;

/// An answer that is not the expected one.
#[derive(Debug, thiserror::Error)]
#[error("{what}: expected {expected}, got {found}")]
struct WrongAnswer {
    what: &'static str,
    expected: String,
    found: String,
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &'static str, found: &T, expected: &T) -> Result<(), WrongAnswer> {
    if found == expected {
        return Ok(());
    }
    Err(WrongAnswer { what, expected: format!("{expected:?}"), found: format!("{found:?}") })
}

fn count_of(value: Option<&[u8]>) -> Result<usize, Box<dyn Error + Send + Sync>> {
    value.map_or(Ok(0), |digits| Ok(std::str::from_utf8(digits)?.parse()?))
}

/// The field of a step. Fields come in the order of their names.
fn field_of(step: usize) -> String {
    format!("{step:08}")
}

/// The memory of one task.
#[derive(Clone)]
struct TaskMemory {
    client: Client,
    /// A string: how many steps were taken in all.
    count: String,
    /// A hash: the latest steps by their number.
    steps: String,
    /// A hash: facts by name.
    facts: String,
    /// A string that is changed by comparing and setting.
    scratchpad: String,
}

/// What an agent finds when it starts.
struct ResumedTask {
    count: usize,
    window: Vec<String>,
    facts: BTreeMap<Bytes, Bytes>,
}

impl TaskMemory {
    fn connect(cluster: &str, run: u128) -> Result<TaskMemory, ClientError> {
        let client = Client::builder().cluster_file(cluster).deadline(Duration::from_secs(30)).build()?;
        // A step that was taken is not taken again, whatever is lost.
        let client = client.with_options(CallSettings { durability_sync: true, ..CallSettings::default() });
        let key = |name: &str| format!("{{task:{run}}}:{name}");
        let (count, steps, facts, scratchpad) = (key("count"), key("steps"), key("facts"), key("scratchpad"));
        Ok(TaskMemory { client, count, steps, facts, scratchpad })
    }

    /// Appends a step, which is the one after `count` others; returns whether it was this call that did it. Repeating
    /// it is harmless: if the step has been taken, the comparison does not hold.
    async fn append(&self, count: usize, step: &str) -> Result<bool, ClientError> {
        let txn = if count == 0 {
            Txn::new().if_absent(&self.count)
        } else {
            Txn::new().if_equal(&self.count, count.to_string())
        };
        let txn = txn
            .then(Operation::increment(&self.count, 1))
            .then(Operation::hash_set(&self.steps, [(field_of(count), step.to_owned())]))
            .then(Operation::hash_set(&self.facts, [("latest step", step.to_owned())]));
        let txn = match count.checked_sub(WINDOW) {
            Some(oldest) => txn.then(Operation::hash_delete(&self.steps, [field_of(oldest)])),
            None => txn,
        };
        loop {
            match self.client.txn(txn.clone()).await {
                Ok(outcome) => {
                    let succeeded = outcome.succeeded;
                    outcome.into_results()?;
                    return Ok(succeeded);
                }
                Err(error) if error.may_have_happened() => println!("  step {count}: {error}; comparing again"),
                Err(ClientError::Unavailable { reason, .. }) if reason == CONFLICT => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Everything that an agent needs to go on, of one moment.
    async fn resume(&self) -> Result<ResumedTask, Box<dyn Error + Send + Sync>> {
        let txn = Txn::new()
            .then(Operation::get(&self.count))
            .then(Operation::hash_get_all(&self.steps))
            .then(Operation::hash_get_all(&self.facts));
        let mut results = self.client.txn(txn).await?.into_results()?.into_iter();
        let count = count_of(results.next().as_ref().and_then(OperationResult::as_value))?;
        let Some(OperationResult::Fields(steps)) = results.next() else { return Err("no steps".into()) };
        let window = steps.values().map(|step| String::from_utf8_lossy(step).into_owned()).collect();
        let Some(OperationResult::Fields(facts)) = results.next() else { return Err("no facts".into()) };
        Ok(ResumedTask { count, window, facts })
    }

    /// Works on the task until it is done, or is stopped from outside. Counts what was acknowledged.
    async fn work(&self, acknowledged: &AtomicUsize) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut count = self.resume().await?.count;
        while count < STEPS {
            if self.append(count, &format!("step-{count}")).await? {
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            count += 1;
        }
        Ok(())
    }

    /// Adds a line to the scratchpad, which others change at the same time.
    async fn scribble(&self, line: String) -> Result<(), ClientError> {
        loop {
            let before = self.client.get(&self.scratchpad).await?;
            // Lines are unique: whether one with an unknown outcome was added can be looked up.
            if before.as_deref().is_some_and(|text| String::from_utf8_lossy(text).lines().any(|other| other == line)) {
                return Ok(());
            }
            let condition = Some(before.clone().map_or(SetIf::Absent, SetIf::Equal));
            let text = [before.unwrap_or_default(), line.clone().into(), Bytes::from_static(b"\n")].concat();
            let options = SetOptions { condition, ..SetOptions::default() };
            match self.client.set_with(&self.scratchpad, text, options).await {
                Ok(outcome) if outcome.applied => return Ok(()),
                Ok(_) => {}
                Err(error) if error.may_have_happened() => println!("  {line}: {error}; reading what is stored"),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Runs an agent and ends it in the middle of its work; returns how many steps were acknowledged to it.
async fn crash(memory: TaskMemory) -> Result<usize, Box<dyn Error + Send + Sync>> {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let counter = acknowledged.clone();
    let agent = tokio::spawn(async move { memory.work(&counter).await });
    while acknowledged.load(Ordering::SeqCst) < CRASH_AFTER && !agent.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // As a crash does, this leaves the outcome of the step under way unknown.
    agent.abort();
    match agent.await {
        Ok(ended) => ended?,
        Err(error) if error.is_cancelled() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(acknowledged.load(Ordering::SeqCst))
}

fn check_window(task: &ResumedTask) -> Result<(), WrongAnswer> {
    let first = task.count.saturating_sub(WINDOW);
    let expected: Vec<String> = (first..task.count).map(|step| format!("step-{step}")).collect();
    expect("the latest steps", &task.window, &expected)
}

async fn run(cluster: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let run = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?.as_nanos();
    let memory = TaskMemory::connect(cluster, run)?;

    println!("learning facts, and starting a task of {STEPS} steps");
    let facts = [("goal", "count to 120"), ("language", "Rust"), ("mood", "patient")];
    expect("facts learned", &memory.client.hash_set(&memory.facts, facts).await?, &3)?;
    let acknowledged = crash(memory).await?;
    println!("  the agent has crashed; {acknowledged} steps were acknowledged to it");

    println!("resuming with a new client");
    let memory = TaskMemory::connect(cluster, run)?;
    let task = memory.resume().await?;
    println!("  {} steps, of which {} are at hand, and {} facts", task.count, task.window.len(), task.facts.len());
    expect("no step lost", &(task.count >= acknowledged), &true)?;
    expect("at most the step under way beyond them", &(task.count <= acknowledged + 1), &true)?;
    check_window(&task)?;
    expect("facts", &task.facts.len(), &4)?;
    expect("the goal", &task.facts.get(&b"goal"[..]).map(|goal| &goal[..]), &Some(&b"count to 120"[..]))?;

    println!("finishing the task");
    memory.work(&AtomicUsize::new(0)).await?;
    let task = memory.resume().await?;
    expect("steps in all", &task.count, &STEPS)?;
    check_window(&task)?;
    expect("a step twice", &memory.append(STEPS - 1, "again").await?, &false)?;
    println!("  {} steps, each taken once", task.count);

    println!("{WORKERS} workers share a scratchpad");
    let lines = |worker: usize| (0..LINES).map(move |line| format!("worker {worker}, line {line}"));
    try_join_all((0..WORKERS).map(|worker| {
        let memory = memory.clone();
        async move {
            for line in lines(worker) {
                memory.scribble(line).await?;
            }
            Ok::<(), ClientError>(())
        }
    }))
    .await?;
    let text = memory.client.get(&memory.scratchpad).await?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    for worker in 0..WORKERS {
        let own = text.lines().filter(|line| line.starts_with(&format!("worker {worker},")));
        expect("lines of a worker, in order", &own.map(str::to_owned).collect(), &lines(worker).collect::<Vec<_>>())?;
    }
    println!("  {} lines, none lost", text.lines().count());

    println!("removing what this run has stored");
    let keys = [&memory.count, &memory.steps, &memory.facts, &memory.scratchpad];
    expect("keys removed", &memory.client.delete_many(keys).await?, &4)?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(cluster) = std::env::args().nth(1).or_else(|| std::env::var("FASTNESS_CLUSTER").ok()) else {
        eprintln!("usage: agent_memory CLUSTER.JSON (or set FASTNESS_CLUSTER)");
        return ExitCode::FAILURE;
    };
    match run(&cluster).await {
        Ok(()) => {
            println!("ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}
