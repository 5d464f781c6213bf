//! Injects faults into a cluster of real processes under load, and checks the ledger.
//!
//! A run is valid only if the cluster was healthy at both ends, if enough writes were acknowledged before every fault
//! and after the last one, and if every fault was seen to take effect; otherwise it fails, whatever the ledger says.
//! The seed determines faults, victims and moments, but not the timing of the processes.
//!
//! Measured is the time from a fault to the next acknowledged write and to the next linearizable read: see [`Probe`]. A
//! stopped or silent node is not restored until both have succeeded and for a random while longer, so that only the
//! other nodes can have served them. Faults may overlap ([`ChaosProfile`]): then no time is attributed to one kind of
//! fault, and if the faults leave no quorum, no write may be acknowledged while they hold.

pub mod adversary;
mod fault;
mod load;
mod options;
mod probe;
mod profile;
mod report;
mod round;
mod row;
pub mod sandbox;
mod strike;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::clients::ClientMix;
use crate::cluster::{Cluster, ClusterOptions, NodeFile};
use crate::observe::{Digests, Figures};
use crate::seed;
use crate::wait::until_ok;

use load::Load;
use options::{PATIENCE, WRITES_BEFORE_POWER_LOSS, WRITES_BETWEEN};

pub use fault::{ChaosFault, Needs};
pub use load::LoadVerdict;
pub use options::ChaosOptions;
pub use probe::{Answered, Probe};
pub use profile::{ChaosPlan, ChaosProfile, Length};
pub use report::{ChaosReport, Company, Injected, Until};

/// Starts a cluster and runs these faults against it in this order, with the seed of [`seed::from_env_or_random`]: a
/// test that ends if anything acknowledged is lost. Returns the cluster, whose files are kept.
///
/// # Errors
/// As [`run`], or if a promise is broken.
pub async fn run_without_loss(
    cluster: &ClusterOptions,
    faults: &[ChaosFault],
    tls: bool,
) -> Result<(Cluster, ChaosReport)> {
    let load = |options| ChaosOptions { tls, ..options };
    run_with_load(cluster, faults, load).await
}

/// As [`run_without_loss`], with clients of all kinds whose histories are checked, and who count.
///
/// # Errors
/// As [`run_without_loss`].
pub async fn run_with_all_clients(cluster: &ClusterOptions, faults: &[ChaosFault]) -> Result<(Cluster, ChaosReport)> {
    let purges = cluster.snapshot_log_bytes.is_some() && cluster.watch_log_bytes == 0;
    let load =
        |options| ChaosOptions { tls: true, clients: ClientMix::Mixed, histories: true, workers: 4, purges, ..options };
    run_with_load(cluster, faults, load).await
}

async fn run_with_load(
    cluster: &ClusterOptions,
    faults: &[ChaosFault],
    load: impl FnOnce(ChaosOptions) -> ChaosOptions,
) -> Result<(Cluster, ChaosReport)> {
    let seed = seed::from_env_or_random();
    eprintln!("FASTNESS_SEED={seed}");
    let mut cluster = Cluster::start(cluster)?;
    cluster.keep_files();
    let options = load(ChaosOptions {
        seed,
        plan: ChaosPlan::these(faults),
        workers: 8,
        clients: ClientMix::Resp,
        tls: false,
        pause: Duration::from_millis(1),
        histories: false,
        purges: false,
        loses: false,
        max_loss: None,
    });
    let report = run(&cluster, &options, |injected| eprintln!("{injected}")).await?;
    eprintln!("{:?} in {:?}", report.verdict.summary, report.elapsed);
    let broken = report.violations();
    ensure!(broken.is_empty(), "FASTNESS_SEED={seed}: {broken:#?}");
    let undecided = report.undecided();
    ensure!(undecided.is_empty(), "FASTNESS_SEED={seed}: nothing is proven: {undecided:#?}");
    Ok((cluster, report))
}

/// Metric of the lag bound.
const MAX_LAG: &str = "fastness_durability_max_lag_seconds";

/// Runs the faults against a cluster under load and checks the ledger. `report_fault` receives every fault when it has
/// ended.
///
/// # Errors
/// If the run is not valid (the cluster was not healthy when it had to be, a fault did not take effect), or if replicas
/// of one log have different digests.
pub async fn run(
    cluster: &Cluster,
    options: &ChaosOptions,
    mut report_fault: impl FnMut(&Injected),
) -> Result<ChaosReport> {
    let (started, file) = (Instant::now(), cluster.file()?);
    healthy(cluster, options).await.context("before the run")?;
    let prefix = format!("chaos{}:", options.seed);
    let load = Load::start(cluster, options, &prefix).await?;
    let mut probe = Probe::start(cluster, 1, &prefix, load.book())?;
    let mut digests = Digests::default();
    let mut rng = SmallRng::seed_from_u64(options.seed);
    // Number of writes acknowledged by the end of the last round.
    let mut ended = 0;
    let (mut injected, mut without_quorum, mut came) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (number, round) in options.plan.rounds(options.seed).enumerate() {
        if options.plan.is_over(started.elapsed(), injected.len(), |fault| came.contains(&fault)) {
            break;
        }
        let what = || format!("seed {}, round {number} ({})", options.seed, round.fault.name());
        let may_lose_power = [Some(round.fault), round.company.map(|company| company.fault)];
        let loses_power = may_lose_power.into_iter().flatten().any(ChaosFault::is_power_loss);
        let writes = if loses_power { WRITES_BEFORE_POWER_LOSS } else { WRITES_BETWEEN };
        load.wait_for_writes(writes).await.with_context(|| format!("{}: before it", what()))?;
        healthy(cluster, options).await.with_context(|| format!("{}: before it", what()))?;
        digests.poll(cluster).await.with_context(what)?;
        tokio::time::sleep(round.calm).await;
        let outcome = round::run(cluster, (&load, &probe), &round, ended, &mut rng).await.with_context(what)?;
        ended = load.acknowledged();
        outcome.injected.iter().for_each(&mut report_fault);
        came.extend(outcome.injected.iter().map(|injected| injected.fault));
        injected.extend(outcome.injected);
        without_quorum.extend(outcome.without_quorum);
    }
    load.wait_for_writes(WRITES_BETWEEN).await.context("after the last fault")?;
    healthy(cluster, options).await.context("after the last fault")?;
    probe.stop().await;
    let verdict = load.stop_and_check().await?;
    digests.wait_until_equal(cluster, PATIENCE).await?;
    Ok(ChaosReport {
        seed: options.seed,
        plan: options.plan.clone(),
        clients: options.clients,
        max_loss: options.max_loss,
        size: (file.nodes.len(), file.shards),
        injected,
        without_quorum,
        verdict,
        digests_compared: digests.compared(),
        elapsed: started.elapsed(),
    })
}

/// Checks that all nodes run, every shard has a primary with a lease, and the bound of losses is in force.
async fn healthy(cluster: &Cluster, options: &ChaosOptions) -> Result<()> {
    let file = cluster.file()?;
    let dead: Vec<u64> = file.nodes.iter().filter(|node| node.pid.is_none()).map(|node| node.id).collect();
    ensure!(dead.is_empty(), "nodes {dead:?} do not run");
    for shard in 1..=file.shards {
        cluster.primary(shard, PATIENCE).await?;
    }
    let Some(bound) = options.max_loss else { return Ok(()) };
    for node in &file.nodes {
        for shard in 1..=file.shards {
            wait_for_bound(node, shard, bound).await?;
        }
    }
    Ok(())
}

/// A restarted node has another bound until it receives this one and applies it.
async fn wait_for_bound(node: &NodeFile, shard: u32, bound: Duration) -> Result<()> {
    let in_force = until_ok(PATIENCE, async || {
        let found = Figures::of(node).await?.shard_span(MAX_LAG, shard)?;
        ensure!(found == bound, "{MAX_LAG} is {found:?}, not {bound:?}");
        Ok(())
    });
    in_force.await.with_context(|| format!("node {}", node.id))
}
