//! How the next commands reach the cluster: with the arguments that `fastness doctor` was given.

use std::path::{Path, PathBuf};

use fastness_wire::admin::v1::NodeSpec;

use super::super::finding::{NextStep, quoted};
use crate::connection::Connection;

/// The way to the cluster.
#[derive(Debug, Clone)]
pub struct ClusterAccess {
    /// The folder of a dev cluster or of the lab in containers, if it is one.
    pub dir: Option<PathBuf>,
    /// The arguments of `fastness cluster` that reach it.
    pub arguments: Vec<String>,
}

impl ClusterAccess {
    /// With these arguments.
    pub fn of(connection: &Connection) -> ClusterAccess {
        ClusterAccess { dir: connection.dir.clone(), arguments: connection.arguments() }
    }

    /// A command of `fastness cluster`.
    pub fn cluster(&self, words: &[&str]) -> NextStep {
        let words = std::iter::once("cluster").chain(words.iter().copied()).map(str::to_owned);
        NextStep::fastness(words.chain(self.arguments.iter().cloned()))
    }

    /// Starts all nodes that are not running.
    pub fn start_all(&self) -> NextStep {
        match &self.dir {
            Some(dir) if is_container_lab(dir) => NextStep::System("make lab".to_owned()),
            Some(dir) => NextStep::fastness(["dev", "--detach", "--dir", &dir.to_string_lossy()]),
            None => NextStep::System("systemctl status 'fastness@*' # on each machine".to_owned()),
        }
    }

    /// Starts a node, or resumes it if it only hangs.
    pub fn start(&self, node: &NodeSpec, hangs: bool) -> NextStep {
        let id = node.id.to_string();
        match &self.dir {
            Some(dir) => {
                let verb = if hangs { "resume" } else { "start" };
                NextStep::fastness(["lab", "node", verb, &id, "--dir", &dir.to_string_lossy()])
            }
            None => self.on_machine(node, &format!("systemctl status fastness@{id}")),
        }
    }

    /// Starts or resumes all nodes of an AZ.
    pub fn start_az(&self, az: &str, first: &NodeSpec) -> NextStep {
        match &self.dir {
            Some(dir) => NextStep::fastness(["lab", "az", "up", az, "--dir", &dir.to_string_lossy()]),
            None => self.start(first, false),
        }
    }

    /// Brings a new node into an AZ, or says how to start one there.
    pub fn add_node(&self, az: &str) -> NextStep {
        match self.dev_folder() {
            Some(dir) => NextStep::fastness(["dev", "node", "add", "--az", az, "--dir", &dir.to_string_lossy()]),
            None => NextStep::fastness(["help", "cluster", "replace-replica"]),
        }
    }

    /// A command of the system on the machine of a node; on this one, for nodes that are on loopback.
    pub fn on_machine(&self, node: &NodeSpec, command: &str) -> NextStep {
        let is_here = self.dir.is_some() || node.announce_host.starts_with("127.") || node.announce_host == "localhost";
        NextStep::System(match is_here {
            true => command.to_owned(),
            false => format!("ssh {} {}", quoted(&node.announce_host), quoted(command)),
        })
    }

    /// Changes an option of a running node.
    pub fn config_set(&self, node: &NodeSpec, option: &str, value: &str) -> NextStep {
        let (host, tls) = (quoted(&node.announce_host), node.resp_port == 0);
        let port = if tls { node.resp_tls_port } else { node.resp_port };
        let tls = if tls { " --tls --cacert ca.crt" } else { "" };
        NextStep::System(format!("valkey-cli -h {host} -p {port}{tls} CONFIG SET {option} {value}"))
    }

    /// The folder with the CA's certificate and key, if it is the cluster's own.
    pub fn ca_folder(&self) -> Option<String> {
        let dir = self.dir.as_ref()?;
        dir.join("ca.key").is_file().then(|| dir.display().to_string())
    }

    fn dev_folder(&self) -> Option<&Path> {
        self.dir.as_deref().filter(|dir| !is_container_lab(dir))
    }
}

/// As `ContainerLab::at` decides it.
fn is_container_lab(dir: &Path) -> bool {
    dir.join("compose.env").is_file()
}
