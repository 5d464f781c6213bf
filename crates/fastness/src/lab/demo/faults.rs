//! The demos of dying nodes: an AZ in `sync`, a primary in `async`, all nodes at once.

use std::time::Instant;

use anyhow::Result;

use super::arguments::DemoArguments;
use super::stage::{Ending, Stage, on_stage, writes_of};
use crate::lab::driver::Driver;
use crate::lab::load::LoadMode;
use crate::lab::load::judgement::Judgement;
use crate::lab::verbs::{AzLinks, az_down, az_links, az_up};

/// Delay of the links of a primary that is about to die, each way, so that there is something to lose.
const DISTANCE_MS: u32 = 40;

/// The ending of a demo in `sync`.
fn ending(judgement: Judgement, what: &str) -> Result<Ending> {
    let verdict = writes_of(&judgement)?;
    let summary = format!(
        "{} acknowledged writes, {} lost, {} doubled, {} unknown; {what}",
        verdict.acknowledged,
        verdict.lost(),
        verdict.doubled,
        verdict.unknown
    );
    Ok(Ending::Shown { summary, broken: judgement.broken })
}

/// In `sync`, an AZ dies.
pub async fn az_loss(demo: &DemoArguments) -> Result<Ending> {
    on_stage(demo, "sync", 3, async |stage| lose_az(demo, stage).await).await
}

async fn lose_az(demo: &DemoArguments, stage: &Stage) -> Result<Ending> {
    let mut load = stage.load(demo, LoadMode::Writes).await?;
    stage.watch(&mut load, demo.part()).await;
    let (_, az) = stage.primary(1).await?;
    let fault = Instant::now();
    az_down(&stage.driver, &az).await?;
    load.mark();
    stage.say(&format!("AZ {az}, with the primary of shard 1, is down: all of its nodes were killed"));
    let resumed = stage.resumed(&load, fault, "the fault").await?;
    stage.watch(&mut load, demo.part()).await;
    az_up(&stage.driver, &az).await?;
    stage.say(&format!("AZ {az} is back"));
    stage.watch(&mut load, demo.part()).await;
    ending(stage.judge(load).await?, &format!("writes resumed {resumed:.2} s after the loss of AZ {az}"))
}

/// In `async`, a primary dies.
pub async fn async_kill(demo: &DemoArguments) -> Result<Ending> {
    on_stage(demo, "async", 3, async |stage| kill_primary(demo, stage).await).await
}

async fn kill_primary(demo: &DemoArguments, stage: &Stage) -> Result<Ending> {
    let mut load = stage.load(demo, LoadMode::Writes).await?;
    stage.watch(&mut load, demo.part()).await;
    let (node, az) = stage.primary(1).await?;
    az_links(&stage.driver, &az, AzLinks::Delayed(DISTANCE_MS)).await?;
    stage.say(&format!("AZ {az}, with the primary of shard 1, is now {DISTANCE_MS} ms from the others, each way"));
    stage.watch(&mut load, demo.part()).await;
    let fault = Instant::now();
    stage.driver.kill(&[node]).await?;
    load.mark();
    stage.say(&format!("node {node} was killed"));
    let resumed = stage.resumed(&load, fault, "the fault").await?;
    stage.driver.start(&[node]).await?;
    az_links(&stage.driver, &az, AzLinks::Healed).await?;
    stage.say(&format!("node {node} is back, and the links are healed"));
    stage.watch(&mut load, demo.part()).await;
    let judgement = stage.judge(load).await?;
    let verdict = writes_of(&judgement)?;
    let summary = format!(
        "{} acknowledged writes, {} lost, from the last {} ms before a failover (bound: {} ms); {} doubled, \
         {} unknown; writes resumed after {resumed:.2} s",
        verdict.acknowledged,
        verdict.lost(),
        verdict.loss_longest_ms,
        verdict.loss_bound_ms.map_or_else(|| "not known".to_owned(), |bound| bound.to_string()),
        verdict.doubled,
        verdict.unknown
    );
    Ok(Ending::Shown { summary, broken: judgement.broken })
}

/// In `sync`, all nodes are killed at once.
pub async fn kill_all(demo: &DemoArguments) -> Result<Ending> {
    on_stage(demo, "sync", 3, async |stage| kill_nodes(demo, stage).await).await
}

async fn kill_nodes(demo: &DemoArguments, stage: &Stage) -> Result<Ending> {
    let mut load = stage.load(demo, LoadMode::Writes).await?;
    stage.watch(&mut load, demo.part()).await;
    let all: Vec<u64> = stage.driver.nodes().iter().map(|node| node.id).collect();
    let fault = Instant::now();
    stage.driver.kill(&all).await?;
    load.mark();
    stage.say("all nodes were killed at once");
    stage.driver.start(&all).await?;
    stage.say("all nodes were started with their data");
    let resumed = stage.resumed(&load, fault, "the fault").await?;
    stage.watch(&mut load, demo.part()).await;
    ending(stage.judge(load).await?, &format!("writes resumed {resumed:.2} s after all nodes were killed"))
}
