//! Power loss: file systems on loop devices that lose unsynced data.
//!
//! The data folder of each node is an ext4 file system in a file of its own, mounted so that the kernel writes back as
//! seldom as possible. A power loss has four steps: the process is killed; the file system is shut down, so that
//! nothing in memory reaches the device; it is unmounted; and it is mounted again, which replays its journal as after a
//! cold start.
//!
//! Every loss is verified by two canaries: a file that was written but not synced just before must be lost, and one
//! that was synced just before must exist. So a loss that lost nothing is an error, and so is one that lost more than a
//! disk may lose.
//!
//! Only inside a [`crate::chaos::sandbox`], whose mounts end with its last process, however that ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::process::wait_for_exit;
use crate::chaos::sandbox;

/// Default size of one file system; its file is sparse.
pub const IMAGE_BYTES: u64 = 1 << 30;
/// `commit`: seconds between automatic commits of the journal. `noauto_da_alloc`: a file that is replaced without a
/// sync is not written as if it had been synced.
const MOUNT_OPTIONS: &str = "loop,commit=300,noauto_da_alloc";
/// How long the kernel may take to release a file system whose processes have ended.
const LET_GO: Duration = Duration::from_secs(10);
/// More than a page, so that the data is not stored in an inode.
const CANARY_BYTES: usize = 8192;

/// Why unsynced data cannot be lost here; `None` if it can.
#[must_use]
pub fn lacking() -> Option<String> {
    if let Some(why) = sandbox::lacking() {
        return Some(why);
    }
    let loops = Path::new("/dev/loop-control").exists();
    (!loops).then(|| "this kernel has no loop devices (/dev/loop-control)".to_owned())
}

/// The mounted file systems of a cluster's nodes. Dropping unmounts them, so they must not be in use then.
#[derive(Debug)]
pub(super) struct Images {
    nodes: PathBuf,
    mounted: Vec<u64>,
}

impl Images {
    /// Creates and mounts a file system for each of `count` nodes, before their first start.
    pub(super) fn mount(dir: &Path, count: usize, bytes: u64) -> Result<Images> {
        ensure!(sandbox::is_inside(), "file systems are mounted only in a sandbox");
        let mut images = Images { nodes: dir.join("nodes"), mounted: Vec::new() };
        for node in 1..=count as u64 {
            std::fs::create_dir_all(images.data(node))?;
            std::fs::File::create(images.image(node))?.set_len(bytes)?;
            // Few inodes and a small journal: created in milliseconds.
            let image = path(&images.image(node))?;
            run("mkfs.ext4", &["-q", "-F", "-m", "0", "-N", "4096", "-J", "size=16", "-E", "nodiscard", &image])?;
            images.mount_one(node)?;
            std::fs::remove_dir(images.data(node).join("lost+found"))?;
        }
        Ok(images)
    }

    fn data(&self, node: u64) -> PathBuf {
        self.nodes.join(format!("{node}/data"))
    }

    fn image(&self, node: u64) -> PathBuf {
        self.nodes.join(format!("{node}/data.ext4"))
    }

    fn mount_one(&mut self, node: u64) -> Result<()> {
        run("mount", &["-t", "ext4", "-o", MOUNT_OPTIONS, &path(&self.image(node))?, &path(&self.data(node))?])?;
        self.mounted.push(node);
        Ok(())
    }

    fn unmount_one(&mut self, node: u64) -> Result<()> {
        let (data, until) = (path(&self.data(node))?, Instant::now() + LET_GO);
        while let Err(error) = run("umount", &[&data]) {
            ensure!(Instant::now() < until, "{error:#}");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.mounted.retain(|mounted| *mounted != node);
        Ok(())
    }

    /// From here on nothing that is written to the file system, or waits in memory, reaches the device.
    fn shut_down(&self, node: u64) -> Result<()> {
        run("xfs_io", &["-x", "-c", "shutdown", &path(&self.data(node))?])
    }

    /// Writes both canaries, and syncs one of them.
    fn release_canaries(&self, node: u64) -> Result<[u8; CANARY_BYTES]> {
        let content: [u8; CANARY_BYTES] = std::array::from_fn(|_| rand::random());
        for (name, synced) in [(SYNCED, true), (UNSYNCED, false)] {
            let mut file = std::fs::File::create(self.data(node).join(name))?;
            file.write_all(&content)?;
            if synced {
                file.sync_all()?;
                std::fs::File::open(self.data(node))?.sync_all()?;
            }
        }
        Ok(content)
    }

    /// After a power loss a machine has another boot id, from which a node knows that the end of its log may be torn in
    /// any way (`log/src/wal.rs`). This machine continues to run, so the boot id that the node has recorded is changed.
    fn change_boot_id(&self, node: u64) -> Result<()> {
        let known = self.data(node).join(BOOT_ID);
        if known.exists() {
            std::fs::write(&known, "another boot\n").with_context(|| known.display().to_string())?;
        }
        Ok(())
    }

    /// Cuts the power of these nodes with these processes, and mounts their file systems again.
    pub(super) fn lose_power(&mut self, nodes: &[u64], pids: &[Pid]) -> Result<()> {
        let contents = nodes.iter().map(|node| self.release_canaries(*node)).collect::<Result<Vec<_>>>()?;
        for &pid in pids {
            kill_process(pid, Signal::KILL)?;
        }
        nodes.iter().try_for_each(|node| self.shut_down(*node))?;
        pids.iter().copied().try_for_each(wait_for_exit)?;
        for (&node, content) in nodes.iter().zip(&contents) {
            self.unmount_one(node)?;
            self.mount_one(node)?;
            self.check_canaries(node, content)?;
            self.change_boot_id(node)?;
        }
        Ok(())
    }

    /// Checks the canaries after a loss.
    fn check_canaries(&self, node: u64, content: &[u8]) -> Result<()> {
        let found = |name: &str| std::fs::read(self.data(node).join(name)).unwrap_or_default();
        ensure!(found(SYNCED) == content, "node {node}: a synced file has changed");
        // Its name may exist: there is one journal for all files, and a sync of the node's log writes it.
        ensure!(found(UNSYNCED).is_empty(), "node {node}: a file that was not synced still exists");
        Ok(())
    }
}

const SYNCED: &str = "canary-synced";
const UNSYNCED: &str = "canary-unsynced";
/// File in which a node records the boot id of its last start.
const BOOT_ID: &str = "log/boot-id";

impl Drop for Images {
    fn drop(&mut self) {
        for node in self.mounted.clone() {
            if let Err(error) = self.unmount_one(node) {
                eprintln!("node {node}: {error:#}; its file system is removed with the sandbox");
            }
        }
    }
}

fn path(path: &Path) -> Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("{program} (deploy/setup/system.sh test installs it)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(())
}
