//! What can be observed of a lab at one moment, and the table of what a verb has changed.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::anyhow;
use fastness_console::watch::views::{mode_of, primary_of};
use fastness_wire::admin::v1::DescribeClusterResponse;
use fastness_wire::lab::v1::{DiskFault, DiskFaultKind, LinkFault};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::driver::{Driver, LabNode, ProcessState};
use super::faults::{disk_text, link_text};
use crate::table::Table;

/// How long a verb waits for the primaries that the remaining nodes can elect. Less than this is normal; after it the
/// table shows what there is.
const SETTLE_MAX: Duration = Duration::from_secs(15);
/// Time limit for a node to list its faults.
const FAULTS_PATIENCE: Duration = Duration::from_secs(5);
/// Interval between two observations.
const POLL: Duration = Duration::from_millis(100);

/// One node.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// The node.
    pub node: LabNode,
    /// Its process.
    pub process: ProcessState,
    /// Shards of which it is the primary.
    pub leads: Vec<u32>,
    /// Shards of which it is another member.
    pub follows: Vec<u32>,
    /// The fault of its disk.
    pub disk: Option<DiskFault>,
    /// The faults of its links, also healed ones that have affected frames.
    pub links: Vec<LinkFault>,
    /// Why it does not answer, if it should.
    pub error: Option<String>,
}

/// The whole lab.
#[derive(Debug, Clone)]
pub struct LabView {
    /// All nodes, ordered by id.
    pub nodes: Vec<NodeView>,
    /// Members of each shard.
    members: Vec<Vec<u64>>,
    /// The primary of each shard.
    pub primaries: Vec<Option<u64>>,
    /// The durability mode in force on each shard.
    pub modes: Vec<Option<String>>,
}

struct Answer {
    view: Option<DescribeClusterResponse>,
    disk: Option<DiskFault>,
    links: Vec<LinkFault>,
    error: Option<String>,
}

async fn ask(driver: &dyn Driver, node: &LabNode, process: &ProcessState) -> Answer {
    let mut answer = Answer { view: None, disk: None, links: Vec::new(), error: None };
    if !process.may_answer() {
        return answer;
    }
    let faults = tokio::time::timeout(FAULTS_PATIENCE, driver.faults(node));
    let (view, faults) = tokio::join!(driver.admin().describe(&node.grpc), faults);
    let faults = faults.unwrap_or_else(|_| Err(anyhow!("{} did not answer in time", node.grpc)));
    match view {
        Ok(view) => answer.view = Some(view),
        Err(error) => answer.error = Some(format!("{error:#}")),
    }
    match faults {
        Ok(shown) => (answer.disk, answer.links) = (shown.disk, shown.links),
        Err(error) => answer.error = answer.error.or(Some(format!("{error:#}"))),
    }
    answer
}

impl LabView {
    /// Observes every node.
    pub async fn gather(driver: &dyn Driver) -> LabView {
        let nodes: Vec<u64> = driver.nodes().iter().map(|node| node.id).collect();
        LabView::of_nodes(driver, &nodes).await
    }

    /// Observes these nodes only.
    pub async fn of_nodes(driver: &dyn Driver, only: &[u64]) -> LabView {
        let nodes: Vec<&LabNode> = driver.nodes().iter().filter(|node| only.contains(&node.id)).collect();
        let processes: Vec<_> = nodes.iter().map(|node| driver.process(node.id)).collect();
        let asked = nodes.iter().zip(&processes).map(|(node, process)| ask(driver, node, process));
        let mut answers = futures::future::join_all(asked).await;
        let views: Vec<_> =
            nodes.iter().zip(&mut answers).map(|(node, answer)| (node.id, answer.view.take())).collect();
        let shards = 1..=driver.members().len() as u32;
        let primaries: Vec<_> = shards.clone().map(|shard| primary_of(shard, &views)).collect();
        let modes = shards.map(|shard| mode_of(shard, &views).map(str::to_owned)).collect();
        let all = nodes.iter().zip(processes).zip(answers).map(|((node, process), answer)| {
            let has = |shard: &usize| driver.members()[*shard - 1].contains(&node.id);
            let leads = |shard: &usize| primaries[*shard - 1] == Some(node.id);
            let (leads, follows): (Vec<_>, Vec<_>) = (1..=driver.members().len()).filter(has).partition(leads);
            let ids = |shards: Vec<usize>| shards.into_iter().map(|shard| shard as u32).collect();
            let Answer { disk, links, error, .. } = answer;
            NodeView { node: (*node).clone(), process, leads: ids(leads), follows: ids(follows), disk, links, error }
        });
        LabView { nodes: all.collect(), members: driver.members().to_vec(), primaries, modes }
    }

    /// Observes until every shard whose remaining members are a majority has a primary among them, for a bounded time.
    pub async fn settled(driver: &dyn Driver) -> LabView {
        let until = Instant::now() + SETTLE_MAX;
        loop {
            let view = LabView::gather(driver).await;
            if view.is_settled() || Instant::now() >= until {
                return view;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn node(&self, id: u64) -> Option<&NodeView> {
        self.nodes.iter().find(|view| view.node.id == id)
    }

    fn can_lead(&self, id: u64) -> bool {
        let stalls = |disk: &DiskFault| matches!(disk.kind(), DiskFaultKind::Stall | DiskFaultKind::Fill);
        self.node(id).is_some_and(|view| view.process.may_answer() && !view.disk.as_ref().is_some_and(stalls))
    }

    fn is_cut(&self, from: u64, to: u64) -> bool {
        let links = self.node(from).map_or(&[][..], |view| &view.links);
        links.iter().any(|link| link.to_node == to && link.cut())
    }

    fn is_settled(&self) -> bool {
        self.members.iter().zip(&self.primaries).all(|(members, primary)| {
            let reached = |node: u64| {
                let others = members.iter().filter(|other| self.can_lead(**other));
                others.filter(|other| !self.is_cut(node, **other) && !self.is_cut(**other, node)).count()
            };
            let can: BTreeSet<u64> =
                members.iter().copied().filter(|id| self.can_lead(*id) && 2 * reached(*id) > members.len()).collect();
            can.is_empty() || primary.is_some_and(|primary| can.contains(&primary))
        })
    }

    /// The table of the state.
    pub fn table(&self) -> Table {
        let mut table = Table::new(&HEAD);
        self.nodes.iter().for_each(|node| table.row(node.cells()));
        table
    }

    /// The table of the state before and after a verb, and whether anything differs. A cell that has changed contains
    /// both.
    pub fn changes(before: &LabView, after: &LabView) -> (Table, bool) {
        let (mut table, mut changed) = (Table::new(&HEAD), false);
        for (was, is) in before.nodes.iter().zip(&after.nodes) {
            let both = was.cells().into_iter().zip(is.cells());
            table.row(both.map(|(was, is)| {
                changed |= was != is;
                if was == is { is } else { format!("{was} → {is}") }
            }));
        }
        (table, changed)
    }

    /// The state as JSON.
    pub fn json(&self) -> Value {
        let nodes: Vec<Value> = self.nodes.iter().map(NodeView::json).collect();
        json!({ "nodes": nodes, "primaries": self.primaries, "modes": self.modes })
    }
}

const HEAD: [&str; 6] = ["NODE", "AZ", "PROCESS", "PRIMARY OF", "REPLICA OF", "FAULTS"];

impl NodeView {
    fn cells(&self) -> [String; 6] {
        [
            self.node.id.to_string(),
            self.node.az.clone(),
            self.process.to_string(),
            list(&self.leads),
            list(&self.follows),
            self.faults(),
        ]
    }

    /// Whether faults are set, or not known.
    pub fn has_faults(&self) -> bool {
        self.faults() != "-"
    }

    /// The faults that are set, or why they are not known.
    fn faults(&self) -> String {
        if let Some(error) = &self.error {
            return format!("unknown: {error}");
        }
        let disk = self.disk.iter().map(|disk| format!("disk: {}", disk_text(disk)));
        let set = self.links.iter().map(|link| (link.to_node, link_text(link))).filter(|(_, text)| text != "healed");
        let all: Vec<String> = disk.chain(set.map(|(to, text)| format!("link to node {to}: {text}"))).collect();
        if all.is_empty() { "-".to_owned() } else { all.join("; ") }
    }

    fn json(&self) -> Value {
        let disk = self.disk.as_ref().map(|disk| json!({ "fault": disk_text(disk), "met": disk.met }));
        let link = |link: &LinkFault| {
            json!({
                "to": link.to_node, "cut": link.cut(), "delay_ms": link.delay_ms(), "drop_percent": link.drop_percent(),
                "rate_bytes_per_second": link.rate_bytes_per_second(), "met": link.met,
            })
        };
        json!({
            "node": self.node.id, "az": self.node.az, "process": self.process.to_string(), "primary_of": self.leads,
            "replica_of": self.follows, "disk": disk, "links": self.links.iter().map(link).collect::<Vec<_>>(),
            "error": self.error,
        })
    }
}

fn list(shards: &[u32]) -> String {
    let list: Vec<_> = shards.iter().map(u32::to_string).collect();
    if list.is_empty() { "-".to_owned() } else { list.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, leads: &[u32]) -> NodeView {
        NodeView {
            node: LabNode { id, az: "abc"[id as usize - 1..id as usize].to_owned(), grpc: String::new() },
            process: ProcessState::Running(format!("pid {id}0")),
            leads: leads.to_vec(),
            follows: Vec::new(),
            disk: None,
            links: Vec::new(),
            error: None,
        }
    }

    fn lab(primary: Option<u64>) -> LabView {
        LabView {
            nodes: (1..=3).map(|id| node(id, if primary == Some(id) { &[1] } else { &[] })).collect(),
            members: vec![vec![1, 2, 3]],
            primaries: vec![primary],
            modes: vec![None],
        }
    }

    fn cut(view: &mut LabView, from: u64, to: u64) {
        let fault = LinkFault { to_node: to, cut: Some(true), ..LinkFault::default() };
        view.nodes[from as usize - 1].links.push(fault);
    }

    #[test]
    fn a_lab_is_settled_once_the_majority_that_is_left_has_a_primary() {
        assert!(lab(Some(1)).is_settled() && !lab(None).is_settled());
        let mut view = lab(Some(1));
        view.nodes[0].process = ProcessState::Paused(String::new());
        assert!(!view.is_settled(), "the primary is paused");
        view.primaries[0] = Some(3);
        assert!(view.is_settled());
        view.nodes[1].process = ProcessState::Down;
        view.primaries[0] = None;
        assert!(view.is_settled(), "no majority is left to wait for");
    }

    #[test]
    fn a_primary_that_is_cut_off_does_not_count() {
        let mut view = lab(Some(1));
        for (from, to) in [(1, 2), (1, 3), (2, 1), (3, 1)] {
            cut(&mut view, from, to);
        }
        assert!(!view.is_settled());
        view.primaries[0] = Some(2);
        assert!(view.is_settled());
        view.nodes[1].disk = Some(DiskFault { kind: DiskFaultKind::Stall.into(), ..DiskFault::default() });
        assert!(view.is_settled(), "a majority with a log is not left");
    }

    #[test]
    fn the_table_shows_both_states_of_what_has_changed() {
        let (before, mut after) = (lab(Some(1)), lab(Some(2)));
        assert!(!LabView::changes(&before, &before).1);
        after.nodes[0].process = ProcessState::Down;
        let (table, changed) = LabView::changes(&before, &after);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(changed && lines[1].contains("running (pid 10) → down") && lines[1].contains("1 → -"), "{text}");
        assert!(lines[2].contains("- → 1") && !lines[3].contains('→'), "{text}");
    }
}
