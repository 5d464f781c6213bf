//! What the checks of this machine start from.

use std::path::{Path, PathBuf};

use fastness_server::config::Config;

/// What findings about the machine as a whole are about.
pub const THIS_MACHINE: &str = "this machine";

/// A config file.
pub struct ConfigFile {
    /// Its path, without symbolic links.
    pub path: PathBuf,
    /// Its options, if it can be read and is complete; else why not.
    pub config: anyhow::Result<Config>,
}

/// This machine, and the node that it is checked for.
pub struct Machine {
    /// The config file, if one is given.
    pub file: Option<ConfigFile>,
    /// The options that the checks go by: those of the file, if it is usable, else the defaults.
    pub config: Config,
}

impl Machine {
    /// This machine, with the config file that is given.
    pub fn new(config: Option<&Path>) -> Machine {
        let file = config.map(|path| ConfigFile {
            path: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
            config: crate::server::read(path),
        });
        let usable = file.as_ref().and_then(|file| file.config.as_ref().ok());
        let config = usable.cloned().unwrap_or_default();
        Machine { file, config }
    }

    /// The config, if a file is given and usable: some checks make no sense without.
    pub fn given(&self) -> Option<&Config> {
        self.file.as_ref().and_then(|file| file.config.as_ref().ok())
    }

    /// The folder in which data is, or would be made: the nearest one that exists.
    pub fn data_folder(&self) -> PathBuf {
        let wanted = std::path::absolute(&self.config.dir).unwrap_or_else(|_| self.config.dir.clone());
        let existing = wanted.ancestors().find(|folder| folder.is_dir());
        existing.unwrap_or(Path::new("/")).to_owned()
    }

    /// The command that restarts the check with the config.
    pub fn repeat(&self) -> String {
        match &self.file {
            Some(file) => {
                format!("fastness doctor --config {}", super::super::finding::quoted(&file.path.to_string_lossy()))
            }
            None => "fastness doctor".to_owned(),
        }
    }
}

/// The text of a file of the system, without its line end; `None` if it cannot be read.
pub fn system_file(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

/// A size for humans.
pub fn size(bytes: u64) -> String {
    fastness_server::process::human(bytes)
}
