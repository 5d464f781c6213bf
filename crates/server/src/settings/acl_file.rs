//! The ACL file: one line `user <name> <rule> …` per user, as `ACL LIST` prints them; empty lines and lines that start
//! with `#` are skipped.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use fastness_acl::{RuleError, User};
use fastness_engine::command::CommandTable;
use fastness_types::limits::USERS_BYTES_MAX;

use crate::accounts::{self, UsersError};

/// Longest file that is read, bytes: users may be written with more words than they are stored with.
const FILE_BYTES_MAX: usize = 4 * USERS_BYTES_MAX;

/// Why an ACL file is not read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclFileError {
    /// The system does not let it be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        why: String,
    },
    /// The system does not let it be written.
    #[error("{path}: {why}. The file is as it was")]
    Unwritable {
        /// The file.
        path: String,
        /// What the system says.
        why: String,
    },
    /// It is too long.
    #[error("{path}: an ACL file has at most {FILE_BYTES_MAX} bytes")]
    TooLong {
        /// The file.
        path: String,
    },
    /// A line is wrong.
    #[error("{path}:{number}: {why}. No user was changed")]
    Line {
        /// The file.
        path: String,
        /// From 1.
        number: usize,
        /// What is wrong.
        why: LineProblem,
    },
}

/// What is wrong with a line of an ACL file, in Valkey's words where it has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// It is no user's.
    #[error("should start with user keyword")]
    NoUser,
    /// It has no name.
    #[error("a user has a name")]
    NoName,
    /// There is a line of this user before.
    #[error("Duplicate user '{0}' found")]
    Duplicate(String),
    /// A rule is wrong.
    #[error(transparent)]
    Rule(RuleError),
    /// The user cannot be stored.
    #[error(transparent)]
    User(UsersError),
}

/// Reads the users in a file, by name, with their rules in the stored form.
///
/// # Errors
/// A text that names the line.
pub(super) fn read(table: &'static CommandTable, path: &Path) -> Result<BTreeMap<String, String>, AclFileError> {
    let shown = path.display().to_string();
    let unreadable = |error: io::Error| AclFileError::Unreadable { path: shown.clone(), why: error.to_string() };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX as u64 {
        return Err(AclFileError::TooLong { path: shown });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(table, &shown, &text)
}

/// Reads the users in the text of a file, whose path errors name.
fn parse(table: &'static CommandTable, path: &str, text: &str) -> Result<BTreeMap<String, String>, AclFileError> {
    let mut users = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = |why: LineProblem| AclFileError::Line { path: path.to_owned(), number, why };
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            None => continue,
            Some(word) if word.starts_with('#') => continue,
            Some("user") => {}
            Some(_) => return Err(wrong(LineProblem::NoUser)),
        }
        let Some(name) = words.next() else { return Err(wrong(LineProblem::NoName)) };
        let user =
            User::new(table).with_rules(words.map(str::as_bytes)).map_err(|error| wrong(LineProblem::Rule(error)))?;
        let rules = accounts::text(&user).map_err(|error| wrong(LineProblem::User(error)))?;
        if users.insert(name.to_owned(), rules).is_some() {
            return Err(wrong(LineProblem::Duplicate(name.to_owned())));
        }
    }
    Ok(users)
}

/// As ACL LOAD reads a file of this text, for fuzz targets; see `read`.
///
/// # Errors
/// See `AclFileError`.
#[cfg(feature = "fuzzing")]
pub fn parse_text(text: &str) -> Result<BTreeMap<String, String>, AclFileError> {
    parse(fastness_engine::command::table(), "users.acl", text)
}

/// Replaces a file: whoever reads it meanwhile, or after a crash, finds the old one or the new one.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: &Path, lines: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = path.with_extension("draft");
    // Hashes of passwords: for nobody else's eyes.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(lines)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_read_and_wrong_lines_are_named() {
        let table = fastness_engine::command::table();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.acl");
        let hash = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        let lines = format!("user a on #{hash} ~* resetchannels -@all +get\n\n# none\n  user b off >x\n");
        write(&path, lines.as_bytes()).unwrap();
        write(&path, lines.as_bytes()).unwrap();
        let users = read(table, &path).unwrap();
        assert_eq!(users.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(users["a"], format!("on #{hash} ~* resetchannels -@all +get"));
        assert_eq!(users["b"], format!("off #{hash} resetchannels -@all"), "passwords are hashed at once");
        for (wrong, why) in [
            ("usr a on", "users.acl:1: should start with user keyword"),
            ("\nuser a on +nothing", "users.acl:2: Unknown command or category name in ACL"),
            ("user a on\nuser a off", "users.acl:2: Duplicate user 'a' found"),
            ("user", "users.acl:1: a user has a name"),
        ] {
            std::fs::write(&path, wrong).unwrap();
            let error = read(table, &path).unwrap_err().to_string();
            assert!(error.contains(why) && error.ends_with("No user was changed"), "{error}");
        }
        assert!(read(table, &folder.path().join("none")).is_err());
    }
}
