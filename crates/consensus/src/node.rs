//! What all groups of one node share: peers and links to them, the start counters, the stop.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastness_types::{BootNs, Epoch, GroupId, NodeId};
use fastness_wire::peer::v1::{self as pb, Hello};
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{Notify, watch};

use crate::codec;
use crate::group::Group;
use crate::link::Link;
use crate::options::ConsensusOptions;
use crate::transport::{Class, PeerTransport};

pub(crate) struct NodeCore {
    pub(crate) options: ConsensusOptions,
    transport: Arc<dyn PeerTransport>,
    groups: RwLock<BTreeMap<GroupId, Arc<Group>>>,
    links: Mutex<HashMap<(NodeId, Class), Arc<Link>>>,
    /// From [`crate::Consensus::set_peers`], which wins, and from memberships.
    addresses: Mutex<HashMap<NodeId, Address>>,
    /// Highest start heard of each peer.
    starts: Mutex<HashMap<NodeId, Start>>,
    own_start: Start,
    /// Wakes the heartbeat out of turn.
    pub(crate) beat: Arc<Notify>,
    rng: Mutex<SmallRng>,
    stop: watch::Sender<Option<Arc<str>>>,
    runtime: tokio::runtime::Handle,
}

struct Address {
    at: String,
    set: bool,
}

/// One start of a node. Two starts with one count and two nonces are two copies of one disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Start {
    count: u64,
    nonce: u64,
}

impl Start {
    /// Whether this start, told that the node was started as `other`, must be on an old copy of the disk.
    fn is_outdone_by(self, other: Start) -> bool {
        other.count > self.count || (other.count == self.count && other.nonce != self.nonce)
    }
}

impl NodeCore {
    /// To be called inside the runtime that everything of this node shall run on.
    pub(crate) fn new(options: ConsensusOptions, transport: Arc<dyn PeerTransport>) -> NodeCore {
        let mut rng = SmallRng::seed_from_u64(options.seed ^ options.node.0.rotate_left(32));
        let own_start = Start { count: options.start_count, nonce: rng.random() };
        NodeCore {
            own_start,
            options,
            transport,
            groups: RwLock::default(),
            links: Mutex::default(),
            addresses: Mutex::default(),
            starts: Mutex::default(),
            beat: Arc::default(),
            rng: Mutex::new(rng),
            stop: watch::Sender::new(None),
            runtime: tokio::runtime::Handle::current(),
        }
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

    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// A pause of up to half as much again.
    pub(crate) fn jitter(&self, pause: Duration) -> Duration {
        pause + pause.mul_f64(self.rng.lock().random_range(0.0..0.5))
    }

    // ---- groups ----------------------------------------------------------------------------------------------------

    pub(crate) fn group(&self, id: GroupId) -> Option<Arc<Group>> {
        self.groups.read().get(&id).cloned()
    }

    pub(crate) fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.read().values().cloned().collect()
    }

    /// Adds a group, unless there is one of that id.
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

    /// The link to a peer; it is opened the first time it is asked for and stays.
    pub(crate) fn link(self: &Arc<Self>, peer: NodeId, class: Class, address: Option<&str>) -> Arc<Link> {
        if let Some(at) = address {
            self.set_address(peer, at, false);
        }
        let mut links = self.links.lock();
        let link = links.entry((peer, class)).or_insert_with(|| {
            let link = Arc::new(Link::new(peer, class));
            self.runtime.spawn(link.clone().run(self.clone()));
            link
        });
        link.clone()
    }

    // ---- hello -----------------------------------------------------------------------------------------------------

    /// What this node says first on a stream with `peer`.
    pub(crate) fn hello(&self, peer: NodeId) -> Bytes {
        let seen = self.starts.lock().get(&peer).copied().unwrap_or_default();
        codec::encode(&Hello {
            node: self.own().0,
            cluster: Bytes::copy_from_slice(&self.options.cluster.0),
            start_count: self.own_start.count,
            start_nonce: self.own_start.nonce,
            listener_start_count_seen: seen.count,
            listener_start_nonce_seen: seen.nonce,
        })
    }

    /// Checks what `peer` says first. The error is for humans; the stream is to be ended.
    pub(crate) fn heard_hello(&self, peer: NodeId, payload: Bytes) -> Result<(), String> {
        let hello = Hello::decode(payload).map_err(|error| error.to_string())?;
        if hello.node != peer.0 {
            return Err(format!("it claims to be node {}, but is node {peer}", hello.node));
        }
        if hello.cluster[..] != self.options.cluster.0 {
            return Err("it belongs to another cluster".to_owned());
        }
        let told = Start { count: hello.listener_start_count_seen, nonce: hello.listener_start_nonce_seen };
        if self.own_start.is_outdone_by(told) {
            let reason = format!(
                "this node runs on an old copy of its disk, or two copies run at once: by its own count this is start {}, \
                 but node {peer} has seen another start {}; replace it by a new node",
                self.own_start.count, told.count
            );
            self.stop(&reason);
            return Err(reason);
        }
        let start = Start { count: hello.start_count, nonce: hello.start_nonce };
        let mut starts = self.starts.lock();
        let seen = starts.entry(peer).or_default();
        if start.is_outdone_by(*seen) {
            return Err(format!(
                "it runs on an old copy of its disk: start {} after start {}",
                start.count, seen.count
            ));
        }
        *seen = start;
        Ok(())
    }

    // ---- the lease's answers ---------------------------------------------------------------------------------------

    pub(crate) fn lease_answered(&self, peer: NodeId, answer: &pb::LeaseAnswer) {
        for answer in &answer.groups {
            if let Some(group) = self.group(GroupId(answer.group)) {
                let epoch = Epoch { term: answer.term, node: self.own() };
                group.answered(peer, epoch, BootNs(answer.stamp), answer.bind, answer.ready);
            }
        }
    }

    // ---- stop ------------------------------------------------------------------------------------------------------

    /// Stops everything of this node for good.
    pub(crate) fn stop(&self, reason: &str) {
        let first = self.stop.send_if_modified(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert_with(|| reason.into());
            first
        });
        if first {
            tracing::error!(node = %self.own(), reason, "consensus stops");
            self.groups().iter().for_each(|group| group.stop(reason));
        }
    }

    pub(crate) fn stopped(&self) -> Option<Arc<str>> {
        self.stop.borrow().clone()
    }

    pub(crate) async fn until_stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives in `self`.
        let _ = stop.wait_for(Option::is_some).await;
    }
}
