//! The master key of this node: which one is in force on its disk, and its rotation while the node runs.
//!
//! The operator puts the new key into the file of `master-key-file` with `.new` after its name; a key never travels
//! over the network. [`KeyRotation::rotate`] then takes these steps. A crash after any of them leaves a folder that
//! opens with the key of one of the two files, and a start tries both:
//!
//! 1. The new file is read and checked, and synced with its folder, because the disk will depend on it.
//! 2. The log stores in one synced batch that it is under the new key ([`fastness_log::Log::rotate_master_key`]).
//!    Before that only the old key opens the folder, after that only the new one.
//! 3. The headers of the snapshot files are replaced.
//! 4. The log forgets the old key; then its files are rewritten, as far as they hold keys that the old one wraps.
//! 5. The new file takes the place of the old one, whose content is gone then.
//!
//! What a crash or an error leaves undone of steps 3 to 5 is done at the next start, or when the command is repeated.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use fail::fail_point;
use fastness_events::Event;
use fastness_log::{
    Cipher, Fingerprint, KeyFileError, Log, MasterKey, MasterKeys, RotateError, SnapshotError, SnapshotFolder,
    WriteError, move_key_file, sync_key_file,
};
use parking_lot::Mutex;

use crate::config::Config;
use crate::disk_monitor::DiskMonitor;
use crate::shared::NodeShared;
use crate::snapshots;

/// Why the master key was not rotated, or why a rotation is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The operator has not provided a new key.
    #[error("there is no new key: put it into {0} on this node (64 hexadecimal digits, mode 600)")]
    NoNewKey(PathBuf),
    /// The new key's file cannot be used.
    #[error("the new key: {0}")]
    NewKey(#[source] KeyFileError),
    /// The new key is not new.
    #[error("the key in {path} is the one in force ({fingerprint}): put a new one there")]
    Same {
        /// The file for the new key.
        path: PathBuf,
        /// Of the key.
        fingerprint: Fingerprint,
    },
    /// Another rotation is in progress.
    #[error("another rotation of this node's master key is in progress")]
    InProgress,
    /// The log has not stored the rotation.
    #[error("the transaction log: {0}")]
    Log(#[source] WriteError),
    /// The disk is under the new key, but snapshot files are not.
    #[error(
        "the log is under master key {fingerprint}, but {count} snapshot files are not: {first}. Repeat the command; until \
         then keep the file of the new key where it is"
    )]
    Snapshots {
        /// The key in force.
        fingerprint: Fingerprint,
        /// Files, or folders, that could not be changed.
        count: usize,
        /// What is wrong with the first one.
        first: SnapshotError,
    },
}

/// What a rotation has done.
#[derive(Debug, Default)]
pub struct Rotated {
    /// The key that was in force before, if it is another one.
    pub from: Option<Fingerprint>,
    /// Snapshot files whose header was replaced.
    pub snapshots: u64,
    /// What remains for the operator, or does not matter for the next start.
    pub warnings: Vec<String>,
}

/// The key in force, and whether another one could be.
#[derive(Debug)]
pub struct KeyStatus {
    /// Of the key in force.
    pub fingerprint: Fingerprint,
    /// When it was taken into use on this disk, in seconds since the Unix epoch; 0: not known.
    pub since_s: u64,
    /// The key before it, if snapshot files may still be under that.
    pub retired: Option<Fingerprint>,
    /// The new key that the operator has provided, or why a rotation to it would be refused.
    pub new: Result<Fingerprint, RotationError>,
    /// Whether a rotation would complete an earlier one.
    pub is_incomplete: bool,
    /// The file with the key in force is not where the next start looks for it first.
    pub misplaced: Option<String>,
}

/// Rotates the master key of one node.
pub struct KeyRotation {
    node: Arc<NodeShared>,
    log: Log,
    disk: Arc<DiskMonitor>,
    busy: Mutex<()>,
}

impl fmt::Debug for KeyRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRotation").field("keys", self.keys()).finish_non_exhaustive()
    }
}

/// Seconds since a time in seconds since the Unix epoch; `None` if that is not known.
#[must_use]
pub fn age_s(since_s: u64) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    (since_s > 0).then(|| now.saturating_sub(since_s))
}

/// The master keys with which a disk may be opened: that of the file, and that of the file for a new key, which a
/// rotation may have left there.
pub(crate) fn cipher(config: &Config) -> Result<Cipher, KeyFileError> {
    let cipher = Cipher::new(config.master_key()?);
    let path = config.new_master_key_file();
    if !path.exists() {
        return Ok(cipher);
    }
    match MasterKey::load(&path) {
        Ok(new) => Ok(cipher.with_alternative(new)),
        Err(error) => {
            tracing::warn!(%error, "the file for a new master key cannot be used");
            Ok(cipher)
        }
    }
}

impl KeyRotation {
    /// For a node with this log.
    #[must_use]
    pub fn new(node: Arc<NodeShared>, log: Log, disk: Arc<DiskMonitor>) -> Arc<KeyRotation> {
        Arc::new(KeyRotation { node, log, disk, busy: Mutex::new(()) })
    }

    fn keys(&self) -> &MasterKeys {
        self.log.keys()
    }

    /// The key in force, and whether another one could be. Blocks for as long as reading a file takes.
    #[must_use]
    pub fn status(&self) -> KeyStatus {
        let keys = self.keys();
        KeyStatus {
            fingerprint: keys.fingerprint(),
            since_s: keys.since_s(),
            retired: keys.retired(),
            new: self.new_key().map(|key| key.fingerprint()),
            is_incomplete: self.is_incomplete(),
            misplaced: self.misplaced(),
        }
    }

    /// Number of data keys of the log.
    #[must_use]
    pub fn data_keys(&self) -> u64 {
        self.log.stats().data_keys.load(Ordering::Relaxed)
    }

    /// Rotates to the new key, or completes an earlier rotation if there is no new one. Blocks until the disk is under
    /// the new key and no longer needs the old one.
    ///
    /// # Errors
    /// See [`RotationError`].
    pub fn rotate(&self) -> Result<Rotated, RotationError> {
        let _busy = self.busy.try_lock().ok_or(RotationError::InProgress)?;
        let mut rotated = Rotated::default();
        if self.is_incomplete() {
            self.record_incomplete(self.complete(&mut rotated))?;
            self.node.events.record(Event::MasterKeyCompleted { fingerprint: self.keys().fingerprint().to_string() });
            // A key in force that could not be moved is not to be overwritten by a new one.
            if self.is_to_be_moved() || !self.node.config.load().new_master_key_file().exists() {
                return Ok(rotated);
            }
        }
        let new = self.new_key()?;
        sync_key_file(&self.node.config.load().new_master_key_file()).map_err(RotationError::NewKey)?;
        fail_point!("keys::checked");
        let (from, to) = (self.keys().fingerprint(), new.fingerprint());
        let (done, stored) = mpsc::channel();
        self.log.rotate_master_key(new, move |result| drop(done.send(result)));
        match stored.recv().unwrap_or(Err(RotateError::Write(WriteError::Closed))) {
            Ok(()) => {}
            Err(RotateError::Write(error)) => return Err(RotationError::Log(error)),
            // This is the only one that rotates, has completed what was incomplete, and has compared the keys.
            Err(RotateError::InProgress | RotateError::Unfinished(_) | RotateError::Same(_)) => {
                return Err(RotationError::InProgress);
            }
        }
        self.node.events.record(Event::MasterKeyRotated { from: from.to_string(), to: to.to_string() });
        fail_point!("keys::stored");
        rotated.from = Some(from);
        self.record_incomplete(self.complete(&mut rotated))?;
        Ok(rotated)
    }

    /// Completes a rotation that an earlier process has not completed. Blocks.
    pub fn complete_interrupted(&self) {
        let _busy = self.busy.lock();
        if !self.is_incomplete() {
            return;
        }
        let (fingerprint, mut rotated) = (self.keys().fingerprint().to_string(), Rotated::default());
        if self.record_incomplete(self.complete(&mut rotated)).is_ok() {
            self.node.events.record(Event::MasterKeyCompleted { fingerprint });
        }
        for warning in rotated.warnings {
            tracing::warn!(warning, "rotation of the master key");
        }
    }

    /// Records that steps are left after an error.
    fn record_incomplete(&self, completed: Result<(), RotationError>) -> Result<(), RotationError> {
        completed.inspect_err(|error| {
            let (fingerprint, reason) = (self.keys().fingerprint().to_string(), error.to_string());
            self.node.events.record(Event::MasterKeyIncomplete { fingerprint, reason });
        })
    }

    /// The new key, if a rotation to it is possible.
    fn new_key(&self) -> Result<MasterKey, RotationError> {
        let path = self.node.config.load().new_master_key_file();
        let new = match MasterKey::load(&path) {
            Ok(new) => new,
            Err(KeyFileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(RotationError::NoNewKey(path));
            }
            Err(error) => return Err(RotationError::NewKey(error)),
        };
        let fingerprint = new.fingerprint();
        if fingerprint == self.keys().fingerprint() {
            return Err(RotationError::Same { path, fingerprint });
        }
        Ok(new)
    }

    /// Whether steps are left of a rotation.
    fn is_incomplete(&self) -> bool {
        self.keys().retired().is_some() || self.is_to_be_moved()
    }

    /// Whether a file holds the key in force.
    fn is_in_force(&self, file: &Result<MasterKey, KeyFileError>) -> bool {
        file.as_ref().is_ok_and(|key| key.fingerprint() == self.keys().fingerprint())
    }

    /// Whether the key in force is in the file for the new key only.
    fn is_to_be_moved(&self) -> bool {
        let config = self.node.config.load();
        !self.is_in_force(&config.master_key()) && self.is_in_force(&MasterKey::load(&config.new_master_key_file()))
    }

    /// What an operator has to do so that the next start finds the key in force where it should be.
    fn misplaced(&self) -> Option<String> {
        let config = self.node.config.load();
        if self.is_in_force(&config.master_key()) {
            return None;
        }
        let (new, file) = (config.new_master_key_file(), config.master_key_file.clone().unwrap_or_default());
        let (new, file) = (new.display(), file.display());
        Some(if self.is_to_be_moved() {
            format!("the key in force is in {new}: move it to {file} before the next rotation")
        } else {
            let fingerprint = self.keys().fingerprint();
            format!("the key in force ({fingerprint}) is neither in {file} nor in {new}: the node will not start again")
        })
    }

    /// Steps 3 to 5.
    fn complete(&self, rotated: &mut Rotated) -> Result<(), RotationError> {
        self.replace_headers(rotated)?;
        fail_point!("keys::headers");
        if self.keys().retired().is_some() {
            let (done, stored) = mpsc::channel();
            self.log.forget_retired_key(move |result| drop(done.send(result)));
            stored.recv().unwrap_or(Err(WriteError::Closed)).map_err(RotationError::Log)?;
        }
        fail_point!("keys::forgotten");
        let remain = match self.disk.forget_overwritten() {
            Ok(true) => None,
            Ok(false) => Some("the disk has too little space to rewrite them".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        rotated.warnings.extend(remain.map(|why| {
            format!("files of the log keep data keys that the old master key wraps until they are rewritten: {why}")
        }));
        if self.is_to_be_moved() {
            let config = self.node.config.load();
            let file = config.master_key_file.clone().unwrap_or_default();
            let moved = move_key_file(&config.new_master_key_file(), &file);
            rotated.warnings.extend(moved.err().map(|error| error.to_string()));
        }
        rotated.warnings.extend(self.misplaced());
        fail_point!("keys::moved");
        Ok(())
    }

    fn replace_headers(&self, rotated: &mut Rotated) -> Result<(), RotationError> {
        let mut failed = Vec::new();
        for (group, path) in snapshots::folders_in(&self.node.config.load().dir) {
            let (cluster, node, cipher) = (self.node.cluster, self.node.node, Cipher::sharing(self.keys()));
            match SnapshotFolder::open(&path, cluster, node, group, cipher).rewrap_all() {
                Ok((replaced, errors)) => {
                    rotated.snapshots += replaced;
                    failed.extend(errors);
                }
                Err(error) => failed.push(error),
            }
        }
        let (fingerprint, count) = (self.keys().fingerprint(), failed.len());
        match failed.into_iter().next() {
            Some(first) => Err(RotationError::Snapshots { fingerprint, count, first }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
