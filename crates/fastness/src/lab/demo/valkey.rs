//! The same load and the same faults on plain Valkey with replicas, and on Fastness in `sync`, for contrast.
//!
//! Valkey is a cluster of three primaries with one replica each, and with the strictest of its own settings for disks
//! (`appendfsync always`). Two faults: a primary is killed; then a primary is cut off from all other nodes for some
//! seconds while its clients still reach it, as when the links of an AZ fail. Its replica is elected meanwhile. Clients
//! of Valkey cannot know which of their acknowledged writes the replica has.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_load::Login;
use fastness_load::chains::ChainVerdict;

use super::arguments::DemoArguments;
use super::stage::{Ending, Stage, interruptible, on_stage, phase_text, writes_of};
use crate::lab::load::LoadMode;
use crate::lab::load::running::RunningLoad;
use crate::lab::verbs::{AzLinks, az_down, az_links, az_up};
use cluster::ValkeyCluster;

mod cluster;
mod proxy;

/// How long a primary is cut off: several times the node time-out of Valkey, and of a lease.
const CUT_OFF: Duration = Duration::from_secs(8);
/// Time limit for writes to resume.
const RESUME_PATIENCE: Duration = Duration::from_secs(60);

/// Runs both, and compares. What Valkey loses breaks no promise of Fastness.
pub async fn contrast(demo: &DemoArguments) -> Result<Ending> {
    let Some(program) = cluster::program(demo.valkey_server.as_deref())? else {
        let summary = "there is no valkey-server on this machine: install one, or name it with --valkey-server or \
                       FASTNESS_VALKEY_SERVER";
        return Ok(Ending::Skipped(summary.to_owned()));
    };
    let plain = interruptible(on_valkey(demo, &program)).await?;
    let (own, broken) = on_stage(demo, "sync", 3, async |stage| on_fastness(demo, stage).await).await?;
    let text = |verdict: &ChainVerdict| {
        format!("{} acknowledged writes, {} of them lost", verdict.acknowledged, verdict.lost())
    };
    let summary = format!("plain Valkey: {}; Fastness in sync: {}", text(&plain), text(&own));
    Ok(Ending::Shown { summary, broken })
}

async fn on_valkey(demo: &DemoArguments, program: &std::path::Path) -> Result<ChainVerdict> {
    let began = Instant::now();
    let say = |what: &str| println!("{:>7.2} s  {what}", began.elapsed().as_secs_f64());
    let mut cluster = ValkeyCluster::start(program).await?;
    say(&format!("{}: three primaries, a replica of each, appendfsync always", cluster.version()));
    let plan = demo.plan(LoadMode::Writes);
    let mut load = RunningLoad::start_writes(cluster.seeds(), Login::default(), &plan, "contrast:".to_owned()).await?;
    say(&format!("a load of {} clients, {} commands a second", demo.clients, demo.rate));
    let part = |load: &mut RunningLoad| phase_text(&load.next_phase());
    tokio::time::sleep(demo.part()).await;
    say(&part(&mut load));
    cluster.kill(0).await?;
    load.mark();
    say("a primary was killed");
    resumed(&load).await?;
    tokio::time::sleep(demo.part()).await;
    say(&part(&mut load));
    say(&format!("found to be lost so far: {}", load.lost_so_far()));
    cluster.cut_off(1);
    say(&format!("another primary is cut off from all other nodes for {} s; its clients reach it", CUT_OFF.as_secs()));
    tokio::time::sleep(CUT_OFF).await;
    cluster.heal();
    load.mark();
    say("its links are healed");
    resumed(&load).await?;
    tokio::time::sleep(demo.part()).await;
    say(&part(&mut load));
    say("the load stops; every acknowledged write is read back");
    let judgement = load.stop_and_check().await?;
    cluster.stop().await;
    let verdict = writes_of(&judgement)?.clone();
    ensure!(verdict.acknowledged > 0, "plain Valkey has acknowledged nothing: there is nothing to compare");
    ensure!(verdict.unread == 0, "{} keys of Valkey could not be read back: nothing is known of them", verdict.unread);
    say(&format!("plain Valkey has lost {} acknowledged writes", verdict.lost()));
    Ok(verdict)
}

async fn resumed(load: &RunningLoad) -> Result<()> {
    let resumed = load.resumed(RESUME_PATIENCE).await;
    ensure!(resumed.is_some(), "plain Valkey does not acknowledge writes again within {} s", RESUME_PATIENCE.as_secs());
    Ok(())
}

async fn on_fastness(demo: &DemoArguments, stage: &Stage) -> Result<(ChainVerdict, Vec<String>)> {
    let mut load = stage.load(demo, LoadMode::Writes).await?;
    stage.watch(&mut load, demo.part()).await;
    let (_, az) = stage.primary(1).await?;
    let fault = Instant::now();
    az_down(&stage.driver, &az).await?;
    load.mark();
    stage.say(&format!("AZ {az} was killed"));
    stage.resumed(&load, fault, "the fault").await?;
    stage.watch(&mut load, demo.part()).await;
    az_up(&stage.driver, &az).await?;
    let (_, az) = stage.primary(1).await?;
    let fault = Instant::now();
    az_links(&stage.driver, &az, AzLinks::Cut).await?;
    load.mark();
    stage.say(&format!("AZ {az} is cut off from the others for {} s; its clients reach it", CUT_OFF.as_secs()));
    stage.resumed(&load, fault, "the fault").await?;
    tokio::time::sleep(CUT_OFF.saturating_sub(fault.elapsed())).await;
    az_links(&stage.driver, &az, AzLinks::Healed).await?;
    stage.say("its links are healed");
    stage.watch(&mut load, demo.part()).await;
    let judgement = stage.judge(load).await?;
    let verdict = writes_of(&judgement)?.clone();
    stage.say(&format!("Fastness has lost {} acknowledged writes", verdict.lost()));
    Ok((verdict, judgement.broken))
}
