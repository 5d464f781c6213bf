//! Places in the logs of shards.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use fastness_wire::v1;

/// A place in the log of a shard. Positions of one shard are ordered as its changes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WatchPosition {
    /// Index of the log entry.
    pub index: u64,
    /// Number of the unit within it, from 1; `u32::MAX`: its end.
    pub unit: u32,
}

impl fmt::Display for WatchPosition {
    /// As `INDEX.UNIT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.unit)
    }
}

impl From<v1::WatchPosition> for WatchPosition {
    fn from(position: v1::WatchPosition) -> WatchPosition {
        WatchPosition { index: position.index, unit: position.unit }
    }
}

impl From<WatchPosition> for v1::WatchPosition {
    fn from(position: WatchPosition) -> v1::WatchPosition {
        v1::WatchPosition { index: position.index, unit: position.unit }
    }
}

/// A position in each shard. As a text: `SHARD:INDEX.UNIT`, separated by blanks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchPositions {
    by_shard: BTreeMap<u32, WatchPosition>,
}

impl WatchPositions {
    /// The position in a shard, if there is one.
    #[must_use]
    pub fn get(&self, shard: u32) -> Option<WatchPosition> {
        self.by_shard.get(&shard).copied()
    }

    /// Sets the position in a shard.
    pub fn set(&mut self, shard: u32, position: WatchPosition) {
        self.by_shard.insert(shard, position);
    }

    /// All of them, by shard.
    pub fn iter(&self) -> impl Iterator<Item = (u32, WatchPosition)> {
        self.by_shard.iter().map(|(shard, position)| (*shard, *position))
    }
}

impl fmt::Display for WatchPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (shard, position)) in self.iter().enumerate() {
            let blank = if at > 0 { " " } else { "" };
            write!(f, "{blank}{shard}:{position}")?;
        }
        Ok(())
    }
}

/// A text that is not one of [`WatchPositions`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not positions of a watch (SHARD:INDEX.UNIT, separated by blanks): {0:?}")]
pub struct ParsePositionsError(String);

impl FromStr for WatchPositions {
    type Err = ParsePositionsError;

    fn from_str(text: &str) -> Result<WatchPositions, ParsePositionsError> {
        let parse = |word: &str| {
            let (shard, position) = word.split_once(':')?;
            let (index, unit) = position.split_once('.')?;
            let position = WatchPosition { index: index.parse().ok()?, unit: unit.parse().ok()? };
            Some((shard.parse().ok()?, position))
        };
        let by_shard = text.split_whitespace().map(parse).collect::<Option<_>>();
        by_shard.map(|by_shard| WatchPositions { by_shard }).ok_or_else(|| ParsePositionsError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn positions_are_a_text_and_back() {
        let text = "1:7.4294967295 3:18446744073709551615.2";
        let positions: WatchPositions = text.parse().unwrap();
        assert_eq!(positions.get(3), Some(WatchPosition { index: u64::MAX, unit: 2 }));
        assert_eq!(positions.get(2), None);
        assert_eq!(positions.to_string(), text);
        assert_eq!("".parse(), Ok(WatchPositions::default()));
        for wrong in ["1", "1:2", "a:1.1", "1:1.1,2:1.1", "1:-1.1", "1:1.4294967296"] {
            assert_eq!(wrong.parse::<WatchPositions>(), Err(ParsePositionsError(wrong.to_owned())));
        }
    }
}
