//! Where everything of a dev cluster lies.
//!
//! ```text
//! DIR/dev.json        the settings, written once everything below exists for the first time
//! DIR/cluster.json    what runs where, always true while the supervisor lives
//! DIR/dev.lock        held by the supervisor
//! DIR/dev.sock        the supervisor's ear
//! DIR/dev.log         what a detached supervisor says
//! DIR/options.conf    if it is there: lines that every node's config file ends with, written by the user
//! DIR/ca.crt, ca.key  the cluster's own CA
//! DIR/admin.crt, admin.key, client.crt, client.key
//! DIR/nodes/ID/fastness.conf, node.crt, node.key, master.key, node.log, run.json, data/
//! ```

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A dev cluster's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, made if it is not there.
    pub fn at(path: &Path) -> Result<Folder> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Folder::existing(path)
    }

    /// The folder at `path`, which must be there.
    pub fn existing(path: &Path) -> Result<Folder> {
        let path = path.canonicalize().with_context(|| format!("no folder {}", path.display()))?;
        ensure!(path.is_dir(), "{} is not a folder", path.display());
        ensure!(path.to_str().is_some(), "the path {} is not UTF-8, which config files are", path.display());
        Ok(Folder { path })
    }

    /// Refuses a folder with something else in it, or one that cannot be written to.
    pub fn check_fresh(&self) -> Result<()> {
        let known = ["dev.lock", "dev.sock", "dev.log", "options.conf", "ca.crt", "ca.key", "nodes"];
        let keys = ["admin.crt", "admin.key", "client.crt", "client.key"];
        for entry in std::fs::read_dir(&self.path).with_context(|| self.path.display().to_string())? {
            let name = entry?.file_name();
            let ours = name.to_str().is_some_and(|name| known.contains(&name) || keys.contains(&name));
            ensure!(
                ours,
                "{} is not empty ({} is in it) and holds no dev cluster: choose another --dir",
                self.path.display(),
                name.to_string_lossy()
            );
        }
        Ok(())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user's own lines for every node's config file.
    pub fn options(&self) -> PathBuf {
        self.path.join("options.conf")
    }

    /// `dev.json`.
    pub fn settings(&self) -> PathBuf {
        self.path.join("dev.json")
    }

    /// `cluster.json`.
    pub fn cluster_file(&self) -> PathBuf {
        self.path.join("cluster.json")
    }

    /// `dev.lock`.
    pub fn lock(&self) -> PathBuf {
        self.path.join("dev.lock")
    }

    /// `dev.sock`.
    pub fn socket(&self) -> PathBuf {
        self.path.join("dev.sock")
    }

    /// `dev.log`.
    pub fn supervisor_log(&self) -> PathBuf {
        self.path.join("dev.log")
    }

    /// The CA's certificate.
    pub fn ca(&self) -> PathBuf {
        self.path.join("ca.crt")
    }

    /// The certificate of `name`.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.crt"))
    }

    /// The private key of `name`.
    pub fn private_key(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.key"))
    }

    /// A node's own folder.
    pub fn node(&self, node: u64) -> PathBuf {
        self.path.join("nodes").join(node.to_string())
    }

    /// A node's config.
    pub fn node_config(&self, node: u64) -> PathBuf {
        self.node(node).join("fastness.conf")
    }

    /// A node's log file.
    pub fn node_log(&self, node: u64) -> PathBuf {
        self.node(node).join("node.log")
    }

    /// Which process a node is.
    pub fn run_file(&self, node: u64) -> PathBuf {
        self.node(node).join("run.json")
    }
}

/// Writes a file so that a reader sees all of the old one or all of the new one, also after a crash.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_as(path, bytes, 0o644)
}

/// The same, readable by its owner alone.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    write_as(path, bytes, 0o600)
}

fn write_as(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).context("a file has a name")?;
    // The process id keeps two writers from one file; each renames a whole one.
    let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The last lines of a log file, for an error.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(16 * 1024)..]).into_owned();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_foreign_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path()).unwrap();
        folder.check_fresh().unwrap();
        std::fs::write(dir.path().join("ca.crt"), b"").unwrap();
        folder.check_fresh().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), b"").unwrap();
        let text = folder.check_fresh().unwrap_err().to_string();
        assert!(text.contains("thesis.tex"), "{text}");
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(Folder::at(&file).is_err());
        assert!(Folder::at(&file.join("below")).is_err());
        assert!(Folder::existing(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn files_are_replaced_whole_and_secrets_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_atomically(&path, b"one").unwrap();
        write_secret(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_tail_is_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "1\n2\n3\n").unwrap();
        assert_eq!(tail(&path, 2), "    2\n    3\n");
        assert_eq!(tail(&dir.path().join("absent"), 2), "");
    }
}
