//! Consensus of one node: starts groups, serves streams from peers, and stops when the log fails.

use std::sync::Arc;
use std::time::Duration;

use fastness_events::{Event, HandOverReason};
use fastness_log::Log;
use fastness_types::{BootNs, FormatLevel, GroupId, LogIndex, NodeId, Plant};
use openraft::{Config, SnapshotPolicy, StepDownPolicy};

use crate::group::committed::CommittedReader;
use crate::group::control::GroupControl;
use crate::group::driver;
use crate::group::handle::{GroupHandle, group_pair};
use crate::group::placement::Member;
use crate::group::proposer;
use crate::group::state::{Group, GroupParts, Raft};
use crate::group::status::StartError;
use crate::lease::heartbeat;
use crate::lease::pulse::Gaps;
use crate::lease::watchdog;
use crate::node::NodeCore;
use crate::options::{ConsensusOptions, Timers};
use crate::peer::identity::{self, disks};
use crate::peer::links::Links;
use crate::peer::observed::Observed;
use crate::peer::serve::serve;
use crate::peer::transport::{Class, FrameStream, PeerTransport};
use crate::raft::machine::Machine;
use crate::raft::network::NetworkFactory;
use crate::raft::runtime::Runtime;
use crate::raft::storage::{Storage, stored};
use crate::snapshot::files::SnapshotFiles;

/// After a failed write, the time for handing over leadership before the node stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Consensus of one node. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    node: Arc<NodeCore>,
    links: Arc<Links>,
    log: Log,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus").field("options", &self.node.options).finish_non_exhaustive()
    }
}

impl Consensus {
    /// Starts consensus on the current tokio runtime. All of its tasks run there.
    ///
    /// # Errors
    /// If the timers do not fit together, or if a stored record about a peer cannot be decoded.
    pub fn new(
        options: ConsensusOptions,
        log: Log,
        transport: Arc<dyn PeerTransport>,
    ) -> Result<Consensus, StartError> {
        options.timers.validate()?;
        let node = Arc::new(NodeCore::new(options, log.clone(), transport)?);
        let links = Arc::new(Links::new(node.clone()));
        node.runtime().spawn(heartbeat::run(links.clone()));
        let consensus = Consensus { node, links, log };
        consensus.node.runtime().spawn(stop_when_the_log_fails(consensus.clone()));
        Ok(consensus)
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node.own()
    }

    /// Sets the addresses and disks of peers, and opens links to them. These addresses win over those in a group's
    /// membership.
    pub fn set_peers(&self, peers: &[Member]) {
        self.node.identities.expect(peers.iter().map(|peer| (peer.node, peer.disk)));
        for peer in peers.iter().filter(|peer| peer.node != self.node.own()) {
            self.node.set_address(peer.node, &peer.address, true);
            for class in Class::PERMANENT {
                self.links.to(peer.node, class, None);
            }
        }
    }

    /// Sets which nodes were replaced, and by whom. Peers among them are refused from now on. If this node is among
    /// them, it stops.
    pub fn set_replaced(&self, replaced: &[(NodeId, NodeId)]) {
        let own = replaced.iter().find(|(node, _)| *node == self.node.own());
        if let Some((node, by)) = own {
            self.node.stop(&identity::replaced_reason(*node, *by, self.log.place()));
        }
        self.node.identities.set_replaced(replaced.iter().copied());
    }

    /// Serves one stream from a peer whose identity the transport has verified.
    pub fn accept(&self, peer: NodeId, class: Class, stream: FrameStream) {
        self.node.runtime().spawn(serve(self.node.clone(), peer, class, stream));
    }

    /// Starts this node's replica of a group from what the log holds of it. Without `snapshots` the replica's log is
    /// never purged.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_group(
        &self,
        id: GroupId,
        snapshots: Option<Arc<dyn SnapshotFiles>>,
    ) -> Result<(GroupHandle, GroupControl), StartError> {
        if let Some(reason) = self.node.stopped() {
            return Err(StartError::Stopped(reason.to_string()));
        }
        let broken = |reason: String| StartError::Log { group: id, reason };
        let log = self.log.group(id);
        let found = stored(&log).map_err(|error| broken(error.to_string()))?;
        let (handle, driver) = group_pair(id, Arc::new(CommittedReader(log.clone())), self.node.options.events.clone());
        let options = &self.node.options;
        let pristine = found.vote.is_none() && found.last.is_none();
        let silence = options.timers.lease.max(options.promised_before) + options.timers.heartbeat;
        for membership in &found.memberships {
            self.node.identities.expect(disks(membership));
        }
        let group = Arc::new(Group::new(GroupParts {
            id,
            own: options.node,
            timers: options.timers,
            clock: options.clock.clone(),
            driver: driver.clone(),
            heartbeat: self.node.heartbeat.clone(),
            identities: self.node.identities.clone(),
            vote: found.vote,
            last_log: found.last.map_or(0, |last| last.index),
            silent_until: if pristine { BootNs(0) } else { self.node.now().plus(silence) },
            snapshots,
        }));
        if !self.node.add_group(group.clone()) {
            return Err(StartError::Started(id));
        }
        driver.set_stored_at_start(group.last_log());
        // Until the members' levels are known.
        driver.set_format(FormatLevel::BASE);
        driver.advance_committed(LogIndex(found.committed.map_or(0, |id| id.index)));
        let machine = Machine::new(id, driver.clone(), group.clone(), log.clone(), found);
        let storage = Storage::new(log.clone(), Some(group.clone()));
        let network = NetworkFactory { links: self.links.clone(), group: group.clone() };
        let config = Arc::new(config(options.timers));
        let starting = Raft::new(options.node.0, config, network, storage, machine);
        let raft = match Runtime::seeded(self.node.random(), starting).await {
            Ok(raft) => raft,
            Err(error) => {
                self.node.remove_group(id);
                return Err(broken(error.to_string()));
            }
        };
        group.set_raft(raft);
        let control = GroupControl::new(self.links.clone(), group.clone());
        let runtime = self.node.runtime();
        runtime.spawn(proposer::run(group.clone(), self.log.clone()));
        runtime.spawn(driver::run(control.clone(), log));
        runtime.spawn(watchdog::run(self.links.clone(), group));
        Ok((handle, control))
    }

    /// What this node has observed of its peers.
    #[must_use]
    pub fn observed(&self) -> Arc<Observed> {
        self.node.observed.clone()
    }

    /// Whether the log disk is stalled. The node hands over leadership of its groups meanwhile.
    #[must_use]
    pub fn log_stalls(&self) -> bool {
        self.node.log_stalls()
    }

    /// Gaps in which this node's consensus did not run although it should have.
    #[must_use]
    pub fn gaps(&self) -> Gaps {
        self.node.pulse.gaps()
    }

    /// Why consensus on this node has stopped, if it has.
    #[must_use]
    pub fn stopped(&self) -> Option<Arc<str>> {
        self.node.stopped()
    }

    /// Resolves once consensus on this node has stopped.
    pub async fn until_stopped(&self) -> Arc<str> {
        self.node.until_stopped().await;
        self.node.stopped().unwrap_or_else(|| "unknown".into())
    }

    /// Stops all groups and links without handing over leadership.
    pub async fn shutdown(&self, reason: &str) {
        self.node.stop(reason);
        for group in self.node.groups() {
            if let Some(raft) = group.raft() {
                // The Raft core's task may have ended by itself.
                let _ = raft.shutdown().await;
            }
            self.node.remove_group(group.id);
        }
    }
}

/// openraft's configuration, the same for every group.
fn config(timers: Timers) -> Config {
    let ms = |span: Duration| span.as_millis() as u64;
    Config {
        cluster_name: "fastness".to_owned(),
        heartbeat_interval: ms(timers.raft_heartbeat()),
        election_timeout_min: ms(timers.election_min),
        election_timeout_max: ms(timers.election_max),
        // Elections are enabled once the silence is over and the owner is ready (`group/driver.rs`).
        enable_elect: false,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(Plant::EpochResumed.is_on()),
        // A follower may have lost the last batch that it has acknowledged: after a machine crash, damage at the end of
        // the log cannot be distinguished from a torn write (`log/src/wal.rs`). The follower gets the entries again.
        // Without this option the leader would assume forever that the follower stores them.
        allow_log_reversion: Some(true),
        removed_leader_step_down: StepDownPolicy::Never,
        // A leader that receives no answers stops sending for a while, so that followers which still hear it can elect
        // another leader.
        quorum_loss_probe_interval: Some(3 * ms(timers.election_max)),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: u64::MAX,
        ..Config::default()
    }
}

/// Waits for the log to fail. Then the node acknowledges nothing more (the log withholds its completions), hands over
/// leadership of its groups, and stops.
async fn stop_when_the_log_fails(consensus: Consensus) {
    let failure = tokio::select! {
        biased;
        failure = consensus.log.failed() => failure,
        () = consensus.node.until_stopped() => return,
    };
    consensus.node.options.events.record(Event::LogFailed { reason: failure.to_string() });
    let leading = consensus.node.groups().into_iter().filter(|group| group.leads().is_some());
    let farewells = leading.map(|group| {
        let control = GroupControl::new(consensus.links.clone(), group);
        // A failure is recorded as an event.
        async move { control.hand_over(None, FAREWELL / 2, HandOverReason::LogFailed).await.is_ok() }
    });
    let _ = tokio::time::timeout(FAREWELL, futures::future::join_all(farewells)).await;
    consensus.shutdown(&format!("the log has failed: {failure}")).await;
}
