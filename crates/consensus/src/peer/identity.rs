//! Verifies which disk, and which start of a node on it, is on the other side of a stream, and whether it may take
//! part.
//!
//! A node is a member of a group **with its disk**: memberships and the cluster's map name both, from the group's first
//! entry on. Each log has a disk id, drawn when it was created, and counts the starts on it. Each start also draws a
//! random nonce. Both sides of a stream first send a hello: which start they are, and what they know about the other
//! side.
//!
//! - A peer on a disk that is not its member's is refused in both directions: it neither grants votes nor acknowledges
//!   entries nor counts in a lease. This covers a wiped disk, which has another id whatever the node's certificate
//!   says. A stream that is open when a membership names another disk is closed at its next frame.
//! - A peer is refused if a later start of it is known, or another start with the same count: it runs on an old copy of
//!   its disk, or two copies run at once. What a peer reports about its start is on this node's own stable storage
//!   before the stream is used, so a restart does not forget it.
//! - A node that was replaced is refused on any disk once its replacement is complete. Before that it may still be
//!   needed where a group has not changed its members yet.
//! - The start count does not reveal a copy that was made **during** the newest start: when that copy is started it
//!   counts one more, as the disk itself would. So peers remember, per group, the newest entry that a node has
//!   acknowledged **and that is committed**. A node whose log ends before that entry, in the order of log ids by which
//!   votes are granted too, is refused like an old copy, whatever its count. Uncommitted entries do not count, because
//!   a later leader may remove them. The group's leader always knows this position. It reports it to the other members
//!   about once a second, and all of them store it some time later, with what they know about the peer. So the record
//!   may lag, and an old copy that lacks less than that lag is not noticed.
//! - A node that learns from a peer that it is one of these stops for good.
//!
//! This module does not stop a node that no peer has informed yet. Such a node does no harm, because whoever would
//! count its vote or its acknowledgement verifies it first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fastness_log::{Log, WriteError};
use fastness_types::{ClusterId, DiskId, Epoch, FormatLevel, GroupId, NodeId, Plant};
use fastness_wire::peer::v1::Hello;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::peer::codec;
use crate::peer::start::Start;
use crate::raft::codec::DecodeError;
use crate::raft::types::{LogId, Membership};

/// Why a peer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it claims to be node {0}")]
    OtherNode(u64),
    #[error("it belongs to another cluster")]
    OtherCluster,
    #[error("its hello cannot be decoded: {0}")]
    Malformed(String),
    #[error(
        "it runs on disk {found}, but is a member of the cluster with disk {known}: its disk was wiped or exchanged, and it \
         must not vote on this one; give it its own disk back, or replace the node (`fastness cluster replace-replica`)"
    )]
    OtherDisk { found: DiskId, known: DiskId },
    #[error("it runs on an old copy of its disk: start {found} after start {known}")]
    OldCopy { found: u64, known: u64 },
    #[error(
        "it runs on an old copy of its disk: in group {group} it has acknowledged committed entries up to {acknowledged}, and \
         its log ends at {end}"
    )]
    LostAcknowledged { group: GroupId, acknowledged: String, end: String },
    #[error("it was replaced by node {0}, and is no longer a member of the cluster")]
    Replaced(NodeId),
    #[error("its start could not be stored: {0}")]
    NotStored(String),
    /// This node itself must stop for good.
    #[error("{0}")]
    StopHere(String),
}

/// The verified start on the other side of a stream.
#[derive(Debug)]
pub(crate) struct Admitted {
    disk: DiskId,
    /// The revision of [`Identities`] at the last check.
    revision: u64,
}

#[derive(Debug, Default)]
struct Known {
    /// The disk with which the node is a member, as the newest membership or map says.
    disk: Option<DiskId>,
    /// The node's newest start.
    start: Option<Start>,
    /// Whether the newest start is on this node's stable storage.
    saved: bool,
    /// Per group, the newest committed entry that the node has acknowledged on the disk of its newest start.
    acknowledged: BTreeMap<GroupId, LogId>,
    /// Whether some of these positions are newer than what the log was last given to store.
    unsaved: bool,
}

pub(crate) struct Identities {
    node: NodeId,
    cluster: ClusterId,
    own: Start,
    log: Log,
    known: Mutex<BTreeMap<NodeId, Known>>,
    /// Nodes that were replaced, and by whom.
    replaced: Mutex<BTreeMap<NodeId, NodeId>>,
    /// Incremented when the disk of a member or a replacement becomes known: streams then check their peer again.
    revision: AtomicU64,
}

impl Identities {
    /// `nonce`: differs for each start of the node. `format`: the level that this node announces.
    pub(crate) fn new(log: Log, nonce: u64, format: FormatLevel) -> Result<Identities, (NodeId, DecodeError)> {
        let identity = log.identity();
        let mut known = BTreeMap::new();
        for (peer, record) in log.peers() {
            let (start, acknowledged) = codec::decode_stored_peer(&record).map_err(|error| (peer, error))?;
            let start = Some(start);
            known.insert(peer, Known { disk: None, start, saved: true, acknowledged, unsaved: false });
        }
        Ok(Identities {
            node: identity.node,
            cluster: identity.cluster,
            own: Start { disk: identity.disk, count: identity.starts, nonce, format },
            log,
            known: Mutex::new(known),
            replaced: Mutex::default(),
            revision: AtomicU64::new(0),
        })
    }

    pub(crate) fn own_disk(&self) -> DiskId {
        self.own.disk
    }

    /// The lowest level that any of these nodes has announced with its newest start. A node that was never heard of
    /// counts as the first level. Levels are stored with the starts of peers, so a restart does not forget the level of
    /// a node that is down.
    pub(crate) fn lowest_format(&self, members: impl IntoIterator<Item = NodeId>) -> FormatLevel {
        let known = self.known.lock();
        let format = |node: NodeId| {
            let start = known.get(&node).and_then(|known| known.start);
            start.map_or(FormatLevel::BASE, |start| start.format)
        };
        let others = members.into_iter().filter(|node| *node != self.node);
        others.map(format).fold(self.own.format, FormatLevel::min)
    }

    /// Records the disks of members, from a membership or from the cluster's map.
    pub(crate) fn expect(&self, members: impl IntoIterator<Item = (NodeId, DiskId)>) {
        let mut known = self.known.lock();
        let mut changed = false;
        for (node, disk) in members.into_iter().filter(|(node, _)| *node != self.node) {
            let known = known.entry(node).or_default();
            changed |= known.disk.replace(disk) != Some(disk);
        }
        if changed {
            self.revision.fetch_add(1, Ordering::Release);
        }
    }

    /// Records which nodes were replaced, and by whom, from the cluster's map.
    pub(crate) fn set_replaced(&self, nodes: impl IntoIterator<Item = (NodeId, NodeId)>) {
        let mut replaced = self.replaced.lock();
        let before = replaced.len();
        replaced.extend(nodes);
        if replaced.len() > before {
            self.revision.fetch_add(1, Ordering::Release);
        }
    }

    /// The node that has replaced `peer`, if any.
    pub(crate) fn replaced_by(&self, peer: NodeId) -> Option<NodeId> {
        self.replaced.lock().get(&peer).copied()
    }

    /// The first message of this node on a stream with `peer`.
    pub(crate) fn hello(&self, peer: NodeId) -> Hello {
        let replaced_by = self.replaced_by(peer);
        let known = self.known.lock();
        let known = known.get(&peer);
        let disk = known.and_then(|known| known.disk);
        // A peer whose start was on another disk than its member's is informed about the disk, not about the start.
        let seen = known.and_then(|known| known.start).filter(|start| disk.is_none_or(|disk| disk == start.disk));
        let bytes = |disk: DiskId| Bytes::copy_from_slice(&disk.0);
        let acknowledged = known.filter(|_| seen.is_some()).map(|known| codec::positions_out(&known.acknowledged));
        Hello {
            node: self.node.0,
            cluster: Bytes::copy_from_slice(&self.cluster.0),
            disk: bytes(self.own.disk),
            start_count: self.own.count,
            start_nonce: self.own.nonce,
            listener_disk: disk.map(bytes).unwrap_or_default(),
            listener_start_disk_seen: bytes(seen.map_or(DiskId::default(), |start| start.disk)),
            listener_start_count_seen: seen.map_or(0, |start| start.count),
            listener_start_nonce_seen: seen.map_or(0, |start| start.nonce),
            listener_replaced_by: replaced_by.map_or(0, |by| by.0),
            format_level: self.own.format.0,
            listener_acknowledged: acknowledged.unwrap_or_default(),
            log_ends: codec::positions_out(&self.log_ends()),
            log_ends_reported: true,
        }
    }

    /// The last entry of each log of this node.
    fn log_ends(&self) -> BTreeMap<GroupId, LogId> {
        let end = |group: GroupId| {
            let last = self.log.group(group).state().last?;
            Some((group, LogId::new(Epoch { term: last.term, node: NodeId(last.node) }, last.index)))
        };
        self.log.groups().into_iter().filter_map(end).collect()
    }

    /// Records that `peer` has acknowledged this entry of a group, and that the entry is committed.
    pub(crate) fn acknowledged(&self, peer: NodeId, group: GroupId, position: LogId) {
        if peer == self.node {
            return;
        }
        let mut known = self.known.lock();
        // Without a known start of the peer, the disk on which it has acknowledged the entry is unknown.
        let Some(known) =
            known.get_mut(&peer).filter(|known| known.start.is_some_and(|start| known.is_member_on(start.disk)))
        else {
            return;
        };
        if known.acknowledged.get(&group).is_none_or(|newest| *newest < position) {
            known.acknowledged.insert(group, position);
            known.unsaved = true;
        }
    }

    /// Has the acknowledged positions of peers stored with the next write of the log.
    pub(crate) fn save_acknowledged(&self) {
        for (peer, known) in self.known.lock().iter_mut().filter(|(_, known)| known.saved) {
            if let Some(start) = known.start
                && std::mem::take(&mut known.unsaved)
            {
                // If this fails, the log has failed and the node stops.
                self.log.save_peer(*peer, codec::encode_stored_peer(&start, &known.acknowledged), |_| {});
            }
        }
    }

    /// Verifies the hello of `peer`. If it reports a new start, returns once that start is on this node's stable
    /// storage.
    pub(crate) async fn verify(&self, peer: NodeId, hello: &Hello) -> Result<Admitted, Refusal> {
        if hello.node != peer.0 {
            return Err(Refusal::OtherNode(hello.node));
        }
        if hello.cluster[..] != self.cluster.0 {
            return Err(Refusal::OtherCluster);
        }
        self.check_own(peer, hello)?;
        if let Some(by) = self.replaced_by(peer) {
            return Err(Refusal::Replaced(by));
        }
        let format = FormatLevel::announced(hello.format_level);
        let start = Start { disk: disk(&hello.disk)?, count: hello.start_count, nonce: hello.start_nonce, format };
        // Read before the checks, so that the stream checks again whatever is learned after them.
        let revision = self.revision.load(Ordering::Acquire);
        let ends = codec::positions_in(&hello.log_ends).map_err(|error| Refusal::Malformed(error.to_string()))?;
        if let Some(written) = self.check_peer(peer, start, hello.log_ends_reported.then_some(&ends))? {
            match written.await {
                Ok(Ok(())) => self.saved(peer, start),
                Ok(Err(error)) => return Err(Refusal::NotStored(error.to_string())),
                Err(_) => return Err(Refusal::NotStored("the log's writer has ended".to_owned())),
            }
        }
        Ok(Admitted { disk: start.disk, revision })
    }

    /// Whether the start on the other side of a stream is still admitted.
    pub(crate) fn still_admits(&self, peer: NodeId, admitted: &mut Admitted) -> bool {
        let revision = self.revision.load(Ordering::Acquire);
        if revision == admitted.revision {
            return true;
        }
        admitted.revision = revision;
        if self.replaced_by(peer).is_some() {
            return false;
        }
        self.known.lock().get(&peer).and_then(|known| known.disk).is_none_or(|disk| disk == admitted.disk)
    }

    /// Checks what the peer knows about this node.
    fn check_own(&self, peer: NodeId, hello: &Hello) -> Result<(), Refusal> {
        let place = self.log.place();
        if hello.listener_replaced_by != 0 {
            return Err(Refusal::StopHere(replaced_reason(self.node, NodeId(hello.listener_replaced_by), place)));
        }
        if !hello.listener_disk.is_empty() {
            let member = disk(&hello.listener_disk)?;
            if member != self.own.disk && !Plant::WipedDiskAccepted.is_on() {
                return Err(Refusal::StopHere(format!(
                    "{place} is not this node's disk: node {} is a member of the cluster with disk {member}, as node {peer} \
                     knows, and this is disk {}. The folder was wiped or exchanged, or its file system is not mounted. On \
                     this disk the node does not know what it has voted for and acknowledged, so it must not take part. \
                     Give it its own disk back; if that is lost, {}",
                    self.node,
                    self.own.disk,
                    replacement_advice(self.node)
                )));
            }
        }
        let seen = Start {
            disk: disk(&hello.listener_start_disk_seen)?,
            count: hello.listener_start_count_seen,
            nonce: hello.listener_start_nonce_seen,
            format: self.own.format,
        };
        if self.own.is_superseded_by(seen) && !Plant::OldDiskAccepted.is_on() {
            return Err(Refusal::StopHere(format!(
                "{place} is an old copy of this node's disk, or two copies run at once: by its own count this is start {}, \
                 but node {peer} has seen another start {}; {}",
                self.own.count,
                seen.count,
                replacement_advice(self.node)
            )));
        }
        let acknowledged = codec::positions_in(&hello.listener_acknowledged);
        let acknowledged = acknowledged.map_err(|error| Refusal::Malformed(error.to_string()))?;
        if seen.disk == self.own.disk
            && let Some((group, acknowledged, end)) = lost_acknowledged(&acknowledged, &self.log_ends())
            && !Plant::OldDiskAccepted.is_on()
        {
            return Err(Refusal::StopHere(format!(
                "{place} is an old copy of this node's disk: as node {peer} knows, this node has acknowledged committed entries of \
                 group {group} up to {acknowledged}, and its log ends at {end}; {}",
                replacement_advice(self.node)
            )));
        }
        Ok(())
    }

    /// Records the peer's start, unless the peer must be refused. For a new start returns the completion of its write.
    /// `ends`: the last entries of the peer's logs, if it reports them.
    fn check_peer(
        &self,
        peer: NodeId,
        start: Start,
        ends: Option<&BTreeMap<GroupId, LogId>>,
    ) -> Result<Option<Written>, Refusal> {
        let mut known = self.known.lock();
        let known = known.entry(peer).or_default();
        if let Some(disk) = known.disk.filter(|disk| *disk != start.disk && !Plant::WipedDiskAccepted.is_on()) {
            return Err(Refusal::OtherDisk { found: start.disk, known: disk });
        }
        if let Some(newest) =
            known.start.filter(|newest| start.is_superseded_by(*newest) && !Plant::OldDiskAccepted.is_on())
        {
            return Err(Refusal::OldCopy { found: start.count, known: newest.count });
        }
        if known.start.is_some_and(|newest| newest.disk != start.disk) {
            // The new disk has acknowledged nothing yet.
            known.acknowledged.clear();
        }
        if let Some(ends) = ends
            && let Some((group, acknowledged, end)) = lost_acknowledged(&known.acknowledged, ends)
            && !Plant::OldDiskAccepted.is_on()
        {
            return Err(Refusal::LostAcknowledged { group, acknowledged, end });
        }
        if known.saved && known.start == Some(start) {
            return Ok(None);
        }
        known.start = Some(start);
        known.saved = false;
        known.unsaved = false;
        let (done, written) = oneshot::channel();
        // Under the lock, so that the log stores starts in the order in which memory took them.
        self.log.save_peer(peer, codec::encode_stored_peer(&start, &known.acknowledged), move |outcome| {
            // The receiver may have timed out.
            let _ = done.send(outcome);
        });
        Ok(Some(written))
    }

    fn saved(&self, peer: NodeId, start: Start) {
        if let Some(known) = self.known.lock().get_mut(&peer)
            && known.start == Some(start)
        {
            known.saved = true;
        }
    }
}

impl Known {
    /// Whether the node is a member with this disk, as far as is known.
    fn is_member_on(&self, disk: DiskId) -> bool {
        self.disk.is_none_or(|member| member == disk)
    }
}

/// The first group whose log ends before an acknowledged entry, with texts for that entry and for the end of the log.
fn lost_acknowledged(
    acknowledged: &BTreeMap<GroupId, LogId>,
    ends: &BTreeMap<GroupId, LogId>,
) -> Option<(GroupId, String, String)> {
    let text = |id: &LogId| format!("index {} of term {}", id.index, id.leader_id.term);
    acknowledged
        .iter()
        .find(|(group, position)| ends.get(group) < Some(position))
        .map(|(group, position)| (*group, text(position), ends.get(group).map_or_else(|| "nothing".to_owned(), text)))
}

/// What an operator has to do about a node whose disk is of no use any more.
fn replacement_advice(node: NodeId) -> String {
    format!(
        "replace the node: start a new one with another node id and an empty disk, then \
         `fastness cluster replace-replica --node {node} --with ID`"
    )
}

/// Why a node that was replaced stops.
pub(crate) fn replaced_reason(node: NodeId, by: NodeId, place: &str) -> String {
    format!(
        "node {node} was replaced by node {by} and is no longer a member of the cluster: its data in {place} is useless. \
         Remove the folder; to give the machine a place in the cluster again, start it as a new node with another node id"
    )
}

/// The disks that a membership names.
pub(crate) fn disks(membership: &Membership) -> impl Iterator<Item = (NodeId, DiskId)> {
    membership.nodes().map(|(node, at)| (NodeId(*node), at.disk))
}

type Written = oneshot::Receiver<Result<(), WriteError>>;

fn disk(bytes: &[u8]) -> Result<DiskId, Refusal> {
    let id = bytes.try_into().map_err(|_| Refusal::Malformed(format!("a disk id of {} bytes", bytes.len())))?;
    Ok(DiskId(id))
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
