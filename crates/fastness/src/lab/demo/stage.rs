//! What every demo needs: a cluster, a load, a clock for its messages, and an ending.
//!
//! However a demo ends, by an error or by Ctrl-C too, its own cluster is stopped and removed, and a borrowed one is
//! healed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastness_load::chains::{ChainVerdict, Phase};
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::DemoArguments;
use super::block::PortBlock;
use super::settings::{self, Before, fastness};
use crate::lab::driver::Driver;
use crate::lab::load::LoadMode;
use crate::lab::load::judgement::{Judgement, Verdict};
use crate::lab::load::running::RunningLoad;
use crate::lab::processes::ProcessDriver;
use crate::lab::view::LabView;

/// Time limit for writes to resume on every shard.
const RESUME_PATIENCE: Duration = Duration::from_secs(60);

/// How a demo has ended.
pub enum Ending {
    /// It was shown to its end.
    Shown {
        /// Its figures, on one line.
        summary: String,
        /// Each broken promise as a sentence.
        broken: Vec<String>,
    },
    /// It was not run; the text is the reason.
    Skipped(String),
    /// It could not be shown to its end; the text is the reason.
    Failed(String),
}

impl Ending {
    /// Whether nothing speaks against the cluster.
    pub fn is_good(&self) -> bool {
        match self {
            Ending::Shown { broken, .. } => broken.is_empty(),
            Ending::Skipped(_) => true,
            Ending::Failed(_) => false,
        }
    }
}

/// The user, or a signal, has ended a demo.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The cluster of a demo.
pub struct Stage {
    began: Instant,
    /// Drives the nodes.
    pub driver: ProcessDriver,
    dir: PathBuf,
    owner: ClusterOwner,
}

/// Whose cluster it is.
enum ClusterOwner {
    /// The demo's own.
    Demo(tempfile::TempDir, PortBlock),
    /// The user's, who finds it again as it was.
    User(Before),
}

/// Runs a part of a demo until it ends, or until a signal ends this process.
pub async fn interruptible<T>(part: impl Future<Output = Result<T>>) -> Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = part => done,
        _ = tokio::signal::ctrl_c() => Err(Interrupted.into()),
        _ = terminate.recv() => Err(Interrupted.into()),
    }
}

/// Shows a demo on a cluster in this mode, with this many shards if it is the demo's own.
pub async fn on_stage<T>(
    demo: &DemoArguments,
    mode: &str,
    shards: u32,
    play: impl AsyncFnOnce(&Stage) -> Result<T>,
) -> Result<T> {
    // Without its folder, the supervisor of a cluster that is not complete stops the nodes by itself.
    let stage = interruptible(Stage::open(demo, mode, shards)).await?;
    let played = interruptible(async {
        stage.require(mode).await?;
        play(&stage).await
    });
    let played = played.await;
    let closed = stage.close().await;
    match (played, closed) {
        (Ok(played), closed) => closed.map(|()| played),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(further)) => Err(error.context(format!("the cluster was not cleaned up either: {further:#}"))),
    }
}

impl Stage {
    /// Starts a cluster in this mode, or takes the one that the arguments name in the mode that it has.
    async fn open(demo: &DemoArguments, mode: &str, shards: u32) -> Result<Stage> {
        let began = Instant::now();
        if let Some(dir) = &demo.dir {
            let dir = dir.canonicalize().with_context(|| format!("there is no folder {}", dir.display()))?;
            let driver = ProcessDriver::open(&dir)?;
            let owner = ClusterOwner::User(Before::of(&driver, &dir).await?);
            return Ok(Stage { began, driver, dir, owner });
        }
        let (folder, block) = (tempfile::Builder::new().prefix("fastness-demo-").tempdir()?, PortBlock::reserve()?);
        let dir = folder.path().to_owned();
        let (port, shards) = (block.first().to_string(), shards.to_string());
        let options = ["dev", "--detach", "--port", &port, "--shards", &shards, "--durability", mode];
        if let Err(error) = fastness(&options, &dir).await {
            // The command may have failed before there was anything to stop.
            let _ = fastness(&["dev", "stop"], &dir).await;
            return Err(error.context("the demo's cluster does not start"));
        }
        let driver = ProcessDriver::open(&dir)?;
        Ok(Stage { began, driver, dir, owner: ClusterOwner::Demo(folder, block) })
    }

    /// Makes sure that the cluster is in the mode that the demo needs, and introduces it.
    async fn require(&self, mode: &str) -> Result<()> {
        let view = LabView::settled(&self.driver).await;
        let before = view.modes.first().cloned().flatten().context("the cluster does not report its mode")?;
        if before != mode {
            self.set_mode(mode).await.context("the cluster cannot change to the mode that the demo needs")?;
        }
        let (nodes, shards) = (view.nodes.len(), view.primaries.len());
        let whose = match &self.owner {
            ClusterOwner::Demo(..) => "a cluster of its own".to_owned(),
            ClusterOwner::User(before) => {
                format!("the cluster in {}, which was in {}", self.dir.display(), before.mode)
            }
        };
        self.say(&format!("{whose}: {nodes} nodes, {shards} shards, {mode}"));
        Ok(())
    }

    /// Prints a message with the time since the beginning.
    pub fn say(&self, what: &str) {
        println!("{:>7.2} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// The folder of the cluster.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Changes the durability mode, and waits until it is in force.
    pub async fn set_mode(&self, mode: &str) -> Result<()> {
        settings::set_mode(&self.dir, mode).await
    }

    /// Starts the load that the arguments describe.
    pub async fn load(&self, demo: &DemoArguments, mode: LoadMode) -> Result<RunningLoad> {
        let load = RunningLoad::start(&self.dir, &demo.plan(mode)).await?;
        self.say(&format!("a load of {} clients, {} commands a second", demo.clients, demo.rate));
        Ok(load)
    }

    /// Lets the load run for a part of the demo, and says what happened meanwhile.
    pub async fn watch(&self, load: &mut RunningLoad, length: Duration) -> Phase {
        tokio::time::sleep(length).await;
        let phase = load.next_phase();
        self.say(&phase_text(&phase));
        phase
    }

    /// The node that is the primary of a shard, and its AZ.
    pub async fn primary(&self, shard: usize) -> Result<(u64, String)> {
        let view = LabView::settled(&self.driver).await;
        let id = view.primaries.get(shard - 1).copied().flatten();
        let id = id.with_context(|| format!("shard {shard} has no primary"))?;
        let node = self.driver.nodes().iter().find(|node| node.id == id).context("a primary that is no node")?;
        Ok((id, node.az.clone()))
    }

    /// Waits until every shard (or bank) acknowledges writes that were sent after the load's mark; says and returns how
    /// many seconds after `event` the last one did.
    pub async fn resumed(&self, load: &RunningLoad, event: Instant, name: &str) -> Result<f64> {
        let resumed = load.resumed(RESUME_PATIENCE).await;
        let patience = RESUME_PATIENCE.as_secs();
        let every = match load {
            RunningLoad::Writes(_) => "every shard acknowledges writes",
            RunningLoad::Payments(_) => "every bank confirms payments",
        };
        let resumed = resumed.with_context(|| format!("not so within {patience} s: {every}"))?;
        let seconds = resumed.saturating_duration_since(event).as_secs_f64();
        self.say(&format!("{every}; the last one resumed {seconds:.2} s after {name}"));
        Ok(seconds)
    }

    /// Stops the load, and judges it.
    pub async fn judge(&self, load: RunningLoad) -> Result<Judgement> {
        self.say("the load stops; every acknowledged write is read back");
        load.stop_and_check().await
    }

    /// Stops and removes the demo's cluster, or heals the borrowed one.
    async fn close(self) -> Result<()> {
        let Stage { driver, dir, owner, .. } = self;
        let (folder, _block) = match owner {
            ClusterOwner::Demo(folder, block) => (folder, block),
            ClusterOwner::User(before) => {
                let restored = before.restore(&driver, &dir).await;
                return restored.with_context(|| format!("the cluster in {} is not as it was", dir.display()));
            }
        };
        fastness(&["dev", "stop"], &dir).await?;
        folder.close().context("the demo's folder cannot be removed")
    }
}

/// What has happened in a phase, for display.
pub fn phase_text(phase: &Phase) -> String {
    let ms = |histogram: &hdrhistogram::Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    let doubtful = if phase.unknown > 0 { format!(", {} unknown", phase.unknown) } else { String::new() };
    let refused = match (phase.refused, phase.cluster_down) {
        (0, _) => String::new(),
        (refused, 0) => format!(", {refused} refused"),
        (refused, down) => format!(", {refused} refused ({down} with CLUSTERDOWN)"),
    };
    let reads = match (phase.reads, phase.reads_failed) {
        (0, 0) => String::new(),
        (reads, failed) => format!("; {reads} reads (p99 {:.1} ms), {failed} failed", ms(&phase.read_us, 0.99)),
    };
    format!(
        "{:.1} s of load: {} writes acknowledged (p50 {:.1} ms, p99 {:.1} ms){refused}{doubtful}{reads}",
        phase.length.as_secs_f64(),
        phase.acknowledged,
        ms(&phase.write_us, 0.5),
        ms(&phase.write_us, 0.99),
    )
}

/// The verdict of a load of writes.
pub fn writes_of(judgement: &Judgement) -> Result<&ChainVerdict> {
    match &judgement.figures {
        Verdict::Writes(verdict) => Ok(verdict),
        Verdict::Payments(_) => anyhow::bail!("the load was one of payments"),
    }
}
