//! Cycles of transactions: each must have come before the next, so that no order fits.
//!
//! Strongly connected components are found by Tarjan's algorithm, without recursion; in a component with more than one
//! node a shortest cycle is searched, for the report. Time and memory are linear in nodes and edges.

use std::collections::VecDeque;

/// Why a transaction must come before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// It wrote what the other one overwrote or appended to.
    WriteWrite,
    /// It wrote what the other one read.
    WriteRead,
    /// It read the state before the other one's write.
    ReadWrite,
    /// It had been answered before the other one was sent.
    RealTime,
}

/// See the module.
pub struct Graph {
    edges: Vec<Vec<(usize, Edge)>>,
}

/// A sequence of nodes with the edge to the next one; the last edge leads to the first node.
pub type Cycle = Vec<(usize, Edge)>;

/// Marks a node that belongs to no component yet.
const NONE: usize = usize::MAX;

impl Graph {
    /// A graph of nodes without edges.
    #[must_use]
    pub fn new(nodes: usize) -> Graph {
        Graph { edges: vec![Vec::new(); nodes] }
    }

    /// Adds an edge; an edge from a node to itself is ignored.
    pub fn add(&mut self, from: usize, to: usize, edge: Edge) {
        if from != to {
            self.edges[from].push((to, edge));
        }
    }

    /// Returns a short cycle of these edges, if there is one.
    #[must_use]
    pub fn cycle(&self, allowed: &[Edge]) -> Option<Cycle> {
        let component = self.components(allowed);
        let mut seen = vec![false; self.edges.len()];
        // The component of the first node that shares a component.
        let first = component.iter().position(|&id| std::mem::replace(&mut seen[id], true))?;
        Some(self.shortest_from(first, &component, allowed))
    }

    /// The number of each node's strongly connected component.
    fn components(&self, allowed: &[Edge]) -> Vec<usize> {
        let nodes = self.edges.len();
        let mut search = Tarjan {
            index: vec![NONE; nodes],
            low: vec![NONE; nodes],
            component: vec![NONE; nodes],
            path: Vec::new(),
            next_index: 0,
            next_component: 0,
        };
        for root in 0..nodes {
            if search.index[root] == NONE {
                self.visit(root, allowed, &mut search);
            }
        }
        search.component
    }

    fn visit(&self, root: usize, allowed: &[Edge], search: &mut Tarjan) {
        // A node, and the number of its edges that were followed.
        let mut calls = vec![(root, 0)];
        search.enter(root);
        while let Some((node, followed)) = calls.last_mut() {
            let node = *node;
            match self.edges[node].get(*followed) {
                Some(&(to, edge)) => {
                    *followed += 1;
                    if !allowed.contains(&edge) {
                        continue;
                    }
                    if search.index[to] == NONE {
                        search.enter(to);
                        calls.push((to, 0));
                    } else if search.component[to] == NONE {
                        search.low[node] = search.low[node].min(search.index[to]);
                    }
                }
                None => {
                    search.leave(node);
                    calls.pop();
                    if let Some((caller, _)) = calls.last() {
                        search.low[*caller] = search.low[*caller].min(search.low[node]);
                    }
                }
            }
        }
    }

    /// The shortest cycle through `start`, within its component.
    fn shortest_from(&self, start: usize, component: &[usize], allowed: &[Edge]) -> Cycle {
        let mut came_by: Vec<Option<(usize, Edge)>> = vec![None; self.edges.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for &(to, edge) in &self.edges[node] {
                let inside = component[to] == component[start] && allowed.contains(&edge);
                if inside && came_by[to].is_none() {
                    came_by[to] = Some((node, edge));
                    queue.push_back(to);
                }
            }
        }
        let mut cycle = Vec::new();
        let mut at = start;
        while let Some((from, edge)) = came_by[at] {
            cycle.push((from, edge));
            at = from;
            if at == start {
                break;
            }
        }
        cycle.reverse();
        cycle
    }
}

struct Tarjan {
    index: Vec<usize>,
    low: Vec<usize>,
    component: Vec<usize>,
    path: Vec<usize>,
    next_index: usize,
    next_component: usize,
}

impl Tarjan {
    fn enter(&mut self, node: usize) {
        self.index[node] = self.next_index;
        self.low[node] = self.next_index;
        self.next_index += 1;
        self.path.push(node);
    }

    /// Called when all edges of a node were followed: if none leads to an earlier node, the rest of the path is a
    /// component.
    fn leave(&mut self, node: usize) {
        if self.low[node] != self.index[node] {
            return;
        }
        while let Some(member) = self.path.pop() {
            self.component[member] = self.next_component;
            if member == node {
                break;
            }
        }
        self.next_component += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Edge::{ReadWrite, RealTime, WriteRead, WriteWrite};
    use super::*;

    const ALL: [Edge; 4] = [WriteWrite, WriteRead, ReadWrite, RealTime];

    #[test]
    fn a_cycle_is_found_with_its_edges() {
        let mut graph = Graph::new(6);
        for (from, to) in [(0, 1), (1, 2), (2, 3), (3, 4), (1, 5)] {
            graph.add(from, to, WriteWrite);
        }
        graph.add(2, 2, WriteWrite);
        assert_eq!(graph.cycle(&ALL), None);
        graph.add(4, 1, WriteRead);
        graph.add(3, 1, ReadWrite);
        assert_eq!(graph.cycle(&[WriteWrite]), None);
        let mut cycle = graph.cycle(&[WriteWrite, WriteRead]).unwrap();
        cycle.sort();
        assert_eq!(cycle, [(1, WriteWrite), (2, WriteWrite), (3, WriteWrite), (4, WriteRead)]);
        assert!(graph.cycle(&ALL).is_some());
    }

    proptest! {
        #[test]
        fn edges_that_follow_an_order_have_no_cycle_and_a_way_back_makes_one(
            edges in prop::collection::vec((0..200usize, 0..200usize), 1..600),
        ) {
            let mut graph = Graph::new(200);
            let forward: Vec<_> = edges.iter().filter(|(a, b)| a != b).map(|(a, b)| (*a.min(b), *a.max(b))).collect();
            for &(from, to) in &forward {
                graph.add(from, to, WriteWrite);
            }
            prop_assert_eq!(graph.cycle(&ALL), None);
            if let Some(&(from, to)) = forward.first() {
                graph.add(to, from, ReadWrite);
                let cycle = graph.cycle(&ALL).unwrap();
                prop_assert!(cycle.contains(&(to, ReadWrite)), "{:?}", cycle);
                for (at, (node, edge)) in cycle.iter().enumerate() {
                    let next = cycle[(at + 1) % cycle.len()].0;
                    prop_assert!(graph.edges[*node].contains(&(next, *edge)));
                }
            }
        }
    }
}
