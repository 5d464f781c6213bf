//! The sandbox of a run: process ids, mounts and a network of its own.
//!
//! The program starts itself again inside fresh namespaces. All processes, mounts and rules of a run exist only there,
//! and the kernel removes them when the first process inside ends, however it ends, `kill -9` included: no iptables
//! rule, no loop device and no process is left for the next run, and the rules and ports of other runs do not
//! interfere. Its network is one loopback for all nodes. Connections between nodes are distinguished by their source
//! addresses (see `partition.rs`), so that tests outside and runs inside cut links in the same way.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Set for the program inside the sandbox.
const INSIDE: &str = "FASTNESS_SANDBOX";
const UNSHARE: [&str; 7] =
    ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private"];
/// The first process inside waits for the program and reaps orphans. Shared memory is separate, too: libfaketime leaves
/// some behind for every killed process.
const FIRST: &str = "ip link set lo up && mount -t tmpfs tmpfs /dev/shm && \"$@\"; exit $?";

/// Whether this process is in a sandbox.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Why there can be no sandbox on this machine; `None` if there can.
#[must_use]
pub fn lacking() -> Option<String> {
    if is_inside() {
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        return Some("only root can create namespaces with their own mounts".to_owned());
    }
    let mut attempt = Command::new("unshare");
    attempt.args(UNSHARE).args(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]).stdin(Stdio::null());
    match attempt.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            Some(format!("namespaces cannot be created here: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Some(format!("namespaces cannot be created here: unshare: {error}")),
    }
}

/// A command that runs this program with other arguments inside a sandbox, as a child of this process.
///
/// # Errors
/// The path of the program is unknown.
pub fn command(arguments: &[&str]) -> Result<Command> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(UNSHARE).args(["sh", "-c", FIRST, "sh"]).arg(program).args(arguments).env(INSIDE, "1");
    Ok(command)
}

/// Replaces this process by the same program with the same arguments inside a sandbox.
///
/// # Errors
/// If the sandbox cannot be started; otherwise it does not return.
pub fn enter() -> Result<Infallible> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(UNSHARE).args(["sh", "-c", FIRST, "sh"]).arg(program).args(std::env::args_os().skip(1));
    Err(command.env(INSIDE, "1").exec()).context("unshare")
}
