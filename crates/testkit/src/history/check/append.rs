//! Lists that only grow, by unique elements, in transactions over several lists.
//!
//! Because every element is unique, the order of a list's writers is known: it is the longest list that was read. So
//! these rules are checked in time about linear in the history:
//! - Every read is a prefix of the longest one, without an element twice, and without one that was refused or never
//!   appended.
//! - An acknowledged append is in the list, at the place that its answer reported.
//! - A read shows every append that was acknowledged before the read was sent, and the transaction's own ones; and of
//!   other transactions all appends or none.
//! - There is no cycle of transactions by "wrote before", "wrote what was read", "read before it was written" and "was
//!   answered before the other was sent" ([`super::cycle`]): that is strict serializability.

use std::collections::{HashMap, HashSet};

use super::cycle::{Cycle, Edge, Graph};
use super::{Findings, Kind, Violation};
use crate::history::record::{History, Op};

/// The name in the verdict.
pub const WORKLOAD: &str = "append";

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendOp {
    /// Add an element at the end.
    Append {
        /// Index of the list.
        list: usize,
        /// The element.
        element: u64,
        /// The list's length afterwards, as answered; `None`: unknown.
        length: Option<usize>,
    },
    /// Read a list.
    Read {
        /// Index of the list.
        list: usize,
        /// Its elements; `None`: unknown.
        elements: Option<Vec<u64>>,
    },
}

/// A transaction.
pub type Transaction = Vec<AppendOp>;

/// Checks the transactions over one group of lists.
pub fn check(history: &History<Transaction>, findings: &mut Findings) {
    let lists = Lists::of(history);
    let before = findings.violations.len();
    lists.check_lost(findings);
    lists.check_reads(findings);
    if findings.violations.len() > before {
        // Without an order of elements no further rule can be checked.
        return;
    }
    lists.check_places(findings);
    for (at, op) in history.ops.iter().enumerate() {
        lists.check_transaction(at, op, findings);
    }
    if findings.violations.len() == before
        && let Some((name, cycle)) = find_cycle(&lists.graph())
    {
        findings.violations.push(lists.describe(name, &cycle));
    }
    findings.ops_checked += history.ops.len() as u64;
}

/// The writer of an element.
#[derive(Debug, Clone, Copy)]
struct Writer {
    transaction: usize,
    /// Whether it is the last element that the transaction appends to the list.
    is_last: bool,
    length: Option<usize>,
}

/// The content of the lists according to the transactions.
struct Lists<'a> {
    history: &'a History<Transaction>,
    /// By list and element.
    writers: HashMap<(usize, u64), Writer>,
    /// The longest read of each list.
    orders: HashMap<usize, &'a [u64]>,
    /// The place of an element in that read, from 0, by list and element.
    places: HashMap<(usize, u64), usize>,
    /// For each list and length, when the first append after it was acknowledged.
    acknowledged_behind: HashMap<usize, Vec<u64>>,
}

/// The time of an acknowledgement that never came.
const NEVER: u64 = u64::MAX;

impl<'a> Lists<'a> {
    fn of(history: &'a History<Transaction>) -> Lists<'a> {
        let mut lists = Lists {
            history,
            writers: HashMap::new(),
            orders: HashMap::new(),
            places: HashMap::new(),
            acknowledged_behind: HashMap::new(),
        };
        for (transaction, op) in history.ops.iter().enumerate() {
            for (at, step) in op.what.iter().enumerate() {
                match step {
                    AppendOp::Append { list, element, length } => {
                        let again = |later: &AppendOp| matches!(later, AppendOp::Append { list: l, .. } if l == list);
                        let is_last = !op.what[at + 1..].iter().any(again);
                        lists.writers.insert((*list, *element), Writer { transaction, is_last, length: *length });
                    }
                    AppendOp::Read { list, elements: Some(elements) } => {
                        let longest = lists.orders.entry(*list).or_default();
                        if elements.len() > longest.len() {
                            *longest = elements;
                        }
                    }
                    AppendOp::Read { elements: None, .. } => {}
                }
            }
        }
        for (&list, order) in &lists.orders {
            lists.places.extend(order.iter().enumerate().map(|(place, element)| ((list, *element), place)));
        }
        lists.acknowledged_behind =
            lists.orders.iter().map(|(list, order)| (*list, lists.behind(*list, order))).collect();
        lists
    }

    fn behind(&self, list: usize, order: &[u64]) -> Vec<u64> {
        let mut first = vec![NEVER; order.len() + 1];
        for at in (0..order.len()).rev() {
            let writer = self.writers.get(&(list, order[at]));
            let end = writer.and_then(|writer| self.history.ops[writer.transaction].span.end);
            first[at] = first[at + 1].min(end.unwrap_or(NEVER));
        }
        first
    }

    fn broken(&self, findings: &mut Findings, kind: Kind, what: String) {
        findings.broken(WORKLOAD, &self.history.key, kind, what);
    }

    fn reads(&self) -> impl Iterator<Item = (&'a Op<Transaction>, usize, &'a [u64])> {
        self.history.ops.iter().flat_map(|op| {
            op.what.iter().filter_map(move |step| match step {
                AppendOp::Read { list, elements: Some(elements) } => Some((op, *list, elements.as_slice())),
                _ => None,
            })
        })
    }

    fn check_reads(&self, findings: &mut Findings) {
        for (&list, order) in &self.orders {
            self.check_elements(list, order, findings);
        }
        for (op, list, elements) in self.reads() {
            if !self.orders[&list].starts_with(elements) {
                let what = format!("client {} read list {list} not as a prefix of the longest read of it", op.client);
                self.broken(findings, Kind::Order, format!("{what}: {elements:x?} and {:x?}", self.orders[&list]));
                self.check_elements(list, elements, findings);
            }
        }
    }

    fn check_elements(&self, list: usize, elements: &[u64], findings: &mut Findings) {
        let mut seen = HashSet::new();
        for element in elements {
            if !seen.insert(element) {
                self.broken(findings, Kind::Duplicate, format!("list {list} holds {element:x} twice: {elements:x?}"));
            }
            if !self.writers.contains_key(&(list, *element)) {
                let what = format!("list {list} holds {element:x}, which was refused or never appended: {elements:x?}");
                self.broken(findings, Kind::Phantom, what);
            }
        }
    }

    /// Checks that a list contains what was acknowledged before the last read of it was sent.
    fn check_lost(&self, findings: &mut Findings) {
        let mut last: HashMap<usize, (u64, HashSet<u64>)> = HashMap::new();
        for (op, list, elements) in self.reads() {
            if last.get(&list).is_none_or(|(call, _)| *call <= op.span.call) {
                last.insert(list, (op.span.call, elements.iter().copied().collect()));
            }
        }
        for (&(list, element), writer) in &self.writers {
            let op = &self.history.ops[writer.transaction];
            let Some(end) = op.span.end else { continue };
            match last.get(&list).filter(|(call, _)| *call > end) {
                Some((_, elements)) if elements.contains(&element) => {}
                Some(_) => {
                    let what =
                        format!("{element:x} was acknowledged to client {} and is not in list {list}", op.client);
                    self.broken(findings, Kind::Lost, what);
                }
                // A read that was sent before the acknowledgement shows it, and no read was sent later.
                None if self.places.contains_key(&(list, element)) => {}
                None => {
                    let key = &self.history.key;
                    findings
                        .undecided
                        .push(format!("{WORKLOAD} {key}: list {list} was not read after its last append"));
                }
            }
        }
    }

    /// Checks that an element has the place that its answer reported.
    fn check_places(&self, findings: &mut Findings) {
        for ((list, element), writer) in &self.writers {
            let place = self.places.get(&(*list, *element)).map(|place| place + 1);
            if let (Some(place), Some(said)) = (place, writer.length)
                && place != said
            {
                let what = format!("{element:x} was reported as number {said} of list {list}, and is number {place}");
                self.broken(findings, Kind::Order, what);
            }
        }
    }

    /// Checks that the reads of a transaction agree with its own appends, with whole transactions of others, and with
    /// earlier acknowledgements.
    fn check_transaction(&self, at: usize, op: &Op<Transaction>, findings: &mut Findings) {
        let mut own: HashMap<usize, Vec<u64>> = HashMap::new();
        for step in &op.what {
            match step {
                AppendOp::Append { list, element, .. } => own.entry(*list).or_default().push(*element),
                AppendOp::Read { elements: None, .. } => {}
                AppendOp::Read { list, elements: Some(elements) } => {
                    let own = own.get(list).map_or(&[][..], Vec::as_slice);
                    if !elements.ends_with(own) {
                        let what = format!("client {} does not read its own {own:x?} in list {list}", op.client);
                        self.broken(findings, Kind::Torn, format!("{what}: {elements:x?}"));
                    } else {
                        self.check_view(at, op, *list, &elements[..elements.len() - own.len()], findings);
                    }
                }
            }
        }
    }

    fn check_view(&self, at: usize, op: &Op<Transaction>, list: usize, others: &[u64], findings: &mut Findings) {
        if let Some(last) = others.last().and_then(|last| self.writers.get(&(list, *last)))
            && !last.is_last
            && last.transaction != at
        {
            let what =
                format!("client {} reads the first half of a transaction in list {list}: {others:x?}", op.client);
            self.broken(findings, Kind::Torn, what);
        }
        let missed = self.acknowledged_behind.get(&list).map_or(NEVER, |behind| behind[others.len()]);
        if missed < op.span.call {
            let what = format!("client {} reads {} elements of list {list}", op.client, others.len());
            self.broken(
                findings,
                Kind::Stale,
                format!("{what}, and one more had been acknowledged before the read was sent"),
            );
        }
    }

    /// The graph of transactions; further nodes stand for "these transactions have been answered by now".
    fn graph(&self) -> Graph {
        let transactions = self.history.ops.len();
        let mut graph = Graph::new(2 * transactions);
        for (&list, order) in &self.orders {
            for pair in order.windows(2) {
                graph.add(self.writer(list, pair[0]), self.writer(list, pair[1]), Edge::WriteWrite);
            }
        }
        let unseen = self.unseen();
        for (at, op) in self.history.ops.iter().enumerate() {
            for step in &op.what {
                let AppendOp::Read { list, elements: Some(elements) } = step else { continue };
                if let Some(last) = elements.last() {
                    graph.add(self.writer(*list, *last), at, Edge::WriteRead);
                }
                match self.orders[list].get(elements.len()) {
                    Some(next) => graph.add(at, self.writer(*list, *next), Edge::ReadWrite),
                    None => {
                        let missed = unseen.get(list).into_iter().flatten();
                        missed.for_each(|writer| graph.add(at, *writer, Edge::ReadWrite));
                    }
                }
            }
        }
        self.add_real_time(&mut graph);
        graph
    }

    fn writer(&self, list: usize, element: u64) -> usize {
        self.writers[&(list, element)].transaction
    }

    /// By list: transactions that took effect (one of their elements was read), but whose element of this list was
    /// never read. They come after every read of that list.
    fn unseen(&self) -> HashMap<usize, Vec<usize>> {
        let happened: HashSet<usize> = self.places.keys().map(|(list, element)| self.writer(*list, *element)).collect();
        let mut unseen: HashMap<usize, Vec<usize>> = HashMap::new();
        for ((list, element), writer) in &self.writers {
            if happened.contains(&writer.transaction) && !self.places.contains_key(&(*list, *element)) {
                unseen.entry(*list).or_default().push(writer.transaction);
            }
        }
        unseen
    }

    /// A transaction that was answered comes before one that was sent later. Edges between all such pairs would be
    /// quadratic; a chain of nodes, one after each answer, expresses the same.
    fn add_real_time(&self, graph: &mut Graph) {
        let ops = &self.history.ops;
        let mut answered: Vec<(u64, usize)> =
            ops.iter().enumerate().filter_map(|(at, op)| Some((op.span.end?, at))).collect();
        answered.sort_unstable();
        let node = |nth: usize| ops.len() + nth;
        for (nth, (_, at)) in answered.iter().enumerate() {
            graph.add(*at, node(nth), Edge::RealTime);
            if nth > 0 {
                graph.add(node(nth - 1), node(nth), Edge::RealTime);
            }
        }
        for (at, op) in ops.iter().enumerate() {
            let earlier = answered.partition_point(|(end, _)| *end < op.span.call);
            if earlier > 0 {
                graph.add(node(earlier - 1), at, Edge::RealTime);
            }
        }
    }

    fn describe(&self, name: &'static str, cycle: &Cycle) -> Violation {
        let ops = &self.history.ops;
        let shown = |(node, edge): &(usize, Edge)| {
            let op = ops.get(*node)?;
            Some(format!("{:?} client {} {:x?} then by {edge:?}", op.span, op.client, op.what))
        };
        Violation {
            workload: WORKLOAD,
            key: self.history.key.clone(),
            kind: Kind::Cycle,
            what: name.to_owned(),
            history: cycle.iter().filter_map(shown).collect(),
        }
    }
}

/// The simplest kind of cycle, in the names of Adya and Elle.
fn find_cycle(graph: &Graph) -> Option<(&'static str, Cycle)> {
    use Edge::{ReadWrite, RealTime, WriteRead, WriteWrite};
    let kinds: [(&'static str, &[Edge]); 4] = [
        ("G0", &[WriteWrite]),
        ("G1c", &[WriteWrite, WriteRead]),
        ("G1c-realtime", &[WriteWrite, WriteRead, RealTime]),
        ("G2", &[WriteWrite, WriteRead, ReadWrite]),
    ];
    let found = kinds.into_iter().find_map(|(name, edges)| Some((name, graph.cycle(edges)?)));
    found.or_else(|| Some(("G2-realtime", graph.cycle(&[WriteWrite, WriteRead, ReadWrite, RealTime])?)))
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
