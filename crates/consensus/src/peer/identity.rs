//! Which disk, and which start of the node on it, is on the other side of a stream; and whether it may be listened to.
//!
//! A node is a member of a group **with its disk**: memberships and the cluster's map name both, from the group's first
//! entry on. Every log has a disk id of its own, drawn when it was created, and counts the starts on it; a start also
//! draws a mark. Whoever opens a stream, and whoever takes one, says first which start it is, and what it knows of the
//! listener.
//!
//! - A peer on a disk that is not its member's is refused, in both directions: it neither grants votes nor acknowledges
//!   entries nor counts in a lease. This holds for a wiped disk: it has another id, whatever the node's certificate
//!   says. A stream that is open when a membership says so ends with its next frame.
//! - A peer of which a later start is known, or another start of that count, is refused: it runs on an old copy of its
//!   disk, or two copies run at once. What was heard of a start is on this node's own stable storage before the stream
//!   is used, so a restart does not forget it.
//! - A node that was replaced is refused on whatever disk, once its replacement is complete: until then it may still be
//!   needed where a group has not changed its members yet.
//! - A start counter does not tell a copy that was made **during** the newest start: when it comes back it counts one
//!   more, as the disk itself would. So peers remember, per group, the newest entry that a node has acknowledged **and
//!   that is committed**, and a node whose log ends before it (by the order of log ids: the same rule by which votes
//!   are granted) is refused like an old copy, whatever its count. What is not committed may be cut off by a later
//!   leader, so it does not count. The group's leader knows it at any moment; it tells the other members about once a
//!   second, and all store it with what they know of the peer, when it is convenient: the record may be behind, and
//!   then an old copy that lacks less than that is not noticed.
//! - A node that is told that it is one of these stops for good.
//!
//! What it does not do: stop a node that nobody has told yet. It does no harm: whoever would count its vote or its
//! acknowledgement checks it first.

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

/// Why a peer is not listened to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it claims to be node {0}")]
    OtherNode(u64),
    #[error("it belongs to another cluster")]
    OtherCluster,
    #[error("its hello cannot be understood: {0}")]
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
    #[error("it was replaced by node {0}, and is no member of the cluster any more")]
    Replaced(NodeId),
    #[error("what it says could not be stored: {0}")]
    NotStored(String),
    /// It is this node that must stop, for good.
    #[error("{0}")]
    StopHere(String),
}

/// Who was on the other side when a stream began.
#[derive(Debug)]
pub(crate) struct Admitted {
    disk: DiskId,
    /// Of [`Identities`], when this was looked at last.
    revision: u64,
}

#[derive(Debug, Default)]
struct Known {
    /// The disk with which it is a member, as the newest membership or map says.
    disk: Option<DiskId>,
    /// Its newest start.
    start: Option<Start>,
    /// Whether that is on this node's stable storage.
    saved: bool,
    /// The newest committed entry of each group that it has acknowledged on the disk of that start.
    acknowledged: BTreeMap<GroupId, LogId>,
    /// Those of them are newer than what was last given to the log to store.
    unsaved: bool,
}

pub(crate) struct Identities {
    node: NodeId,
    cluster: ClusterId,
    own: Start,
    log: Log,
    known: Mutex<BTreeMap<NodeId, Known>>,
    /// Nodes that are no members any more, and who has their place.
    replaced: Mutex<BTreeMap<NodeId, NodeId>>,
    /// Raised when the disk of a member is learned, or that one was replaced: streams then look again whom they listen
    /// to.
    revision: AtomicU64,
}

impl Identities {
    /// `mark`: another one for each start of a node. `format`: what this node announces.
    pub(crate) fn new(log: Log, mark: u64, format: FormatLevel) -> Result<Identities, (NodeId, DecodeError)> {
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
            own: Start { disk: identity.disk, count: identity.starts, mark, format },
            log,
            known: Mutex::new(known),
            replaced: Mutex::default(),
            revision: AtomicU64::new(0),
        })
    }

    pub(crate) fn own_disk(&self) -> DiskId {
        self.own.disk
    }

    /// The lowest level that one of these nodes has announced with its newest start; one that was never heard of is at
    /// the first. The levels of peers are stored with their starts, so that a restart does not forget those of a node
    /// that is down.
    pub(crate) fn lowest_format(&self, members: impl IntoIterator<Item = NodeId>) -> FormatLevel {
        let known = self.known.lock();
        let format = |node: NodeId| {
            let start = known.get(&node).and_then(|known| known.start);
            start.map_or(FormatLevel::BASE, |start| start.format)
        };
        let others = members.into_iter().filter(|node| *node != self.node);
        others.map(format).fold(self.own.format, FormatLevel::min)
    }

    /// Takes what a membership or the cluster's map says about members' disks.
    pub(crate) fn expect(&self, members: impl IntoIterator<Item = (NodeId, DiskId)>) {
        let mut known = self.known.lock();
        let mut news = false;
        for (node, disk) in members.into_iter().filter(|(node, _)| *node != self.node) {
            let known = known.entry(node).or_default();
            news |= known.disk.replace(disk) != Some(disk);
        }
        if news {
            self.revision.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes what the cluster's map says about nodes that were replaced, and by whom.
    pub(crate) fn set_replaced(&self, gone: impl IntoIterator<Item = (NodeId, NodeId)>) {
        let mut replaced = self.replaced.lock();
        let before = replaced.len();
        replaced.extend(gone);
        if replaced.len() > before {
            self.revision.fetch_add(1, Ordering::Release);
        }
    }

    /// Who has the place of `peer`, if it was replaced.
    pub(crate) fn replaced_by(&self, peer: NodeId) -> Option<NodeId> {
        self.replaced.lock().get(&peer).copied()
    }

    /// What this node says first on a stream with `peer`.
    pub(crate) fn hello(&self, peer: NodeId) -> Hello {
        let replaced_by = self.replaced_by(peer);
        let known = self.known.lock();
        let known = known.get(&peer);
        let disk = known.and_then(|known| known.disk);
        // Of a start on another disk than the member's the peer is told nothing: it is told of the disk.
        let seen = known.and_then(|known| known.start).filter(|start| disk.is_none_or(|disk| disk == start.disk));
        let bytes = |disk: DiskId| Bytes::copy_from_slice(&disk.0);
        let acknowledged = known.filter(|_| seen.is_some()).map(|known| codec::positions_out(&known.acknowledged));
        Hello {
            node: self.node.0,
            cluster: Bytes::copy_from_slice(&self.cluster.0),
            disk: bytes(self.own.disk),
            start_count: self.own.count,
            start_nonce: self.own.mark,
            listener_disk: disk.map(bytes).unwrap_or_default(),
            listener_start_disk_seen: bytes(seen.map_or(DiskId::default(), |start| start.disk)),
            listener_start_count_seen: seen.map_or(0, |start| start.count),
            listener_start_nonce_seen: seen.map_or(0, |start| start.mark),
            listener_replaced_by: replaced_by.map_or(0, |by| by.0),
            format_level: self.own.format.0,
            listener_acknowledged: acknowledged.unwrap_or_default(),
            log_ends: codec::positions_out(&self.log_ends()),
            log_ends_reported: true,
        }
    }

    /// Where the logs of this node end.
    fn log_ends(&self) -> BTreeMap<GroupId, LogId> {
        let end = |group: GroupId| {
            let last = self.log.group(group).state().last?;
            Some((group, LogId::new(Epoch { term: last.term, node: NodeId(last.node) }, last.index)))
        };
        self.log.groups().into_iter().filter_map(end).collect()
    }

    /// `peer` has acknowledged this entry of a group, and it is committed.
    pub(crate) fn acknowledged(&self, peer: NodeId, group: GroupId, position: LogId) {
        if peer == self.node {
            return;
        }
        let mut known = self.known.lock();
        // Of a peer that has never been heard it is not known on which disk it has done so.
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

    /// Has what peers have acknowledged stored, with the next write of the log.
    pub(crate) fn save_acknowledged(&self) {
        for (peer, known) in self.known.lock().iter_mut().filter(|(_, known)| known.saved) {
            if let Some(start) = known.start
                && std::mem::take(&mut known.unsaved)
            {
                // If it is not stored, the log has failed, and the node ends.
                self.log.save_peer(*peer, codec::encode_stored_peer(&start, &known.acknowledged), |_| {});
            }
        }
    }

    /// Checks what `peer` says first; returns once a start that is news is on this node's stable storage.
    pub(crate) async fn heard(&self, peer: NodeId, hello: &Hello) -> Result<Admitted, Refusal> {
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
        let start = Start { disk: disk(&hello.disk)?, count: hello.start_count, mark: hello.start_nonce, format };
        // Before the check, so that whatever is learned after it counts as news to the stream.
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

    /// Whether the start that a stream began with may still be listened to.
    pub(crate) fn still_trusts(&self, peer: NodeId, heard: &mut Admitted) -> bool {
        let revision = self.revision.load(Ordering::Acquire);
        if revision == heard.revision {
            return true;
        }
        heard.revision = revision;
        if self.replaced_by(peer).is_some() {
            return false;
        }
        self.known.lock().get(&peer).and_then(|known| known.disk).is_none_or(|disk| disk == heard.disk)
    }

    /// What the peer knows of this node.
    fn check_own(&self, peer: NodeId, hello: &Hello) -> Result<(), Refusal> {
        let place = self.log.place();
        if hello.listener_replaced_by != 0 {
            return Err(Refusal::StopHere(replaced(self.node, NodeId(hello.listener_replaced_by), place)));
        }
        if !hello.listener_disk.is_empty() {
            let told = disk(&hello.listener_disk)?;
            if told != self.own.disk && !Plant::WipedDiskAccepted.is_on() {
                return Err(Refusal::StopHere(format!(
                    "{place} is not this node's disk: node {} is a member of the cluster with disk {told}, as node {peer} \
                     knows, and this is disk {}. The folder was wiped or exchanged, or its file system is not mounted. On \
                     this disk the node does not know what it has voted for and acknowledged, so it must not take part. \
                     Give it its own disk back; if that is lost, {}",
                    self.node,
                    self.own.disk,
                    replace(self.node)
                )));
            }
        }
        let told = Start {
            disk: disk(&hello.listener_start_disk_seen)?,
            count: hello.listener_start_count_seen,
            mark: hello.listener_start_nonce_seen,
            format: self.own.format,
        };
        if self.own.is_outdone_by(told) && !Plant::OldDiskAccepted.is_on() {
            return Err(Refusal::StopHere(format!(
                "{place} is an old copy of this node's disk, or two copies run at once: by its own count this is start {}, \
                 but node {peer} has seen another start {}; {}",
                self.own.count,
                told.count,
                replace(self.node)
            )));
        }
        let acknowledged = codec::positions_in(&hello.listener_acknowledged);
        let acknowledged = acknowledged.map_err(|error| Refusal::Malformed(error.to_string()))?;
        if told.disk == self.own.disk
            && let Some((group, acknowledged, end)) = lost(&acknowledged, &self.log_ends())
            && !Plant::OldDiskAccepted.is_on()
        {
            return Err(Refusal::StopHere(format!(
                "{place} is an old copy of this node's disk: as node {peer} knows, this node has acknowledged committed entries of \
                 group {group} up to {acknowledged}, and its log ends at {end}; {}",
                replace(self.node)
            )));
        }
        Ok(())
    }

    /// Takes the peer's start, unless it must not be listened to. Gives what is to be waited for if it is news. `ends`:
    /// where its logs end, if it says so.
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
            known.start.filter(|newest| start.is_outdone_by(*newest) && !Plant::OldDiskAccepted.is_on())
        {
            return Err(Refusal::OldCopy { found: start.count, known: newest.count });
        }
        if known.start.is_some_and(|newest| newest.disk != start.disk) {
            // Another disk has acknowledged nothing yet.
            known.acknowledged.clear();
        }
        if let Some(ends) = ends
            && let Some((group, acknowledged, end)) = lost(&known.acknowledged, ends)
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
        let (tell, written) = oneshot::channel();
        // Under the lock, so that the log has the starts in the order in which memory had them.
        self.log.save_peer(peer, codec::encode_stored_peer(&start, &known.acknowledged), move |outcome| {
            // Whoever waits may have lost patience.
            let _ = tell.send(outcome);
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

/// The first group of which a log ends before what was acknowledged there: what that was, and where it ends, in words.
fn lost(acknowledged: &BTreeMap<GroupId, LogId>, ends: &BTreeMap<GroupId, LogId>) -> Option<(GroupId, String, String)> {
    let told = |id: &LogId| format!("index {} of term {}", id.index, id.leader_id.term);
    acknowledged
        .iter()
        .find(|(group, position)| ends.get(group) < Some(position))
        .map(|(group, position)| (*group, told(position), ends.get(group).map_or_else(|| "nothing".to_owned(), told)))
}

/// What to do about a node whose disk is of no use any more.
fn replace(node: NodeId) -> String {
    format!(
        "replace the node: start a new one with another node id and an empty disk, then \
         `fastness cluster replace-replica --node {node} --with ID`"
    )
}

/// Why a node that was replaced stops.
pub(crate) fn replaced(node: NodeId, by: NodeId, place: &str) -> String {
    format!(
        "node {node} was replaced by node {by} and is no member of the cluster any more: what is in {place} is of no use to it. \
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
