//! Files that hold a master key: 32 bytes, or 64 hexadecimal digits and an optional newline, for their owner only.
//!
//! A rotation relies on the file of the new key from the moment on at which the disk is under that key. So the file is
//! synced before ([`sync_key_file`]), and takes the place of the old key's file in one step ([`move_key_file`]).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::master_key::MasterKey;

/// Longest content that is read: a longer one is no key.
const FILE_BYTES_MAX: u64 = 4096;

/// Why a master key file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("master key file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Users other than the owner may read or write it.
    #[error("master key file {path} has mode {mode:03o}, so other users may access it; run: chmod 600 {path}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file has neither 32 bytes nor 64 hexadecimal digits.
    #[error("master key file {path} has {bytes} bytes; it must hold 32 bytes or 64 hexadecimal digits")]
    Form {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// A power loss could remove the file.
    #[error("master key file {path} cannot be brought to stable storage with its folder: {source}")]
    Sync {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot take the place of another one.
    #[error("{from} cannot be moved to {to}: {source}")]
    Move {
        /// The file.
        from: PathBuf,
        /// Where it should be.
        to: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl MasterKey {
    /// Reads a key file.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn load(path: &Path) -> Result<MasterKey, KeyFileError> {
        let read = |source| KeyFileError::Read { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        check_mode(path, &metadata)?;
        let mut content = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut content).map_err(read)?;
        let bytes = parse_key(&content);
        let bytes = bytes.ok_or_else(|| KeyFileError::Form {
            path: path.to_path_buf(),
            bytes: metadata.len().max(content.len() as u64),
        })?;
        content.fill(0);
        Ok(MasterKey::from_bytes(&bytes))
    }
}

/// Brings a key file to stable storage, and its name in its folder.
///
/// # Errors
/// [`KeyFileError::Sync`].
pub fn sync_key_file(path: &Path) -> Result<(), KeyFileError> {
    let synced = File::open(path).and_then(|file| file.sync_all()).and_then(|()| sync_folder(path));
    synced.map_err(|source| KeyFileError::Sync { path: path.to_path_buf(), source })
}

/// Gives a key file the name of another one, whose content is gone then. One of the two is there at any moment.
///
/// # Errors
/// [`KeyFileError::Move`].
pub fn move_key_file(from: &Path, to: &Path) -> Result<(), KeyFileError> {
    let moved = std::fs::rename(from, to).and_then(|()| sync_folder(to));
    moved.map_err(|source| KeyFileError::Move { from: from.to_path_buf(), to: to.to_path_buf(), source })
}

fn sync_folder(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &std::fs::Metadata) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Mode { path: path.to_path_buf(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &std::fs::Metadata) -> Result<(), KeyFileError> {
    Ok(())
}

/// Parses the content of a key file.
fn parse_key(content: &[u8]) -> Option<[u8; 32]> {
    if let Ok(raw) = content.try_into() {
        return Some(raw);
    }
    let text = content.trim_ascii_end();
    if text.len() != 64 {
        return None;
    }
    let mut key = [0; 32];
    for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_key_is_raw_or_hexadecimal() {
        assert_eq!(parse_key(&[7; 32]), Some([7; 32]));
        assert_eq!(parse_key("0a".repeat(32).as_bytes()), Some([10; 32]));
        assert_eq!(parse_key(format!("{}\n", "fF".repeat(32)).as_bytes()), Some([255; 32]));
        assert_eq!(parse_key(&[b'g'; 64]), None);
        assert_eq!(parse_key(b"short"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        std::fs::write(&path, [1; 32]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = MasterKey::load(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Mode { mode: 0o640, .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(MasterKey::load(&path).unwrap().fingerprint(), MasterKey::from_bytes(&[1; 32]).fingerprint());
        std::fs::write(&path, b"too short").unwrap();
        assert!(matches!(MasterKey::load(&path), Err(KeyFileError::Form { bytes: 9, .. })));
        std::fs::write(&path, vec![b'0'; 1 << 20]).unwrap();
        assert!(matches!(MasterKey::load(&path), Err(KeyFileError::Form { bytes: 1_048_576, .. })));
        assert!(matches!(MasterKey::load(&dir.path().join("none")), Err(KeyFileError::Read { .. })));
    }

    #[test]
    fn a_key_file_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("master.key"), dir.path().join("master.key.new"));
        std::fs::write(&old, [1; 32]).unwrap();
        assert!(matches!(sync_key_file(&new), Err(KeyFileError::Sync { .. })));
        assert!(matches!(move_key_file(&new, &old), Err(KeyFileError::Move { .. })));
        std::fs::write(&new, [2; 32]).unwrap();
        sync_key_file(&new).unwrap();
        move_key_file(&new, &old).unwrap();
        assert!(!new.exists());
        assert_eq!(std::fs::read(&old).unwrap(), [2; 32]);
    }
}
