//! Identifies the process of each node, and sends signals to it.
//!
//! After a node has died, or after a reboot, its process id may belong to another process. So a node's process is
//! identified by its id, its start time (in the kernel's ticks since boot) and the boot; a signal is sent only if all
//! three match.
//!
//! A killed process does not disappear at once. From the moment SIGKILL is sent it runs none of its own code, but until
//! its last thread has left the kernel it still has its ports and the lock on its data. [`Presence`] distinguishes the
//! two states: a dying process does not count as running, and its successor starts only after it has exited.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use crate::files::write_atomically;

/// SIGKILL in the masks of `/proc/PID/status`.
const SIGKILL_BIT: u64 = 1 << 8;
/// The kernel's flag of an exiting task.
const PF_EXITING: u64 = 4;

/// Identifies one process; never matches another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its id.
    pub pid: i32,
    start_ticks: u64,
    boot_id: String,
}

/// How much of a process still exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The process is running, or is stopped by a signal and will resume.
    Running,
    /// The process was killed or is exiting: it no longer serves, but may still have its ports and the lock on its
    /// data.
    Dying,
    /// The process has released everything; at most a zombie that nobody has waited for remains.
    Exited,
}

impl ProcessId {
    /// The process that has this id now, unless it has exited.
    pub fn now(pid: i32) -> Option<ProcessId> {
        let id = identity(pid)?;
        (id.presence() != Presence::Exited).then_some(id)
    }

    /// How much of the process still exists.
    pub fn presence(&self) -> Presence {
        if identity(self.pid).as_ref() == Some(self) { presence(self.pid) } else { Presence::Exited }
    }

    /// Whether the process is running (or stopped by a signal).
    pub fn is_running(&self) -> bool {
        self.presence() == Presence::Running
    }

    /// Whether a signal has stopped all threads of the process.
    pub fn is_paused(&self) -> bool {
        let state = |thread| Stat::read(&format!("/proc/{}/task/{thread}/stat", self.pid)).map(|stat| stat.state);
        self.is_running() && threads(self.pid).filter_map(state).all(|state| state == 'T')
    }

    /// Whether the process has released everything.
    pub fn has_exited(&self) -> bool {
        self.presence() == Presence::Exited
    }

    /// Sends a signal, if the id still belongs to this process.
    pub fn signal(&self, signal: Signal) {
        if !self.has_exited()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // The process may exit between the check and the signal; then there is nothing to do.
            let _ = kill_process(pid, signal);
        }
    }
}

fn identity(pid: i32) -> Option<ProcessId> {
    let stat = Stat::of(pid)?;
    Some(ProcessId { pid, start_ticks: stat.start_ticks, boot_id: boot_id() })
}

fn presence(pid: i32) -> Presence {
    let Some(stat) = Stat::of(pid) else { return Presence::Exited };
    match stat.state {
        'X' => Presence::Exited,
        // While one of its threads completes a system call (an fsync), a zombie still has open files.
        'Z' if threads(pid).count() <= 1 => Presence::Exited,
        'Z' => Presence::Dying,
        _ if stat.is_exiting || threads(pid).any(|thread| kill_is_pending(pid, thread)) => Presence::Dying,
        _ => Presence::Running,
    }
}

/// Whether a thread has a SIGKILL that it has not handled yet. The kernel sends it to every thread of a killed process.
/// A thread that has just taken the signal shows neither the signal nor that it is exiting, so all threads are checked.
fn kill_is_pending(pid: i32, thread: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).unwrap_or_default();
    status.lines().any(|line| {
        let pending = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"));
        pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & SIGKILL_BIT != 0)
    })
}

/// The threads that have not exited; the first one is always included.
fn threads(pid: i32) -> impl Iterator<Item = i32> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Content of `/proc/PID/stat`, whose second field may contain any characters in parentheses.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    is_exiting: bool,
    start_ticks: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Stat> {
        Stat::read(&format!("/proc/{pid}/stat"))
    }

    fn read(path: &str) -> Option<Stat> {
        Stat::parse(&std::fs::read_to_string(path).ok()?)
    }

    fn parse(stat: &str) -> Option<Stat> {
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        // The state is field 3, the kernel's flags are field 9, the start time is field 22.
        let state = fields.next()?.chars().next()?;
        let flags: u64 = fields.nth(5)?.parse().ok()?;
        Some(Stat { state, is_exiting: flags & PF_EXITING != 0, start_ticks: fields.nth(12)?.parse().ok()? })
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim_end().to_owned()
}

/// The process of a node, if it is running.
pub fn of_node(folder: &Folder, node: u64) -> Option<ProcessId> {
    left_of_node(folder, node).filter(ProcessId::is_running)
}

/// The process of a node, if it is running or still dying.
pub fn left_of_node(folder: &Folder, node: u64) -> Option<ProcessId> {
    let text = std::fs::read(folder.run_file(node)).ok()?;
    serde_json::from_slice::<ProcessId>(&text).ok().filter(|process| !process.has_exited())
}

/// Starts a node: this binary as `server --config FILE`, in its own process group (the supervisor handles Ctrl-C in the
/// terminal), with its output in its log file.
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
        .with_context(|| format!("node {node} stopped at once; its log: {}", log_path.display()))?;
    write_atomically(&folder.run_file(node), &serde_json::to_vec(&id)?)?;
    Ok((child, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stat_line_is_parsed_with_any_process_name() {
        let stat = "42 (a) b ( c) S 1 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        let read = Stat { state: 'S', is_exiting: false, start_ticks: 987_654 };
        assert_eq!(Stat::parse(stat), Some(read));
        assert!(Stat::parse(&stat.replace("4194304", "4194308")).unwrap().is_exiting);
        assert_eq!(Stat::parse("42 (x"), None);
        assert_eq!(Stat::parse("42 (x) S 1"), None);
    }

    #[test]
    fn this_process_is_running_and_another_one_with_its_id_is_not() {
        let own = ProcessId::now(std::process::id() as i32).unwrap();
        assert!(own.is_running());
        for other in [
            ProcessId { start_ticks: own.start_ticks + 1, ..own.clone() },
            ProcessId { boot_id: "other".into(), ..own.clone() },
        ] {
            assert_eq!(other.presence(), Presence::Exited);
        }
    }

    /// However long the kernel takes to end the process: it is checked directly after the signal is sent.
    #[test]
    fn a_process_does_not_count_as_running_once_sigkill_was_sent() {
        for _ in 0..50 {
            let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
            let id = ProcessId::now(child.id() as i32).unwrap();
            assert!(id.is_running());
            id.signal(Signal::KILL);
            assert!(!id.is_running());
            while !id.has_exited() {
                std::thread::yield_now();
            }
            // A zombie that nobody has waited for counts as exited.
            child.wait().unwrap();
            assert!(id.has_exited());
        }
    }

    #[test]
    fn a_stopped_process_is_running() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = ProcessId::now(child.id() as i32).unwrap();
        id.signal(Signal::STOP);
        while Stat::of(id.pid).unwrap().state != 'T' {
            std::thread::yield_now();
        }
        assert!(id.is_running() && id.is_paused());
        id.signal(Signal::KILL);
        assert!(!id.is_running() && !id.is_paused());
        child.wait().unwrap();
    }
}
