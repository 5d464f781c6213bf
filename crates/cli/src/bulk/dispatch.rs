//! Sends batches of units: to all nodes at once, one pipeline each, until everything is answered.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fastness_resp::request::{ArgSpans, Limits, Parsed, encode, parse};
use fastness_resp::value::Value;
use fastness_types::SLOTS;
use futures::future::join_all;
use tokio::time::Instant;

use crate::access::{Access, AccessError};
use crate::address::Address;
use crate::connection::{Connection, ConnectionError};
use crate::error::CliError;
use crate::format::escape;

use super::slots::SlotMap;
use super::tally::{Failure, Tally};
use super::unit::{Place, Unit};
use super::verdict::Verdict;

/// How long a node may send nothing while replies are missing: longer than the server keeps a reply that waits for its
/// commit.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// The same for the answer to CLUSTER SLOTS: another node is asked then.
const TOPOLOGY_TIME_MAX: Duration = Duration::from_secs(5);
/// How long nothing may be answered before the input is given up.
const RETRY_TIME_MAX: Duration = Duration::from_secs(30);
/// Time between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Connections that were not used for this long are checked before they are used again.
const IDLE: Duration = Duration::from_secs(1);
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";
const OVERTAKEN: &str = "; not sent again, because a later command on the same slot may have been executed";

/// See the module's documentation.
pub struct Dispatcher {
    access: Access,
    /// All nodes that the user has named.
    nodes: Vec<Address>,
    /// Where commands without keys go.
    first: Address,
    map: SlotMap,
    connections: HashMap<Address, Connection>,
    /// The number of the newest unit of each slot that may have been executed.
    executed: Vec<u64>,
    used: Instant,
}

/// What became of a unit that was to be sent.
enum Outcome {
    Answered(Verdict),
    /// The connection failed before the last reply.
    Unknown(String),
    NotSent(String),
}

/// A unit that is to be sent again, and why.
struct Retry {
    unit: Unit,
    reason: String,
}

impl Dispatcher {
    /// Connects to the first node that answers, and reads the topology.
    ///
    /// # Errors
    /// No node answers; the error is that of the first one.
    pub async fn connect(access: Access, nodes: Vec<Address>) -> Result<Dispatcher, AccessError> {
        let mut failed = None;
        for node in &nodes {
            match access.open(node).await {
                Ok(prepared) => {
                    let (first, map) = (node.clone(), SlotMap::whole(node.clone()));
                    let connections = HashMap::from([(first.clone(), prepared.connection)]);
                    let (executed, used) = (vec![0; SLOTS], Instant::now());
                    let mut dispatcher = Dispatcher { access, nodes, first, map, connections, executed, used };
                    dispatcher.refresh().await;
                    return Ok(dispatcher);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or(AccessError::NoAddress))
    }

    /// Sends these units and waits until each is answered, or its outcome is unknown.
    ///
    /// # Errors
    /// [`CliError::GaveUp`]: no node serves commands for a long time.
    pub async fn run(&mut self, units: Vec<Unit>, tally: &mut Tally) -> Result<(), CliError> {
        self.drop_closed().await;
        let (mut pending, mut answered_at) = (units, Instant::now());
        while !pending.is_empty() {
            let count = pending.len();
            let mut moved = Vec::new();
            let retries = self.round(pending, &mut moved, tally).await;
            if retries.len() < count {
                answered_at = Instant::now();
            }
            pending = self.still_in_order(retries, answered_at, tally)?;
            if !pending.is_empty() {
                tokio::time::sleep(RETRY_PAUSE).await;
                self.refresh().await;
                moved.into_iter().for_each(|(slot, node)| self.map.assign(slot, node));
            }
        }
        self.used = Instant::now();
        Ok(())
    }

    async fn drop_closed(&mut self) {
        if self.used.elapsed() < IDLE {
            return;
        }
        for (address, mut connection) in std::mem::take(&mut self.connections) {
            if !connection.is_closed().await {
                self.connections.insert(address, connection);
            }
        }
    }

    /// Sends each unit once. Returns those that were certainly not executed, in the order of the input.
    async fn round(&mut self, units: Vec<Unit>, moved: &mut Vec<(u16, Address)>, tally: &mut Tally) -> Vec<Retry> {
        let mut by_node: BTreeMap<Address, Vec<Unit>> = BTreeMap::new();
        for unit in units {
            by_node.entry(self.node_of(&unit)).or_default().push(unit);
        }
        let access = &self.access;
        let connections = &mut self.connections;
        let exchanges = by_node.into_iter().map(|(node, units)| {
            let connection = connections.remove(&node);
            exchange(access, node, connection, units)
        });
        let mut retries = Vec::new();
        let sent = join_all(exchanges).await;
        for (node, connection, outcomes) in sent {
            self.connections.extend(connection.map(|connection| (node, connection)));
            for (unit, outcome) in outcomes {
                retries.extend(self.settle(unit, outcome, moved, tally));
            }
        }
        retries.sort_by_key(|retry| retry.unit.number);
        retries
    }

    fn node_of(&self, unit: &Unit) -> Address {
        match &unit.place {
            Place::Slot(slot) => self.map.primary(*slot).unwrap_or(&self.first).clone(),
            Place::First => self.first.clone(),
            Place::Node { address, .. } => address.clone(),
        }
    }

    /// Counts what became of a unit; returns it if it is to be sent again.
    fn settle(
        &mut self,
        mut unit: Unit,
        outcome: Outcome,
        moved: &mut Vec<(u16, Address)>,
        tally: &mut Tally,
    ) -> Option<Retry> {
        let usual = unit.slot.map_or(Place::First, Place::Slot);
        match outcome {
            Outcome::NotSent(reason) => {
                unit.place = usual;
                return Some(Retry { unit, reason });
            }
            Outcome::Unknown(reason) => {
                tally.doubt(unit.commands, Failure::new(unit.number, &name(&unit, 0), reason.as_bytes()));
            }
            Outcome::Answered(verdict) => {
                if let Some(again) = verdict.again() {
                    let reason = escape::text(&again.reason);
                    unit.place = match (&again.place, unit.slot) {
                        (Some(Place::Node { address, is_ask: false }), Some(slot)) => {
                            moved.push((slot, address.clone()));
                            usual
                        }
                        (Some(place), _) => place.clone(),
                        (None, _) => usual,
                    };
                    return Some(Retry { unit, reason });
                }
                count(&unit, &verdict, tally);
            }
        }
        if let Some(slot) = unit.slot {
            let executed = &mut self.executed[usize::from(slot)];
            *executed = (*executed).max(unit.number);
        }
        None
    }

    /// The units that can be sent again without being executed after what followed them.
    fn still_in_order(
        &self,
        retries: Vec<Retry>,
        answered_at: Instant,
        tally: &mut Tally,
    ) -> Result<Vec<Unit>, CliError> {
        let given_up = answered_at.elapsed() > RETRY_TIME_MAX;
        let reason = retries.first().map(|retry| retry.reason.clone()).unwrap_or_default();
        let mut units = Vec::new();
        for Retry { unit, reason } in retries {
            let is_ask = matches!(unit.place, Place::Node { is_ask: true, .. });
            let overtaken = unit.slot.is_some_and(|slot| self.executed[usize::from(slot)] > unit.number) && !is_ask;
            if overtaken || given_up {
                let text = if overtaken { reason + OVERTAKEN } else { reason };
                tally.fail(Failure::new(unit.number, &name(&unit, 0), text.as_bytes()));
            } else {
                units.push(unit);
            }
        }
        if given_up && !reason.is_empty() {
            return Err(CliError::GaveUp { seconds: RETRY_TIME_MAX.as_secs(), reason });
        }
        Ok(units)
    }

    /// Reads the topology from the first node that has one. What is known stays if none answers.
    async fn refresh(&mut self) {
        let known = std::iter::once(&self.first).chain(self.map.primaries()).chain(&self.nodes).cloned();
        let mut asked: Vec<Address> = Vec::new();
        for node in known.collect::<Vec<_>>() {
            if asked.contains(&node) {
                continue;
            }
            let connection = match self.connections.remove(&node) {
                Some(connection) => Ok(connection),
                None => self.access.open(&node).await.map(|prepared| prepared.connection),
            };
            let Ok(mut connection) = connection else {
                asked.push(node);
                continue;
            };
            let told = topology(&mut connection).await;
            if let Ok(told) = told {
                self.connections.insert(node.clone(), connection);
                let map = match told {
                    Told::Map(map) => map,
                    Told::Alone => SlotMap::whole(node.clone()),
                    Told::Nothing => {
                        asked.push(node);
                        continue;
                    }
                };
                (self.map, self.first) = (map, node);
                return;
            }
            asked.push(node);
        }
    }
}

/// What a node says of the topology.
enum Told {
    Map(SlotMap),
    /// It is no part of a cluster.
    Alone,
    /// It does not know, at least not now.
    Nothing,
}

async fn topology(connection: &mut Connection) -> Result<Told, ConnectionError> {
    let mut request = Vec::new();
    encode(&["CLUSTER", "SLOTS"], &mut request);
    let (mut reply, from) = (Value::Null, connection.address().clone());
    let receive = connection.exchange([&request[..]], TOPOLOGY_TIME_MAX, |received| {
        reply = received;
        true
    });
    receive.await?;
    if reply.as_error().is_some_and(|text| text.starts_with(b"ERR ")) {
        return Ok(Told::Alone);
    }
    let map = SlotMap::read(&reply, &from).filter(|map| !map.primaries().is_empty());
    Ok(map.map_or(Told::Nothing, Told::Map))
}

/// Sends units to one node.
async fn exchange(
    access: &Access,
    node: Address,
    connection: Option<Connection>,
    units: Vec<Unit>,
) -> (Address, Option<Connection>, Vec<(Unit, Outcome)>) {
    let connection = match connection {
        Some(connection) => Ok(connection),
        None => access.open(&node).await.map(|prepared| prepared.connection),
    };
    let mut connection = match connection {
        Ok(connection) => connection,
        Err(error) => {
            let outcomes = units.into_iter().map(|unit| (unit, Outcome::NotSent(error.to_string())));
            return (node, None, outcomes.collect());
        }
    };
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(units.len());
    let mut open: Option<Verdict> = None;
    let mut is_asked = false;
    let on_reply = |reply: Value| {
        if matches!(reply, Value::Push(_)) {
            return false;
        }
        let unit = &units[verdicts.len()];
        if is_ask(unit) && !is_asked {
            is_asked = true;
            return false;
        }
        let verdict = open.get_or_insert_with(|| Verdict::new(unit.commands));
        if verdict.take(&reply, &node) {
            verdicts.extend(open.take());
            is_asked = false;
        }
        verdicts.len() == units.len()
    };
    let requests = units.iter().flat_map(|unit| [if is_ask(unit) { ASKING } else { &[] }, &unit.bytes[..]]);
    let ended = connection.exchange(requests, SILENCE_MAX, on_reply).await;
    let reason = ended.err().map(|error| format!("{node}: {error}"));
    let mut outcomes: Vec<(Unit, Outcome)> = Vec::with_capacity(units.len());
    let mut verdicts = verdicts.into_iter();
    for unit in units {
        let outcome = match (verdicts.next(), &reason) {
            (Some(verdict), _) => Outcome::Answered(verdict),
            (None, reason) => Outcome::Unknown(reason.clone().unwrap_or_default()),
        };
        outcomes.push((unit, outcome));
    }
    (node, reason.is_none().then_some(connection), outcomes)
}

fn is_ask(unit: &Unit) -> bool {
    matches!(unit.place, Place::Node { is_ask: true, .. })
}

fn count(unit: &Unit, verdict: &Verdict, tally: &mut Tally) {
    tally.replies += unit.commands as u64;
    if verdict.is_unknown() {
        let text = verdict.errors.iter().map(|(_, text)| text.as_slice()).next_back().unwrap_or_default();
        tally.doubt(unit.commands, Failure::new(unit.number, &name(unit, 0), text));
        return;
    }
    for (at, text) in &verdict.errors {
        tally.fail(Failure::new(unit.number + *at as u64, &name(unit, *at), text));
    }
    tally.errors += verdict.more_errors;
}

/// The name of a command of a unit, as it was written.
fn name(unit: &Unit, at: usize) -> Vec<u8> {
    let (mut rest, mut spans) = (&unit.bytes[..], ArgSpans::new());
    for number in 0..=at {
        let Ok(Parsed::Complete { consumed }) = parse(rest, &mut spans, &Limits::DEFAULT) else { break };
        if number == at {
            return spans.args(rest).try_get(0).unwrap_or_default().to_vec();
        }
        rest = &rest[consumed..];
    }
    Vec::new()
}
