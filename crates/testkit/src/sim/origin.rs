//! Where a reply of the simulation comes from: which node gave it, in which role and when. The front end sends this
//! before every reply, so that the ledger can judge the reply.
//!
//! It travels as a simple string and is not part of the tested protocol.

use std::time::Duration;

use fastness_types::{Durability, Epoch, LogIndex, NodeId};

/// Where a reply comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyOrigin {
    /// The node that gave the reply.
    pub node: NodeId,
    /// Number of the node's start in which it gave the reply.
    pub life: u64,
    /// Whether the node was the primary when the command ran.
    pub primary: bool,
    /// The epoch that the node led, or whose entries it had applied, when the command ran.
    pub epoch: Epoch,
    /// The durability mode in force on the node then.
    pub mode: Durability,
    /// The version of the desired mode that had committed on the node then; 0: none.
    pub version: u64,
    /// The index that the node had applied then.
    pub applied: LogIndex,
    /// When the reply left, in simulated time.
    pub left: Duration,
}

/// One node's time as the primary of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenureId {
    /// The epoch.
    pub epoch: Epoch,
    /// Number of the node's start; a node that restarts leads in a new epoch.
    pub life: u64,
}

const MARK: &str = "@";

impl ReplyOrigin {
    /// The tenure in which the reply was given.
    #[must_use]
    pub fn tenure(&self) -> TenureId {
        TenureId { epoch: self.epoch, life: self.life }
    }

    /// The wire form, without the time at which the reply leaves: the sender does not know it yet.
    #[must_use]
    pub fn encode(&self) -> String {
        let ReplyOrigin { node, life, primary, epoch, mode, version, applied, left: _ } = self;
        let (term, leader) = (epoch.term, epoch.node);
        let (primary, mode) = (u8::from(*primary), *mode as u8);
        format!("{MARK}{node} {life} {primary} {term} {leader} {mode} {version} {}", applied.0)
    }

    /// Decodes the wire form of the origin of a reply that left at this time. `None`: the text is something else.
    #[must_use]
    pub fn decode(text: &[u8], left: Duration) -> Option<ReplyOrigin> {
        let text = std::str::from_utf8(text).ok()?.strip_prefix(MARK)?;
        let mut numbers = text.split(' ').map(|number| number.parse::<u64>().ok());
        let mut next = || numbers.next().flatten();
        Some(ReplyOrigin {
            node: NodeId(next()?),
            life: next()?,
            primary: next()? == 1,
            epoch: Epoch { term: next()?, node: NodeId(next()?) },
            mode: Durability::from_number(u8::try_from(next()?).ok()?)?,
            version: next()?,
            applied: LogIndex(next()?),
            left,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_decoded_as_it_was_encoded() {
        let origin = ReplyOrigin {
            node: NodeId(3),
            life: 2,
            primary: true,
            epoch: Epoch { term: 9, node: NodeId(1) },
            mode: Durability::Async,
            version: 4,
            applied: LogIndex(77),
            left: Duration::from_nanos(1_234_567),
        };
        assert_eq!(ReplyOrigin::decode(origin.encode().as_bytes(), origin.left), Some(origin));
        assert_eq!(ReplyOrigin::decode(b"OK", origin.left), None);
    }
}
