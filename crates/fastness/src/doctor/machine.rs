//! Checks of this machine, for a node whose config is given, or in general.

mod certificates;
mod clock;
mod core_files;
mod descriptors;
mod disk;
mod files;
mod host;
mod huge_pages;
mod kernel;
mod memory;
mod options;
mod overcommit;
mod ports;
mod priority;
mod swap;
mod sync_time;

use std::path::Path;

use super::finding::Finding;
use host::Machine;

/// The checks, in the order of the report.
const CHECKS: &[fn(&Machine) -> Vec<Finding>] = &[
    options::check,
    kernel::check,
    clock::check,
    memory::check,
    swap::check,
    huge_pages::check,
    overcommit::check,
    descriptors::check,
    priority::check,
    core_files::check,
    disk::check,
    sync_time::check,
    ports::check,
    files::check,
    certificates::check,
];

/// Checks this machine for the node of a config file, or without one.
pub fn examine(config: Option<&Path>) -> Vec<Finding> {
    let host = Machine::new(config);
    CHECKS.iter().flat_map(|check| check(&host)).collect()
}
