//! Who may read the keys, and whether the data folder can be written.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use fastness_server::config::Config;
use rustix::fs::{Access, access};

use super::super::finding::{CheckResult, Finding, quoted};
use super::host::Machine;

const CHECK: &str = "files";

pub fn check(host: &Machine) -> Vec<Finding> {
    let Some(config) = host.given() else { return Vec::new() };
    let repeat = host.repeat();
    let key = config.tls_key_file.as_deref().map(|path| judge_key("tls-key-file", path, mode(path), None, &repeat));
    let master = config.master_key_file.as_deref().map(|path| {
        let refusal = config.master_key().err().map(|error| error.to_string());
        judge_key("master-key-file", path, mode(path), refusal, &repeat)
    });
    let folder = judge_folder(&config.dir, access_of(config), &repeat);
    key.into_iter().chain(master).chain([folder]).collect()
}

/// The permission bits of a file.
fn mode(path: &Path) -> Result<u32, ErrorKind> {
    std::fs::metadata(path).map(|file| file.permissions().mode() & 0o777).map_err(|error| error.kind())
}

/// `refusal`: why a node would not start with the content.
fn judge_key(
    option: &str,
    path: &Path,
    mode: Result<u32, ErrorKind>,
    refusal: Option<String>,
    repeat: &str,
) -> Finding {
    let (subject, shown) = (format!("{option} {}", path.display()), quoted(&path.to_string_lossy()));
    let mode = match mode {
        Ok(mode) => mode,
        Err(ErrorKind::PermissionDenied) => {
            let found = Finding::not_checked(CHECK, subject, "this user may not read the folder of the file");
            return found.then_system(format!("sudo -u fastness {repeat}"));
        }
        Err(kind) => {
            return Finding::ok(CHECK, subject, format!("cannot be read: {kind}"))
                .but(CheckResult::Problem, "the node does not start without it")
                .then_system(format!("ls -l {shown}"));
        }
    };
    if mode & 0o077 != 0 {
        let why = "whoever reads the key can read the disk, or pose as this node";
        let result = if refusal.is_some() { CheckResult::Problem } else { CheckResult::Warning };
        let found = Finding::ok(CHECK, subject, format!("mode {mode:03o}: other users may access it"));
        return found.but(result, why).then_system(format!("chmod 600 {shown}"));
    }
    match refusal {
        Some(refusal) if refusal.contains("Permission denied") => {
            let found = Finding::not_checked(CHECK, subject, "this user may not read it");
            found.then_system(format!("sudo -u fastness {repeat}"))
        }
        Some(refusal) => Finding::ok(CHECK, subject, refusal)
            .but(CheckResult::Problem, "the node does not start")
            .then_system(format!("ls -l {shown}")),
        None => Finding::ok(CHECK, subject, format!("mode {mode:03o}")),
    }
}

/// The data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DataFolder {
    /// It does not exist; whether it can be made.
    Absent { can_be_made: bool },
    /// This user may write it; whose it is.
    Writable,
    /// This user may not write it, and whose it is.
    OfOthers { owner: u32 },
}

fn access_of(config: &Config) -> DataFolder {
    let may_write = |path: &Path| access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_ok();
    match std::fs::metadata(&config.dir) {
        Ok(_) if may_write(&config.dir) => DataFolder::Writable,
        Ok(folder) => DataFolder::OfOthers { owner: folder.uid() },
        Err(_) => {
            let existing = config.dir.ancestors().find(|folder| folder.is_dir());
            DataFolder::Absent { can_be_made: may_write(existing.unwrap_or(Path::new("."))) }
        }
    }
}

fn judge_folder(path: &Path, found: DataFolder, repeat: &str) -> Finding {
    let (subject, shown) = (format!("dir {}", path.display()), quoted(&path.to_string_lossy()));
    match found {
        DataFolder::Writable => Finding::ok(CHECK, subject, "can be written"),
        DataFolder::Absent { can_be_made: true } => Finding::ok(CHECK, subject, "does not exist yet, and can be made"),
        DataFolder::Absent { can_be_made: false } => {
            Finding::ok(CHECK, subject, "does not exist, and this user may not make it")
                .but(CheckResult::Problem, "the node does not start")
                .then_system(format!("install -d -m 700 -o fastness -g fastness {shown}"))
        }
        DataFolder::OfOthers { owner } => {
            let found =
                Finding::not_checked(CHECK, subject, format!("belongs to user {owner}; this user may not write it"));
            found.then_system(format!("sudo -u '#{owner}' {repeat}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn keys_are_private() {
        let path = Path::new("/etc/fastness/node.key");
        let of = |mode, refusal: Option<&str>| {
            result(&judge_key("tls-key-file", path, mode, refusal.map(str::to_owned), "fastness doctor"))
        };
        assert_eq!([of(Ok(0o600), None), of(Ok(0o400), None)], [CheckResult::Ok; 2]);
        assert_eq!(of(Ok(0o640), None), CheckResult::Warning);
        assert_eq!(of(Ok(0o644), Some("has mode 644")), CheckResult::Problem);
        assert_eq!(of(Ok(0o600), Some("has 12 bytes")), CheckResult::Problem);
        assert_eq!(of(Err(ErrorKind::NotFound), None), CheckResult::Problem);
        assert_eq!(of(Err(ErrorKind::PermissionDenied), None), CheckResult::NotChecked);
        assert_eq!(of(Ok(0o600), Some("x: Permission denied (os error 13)")), CheckResult::NotChecked);
    }

    #[test]
    fn the_data_folder_can_be_written() {
        let of = |found| result(&judge_folder(Path::new("/var/lib/fastness"), found, "fastness doctor"));
        assert_eq!([of(DataFolder::Writable), of(DataFolder::Absent { can_be_made: true })], [CheckResult::Ok; 2]);
        assert_eq!(of(DataFolder::Absent { can_be_made: false }), CheckResult::Problem);
        assert_eq!(of(DataFolder::OfOthers { owner: 999 }), CheckResult::NotChecked);
    }

    #[test]
    fn real_files_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("master.key");
        std::fs::write(&key, "00").unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!((mode(&key), mode(&dir.path().join("absent"))), (Ok(0o644), Err(ErrorKind::NotFound)));
        let config = Config { dir: dir.path().join("data/log"), ..Config::default() };
        assert_eq!(access_of(&config), DataFolder::Absent { can_be_made: true });
        assert_eq!(access_of(&Config { dir: dir.path().to_owned(), ..config }), DataFolder::Writable);
    }
}
