//! The files of the keys: what is refused, what a rotation leaves, and what a start completes.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fastness_events::Events;
use fastness_log::rocks::{RocksOptions, RocksStore};
use fastness_log::{Draft, LogOptions, OpenError, WriterDriver};
use fastness_types::{ClusterId, GroupId, LogIndex, NodeId};

use super::*;

const CLUSTER: ClusterId = ClusterId([1; 16]);
const NODE: NodeId = NodeId(1);

fn config(dir: &Path) -> Config {
    let text = format!("dir {0}/data\nmaster-key-file {0}/master.key", dir.display());
    Config::parse(&text).unwrap()
}

fn write_key(path: &Path, byte: u8) -> Fingerprint {
    std::fs::write(path, format!("{byte:02x}").repeat(32)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    MasterKey::from_bytes(&[byte; 32]).fingerprint()
}

fn holds(path: &Path) -> Fingerprint {
    MasterKey::load(path).unwrap().fingerprint()
}

fn open_log(config: &Config, disk: &DiskMonitor) -> Result<Log, OpenError> {
    let store = RocksStore::open(&RocksOptions::new(config.log_folder()))?;
    disk.set_store(&store);
    Log::open(store, cipher(config).unwrap(), LogOptions::new(NODE, CLUSTER), WriterDriver::Thread)
}

/// A node with a snapshot, as far as its keys are concerned.
fn start(config: &Config) -> Result<Arc<KeyRotation>, OpenError> {
    let shared = NodeShared::new(NODE, CLUSTER, config.clone(), crate::resp_server::command::table());
    let disk = DiskMonitor::measure(&config.dir, 0, Events::only_logged());
    let log = open_log(config, &disk)?;
    Ok(KeyRotation::new(shared, log, disk))
}

fn snapshots(config: &Config, keys: &MasterKeys) -> SnapshotFolder {
    let path = snapshots::folder_of(config, GroupId(1));
    let folder = SnapshotFolder::open(&path, CLUSTER, NODE, GroupId(1), Cipher::sharing(keys));
    folder.prepare().unwrap();
    folder
}

fn make_snapshot(config: &Config, keys: &MasterKeys) {
    let folder = snapshots(config, keys);
    folder.create(Draft::Own, b"head").unwrap().finish(LogIndex(7), b"tail").unwrap();
}

fn has_snapshot(config: &Config, keys: &MasterKeys) -> bool {
    snapshots(config, keys).verify(LogIndex(7)).is_ok()
}

#[test]
fn a_new_key_that_cannot_be_used_is_refused_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (config, new) = (config(dir.path()), dir.path().join("master.key.new"));
    let old = write_key(&dir.path().join("master.key"), 1);
    let rotation = start(&config).unwrap();
    let refused = |why: &str| {
        let (shown, error) = (rotation.status().new.unwrap_err().to_string(), rotation.rotate().unwrap_err());
        assert!(error.to_string().contains(why) && shown == error.to_string(), "{why}: {error}, {shown}");
        assert!(error.to_string().contains("master.key.new"), "{error}");
        assert_eq!(rotation.status().fingerprint, old);
        assert_eq!(holds(&dir.path().join("master.key")), old);
    };
    refused("there is no new key: put it into");
    write_key(&new, 2);
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o604)).unwrap();
    refused("mode 604");
    write_key(&new, 1);
    refused(&format!("is the one in force ({old})"));
    std::fs::write(&new, [3; 31]).unwrap();
    refused("has 31 bytes; it must hold 32 bytes or 64 hexadecimal digits");
    std::fs::remove_file(&new).unwrap();
    std::fs::create_dir(&new).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o700)).unwrap();
    refused("Is a directory");
}

#[test]
fn after_a_rotation_the_new_key_alone_opens_the_folder_and_its_file_has_replaced_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let (config, file, new) = (config(dir.path()), dir.path().join("master.key"), dir.path().join("master.key.new"));
    let old = write_key(&file, 1);
    let rotation = start(&config).unwrap();
    make_snapshot(&config, rotation.keys());
    let next = write_key(&new, 2);
    assert_eq!(rotation.status().new.unwrap(), next);
    let rotated = rotation.rotate().unwrap();
    assert_eq!((rotated.from, rotated.snapshots, rotated.warnings), (Some(old), 1, vec![]));
    let status = rotation.status();
    assert_eq!((status.fingerprint, status.retired, status.is_incomplete, status.misplaced), (next, None, false, None));
    assert!(age_s(status.since_s).is_some_and(|age_s| age_s < 600), "{}", status.since_s);
    assert_eq!(holds(&file), next);
    assert!(!new.exists());
    assert!(has_snapshot(&config, rotation.keys()));
    rotation.log.close();
    drop(rotation);

    write_key(&file, 1);
    let error = start(&config).unwrap_err();
    assert!(error.to_string().contains("After a rotation of the master key only the new key opens it"), "{error}");
    write_key(&file, 2);
    let rotation = start(&config).unwrap();
    assert!(has_snapshot(&config, rotation.keys()));
    assert_eq!(rotation.status().since_s, status.since_s);
    rotation.log.close();
}

/// The log has stored the rotation, and the process has died before anything else.
#[test]
fn a_start_completes_what_a_crash_has_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let (config, file, new) = (config(dir.path()), dir.path().join("master.key"), dir.path().join("master.key.new"));
    let old = write_key(&file, 1);
    let rotation = start(&config).unwrap();
    make_snapshot(&config, rotation.keys());
    let next = write_key(&new, 2);
    let (done, stored) = mpsc::channel();
    rotation.log.rotate_master_key(MasterKey::load(&new).unwrap(), move |result| done.send(result).unwrap());
    stored.recv().unwrap().unwrap();
    rotation.log.close();
    drop(rotation);

    let rotation = start(&config).unwrap();
    let status = rotation.status();
    assert_eq!((status.fingerprint, status.retired, status.is_incomplete), (next, Some(old), true));
    assert!(status.misplaced.unwrap().contains("move it to"));
    assert!(has_snapshot(&config, rotation.keys()), "it is under the old key");
    rotation.complete_interrupted();
    let status = rotation.status();
    assert_eq!((status.fingerprint, status.retired, status.is_incomplete, status.misplaced), (next, None, false, None));
    assert_eq!(holds(&file), next);
    assert!(has_snapshot(&config, rotation.keys()));
    rotation.complete_interrupted();
    assert_eq!(rotation.status().fingerprint, next);
    rotation.log.close();
}

#[test]
fn a_damaged_snapshot_leaves_the_rotation_incomplete_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (config, file, new) = (config(dir.path()), dir.path().join("master.key"), dir.path().join("master.key.new"));
    let old = write_key(&file, 1);
    let rotation = start(&config).unwrap();
    make_snapshot(&config, rotation.keys());
    let snapshot = snapshots(&config, rotation.keys()).file(LogIndex(7));
    let mut bytes = std::fs::read(&snapshot).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    let next = write_key(&new, 2);
    let error = rotation.rotate().unwrap_err();
    assert!(matches!(error, RotationError::Snapshots { count: 1, .. }), "{error}");
    assert!(error.to_string().contains("Repeat the command"), "{error}");
    let status = rotation.status();
    assert_eq!((status.fingerprint, status.retired, status.is_incomplete), (next, Some(old), true));
    assert_eq!((holds(&file), holds(&new)), (old, next), "both files are still there");
    std::fs::remove_file(&snapshot).unwrap();
    assert_eq!(rotation.rotate().unwrap().from, None, "it completes the one before");
    assert_eq!(holds(&file), next);
    assert!(matches!(rotation.rotate(), Err(RotationError::NoNewKey(_))));
    rotation.log.close();
}

/// As in a folder that the node may not write.
#[test]
fn a_file_that_cannot_be_moved_is_left_to_the_operator_and_the_node_starts_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (config, file, new) = (config(dir.path()), dir.path().join("master.key"), dir.path().join("master.key.new"));
    write_key(&file, 1);
    let rotation = start(&config).unwrap();
    let next = write_key(&new, 2);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let warnings = rotation.rotate().unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("cannot be moved")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("move it to")), "{warnings:?}");
    assert_eq!(rotation.rotate().unwrap().warnings, warnings, "it is not refused as a key that is not new");
    rotation.log.close();
    drop(rotation);
    std::fs::remove_dir(&file).unwrap();
    write_key(&file, 1);
    let rotation = start(&config).unwrap();
    assert_eq!(rotation.status().fingerprint, next, "found in the file for the new key");
    rotation.complete_interrupted();
    assert_eq!(holds(&file), next);
    // Without any file of the key, the operator hears of it in time.
    std::fs::remove_file(&file).unwrap();
    assert!(rotation.status().misplaced.unwrap().contains("the node will not start again"));
    rotation.log.close();
}
