//! Processes that die at a failpoint: in the middle of a write, a commit, a snapshot, a hand-over or an undo. No
//! acknowledged write may be lost, and replicas must reach the same data.
//!
//! Every node of a cluster has one failpoint armed, and ends at once when it strikes (see `fastness`' `main.rs`). Nodes
//! are restarted; in the meantime leadership is handed over, and nodes are killed for a while, cut off and paused, so
//! that rare points are passed, too. `FASTNESS_FAILPOINTS=all` (`make failpoints`) tests every point, a list with
//! commas these points. (Those of a rotation of the master key are passed on request only: `master_key.rs`.)

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::ledger;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::Digests;
use fastness_testkit::seed;
use fastness_testkit::wait::until_ok;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Failpoints, and how they are armed: after as many passes as creating the cluster takes, each further pass strikes
/// with some probability.
const POINTS: &[(&str, &str)] = &[
    ("log::write", "200*off->2%panic"),
    ("log::written", "200*off->2%panic"),
    ("log::snapshot", "1*off->30%panic"),
    ("log::renamed", "1*off->30%panic"),
    ("consensus::vote", "12*off->50%panic"),
    ("consensus::truncate", "80%panic"),
    ("consensus::purge", "50%panic"),
    ("consensus::received", "50%panic"),
    ("consensus::published", "50%panic"),
    ("consensus::installed", "50%panic"),
    ("consensus::closed", "80%panic"),
    ("consensus::released", "80%panic"),
    ("shard::propose", "200*off->2%panic"),
    ("shard::commit", "200*off->2%panic"),
    ("shard::apply", "200*off->0.3%panic"),
    ("shard::tenure", "2*off->50%panic"),
    ("shard::undo", "50%panic"),
    ("shard::cut", "1*off->50%panic"),
];

/// The points that `make test` tests.
const SOME: [&str; 3] = ["log::written", "consensus::published", "shard::commit"];
/// Number of strikes that ends a run.
const STRIKES: usize = 2;
/// Maximum time for them.
const STRUCK_WITHIN: Duration = Duration::from_secs(240);
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_at_any_step_loses_nothing() -> Result<()> {
    let selected = std::env::var("FASTNESS_FAILPOINTS").unwrap_or_else(|_| SOME.join(","));
    let is_selected = |point: &str| selected == "all" || selected.split(',').any(|name| name == point);
    ensure!(POINTS.iter().any(|(point, _)| is_selected(point)), "no failpoint is called {selected}");
    let seed = seed::from_env_or_random();
    for (point, armed) in POINTS.iter().filter(|(point, _)| is_selected(point)) {
        let what = || format!("{point}, FASTNESS_SEED={seed}");
        let strikes = strike(point, armed, seed).await.with_context(what)?;
        eprintln!("{point}: {strikes} strikes, nothing lost");
    }
    Ok(())
}

/// Runs one cluster with one failpoint armed; returns how often it struck.
async fn strike(point: &str, armed: &str, seed: u64) -> Result<usize> {
    let options = ClusterOptions {
        snapshot_log_bytes: Some(20_000),
        env: vec![("FAILPOINTS", format!("{point}={armed}"))],
        ..ClusterOptions::default()
    };
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(&options)?;
    cluster.keep_files();
    let mut load = ledger::start(ledger::LedgerOptions {
        seeds: cluster.listeners()?,
        workers: 8,
        timeout: Duration::from_millis(1500),
        seed,
        prefix: "points:".to_owned(),
        ..ledger::LedgerOptions::default()
    });
    let until = Instant::now() + STRUCK_WITHIN;
    while strikes(&cluster, point)? < STRIKES {
        ensure!(Instant::now() < until, "it struck {} times in {STRUCK_WITHIN:?}", strikes(&cluster, point)?);
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..1200))).await;
        tokio::task::block_in_place(|| disturb(&cluster, &mut rng));
        start_the_dead(&cluster).await?;
    }
    let before = load.book.summary().acknowledged;
    let violations = stop_and_check(&cluster, &mut load).await?;
    ensure!(violations.is_empty(), "{violations:#?}");
    ensure!(before > 200, "only {before} writes were acknowledged");
    let struck = strikes(&cluster, point)?;
    cluster.discard_files();
    Ok(struck)
}

/// Leads a node through its rare steps. It may fail: nodes die at any moment.
fn disturb(cluster: &Cluster, rng: &mut SmallRng) {
    let node = rng.random_range(1..=3);
    let tried = match rng.random_range(0..4) {
        0 => cluster.hand_over(1),
        // Long enough for the node to need a snapshot.
        1 => cluster.kill(node).map(|()| std::thread::sleep(Duration::from_millis(1500))),
        // The node is cut off: if it is the primary, the entries that it writes in the meantime are truncated
        // afterwards.
        2 => {
            let all = |fault| (1..=3).filter(|to| *to != node).try_for_each(|to| cluster.link_fault(node, to, fault));
            let cut = all("cut");
            std::thread::sleep(Duration::from_millis(1200));
            cut.and(all("heal"))
        }
        _ => cluster.pause(node).and_then(|()| {
            std::thread::sleep(Duration::from_millis(900));
            cluster.resume(node)
        }),
    };
    if let Err(error) = tried {
        eprintln!("not disturbed: {error:#}");
    }
}

/// A start may strike as well, so it is repeated.
async fn start_the_dead(cluster: &Cluster) -> Result<()> {
    let started = until_ok(PATIENCE, async || tokio::task::block_in_place(|| cluster.start_again())).await;
    started.context("nodes do not start")
}

/// Stops the load and checks it, and waits until all replicas are at the same index; nodes may still die during that.
async fn stop_and_check(cluster: &Cluster, load: &mut ledger::LedgerRun) -> Result<Vec<ledger::Violation>> {
    let checked = load.stop_and_check(PATIENCE);
    let violations = while_the_dead_are_started(cluster, checked).await?.map_err(anyhow::Error::msg)?;
    let mut digests = Digests::default();
    while_the_dead_are_started(cluster, digests.wait_until_equal(cluster, PATIENCE)).await??;
    Ok(violations)
}

async fn while_the_dead_are_started<T>(cluster: &Cluster, work: impl Future<Output = T>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        start_the_dead(cluster).await?;
        tokio::select! {
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}

/// How often nodes have died at the point, by their logs.
fn strikes(cluster: &Cluster, point: &str) -> Result<usize> {
    let said = format!("failpoint {point} panic");
    (1..=3).map(|node| Ok(cluster.node_log(node)?.matches(&said).count())).sum()
}
