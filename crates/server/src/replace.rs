//! Replaces a node: asks the nodes whose answers matter, and brings the new node into the map. What must hold is in
//! `control/src/replace.rs`; what follows from the map, group by group, is `members.rs`.
//!
//! The answers belong to one version of the map, and so does the command: if the map has changed meanwhile the
//! command has no effect, and all nodes are asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastness_control::command::Command;
use fastness_control::replace::{self, GroupView, Newcomer};
use fastness_control::{ClusterMap, ProposeError, ReplaceError};
use fastness_types::{GroupId, NodeId};
use fastness_wire::admin::v1::{ReplaceNodeRequest, ReplaceNodeResponse, ReplicaStatus};
use tonic::Status;

use crate::admin::{Admin, node_info};
use crate::disks;
use crate::leaders::Members;

/// Attempts, each with new answers, while the map keeps changing.
const ATTEMPTS_MAX: usize = 3;
/// A node that has died just now may have led: elections are waited for so long before the answer is that a group has
/// no leader.
const ELECTIONS_MAX: Duration = Duration::from_secs(8);
/// Time between two checks meanwhile.
const CHECK_EVERY: Duration = Duration::from_millis(250);

impl Admin {
    /// Replaces the old node by the new one in the map, unless that has been done.
    pub(crate) async fn replace(&self, request: ReplaceNodeRequest) -> Result<ReplaceNodeResponse, Status> {
        let (old, new) = (NodeId(request.old_node), NodeId(request.new_node));
        for _ in 0..ATTEMPTS_MAX {
            let map = self.map()?;
            if let Some(complete) = is_done(&map, old, new) {
                return Ok(ReplaceNodeResponse { complete, warnings: Vec::new() });
            }
            replace::check_names(&map, old, new).map_err(refused)?;
            let newcomer = self.newcomer(new, &request.new_grpc_address).await?;
            self.refuse_if_alive(&map, old).await?;
            let warnings = self.checked(&map, old, &newcomer).await.map_err(refused)?;
            let command = Command::ReplaceNode { map_version: map.version, old, new: newcomer.info };
            match self.control.propose(command).await {
                Ok(_) => {}
                Err(ProposeError::NotLeader(leader)) => return Err(self.not_leader(leader, "the control plane")),
                Err(error) => return Err(Status::unavailable(error.to_string())),
            }
            let changed = self.map()?;
            if let Some(complete) = is_done(&changed, old, new) {
                return Ok(ReplaceNodeResponse { complete, warnings });
            }
        }
        Err(Status::aborted("the cluster's map has changed several times meanwhile: repeat the command"))
    }

    /// The result of [`replace::check`]; repeated while an election may be in progress.
    async fn checked(&self, map: &ClusterMap, old: NodeId, newcomer: &Newcomer) -> Result<Vec<String>, ReplaceError> {
        let until = Instant::now() + ELECTIONS_MAX;
        loop {
            let checked = replace::check(map, old, newcomer, &self.groups(map, old).await);
            let passing = |error: &ReplaceError| {
                use ReplaceError::{NoLeader, OldAlive, Unsettled};
                matches!(error, NoLeader(_) | OldAlive { .. } | Unsettled(_))
            };
            match checked {
                Err(error) if passing(&error) && Instant::now() < until => tokio::time::sleep(CHECK_EVERY).await,
                checked => return checked,
            }
        }
    }

    /// The new node, as it describes itself.
    async fn newcomer(&self, new: NodeId, address: &str) -> Result<Newcomer, Status> {
        let unfit = |why: String| Status::failed_precondition(format!("node {new} cannot replace another node: {why}"));
        if address.is_empty() {
            return Err(Status::invalid_argument("the gRPC address of the new node is missing"));
        }
        let described = disks::describe(address, &self.client_tls.load()).await.map_err(|reason| {
            unfit(format!(
                "it does not answer at its gRPC address {address} as a node of this cluster ({reason}): start it, with a \
                 certificate that names fastness://{}/node/{new}",
                self.node.cluster
            ))
        })?;
        if described.node_id != new.0 {
            return Err(unfit(format!("node {} answers at {address}", described.node_id)));
        }
        if described.cluster_id != self.node.cluster.to_string() {
            return Err(unfit(format!("it belongs to cluster {}", described.cluster_id)));
        }
        let own = described.nodes.into_iter().find(|spec| spec.id == new.0);
        let own = own.ok_or_else(|| {
            unfit("it does not report its addresses because it belongs to a cluster already".to_owned())
        })?;
        let mut info = node_info(own)?;
        info.disk =
            described.disk.parse().map_err(|error| unfit(format!("its disk is {:?}: {error}", described.disk)))?;
        // The address that it was reached at is the one that others can reach.
        info.grpc_address = address.to_owned();
        Ok(Newcomer { info, pristine: described.pristine })
    }

    /// Refuses to replace a node that is running: one that answers, with the disk that the map names.
    async fn refuse_if_alive(&self, map: &ClusterMap, old: NodeId) -> Result<(), Status> {
        let Some(node) = map.node(old) else { return Ok(()) };
        if old == self.node.node {
            let how = "it received this request".to_owned();
            return Err(refused(ReplaceError::OldAlive { old, how }));
        }
        let answer = disks::describe(&node.grpc_address, &self.client_tls.load()).await;
        if answer.is_ok_and(|described| described.node_id == old.0 && described.disk == node.disk.to_string()) {
            let how = format!("it answers at {}, with its own disk", node.grpc_address);
            return Err(refused(ReplaceError::OldAlive { old, how }));
        }
        Ok(())
    }

    /// Every group, as described by the node that leads it under a lease.
    async fn groups(&self, map: &ClusterMap, old: NodeId) -> BTreeMap<GroupId, GroupView> {
        let others = map.nodes.iter().filter(|node| node.id != old && node.id != self.node.node);
        let mut answers = Members::new(&self.node, self.client_tls.clone()).poll_all(others).await;
        let mut views: Vec<(NodeId, Vec<ReplicaStatus>)> =
            answers.drain(..).map(|(node, described)| (node, described.replicas)).collect();
        views.push((self.node.node, self.own_replicas()));
        let mut groups: BTreeMap<GroupId, (u64, GroupView)> = BTreeMap::new();
        for (node, replica) in views.iter().flat_map(|(node, all)| all.iter().map(move |replica| (*node, replica))) {
            let newer = groups.get(&GroupId(replica.shard)).is_none_or(|(term, _)| *term < replica.term);
            if replica.role == "leader" && replica.lease_held && newer {
                groups.insert(GroupId(replica.shard), (replica.term, view(node, replica)));
            }
        }
        groups.into_iter().map(|(group, (_, view))| (group, view)).collect()
    }
}

fn view(leader: NodeId, replica: &ReplicaStatus) -> GroupView {
    let voters = |of: fn(&fastness_wire::admin::v1::GroupMember) -> bool| -> BTreeSet<NodeId> {
        replica.members.iter().filter(|member| of(member)).map(|member| NodeId(member.node)).collect()
    };
    let mut halves = vec![voters(|member| member.votes)];
    if replica.joint {
        halves.insert(0, voters(|member| member.voted));
    }
    GroupView {
        leader,
        halves,
        answering: replica.members.iter().filter(|m| m.answers).map(|m| NodeId(m.node)).collect(),
    }
}

/// Whether this replacement has been accepted, and if so whether it is complete.
fn is_done(map: &ClusterMap, old: NodeId, new: NodeId) -> Option<bool> {
    if map.is_arriving(new) && map.leaving().iter().any(|node| node.id == old) {
        return Some(false);
    }
    (map.replaced_by(old) == Some(new)).then_some(true)
}

fn refused(error: ReplaceError) -> Status {
    let text = error.to_string();
    match error {
        ReplaceError::UnknownOld { .. } => Status::not_found(text),
        ReplaceError::NotNew { .. } | ReplaceError::WasReplaced { .. } => Status::already_exists(text),
        ReplaceError::NoLeader(_) | ReplaceError::Unsettled(_) => Status::unavailable(text),
        ReplaceError::UnderWay { .. } => Status::aborted(text),
        ReplaceError::Unfit { .. } | ReplaceError::OldAlive { .. } | ReplaceError::Placement { .. } => {
            Status::failed_precondition(text)
        }
    }
}
