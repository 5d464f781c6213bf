//! What this node has observed of its peers: who answers, and where their replicas say they stand.
//!
//! Every node pings every other node of the cluster's map on the heartbeat's stream, four times a second. The answer
//! carries one report per group of which the answering node has a replica: how far it has applied the log, and whether
//! it serves reads. So every node knows of every replica by that replica's own word, not by what somebody reckons.
//!
//! - A peer has **failed** once nothing was heard from it for [`FAILED_AFTER`]; it is alive again with its next word.
//! - Reports are of one connection: a peer that was started again is not taken for ready because it was ready before.
//! - The same answers say which version of the cluster's settings a node knows, by which one all of its replicas go,
//!   and whether it leads group 0. So a node knows how long ago it was sure to have the newest settings
//!   ([`Observed::control_heard`]): when the ping was **sent** to which group 0's leader answered with a version that
//!   this node **knows**. Its replicas may still be on their way to it: one without a quorum stays there, and must not
//!   keep clients from the node's other shards.
//! - A node of an older version answers without reports: what it holds is taken to be ready while the node answers.
//!
//! Pure but for the lock: it reads the node's clocks and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastness_types::{BootNs, Clock, GroupId, LogIndex, NodeId, WallMs};
use fastness_wire::peer::v1::{Pong, PongReplica};
use parking_lot::RwLock;

use crate::peer::transport::SILENCE_MAX;

/// A peer from which nothing was heard for so long has failed.
pub const FAILED_AFTER: Duration = SILENCE_MAX;

/// Slow answers in a row before a peer is called slow: two seconds of them.
const SLOW_ANSWERS: u32 = 8;

/// Where a replica says it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaReport {
    /// How far it has applied its group's log; 0 if it does not say.
    pub applied: LogIndex,
    /// Whether it serves clients that read from replicas, or would.
    pub ready: bool,
}

/// A peer as it was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerObservation {
    /// Whether it was heard within [`FAILED_AFTER`].
    pub alive: bool,
    /// Whether the heartbeat's stream to it is open.
    pub connected: bool,
    /// How long nothing was heard from it; `None`: it was never heard.
    pub silent: Option<Duration>,
    /// When the ping was sent that it has not answered; 0: it has answered all.
    pub ping_sent: WallMs,
    /// When its last answer came; 0: never.
    pub pong_received: WallMs,
    /// The round trip of its last answer; zero: it has given none.
    pub round_trip: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    connected: bool,
    heard: Option<BootNs>,
    ping_sent: WallMs,
    pong_received: WallMs,
    /// `None`: it has not said since it was connected to.
    replicas: Option<Reports>,
    settings: u64,
    round_trip: Duration,
    /// Answers in a row that took too long.
    slow: u32,
}

#[derive(Debug)]
enum Reports {
    /// It is of a version that does not report.
    None,
    Of(BTreeMap<GroupId, ReplicaReport>),
}

/// What is known of all peers. Shared by everything that reports about the cluster.
pub struct Observed {
    clock: Arc<dyn Clock>,
    peers: RwLock<BTreeMap<NodeId, Seen>>,
    known_settings: AtomicU64,
    own_settings: AtomicU64,
    /// Boot time in ns; 0: never.
    control_heard: AtomicU64,
}

impl std::fmt::Debug for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed").field("peers", &self.peers).finish_non_exhaustive()
    }
}

impl Observed {
    /// Nobody was heard yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Observed {
        Observed {
            clock,
            peers: RwLock::default(),
            known_settings: AtomicU64::new(0),
            own_settings: AtomicU64::new(0),
            control_heard: AtomicU64::new(0),
        }
    }

    /// A peer as it was observed; as one never heard if it was not.
    #[must_use]
    pub fn peer(&self, node: NodeId) -> PeerObservation {
        let peers = self.peers.read();
        let Some(seen) = peers.get(&node) else { return PeerObservation::default() };
        let silent = seen.heard.map(|heard| self.clock.boot().since(heard));
        PeerObservation {
            alive: silent.is_some_and(|silent| silent <= FAILED_AFTER),
            connected: seen.connected,
            silent,
            ping_sent: seen.ping_sent,
            pong_received: seen.pong_received,
            round_trip: seen.round_trip,
        }
    }

    /// Where a peer's replica of a group stands, by its own word; `None` while it says that it has none, or says
    /// nothing yet.
    #[must_use]
    pub fn replica(&self, node: NodeId, group: GroupId) -> Option<ReplicaReport> {
        match &self.peers.read().get(&node)?.replicas {
            None => None,
            Some(Reports::None) => Some(ReplicaReport { applied: LogIndex(0), ready: true }),
            Some(Reports::Of(replicas)) => replicas.get(&group).copied(),
        }
    }

    /// The version of the cluster's settings by which a peer said that it goes; `None` while it says nothing.
    #[must_use]
    pub fn settings(&self, node: NodeId) -> Option<u64> {
        let peers = self.peers.read();
        let seen = peers.get(&node)?;
        seen.replicas.as_ref().map(|_| seen.settings)
    }

    /// Says that this node's map has this version of the cluster's settings.
    pub fn set_known_settings(&self, version: u64) {
        self.known_settings.fetch_max(version, Ordering::AcqRel);
    }

    /// What was said last.
    #[must_use]
    pub fn known_settings(&self) -> u64 {
        self.known_settings.load(Ordering::Acquire)
    }

    /// Says by which version of the cluster's settings all replicas of this node go from now on.
    pub fn set_own_settings(&self, version: u64) {
        self.own_settings.fetch_max(version, Ordering::AcqRel);
    }

    /// What was said last.
    #[must_use]
    pub fn own_settings(&self) -> u64 {
        self.own_settings.load(Ordering::Acquire)
    }

    /// When this node was last sure to go by the newest settings of the cluster; `None`: never since it was started.
    #[must_use]
    pub fn control_heard(&self) -> Option<BootNs> {
        Some(BootNs(self.control_heard.load(Ordering::Acquire))).filter(|heard| heard.0 != 0)
    }

    /// Says that this node was sure at this time to go by the newest settings.
    pub fn set_control_heard(&self, at: BootNs) {
        self.control_heard.fetch_max(at.0, Ordering::AcqRel);
    }

    pub(crate) fn set_connected(&self, node: NodeId, connected: bool) {
        self.change(node, |seen, _| {
            seen.connected = connected;
            if connected {
                seen.replicas = None;
                seen.ping_sent = WallMs(0);
            }
        });
    }

    pub(crate) fn pinged(&self, node: NodeId) {
        let now = self.clock.wall();
        self.change(node, |seen, _| {
            if seen.ping_sent == WallMs(0) {
                seen.ping_sent = now;
            }
        });
    }

    /// Takes an answer to a ping.
    pub(crate) fn ponged(&self, node: NodeId, pong: &Pong) {
        let now = self.clock.wall();
        // While a node of an older version is in the cluster, there are no settings of the cluster.
        if !pong.reports || pong.leads_control && pong.known_settings <= self.known_settings() {
            self.set_control_heard(BootNs(pong.timestamp));
        }
        let report =
            |r: &PongReplica| (GroupId(r.group), ReplicaReport { applied: LogIndex(r.applied), ready: r.ready });
        let reports = || Reports::Of(pong.replicas.iter().map(report).collect());
        let replicas = if pong.reports { reports() } else { Reports::None };
        self.change(node, |seen, heard| {
            seen.heard = Some(heard);
            seen.ping_sent = WallMs(0);
            seen.pong_received = now;
            seen.replicas = Some(replicas);
            seen.settings = pong.settings_version;
        });
    }

    /// Takes the round trip of an answer. Gives whether the peer is too slow from now on, if that has changed: a single
    /// late answer changes nothing, a single quick one does.
    pub(crate) fn took(&self, node: NodeId, round_trip: Duration, max: Duration) -> Option<bool> {
        let mut changed = None;
        self.change(node, |seen, _| {
            seen.round_trip = round_trip;
            let before = seen.slow;
            seen.slow = if round_trip > max { before.saturating_add(1) } else { 0 };
            changed = match seen.slow {
                SLOW_ANSWERS => Some(true),
                0 if before >= SLOW_ANSWERS => Some(false),
                _ => None,
            };
        });
        changed
    }

    fn change(&self, node: NodeId, change: impl FnOnce(&mut Seen, BootNs)) {
        let now = self.clock.boot();
        change(self.peers.write().entry(node).or_default(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Set(AtomicU64);

    impl Clock for Set {
        fn wall(&self) -> WallMs {
            WallMs(1_700_000_000_000 + self.0.load(Ordering::Relaxed))
        }

        fn boot(&self) -> BootNs {
            BootNs(self.0.load(Ordering::Relaxed) * 1_000_000)
        }
    }

    const PEER: NodeId = NodeId(2);
    const GROUP: GroupId = GroupId(1);

    fn observed() -> (Arc<Set>, Observed) {
        let clock = Arc::new(Set::default());
        clock.0.store(10_000, Ordering::Relaxed);
        (clock.clone(), Observed::new(clock))
    }

    fn report(applied: u64, ready: bool) -> Pong {
        let replicas = vec![PongReplica { group: GROUP.0, applied, ready }];
        Pong { timestamp: 1, reports: true, replicas, ..Pong::default() }
    }

    #[test]
    fn a_peer_has_failed_once_it_was_silent_for_too_long() {
        let (clock, observed) = observed();
        assert_eq!(observed.peer(PEER), PeerObservation::default());
        observed.set_connected(PEER, true);
        observed.pinged(PEER);
        assert!(!observed.peer(PEER).alive, "a connection alone is no word");
        assert_eq!(observed.peer(PEER).ping_sent, clock.wall());
        observed.ponged(PEER, &report(5, true));
        assert!(observed.peer(PEER).alive);
        assert_eq!((observed.peer(PEER).ping_sent, observed.peer(PEER).pong_received), (WallMs(0), clock.wall()));
        clock.0.fetch_add(FAILED_AFTER.as_millis() as u64, Ordering::Relaxed);
        assert!(observed.peer(PEER).alive);
        clock.0.fetch_add(1, Ordering::Relaxed);
        observed.set_connected(PEER, false);
        let peer = observed.peer(PEER);
        assert!(!peer.alive && !peer.connected);
        assert_eq!(peer.silent, Some(FAILED_AFTER + Duration::from_millis(1)));
        observed.set_connected(PEER, true);
        observed.ponged(PEER, &Pong { reports: true, ..Pong::default() });
        assert!(observed.peer(PEER).alive);
    }

    #[test]
    fn the_oldest_ping_without_an_answer_counts() {
        let (clock, observed) = observed();
        observed.pinged(PEER);
        let first = clock.wall();
        clock.0.fetch_add(250, Ordering::Relaxed);
        observed.pinged(PEER);
        assert_eq!(observed.peer(PEER).ping_sent, first);
    }

    #[test]
    fn a_peer_is_slow_once_its_answers_are_in_a_row() {
        let (_, observed) = observed();
        let (max, slow) = (Duration::from_millis(90), Duration::from_millis(91));
        let took = |round_trip| observed.took(PEER, round_trip, max);
        assert!((1..SLOW_ANSWERS).all(|_| took(slow).is_none()));
        assert_eq!((took(max), observed.peer(PEER).round_trip), (None, max), "nothing was told yet");
        assert!((1..SLOW_ANSWERS).all(|_| took(slow).is_none()));
        assert_eq!((took(slow), took(slow), took(max), took(max)), (Some(true), None, Some(false), None));
    }

    #[test]
    fn what_was_reported_before_a_restart_does_not_count_after_it() {
        let (_, observed) = observed();
        observed.set_connected(PEER, true);
        assert_eq!(observed.replica(PEER, GROUP), None);
        observed.ponged(PEER, &report(5, true));
        assert_eq!(observed.replica(PEER, GROUP), Some(ReplicaReport { applied: LogIndex(5), ready: true }));
        assert_eq!(observed.replica(PEER, GroupId(2)), None);
        observed.set_connected(PEER, false);
        observed.set_connected(PEER, true);
        assert_eq!(observed.replica(PEER, GROUP), None);
        observed.ponged(PEER, &report(3, false));
        assert_eq!(observed.replica(PEER, GROUP), Some(ReplicaReport { applied: LogIndex(3), ready: false }));
    }

    #[test]
    fn a_node_that_does_not_report_is_taken_for_ready_while_it_answers() {
        let (_, observed) = observed();
        observed.ponged(PEER, &Pong::default());
        assert_eq!(observed.replica(PEER, GROUP), Some(ReplicaReport { applied: LogIndex(0), ready: true }));
    }

    #[test]
    fn a_node_is_sure_of_its_settings_only_by_the_word_of_group_0s_leader_and_as_of_the_question() {
        let (_, observed) = observed();
        let pong = |timestamp, known_settings, leads_control| Pong {
            timestamp,
            reports: true,
            settings_version: 3,
            known_settings,
            leads_control,
            ..Pong::default()
        };
        observed.set_known_settings(4);
        observed.ponged(PEER, &pong(10, 4, false));
        assert_eq!(observed.control_heard(), None, "it does not lead");
        observed.ponged(PEER, &pong(20, 5, true));
        assert_eq!(observed.control_heard(), None, "there are newer ones");
        assert_eq!(observed.settings(PEER), Some(3));
        observed.set_known_settings(5);
        observed.ponged(PEER, &pong(30, 5, true));
        assert_eq!(observed.control_heard(), Some(BootNs(30)));
        observed.ponged(PEER, &pong(25, 5, true));
        observed.set_known_settings(3);
        assert_eq!((observed.control_heard(), observed.known_settings()), (Some(BootNs(30)), 5), "neither runs back");
        assert_eq!(observed.own_settings(), 0, "that its replicas go by them is said apart");
    }
}
