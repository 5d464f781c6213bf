//! A change of settings, as options, requests and errors have it.

use std::time::Duration;

use bytes::Bytes;
use fastness_control::{Password, SettingsChange};
use fastness_types::NodeId;
use fastness_wire::admin::v1::SetSettingsRequest;
use tonic::Status;

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

/// Whether a rule accepts `given`; the time of the comparison does not reveal how much of the hash was right.
#[must_use]
pub fn accepts(rule: &Password, given: &[u8]) -> bool {
    let Password::Sha256(expected) = rule else { return true };
    let digest = ring::digest::digest(&ring::digest::SHA256, given);
    digest.as_ref().iter().zip(expected).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let rule = password("secret");
        assert!(accepts(&rule, b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret"] {
            assert!(!accepts(&rule, wrong));
        }
        assert_eq!(password(""), Password::None);
        assert!(accepts(&Password::None, b"anything"));
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
    fn an_error_names_the_nodes_that_have_not_confirmed() {
        let error = SettingsError::Unconfirmed(vec![NodeId(2), NodeId(3)]).to_string();
        assert_eq!(error, "the change is made, but node 2, node 3 have not confirmed yet that it is applied");
    }
}
