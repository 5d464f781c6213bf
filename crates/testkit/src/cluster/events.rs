//! The journals of a cluster's nodes, as `fastness cluster events` prints them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Cluster;

/// An event of a node.
#[derive(Debug, Clone)]
pub struct SeenEvent {
    /// The node that has recorded it.
    pub node: u64,
    /// Its number in the node's journal.
    pub number: u64,
    /// When, in ms since the Unix epoch, on the node's clock.
    pub at_ms: u64,
    /// Its kind.
    pub kind: String,
    fields: Value,
}

impl SeenEvent {
    fn parse(line: &str) -> Result<SeenEvent> {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let number = |name: &str| event[name].as_u64().with_context(|| format!("no {name}: {line}"));
        Ok(SeenEvent {
            node: number("node")?,
            number: number("number")?,
            at_ms: number("at_ms")?,
            kind: event["kind"].as_str().with_context(|| format!("no kind: {line}"))?.to_owned(),
            fields: event["fields"].clone(),
        })
    }

    /// A field that is a number.
    #[must_use]
    pub fn number_of(&self, field: &str) -> Option<u64> {
        self.fields[field].as_u64()
    }

    /// A field that is a text.
    #[must_use]
    pub fn text_of(&self, field: &str) -> Option<&str> {
        self.fields[field].as_str()
    }

    /// Whether it is of this kind and these fields have these values.
    #[must_use]
    pub fn is(&self, kind: &str, fields: &[(&str, Value)]) -> bool {
        self.kind == kind && fields.iter().all(|(name, value)| self.fields[name] == *value)
    }
}

impl Cluster {
    /// The journals of all nodes that run, merged by time. `filters`: options of `fastness cluster events`.
    ///
    /// # Errors
    /// If no node answers, or the request is refused.
    pub fn events(&self, filters: &[&str]) -> Result<Vec<SeenEvent>> {
        let arguments: Vec<&str> = ["events", "--json"].into_iter().chain(filters.iter().copied()).collect();
        let printed = self.fastness("cluster", arguments)?;
        printed.lines().map(SeenEvent::parse).collect()
    }

    /// Waits until the journals have an event, and returns it.
    ///
    /// # Errors
    /// If it is not recorded within `patience`: all events that were.
    pub fn wait_for_event(&self, patience: Duration, wanted: impl Fn(&SeenEvent) -> bool) -> Result<SeenEvent> {
        let until = Instant::now() + patience;
        loop {
            let events = self.events(&[])?;
            match events.iter().find(|event| wanted(event)) {
                Some(found) => return Ok(found.clone()),
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(100)),
                None => bail!("the event was not recorded within {patience:?}: {events:#?}"),
            }
        }
    }
}
