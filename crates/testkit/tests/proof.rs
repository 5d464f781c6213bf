//! The ledger of long runs is as its tools wrote it, and its page is what the rows give.

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
    let git = |args: &[&str]| std::process::Command::new("git").arg("-C").arg(proof::project()).args(args).output();
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
