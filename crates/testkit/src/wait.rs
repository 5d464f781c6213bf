//! Waits for something that takes an unknown time, with a bound.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_load::ledger::Book;

/// Poll interval.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Repeats `attempt` until it succeeds, and returns its value.
///
/// # Errors
/// The last error of `attempt`, if it has not succeeded within `patience`.
pub async fn until_ok<T>(patience: Duration, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        match attempt().await {
            Err(_) if Instant::now() < until => tokio::time::sleep(POLL_INTERVAL).await,
            last => return last,
        }
    }
}

/// Waits until `more` further writes of a load are acknowledged.
///
/// # Errors
/// If they are not within `patience`.
pub async fn until_acknowledged(book: &Book, more: u64, patience: Duration) -> Result<()> {
    let target = book.summary().acknowledged + more;
    until_ok(patience, async || {
        let summary = book.summary();
        ensure!(summary.acknowledged >= target, "fewer than {more} writes were acknowledged: {summary:?}");
        Ok(())
    })
    .await
}
