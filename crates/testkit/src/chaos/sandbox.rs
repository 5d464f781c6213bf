//! Where a run takes place: process ids, mounts and a network of its own.
//!
//! The program starts itself again inside fresh namespaces. All that a run starts, mounts and cuts exists in there
//! alone, and the kernel takes it back when the first process inside ends, however it ends, `kill -9` included: no rule
//! of iptables, no loop device, no process is left for the next run, and no other one's rules or ports are in the way.
//! The network in it is one loopback for all nodes: connections between nodes are told apart by their source addresses
//! (see `partition.rs`), so one way of cutting serves the tests that run outside and the runs that run inside.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Set for the program inside.
const INSIDE: &str = "FASTNESS_SANDBOX";
const UNSHARE: [&str; 7] =
    ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private"];
/// The first process inside waits for the program and reaps what is left to it. Shared memory is the sandbox's own,
/// too: libfaketime leaves some behind for every process that is killed.
const FIRST: &str = "ip link set lo up && mount -t tmpfs tmpfs /dev/shm && \"$@\"; exit $?";

/// Whether this process is in a sandbox.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Why there can be no sandbox here; `None` if there can.
#[must_use]
pub fn lacking() -> Option<String> {
    if is_inside() {
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        return Some("only root can make namespaces with mounts of their own".to_owned());
    }
    let mut attempt = Command::new("unshare");
    attempt.args(UNSHARE).args(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]).stdin(Stdio::null());
    match attempt.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            Some(format!("no namespaces can be made here: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Some(format!("no namespaces can be made here: unshare: {error}")),
    }
}

/// This program, inside, with other arguments: a child of this process.
///
/// # Errors
/// The program's own file is not known.
pub fn command(arguments: &[&str]) -> Result<Command> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(UNSHARE).args(["sh", "-c", FIRST, "sh"]).arg(program).args(arguments).env(INSIDE, "1");
    Ok(command)
}

/// Starts this program again inside, with the same arguments, in the place of this process.
///
/// # Errors
/// If it cannot be started; else it does not return.
pub fn enter() -> Result<Infallible> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(UNSHARE).args(["sh", "-c", FIRST, "sh"]).arg(program).args(std::env::args_os().skip(1));
    Err(command.env(INSIDE, "1").exec()).context("unshare")
}
