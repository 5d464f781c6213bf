//! A stream with a consumer group. Every entry is unique, so no search for an order is needed. The rules:
//! - Ids rise: an entry that was added after another one was acknowledged has a greater id, and entries are read in the
//!   order of their ids.
//! - A read shows every entry that was acknowledged before it was sent, none twice, and none that was never added, or
//!   under another id.
//! - The group delivers an entry once, in order, and every entry that was acknowledged is delivered in the end.
//! - An entry that was delivered is pending for its consumer until its acknowledgement, and never afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Findings, Kind};
use crate::history::record::{History, Op};

/// The name in the verdict.
pub const WORKLOAD: &str = "stream";

/// Milliseconds and number.
pub type Id = (u64, u64);
/// An entry: its id and its unique element.
pub type Entry = (Id, u64);

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamOp {
    /// Adds an entry.
    Add {
        /// Its element.
        element: u64,
        /// Its id; `None`: unknown.
        id: Option<Id>,
    },
    /// All entries.
    Read(Vec<Entry>),
    /// Takes entries that the group has not delivered yet, for the consumer of this client.
    Deliver(Option<Vec<Entry>>),
    /// Acknowledges an entry that was delivered to this client.
    Acknowledge {
        /// Its id.
        id: Id,
        /// Whether it was pending; `None`: unknown.
        was: Option<bool>,
    },
    /// What is pending, after the run: ids with the number of the client that has them.
    Pending(Vec<(Id, u32)>),
}

/// Checks one stream.
pub fn check(history: &History<StreamOp>, findings: &mut Findings) {
    let mut checker = Checker { history, findings, added: HashMap::new(), ids: HashMap::new() };
    checker.collect();
    checker.check_ids();
    checker.check_reads();
    checker.check_group();
    findings.ops_checked += history.ops.len() as u64;
}

struct Checker<'a> {
    history: &'a History<StreamOp>,
    findings: &'a mut Findings,
    /// By element: its operation.
    added: HashMap<u64, &'a Op<StreamOp>>,
    /// By element: its id, where the answer told it.
    ids: HashMap<u64, Id>,
}

impl Checker<'_> {
    fn broken(&mut self, kind: Kind, what: String) {
        self.findings.broken(WORKLOAD, &self.history.key, kind, what);
    }

    fn collect(&mut self) {
        for op in &self.history.ops {
            if let StreamOp::Add { element, id } = &op.what {
                self.added.insert(*element, op);
                self.ids.extend(id.map(|id| (*element, id)));
            }
        }
    }

    /// Ids follow real time: no entry has an id that is not greater than one that was acknowledged before its call.
    fn check_ids(&mut self) {
        let mut adds: Vec<(u64, u64, Id)> = Vec::new();
        for op in &self.history.ops {
            if let (StreamOp::Add { id: Some(id), .. }, Some(end)) = (&op.what, op.span.end) {
                adds.push((op.span.call, end, *id));
            }
        }
        let mut by_end = adds.clone();
        by_end.sort_by_key(|(_, end, _)| *end);
        adds.sort_by_key(|(call, _, _)| *call);
        let (mut ended, mut highest) = (by_end.into_iter().peekable(), None);
        for (call, _, id) in adds {
            while let Some((_, _, earlier)) = ended.next_if(|(_, end, _)| *end < call) {
                highest = highest.max(Some(earlier));
            }
            if highest.is_some_and(|highest| id <= highest) {
                self.broken(Kind::Order, format!("the id {id:?} was given after {:?} was acknowledged", highest));
            }
        }
    }

    fn check_reads(&mut self) {
        for op in &self.history.ops {
            let StreamOp::Read(entries) = &op.what else { continue };
            self.check_entries(op, entries);
            let read: BTreeSet<u64> = entries.iter().map(|(_, element)| *element).collect();
            let missing: Vec<u64> = self
                .added
                .iter()
                .filter(|(element, add)| add.span.end.is_some_and(|end| end < op.span.call) && !read.contains(element))
                .map(|(element, _)| *element)
                .collect();
            for element in missing {
                // What the read after the run does not have is gone for good.
                let kind = if op.client == crate::history::run::READER { Kind::Lost } else { Kind::Stale };
                self.broken(kind, format!("client {} read no entry {element}, which was acknowledged", op.client));
            }
        }
    }

    /// Entries of one answer: in the order of their ids, and added by somebody under these ids.
    fn check_entries(&mut self, op: &Op<StreamOp>, entries: &[Entry]) {
        let client = op.client;
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            self.broken(Kind::Order, format!("client {client} received {:?} before {:?}", pair[0], pair[1]));
        }
        let mut seen = BTreeSet::new();
        for (id, element) in entries {
            if !seen.insert(*element) {
                self.broken(Kind::Duplicate, format!("client {client} received {element} twice in one answer"));
            }
            let is_known = self.added.contains_key(element);
            let known = self.ids.get(element).copied();
            if !is_known || known.is_some_and(|known| known != *id) {
                let added = if is_known { format!("as {known:?}") } else { "by nobody".to_owned() };
                self.broken(Kind::Phantom, format!("client {client} received {element} as {id:?}, added {added}"));
            }
        }
    }

    fn check_group(&mut self) {
        // To whom each id was delivered, and between which moments.
        let mut delivered: BTreeMap<Id, &Op<StreamOp>> = BTreeMap::new();
        for op in &self.history.ops {
            let StreamOp::Deliver(Some(entries)) = &op.what else { continue };
            self.check_entries(op, entries);
            for (id, _) in entries {
                let first = *delivered.entry(*id).or_insert(op);
                if !std::ptr::eq(first, op) {
                    let (one, two) = (first.client, op.client);
                    self.broken(Kind::Duplicate, format!("{id:?} was delivered to client {one} and to client {two}"));
                }
            }
        }
        self.check_order_of_deliveries();
        let Some(pending) = self.history.ops.iter().find_map(|op| match &op.what {
            StreamOp::Pending(pending) => Some(pending.iter().copied().collect::<BTreeMap<Id, u32>>()),
            _ => None,
        }) else {
            return;
        };
        self.check_pending(&delivered, &pending);
    }

    /// A delivery that began after another one was answered has only later entries.
    fn check_order_of_deliveries(&mut self) {
        let mut all: Vec<(u64, u64, Id, Id)> = Vec::new();
        for op in &self.history.ops {
            if let (StreamOp::Deliver(Some(entries)), Some(end)) = (&op.what, op.span.end)
                && let (Some(first), Some(last)) = (entries.first(), entries.last())
            {
                all.push((op.span.call, end, first.0, last.0));
            }
        }
        let mut by_end = all.clone();
        by_end.sort_by_key(|(_, end, ..)| *end);
        all.sort_by_key(|(call, ..)| *call);
        let (mut ended, mut highest) = (by_end.into_iter().peekable(), None);
        for (call, _, first, _) in all {
            while let Some((.., last)) = ended.next_if(|(_, end, ..)| *end < call) {
                highest = highest.max(Some(last));
            }
            if highest.is_some_and(|highest| first <= highest) {
                self.broken(Kind::Order, format!("{first:?} was delivered after {highest:?}"));
            }
        }
    }

    fn check_pending(&mut self, delivered: &BTreeMap<Id, &Op<StreamOp>>, pending: &BTreeMap<Id, u32>) {
        let mut acknowledged: BTreeMap<Id, Option<bool>> = BTreeMap::new();
        for op in &self.history.ops {
            if let StreamOp::Acknowledge { id, was } = &op.what {
                acknowledged.insert(*id, *was);
                if *was == Some(false) {
                    self.broken(Kind::Lost, format!("{id:?} was not pending, although client {} had it", op.client));
                }
            }
        }
        for (id, op) in delivered {
            match (acknowledged.get(id), pending.get(id)) {
                (None, Some(owner)) if *owner != op.client => {
                    self.broken(Kind::Order, format!("{id:?} of client {} is pending for {owner}", op.client));
                }
                (None, None) => {
                    self.broken(Kind::Lost, format!("{id:?}, delivered to client {}, is not pending", op.client));
                }
                (Some(Some(true)), Some(_)) => {
                    self.broken(Kind::Lost, format!("{id:?} is pending, although it was acknowledged"));
                }
                _ => {}
            }
        }
        let ids: Vec<Id> = self.ids.values().copied().collect();
        for id in ids {
            if !delivered.contains_key(&id) && !pending.contains_key(&id) {
                self.broken(Kind::Lost, format!("{id:?} was never delivered"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StreamOp::{Acknowledge, Add, Deliver, Pending, Read};
    use super::*;
    use crate::history::check::sample::{History as Sample, at, open};
    use crate::history::run::READER;

    fn kinds(ops: impl IntoIterator<Item = Op<StreamOp>>) -> Vec<Kind> {
        let mut findings = Findings::default();
        check(&Sample::of(ops), &mut findings);
        findings.kinds()
    }

    /// The id of an element of the samples.
    fn id(element: u64) -> Id {
        (element, 0)
    }

    fn entries(elements: &[u64]) -> Vec<Entry> {
        elements.iter().map(|element| (id(*element), *element)).collect()
    }

    fn add(element: u64) -> StreamOp {
        Add { element, id: Some(id(element)) }
    }

    /// Two entries, the first of which is delivered to client 1 and acknowledged; the second is pending for client 2.
    fn begin() -> Vec<Op<StreamOp>> {
        vec![
            at(3, 0, 10, add(1)),
            at(3, 20, 30, add(2)),
            at(1, 40, 50, Deliver(Some(entries(&[1])))),
            at(2, 60, 70, Deliver(Some(entries(&[2])))),
            at(1, 80, 90, Acknowledge { id: id(1), was: Some(true) }),
        ]
    }

    fn end(read: &[u64], pending: &[(u64, u32)]) -> Vec<Op<StreamOp>> {
        let pending = pending.iter().map(|(element, client)| (id(*element), *client)).collect();
        vec![at(READER, 900, 910, Read(entries(read))), at(READER, 920, 930, Pending(pending))]
    }

    fn with(more: impl IntoIterator<Item = Op<StreamOp>>) -> Vec<Kind> {
        kinds(begin().into_iter().chain(more).chain(end(&[1, 2], &[(2, 2)])))
    }

    #[test]
    fn a_good_history_is_accepted() {
        assert_eq!(with([]), []);
        let doubts = [open(3, 95, Add { element: 3, id: None }), open(1, 96, Deliver(None))];
        assert_eq!(with(doubts.clone()), []);
        let all = begin().into_iter().chain(doubts).chain(end(&[1, 2, 3], &[(2, 2), (3, 1)]));
        assert_eq!(kinds(all), [], "what was in doubt has happened");
        let doubt = open(2, 95, Acknowledge { id: id(2), was: None });
        assert_eq!(with([doubt.clone()]), []);
        assert_eq!(kinds(begin().into_iter().chain([doubt]).chain(end(&[1, 2], &[]))), []);
    }

    #[test]
    fn ids_that_do_not_rise_are_refuted() {
        let late = at(4, 100, 110, Add { element: 9, id: Some((1, 5)) });
        let delivered = at(4, 120, 130, Deliver(Some(vec![((1, 5), 9)])));
        let end = [at(READER, 900, 910, Read(vec![(id(1), 1), ((1, 5), 9), (id(2), 2)]))];
        let pending = [at(READER, 920, 930, Pending(vec![((1, 5), 4), (id(2), 2)]))];
        assert_eq!(kinds(begin().into_iter().chain([late, delivered]).chain(end).chain(pending)), [Kind::Order]);
        assert_eq!(with([at(4, 100, 110, Read(entries(&[2, 1])))]), [Kind::Order]);
    }

    #[test]
    fn what_is_lost_stale_or_strange_is_refuted() {
        assert_eq!(kinds(begin().into_iter().chain(end(&[2], &[(2, 2)]))), [Kind::Lost]);
        assert_eq!(with([at(4, 100, 110, Read(entries(&[1])))]), [Kind::Stale]);
        assert_eq!(with([at(4, 100, 110, Read(entries(&[1, 2, 7])))]), [Kind::Phantom]);
        assert_eq!(with([at(4, 100, 110, Read(vec![(id(1), 1), ((2, 1), 2)]))]), [Kind::Phantom]);
        let twice = vec![(id(1), 1), (id(2), 2), ((3, 0), 2)];
        assert_eq!(with([at(4, 100, 110, Read(twice))]), [Kind::Phantom, Kind::Duplicate]);
    }

    #[test]
    fn a_group_delivers_once_and_in_order() {
        assert_eq!(with([at(4, 55, 75, Deliver(Some(entries(&[2]))))]), [Kind::Duplicate]);
        let early = [at(3, 100, 110, add(3)), at(3, 120, 130, add(4))];
        let swapped = [at(1, 140, 150, Deliver(Some(entries(&[4])))), at(2, 160, 170, Deliver(Some(entries(&[3]))))];
        let end = end(&[1, 2, 3, 4], &[(2, 2), (3, 2), (4, 1)]);
        assert_eq!(kinds(begin().into_iter().chain(early).chain(swapped).chain(end)), [Kind::Order]);
    }

    #[test]
    fn what_is_pending_follows_deliveries_and_acknowledgements() {
        let pending = |pending: &[(u64, u32)]| kinds(begin().into_iter().chain(end(&[1, 2], pending)));
        assert_eq!(pending(&[]), [Kind::Lost], "a delivery is forgotten");
        assert_eq!(pending(&[(2, 1)]), [Kind::Order], "it is another client's");
        assert_eq!(pending(&[(1, 1), (2, 2)]), [Kind::Lost], "an acknowledgement is forgotten");
        assert_eq!(with([at(2, 100, 110, Acknowledge { id: id(2), was: Some(false) })]), [Kind::Lost]);
        let never = begin().into_iter().chain([at(3, 100, 110, add(3))]).chain(end(&[1, 2, 3], &[(2, 2)]));
        assert_eq!(kinds(never), [Kind::Lost], "an entry was never delivered");
    }
}
