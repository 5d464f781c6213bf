//! The files of a load; see the parent module.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use super::judgement::Judgement;
use super::state::LoadState;
use crate::dev::ProcessId;

/// The folder `load/` of a lab.
pub struct LoadFiles {
    dir: PathBuf,
}

impl LoadFiles {
    /// Of the lab in this folder, which must exist.
    pub fn of(lab: &Path) -> Result<LoadFiles> {
        let lab = lab.canonicalize().with_context(|| format!("there is no folder {}", lab.display()))?;
        Ok(LoadFiles { dir: lab.join("load") })
    }

    /// Path of the folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates the folder, and lets one command at a time start a load: the others are refused until the file is
    /// dropped.
    pub fn lock(&self) -> Result<File> {
        std::fs::create_dir_all(&self.dir).with_context(|| self.dir.display().to_string())?;
        let path = self.dir.join("start.lock");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => bail!("another command is starting a load at the moment"),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Removes what an earlier load has left.
    pub fn prepare(&self) -> Result<()> {
        for left in [self.run(), self.state_file(), self.verdict_file()] {
            match std::fs::remove_file(&left) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| left.display().to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `run.json`.
    pub fn run(&self) -> PathBuf {
        self.dir.join("run.json")
    }

    /// `state.json`.
    pub fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// `verdict.json`.
    pub fn verdict_file(&self) -> PathBuf {
        self.dir.join("verdict.json")
    }

    /// `load.log`.
    pub fn log(&self) -> PathBuf {
        self.dir.join("load.log")
    }

    /// The last lines of the log.
    pub fn log_tail(&self, lines: usize) -> String {
        crate::dev::tail(&self.log(), lines)
    }

    /// The process of the load, if it is running.
    pub fn process(&self) -> Option<ProcessId> {
        read::<ProcessId>(&self.run()).ok().filter(ProcessId::is_running)
    }

    /// The newest figures.
    pub fn state(&self) -> Result<LoadState> {
        read(&self.state_file())
    }

    /// The verdict.
    pub fn verdict(&self) -> Result<Judgement> {
        read(&self.verdict_file())
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not valid", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_command_at_a_time_starts_a_load() {
        let lab = tempfile::tempdir().unwrap();
        let files = LoadFiles::of(lab.path()).unwrap();
        let lock = files.lock().unwrap();
        let refused = LoadFiles::of(lab.path()).unwrap().lock().unwrap_err();
        assert_eq!(refused.to_string(), "another command is starting a load at the moment");
        drop(lock);
        files.lock().unwrap();
    }
}
