//! The users that a node's files define, with which a cluster begins.
//!
//! They are the lines `user <name> <rule> …` of the config file, or those of `aclfile`; never both. As long as nobody
//! has changed a user, the cluster has none of its own: each node goes by those of its files, and brings them in
//! (`server.rs`). From then on the cluster's apply, and a restart of a node changes none of them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use fastness_acl::{RuleError, User};
use fastness_control::{UserRules, Users};
use fastness_engine::command::CommandTable;

use super::acl_file::{self, AclFileError};
use crate::accounts::{self, UsersError};
use crate::config::{Config, UserLine};

/// Why the users of a node's files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirstUsersError {
    /// A rule in a line of the config file is wrong.
    #[error("config file, line {line}: user {name}: {error}")]
    Rule {
        /// From 1.
        line: usize,
        /// The user.
        name: String,
        /// What is wrong.
        error: RuleError,
    },
    /// A user in a line of the config file cannot be stored.
    #[error("config file, line {line}: user {name}: {error}")]
    User {
        /// From 1.
        line: usize,
        /// The user.
        name: String,
        /// Why not.
        error: UsersError,
    },
    /// All of them together exceed a bound.
    #[error("users in the config file or aclfile: {0}")]
    Bound(UsersError),
    /// `aclfile`.
    #[error("aclfile: {0}")]
    File(AclFileError),
}

/// Takes the lines `user …` out of the config, because they may contain passwords; returns the users that they define,
/// or those of `aclfile`. A file that does not exist defines none: ACL SAVE makes it.
///
/// # Errors
/// The first line that is wrong.
pub fn first_users(table: &'static CommandTable, config: &mut Config) -> Result<Users, FirstUsersError> {
    let lines = std::mem::take(&mut config.users);
    let rules = match &config.aclfile {
        _ if !lines.is_empty() => of_lines(table, lines)?,
        Some(path) => of_file(table, path)?,
        None => BTreeMap::new(),
    };
    let change: UserRules = rules.iter().map(|(name, rules)| (name.clone(), Some(rules.clone()))).collect();
    accounts::check_bounds(&Users::default(), &change).map_err(FirstUsersError::Bound)?;
    Ok(Users { version: 0, rules })
}

fn of_lines(table: &'static CommandTable, lines: Vec<UserLine>) -> Result<BTreeMap<String, String>, FirstUsersError> {
    let mut users = BTreeMap::new();
    for UserLine { line, name, rules } in lines {
        let user = match User::new(table).with_rules(rules.iter().map(|rule| rule.as_bytes())) {
            Ok(user) => user,
            Err(error) => return Err(FirstUsersError::Rule { line, name, error }),
        };
        match accounts::text(&user) {
            Ok(rules) => drop(users.insert(name, rules)),
            Err(error) => return Err(FirstUsersError::User { line, name, error }),
        }
    }
    Ok(users)
}

fn of_file(table: &'static CommandTable, path: &Path) -> Result<BTreeMap<String, String>, FirstUsersError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::info!(path = %path.display(), "aclfile does not exist: it defines no user");
            Ok(BTreeMap::new())
        }
        _ => acl_file::read(table, path).map_err(FirstUsersError::File),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::resp_server::command::table;

    fn read(text: &str) -> Result<Users, FirstUsersError> {
        first_users(table(), &mut Config::parse(text).unwrap())
    }

    #[test]
    fn lines_become_users_in_the_stored_form_and_leave_the_config() {
        let mut config =
            Config::parse("USER alice on >pw ~cart:* \"+@hash\" -@dangerous\nport 1\nuser default off\nuser bob\n")
                .unwrap();
        let users = first_users(table(), &mut config).unwrap();
        assert_eq!(users.rules.keys().collect::<Vec<_>>(), ["alice", "bob", "default"]);
        assert_eq!(users.version, 0);
        let hash = "30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4";
        assert_eq!(users.rules["alice"], format!("on #{hash} ~cart:* resetchannels -@all +@hash -@dangerous"));
        assert!(users.rules["default"].starts_with("off "), "it starts from nothing, as in Valkey: {users:?}");
        assert!(config.users.is_empty() && !format!("{config:?}").contains("pw"));
        assert_eq!(read("port 1").unwrap(), Users::default());
    }

    #[test]
    fn errors_name_the_line() {
        let rule = read("port 1\n\nuser alice on +nothing").unwrap_err().to_string();
        assert!(rule.starts_with("config file, line 3: user alice: ") && rule.contains("Unknown command"), "{rule}");
        let long = read(&format!("user {} on", "x".repeat(300))).unwrap_err().to_string();
        assert!(long.contains("at most 256 bytes"), "{long}");
        for (text, error) in [
            ("user", "line 1: user: the name of a user is missing"),
            ("port 1\nuser \"a b\" on", "line 2: user: the name of a user is missing, or contains blanks"),
            ("user a on\nuser b on\nuser a off", "line 3: user: Duplicate user 'a' found"),
        ] {
            let found = Config::parse(text).unwrap_err().to_string();
            assert!(found.starts_with(error), "{found}");
        }
        let many: String = (0..2_000).map(|i| format!("user u{i}\n")).collect();
        let error = Config::parse(&many).unwrap_err().to_string();
        assert_eq!(error, "line 1001: user: a cluster has at most 1000 users");
    }

    #[test]
    fn a_file_defines_users_if_it_exists_and_not_beside_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.acl");
        let text = format!("aclfile {}", path.display());
        assert_eq!(read(&text).unwrap(), Users::default());
        std::fs::write(&path, "user alice on nopass ~* +get\n").unwrap();
        assert_eq!(read(&text).unwrap().rules["alice"], "on nopass ~* resetchannels -@all +get");
        std::fs::write(&path, "\nuser alice maybe\n").unwrap();
        let error = read(&text).unwrap_err().to_string();
        assert!(error.starts_with("aclfile: ") && error.contains("users.acl:2: "), "{error}");
        let both = Config::parse(&format!(
            "tls-cert-file a\ntls-key-file b\ntls-ca-cert-file c\nmaster-key-file d\navailability-zone a\n{text}\nuser a on"
        ));
        let refused = both.unwrap().check().unwrap_err().to_string();
        assert!(refused.starts_with("line 7 defines a user, and aclfile is set"), "{refused}");
    }
}
