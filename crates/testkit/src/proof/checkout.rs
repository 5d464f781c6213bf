//! What a run is a run of.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

/// The ledger's own files: a row that was written before makes no checkout dirty.
const OWN: [&str; 2] = [":(exclude)tests/ledger.jsonl", ":(exclude)tests/LEDGER.md"];

/// The checkout that this was built in.
#[must_use]
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

/// The checkout at one moment; to be taken when a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Its commit.
    pub commit: String,
    /// Whether files differ from it, or are in no commit.
    pub dirty: bool,
    /// Seconds since 1970.
    pub at_s: u64,
    /// Release of the kernel.
    pub kernel: Option<String>,
}

impl Checkout {
    /// As it is now.
    ///
    /// # Errors
    /// If git cannot tell.
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

/// Whether the code at a commit is that of the checkout as it is now: then the same seed is the same run.
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
