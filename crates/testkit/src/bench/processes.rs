//! Costs of processes: CPU time and memory as the kernel counts them, and instructions by `perf stat` where the machine
//! counts them.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// User and system time of each process so far, in microseconds (ticks of 10 ms).
///
/// # Errors
/// If a process has ended.
pub fn cpu_us(pids: &[i32]) -> Result<Vec<u64>> {
    pids.iter()
        .map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // The fields after the name in parentheses; utime and stime are the fields 14 and 15 of the whole line.
            let rest = stat.rsplit_once(')').context("no name in stat")?.1;
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
            Ok(ticks * 10_000)
        })
        .collect()
}

/// Memory of a process that is resident, in bytes.
///
/// # Errors
/// If the process has ended.
pub fn resident_bytes(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.split_whitespace().next().context("no figure")?.parse()?;
    Ok(kilobytes * 1024)
}

/// Counts the instructions of a process while it exists.
pub struct Instructions(Option<Child>);

impl Instructions {
    /// Starts to count, if `perf` exists and is permitted to.
    #[must_use]
    pub fn start(pid: i32) -> Instructions {
        let child = Command::new("perf")
            .args(["stat", "-x", ",", "-e", "instructions", "-p", &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Instructions(child.ok())
    }

    /// Stops counting. `None` where instructions cannot be counted.
    #[must_use]
    pub fn stop(mut self) -> Option<u64> {
        let child = self.0.as_mut()?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).ok()?)?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT).ok()?;
        let mut text = String::new();
        child.stderr.take()?.read_to_string(&mut text).ok()?;
        child.wait().ok()?;
        let line = text.lines().find(|l| l.contains("instructions"))?;
        line.split(',').next()?.parse().ok()
    }
}
