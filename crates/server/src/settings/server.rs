//! Changes settings on behalf of a client: proposes the change and waits until all reachable nodes have confirmed it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_consensus::handle::GroupHandle;
use fastness_control::command::Command;
use fastness_control::{ClusterMap, Control, ProposeError, SettingsChange};
use fastness_types::limits::SETTINGS_SILENCE_MAX;
use fastness_types::{FormatLevel, NodeId};
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use tokio::sync::oneshot;
use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use super::change::{NAMES, SettingsError, change_of, request_of};
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

/// Changes settings for connections, through group 0. Cheap to clone.
#[derive(Clone)]
pub struct SettingsServer {
    node: Arc<NodeShared>,
    control: Control,
    group: GroupHandle,
    client_tls: ClientTlsConfig,
    runtime: tokio::runtime::Handle,
}

impl SettingsServer {
    /// For this node; its tasks run on the runtime that this is called in.
    #[must_use]
    pub fn new(
        node: Arc<NodeShared>,
        control: Control,
        group: GroupHandle,
        client_tls: ClientTlsConfig,
    ) -> SettingsServer {
        SettingsServer { node, control, group, client_tls, runtime: tokio::runtime::Handle::current() }
    }

    /// Changes settings in the background; the answer comes when all reachable nodes have confirmed, or have not in
    /// time.
    #[must_use]
    pub fn change(&self, change: SettingsChange) -> oneshot::Receiver<Result<(), SettingsError>> {
        let (answer, answered) = oneshot::channel();
        let server = self.clone();
        self.runtime.spawn(async move {
            // The caller may have stopped waiting; the change is made anyway.
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
        let mut why = "this node knows no leader".to_owned();
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
            Endpoint::from_shared(format!("https://{address}")).and_then(|e| e.tls_config(self.client_tls.clone()));
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
            let unconfirmed = self.unconfirmed(&map, version);
            if unconfirmed.is_empty() {
                return Ok(());
            }
            if started.elapsed() >= CONFIRM_MAX {
                // Whoever cannot be reached lets nobody in by now, until it has heard of the change.
                let reachable = |node: &NodeId| *node == self.node.node || self.node.peer(*node).alive;
                let failed: Vec<_> = unconfirmed.into_iter().filter(reachable).collect();
                return if failed.is_empty() { Ok(()) } else { Err(SettingsError::Unconfirmed(failed)) };
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The nodes that have not confirmed this version.
    fn unconfirmed(&self, map: &ClusterMap, version: u64) -> Vec<NodeId> {
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

/// Makes the change on group 0's leader, on behalf of another node; returns the version of the settings that have it.
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

/// Brings the first settings into the map: those of the config file of whoever leads group 0 when every node
/// understands them.
pub async fn bring_in_first(server: SettingsServer, file: Arc<Config>) {
    let SettingsServer { node, control, group, .. } = server;
    while node.phase() == Phase::Running {
        if control.map().is_some_and(|map| map.settings.are_complete()) {
            return;
        }
        if control.map().is_some() && control.leads() && group.format() >= FormatLevel::BOUNDS {
            let first = Command::FirstSettings(change_of(&NAMES, &file));
            if let Err(error) = control.propose(first).await {
                tracing::debug!(%error, "the first settings are not in the map yet");
            }
        }
        tokio::time::sleep(FIRST_POLL).await;
    }
}
