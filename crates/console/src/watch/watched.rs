//! What is known of a cluster from the reports of its nodes: the newest of each, and the one before for rates.

use std::collections::{BTreeMap, VecDeque};

use fastness_wire::admin::v1::event_field::Value;
use fastness_wire::admin::v1::{DescribeClusterResponse, ShowFiguresResponse};

use super::journal_cursor::NodeEvent;
use super::sample::{NodeReport, NodeSample, Polled};

/// How many events are kept.
const EVENTS_MAX: usize = 1000;

/// A node as it was polled last.
#[derive(Debug, Clone, Default)]
pub struct WatchedNode {
    /// When it has last answered, in ms since the Unix epoch on the clock of this machine.
    pub seen_ms: Option<u64>,
    /// Why it does not answer; `None`: it does, or it was not polled yet.
    pub silent: Option<String>,
    /// Its figures of the last two polls, the older ones first, if it has answered both.
    pub figures: [Option<ShowFiguresResponse>; 2],
}

/// What is known of a cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterWatch {
    /// The newest map that a node has reported.
    map: DescribeClusterResponse,
    /// The nodes of the map, each with its last report if it answers.
    views: Vec<(u64, Option<DescribeClusterResponse>)>,
    nodes: BTreeMap<u64, WatchedNode>,
    /// The newest events of all nodes, in the order of their times.
    events: VecDeque<NodeEvent>,
    /// By peer and by the node that cannot reach it: since when, on the clock of that node.
    unreachable: BTreeMap<(u64, u64), u64>,
}

impl ClusterWatch {
    /// A cluster with this map.
    pub fn new(map: DescribeClusterResponse) -> ClusterWatch {
        let mut watched = ClusterWatch::default();
        watched.follow(&map);
        watched
    }

    /// The newest map.
    pub fn map(&self) -> &DescribeClusterResponse {
        &self.map
    }

    /// The nodes of the map with their last reports.
    pub fn views(&self) -> &[(u64, Option<DescribeClusterResponse>)] {
        &self.views
    }

    /// The last report of a node that answers.
    pub fn view(&self, node: u64) -> Option<&DescribeClusterResponse> {
        self.views.iter().find(|(id, _)| *id == node)?.1.as_ref()
    }

    /// A node as it was polled last.
    pub fn node(&self, node: u64) -> Option<&WatchedNode> {
        self.nodes.get(&node)
    }

    /// The newest events of all nodes, the oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &NodeEvent> {
        self.events.iter()
    }

    /// Since when other nodes that answer cannot reach this one: the earliest of their times.
    pub fn unreachable_since_ms(&self, node: u64) -> Option<u64> {
        let of_peer = self.unreachable.range((node, 0)..=(node, u64::MAX));
        of_peer.filter(|((_, by), _)| self.view(*by).is_some()).map(|(_, at_ms)| *at_ms).min()
    }

    /// Takes in a report.
    pub fn take(&mut self, report: NodeReport) {
        let NodeReport { node, at_ms, polled } = report;
        if let Polled::Answered(sample) = &polled {
            self.follow(&sample.view);
        }
        let Some((_, view)) = self.views.iter_mut().find(|(id, _)| *id == node) else {
            // It has left the cluster meanwhile.
            return;
        };
        let watched = self.nodes.entry(node).or_default();
        let [_, last] = std::mem::take(&mut watched.figures);
        match polled {
            Polled::Answered(sample) => {
                let NodeSample { view: reported, figures, events } = *sample;
                *view = Some(reported);
                (watched.seen_ms, watched.silent, watched.figures) = (Some(at_ms), None, [last, figures]);
                self.note(events);
            }
            Polled::Silent { reason } => {
                *view = None;
                watched.silent = Some(reason);
            }
        }
    }

    /// Takes over a map that is not older, with its nodes.
    fn follow(&mut self, map: &DescribeClusterResponse) {
        if map.map_version == 0 || map.map_version < self.map.map_version {
            return;
        }
        let mut before: BTreeMap<_, _> = std::mem::take(&mut self.views).into_iter().collect();
        self.views = map.nodes.iter().map(|node| (node.id, before.remove(&node.id).flatten())).collect();
        self.nodes.retain(|id, _| map.nodes.iter().any(|node| node.id == *id));
        self.map = map.clone();
    }

    fn note(&mut self, events: Vec<NodeEvent>) {
        for event in events {
            self.note_reachability(&event);
            let is_known = |known: &NodeEvent| {
                (known.node, known.event.number, known.event.at_ms)
                    == (event.node, event.event.number, event.event.at_ms)
            };
            if self.events.iter().any(is_known) {
                continue;
            }
            let place = self.events.partition_point(|known| known.event.at_ms <= event.event.at_ms);
            self.events.insert(place, event);
            if self.events.len() > EVENTS_MAX {
                self.events.pop_front();
            }
        }
    }

    fn note_reachability(&mut self, seen: &NodeEvent) {
        let peer = || number_of(seen, "peer").map(|peer| (peer, seen.node));
        match seen.event.kind.as_str() {
            "peer_unreachable" => self.unreachable.extend(peer().map(|link| (link, seen.event.at_ms))),
            "peer_reached" => drop(peer().and_then(|link| self.unreachable.remove(&link))),
            // Its process before has observed what is known so far.
            "node_started" => self.unreachable.retain(|(_, by), _| *by != seen.node),
            _ => {}
        }
    }
}

/// A field of an event that is a number.
pub fn number_of(seen: &NodeEvent, name: &str) -> Option<u64> {
    let field = seen.event.fields.iter().find(|field| field.name == name)?;
    match field.value {
        Some(Value::UnsignedValue(number)) => Some(number),
        _ => None,
    }
}
