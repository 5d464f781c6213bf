//! Hostile clients against a cluster of real processes under load: `make chaos PROFILE=adversary`.
//!
//! A seed deals the attacks, one after the other, while the ledger's load and one probe per listener and shard
//! continue. Nothing else is broken, so every promise must hold in full:
//!
//! - **No node exits.** A process that has ended, or was replaced by another one, is a violation (`watch.rs`).
//! - **No shard is unavailable** for longer than [`UNAVAILABLE_MAX`] plus the time that its log needs for the accepted
//!   bytes. The latter is observed: the bytes that each node's log takes in are polled twice a second, and the moments
//!   in which a log took in an eighth or more of what it can (`Pace`, measured at the start of the run) are not
//!   counted. (Dividing the bytes by the pace is not enough: the pace is measured with 200 MB, and a disk that is
//!   written to for half a minute is slower.) A write that is refused with `-OOM` counts as answered, because
//!   `maxmemory` is meant to do that; but once an attack has removed what it wrote, a write must be accepted within the
//!   same time.
//! - **No write acknowledged in `sync` is lost**: the ledger reads everything back at the end. In `async` a failover
//!   loses at most `durability-max-lag`, in `disabled` it may lose anything, and in no mode does a read show a refused
//!   write.
//! - **Memory stays within its bound**: the resident size of each process, read twice a second from `/proc`, is at most
//!   its size before the run, plus five quarters of `maxmemory` for each of its replicas (fragmentation of the
//!   allocator), plus [`OVERHEAD`] (the log's memory tables and queues, messages between nodes, one unit in transit).
//! - **No connection hangs silently**: each attack knows which replies it must receive, and reports if they are missing
//!   (`wire.rs`, `data.rs`).
//!
//! As with faults, the run proves nothing if some attack never had an effect.

mod attack;
mod data;
mod outcome;
mod report;
mod target;
mod watch;
mod wire;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use super::load::Load;
use super::options::ChaosOptions;
use super::probe::Probe;
use super::profile::{ChaosPlan, Length};
use crate::clients::ClientMix;
use crate::cluster::Cluster;
use crate::observe::Digests;

pub use attack::Attack;
pub use report::{AdversaryReport, Attacked};
pub use target::AttackSize;
use target::Target;
pub use watch::OVERHEAD;
use watch::{Pace, Watch};

/// How long a shard may answer no write, besides the time that its log needs for accepted writes.
pub const UNAVAILABLE_MAX: Duration = Duration::from_secs(5);
/// Longest wait for the cluster to be healthy at either end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Minimum number of acknowledged writes between two attacks.
const WRITES_BETWEEN: u64 = 100;

/// How to run attacks.
#[derive(Debug, Clone)]
pub struct AdversaryOptions {
    /// Seed of all choices.
    pub seed: u64,
    /// How long attacks are started, seconds.
    pub seconds: u64,
    /// The attacks.
    pub attacks: Vec<Attack>,
    /// The size of attacks.
    pub size: AttackSize,
    /// `maxmemory` of every replica, bytes.
    pub maxmemory: u64,
    /// Number of workers of the ledger's load.
    pub workers: usize,
    /// Pause of each worker between two commands.
    pub pause: Duration,
    /// Whether a failover may lose acknowledged writes.
    pub loses: bool,
    /// The longest allowed loss: the bound of `async`.
    pub max_loss: Option<Duration>,
}

/// Attacks a cluster and judges the results. `report_attack` receives every attack when it has ended.
///
/// # Errors
/// If the run is not valid: the cluster was not healthy at either end, or replicas of one log have different digests.
pub async fn run(
    cluster: &Cluster,
    options: &AdversaryOptions,
    mut report_attack: impl FnMut(&Attacked),
) -> Result<AdversaryReport> {
    let (started, file) = (Instant::now(), cluster.file()?);
    let mut primaries = BTreeMap::new();
    for shard in 1..=file.shards {
        primaries.insert(shard, cluster.primary(shard, PATIENCE).await?);
    }
    limit_memory(cluster, options.maxmemory).await?;
    let mut rng = SmallRng::seed_from_u64(options.seed);
    let pace = Pace::measure(&Target::find(cluster, 1, options.size, "pace").await?).await.context("the log's pace")?;
    let prefix = format!("adversary{}:", options.seed);
    let load = Load::start(cluster, &load_options(options), &prefix).await?;
    let mut probes = BTreeMap::new();
    for shard in 1..=file.shards {
        probes.insert(shard, Probe::patient(cluster, shard, &prefix, load.book())?);
    }
    let watch = Watch::start(cluster, file.shards, options.maxmemory)?;
    let (mut attacked, mut deck) = (Vec::new(), Vec::new());
    let until = started + Duration::from_secs(options.seconds);
    while Instant::now() < until || attacked.len() < options.attacks.len() {
        if deck.is_empty() {
            deck.clone_from(&options.attacks);
            deck.shuffle(&mut rng);
        }
        let Some(attack) = deck.pop() else { break };
        let number = attacked.len();
        let shard = (number as u32 % file.shards) + 1;
        let what = || format!("seed {}, attack {number} ({})", options.seed, attack.name());
        let target = Target::find(cluster, shard, options.size, &format!("{number}")).await.with_context(what)?;
        let begun = Instant::now();
        let came = attack.run(&target).await;
        let removed = target.remove_all(cluster).await;
        let one = Attacked::new(attack, shard, begun, came, removed.with_context(what));
        // Whatever the result: writes must be accepted again.
        let accepted = accepts_again(&probes, Instant::now(), &watch, pace).await;
        let one = one.with(accepted);
        report_attack(&one);
        attacked.push(one);
        load.wait_for_writes(WRITES_BETWEEN).await.with_context(what)?;
    }
    for shard in 1..=file.shards {
        cluster.primary(shard, PATIENCE).await.context("after the last attack")?;
    }
    let silences = silences(&probes, &watch, &attacked, pace);
    for probe in probes.values_mut() {
        probe.stop().await;
    }
    let watched = watch.stop().await?;
    let verdict = load.stop_and_check().await?;
    let mut digests = Digests::default();
    digests.wait_until_equal(cluster, PATIENCE).await?;
    Ok(AdversaryReport {
        seed: options.seed,
        size: (file.nodes.len(), file.shards),
        attacks: options.attacks.clone(),
        attacked,
        silences,
        pace: pace.bytes_per_second,
        watched,
        verdict,
        max_loss: options.max_loss,
        elapsed: started.elapsed(),
    })
}

/// Options of the ledger's load, as in other chaos runs, without faults.
fn load_options(options: &AdversaryOptions) -> ChaosOptions {
    let length = Length::Time(Duration::from_secs(options.seconds));
    ChaosOptions {
        seed: options.seed,
        plan: ChaosPlan { deck: Vec::new(), shuffled: false, overlap_percent: 0, length, whole: false },
        workers: options.workers,
        clients: ClientMix::Resp,
        tls: false,
        pause: options.pause,
        histories: false,
        purges: true,
        loses: options.loses,
        max_loss: options.max_loss,
    }
}

/// Sets `maxmemory` on every node.
async fn limit_memory(cluster: &Cluster, bytes: u64) -> Result<()> {
    for node in &cluster.file()?.nodes {
        for front_end in &node.resp {
            let mut client = cluster.connect(node.id, front_end.shard, PATIENCE).await?;
            let said = client.call(&[b"CONFIG", b"SET", b"maxmemory", bytes.to_string().as_bytes()]).await?;
            ensure!(said.as_error().is_none(), "CONFIG SET maxmemory: {said:?}");
        }
    }
    Ok(())
}

/// Waits until every shard has accepted a write that was sent after the attack. Returns the time, or why it is too
/// long.
async fn accepts_again(
    probes: &BTreeMap<u32, Probe>,
    ended: Instant,
    watch: &Watch,
    pace: Pace,
) -> Result<Duration, String> {
    let mut longest = Duration::ZERO;
    for (shard, probe) in probes {
        loop {
            if let Some(at) = probe.first_write_since(ended) {
                longest = longest.max(at.saturating_duration_since(ended));
                break;
            }
            let allowed = UNAVAILABLE_MAX + watch.worked_between(ended, Instant::now(), pace);
            if ended.elapsed() > allowed + PATIENCE {
                return Err(format!(
                    "shard {shard} accepts no write for {:?} after the attack has ended",
                    ended.elapsed()
                ));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let allowed = UNAVAILABLE_MAX + watch.worked_between(ended, Instant::now(), pace);
    if longest > allowed {
        return Err(format!(
            "a shard accepted no write for {longest:?} after the attack had ended, {allowed:?} are allowed"
        ));
    }
    Ok(longest)
}

/// The longest span of each shard without an answered write, and why it is too long, if it is.
fn silences(
    probes: &BTreeMap<u32, Probe>,
    watch: &Watch,
    attacked: &[Attacked],
    pace: Pace,
) -> Vec<(u32, Duration, Option<String>)> {
    let mut found = Vec::new();
    for (shard, probe) in probes {
        let spans = probe.silences(Duration::from_secs(1));
        let longest = spans.iter().map(|(from, to)| to.duration_since(*from)).max().unwrap_or_default();
        let mut wrong = None;
        for (from, to) in spans {
            let during = attacked.iter().rev().find(|attack| attack.begun <= to);
            let allowed = UNAVAILABLE_MAX + watch.worked_between(from, to, pace);
            let span = to.duration_since(from);
            if span > allowed {
                let name = during.map_or("no attack", |attack| attack.attack.name());
                wrong =
                    Some(format!("shard {shard} answered no write for {span:?} at {name}, {allowed:?} are allowed"));
            }
        }
        found.push((*shard, longest, wrong));
    }
    found
}
