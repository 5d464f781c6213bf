//! What the simulation's front end says in front of every reply, so that a client can judge it: who gave it, as what,
//! when.
//!
//! It travels as a simple string before the reply, and is no part of the protocol that is tested.

use std::time::Duration;

use fastness_types::{Durability, Epoch, LogIndex, NodeId};

/// Says where a reply comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyOrigin {
    /// Who answered.
    pub node: NodeId,
    /// Its how-manieth life that was.
    pub life: u64,
    /// Whether it was the primary when the command ran.
    pub primary: bool,
    /// The epoch that it led, or whose entries it had applied, when the command ran.
    pub epoch: Epoch,
    /// Its mode in force then.
    pub mode: Durability,
    /// The desired state whose mode had committed there then; 0: none had.
    pub version: u64,
    /// What it had applied then.
    pub applied: LogIndex,
    /// When the reply left, simulated.
    pub left: Duration,
}

/// One node's time as the primary of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenureId {
    /// The epoch.
    pub epoch: Epoch,
    /// The node's life; a node that restarts leads in a new epoch.
    pub life: u64,
}

const MARK: &str = "@";

impl ReplyOrigin {
    /// The tenure that it is of.
    #[must_use]
    pub fn tenure(&self) -> TenureId {
        TenureId { epoch: self.epoch, life: self.life }
    }

    /// As it travels, without the time at which the reply left: its sender does not know that yet.
    #[must_use]
    pub fn encode(&self) -> String {
        let ReplyOrigin { node, life, primary, epoch, mode, version, applied, left: _ } = self;
        let (term, leader) = (epoch.term, epoch.node);
        let (primary, mode) = (u8::from(*primary), *mode as u8);
        format!("{MARK}{node} {life} {primary} {term} {leader} {mode} {version} {}", applied.0)
    }

    /// Of a reply that left at this time. `None`: it is something else.
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
