//! The ledger of long runs is unchanged since its tools wrote it, and its page matches the rows.

use std::process::Command;

use anyhow::{Result, ensure};
use fastness_testkit::proof::{self, Checkout};

#[test]
fn no_row_was_edited_removed_or_moved_and_the_page_shows_them() -> Result<()> {
    let file = proof::project().join("tests/ledger.jsonl");
    let rows = proof::rows(&file)?;
    let page = std::fs::read_to_string(proof::page_of(&file))?;
    ensure!(page == proof::page(&rows), "the page is not what the rows give: run `make ledger`");
    Ok(())
}

#[test]
fn every_commit_of_a_row_that_counts_is_in_the_history() -> Result<()> {
    let git = |args: &[&str]| Command::new("git").arg("-C").arg(proof::project()).args(args).output();
    if git(&["rev-parse", "--is-shallow-repository"])?.stdout != b"false\n" {
        eprintln!("SKIPPED: not a clone with its history");
        return Ok(());
    }
    for row in proof::rows(&proof::project().join("tests/ledger.jsonl"))?.iter().filter(|row| row.counted) {
        let commit = &row.row.commit;
        let is_known = git(&["merge-base", "--is-ancestor", commit, "HEAD"])?.status.success();
        ensure!(is_known, "row {}: commit {commit} is not in the history of this one", row.number);
    }
    Ok(())
}

#[test]
fn a_checkout_knows_its_commit() -> Result<()> {
    let checkout = Checkout::now()?;
    ensure!(checkout.commit.len() == 40, "{checkout:?}");
    ensure!(checkout.kernel.is_some(), "{checkout:?}");
    Ok(())
}

/// One run of the simulation in the ledger is repeated, a different one for each commit: its first seed must hold
/// again, and if the code has not changed since, it is the same run.
#[test]
fn a_row_of_the_ledger_runs_again() -> Result<()> {
    let rows = proof::rows(&proof::project().join("tests/ledger.jsonl"))?;
    let Some(picked) = proof::pick(&rows, &Checkout::now()?.commit) else {
        eprintln!("SKIPPED: no row of the simulation counts");
        return Ok(());
    };
    let row = &picked.row;
    let mut simulate = Command::new(env!("CARGO_BIN_EXE_simulate"));
    simulate.args(["--seed", &row.seed.to_string()]);
    if row.profile != "all" {
        simulate.args(["--profile", &row.profile]);
    }
    let output = simulate.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.contains(": holds"), "row {}, seed {}: {said}", picked.number, row.seed);
    println!("row {}: {}", picked.number, said.lines().next().unwrap_or_default());
    if let (Some(trace), Ok(true)) = (&row.trace, proof::is_same_code(&row.commit)) {
        ensure!(said.contains(&format!("trace {trace}")), "row {}: the trace was {trace}, now: {said}", picked.number);
        println!("it is the same run");
    }
    Ok(())
}
