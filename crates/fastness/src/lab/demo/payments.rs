//! The demo of exactly-once writes: a ledger of payments through three failovers of two kinds.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::arguments::DemoArguments;
use super::stage::{Ending, Stage, on_stage};
use crate::lab::driver::Driver;
use crate::lab::load::LoadMode;
use crate::lab::load::judgement::Verdict;

/// How long a primary is paused: longer than an election takes.
const PAUSE: Duration = Duration::from_secs(3);

/// Payments while primaries are killed, paused and killed again.
pub async fn payments(demo: &DemoArguments) -> Result<Ending> {
    on_stage(demo, "sync", 3, async |stage| play(demo, stage).await).await
}

async fn play(demo: &DemoArguments, stage: &Stage) -> Result<Ending> {
    let mut load = stage.load(demo, LoadMode::Payments).await?;
    stage.say("each payment takes from one account and gives to another; it is sent until it is answered");
    stage.watch(&mut load, demo.part()).await;
    let shards = stage.driver.members().len();
    for round in 0..3 {
        let (node, _) = stage.primary(round % shards + 1).await?;
        let fault = Instant::now();
        if round == 1 {
            stage.driver.pause(node).await?;
            load.mark();
            stage.say(&format!("node {node} is paused for {} s", PAUSE.as_secs()));
            tokio::time::sleep(PAUSE).await;
            stage.driver.resume(node).await?;
        } else {
            stage.driver.kill(&[node]).await?;
            load.mark();
            stage.say(&format!("node {node} was killed"));
        }
        stage.resumed(&load, fault, "the fault").await?;
        stage.driver.start(&[node]).await?;
        stage.watch(&mut load, demo.part()).await;
    }
    let judgement = stage.judge(load).await?;
    let Verdict::Payments(verdict) = &judgement.figures else { bail!("the load was not one of payments") };
    let summary = format!(
        "{} confirmed payments, {} lost, {} doubled, {} unknown; the accounts hold {}, expected {}",
        verdict.acknowledged, verdict.lost, verdict.doubled, verdict.unknown, verdict.sum_found, verdict.sum_expected
    );
    Ok(Ending::Shown { summary, broken: judgement.broken })
}
