//! Puts a cluster under full load for a long time, without any fault: there must be no election, and no acknowledged
//! write may be lost.
//!
//! Elections are counted by the terms of every group, also the control plane's. Each election raises the term of its
//! group, so an election between two polls is not missed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::closed_loop::{self, ClosedLoopOptions, Kind};
use fastness_load::ledger::{self, Summary, Violation};

use crate::cluster::Cluster;
use crate::observe::{Digests, Figures};

/// How to run a soak.
#[derive(Debug, Clone)]
pub struct SoakOptions {
    /// Length of the run.
    pub duration: Duration,
    /// Number of connections of the closed loop: half of them write, half of them read.
    pub connections: usize,
    /// Number of requests in one pipeline.
    pub pipeline: usize,
    /// Length of a value, bytes.
    pub value_bytes: usize,
    /// Number of workers of the ledger, besides the closed loop.
    pub workers: usize,
    /// Seed of the load.
    pub seed: u64,
}

/// A group of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupName {
    /// The control plane.
    Control,
    /// One shard.
    Shard(u32),
}

/// The leadership of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// Newest term on any node.
    pub term: u64,
    /// The node that claims to lead in that term.
    pub leader: Option<u64>,
}

/// The leaderships of all groups.
pub type Leaderships = BTreeMap<GroupName, Leadership>;

/// Report of a run.
#[derive(Debug)]
pub struct SoakReport {
    /// Leaderships at the start.
    pub before: Leaderships,
    /// Leaderships at the end.
    pub after: Leaderships,
    /// Number of writes and reads of the closed loop.
    pub operations: u64,
    /// Of these, the number answered with an error.
    pub errors: u64,
    /// Length of the part under load.
    pub elapsed: Duration,
    /// The ledger's counts.
    pub summary: Summary,
    /// The longest time without an acknowledged write.
    pub silence: Duration,
    /// Violations found by the ledger.
    pub violations: Vec<Violation>,
}

impl SoakReport {
    /// Number of elections, and of groups whose leader has changed.
    #[must_use]
    pub fn elections(&self) -> (u64, usize) {
        let pairs = self.after.iter().filter_map(|(group, after)| Some((self.before.get(group)?, after)));
        let (mut elections, mut changes) = (0, 0);
        for (before, after) in pairs {
            elections += after.term - before.term;
            changes += usize::from(before.leader != after.leader);
        }
        (elections, changes)
    }
}

/// Length of a round of the closed loop; the throughput of each round is reported.
const ROUND: Duration = Duration::from_secs(10);
/// Free space that the disk must have: the log grows all the time.
const FREE_BYTES_MIN: u64 = 4 << 30;
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads the terms and leaders of all groups.
///
/// # Errors
/// If a node does not answer.
pub async fn leaderships(cluster: &Cluster) -> Result<Leaderships> {
    let mut all = Leaderships::new();
    for node in cluster.file()?.nodes {
        let figures = Figures::of(&node).await?;
        let mut note = |group, term, leads| {
            let known = all.entry(group).or_insert(Leadership { term: 0, leader: None });
            if term > known.term {
                *known = Leadership { term, leader: None };
            }
            if leads && term == known.term {
                known.leader = Some(node.id);
            }
        };
        note(
            GroupName::Control,
            figures.node("fastness_control_term")?,
            figures.node("fastness_control_is_leader")? == 1,
        );
        for front_end in &node.resp {
            let leads = figures.shard("fastness_is_primary", front_end.shard)? == 1;
            note(GroupName::Shard(front_end.shard), figures.shard("fastness_term", front_end.shard)?, leads);
        }
    }
    Ok(all)
}

/// Waits until every group has a leader.
async fn all_led(cluster: &Cluster) -> Result<Leaderships> {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = leaderships(cluster).await?;
        if all.values().all(|group| group.leader.is_some()) {
            return Ok(all);
        }
        ensure!(Instant::now() < until, "not every group has a leader: {all:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Loads the cluster. `report_line` receives a line about each round.
///
/// # Errors
/// If the run proves nothing: a connection broke, a node did not answer, or the disk is nearly full.
pub async fn run(cluster: &Cluster, options: &SoakOptions, mut report_line: impl FnMut(&str)) -> Result<SoakReport> {
    let before = all_led(cluster).await?;
    let mut load = ledger::start(ledger::LedgerOptions {
        seeds: cluster.listeners()?,
        workers: options.workers,
        timeout: Duration::from_secs(5),
        pause: Duration::ZERO,
        pad_bytes: options.value_bytes,
        seed: options.seed,
        prefix: format!("soak{}:", options.seed),
        ..ledger::LedgerOptions::default()
    });
    let (started, mut operations, mut errors) = (Instant::now(), 0, 0);
    while let Some(left) = options.duration.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        let begun = Instant::now();
        let round = one_round(cluster, options, left.min(ROUND)).await?;
        operations += round.0;
        errors += round.1;
        let free = free_bytes(cluster)?;
        ensure!(free > FREE_BYTES_MIN, "the disk is nearly full ({} MiB are left)", free >> 20);
        let now = leaderships(cluster).await?;
        report_line(&format!(
            "{:5.0} s: {:.1} k ops/s, {} errors, terms {:?}",
            started.elapsed().as_secs_f64(),
            round.0 as f64 / begun.elapsed().as_secs_f64() / 1000.0,
            round.1,
            now.values().map(|group| group.term).collect::<Vec<_>>(),
        ));
    }
    let elapsed = started.elapsed();
    let silence = load.book.longest_silence(started, Instant::now());
    let violations = load.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
    Digests::default().wait_until_equal(cluster, PATIENCE).await?;
    let after = all_led(cluster).await?;
    Ok(SoakReport { before, after, operations, errors, elapsed, summary: load.book.summary(), silence, violations })
}

/// Writes to and reads from the primary of each shard at the same time; returns the numbers of operations and errors.
async fn one_round(cluster: &Cluster, options: &SoakOptions, duration: Duration) -> Result<(u64, u64)> {
    let mut loops = Vec::new();
    for shard in 1..=cluster.file()?.shards {
        let primary = cluster.primary(shard, PATIENCE).await?;
        for kind in [Kind::SET, Kind::GET] {
            let options = ClosedLoopOptions {
                endpoint: cluster.front_end(primary, shard)?,
                tls: None,
                connections: (options.connections / 2).max(1),
                pipeline: options.pipeline,
                kind,
                value_bytes: options.value_bytes,
                keys: 100_000,
                wait_replicas: None,
                duration,
                seed: options.seed,
            };
            loops.push(tokio::spawn(async move { closed_loop::run(&options).await }));
        }
    }
    let (mut operations, mut errors) = (0, 0);
    for one in loops {
        let report = one.await?.context("the load's connection")?;
        operations += report.operations;
        errors += report.errors;
    }
    Ok((operations, errors))
}

fn free_bytes(cluster: &Cluster) -> Result<u64> {
    let stat = rustix::fs::statvfs(cluster.dir())?;
    Ok(stat.f_bavail * stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elections_are_counted_by_terms() {
        let at = |term, leader| Leadership { term, leader: Some(leader) };
        let before = [(GroupName::Control, at(1, 1)), (GroupName::Shard(1), at(3, 2))];
        let after = [(GroupName::Control, at(1, 1)), (GroupName::Shard(1), at(7, 3))];
        let report = SoakReport {
            before: before.into(),
            after: after.into(),
            operations: 0,
            errors: 0,
            elapsed: Duration::ZERO,
            summary: Summary::default(),
            silence: Duration::ZERO,
            violations: Vec::new(),
        };
        assert_eq!(report.elections(), (4, 1));
    }
}
