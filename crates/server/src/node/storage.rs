//! Opens and closes what the node keeps on its disk.

use std::path::PathBuf;
use std::sync::Arc;

use fastness_log::faulty::FaultyStore;
use fastness_log::rocks::{RocksOptions, RocksStore};
use fastness_log::store::{OrderedStore, StoreError};
use fastness_log::{Cipher, Log, LogOptions, OpenError, SnapshotFolder, WriterDriver};
use fastness_types::GroupId;

use super::error::NodeError;
use crate::config::Config;
use crate::descriptors;
use crate::disk_monitor::DiskMonitor;
use crate::master_key;
use crate::node_disk::NodeDisk;
use crate::shared::NodeShared;
use crate::snapshots::{self, SnapshotFiles};

/// Opens the log; frees space for that if the disk is full.
pub(super) async fn open_log(config: &Config, shared: &NodeShared, disk: &Arc<DiskMonitor>) -> Result<Log, NodeError> {
    if !disk.can_open() {
        free_for_a_start(config, shared, disk).await;
    }
    match open_log_once(config, shared, disk).await {
        // The space that was freed may suffice.
        Err(NodeError::Full(_)) if free_for_a_start(config, shared, disk).await => {
            open_log_once(config, shared, disk).await
        }
        opened => opened,
    }
}

/// Removes files of this node that can be spared, so that its log can be opened; true if any were.
pub(super) async fn free_for_a_start(config: &Config, shared: &NodeShared, disk: &Arc<DiskMonitor>) -> bool {
    let folder = |(group, path): (GroupId, PathBuf)| {
        let cipher = cipher(config, shared).ok()?;
        Some(SnapshotFolder::open(&path, shared.cluster, shared.node, group, cipher))
    };
    let folders: Vec<_> = snapshots::folders_in(&config.dir).into_iter().filter_map(folder).collect();
    let disk = disk.clone();
    tokio::task::spawn_blocking(move || disk.free_for_a_start(&folders)).await.unwrap_or(false)
}

async fn open_log_once(config: &Config, shared: &NodeShared, disk: &Arc<DiskMonitor>) -> Result<Log, NodeError> {
    let cipher = cipher(config, shared)?;
    let dir = config.log_folder();
    let options = LogOptions::new(shared.node, shared.cluster);
    let faults = shared.lab.as_ref().map(|lab| lab.disk.clone());
    let disk = disk.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let sizes = disk.disk().log_sizes();
        let memtable_bytes = usize::try_from(sizes.memtable).unwrap_or(usize::MAX);
        let rocks = RocksOptions {
            memtable_bytes,
            wal_bytes_max: sizes.wal_max,
            open_files_max: descriptors::log_files(descriptors::limit()) as i32,
            ..RocksOptions::new(&dir)
        };
        let rocks = RocksStore::open(&rocks)?;
        disk.set_store(&rocks);
        let store: Arc<dyn OrderedStore> = rocks;
        let store = match faults {
            Some(faults) => FaultyStore::new(store, faults),
            None => store,
        };
        Log::open(store, cipher, options, WriterDriver::Thread)
    });
    opened.await?.map_err(|error| match error {
        OpenError::Store(error @ StoreError::NoSpace { .. }) => NodeError::Full(error),
        error => NodeError::Log(error),
    })
}

/// The keys in use, or before the log was opened those that the files hold.
fn cipher(config: &Config, shared: &NodeShared) -> Result<Cipher, NodeError> {
    match shared.keys.get() {
        Some(keys) => Ok(Cipher::sharing(keys)),
        None => master_key::cipher(config).map_err(NodeError::MasterKey),
    }
}

/// Opens the folder of a group's snapshots, and removes what an interrupted process left there. `disk`: the budget that
/// they depend on.
pub(super) async fn open_snapshots(
    config: &Config,
    shared: &NodeShared,
    group: GroupId,
    disk: Option<Arc<NodeDisk>>,
) -> Result<SnapshotFiles, NodeError> {
    let cipher = cipher(config, shared)?;
    let path = snapshots::folder_of(config, group);
    let folder = SnapshotFolder::open(&path, shared.cluster, shared.node, group, cipher);
    let prepared = tokio::task::spawn_blocking(move || folder.prepare().map(|()| folder)).await?;
    Ok(SnapshotFiles::new(prepared.map_err(NodeError::Snapshots)?, disk))
}

/// Closes the log once it has written what is queued.
pub(super) async fn close_log(log: Log) {
    // Blocks until what is queued is written.
    if tokio::task::spawn_blocking(move || log.close()).await.is_err() {
        tracing::error!("closing the log has panicked: the next start recovers it");
    }
}
