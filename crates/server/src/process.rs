//! What the system reports about this process and machine, for INFO and metrics. Read from `/proc` on each request.

use std::io;
use std::sync::OnceLock;
use std::thread::JoinHandle;

/// The unit of `/proc`'s CPU times (`USER_HZ`), which Linux keeps at 100 whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time and memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Seconds in the kernel.
    pub cpu_system: f64,
    /// Seconds in user space.
    pub cpu_user: f64,
    /// Memory that is resident, bytes.
    pub resident_bytes: u64,
    /// The machine's memory, bytes.
    pub machine_bytes: u64,
}

impl Usage {
    /// Current usage; zeros where the system does not report it.
    #[must_use]
    pub fn now() -> Usage {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (user, system) = cpu_ticks(&read("/proc/self/stat")).unwrap_or_default();
        Usage {
            cpu_system: system as f64 / TICKS_PER_SECOND,
            cpu_user: user as f64 / TICKS_PER_SECOND,
            resident_bytes: kilobytes(&read("/proc/self/status"), "VmRSS:") * 1024,
            machine_bytes: kilobytes(&read("/proc/meminfo"), "MemTotal:") * 1024,
        }
    }
}

/// The memory that this process may use, bytes: the smaller one of the machine's and the limit of its control group
/// (version 2) at its start; 0 where the system reports neither.
pub fn memory_max() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let group = read("/proc/self/cgroup");
        let limits = group_folders(&group).map(|folder| read(&format!("{folder}/memory.max")));
        smallest(kilobytes(&read("/proc/meminfo"), "MemTotal:") * 1024, limits)
    })
}

/// Folders of the control group of version 2 that `/proc/self/cgroup` names and of all above it: each limits the memory
/// of those below.
fn group_folders(group: &str) -> impl Iterator<Item = String> {
    let path = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let all = std::iter::successors(Some(path), |path| Some(path.rsplit_once('/')?.0));
    all.map(|path| format!("/sys/fs/cgroup{path}"))
}

/// The smallest limit; one that is no number (`max`, or no file) is none.
fn smallest(machine: u64, limits: impl Iterator<Item = String>) -> u64 {
    limits.filter_map(|limit| limit.trim().parse().ok()).chain((machine > 0).then_some(machine)).min().unwrap_or(0)
}

/// Fields 14 and 15 of `/proc/self/stat`. The second field is a name in parentheses that may hold blanks.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.nth(11)?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Gives the calling thread this nice value, so that it runs before others whenever it has something to do, as far as
/// the process may. Returns the nice value that it has then. Consensus does so: heartbeats that are later than a
/// lease cost the primary its right to serve, and the thread needs little time. The shards' loops do so, below
/// consensus: a command that gets a quarter of a core takes four times as long, and one that takes longer than
/// `loop-stall-max` costs the primary its right to lead; what the log, RocksDB and snapshots do in the background loses
/// less by waiting. Rejected: a real-time class, in which encoding a large entry would keep the shards' threads from a
/// core.
pub fn prefer_this_thread(nice: i32) -> i32 {
    // On Linux the nice value belongs to the thread. Its value afterwards shows whether the process was allowed to.
    if nice != 0 {
        set_nice(nice);
    }
    self::nice()
}

/// Starts a thread for background work, at the process's own nice value, whichever thread starts it.
///
/// # Errors
/// The system gives no thread.
pub fn spawn_background<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        set_nice(process_nice());
        work()
    })
}

/// The nice value that the process was started with: its first thread's.
fn process_nice() -> i32 {
    rustix::process::getpriority_process(Some(rustix::process::getpid())).unwrap_or(0)
}

/// The nice value of the calling thread.
pub fn nice() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or(0)
}

/// Gives the calling thread a nice value; a lower one than its own only if the process may.
pub fn set_nice(nice: i32) {
    let _ = rustix::process::setpriority_process(None, nice);
}

/// A size as INFO's `_human` fields have it.
#[must_use]
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::now();
        assert!(usage.resident_bytes > 0 && usage.machine_bytes > usage.resident_bytes);
    }

    #[test]
    fn a_thread_is_preferred_if_the_process_may_and_others_are_left_alone() {
        let before = rustix::process::getpriority_process(None).unwrap();
        let preferred = std::thread::spawn(|| prefer_this_thread(-15)).join().unwrap();
        assert!(preferred == -15 || preferred == before, "{preferred}");
        assert_eq!(std::thread::spawn(|| prefer_this_thread(0)).join().unwrap(), before);
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), before);
        let background = std::thread::spawn(|| {
            prefer_this_thread(-10);
            spawn_background("background", nice).unwrap().join().unwrap()
        });
        assert_eq!(background.join().unwrap(), before, "what a preferred thread starts is not preferred");
    }

    #[test]
    fn fields_behind_a_strange_name() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 41 42 43";
        assert_eq!(cpu_ticks(stat), Some((41, 42)));
        assert_eq!(cpu_ticks("rubbish"), None);
    }

    #[test]
    fn the_smallest_limit_of_all_groups_counts() {
        let folders: Vec<_> = group_folders("1:name=x:/y\n0::/system.slice/a.service\n").collect();
        let expected = ["/sys/fs/cgroup/system.slice/a.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"];
        assert_eq!(folders, expected);
        let of = |machine, limits: &[&str]| smallest(machine, limits.iter().map(|&limit| limit.to_owned()));
        assert_eq!(of(100, &["max\n", "70\n", "80\n", ""]), 70);
        assert_eq!((of(100, &["max\n"]), of(100, &["200"]), of(0, &["50"]), of(0, &[])), (100, 100, 50, 0));
        assert!((1..=Usage::now().machine_bytes).contains(&memory_max()));
    }

    #[test]
    fn sizes() {
        assert_eq!(human(1), "1B");
        assert_eq!(human(2_998_608), "2.86M");
        assert_eq!(human(25_276_514_304), "23.54G");
    }
}
