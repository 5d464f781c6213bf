//! Settings that promise something to clients and so belong to the cluster, not to a node: `requirepass`,
//! `durability-max-lag`.
//!
//! They are part of group 0's map ([`ClusterSettings`]), each change with a version. CONFIG SET of one on any node
//! proposes it to group 0's leader and answers OK when **all reachable nodes have confirmed** that they go by it; else
//! an error names those that have not.
//!
//! - A node confirms a version, in its answers to pings, once all of its replicas go by it
//!   ([`NodeShared::confirm_settings`]).
//! - A node that has not heard group 0 for [`SETTINGS_SILENCE_MAX`] lets nobody in by a password
//!   ([`NodeShared::is_sure_of_settings`]). So one that cannot be reached need not be waited for longer than that:
//!   until it hears the change it accepts neither the old password nor the new one.
//! - A node's config file says what holds until the cluster has settings of its own. Group 0's leader brings its own
//!   file's values in as the first ones, once every node understands them. From then on the file's values have no
//!   effect; a difference is logged.
//! - A password is stored as its SHA-256, as Valkey's ACL stores it, and written nowhere else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastness_consensus::handle::GroupHandle;
use fastness_control::command::Command;
use fastness_control::{ClusterMap, ClusterSettings, Control, Password, ProposeError, SettingsChange};
use fastness_types::limits::SETTINGS_SILENCE_MAX;
use fastness_types::{FormatLevel, NodeId};
use fastness_wire::admin::v1::SetSettingsRequest;
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use tokio::sync::oneshot;
use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use crate::config::Config;
use crate::shared::{NodeShared, Phase};

/// How long group 0 may take to commit a change.
const COMMIT_MAX: Duration = Duration::from_secs(5);
/// How long a node that can be reached may take to confirm. Longer than [`SETTINGS_SILENCE_MAX`], after which a node
/// that has heard nothing lets nobody in.
const CONFIRM_MAX: Duration = Duration::from_millis(SETTINGS_SILENCE_MAX.as_millis() as u64 + 500);
/// Between two checks.
const POLL: Duration = Duration::from_millis(20);
/// How often group 0's leader checks whether the first settings are to be brought in.
const FIRST_POLL: Duration = Duration::from_millis(500);

/// Options of [`crate::config`] that are settings of the cluster.
pub const NAMES: [&str; 2] = ["requirepass", "durability-max-lag"];

/// Why a change did not come into force everywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nothing was changed.
    #[error("the cluster has nodes of an older version that do not know this setting: upgrade all nodes first")]
    Format,
    /// Nothing was changed.
    #[error("the control plane cannot be reached: {0}")]
    Unreachable(String),
    /// It may have become part of the map or not.
    #[error("whether the change was made is unknown: {0}")]
    Unknown(String),
    /// It is part of the map and comes into force by itself.
    #[error("the change is made, but {} not confirmed that they go by it yet", told(.0))]
    Unconfirmed(Vec<NodeId>),
}

fn told(nodes: &[NodeId]) -> String {
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

/// Whether `given` is what a rule asks for; compared in a time that does not tell how much of the hash was right.
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

/// The way from a connection to group 0. Cheap to clone.
#[derive(Clone)]
pub struct SettingsServer {
    node: Arc<NodeShared>,
    control: Control,
    group: GroupHandle,
    asking: ClientTlsConfig,
    runtime: tokio::runtime::Handle,
}

impl SettingsServer {
    /// For this node; its tasks run on the runtime that this is called in.
    #[must_use]
    pub fn new(node: Arc<NodeShared>, control: Control, group: GroupHandle, asking: ClientTlsConfig) -> SettingsServer {
        SettingsServer { node, control, group, asking, runtime: tokio::runtime::Handle::current() }
    }

    /// Changes settings in the background; the answer comes when all reachable nodes have confirmed, or have not in
    /// time.
    #[must_use]
    pub fn change(&self, change: SettingsChange) -> oneshot::Receiver<Result<(), SettingsError>> {
        let (answer, answered) = oneshot::channel();
        let server = self.clone();
        self.runtime.spawn(async move {
            // Whoever asked may have gone away; the change stands.
            let _ = answer.send(server.change_and_wait(change).await);
        });
        answered
    }

    async fn change_and_wait(&self, change: SettingsChange) -> Result<(), SettingsError> {
        let version = self.commit(change).await?;
        self.until_confirmed(version).await
    }

    /// Brings the change into the map, here or at group 0's leader. Returns the version of the settings that have it.
    async fn commit(&self, change: SettingsChange) -> Result<u64, SettingsError> {
        let until = Instant::now() + COMMIT_MAX;
        let mut why = "it has no leader that this node knows".to_owned();
        while Instant::now() < until {
            let leader = match self.propose(&change).await {
                Ok(version) => return Ok(version),
                Err(Refused::NotLeader(leader)) => leader,
                Err(Refused::Error(error)) => return Err(error),
            };
            if let Some(leader) = leader.filter(|leader| *leader != self.node.node) {
                match self.forward(leader, &change).await {
                    Ok(version) => return Ok(version),
                    // It may have led a moment ago: nothing was done there.
                    Err(status) if status.code() == Code::FailedPrecondition => {
                        if status.message() == SettingsError::Format.to_string() {
                            return Err(SettingsError::Format);
                        }
                        why = status.message().to_owned();
                    }
                    Err(status) if status.code() == Code::Unavailable => why = status.message().to_owned(),
                    Err(status) if status.code() == Code::Unimplemented => return Err(SettingsError::Format),
                    Err(status) => return Err(SettingsError::Unknown(status.message().to_owned())),
                }
            }
            tokio::time::sleep(POLL).await;
        }
        Err(SettingsError::Unreachable(why))
    }

    async fn propose(&self, change: &SettingsChange) -> Result<u64, Refused> {
        propose(&self.control, &self.group, change).await
    }

    async fn forward(&self, leader: NodeId, change: &SettingsChange) -> Result<u64, Status> {
        let address = self.control.map().and_then(|map| Some(map.node(leader)?.grpc_address.clone()));
        let address = address.ok_or_else(|| Status::unavailable(format!("node {leader} is not in the map")))?;
        let source = self.node.config.load().source_address();
        let endpoint =
            Endpoint::from_shared(format!("https://{address}")).and_then(|e| e.tls_config(self.asking.clone()));
        let endpoint = endpoint.map_err(|error| Status::unavailable(error.to_string()))?;
        let endpoint = endpoint.connect_timeout(COMMIT_MAX / 5).timeout(COMMIT_MAX).local_address(source);
        let channel =
            endpoint.connect().await.map_err(|error| Status::unavailable(format!("node {leader}: {error}")))?;
        let answer = AdminServiceClient::new(channel).set_settings(request_of(change)).await?;
        Ok(answer.into_inner().settings_version)
    }

    async fn until_confirmed(&self, version: u64) -> Result<(), SettingsError> {
        let started = Instant::now();
        loop {
            let Some(map) = self.control.map() else { return Ok(()) };
            let behind = self.behind(&map, version);
            if behind.is_empty() {
                return Ok(());
            }
            if started.elapsed() >= CONFIRM_MAX {
                // Whoever cannot be reached lets nobody in by now, until it has heard of the change.
                let reachable = |node: &NodeId| *node == self.node.node || self.node.peer(*node).alive;
                let unconfirmed: Vec<_> = behind.into_iter().filter(reachable).collect();
                return if unconfirmed.is_empty() { Ok(()) } else { Err(SettingsError::Unconfirmed(unconfirmed)) };
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The nodes that have not confirmed this version.
    fn behind(&self, map: &ClusterMap, version: u64) -> Vec<NodeId> {
        let nodes = map.nodes.iter().chain(map.leaving()).map(|node| node.id);
        nodes.filter(|node| self.node.confirmed_settings(*node).is_none_or(|confirmed| confirmed < version)).collect()
    }
}

enum Refused {
    NotLeader(Option<NodeId>),
    Error(SettingsError),
}

async fn propose(control: &Control, group: &GroupHandle, change: &SettingsChange) -> Result<u64, Refused> {
    // Asked before, so that a follower of an older version's leader says where that is.
    let command = Command::SetSettings(change.clone());
    if !control.leads() {
        return Err(Refused::NotLeader(control.leader()));
    }
    if group.format() < FormatLevel::BOUNDS {
        return Err(Refused::Error(SettingsError::Format));
    }
    match control.propose(command).await {
        Ok(()) => Ok(control.map().map_or(0, |map| map.settings.version)),
        Err(ProposeError::NotLeader(leader)) => Err(Refused::NotLeader(leader)),
        Err(error @ ProposeError::OutcomeUnknown) => Err(Refused::Error(SettingsError::Unknown(error.to_string()))),
        Err(error) => Err(Refused::Error(SettingsError::Unreachable(error.to_string()))),
    }
}

/// What a node asks of group 0's leader: the version of the settings that have the change.
///
/// # Errors
/// FAILED_PRECONDITION: nothing was changed, this node does not lead, or the cluster does not understand it yet.
pub async fn propose_here(control: &Control, group: &GroupHandle, change: &SettingsChange) -> Result<u64, Status> {
    match propose(control, group, change).await {
        Ok(version) => Ok(version),
        Err(Refused::NotLeader(_)) => Err(Status::failed_precondition("this node does not lead the control plane")),
        Err(Refused::Error(error @ SettingsError::Format)) => Err(Status::failed_precondition(error.to_string())),
        Err(Refused::Error(error @ SettingsError::Unreachable(_))) => Err(Status::unavailable(error.to_string())),
        Err(Refused::Error(error)) => Err(Status::unknown(error.to_string())),
    }
}

fn request_of(change: &SettingsChange) -> SetSettingsRequest {
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

/// Brings the first settings into the map: those of the config file of whoever leads group 0 when every node
/// understands them.
pub async fn bring_in_first(node: Arc<NodeShared>, file: Arc<Config>) {
    let Some(SettingsServer { control, group, .. }) = node.settings_server().cloned() else { return };
    while node.phase() == Phase::Running {
        if control.map().is_some_and(|map| map.settings.are_complete()) {
            return;
        }
        if control.map().is_some() && control.leads() && group.format() >= FormatLevel::BOUNDS {
            let first = Command::FirstSettings(change_of(&NAMES, &file));
            if let Err(error) = control.propose(first).await {
                tracing::debug!(%error, "the first settings are not brought in yet");
            }
        }
        tokio::time::sleep(FIRST_POLL).await;
    }
}

/// Makes a new map this node's, with the settings in it.
pub fn follow(node: &NodeShared, map: &Arc<ClusterMap>, file: &Config) {
    if map.settings.version > node.settings().version {
        compare_with_file(&map.settings, file);
        if let Some(lag) = map.settings.max_lag {
            // What CONFIG GET and INFO show, and with what a replica starts.
            node.config.rcu(|config| Config { durability_max_lag: lag.bound, ..(**config).clone() });
        }
    }
    node.map.store(Some(map.clone()));
    node.confirm_settings();
}

/// Tells the log once where the config file has no effect.
fn compare_with_file(settings: &ClusterSettings, file: &Config) {
    let mut different = Vec::new();
    if settings.password.as_ref().is_some_and(|rule| *rule != password(&file.requirepass)) {
        different.push("requirepass");
    }
    if settings.max_lag.is_some_and(|lag| lag.bound != file.durability_max_lag) {
        different.push("durability-max-lag");
    }
    if !different.is_empty() {
        tracing::warn!(
            options = different.join(", "),
            version = settings.version,
            "the config file says otherwise than the cluster's settings, which hold (CONFIG SET changes them on all nodes)"
        );
    }
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
        assert_eq!(error, "the change is made, but node 2, node 3 have not confirmed that they go by it yet");
    }
}
