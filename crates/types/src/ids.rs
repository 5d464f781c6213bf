//! Identifiers of nodes, shards, groups, disks and positions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Id of a node: one process, labelled with one AZ. Never reused for another disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub u64);

/// Id of a shard, which is a slot range and its Raft group. Counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// Id of a Raft group: [`GroupId::CONTROL`] or a shard's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

impl GroupId {
    /// Raft group 0, the control plane.
    pub const CONTROL: GroupId = GroupId(0);
}

impl From<ShardId> for GroupId {
    fn from(shard: ShardId) -> Self {
        GroupId(shard.0)
    }
}

/// A position in one group's log. Consensus decides whether the first entry has index 1 or 0. A position before the
/// first entry is written as `Option<LogIndex>`, not as `LogIndex(0)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogIndex(pub u64);

/// Number of a batch among the batches of its epoch, from 1, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The next number.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

/// The leader id under which batches are staged. A term has one leader, so terms order epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch {
    /// Raft term.
    pub term: u64,
    /// The leader of that term.
    pub node: NodeId,
}

/// Name of an availability zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Az(pub Arc<str>);

impl fmt::Display for Az {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Az {
    fn from(name: &str) -> Self {
        Az(name.into())
    }
}

/// Id of a cluster, drawn when the cluster is created; every node's certificate contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

/// Id of one disk of a node, drawn at random when its log is created. A node is a member of the cluster with one disk:
/// on any other one, for example an empty one, it is not that member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DiskId(pub [u8; 16]);

/// The secret seed of the keyspace's hash. There is one per cluster (in group 0), so that SCAN cursors survive a
/// failover.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashSeed(pub [u8; 16]);

impl fmt::Debug for HashSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashSeed(secret)")
    }
}

fn hex16(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex16(&self.0, f)
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected 32 hexadecimal digits")
    }
}

impl std::error::Error for NotAnId {}

fn from_hex16(s: &str) -> Result<[u8; 16], NotAnId> {
    if s.len() != 32 || !s.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(NotAnId);
    }
    let mut id = [0u8; 16];
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&s[2 * i..2 * i + 2], 16).map_err(|_| NotAnId)?;
    }
    Ok(id)
}

impl FromStr for ClusterId {
    type Err = NotAnId;
    fn from_str(s: &str) -> Result<Self, NotAnId> {
        from_hex16(s).map(ClusterId)
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex16(&self.0, f)
    }
}

impl FromStr for DiskId {
    type Err = NotAnId;
    fn from_str(s: &str) -> Result<Self, NotAnId> {
        from_hex16(s).map(DiskId)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.term, self.node)
    }
}
