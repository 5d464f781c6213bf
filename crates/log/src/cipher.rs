//! The master key: read from a file, used only to wrap data keys and to authenticate the identity record.
//!
//! Three subkeys are derived from the 32 bytes with HMAC-SHA256 over fixed labels: one wraps data keys (AES-256-GCM),
//! one authenticates the identity record, one yields the fingerprint, which distinguishes a wrong key from damage. The
//! fingerprint is 8 bytes and reveals nothing about the key.
//!
//! Rotation: a [`Cipher`] may carry the previous master key. At the next start, every data key that the previous key
//! wrapped is wrapped under the current one. Entries are not touched.

use std::fmt;
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// Fills bytes with unpredictable random values. A simulation passes its own source.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// Names a master key without revealing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The 32 secret bytes that protect every data key of a node.
pub struct MasterKey {
    pub(crate) wrapping: LessSafeKey,
    pub(crate) identity: hmac::Key,
    fingerprint: Fingerprint,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.fingerprint)
    }
}

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
        bytes: usize,
    },
}

fn derive(secret: &hmac::Key, label: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(secret, label);
    let mut key = [0; 32];
    key.copy_from_slice(tag.as_ref());
    key
}

pub(crate) fn aead_key(bytes: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 takes a key of 32 bytes"))
}

impl MasterKey {
    /// A key from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> MasterKey {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&derive(&secret, b"fastness master key fingerprint v1")[..8]);
        MasterKey {
            wrapping: aead_key(&derive(&secret, b"fastness data key wrapping v1")),
            identity: hmac::Key::new(hmac::HMAC_SHA256, &derive(&secret, b"fastness identity record v1")),
            fingerprint: Fingerprint(fingerprint),
        }
    }

    /// Reads a key file: 32 bytes, or 64 hexadecimal digits and an optional newline, for its owner only.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn load(path: &Path) -> Result<MasterKey, KeyFileError> {
        let read = |source| KeyFileError::Read { path: path.to_path_buf(), source };
        check_mode(path, &std::fs::metadata(path).map_err(read)?)?;
        let content = std::fs::read(path).map_err(read)?;
        let bytes =
            parse_key(&content).ok_or_else(|| KeyFileError::Form { path: path.to_path_buf(), bytes: content.len() })?;
        Ok(MasterKey::from_bytes(&bytes))
    }

    /// The fingerprint, which names the key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
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

/// What encryption at rest needs: the master key, optionally the previous one, and a random source.
pub struct Cipher {
    pub(crate) master: MasterKey,
    pub(crate) previous: Option<MasterKey>,
    pub(crate) random: Random,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("master", &self.master).field("previous", &self.previous).finish_non_exhaustive()
    }
}

impl Cipher {
    /// A cipher with the system's random source.
    #[must_use]
    pub fn new(master: MasterKey) -> Cipher {
        let system = SystemRandom::new();
        Cipher::with_random(
            master,
            Box::new(move |bytes| system.fill(bytes).expect("the system's random source does not fail once it is up")),
        )
    }

    /// A cipher with another random source, for simulations. Real keys need [`Cipher::new`].
    #[must_use]
    pub fn with_random(master: MasterKey, random: Random) -> Cipher {
        Cipher { master, previous: None, random }
    }

    /// Also accepts data keys wrapped by `previous`; the next start wraps them under the current master key.
    #[must_use]
    pub fn with_previous(mut self, previous: MasterKey) -> Cipher {
        self.previous = Some(previous);
        self
    }

    /// The master key with this fingerprint.
    pub(crate) fn master_by(&self, fingerprint: Fingerprint) -> Option<&MasterKey> {
        [Some(&self.master), self.previous.as_ref()].into_iter().flatten().find(|key| key.fingerprint() == fingerprint)
    }
}

#[cfg(test)]
mod tests {
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
        assert!(matches!(MasterKey::load(&dir.path().join("none")), Err(KeyFileError::Read { .. })));
    }
}
