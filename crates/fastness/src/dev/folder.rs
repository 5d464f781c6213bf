//! The folder of a dev cluster.
//!
//! ```text
//! DIR/dev.json        the settings, written once everything below exists for the first time
//! DIR/cluster.json    nodes with their processes and addresses, kept up to date while the supervisor runs
//! DIR/dev.lock        held by the supervisor
//! DIR/dev.sock        socket on which the supervisor accepts requests
//! DIR/dev.log         output of a detached supervisor
//! DIR/options.conf    optional: lines that the user adds to the end of every node's config file
//! DIR/ca.crt, ca.key  the cluster's own CA
//! DIR/admin.crt, admin.key, client.crt, client.key
//! DIR/nodes/ID/fastness.conf, node.crt, node.key, master.key, node.log, run.json, data/
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A dev cluster's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens the folder at `path`; creates it if it does not exist.
    pub fn at(path: &Path) -> Result<Folder> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot create the folder {}", path.display()))?;
        Folder::existing(path)
    }

    /// Opens the folder at `path`, which must exist.
    pub fn existing(path: &Path) -> Result<Folder> {
        let path = path.canonicalize().with_context(|| format!("there is no folder {}", path.display()))?;
        ensure!(path.is_dir(), "{} is not a folder", path.display());
        ensure!(
            path.to_str().is_some(),
            "the path {} is not UTF-8, so a config file cannot contain it",
            path.display()
        );
        Ok(Folder { path })
    }

    /// Refuses a folder that has other content or is not writable.
    pub fn check_fresh(&self) -> Result<()> {
        let known = ["dev.lock", "dev.sock", "dev.log", "options.conf", "ca.crt", "ca.key", "nodes"];
        let keys = ["admin.crt", "admin.key", "client.crt", "client.key"];
        for entry in std::fs::read_dir(&self.path).with_context(|| self.path.display().to_string())? {
            let name = entry?.file_name();
            let ours = name.to_str().is_some_and(|name| known.contains(&name) || keys.contains(&name));
            ensure!(
                ours,
                "{} is not empty (it contains {}) and has no dev cluster: choose another --dir",
                self.path.display(),
                name.to_string_lossy()
            );
        }
        Ok(())
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lines that the user adds to every node's config file.
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

    /// Folder of a node.
    pub fn node(&self, node: u64) -> PathBuf {
        self.path.join("nodes").join(node.to_string())
    }

    /// Config file of a node.
    pub fn node_config(&self, node: u64) -> PathBuf {
        self.node(node).join("fastness.conf")
    }

    /// Log file of a node.
    pub fn node_log(&self, node: u64) -> PathBuf {
        self.node(node).join("node.log")
    }

    /// File that identifies the process of a node.
    pub fn run_file(&self, node: u64) -> PathBuf {
        self.node(node).join("run.json")
    }
}

/// The last lines of a log file, for an error message.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(16 * 1024)..]).into_owned();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
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
    fn a_folder_that_cannot_be_created_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(Folder::at(&file).is_err());
        assert!(Folder::at(&file.join("below")).is_err());
        assert!(Folder::existing(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "1\n2\n3\n").unwrap();
        assert_eq!(tail(&path, 2), "    2\n    3\n");
        assert_eq!(tail(&dir.path().join("absent"), 2), "");
    }
}
