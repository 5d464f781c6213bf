//! What this node has observed of its peers: which ones answer, and what they report about their replicas.
//!
//! Every node pings every other node of the cluster's map on the heartbeat stream, four times a second. The answer
//! carries one report for each group of which the answering node has a replica: how far it has applied the log, and
//! whether it serves reads. So every node knows the state of every replica from that replica itself.
//!
//! - A peer has **failed** once nothing was heard from it for [`FAILED_AFTER`]. It is alive again with its next
//!   message.
//! - Reports belong to one connection. A peer that was restarted does not count as ready because it was ready before.
//! - The answers also say which version of the cluster's settings a node knows, which version all of its replicas
//!   apply, and whether the node leads group 0. From that a node knows how long ago it certainly had the newest
//!   settings ([`Observed::control_heard`]): the **send** time of a ping that group 0's leader answered with a version
//!   that this node **knows**. The node's replicas may still be applying that version. A replica without a quorum never
//!   finishes, and must not keep clients from the node's other shards.
//! - The answers also say which version of the settings a peer has, or was told of. From that a node knows that it is
//!   **behind** ([`Observed::behind_since`]), even if group 0's leader cannot reach it: any way through other nodes is
//!   enough.
//! - A node of an older version answers without reports. Its replicas count as ready while the node answers.
//!
//! Apart from its lock this module is pure: it only reads the node's clocks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastness_types::{BootNs, Clock, GroupId, LogIndex, NodeId, SpanCounts, SpanHistogram, WallMs};
use fastness_wire::peer::v1::{Pong, PongReplica};
use parking_lot::{Mutex, RwLock};

use crate::peer::transport::SILENCE_MAX;

/// A peer has failed if nothing was heard from it for this long.
pub const FAILED_AFTER: Duration = SILENCE_MAX;

/// So many slow answers in a row make a peer slow: two seconds of pings.
const SLOW_ANSWERS: u32 = 8;

/// What a replica reports about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaReport {
    /// How far it has applied its group's log; 0 if it does not report that.
    pub applied: LogIndex,
    /// Whether it serves clients that read from replicas, or would.
    pub ready: bool,
}

/// What was observed of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerObservation {
    /// Whether it was heard within [`FAILED_AFTER`].
    pub alive: bool,
    /// Whether the heartbeat stream to it is open.
    pub connected: bool,
    /// How long nothing was heard from it; `None` if it was never heard.
    pub silent: Option<Duration>,
    /// When the oldest unanswered ping was sent; 0 if all are answered.
    pub ping_sent: WallMs,
    /// When its last answer arrived; 0 if never.
    pub pong_received: WallMs,
    /// The round trip of its last answer; zero if there was none.
    pub round_trip: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    connected: bool,
    heard: Option<BootNs>,
    ping_sent: WallMs,
    pong_received: WallMs,
    /// `None`: it has not reported since it was connected.
    replicas: Option<Reports>,
    settings: u64,
    round_trip: Duration,
    /// Slow answers in a row.
    slow: u32,
}

#[derive(Debug)]
enum Reports {
    /// Its version does not report.
    None,
    Of(BTreeMap<GroupId, ReplicaReport>),
}

/// What was observed of all peers. Shared by everything that reports about the cluster.
pub struct Observed {
    clock: Arc<dyn Clock>,
    peers: RwLock<BTreeMap<NodeId, Seen>>,
    /// Per peer, how long it takes to answer requests with log entries.
    replication: RwLock<BTreeMap<NodeId, Arc<SpanHistogram>>>,
    known_settings: AtomicU64,
    own_settings: AtomicU64,
    /// Boot time in ns; 0 if never.
    control_heard: AtomicU64,
    newest: Mutex<NewestSettings>,
}

/// The newest version of the cluster's settings that this node was told of.
#[derive(Debug, Default)]
struct NewestSettings {
    version: u64,
    /// When it was told of a version that it does not have.
    behind_since: Option<BootNs>,
}

impl std::fmt::Debug for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed").field("peers", &self.peers).finish_non_exhaustive()
    }
}

impl Observed {
    /// Starts without any observation.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Observed {
        Observed {
            clock,
            peers: RwLock::default(),
            replication: RwLock::default(),
            known_settings: AtomicU64::new(0),
            own_settings: AtomicU64::new(0),
            control_heard: AtomicU64::new(0),
            newest: Mutex::default(),
        }
    }

    /// Where to count how long a peer takes to answer requests with log entries.
    pub(crate) fn replication(&self, node: NodeId) -> Arc<SpanHistogram> {
        self.replication.write().entry(node).or_default().clone()
    }

    /// Per peer to which this node has replicated: the time from the request with log entries to the answer, which the
    /// peer gives once the entries are on its stable storage.
    #[must_use]
    pub fn replication_times(&self) -> BTreeMap<NodeId, SpanCounts> {
        self.replication.read().iter().map(|(node, times)| (*node, times.read())).collect()
    }

    /// What was observed of a peer; the default if nothing was.
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

    /// What a peer reports about its replica of a group; `None` while it reports none, or nothing at all.
    #[must_use]
    pub fn replica(&self, node: NodeId, group: GroupId) -> Option<ReplicaReport> {
        match &self.peers.read().get(&node)?.replicas {
            None => None,
            Some(Reports::None) => Some(ReplicaReport { applied: LogIndex(0), ready: true }),
            Some(Reports::Of(replicas)) => replicas.get(&group).copied(),
        }
    }

    /// The version of the cluster's settings that all replicas of a peer apply; `None` while the peer reports nothing.
    #[must_use]
    pub fn settings(&self, node: NodeId) -> Option<u64> {
        let peers = self.peers.read();
        let seen = peers.get(&node)?;
        seen.replicas.as_ref().map(|_| seen.settings)
    }

    /// Sets the version of the cluster's settings that this node's map has.
    pub fn set_known_settings(&self, version: u64) {
        self.known_settings.fetch_max(version, Ordering::AcqRel);
        self.hear_of_settings(version);
    }

    /// The newest version that this node has, or was told of.
    #[must_use]
    pub fn newest_settings(&self) -> u64 {
        self.newest.lock().version
    }

    /// When this node was told of a newer version than it has, if it still does not have the newest one of which it was
    /// told. Of several changes in a row the first one counts.
    #[must_use]
    pub fn behind_since(&self) -> Option<BootNs> {
        self.newest.lock().behind_since
    }

    fn hear_of_settings(&self, version: u64) {
        let mut newest = self.newest.lock();
        newest.version = newest.version.max(version);
        if newest.version <= self.known_settings() {
            newest.behind_since = None;
        } else if newest.behind_since.is_none() {
            newest.behind_since = Some(self.clock.boot());
        }
    }

    /// The version that this node's map has.
    #[must_use]
    pub fn known_settings(&self) -> u64 {
        self.known_settings.load(Ordering::Acquire)
    }

    /// Sets the version of the cluster's settings that all replicas of this node apply.
    pub fn set_own_settings(&self, version: u64) {
        self.own_settings.fetch_max(version, Ordering::AcqRel);
    }

    /// The version that all replicas of this node apply.
    #[must_use]
    pub fn own_settings(&self) -> u64 {
        self.own_settings.load(Ordering::Acquire)
    }

    /// When this node last certainly had the newest settings of the cluster; `None` if never since its start.
    #[must_use]
    pub fn control_heard(&self) -> Option<BootNs> {
        Some(BootNs(self.control_heard.load(Ordering::Acquire))).filter(|heard| heard.0 != 0)
    }

    /// Records that this node certainly had the newest settings at this time.
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

    /// Records an answer to a ping.
    pub(crate) fn ponged(&self, node: NodeId, pong: &Pong) {
        let now = self.clock.wall();
        self.hear_of_settings(pong.known_settings.max(pong.newest_settings));
        // The cluster has no settings while a node of an older version is a member.
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

    /// Records the round trip of an answer. Returns whether the peer is slow from now on, if that has changed: it takes
    /// several slow answers in a row to become slow, and one quick answer to recover.
    pub(crate) fn record_round_trip(&self, node: NodeId, round_trip: Duration, max: Duration) -> Option<bool> {
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
        let replicas = vec![PongReplica { group: GROUP.0, applied, ready, authoritative: 0 }];
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
        let record = |round_trip| observed.record_round_trip(PEER, round_trip, max);
        assert!((1..SLOW_ANSWERS).all(|_| record(slow).is_none()));
        assert_eq!((record(max), observed.peer(PEER).round_trip), (None, max), "the peer was not slow yet");
        assert!((1..SLOW_ANSWERS).all(|_| record(slow).is_none()));
        assert_eq!((record(slow), record(slow), record(max), record(max)), (Some(true), None, Some(false), None));
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
    fn settings_are_confirmed_only_by_group_0s_leader_and_as_of_the_ping() {
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

    #[test]
    fn a_node_is_behind_from_when_any_peer_tells_of_newer_settings_until_it_has_the_newest() {
        let (clock, observed) = observed();
        let pong = |known_settings, newest_settings| Pong {
            timestamp: 1,
            reports: true,
            known_settings,
            newest_settings,
            ..Pong::default()
        };
        observed.set_known_settings(4);
        observed.ponged(PEER, &pong(4, 4));
        assert_eq!((observed.behind_since(), observed.newest_settings()), (None, 4));
        let since = clock.boot();
        // By hearsay: the peer does not have it either.
        observed.ponged(PEER, &pong(4, 5));
        clock.0.fetch_add(100, Ordering::Relaxed);
        observed.ponged(PEER, &pong(6, 0));
        assert_eq!((observed.behind_since(), observed.newest_settings()), (Some(since), 6));
        observed.ponged(NodeId(3), &pong(2, 2));
        observed.set_known_settings(5);
        assert_eq!(observed.behind_since(), Some(since), "there is a newer one");
        observed.set_known_settings(6);
        assert_eq!(observed.behind_since(), None);
        observed.ponged(PEER, &pong(7, 7));
        assert_eq!(observed.behind_since(), Some(clock.boot()));
    }
}
