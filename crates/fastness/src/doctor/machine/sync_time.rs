//! How long a synced write takes on the disk of the data folder, measured.

use std::io::{Error, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::super::finding::{CheckResult, Finding, quoted};
use super::host::Machine;

const CHECK: &str = "sync time";
/// Size of one write: the smallest unit of most devices.
const WRITE_BYTES: usize = 4096;
/// Writes that are measured.
const WRITES_MAX: usize = 50;
/// No further write starts after this time.
const MEASURED_MAX: Duration = Duration::from_secs(5);
/// A measurement that has not ended then is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// As in the alert `FastnessFsyncSlow`.
const SLOW: Duration = Duration::from_millis(100);
/// A node hands over what it leads when a write takes this long.
const STALLED: Duration = Duration::from_secs(2);

pub fn check(host: &Machine) -> Vec<Finding> {
    let folder = host.data_folder();
    vec![judge(&folder, measured_in_time(folder.clone()), &host.repeat())]
}

/// What the measurement has shown.
enum Measured {
    /// Durations of synced writes, ascending.
    Spans(Vec<Duration>),
    Failed(Error),
    /// A write did not return.
    Hangs,
}

/// Measures on a thread of its own, which is left behind if the disk hangs.
fn measured_in_time(folder: PathBuf) -> Measured {
    let (sender, receiver) = sync_channel(1);
    let measuring = std::thread::Builder::new().name("sync-time".to_owned());
    let started = measuring.spawn(move || {
        let _ = sender.send(measure(&folder));
    });
    match started.map(|_| receiver.recv_timeout(PATIENCE)) {
        Ok(Ok(Ok(spans))) => Measured::Spans(spans),
        Ok(Ok(Err(error))) | Err(error) => Measured::Failed(error),
        Ok(Err(RecvTimeoutError::Timeout)) => Measured::Hangs,
        Ok(Err(RecvTimeoutError::Disconnected)) => Measured::Failed(Error::other("the measurement has ended early")),
    }
}

/// Writes to a file without a name, which disappears with the descriptor.
fn measure(folder: &Path) -> std::io::Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(folder)?;
    let (start, block) = (Instant::now(), [0xa5; WRITE_BYTES]);
    let mut spans = Vec::with_capacity(WRITES_MAX);
    while spans.len() < WRITES_MAX && (spans.is_empty() || start.elapsed() < MEASURED_MAX) {
        let before = Instant::now();
        file.write_all(&block)?;
        rustix::fs::fdatasync(&file)?;
        spans.push(before.elapsed());
        // Eight blocks in turn, as a log file that is reused, so that the file does not grow with each write.
        if spans.len().is_multiple_of(8) {
            file.seek(SeekFrom::Start(0))?;
        }
    }
    spans.sort();
    Ok(spans)
}

/// The span that this share of the writes does not exceed.
fn at(spans: &[Duration], percent: usize) -> Duration {
    let rank = (spans.len() * percent).div_ceil(100).max(1);
    spans.get(rank - 1).copied().unwrap_or_default()
}

fn judge(folder: &Path, measured: Measured, repeat: &str) -> Finding {
    let subject = folder.display().to_string();
    let next = format!("iostat -x 1 5; findmnt --target {}", quoted(&subject));
    let spans = match measured {
        Measured::Spans(spans) => spans,
        Measured::Hangs => {
            let why = "a node whose log disk hangs for 2 s hands over what it leads";
            let found = Finding::ok(CHECK, subject, format!("a synced write has not returned within {PATIENCE:?}"));
            return found.but(CheckResult::Problem, why).then_system(next);
        }
        Measured::Failed(error) => {
            let found = Finding::not_checked(CHECK, subject, format!("no file can be written there: {error}"));
            return found.then_system(format!("sudo -u fastness {repeat}"));
        }
    };
    let (median, p99) = (at(&spans, 50), at(&spans, 99));
    let count = spans.len();
    let found = Finding::ok(CHECK, subject, format!("{count} writes of 4 KiB: median {median:.1?}, p99 {p99:.1?}"));
    if p99 >= STALLED {
        let why = "a write that takes 2 s counts as a stalled disk: the node hands over what it leads";
        return found.but(CheckResult::Problem, why).then_system(next);
    }
    if p99 >= SLOW {
        let why = "in sync mode every write waits for this, on the second fastest disk of three";
        return found.but(CheckResult::Warning, why).then_system(next);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn slow_writes_are_reported() {
        let of = |spans: &[u64]| {
            let spans = spans.iter().map(|ms| Duration::from_millis(*ms)).collect();
            result(&judge(Path::new("/d"), Measured::Spans(spans), "fastness doctor"))
        };
        assert_eq!(of(&[1; 50]), CheckResult::Ok);
        assert_eq!(of(&[1, 2, 150]), CheckResult::Warning);
        assert_eq!(of(&[1, 2, 2_500]), CheckResult::Problem);
        assert_eq!(result(&judge(Path::new("/d"), Measured::Hangs, "x")), CheckResult::Problem);
        let failed = Measured::Failed(Error::other("read-only"));
        assert_eq!(result(&judge(Path::new("/d"), failed, "x")), CheckResult::NotChecked);
    }

    #[test]
    fn percentiles_are_spans_that_were_measured() {
        let spans: Vec<_> = (1..=50).map(Duration::from_millis).collect();
        assert_eq!((at(&spans, 50), at(&spans, 99)), (Duration::from_millis(25), Duration::from_millis(50)));
        assert_eq!(at(&spans[..1], 99), Duration::from_millis(1));
    }

    #[test]
    fn a_real_disk_is_measured_and_nothing_is_left_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let spans = measure(dir.path()).unwrap();
        assert!(!spans.is_empty() && spans.len() <= WRITES_MAX && spans.is_sorted());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(measure(&dir.path().join("absent")).is_err());
    }
}
