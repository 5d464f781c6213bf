//! Which node owns which slot, according to `CLUSTER SLOTS`.

use std::collections::BTreeMap;
use std::time::Duration;

use fastness_resp::value::Value;
use fastness_types::{SLOTS, Slot};

use crate::connection::{Connection, Endpoint, IoError, Login};

/// The owners of all slots at one moment.
#[derive(Debug, Clone)]
pub struct Topology {
    primaries: Vec<Endpoint>,
    replicas: Vec<Vec<Endpoint>>,
    by_slot: Vec<Option<u16>>,
}

/// Why no topology could be read.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// No seed answered; contains the error of the last one.
    #[error("no seed answered CLUSTER SLOTS; the last error: {0}")]
    Unreachable(String),
    /// A seed answered, but not every slot has a primary.
    #[error("not every slot has a primary")]
    Incomplete,
}

impl Topology {
    /// Asks the seeds in turn until one answers with at least one slot range.
    ///
    /// # Errors
    /// If none of them does.
    pub async fn read(seeds: &[Endpoint], login: &Login, timeout: Duration) -> Result<Topology, TopologyError> {
        let mut last = String::from("there are no seeds");
        for seed in seeds {
            match Topology::read_one(seed, login, timeout).await {
                Ok(Some(topology)) => return Ok(topology),
                Ok(None) => last = format!("{seed}: no slots are served"),
                Err(error) => last = format!("{seed}: {error}"),
            }
        }
        Err(TopologyError::Unreachable(last))
    }

    async fn read_one(seed: &Endpoint, login: &Login, timeout: Duration) -> Result<Option<Topology>, IoError> {
        let mut connection = Connection::open_as(seed, login, timeout).await?;
        let reply = connection.call(&[b"CLUSTER", b"SLOTS"]).await?;
        Ok(Topology::parse(&reply, seed))
    }

    fn parse(reply: &Value, seed: &Endpoint) -> Option<Topology> {
        let Value::Array(ranges) = reply else { return None };
        let mut topology = Topology { primaries: Vec::new(), replicas: Vec::new(), by_slot: vec![None; SLOTS] };
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [Value::Integer(first), Value::Integer(last), primary, replicas @ ..] = parts.as_slice() else {
                return None;
            };
            let shard = u16::try_from(topology.primaries.len()).ok()?;
            topology.primaries.push(parse_node(primary, seed)?);
            topology.replicas.push(replicas.iter().filter_map(|r| parse_node(r, seed)).collect());
            for slot in *first..=*last {
                *topology.by_slot.get_mut(usize::try_from(slot).ok()?)? = Some(shard);
            }
        }
        (!topology.primaries.is_empty()).then_some(topology)
    }

    /// The primary of a slot.
    #[must_use]
    pub fn primary(&self, slot: Slot) -> Option<&Endpoint> {
        self.by_slot[usize::from(slot.0)].map(|shard| &self.primaries[usize::from(shard)])
    }

    /// The shard of each slot, numbered from 0 in the order of the slots; `None` where no node serves it.
    #[must_use]
    pub fn shards_by_slot(&self) -> Vec<Option<usize>> {
        let mut numbers = BTreeMap::new();
        let mut number = |range: u16| {
            let next = numbers.len();
            *numbers.entry(range).or_insert(next)
        };
        self.by_slot.iter().map(|range| range.map(&mut number)).collect()
    }

    /// All nodes with a copy of a slot, the primary first.
    #[must_use]
    pub fn copies(&self, slot: Slot) -> Vec<Endpoint> {
        let Some(shard) = self.by_slot[usize::from(slot.0)].map(usize::from) else { return Vec::new() };
        std::iter::once(&self.primaries[shard]).chain(&self.replicas[shard]).cloned().collect()
    }

    /// All primaries, one for each slot range.
    #[must_use]
    pub fn primaries(&self) -> &[Endpoint] {
        &self.primaries
    }

    /// The replicas of each slot range, in the order of [`Topology::primaries`].
    #[must_use]
    pub fn replicas(&self) -> &[Vec<Endpoint>] {
        &self.replicas
    }
}

fn parse_node(node: &Value, seed: &Endpoint) -> Option<Endpoint> {
    let Value::Array(parts) = node else { return None };
    let [host, Value::Integer(port), ..] = parts.as_slice() else { return None };
    let host = match host {
        Value::Bulk(name) if !name.is_empty() => String::from_utf8(name.to_vec()).ok()?,
        _ => seed.host.clone(),
    };
    Some(Endpoint { host, port: u16::try_from(*port).ok()? })
}
