//! The demo of a log that falls behind: in `async`, the disks of two of three nodes stall.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_load::chains::Phase;
use fastness_wire::lab::v1::{DiskFault, DiskFaultKind};

use super::arguments::DemoArguments;
use super::settings::set_max_lag;
use super::stage::{Ending, Stage, on_stage, phase_text, writes_of};
use crate::lab::driver::{Driver, LabNode};
use crate::lab::load::LoadMode;
use crate::lab::load::running::RunningLoad;

/// How long after the bound the first refusal must have come.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(30);
/// Longest time for which a write is held near the bound, and more.
const HELD_MAX: Duration = Duration::from_millis(500);
/// Interval between two checks.
const POLL: Duration = Duration::from_millis(50);

/// Lets the load run until a write is refused with CLUSTERDOWN; returns what happened until then.
async fn until_refused(load: &mut RunningLoad, patience: Duration) -> Result<Phase> {
    let mut slowing = Phase::beginning(Instant::now());
    loop {
        tokio::time::sleep(POLL).await;
        let phase = load.next_phase();
        slowing.add(&phase);
        if phase.cluster_down > 0 {
            return Ok(slowing);
        }
        ensure!(slowing.length < patience, "no write is refused {} s after the logs stalled", patience.as_secs());
    }
}

async fn set_disks(stage: &Stage, nodes: &[&LabNode], kind: DiskFaultKind) -> Result<()> {
    for node in nodes {
        stage.driver.set_disk(node, DiskFault { kind: kind.into(), ..DiskFault::default() }).await?;
    }
    Ok(())
}

/// In `async`, the log of all nodes but the primary stalls.
pub async fn log_stall(demo: &DemoArguments) -> Result<Ending> {
    on_stage(demo, "async", 1, async |stage| play(demo, stage).await).await
}

async fn play(demo: &DemoArguments, stage: &Stage) -> Result<Ending> {
    let shards = stage.driver.members().len();
    ensure!(shards == 1, "the demo log-stall needs a cluster of one shard, and this one has {shards}");
    let bound = Duration::from_millis(demo.max_lag_ms);
    set_max_lag(stage.dir(), &format!("{}ms", demo.max_lag_ms)).await?;
    stage.say(&format!("durability-max-lag is {} ms", demo.max_lag_ms));
    let mut load = stage.load(demo, LoadMode::Writes).await?;
    stage.watch(&mut load, demo.part()).await;
    let (primary, _) = stage.primary(1).await?;
    let others: Vec<&LabNode> = stage.driver.nodes().iter().filter(|node| node.id != primary).collect();
    load.next_phase();
    let fault = Instant::now();
    set_disks(stage, &others, DiskFaultKind::Stall).await?;
    stage.say(&format!("the log disks of all nodes but {primary} stall"));
    let mut slowing = until_refused(&mut load, bound + REFUSAL_PATIENCE).await?;
    let refused_after = fault.elapsed().as_secs_f64();
    // Writes that were held when the first one was refused are answered meanwhile.
    tokio::time::sleep(HELD_MAX).await;
    slowing.add(&load.next_phase());
    stage.say(&phase_text(&slowing));
    stage.say(&format!("the first writes are refused, {refused_after:.2} s after the stall"));
    let closed = stage.watch(&mut load, demo.part()).await;
    let healed = Instant::now();
    set_disks(stage, &others, DiskFaultKind::Unspecified).await?;
    load.mark();
    stage.say("the disks are healed");
    let resumed = stage.resumed(&load, healed, "they were healed").await?;
    stage.watch(&mut load, demo.part()).await;
    let judgement = stage.judge(load).await?;
    let verdict = writes_of(&judgement)?;
    let slowest = slowing.write_us.value_at_quantile(1.0) as f64 / 1e3;
    let failed = slowing.reads_failed + closed.reads_failed;
    let summary = format!(
        "slowed to {slowest:.0} ms, refused with CLUSTERDOWN after {refused_after:.2} s (bound {:.2} s; {} refused), \
         resumed after {resumed:.2} s; {} reads meanwhile, {failed} failed; {} acknowledged writes, {} lost, {} \
         doubled",
        bound.as_secs_f64(),
        closed.cluster_down,
        slowing.reads + closed.reads,
        verdict.acknowledged,
        verdict.lost(),
        verdict.doubled
    );
    let mut broken = judgement.broken.clone();
    if failed > 0 || closed.reads == 0 {
        broken.push(format!("{failed} reads failed while the logs stalled, {} were answered", closed.reads));
    }
    if closed.acknowledged > 0 {
        broken.push(format!("{} writes were acknowledged after the bound had passed", closed.acknowledged));
    }
    if verdict.lost() > 0 {
        broken.push(format!("{} acknowledged writes are lost, without a failover", verdict.lost()));
    }
    Ok(Ending::Shown { summary, broken })
}
