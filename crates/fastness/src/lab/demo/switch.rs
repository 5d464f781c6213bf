//! The demo of a change of the mode under load, to `async` and back.

use std::time::Instant;

use anyhow::Result;

use super::arguments::DemoArguments;
use super::stage::{Ending, Stage, on_stage, writes_of};
use crate::lab::driver::Driver;
use crate::lab::load::LoadMode;

/// `sync`, `async`, `sync` again, and then a primary dies.
pub async fn switch(demo: &DemoArguments) -> Result<Ending> {
    on_stage(demo, "sync", 3, async |stage| play(demo, stage).await).await
}

async fn play(demo: &DemoArguments, stage: &Stage) -> Result<Ending> {
    let mut load = stage.load(demo, LoadMode::Writes).await?;
    let sync = stage.watch(&mut load, demo.part()).await;
    let mut took = Vec::new();
    let mut phases = Vec::new();
    for mode in ["async", "sync"] {
        let began = Instant::now();
        stage.set_mode(mode).await?;
        let seconds = began.elapsed().as_secs_f64();
        took.push(seconds);
        stage.say(&format!("{mode} is in force on every shard, {seconds:.2} s after the command"));
        phases.push(stage.watch(&mut load, demo.part()).await);
    }
    let switching: u64 = phases.iter().map(|phase| phase.refused + phase.unknown).sum();
    let (node, _) = stage.primary(1).await?;
    let fault = Instant::now();
    stage.driver.kill(&[node]).await?;
    load.mark();
    stage.say(&format!("node {node}, primary of shard 1, was killed: what was acknowledged in sync must be there"));
    stage.resumed(&load, fault, "the fault").await?;
    stage.driver.start(&[node]).await?;
    stage.watch(&mut load, demo.part()).await;
    let judgement = stage.judge(load).await?;
    let verdict = writes_of(&judgement)?;
    let p50 = |phase: &fastness_load::chains::Phase| phase.write_us.value_at_quantile(0.5) as f64 / 1e3;
    let summary = format!(
        "{} acknowledged writes, {} lost, {} doubled; sync → async in {:.2} s, async → sync in {:.2} s, \
         {switching} writes refused or unknown meanwhile; p50 {:.1} ms in sync, {:.1} ms in async",
        verdict.acknowledged,
        verdict.lost(),
        verdict.doubled,
        took[0],
        took[1],
        p50(&sync),
        p50(&phases[0])
    );
    let mut broken = judgement.broken.clone();
    if verdict.lost_otherwise > 0 {
        broken.push(format!("{} acknowledged writes are lost; the primary died in sync", verdict.lost_otherwise));
    }
    if !["sync", "async"].iter().all(|mode| verdict.modes.iter().any(|seen| seen == mode)) {
        broken.push(format!("the load has seen only these modes in force: {}", verdict.modes.join(", ")));
    }
    Ok(Ending::Shown { summary, broken })
}
