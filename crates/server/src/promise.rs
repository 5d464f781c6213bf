//! For how long this node may have promised leaders not to vote, over restarts.
//!
//! A promise lives in memory, and the leader that counts on it does not know that the voter was restarted. So a
//! restarted node is silent for as long as it may have promised before. That is one lease of the default length, unless
//! `failover-timeout` says otherwise: then a file in `dir` remembers it.
//!
//! - A longer promise is on stable storage before the first one is made.
//! - A shorter one replaces it once this start has run for longer than the longer one: only then no promise of an
//!   earlier start runs any more, however often the node was started since.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastness_consensus::Timers;

/// The file in `dir`: milliseconds.
const FILE: &str = "promise";

/// Notes that this start promises for `lease`; returns the longest promise of any start that may still run.
///
/// # Errors
/// The file cannot be read, parsed or written: then nothing may be promised.
pub(crate) fn start(dir: &Path, lease: Duration) -> io::Result<Duration> {
    let path = dir.join(FILE);
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Duration::from_millis).map_err(|_| damaged(&path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Timers::default().lease,
        Err(error) => return Err(error),
    };
    if lease > before {
        write(dir, lease)?;
    }
    Ok(before)
}

/// Once nothing that was promised for `before` runs any more, a restart need not be silent for it.
pub(crate) async fn shorten(dir: PathBuf, before: Duration, lease: Duration) {
    tokio::time::sleep(before + before).await;
    let written = tokio::task::spawn_blocking(move || write(&dir, lease)).await;
    if !matches!(written, Ok(Ok(()))) {
        tracing::warn!(
            "cannot store the shorter failover-timeout: after a restart this node waits for the longer one before it votes"
        );
    }
}

fn damaged(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()))
}

/// Replaces the file in one step.
fn write(dir: &Path, lease: Duration) -> io::Result<()> {
    let path = dir.join(FILE);
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    writeln!(file, "{}", lease.as_millis())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_node_that_was_never_configured_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(start(dir.path(), ms(350)).unwrap(), ms(350));
        assert!(!dir.path().join(FILE).exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_longer_promise_is_remembered_until_it_is_over_however_often_the_node_is_started() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(start(dir.path(), ms(2_000)).unwrap(), ms(350));
        for _ in 0..3 {
            assert_eq!(start(dir.path(), ms(350)).unwrap(), ms(2_000), "a start that does not last");
        }
        shorten(dir.path().to_owned(), ms(2_000), ms(350)).await;
        assert_eq!(start(dir.path(), ms(350)).unwrap(), ms(350));
    }

    #[test]
    fn a_malformed_file_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "x", "350 350", "-1"] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            assert!(start(dir.path(), ms(350)).is_err(), "{text:?}");
        }
    }
}
