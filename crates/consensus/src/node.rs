//! What all groups of one node share: options, log, the identities and addresses of peers, clocks, and the stop signal.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastness_events::Event;
use fastness_log::Log;
use fastness_types::{BootNs, Epoch, GroupId, LogIndex, NodeId, WallMs};
use fastness_wire::peer::v1::{self as pb, Hello};
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;

use crate::group::handle::Holding;
use crate::group::history::ms;
use crate::group::state::Group;
use crate::group::status::StartError;
use crate::lease::clocks::Clocks;
use crate::lease::leader::MemberReport;
use crate::lease::pulse::Pulse;
use crate::options::{BASE_PROMISE, ConsensusOptions};
use crate::peer::codec;
use crate::peer::identity::{Admitted, Identities, Refusal};
use crate::peer::observed::Observed;
use crate::peer::transport::{Class, PeerTransport};
use crate::raft::watch;

/// A log write that takes this long has met a stalled disk. Commits do not need the leader's own disk, so a shard
/// continues meanwhile, until the log's queue is full after some seconds of writes. Shorter pauses are common on
/// network disks.
const LOG_STALL_MAX: Duration = Duration::from_secs(2);
/// The same refusal of a peer is recorded at most this often.
const REFUSED_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct NodeCore {
    pub(crate) options: ConsensusOptions,
    transport: Arc<dyn PeerTransport>,
    groups: RwLock<BTreeMap<GroupId, Arc<Group>>>,
    /// From [`crate::Consensus::set_peers`], which wins, and from memberships.
    addresses: Mutex<HashMap<NodeId, Address>>,
    /// The log of all groups. Consensus waits while its queue is full.
    pub(crate) log: Log,
    pub(crate) identities: Arc<Identities>,
    clocks: Clocks,
    pub(crate) observed: Arc<Observed>,
    pub(crate) pulse: Pulse,
    /// Wakes the heartbeat before its next interval.
    pub(crate) heartbeat: Arc<Notify>,
    rng: Mutex<SmallRng>,
    stop: watch::Sender<Option<Arc<str>>>,
    /// The newest recorded refusals of peers.
    refusals: Mutex<BTreeMap<NodeId, (String, BootNs)>>,
    runtime: tokio::runtime::Handle,
}

struct Address {
    at: String,
    set: bool,
}

impl NodeCore {
    /// Must be called on the runtime that runs all tasks of this node.
    pub(crate) fn new(
        options: ConsensusOptions,
        log: Log,
        transport: Arc<dyn PeerTransport>,
    ) -> Result<NodeCore, StartError> {
        let mut rng = SmallRng::seed_from_u64(options.seed ^ options.node.0.rotate_left(32));
        let identities = Identities::new(log.clone(), rng.random(), options.format);
        let identities =
            identities.map_err(|(peer, error)| StartError::Peer { node: peer, reason: error.to_string() })?;
        Ok(NodeCore {
            log,
            identities: Arc::new(identities),
            clocks: Clocks::new(options.clock_offset_max, options.events.clone()),
            observed: Arc::new(Observed::new(options.clock.clone())),
            pulse: Pulse::new(options.timers.heartbeat),
            options,
            transport,
            groups: RwLock::default(),
            addresses: Mutex::default(),
            heartbeat: Arc::default(),
            rng: Mutex::new(rng),
            stop: watch::Sender::new(None),
            refusals: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
        })
    }

    pub(crate) fn own(&self) -> NodeId {
        self.options.node
    }

    pub(crate) fn transport(&self) -> &dyn PeerTransport {
        self.transport.as_ref()
    }

    pub(crate) fn now(&self) -> BootNs {
        self.options.clock.boot()
    }

    /// Whether the log disk is stalled: one write has taken longer than [`LOG_STALL_MAX`].
    pub(crate) fn log_stalls(&self) -> bool {
        self.log.write_under_way().is_some_and(|span| span >= LOG_STALL_MAX)
    }

    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// `pause`, prolonged by a random part of up to one half.
    pub(crate) fn jitter(&self, pause: Duration) -> Duration {
        pause + pause.mul_f64(self.rng.lock().random_range(0.0..0.5))
    }

    /// A random number, for ids that only have to differ from others of this node.
    pub(crate) fn random(&self) -> u64 {
        self.rng.lock().random()
    }

    // ---- groups ----------------------------------------------------------------------------------------------------

    pub(crate) fn group(&self, id: GroupId) -> Option<Arc<Group>> {
        self.groups.read().get(&id).cloned()
    }

    pub(crate) fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.read().values().cloned().collect()
    }

    /// Adds a group. Returns false if the node already runs a group of that id.
    pub(crate) fn add_group(&self, group: Arc<Group>) -> bool {
        let mut groups = self.groups.write();
        let free = !groups.contains_key(&group.id);
        if free {
            groups.insert(group.id, group);
        }
        free
    }

    pub(crate) fn remove_group(&self, id: GroupId) {
        self.groups.write().remove(&id);
    }

    // ---- peers -----------------------------------------------------------------------------------------------------

    pub(crate) fn set_address(&self, peer: NodeId, at: &str, set: bool) {
        let mut addresses = self.addresses.lock();
        let known = addresses.get(&peer);
        if set || known.is_none_or(|known| !known.set) {
            addresses.insert(peer, Address { at: at.to_owned(), set });
        }
    }

    pub(crate) fn address(&self, peer: NodeId) -> Option<String> {
        self.addresses.lock().get(&peer).map(|address| address.at.clone())
    }

    // ---- hello -----------------------------------------------------------------------------------------------------

    /// Records what the members of the groups that this node leads have acknowledged.
    pub(crate) fn note_acknowledged(&self) {
        for group in self.groups() {
            for (node, position) in group.acknowledged() {
                self.identities.acknowledged(NodeId(node), group.id, position);
            }
        }
    }

    /// The first message of this node on a stream with `peer`.
    pub(crate) fn hello(&self, peer: NodeId) -> Bytes {
        self.note_acknowledged();
        codec::encode(&self.identities.hello(peer))
    }

    /// Checks the first message of `peer`. If it is refused, the stream must be closed.
    pub(crate) async fn verify_hello(&self, peer: NodeId, payload: Bytes) -> Result<Admitted, Refusal> {
        let hello = Hello::decode(payload).map_err(|error| Refusal::Malformed(error.to_string()))?;
        self.note_acknowledged();
        let admitted = self.identities.verify(peer, &hello).await;
        if let Err(Refusal::StopHere(reason)) = &admitted {
            self.stop(reason);
        }
        admitted
    }

    // ---- wall clocks -----------------------------------------------------------------------------------------------

    /// The payload of a ping. On the heartbeat stream, where no large message delays it, the ping also asks for the
    /// peer's time.
    pub(crate) fn ping(&self, peer: NodeId, class: Class) -> Bytes {
        let timestamp = if class == Class::Heartbeat { self.now().0 } else { 0 };
        if timestamp != 0 {
            self.observed.pinged(peer);
        }
        codec::encode(&pb::Ping { timestamp })
    }

    pub(crate) fn pong(&self, ping: Bytes) -> Bytes {
        // A ping that cannot be decoded is answered too: it shows that the peer is alive.
        let timestamp = pb::Ping::decode(ping).map_or(0, |ping| ping.timestamp);
        let wall_ms = self.options.clock.wall().0;
        // A peer that asks for the time also gets the state of the replicas.
        let replicas = if timestamp == 0 { Vec::new() } else { self.replicas() };
        codec::encode(&pb::Pong {
            timestamp,
            wall_ms,
            reports: timestamp != 0,
            replicas,
            settings_version: self.observed.own_settings(),
            leads_control: timestamp != 0 && self.is_control_authority(),
            known_settings: self.observed.known_settings(),
            newest_settings: self.observed.newest_settings(),
        })
    }

    fn is_control_authority(&self) -> bool {
        self.group(GroupId::CONTROL).is_some_and(|group| group.driver.is_authority(self.now()))
    }

    /// What this node reports about its replicas.
    fn replicas(&self) -> Vec<pb::PongReplica> {
        let (groups, now) = (self.groups.read(), self.now());
        let report = |group: &Arc<Group>| pb::PongReplica {
            group: group.id.0,
            applied: group.driver.applied().0,
            ready: group.driver.serves_reads(),
            authoritative: group.driver.authoritative(now).map_or(0, |committed| committed.0),
        };
        groups.values().map(report).collect()
    }

    pub(crate) fn ponged(&self, peer: NodeId, pong: Bytes) {
        match pb::Pong::decode(pong) {
            Ok(pong) if pong.timestamp != 0 => {
                self.clocks.measured(peer, WallMs(pong.wall_ms), BootNs(pong.timestamp), self.now());
                self.observed.ponged(peer, &pong);
                for replica in pong.replicas.iter().filter(|replica| replica.authoritative != 0) {
                    if let Some(group) = self.group(GroupId(replica.group)) {
                        group.driver.prove(LogIndex(replica.authoritative), BootNs(pong.timestamp));
                    }
                }
                let (round_trip, max) =
                    (self.now().since(BootNs(pong.timestamp)), self.options.timers.round_trip_max());
                let round_trip_ms = ms(round_trip);
                let event = match self.observed.record_round_trip(peer, round_trip, max) {
                    Some(true) => Some(Event::PeerSlow { peer, round_trip_ms, bound_ms: ms(max) }),
                    Some(false) => Some(Event::PeerInTime { peer, round_trip_ms }),
                    None => None,
                };
                event.into_iter().for_each(|event| self.options.events.record(event));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%peer, %error, "a pong cannot be decoded"),
        }
    }

    /// Compares this node's wall clock with those of its peers, and reports the result to the owner of every group.
    pub(crate) fn judge_clock(&self) {
        let alone = self.addresses.lock().keys().all(|peer| *peer == self.own());
        let trusted = self.clocks.judge(self.options.clock.as_ref(), alone);
        let wall = self.clocks.wall();
        self.groups().iter().for_each(|group| group.driver.set_wall(trusted, wall));
        if self.is_control_authority() {
            self.observed.set_control_heard(self.now());
        }
    }

    // ---- the lease's answers ---------------------------------------------------------------------------------------

    pub(crate) fn lease_answered(&self, peer: NodeId, answer: &pb::LeaseResponse) {
        let promise = match answer.promise_ms {
            0 => BASE_PROMISE,
            ms => Duration::from_millis(ms),
        };
        for answer in &answer.groups {
            if let Some(group) = self.group(GroupId(answer.group)) {
                let epoch = Epoch { term: answer.term, node: self.own() };
                group.promises_for(peer, promise);
                let holding = answer.held_index.map(|index| Holding {
                    index: LogIndex(index),
                    keys: answer.held_keys,
                    bytes: answer.held_bytes,
                    snapshot: LogIndex(answer.snapshot_index),
                });
                let report = MemberReport { ready: answer.ready, holding };
                group.lease_answered(peer, epoch, BootNs(answer.timestamp), answer.bind, report);
            }
        }
    }

    /// Records that a peer is refused. A refused peer tries again all the time, so the same refusal is recorded again
    /// only after a while.
    pub(crate) fn record_refusal(&self, peer: NodeId, reason: String) {
        let now = self.now();
        {
            let mut refusals = self.refusals.lock();
            refusals.retain(|_, (_, at)| now.since(*at) < REFUSED_EVERY);
            if refusals.get(&peer).is_some_and(|(recorded, _)| *recorded == reason) {
                return;
            }
            refusals.insert(peer, (reason.clone(), now));
        }
        self.options.events.record(Event::PeerRefused { peer, reason });
    }

    // ---- stop ------------------------------------------------------------------------------------------------------

    /// Stops consensus on this node for good.
    pub(crate) fn stop(&self, reason: &str) {
        let first = self.stop.send_if_modified(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert_with(|| reason.into());
            first
        });
        if first {
            self.options.events.record(Event::ConsensusStopped { reason: reason.to_owned() });
            self.groups().iter().for_each(|group| group.stop(reason));
        }
    }

    pub(crate) fn stopped(&self) -> Option<Arc<str>> {
        self.stop.borrow().clone()
    }

    pub(crate) async fn until_stopped(&self) {
        let mut stop = self.stop.subscribe();
        // Cannot fail: `self` owns the sender.
        let _ = stop.wait_for(Option::is_some).await;
    }
}
