//! The process of a load: runs until SIGTERM, reports its figures every second, and writes its verdict.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use fastness_load::chains::Phase;
use tokio::signal::unix::{SignalKind, signal};

use super::files::LoadFiles;
use super::plan::LoadPlan;
use super::running::RunningLoad;
use super::state::LoadState;
use crate::files::write_atomically;

/// Interval between two reports.
const REPORT: Duration = Duration::from_secs(1);
/// Number of reports that the current figures are taken from.
const RECENT: usize = 10;

/// Runs a load until SIGTERM; returns the exit status.
pub async fn run(dir: &Path, plan: &LoadPlan) -> Result<u8> {
    // Starts a new session, so that the terminal's signals do not reach the load. Fails only if it leads one already.
    let _ = rustix::process::setsid();
    let files = LoadFiles::of(dir)?;
    let (mut terminate, mut tick) = (signal(SignalKind::terminate())?, tokio::time::interval(REPORT));
    let began = Instant::now();
    let mut load = RunningLoad::start(dir, plan).await?;
    let mut recent: VecDeque<Phase> = VecDeque::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = tick.tick() => report(&files, plan, &mut load, &mut recent, began)?,
        }
    }
    let judgement = load.stop_and_check().await?;
    write_atomically(&files.verdict_file(), &serde_json::to_vec_pretty(&judgement)?)?;
    Ok(judgement.status())
}

/// Fails, which ends the load, if the folder was removed.
fn report(
    files: &LoadFiles,
    plan: &LoadPlan,
    load: &mut RunningLoad,
    recent: &mut VecDeque<Phase>,
    began: Instant,
) -> Result<()> {
    recent.push_back(load.next_phase());
    if recent.len() > RECENT {
        recent.pop_front();
    }
    let mut sum = Phase::beginning(began);
    recent.iter().for_each(|phase| sum.add(phase));
    let state = LoadState::of(plan, load.total(), &sum, &load.interruptions(began), load.lost_so_far());
    write_atomically(&files.state_file(), &serde_json::to_vec_pretty(&state)?)
}
