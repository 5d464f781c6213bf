//! Which process a node is, and what can be done to it.
//!
//! A process id alone may name a stranger after the node has died, or after a reboot. So a node's process is known by its
//! id, the time it was started (in the kernel's ticks since boot) and the boot; a signal is sent only if all three match.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::folder::{Folder, write_atomically};

/// One process, never mistaken for another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its id.
    pub pid: i32,
    start_ticks: u64,
    boot_id: String,
}

impl ProcessId {
    /// The process that has this id now.
    pub fn now(pid: i32) -> Option<ProcessId> {
        let (state, start_ticks) = state_and_start(pid)?;
        let ended = match state {
            'X' => true,
            'Z' => threads(pid) <= 1,
            _ => false,
        };
        (!ended).then(|| ProcessId { pid, start_ticks, boot_id: boot_id() })
    }

    /// Whether it still runs (or is stopped by a signal). A zombie does not, unless it has threads left: while one of them
    /// ends a system call (an fsync), the process still holds its ports and its data's lock.
    pub fn is_alive(&self) -> bool {
        ProcessId::now(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal, if it is still this process.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // It may end between the look and the signal; then there is nothing to do.
            let _ = kill_process(pid, signal);
        }
    }
}

/// State and start time out of `/proc/PID/stat`, whose second field may hold anything in parentheses.
fn state_and_start(pid: i32) -> Option<(char, u64)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Threads that have not ended, the first one always counted.
fn threads(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim_end().to_owned()
}

/// The process of a node, if it runs.
pub fn of_node(folder: &Folder, node: u64) -> Option<ProcessId> {
    let text = std::fs::read(folder.run_file(node)).ok()?;
    serde_json::from_slice::<ProcessId>(&text).ok().filter(ProcessId::is_alive)
}

/// Starts a node: this same binary as `server --config FILE`, in a process group of its own (a Ctrl-C in the terminal is
/// the supervisor's to handle), its words in its log file.
pub fn start_node(binary: &Path, folder: &Folder, node: u64) -> Result<(Child, ProcessId)> {
    let log_path = folder.node_log(node);
    let log = OpenOptions::new().create(true).append(true).open(&log_path);
    let log = log.with_context(|| log_path.display().to_string())?;
    let child = Command::new(binary)
        .arg("server")
        .arg("--config")
        .arg(folder.node_config(node))
        .current_dir(folder.node(node))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let id = ProcessId::now(child.id() as i32)
        .with_context(|| format!("node {node} ended at once; its log: {}", log_path.display()))?;
    write_atomically(&folder.run_file(node), &serde_json::to_vec(&id)?)?;
    Ok((child, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stat_line_is_read_whatever_the_name() {
        let stat = "42 (a) b ( c) S 1 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        assert_eq!(parse_stat(stat), Some(('S', 987_654)));
        assert_eq!(parse_stat("42 (x"), None);
        assert_eq!(parse_stat("42 (x) S 1"), None);
    }

    #[test]
    fn this_process_is_alive_and_a_namesake_is_not() {
        let own = ProcessId::now(std::process::id() as i32).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessId { start_ticks: own.start_ticks + 1, ..own.clone() }.is_alive());
        assert!(!ProcessId { boot_id: "other".into(), ..own }.is_alive());
    }

    #[test]
    fn a_child_that_ended_is_dead_before_it_is_waited_for() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = ProcessId::now(child.id() as i32).unwrap();
        assert!(id.is_alive());
        id.signal(Signal::KILL);
        while id.is_alive() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
