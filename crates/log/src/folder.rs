//! Creates folders that survive a power loss, and measures the space that a folder's files use.

use std::fs::File;
use std::io;
use std::path::Path;

/// Creates a folder and its missing parents. Each new folder is on stable storage when this returns: its parent is
/// synced, because otherwise a power loss could remove the folder together with everything that was synced inside it.
///
/// # Errors
/// The file system refuses.
pub fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_durably(parent)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

/// Bytes on disk of the files directly in a folder; 0 if the folder does not exist. Files that are removed meanwhile
/// are skipped.
#[must_use]
pub fn bytes_on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let files = entries.filter_map(|entry| entry.ok()?.metadata().ok()).filter(std::fs::Metadata::is_file);
    files.map(|file| file.blocks() * 512).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn folders_are_made_with_those_above_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        create_durably(&path).unwrap();
        assert!(path.is_dir());
        create_durably(&path).unwrap();
        std::fs::write(dir.path().join("file"), "text").unwrap();
        assert!(create_durably(&dir.path().join("file/d")).is_err());
    }

    #[test]
    fn bytes_are_those_of_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(bytes_on_disk(&dir.path().join("none")), 0);
        std::fs::write(dir.path().join("file"), vec![1; 100_000]).unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        File::open(dir.path().join("file")).unwrap().sync_all().unwrap();
        let bytes = bytes_on_disk(dir.path());
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
    }
}
