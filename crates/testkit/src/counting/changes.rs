//! What a watch shows of counters.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use fastness_client::{ChangedValue, WatchChange, WatchEvent};

use crate::watching::ShownChanges;

/// The newest value of a counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Newest {
    value: u64,
    /// Number of purges before this value was shown.
    purged: u64,
}

/// The newest values that a watch has shown.
pub(super) struct CounterChanges {
    newest: BTreeMap<Bytes, Newest>,
    may_miss: bool,
    purged: u64,
}

impl CounterChanges {
    /// `may_miss`: whether changes may be purged before they are shown.
    pub(super) fn new(may_miss: bool) -> CounterChanges {
        CounterChanges { newest: BTreeMap::new(), may_miss, purged: 0 }
    }

    /// How often the watch has reported that changes were purged.
    pub(super) fn purged(&self) -> u64 {
        self.purged
    }

    /// A counter whose stored value is not the newest one that was shown. After a purge the newest value may be missing
    /// until the counter changes again.
    pub(super) fn difference(&self, stored: &BTreeMap<Bytes, u64>) -> Option<String> {
        stored.iter().find_map(|(key, stored)| {
            let Newest { value, purged } = self.newest.get(key).copied().unwrap_or_default();
            let agrees = value == *stored || value < *stored && purged < self.purged;
            (!agrees).then(|| format!("{key:?}: {value} was shown last, {stored} is stored"))
        })
    }

    fn set(&mut self, key: Bytes, value: u64) -> Result<()> {
        let before = self.newest.get(&key).copied().unwrap_or_default();
        let follows = value == before.value + 1 || value > before.value && before.purged < self.purged;
        ensure!(follows, "{key:?}: {value} was shown after {}: something is missed or doubled", before.value);
        self.newest.insert(key, Newest { value, purged: self.purged });
        Ok(())
    }
}

impl ShownChanges for CounterChanges {
    fn add(&mut self, event: WatchEvent) -> Result<()> {
        for change in event.changes {
            let WatchChange::StringSet { key, value: ChangedValue::Value(value), .. } = change else {
                bail!("{}: {change:?}", event.position)
            };
            let number = std::str::from_utf8(&value)?.parse().with_context(|| format!("{key:?}: {value:?}"))?;
            self.set(key, number).with_context(|| format!("at {}", event.position))?;
        }
        Ok(())
    }

    fn start_anew(&mut self) -> Result<()> {
        ensure!(self.may_miss, "changes were purged, although the log is kept");
        self.purged += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[u64]) -> CounterChanges {
        let mut shown = CounterChanges::new(true);
        values.iter().for_each(|value| shown.set("c".into(), *value).unwrap());
        shown
    }

    #[test]
    fn each_value_is_shown_once() {
        let mut shown = with(&[1, 2]);
        for wrong in [1, 2, 4] {
            assert!(shown.set("c".into(), wrong).is_err(), "{wrong} after 2");
        }
        shown.set("c".into(), 3).unwrap();
        assert!(shown.set("d".into(), 2).is_err(), "1 is missed");
    }

    #[test]
    fn after_a_purge_values_may_be_missed_and_none_goes_back() {
        let mut shown = with(&[1, 2, 3]);
        shown.start_anew().unwrap();
        let stored = |value| BTreeMap::from([(Bytes::from("c"), value)]);
        assert_eq!(shown.difference(&stored(7)), None);
        assert!(shown.set("c".into(), 3).is_err());
        shown.set("c".into(), 9).unwrap();
        assert!(shown.set("c".into(), 11).is_err(), "10 is missed");
        assert_eq!((shown.difference(&stored(9)), shown.purged()), (None, 1));
        assert!(shown.difference(&stored(10)).is_some() && shown.difference(&stored(8)).is_some());
        assert!(CounterChanges::new(false).start_anew().is_err());
    }
}
