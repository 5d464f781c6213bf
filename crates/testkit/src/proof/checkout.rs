//! The state of the code that a run tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

/// The files of the ledger: a row written before does not make a checkout dirty.
const OWN: [&str; 2] = [":(exclude)tests/ledger.jsonl", ":(exclude)tests/LEDGER.md"];

/// The checkout in which this program was built.
#[must_use]
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

/// The checkout at the start of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The commit.
    pub commit: String,
    /// Whether files differ from the commit, or are in no commit.
    pub dirty: bool,
    /// Time, seconds since 1970.
    pub at_s: u64,
    /// Release of the kernel.
    pub kernel: Option<String>,
}

impl Checkout {
    /// The current state.
    ///
    /// # Errors
    /// If git fails.
    pub fn now() -> Result<Checkout> {
        let mut status = vec!["status", "--porcelain", "--", "."];
        status.extend(OWN);
        let kernel = rustix::system::uname().release().to_str().ok().map(str::to_owned);
        Ok(Checkout {
            commit: git(&["rev-parse", "HEAD"])?.trim().to_owned(),
            dirty: !git(&status)?.trim().is_empty(),
            at_s: SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs(),
            kernel,
        })
    }
}

/// Whether the code at a commit equals that of the current checkout: then the same seed gives the same run.
///
/// # Errors
/// If git does not know the commit.
pub fn is_same_code(commit: &str) -> Result<bool> {
    let differ = git(&[
        "diff",
        "--name-only",
        commit,
        "--",
        "Cargo.lock",
        "proto",
        "crates",
        ":(exclude)crates/*.md",
        ":(exclude)crates/*/tests",
    ])?;
    Ok(differ.trim().is_empty())
}

fn git(args: &[&str]) -> Result<String> {
    let output = Command::new("git").arg("-C").arg(project()).args(args).output().context("git")?;
    ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
