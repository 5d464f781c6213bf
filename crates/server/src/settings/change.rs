//! A change of settings, as options, requests and errors have it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fastness_control::{Password, SettingsChange, UsersChange};
use fastness_types::NodeId;
use fastness_types::limits::USERS_BYTES_MAX;
use fastness_wire::admin::v1::{ChangeUsersRequest, SetSettingsRequest, UserChange};
use tonic::Status;

use super::acl_file::AclFileError;
use crate::accounts::UsersError;
use crate::config::Config;

/// Options of [`crate::config`] that are settings of the cluster.
pub const NAMES: [&str; 2] = ["requirepass", "durability-max-lag"];

/// Why a change did not come into force everywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nothing was changed.
    #[error("some nodes run an older version that does not know this setting: upgrade all nodes first")]
    Format,
    /// Nothing was changed.
    #[error("the control plane cannot be reached: {0}")]
    Unreachable(String),
    /// It may have become part of the map or not.
    #[error("it is unknown whether the change was made: {0}")]
    Unknown(String),
    /// Nothing was changed: others have changed users meanwhile, and to these the rules do not apply.
    #[error("users were changed meanwhile: {0}")]
    Users(UsersError),
    /// Nothing was changed: others go on changing users.
    #[error("users were changed meanwhile, again and again: repeat the command")]
    Contended,
    /// Nothing was changed: the ACL file cannot be read or written.
    #[error(transparent)]
    File(AclFileError),
    /// It is part of the map and comes into force by itself.
    #[error("the change is made, but {} not confirmed yet that it is applied", names_of(.0))]
    Unconfirmed(Vec<NodeId>),
}

fn names_of(nodes: &[NodeId]) -> String {
    let names: Vec<_> = nodes.iter().map(|node| format!("node {node}")).collect();
    format!("{} {}", names.join(", "), if nodes.len() == 1 { "has" } else { "have" })
}

/// The hash under which a password is stored.
#[must_use]
pub fn password(text: &str) -> Password {
    if text.is_empty() {
        return Password::None;
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    Password::Sha256(hash)
}

/// What differs between two configurations among the cluster's settings.
#[must_use]
pub fn change_of(names: &[&str], config: &Config) -> SettingsChange {
    SettingsChange {
        password: names.contains(&"requirepass").then(|| password(&config.requirepass)),
        max_lag: names.contains(&"durability-max-lag").then_some(config.durability_max_lag),
    }
}

/// The request that [`change_from`] reads.
pub(super) fn request_of(change: &SettingsChange) -> SetSettingsRequest {
    SetSettingsRequest {
        password_sha256: match &change.password {
            Some(Password::Sha256(hash)) => hash.to_vec().into(),
            _ => Bytes::new(),
        },
        no_password: change.password == Some(Password::None),
        durability_max_lag_ms: change.max_lag.map_or(0, |lag| lag.as_millis() as u64),
    }
}

/// Reads a request.
///
/// # Errors
/// INVALID_ARGUMENT: what it says is no setting.
pub fn change_from(request: &SetSettingsRequest) -> Result<SettingsChange, Status> {
    let password = match (request.no_password, &request.password_sha256[..]) {
        (true, _) => Some(Password::None),
        (false, []) => None,
        (false, hash) => {
            let hash = hash.try_into().map_err(|_| Status::invalid_argument("password_sha256 has 32 bytes"))?;
            Some(Password::Sha256(hash))
        }
    };
    let max_lag = (request.durability_max_lag_ms != 0).then(|| Duration::from_millis(request.durability_max_lag_ms));
    Ok(SettingsChange { password, max_lag })
}

/// The request that [`users_change_from`] reads.
pub(super) fn users_request_of(change: &UsersChange) -> ChangeUsersRequest {
    let users = change.rules.iter().map(|(name, rules)| UserChange { name: name.clone(), rules: rules.clone() });
    ChangeUsersRequest { base_version: change.base, users: users.collect() }
}

/// Reads a request.
///
/// # Errors
/// INVALID_ARGUMENT: a user is in it twice, its name is too long, or it changes more than a change may.
pub fn users_change_from(request: ChangeUsersRequest) -> Result<UsersChange, Status> {
    let mut rules = BTreeMap::new();
    let mut bytes = 0;
    for user in request.users {
        bytes += user.name.len() + user.rules.as_ref().map_or(0, String::len);
        if let Some((name, _)) = rules.insert(user.name.clone(), user.rules).map(|rules| (user.name, rules)) {
            return Err(Status::invalid_argument(format!("the user {name:?} is changed twice")));
        }
    }
    if bytes > USERS_BYTES_MAX {
        return Err(Status::invalid_argument(format!("a change of users has at most {USERS_BYTES_MAX} bytes")));
    }
    Ok(UsersChange { base: request.base_version, rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let rule = password("secret");
        assert_ne!(rule, password("secret "));
        assert_eq!(password(""), Password::None);
        assert!(!format!("{rule:?}").contains("secret"));
    }

    #[test]
    fn what_is_forwarded_comes_back() {
        let mut config = Config { requirepass: "x".into(), ..Config::default() };
        for names in [&NAMES[..], &["requirepass"], &["durability-max-lag"], &[]] {
            for secret in ["x", ""] {
                config.requirepass = secret.to_owned();
                let change = change_of(names, &config);
                assert_eq!(change_from(&request_of(&change)).unwrap(), change);
            }
        }
        let wrong = SetSettingsRequest { password_sha256: vec![1; 31].into(), ..SetSettingsRequest::default() };
        assert!(change_from(&wrong).is_err());
    }

    #[test]
    fn a_change_of_users_comes_back() {
        let rules = [("a".to_owned(), Some("on +@all".to_owned())), ("b".to_owned(), None)];
        let change = UsersChange { base: 7, rules: rules.into() };
        assert_eq!(users_change_from(users_request_of(&change)).unwrap(), change);
        let user = |rules: &str| UserChange { name: "a".to_owned(), rules: Some(rules.to_owned()) };
        let too_much = vec![user(&"x".repeat(USERS_BYTES_MAX))];
        for wrong in [vec![user("on"), user("off")], too_much] {
            assert!(users_change_from(ChangeUsersRequest { base_version: 1, users: wrong }).is_err());
        }
    }

    #[test]
    fn an_error_names_the_nodes_that_have_not_confirmed() {
        let error = SettingsError::Unconfirmed(vec![NodeId(2), NodeId(3)]).to_string();
        assert_eq!(error, "the change is made, but node 2, node 3 have not confirmed yet that it is applied");
    }
}
