//! What one frame shows, computed from the last reports alone: a figure that no node has reported is missing.

use std::collections::BTreeSet;

use fastness_wire::admin::v1::{NodeSpec, ReplicaFigures, ReplicaStatus, ShardStatus, ShowFiguresResponse};
use serde::Serialize;

use super::journal_cursor::{NodeEvent, value_text};
use super::measure::{per_second, percentile_us};
use super::text::printable;
use super::views::{mode_of, primary_of};
use super::watched::{ClusterWatch, number_of};

/// How many events and slow commands a frame may show.
const EVENTS_MAX: usize = 200;
const SLOW_COMMANDS_MAX: usize = 50;

/// A cluster at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overview {
    /// When, in ms since the Unix epoch, on the clock of this machine.
    pub at_ms: u64,
    /// The cluster.
    pub cluster_id: String,
    /// The desired durability mode.
    pub durability: String,
    /// The version of the map.
    pub map_version: u64,
    /// A replacement in progress, faults of a lab: whatever explains the rest.
    pub notices: Vec<String>,
    /// The AZs, in order.
    pub zones: Vec<ZoneLine>,
    /// The nodes, by AZ.
    pub nodes: Vec<NodeLine>,
    /// The shards.
    pub shards: Vec<ShardLine>,
    /// Slow commands of all replicas that answer, the newest first.
    pub slow_commands: Vec<SlowLine>,
    /// Events of all nodes, the newest first.
    pub events: Vec<EventLine>,
}

/// An AZ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ZoneLine {
    /// Its name.
    pub name: String,
    /// Whether none of its nodes answers.
    pub down: bool,
}

/// A node.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NodeLine {
    /// Its id.
    pub node: u64,
    /// Its AZ.
    pub az: String,
    /// Whether it answers; `None`: it was not polled yet.
    pub up: Option<bool>,
    /// When it has last answered, in ms since the Unix epoch.
    pub seen_ms: Option<u64>,
    /// Since when its peers cannot reach it, in ms since the Unix epoch.
    pub unreachable_since_ms: Option<u64>,
    /// Why it does not answer.
    pub reason: Option<String>,
    /// How many shards it is the primary of.
    pub primaries: usize,
    /// Commands per second of its replicas.
    pub ops: Option<f64>,
    /// Connections of clients.
    pub connections: Option<u64>,
    /// Resident memory of its process.
    pub resident_bytes: Option<u64>,
    /// How long its process runs.
    pub uptime_ms: Option<u64>,
    /// Its version.
    pub version: Option<String>,
}

/// What a member of a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyRole {
    /// It leads and holds the lease.
    Primary,
    /// It leads without a lease, so it serves nothing.
    Leader,
    /// It follows.
    Replica,
    /// It has no vote.
    Learner,
    /// It has not caught up yet.
    Loading,
    /// It has stopped because of an error.
    Stopped,
    /// Its node does not answer.
    Down,
    /// It is not known.
    Unknown,
}

/// A member of a shard.
#[derive(Debug, Clone, Serialize)]
pub struct CopyLine {
    /// Its node.
    pub node: u64,
    /// The node's AZ.
    pub az: String,
    /// Its role.
    pub role: CopyRole,
    /// Its term.
    pub term: Option<u64>,
    /// Its applied log position.
    pub applied: Option<u64>,
    /// How many log positions it has applied less than the member that has applied most.
    pub behind: Option<u64>,
    /// Commands per second.
    pub ops: Option<f64>,
    /// Connections of clients.
    pub clients: Option<u64>,
    /// Memory that counts against `maxmemory`.
    pub memory_bytes: Option<u64>,
}

/// The durability lag of a shard's primary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LagLine {
    /// The lag.
    pub lag_us: u64,
    /// Age of the oldest uncommitted effect, in any mode.
    pub oldest_us: u64,
    /// Writes are refused from here on, in `async`.
    pub bound_us: u64,
    /// How writes are treated: open, slowing or closed.
    pub gate: String,
    /// Writes refused per second.
    pub refused: Option<f64>,
}

/// A slot and its keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FullSlotLine {
    /// The slot.
    pub slot: u32,
    /// Its keys.
    pub keys: u64,
}

/// A shard.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ShardLine {
    /// Its number.
    pub shard: u32,
    /// Its slots.
    pub slots: [u32; 2],
    /// The mode in force.
    pub durability: Option<String>,
    /// The node of its primary.
    pub primary: Option<u64>,
    /// Its members.
    pub copies: Vec<CopyLine>,
    /// The primary's lag.
    pub lag: Option<LagLine>,
    /// Commit times of the primary since the sample before: upper bounds.
    pub commit_p50_us: Option<u64>,
    /// The same.
    pub commit_p99_us: Option<u64>,
    /// How many voters that answer could fail before no write commits.
    pub quorum_margin: Option<i64>,
    /// Commands per second, of all replicas that answer.
    pub ops: Option<f64>,
    /// Of the primary: keys, memory that counts against `maxmemory`, and that bound.
    pub keys: Option<u64>,
    /// See `keys`.
    pub memory_bytes: Option<u64>,
    /// See `keys`; 0: none.
    pub memory_max_bytes: Option<u64>,
    /// The primary's slots with the most keys.
    pub fullest_slots: Vec<FullSlotLine>,
}

/// A slow command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlowLine {
    /// When, in ms since the Unix epoch.
    pub at_ms: u64,
    /// Where.
    pub node: u64,
    /// The shard.
    pub shard: u32,
    /// How long it took.
    pub duration_us: u64,
    /// Its name.
    pub command: String,
    /// How many arguments it had.
    pub arguments: u64,
    /// Address of the client.
    pub client: String,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventLine {
    /// When, in ms since the Unix epoch, on the clock of its node.
    pub at_ms: u64,
    /// The node that has recorded it.
    pub node: u64,
    /// The shard; 0: the control plane.
    pub shard: Option<u64>,
    /// Its kind.
    pub kind: String,
    /// INFO, WARN or ERROR.
    pub level: String,
    /// Its other fields.
    pub details: String,
}

impl Overview {
    /// Of what is known now.
    #[must_use]
    pub fn of(watched: &ClusterWatch, at_ms: u64) -> Overview {
        let map = watched.map();
        let mut specs: Vec<&NodeSpec> = map.nodes.iter().collect();
        specs.sort_by(|a, b| (&a.az, a.id).cmp(&(&b.az, b.id)));
        let nodes: Vec<_> = specs.iter().map(|spec| node_line(watched, spec)).collect();
        let shards = map.shards.iter().map(|shard| shard_line(watched, shard)).collect();
        Overview {
            at_ms,
            cluster_id: map.cluster_id.clone(),
            durability: map.durability.clone(),
            map_version: map.map_version,
            notices: notices(watched),
            zones: zones(&nodes),
            nodes,
            shards,
            slow_commands: slow_lines(watched),
            events: watched.events().rev().take(EVENTS_MAX).map(event_line).collect(),
        }
    }
}

fn zones(nodes: &[NodeLine]) -> Vec<ZoneLine> {
    let names: BTreeSet<&String> = nodes.iter().map(|node| &node.az).collect();
    let down = |name: &str| nodes.iter().filter(|node| node.az == name).all(|node| node.up == Some(false));
    names.into_iter().map(|name| ZoneLine { name: name.clone(), down: down(name) }).collect()
}

fn notices(watched: &ClusterWatch) -> Vec<String> {
    let mut notices = Vec::new();
    if let Some(replacement) = &watched.map().replacement {
        let leaving: Vec<_> = replacement.leaving.iter().map(u64::to_string).collect();
        notices.push(format!("node {} is replacing node {}", replacement.by, leaving.join(" and ")));
    }
    for (node, view) in watched.views() {
        let faults = view.iter().flat_map(|view| &view.lab_faults);
        notices.extend(faults.map(|fault| format!("LAB: node {node} has a fault: {}", printable(fault))));
    }
    notices
}

fn node_line(watched: &ClusterWatch, spec: &NodeSpec) -> NodeLine {
    let polled = watched.node(spec.id);
    let is_up = watched.view(spec.id).is_some();
    let figures = polled.and_then(|polled| polled.figures[1].as_ref());
    let shards = figures.iter().flat_map(|figures| &figures.replicas).map(|replica| replica.shard);
    NodeLine {
        node: spec.id,
        az: printable(&spec.az),
        up: polled.map(|_| is_up),
        seen_ms: polled.and_then(|polled| polled.seen_ms),
        unreachable_since_ms: watched.unreachable_since_ms(spec.id),
        reason: polled.and_then(|polled| polled.silent.as_deref()).map(printable),
        primaries: watched
            .map()
            .shards
            .iter()
            .filter(|shard| primary_of(shard.id, watched.views()) == Some(spec.id))
            .count(),
        ops: sum(shards.map(|shard| ops(watched, spec.id, shard))),
        connections: figures.map(|figures| figures.client_connections),
        resident_bytes: figures.map(|figures| figures.resident_bytes),
        uptime_ms: figures.map(|figures| figures.uptime_ms),
        version: figures.map(|figures| printable(&figures.version)),
    }
}

/// The sum of the figures that are known; `None`: none is.
fn sum(figures: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    figures.flatten().fold(None, |sum, figure| Some(sum.unwrap_or(0.0) + figure))
}

/// The figures of a replica in one response.
fn of_shard(figures: Option<&ShowFiguresResponse>, shard: u32) -> Option<&ReplicaFigures> {
    figures?.replicas.iter().find(|replica| replica.shard == shard)
}

/// The figures of a replica in the last two responses, and the time between them in ms. `None` unless both are of the
/// same process.
fn pair(watched: &ClusterWatch, node: u64, shard: u32) -> Option<(&ReplicaFigures, &ReplicaFigures, u64)> {
    let [before, after] = &watched.node(node)?.figures;
    let (before, after) = (before.as_ref()?, after.as_ref()?);
    let span_ms = after.uptime_ms.checked_sub(before.uptime_ms).filter(|_| before.run_id == after.run_id)?;
    Some((of_shard(Some(before), shard)?, of_shard(Some(after), shard)?, span_ms))
}

/// Commands per second of a replica.
fn ops(watched: &ClusterWatch, node: u64, shard: u32) -> Option<f64> {
    let (before, after, span_ms) = pair(watched, node, shard)?;
    per_second(before.commands, after.commands, span_ms)
}

fn shard_line(watched: &ClusterWatch, shard: &ShardStatus) -> ShardLine {
    let primary = primary_of(shard.id, watched.views());
    let newest = primary.and_then(|node| of_shard(watched.node(node)?.figures[1].as_ref(), shard.id));
    let pair = primary.and_then(|node| pair(watched, node, shard.id));
    let commits =
        |share| pair.and_then(|(before, after, _)| percentile_us(&before.commit_counts, &after.commit_counts, share));
    ShardLine {
        shard: shard.id,
        slots: [shard.slot_first, shard.slot_last],
        durability: mode_of(shard.id, watched.views()).map(printable),
        primary,
        copies: copies(watched, shard, primary),
        lag: newest.map(|figures| LagLine {
            lag_us: figures.durability_lag_us,
            oldest_us: figures.oldest_uncommitted_effect_us,
            bound_us: figures.durability_max_lag_us,
            gate: printable(&figures.lag_gate),
            refused: pair
                .and_then(|(before, after, span_ms)| per_second(before.writes_refused, after.writes_refused, span_ms)),
        }),
        commit_p50_us: commits(0.5),
        commit_p99_us: commits(0.99),
        quorum_margin: newest.and_then(|figures| figures.quorum_margin),
        ops: sum(shard.members.iter().map(|node| ops(watched, *node, shard.id))),
        keys: newest.map(|figures| figures.keys),
        memory_bytes: newest.map(|figures| figures.memory_bytes),
        memory_max_bytes: newest.map(|figures| figures.memory_max_bytes),
        fullest_slots: newest
            .iter()
            .flat_map(|figures| &figures.slots)
            .map(|slot| FullSlotLine { slot: slot.slot, keys: slot.keys })
            .collect(),
    }
}

fn copies(watched: &ClusterWatch, shard: &ShardStatus, primary: Option<u64>) -> Vec<CopyLine> {
    let status = |node: u64| watched.view(node)?.replicas.iter().find(|replica| replica.shard == shard.id);
    let most = shard.members.iter().filter_map(|node| Some(status(*node)?.applied)).max();
    let of_node = |node: &u64| {
        let (status, polled) = (status(*node), watched.node(*node));
        let figures = polled.and_then(|polled| of_shard(polled.figures[1].as_ref(), shard.id));
        let spec = watched.map().nodes.iter().find(|spec| spec.id == *node);
        CopyLine {
            node: *node,
            az: spec.map_or_else(String::new, |spec| printable(&spec.az)),
            role: match status {
                Some(status) => role(status, primary == Some(*node)),
                None if polled.is_some_and(|polled| polled.silent.is_some()) => CopyRole::Down,
                None => CopyRole::Unknown,
            },
            term: status.map(|status| status.term),
            applied: status.map(|status| status.applied),
            behind: status.and_then(|status| most?.checked_sub(status.applied)),
            ops: ops(watched, *node, shard.id),
            clients: figures.map(|figures| figures.clients),
            memory_bytes: figures.map(|figures| figures.memory_bytes),
        }
    };
    shard.members.iter().map(of_node).collect()
}

fn role(status: &ReplicaStatus, is_primary: bool) -> CopyRole {
    match status.role.as_str() {
        "leader" if is_primary => CopyRole::Primary,
        "leader" => CopyRole::Leader,
        "learner" => CopyRole::Learner,
        "stopped" => CopyRole::Stopped,
        "follower" if !status.ready => CopyRole::Loading,
        "follower" => CopyRole::Replica,
        _ => CopyRole::Unknown,
    }
}

fn slow_lines(watched: &ClusterWatch) -> Vec<SlowLine> {
    let nodes = watched.views().iter().filter_map(|(node, _)| Some((*node, watched.node(*node)?.figures[1].as_ref()?)));
    let replicas = nodes.flat_map(|(node, figures)| figures.replicas.iter().map(move |replica| (node, replica)));
    let line = |node, shard, slow: &fastness_wire::admin::v1::SlowCommand| SlowLine {
        at_ms: slow.at_s * 1_000,
        node,
        shard,
        duration_us: slow.duration_us,
        command: printable(&slow.command),
        arguments: slow.arguments,
        client: printable(&slow.client),
    };
    let mut lines: Vec<_> = replicas
        .flat_map(|(node, replica)| replica.slow_commands.iter().map(move |slow| line(node, replica.shard, slow)))
        .collect();
    lines.sort_by_key(|slow| std::cmp::Reverse((slow.at_ms, slow.duration_us)));
    lines.truncate(SLOW_COMMANDS_MAX);
    lines
}

fn event_line(seen: &NodeEvent) -> EventLine {
    let event = &seen.event;
    let fields = event.fields.iter().filter(|field| field.name != "shard");
    let details: Vec<_> = fields.map(|field| format!("{}={}", field.name, value_text(field.value.as_ref()))).collect();
    EventLine {
        at_ms: event.at_ms,
        node: seen.node,
        shard: number_of(seen, "shard"),
        kind: printable(&event.kind),
        level: event.level.clone(),
        details: printable(&details.join(" ")),
    }
}

#[cfg(test)]
mod tests;
