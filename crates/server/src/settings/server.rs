//! Changes settings on behalf of a client: proposes the change and waits until all reachable nodes have confirmed it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_consensus::handle::GroupHandle;
use fastness_control::command::Command;
use fastness_control::{ClusterMap, Control, ProposeError, SettingsChange, UserRules, Users, UsersChange};
use fastness_engine::command::CommandTable;
use fastness_types::limits::SETTINGS_SILENCE_MAX;
use fastness_types::{FormatLevel, NodeId};
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use tokio::sync::oneshot;
use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use super::acl_file::{self, AclFileError};
use super::age;
use super::change::{NAMES, SettingsError, change_of, request_of, users_request_of};
use crate::accounts::{self, DEFAULT_USER, UsersError};
use crate::certificates::Newest;
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

/// The answer to a change that is made in the background: how many users it changes.
pub type Answered = oneshot::Receiver<Result<usize, SettingsError>>;

/// What is proposed to group 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposed {
    /// Settings.
    Settings(SettingsChange),
    /// Users.
    Users(UsersChange),
}

/// Changes settings for connections, through group 0. Cheap to clone.
#[derive(Clone)]
pub struct SettingsServer {
    node: Arc<NodeShared>,
    control: Control,
    group: GroupHandle,
    client_tls: Newest<ClientTlsConfig>,
    table: &'static CommandTable,
    runtime: tokio::runtime::Handle,
}

impl SettingsServer {
    /// For this node, whose commands are those of `table`; its tasks run on the runtime that this is called in.
    #[must_use]
    pub fn new(
        node: Arc<NodeShared>,
        control: Control,
        group: GroupHandle,
        client_tls: Newest<ClientTlsConfig>,
        table: &'static CommandTable,
    ) -> SettingsServer {
        SettingsServer { node, control, group, client_tls, table, runtime: tokio::runtime::Handle::current() }
    }

    /// Changes settings in the background; the answer comes when all reachable nodes have confirmed, or have not in
    /// time.
    #[must_use]
    pub fn change(&self, change: SettingsChange) -> Answered {
        let server = self.clone();
        self.in_background(async move { server.change_and_wait(change).await.map(|()| 0) })
    }

    /// The same with users: `compute` makes the change from the users as they are.
    #[must_use]
    pub fn change_users(&self, compute: impl Fn(&Users) -> Result<UserRules, UsersError> + Send + 'static) -> Answered {
        let server = self.clone();
        self.in_background(async move { server.change_users_and_wait(compute).await })
    }

    /// Replaces all users by those in a file. `default` stays as it is if the file does not have it.
    #[must_use]
    pub fn load_users(&self, path: PathBuf) -> Answered {
        let (server, table, shown) = (self.clone(), self.table, path.display().to_string());
        self.in_background(async move {
            let read = tokio::task::spawn_blocking(move || acl_file::read(table, &path)).await;
            let read = read.map_err(|error| AclFileError::Unreadable { path: shown, why: error.to_string() }).flatten();
            let read = read.map_err(SettingsError::File)?;
            let compute = move |users: &Users| {
                let gone = users.rules.keys().filter(|name| *name != DEFAULT_USER && !read.contains_key(*name));
                let gone = gone.map(|name| (name.clone(), None));
                let change = read.iter().map(|(name, rules)| (name.clone(), Some(rules.clone()))).chain(gone).collect();
                accounts::check_bounds(users, &change).map(|()| change)
            };
            server.change_users_and_wait(compute).await
        })
    }

    /// Writes users to a file, one line each.
    #[must_use]
    pub fn save_users(&self, path: PathBuf, lines: Vec<u8>) -> Answered {
        self.in_background(async move {
            let shown = path.display().to_string();
            let written = tokio::task::spawn_blocking(move || acl_file::write(&path, &lines)).await;
            let written = written.map_err(std::io::Error::other).flatten();
            let unwritable = |error: std::io::Error| AclFileError::Unwritable { path: shown, why: error.to_string() };
            written.map(|()| 0).map_err(|error| SettingsError::File(unwritable(error)))
        })
    }

    async fn change_users_and_wait(
        &self,
        compute: impl Fn(&Users) -> Result<UserRules, UsersError>,
    ) -> Result<usize, SettingsError> {
        let (version, count) = self.commit_users(compute).await?;
        self.until_confirmed(version).await.map(|()| count)
    }

    fn in_background(&self, work: impl Future<Output = Result<usize, SettingsError>> + Send + 'static) -> Answered {
        let (answer, answered) = oneshot::channel();
        self.runtime.spawn(async move {
            // The caller may have stopped waiting; the change is made anyway.
            let _ = answer.send(work.await);
        });
        answered
    }

    async fn change_and_wait(&self, mut change: SettingsChange) -> Result<(), SettingsError> {
        let mut version = 0;
        if let Some(password) = &change.password {
            let (table, new) = (self.table, password.clone());
            let changed = self.commit_users(move |users| accounts::with_password(table, users, &new)).await;
            match changed {
                Ok((of_users, _)) => (version, change.password) = (of_users, None),
                // Until every node knows users, the password is a setting of its own.
                Err(SettingsError::Format) => {}
                Err(error) => return Err(error),
            }
        }
        if change != SettingsChange::default() {
            version = self.commit(&Proposed::Settings(change)).await?;
        }
        self.until_confirmed(version).await
    }

    /// Makes a change of users from the newest ones. Returns the version of the settings that have it, and how many
    /// users it changes.
    async fn commit_users(
        &self,
        compute: impl Fn(&Users) -> Result<UserRules, UsersError>,
    ) -> Result<(u64, usize), SettingsError> {
        let until = Instant::now() + COMMIT_MAX;
        while Instant::now() < until {
            self.bring_in_users().await?;
            let users = self.control.map().map(|map| map.settings.users.clone()).unwrap_or_default();
            let rules = compute(&users).map_err(SettingsError::Users)?;
            let count = rules.len();
            if count == 0 {
                // What others have changed may not be in force everywhere yet.
                return Ok((users.version, 0));
            }
            let change = UsersChange { base: users.version, rules };
            match self.commit(&Proposed::Users(change)).await {
                Err(SettingsError::Contended) => {}
                outcome => return outcome.map(|version| (version, count)),
            }
            tokio::time::sleep(POLL).await;
        }
        Err(SettingsError::Contended)
    }

    /// Brings the users that this node's files define into the map, if the cluster has none. A change must not come
    /// before them: they would be lost.
    async fn bring_in_users(&self) -> Result<(), SettingsError> {
        let first = self.node.first_users();
        let has_none = self.control.map().is_some_and(|map| map.settings.users.version == 0);
        if first.rules.is_empty() || !has_none {
            return Ok(());
        }
        let rules = first.rules.iter().map(|(name, rules)| (name.clone(), Some(rules.clone()))).collect();
        match self.commit(&Proposed::Users(UsersChange { base: 0, rules })).await {
            // Another node was faster: its users count.
            Ok(_) | Err(SettingsError::Contended) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Brings the change into the map, here or at group 0's leader. Returns the version of the settings that have it.
    async fn commit(&self, change: &Proposed) -> Result<u64, SettingsError> {
        let until = Instant::now() + COMMIT_MAX;
        let mut why = "this node knows no leader".to_owned();
        while Instant::now() < until {
            let leader = match propose(&self.control, &self.group, change).await {
                Ok(version) => return Ok(version),
                Err(NotProposed::NotLeader(leader)) => leader,
                Err(NotProposed::Error(error)) => return Err(error),
            };
            if let Some(leader) = leader.filter(|leader| *leader != self.node.node) {
                match self.forward(leader, change).await {
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
                    Err(status) if status.code() == Code::Aborted => return Err(SettingsError::Contended),
                    Err(status) => return Err(SettingsError::Unknown(status.message().to_owned())),
                }
            }
            tokio::time::sleep(POLL).await;
        }
        Err(SettingsError::Unreachable(why))
    }

    async fn forward(&self, leader: NodeId, change: &Proposed) -> Result<u64, Status> {
        let address = self.control.map().and_then(|map| Some(map.node(leader)?.grpc_address.clone()));
        let address = address.ok_or_else(|| Status::unavailable(format!("node {leader} is not in the map")))?;
        let source = self.node.config.load().source_address();
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .and_then(|e| e.tls_config(ClientTlsConfig::clone(&self.client_tls.load())));
        let endpoint = endpoint.map_err(|error| Status::unavailable(error.to_string()))?;
        let endpoint = endpoint.connect_timeout(COMMIT_MAX / 5).timeout(COMMIT_MAX).local_address(source);
        let channel =
            endpoint.connect().await.map_err(|error| Status::unavailable(format!("node {leader}: {error}")))?;
        let mut leader = AdminServiceClient::new(channel);
        match change {
            Proposed::Settings(change) => {
                Ok(leader.set_settings(request_of(change)).await?.into_inner().settings_version)
            }
            Proposed::Users(change) => {
                Ok(leader.change_users(users_request_of(change)).await?.into_inner().settings_version)
            }
        }
    }

    async fn until_confirmed(&self, version: u64) -> Result<(), SettingsError> {
        let started = Instant::now();
        let is_reachable = |node: NodeId| node == self.node.node || self.node.peer(node).alive;
        let wait = age::in_force_after(self.node.config.load().failover_timeout);
        // The nodes that have not confirmed, and since when there are no others.
        let mut waiting: Option<(Vec<NodeId>, Instant)> = None;
        loop {
            let Some(map) = self.control.map() else { return Ok(()) };
            let unconfirmed = self.unconfirmed(&map, version);
            if unconfirmed.is_empty() {
                return Ok(());
            }
            let since = match &waiting {
                Some((before, since)) if *before == unconfirmed => *since,
                _ => waiting.insert((unconfirmed.clone(), Instant::now())).1,
            };
            if started.elapsed() >= CONFIRM_MAX {
                // Whoever cannot be reached lets nobody in by now, until it has heard of the change.
                let failed = age::unconfirmed_by(&map, &unconfirmed, is_reachable);
                if !failed.is_empty() {
                    return Err(SettingsError::Unconfirmed(failed));
                }
                if since.elapsed() >= wait {
                    return Ok(());
                }
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

enum NotProposed {
    NotLeader(Option<NodeId>),
    Error(SettingsError),
}

async fn propose(control: &Control, group: &GroupHandle, change: &Proposed) -> Result<u64, NotProposed> {
    // Asked before, so that a follower of an older version's leader says where that is.
    if !control.leads() {
        return Err(NotProposed::NotLeader(control.leader()));
    }
    let (command, level) = match change {
        Proposed::Settings(change) => (Command::SetSettings(change.clone()), FormatLevel::BOUNDS),
        Proposed::Users(change) => (Command::ChangeUsers(change.clone()), FormatLevel::USERS),
    };
    if group.format() < level {
        return Err(NotProposed::Error(SettingsError::Format));
    }
    match control.propose(command).await {
        Ok(false) if matches!(change, Proposed::Users(_)) => Err(NotProposed::Error(SettingsError::Contended)),
        Ok(_) => Ok(control.map().map_or(0, |map| map.settings.version)),
        Err(ProposeError::NotLeader(leader)) => Err(NotProposed::NotLeader(leader)),
        Err(error @ ProposeError::OutcomeUnknown) => Err(NotProposed::Error(SettingsError::Unknown(error.to_string()))),
        Err(error) => Err(NotProposed::Error(SettingsError::Unreachable(error.to_string()))),
    }
}

/// Makes the change on group 0's leader, on behalf of another node; returns the version of the settings that have it.
///
/// # Errors
/// FAILED_PRECONDITION: nothing was changed, this node does not lead, or the cluster does not understand it yet.
/// ABORTED: nothing was changed, users have been changed meanwhile.
pub async fn propose_here(control: &Control, group: &GroupHandle, change: &Proposed) -> Result<u64, Status> {
    match propose(control, group, change).await {
        Ok(version) => Ok(version),
        Err(NotProposed::NotLeader(_)) => Err(Status::failed_precondition("this node does not lead the control plane")),
        Err(NotProposed::Error(error @ SettingsError::Format)) => Err(Status::failed_precondition(error.to_string())),
        Err(NotProposed::Error(error @ SettingsError::Unreachable(_))) => Err(Status::unavailable(error.to_string())),
        Err(NotProposed::Error(error @ SettingsError::Contended)) => Err(Status::aborted(error.to_string())),
        Err(NotProposed::Error(error)) => Err(Status::unknown(error.to_string())),
    }
}

/// Brings the first settings and users into the map, once every node understands them: the settings in the config file
/// of whoever leads group 0, and the users of whichever node is the first that has any.
pub async fn bring_in_first(server: SettingsServer, file: Arc<Config>) {
    while server.node.phase() == Phase::Running {
        let SettingsServer { control, group, node, .. } = &server;
        if let Some(map) = control.map() {
            let has_users = map.settings.users.version > 0 || node.first_users().rules.is_empty();
            if map.settings.are_complete() && has_users {
                return;
            }
            if let Err(error) = server.bring_in_users().await {
                tracing::debug!(%error, "the users of this node's files are not in the map yet");
            }
            if !map.settings.are_complete() && control.leads() && group.format() >= FormatLevel::BOUNDS {
                let first = Command::FirstSettings(change_of(&NAMES, &file));
                if let Err(error) = control.propose(first).await {
                    tracing::debug!(%error, "the first settings are not in the map yet");
                }
            }
        }
        tokio::time::sleep(FIRST_POLL).await;
    }
}
