//! Fault injection: the disk below the log, and the links to other nodes. It ships, and works in labs only.
//!
//! A node is a lab if its config says `lab yes` **and** its certificate names `fastness://CLUSTER/lab`; with the option
//! alone it does not start. On any other node there is no [`Lab`]: writes and frames pass without a check, and every
//! command is refused.
//!
//! What is set can be seen in INFO, `/metrics` and `fastness cluster describe`; each change is
//! recorded as an event. Faults belong to the process: a restart removes them.

mod links;
mod service;

use std::sync::Arc;

use fastness_log::faulty::DiskFaults;

pub use links::{AffectedFrames, Impeded, LinkFault, LinkFaults};
pub use service::LabServer;

/// The faults of one node.
#[derive(Debug, Default)]
pub struct Lab {
    /// Of the disk below the log.
    pub disk: Arc<DiskFaults>,
    /// Of the links from this node to others.
    pub links: LinkFaults,
}

impl Lab {
    /// Every fault that is set, as `what: how`, for humans.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let disk = self.disk.get().map(|fault| format!("disk: {fault}"));
        let links = self.links.all().into_iter().filter(|(_, fault, _)| fault.is_set());
        disk.into_iter().chain(links.map(|(peer, fault, _)| format!("link to node {peer}: {fault}"))).collect()
    }
}
