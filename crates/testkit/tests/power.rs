//! Power loss on real file systems, the losses of `async`, and the short run of CI. All run the program `chaos` as
//! people do, which starts itself in a sandbox; `FASTNESS_SEED` replays a run.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use fastness_testkit::cluster::{binary, power};
use fastness_testkit::partition;
use fastness_types::{Plant, plant};
use serde_json::Value;

/// Exit status of a run in which no promise was broken.
const GOOD: i32 = 0;
/// Exit status of a run in which promises were broken.
const BROKEN: i32 = 1;

/// Two clusters at once are too much for two cores: a fault is followed by a wait, not by more load.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `chaos` and returns its figures; `status` is the expected exit status. All processes have the planted bug.
fn chaos(arguments: &[&str], planted: Option<Plant>, status: i32) -> Result<Value> {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // A run that breaks promises keeps its cluster's files; an expected one leaves them in this folder, which is
    // removed.
    let place = tempfile::tempdir()?;
    let figures = place.path().join("figures.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(arguments).args(["--verbose", "--workers", "8", "--json"]).arg(&figures).env("TMPDIR", place.path());
    if let Ok(seed) = std::env::var("FASTNESS_SEED") {
        command.args(["--seed", &seed]);
    }
    command.envs(planted.map(|plant| (plant::VARIABLE, plant.name())));
    let output = command.env("FASTNESS_BIN", binary()?).output().context("chaos")?;
    eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() != Some(status) {
        bail!("chaos {arguments:?} ended with {}, files are in {}", output.status, place.keep().display());
    }
    Ok(serde_json::from_slice(&std::fs::read(figures)?)?)
}

#[test]
fn all_nodes_lose_power_ten_times_and_nothing_acknowledged_is_lost() -> Result<()> {
    if let Some(why) = power::lacking() {
        eprintln!("SKIPPED: {why}");
        return Ok(());
    }
    let figures = chaos(&["--profile", "power-all", "--faults", "10"], None, GOOD)?;
    ensure!(figures["power_losses"]["cluster"] == 10, "not every loss counts: {figures}");
    ensure!(figures["acknowledged"].as_u64() >= Some(10_000), "{figures}");
    ensure!(figures["lost"] == 0 && figures["stale"] == 0, "{figures}");
    Ok(())
}

/// The same attack on a cluster that acknowledges before it has written: its losses are found.
#[test]
fn what_was_acknowledged_from_memory_is_lost_and_found_missing() -> Result<()> {
    if let Some(why) = power::lacking() {
        eprintln!("SKIPPED: {why}");
        return Ok(());
    }
    let figures = chaos(&["--profile", "power-all", "--faults", "3"], Some(Plant::AckBeforeCommit), BROKEN)?;
    ensure!(figures["lost"].as_u64() >= Some(1), "{figures}");
    Ok(())
}

/// A primary that is cut off acknowledges until its lag reaches the bound, which is shorter than its lease: so much is
/// lost, and a gate that does not close is found.
#[test]
fn async_loses_no_more_than_the_bound_and_is_found_to_if_it_does() -> Result<()> {
    if let Some(why) = partition::lacking() {
        eprintln!("SKIPPED: {why}");
        return Ok(());
    }
    let cut = ["--durability", "async", "--kinds", "cut-primary", "--faults", "3"];
    let figures = chaos(&cut, None, GOOD)?;
    ensure!(figures["lost_within_bound"].as_u64() >= Some(1), "nothing was lost, so nothing was measured: {figures}");
    chaos(&cut, Some(Plant::NoLagGate), BROKEN)?;
    Ok(())
}

/// Faults that are impossible here are skipped, with a line that says so.
#[test]
fn a_kill_a_pause_an_az_cut_off_and_power_losses_lose_nothing() -> Result<()> {
    let figures = chaos(&["--profile", "ci", "--seconds", "20"], None, GOOD)?;
    let mut wanted = vec!["kill-primary", "pause-primary"];
    if power::lacking().is_none() {
        wanted.extend(["cut-az", "power-primary", "power-all"]);
    }
    for fault in wanted {
        ensure!(figures["by_kind"][fault]["times"].as_u64() >= Some(1), "no {fault}: {figures}");
    }
    ensure!(figures["lost"] == 0 && figures["stale"] == 0, "{figures}");
    Ok(())
}
