//! `fastness lab load`: a load that knows every acknowledged write, and judges the cluster at the end.
//!
//! The load is a process of its own. Its files are in the lab's folder, in `load/`:
//!
//! | file | what |
//! |---|---|
//! | `run.json` | identifies the process |
//! | `state.json` | its figures, replaced every second |
//! | `verdict.json` | written when it has stopped |
//! | `load.log` | its messages |
//!
//! What it remembers is in its memory only, so a load that is killed proves nothing.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use rustix::process::Signal;
use tokio::time::Instant;

use super::target::LabTarget;
use crate::dev::ProcessId;
use crate::files::write_atomically;
use files::LoadFiles;
use judgement::Judgement;
pub use plan::{LoadMode, LoadPlan};
use state::LoadState;

mod background;
mod files;
pub mod judgement;
pub mod payments;
mod plan;
pub mod running;
mod state;

/// Time limit for the process to report its first figures.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Time limit for the process to stop. It reads everything back first.
const STOP_PATIENCE: Duration = Duration::from_secs(180);
/// Interval between two checks.
const POLL: Duration = Duration::from_millis(50);
/// Number of log lines that are shown of a load that has failed.
const LOG_LINES: usize = 12;

/// The subcommands of `fastness lab load`.
#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Start a load in the background
    Start(LoadArguments),
    /// Stop the load, read every acknowledged write back, and print the verdict; exit status 1 if a promise is broken
    Stop(LabTarget),
    /// Show the figures of the load
    Status(LabTarget),
    /// Run the load in this process
    #[command(hide = true)]
    Run(LoadArguments),
}

/// The arguments of a load.
#[derive(Debug, Args)]
pub struct LoadArguments {
    #[command(flatten)]
    target: LabTarget,
    #[command(flatten)]
    plan: LoadPlan,
}

/// Runs a subcommand and returns the exit status.
pub async fn run(command: LoadCommand) -> Result<u8> {
    match command {
        LoadCommand::Start(arguments) => start(&arguments).await.map(|()| 0),
        LoadCommand::Run(arguments) => background::run(&arguments.target.dir(), &arguments.plan).await,
        LoadCommand::Status(target) => status(&target).map(|()| 0),
        LoadCommand::Stop(target) => stop(&target).await,
    }
}

fn files(target: &LabTarget) -> Result<LoadFiles> {
    ensure!(
        !target.has_addresses(),
        "the load keeps its state in the folder of a dev cluster: give --dir, no --address"
    );
    LoadFiles::of(&target.dir())
}

async fn start(arguments: &LoadArguments) -> Result<()> {
    let LoadArguments { target, plan } = arguments;
    let files = files(target)?;
    plan.check()?;
    let _lock = files.lock()?;
    if let Some(process) = files.process() {
        bail!("a load is running already (pid {}): stop it with `fastness lab load stop`", process.pid);
    }
    files.prepare()?;
    let log = std::fs::File::create(files.log()).with_context(|| files.log().display().to_string())?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["lab", "load", "run", "--dir"]).arg(target.dir().canonicalize()?).args(plan.arguments());
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    let mut child = child.context("cannot start the load")?;
    match first_report(&files, &mut child).await {
        Ok((id, state)) => print_state(target, &state, Some(&id)),
        Err(error) => {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = std::fs::remove_file(files.run());
            Err(error)
        }
    }
}

/// Waits until the new process of a load has reported its first figures.
async fn first_report(files: &LoadFiles, child: &mut Child) -> Result<(ProcessId, LoadState)> {
    let id = ProcessId::now(child.id() as i32).with_context(|| failed(files))?;
    write_atomically(&files.run(), &serde_json::to_vec(&id)?)?;
    let until = Instant::now() + START_PATIENCE;
    while !files.state_file().exists() {
        ensure!(child.try_wait()?.is_none(), failed(files));
        ensure!(Instant::now() < until, "the load reports nothing within {} s", START_PATIENCE.as_secs());
        tokio::time::sleep(POLL).await;
    }
    Ok((id, files.state()?))
}

fn failed(files: &LoadFiles) -> String {
    format!("the load has ended. The last lines of its log, {}:\n{}", files.log().display(), files.log_tail(LOG_LINES))
}

/// The process of the load; otherwise why there is none.
fn running(files: &LoadFiles) -> Result<ProcessId> {
    if let Some(process) = files.process() {
        return Ok(process);
    }
    if files.run().exists() && !files.verdict_file().exists() {
        // Reported once: there is nothing more to learn of it.
        let text = format!("{}It knew which writes were acknowledged, so nothing is proven", failed(files));
        std::fs::remove_file(files.run())?;
        bail!(text);
    }
    bail!("no load is running in {}: start one with `fastness lab load start`", files.dir().display())
}

fn status(target: &LabTarget) -> Result<()> {
    let files = files(target)?;
    let process = running(&files)?;
    print_state(target, &files.state()?, Some(&process))
}

fn print_state(target: &LabTarget, state: &LoadState, process: Option<&ProcessId>) -> Result<()> {
    if target.json() {
        println!("{}", serde_json::to_string_pretty(state)?);
    } else {
        print!("{}", state.table(process.map(|process| process.pid)));
    }
    Ok(())
}

async fn stop(target: &LabTarget) -> Result<u8> {
    let files = files(target)?;
    let process = running(&files)?;
    process.signal(Signal::TERM);
    process.signal(Signal::CONT);
    let until = Instant::now() + STOP_PATIENCE;
    while !process.has_exited() {
        ensure!(Instant::now() < until, "the load does not stop within {} s", STOP_PATIENCE.as_secs());
        tokio::time::sleep(POLL).await;
    }
    if !files.verdict_file().exists() {
        running(&files)?;
    }
    let judgement: Judgement = files.verdict()?;
    std::fs::remove_file(files.run())?;
    if target.json() {
        println!("{}", serde_json::to_string_pretty(&judgement)?);
    } else {
        print!("{judgement}");
    }
    Ok(judgement.status())
}
