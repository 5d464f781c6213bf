//! A load in this process, of either kind.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::chains::meter::{Interruption, Meter};
use fastness_load::chains::{self, ChainOptions, ChainRun, Phase};
use fastness_load::{Endpoint, Login};
use parking_lot::Mutex;

use super::judgement::{Judgement, Verdict};
use super::payments::{self, PaymentRun};
use super::plan::{LoadMode, LoadPlan};
use crate::container_lab::ContainerLab;
use crate::dev::DevCluster;

/// Time limit for reading everything back.
const CHECK_PATIENCE: Duration = Duration::from_secs(60);
/// Interval between two checks.
const POLL: Duration = Duration::from_millis(5);

/// A load in progress.
pub enum RunningLoad {
    /// Writes over the protocol.
    Writes(ChainRun),
    /// Payments with the SDK.
    Payments(PaymentRun),
}

/// Where clients of the lab of this folder enter, and how, and its number of shards.
fn entrance(dir: &Path) -> Result<(Vec<Endpoint>, Login, usize)> {
    // The first listener of each node knows the whole topology.
    if let Some(lab) = ContainerLab::at(dir)? {
        let first = lab.nodes.iter().filter_map(|node| node.resp.first());
        let seeds = first.map(|mapped| Endpoint::new(&mapped.host, mapped.port)).collect();
        let shards = lab.nodes.iter().map(|node| node.resp.len()).max().unwrap_or_default();
        return Ok((seeds, Login { password: Some(lab.password), ..Login::default() }, shards));
    }
    let cluster = DevCluster::open(dir)?;
    let mut seeds = Vec::new();
    for (node, _) in cluster.nodes() {
        seeds.extend(cluster.ports(node)?.first().map(|port| Endpoint::new("127.0.0.1", *port)));
    }
    Ok((seeds, Login::default(), cluster.members().len()))
}

impl RunningLoad {
    /// Starts a load on the lab of this folder.
    pub async fn start(dir: &Path, plan: &LoadPlan) -> Result<RunningLoad> {
        let prefix = format!("lab:{:08x}:", rand::random::<u32>());
        match plan.mode {
            LoadMode::Writes => {
                let (seeds, login, shards) = entrance(dir)?;
                let clients = plan.clients;
                ensure!(clients >= shards, "--clients {clients}: each of the {shards} shards needs at least one");
                RunningLoad::start_writes(seeds, login, plan, prefix).await
            }
            LoadMode::Payments => {
                let file = dir.join("cluster.json");
                Ok(RunningLoad::Payments(payments::start(&file, plan, &prefix).await?))
            }
        }
    }

    /// Starts writes on any cluster that speaks the protocol.
    pub async fn start_writes(
        seeds: Vec<Endpoint>,
        login: Login,
        plan: &LoadPlan,
        prefix: String,
    ) -> Result<RunningLoad> {
        let (workers, rate, seed) = (plan.clients, plan.rate, rand::random());
        let options = ChainOptions { seeds, login, workers, rate, prefix, seed, ..ChainOptions::default() };
        let run = chains::start(&options).await.context("the load cannot reach the cluster")?;
        Ok(RunningLoad::Writes(run))
    }

    /// Ends the current phase and returns what has happened in it.
    pub fn next_phase(&mut self) -> Phase {
        match self {
            RunningLoad::Writes(run) => run.next_phase(),
            RunningLoad::Payments(run) => run.next_phase(),
        }
    }

    /// What has happened in all phases that were taken.
    pub fn total(&self) -> &Phase {
        match self {
            RunningLoad::Writes(run) => run.total(),
            RunningLoad::Payments(run) => run.total(),
        }
    }

    /// Interruptions that ended after `since` or last, oldest first.
    pub fn interruptions(&self, since: Instant) -> Vec<Interruption> {
        match self {
            RunningLoad::Writes(run) => run.interruptions(since),
            RunningLoad::Payments(run) => run.interruptions(since),
        }
    }

    /// Acknowledged writes that were found to be lost so far.
    pub fn lost_so_far(&self) -> u64 {
        match self {
            RunningLoad::Writes(run) => run.lost_so_far(),
            RunningLoad::Payments(_) => 0,
        }
    }

    fn meter(&self) -> &Mutex<Meter> {
        match self {
            RunningLoad::Writes(run) => run.meter(),
            RunningLoad::Payments(run) => run.meter(),
        }
    }

    /// From now on [`RunningLoad::resumed`] is about writes that are sent after this moment.
    pub fn mark(&self) {
        self.meter().lock().mark();
    }

    /// Waits until every shard (or bank) has acknowledged a write that was sent after the mark; returns when the last
    /// one did for the first time. `None`: not within `patience`.
    pub async fn resumed(&self, patience: Duration) -> Option<Instant> {
        let until = Instant::now() + patience;
        loop {
            let resumed = self.meter().lock().resumed();
            if resumed.is_some() || Instant::now() >= until {
                return resumed;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops the load, reads everything back and judges it.
    pub async fn stop_and_check(self) -> Result<Judgement> {
        let verdict = match self {
            RunningLoad::Writes(run) => Verdict::Writes(run.stop_and_check(CHECK_PATIENCE).await),
            RunningLoad::Payments(run) => Verdict::Payments(run.stop_and_check(CHECK_PATIENCE).await?),
        };
        Ok(verdict.into())
    }
}
