//! Which lab a verb is for.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::containers::ContainerDriver;
use super::driver::Driver;
use super::processes::ProcessDriver;
use super::remote::RemoteDriver;
use crate::connection::Connection;
use crate::container_lab::ContainerLab;
use crate::dev;

/// The arguments that name a lab: the folder of a dev cluster or of the lab in containers, or the addresses and
/// credentials of any other one.
#[derive(Debug, Args)]
pub struct LabTarget {
    #[command(flatten)]
    connection: Connection,
}

/// The arguments of a verb that changes a lab.
#[derive(Debug, Args)]
pub struct VerbTarget {
    #[command(flatten)]
    target: LabTarget,
    /// Return at once, without waiting for new primaries, and show only the nodes that were called
    #[arg(long)]
    pub no_wait: bool,
}

impl Deref for VerbTarget {
    type Target = LabTarget;

    fn deref(&self) -> &LabTarget {
        &self.target
    }
}

impl LabTarget {
    /// The driver of the lab.
    pub async fn driver(&self) -> Result<Box<dyn Driver>> {
        if self.connection.has_addresses() {
            return Ok(Box::new(RemoteDriver::open(&self.connection).await?));
        }
        Ok(match ContainerLab::at(&self.dir())? {
            Some(lab) => Box::new(ContainerDriver::new(lab)?),
            None => Box::new(ProcessDriver::open(&self.dir())?),
        })
    }

    /// The folder of the lab.
    pub fn dir(&self) -> PathBuf {
        self.connection.dir.as_deref().unwrap_or(Path::new(dev::DIR)).to_owned()
    }

    /// Whether addresses of nodes are given, instead of a folder.
    pub fn has_addresses(&self) -> bool {
        self.connection.has_addresses()
    }

    /// Whether to print JSON.
    pub fn json(&self) -> bool {
        self.connection.json
    }
}
