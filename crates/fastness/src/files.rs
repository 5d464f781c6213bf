//! Files that are written as a whole: a reader sees the old or the new content completely, also after a crash.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Mode of a file that everybody may read.
const PUBLIC: u32 = 0o644;
/// Mode of a file that only its owner may read.
const SECRET: u32 = 0o600;

/// Writes a file, or replaces it.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, PUBLIC)
}

/// As [`write_atomically`], readable by its owner only.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, SECRET)
}

/// Writes a file that does not exist yet.
pub fn create_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    create(path, bytes, PUBLIC)
}

/// As [`create_atomically`], readable by its owner only.
pub fn create_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    create(path, bytes, SECRET)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || std::fs::rename(write_part(path, bytes, mode)?, path);
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || {
        let part = write_part(path, bytes, mode)?;
        // Unlike a rename, a link replaces nothing.
        let linked = std::fs::hard_link(&part, path);
        std::fs::remove_file(&part)?;
        linked
    };
    match write() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists already, and is not overwritten", path.display())
        }
        written => written.with_context(|| format!("cannot write {}", path.display())),
    }
}

/// Writes the content to a file beside `path` and returns its name.
fn write_part(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(ErrorKind::InvalidFilename)?;
    // The process id keeps two writers from using the same file; each completes its own one.
    let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    // A file that a crashed process left behind may have another mode.
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_replaced_atomically_and_secrets_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_atomically(&path, b"one").unwrap();
        write_secret(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_existing_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        create_secret(&path, b"one").unwrap();
        let refused = create_atomically(&path, b"two").unwrap_err().to_string();
        assert!(refused.ends_with("x exists already, and is not overwritten"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(create_secret(&dir.path().join("absent/x"), b"").is_err());
    }
}
