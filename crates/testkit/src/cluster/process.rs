//! The state of processes that this process did not start itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Pid;

/// Waits until a killed process has ended.
///
/// # Errors
/// If the process does not end.
pub fn wait_for_exit(pid: Pid) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    // The processes are not children of this one: signal 0 shows whether a process still exists. A zombie that its
    // parent has not waited for counts as ended.
    while rustix::process::test_kill_process(pid).is_ok() && !is_zombie(pid) {
        ensure!(Instant::now() < until, "process {pid:?} does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Whether only the exit status of the process is left. Its first thread becomes a zombie as soon as it has ended;
/// while another thread is still in a system call (an fsync), the process holds its ports and the lock of its data.
fn is_zombie(pid: Pid) -> bool {
    let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let threads = std::fs::read_dir(process.join("task")).map_or(0, Iterator::count);
    state_of(&process) == Some('Z') && threads <= 1
}

/// The state letter in the `stat` file of a process or thread.
pub(super) fn state_of(proc: &Path) -> Option<char> {
    let stat = std::fs::read_to_string(proc.join("stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}
