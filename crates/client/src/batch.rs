//! Batches: operations on any keys, in one message to each node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastness_wire::v1;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;
use tonic::Status;
use tracing::{Instrument as _, Span};

use crate::calls::{ClientCore, EarlierTries, REDIRECTS_MAX};
use crate::client::Client;
use crate::error::ClientError;
use crate::observe::CallRecord;
use crate::operation::{Operation, OperationResult, Place};
use crate::topology::ensure_followed;
use crate::verdict::{CallKind, Disposition, disposition, timed_out};

/// Operations that go to one node in one message. All operations on one slot that still run are in one group.
struct NodeGroup {
    address: Arc<str>,
    /// Their places in the batch, ascending.
    operations: Vec<usize>,
    /// How often they were moved since the last wait, and how often they have waited.
    redirects: usize,
    retries: u32,
    /// Before the message is sent.
    wait: Duration,
}

/// An operation that has not happened and is tried again.
struct Pending {
    operation: usize,
    error: ClientError,
    /// The shortest wait, unless it was moved.
    after: Option<Duration>,
    /// The node that it was moved to.
    moved_to: Option<Arc<str>>,
    /// Whether its slot was guessed wrong: it has no order among the operations on that slot.
    is_unordered: bool,
}

/// What came of a message: a response for each operation, or one failure of all.
type GroupAnswer = Result<v1::BatchResponse, GroupFailure>;

enum GroupFailure {
    Refused(Status),
    TimedOut,
    /// The address is not valid.
    Unsent(ClientError),
}

struct BatchRun<'a> {
    core: &'a ClientCore,
    operations: &'a [Operation],
    requests: Vec<Result<v1::PipelineRequest, ClientError>>,
    until: Instant,
    results: Vec<Option<Result<OperationResult, ClientError>>>,
    /// Of each operation: what the tries before may have done.
    earlier: Vec<EarlierTries>,
    record: CallRecord,
}

impl Client {
    /// Runs operations on any keys, in one message to each node, and returns a result for each, in the same order. It
    /// is not atomic: see [`Client::txn`].
    ///
    /// Operations on one slot happen in their order, those of different slots in any. Each is repeated as a call of its
    /// own would be, except that an operation which has not happened is not repeated after a later one on its slot has:
    /// it fails with [`ClientError::Unavailable`]. The deadline is that of the whole batch.
    ///
    /// A message has at most 16 MiB in each direction: operations of one node that are longer together are refused, and
    /// so is each result that no longer fits, with the reason `REPLY_TOO_LONG`.
    pub async fn batch(
        &self,
        operations: impl IntoIterator<Item = Operation>,
    ) -> Vec<Result<OperationResult, ClientError>> {
        ensure_followed(&self.core);
        let mut operations: Vec<Operation> = operations.into_iter().collect();
        let requests = operations.iter_mut().map(|operation| self.prepare(operation)).collect();
        let results = operations.iter().map(|_| None).collect();
        let earlier = vec![EarlierTries::default(); operations.len()];
        let (core, until) = (&*self.core, self.until());
        let record = CallRecord::begin(core.observer.clone(), "batch");
        let mut run = BatchRun { core, operations: &operations, requests, until, results, earlier, record };
        run.run().await;
        let missing = || Err(ClientError::OutcomeUnknown { message: "the operation has no result".to_owned() });
        let results: Vec<_> = run.results.into_iter().map(|result| result.unwrap_or_else(missing)).collect();
        run.record.finish(results.iter().find_map(|result| result.as_ref().err()));
        results
    }
}

impl BatchRun<'_> {
    async fn run(&mut self) {
        let mut all = Vec::new();
        for (operation, request) in self.requests.iter().enumerate() {
            match request {
                Ok(_) => all.push((operation, None)),
                Err(error) => self.results[operation] = Some(Err(error.clone())),
            }
        }
        let (core, until) = (self.core, self.until);
        let mut running = FuturesUnordered::new();
        let mut groups = self.groups(all);
        groups.iter().for_each(|_| core.budget.add_call());
        loop {
            for group in groups {
                let requests = group.operations.iter().filter_map(|at| self.requests[*at].clone().ok()).collect();
                let span = self.record.attempt(&group.address, core.shard(self.slot(group.operations[0])));
                running.push(send(core, until, group, requests, span));
            }
            let Some((group, answer)) = running.next().await else { return };
            groups = self.settle(&group, answer);
        }
    }

    /// Groups operations by the nodes that they go to: those that were moved there, or that are known.
    fn groups(&self, operations: Vec<(usize, Option<Arc<str>>)>) -> Vec<NodeGroup> {
        // Held to the end: operations on one slot go to one node.
        let table = self.core.slots.read();
        // One node for all slots of which none is known: it names the others.
        let mut unknown: Option<Arc<str>> = None;
        let mut by_node: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for (operation, moved_to) in operations {
            let learned = || self.slot(operation).and_then(|slot| table.address(slot).cloned());
            let address = moved_to.or_else(learned);
            let address = address.unwrap_or_else(|| unknown.get_or_insert_with(|| self.core.pool.any()).clone());
            by_node.entry(address).or_default().push(operation);
        }
        let group = |(address, operations)| {
            let wait = Duration::ZERO;
            NodeGroup { address, operations, redirects: 0, retries: 0, wait }
        };
        by_node.into_iter().map(group).collect()
    }

    /// The slot of an operation, as far as it is known.
    fn slot(&self, operation: usize) -> Option<u16> {
        match self.operations[operation].place() {
            Place::Slot(slot) | Place::Guess(slot) => Some(slot),
            Place::Any => None,
        }
    }

    /// Records the results of a group, and returns the groups of those operations that are tried again.
    fn settle(&mut self, group: &NodeGroup, answer: GroupAnswer) -> Vec<NodeGroup> {
        let mut responses = answer.map(|response| response.responses.into_iter());
        let mut pending = Vec::new();
        for at in group.operations.iter().copied() {
            let operation = &self.operations[at];
            let result = match &mut responses {
                Ok(responses) => operation.result(responses.next()),
                Err(failure) => Err(failure.verdict(operation.kind(), &group.address)),
            };
            match result {
                Ok(result) => self.results[at] = Some(Ok(result)),
                Err(verdict) => match self.judge(&group.address, at, verdict) {
                    Ok(again) => pending.push(Pending { error: self.earlier[at].add(again.error), ..again }),
                    Err(error) => {
                        error.key_is_past().into_iter().for_each(|above| self.core.keys.raise(above));
                        self.results[at] = Some(Err(self.earlier[at].add(error)));
                    }
                },
            }
        }
        self.keep_order(group, &mut pending);
        self.next_groups(group, pending)
    }

    /// What follows an operation's failure: another try, or its error.
    fn judge(&self, address: &str, operation: usize, verdict: Disposition) -> Result<Pending, ClientError> {
        let place = self.operations[operation].place();
        let slot = self.slot(operation);
        match verdict {
            Disposition::Moved { address: to, slots, shard, key_slot, error } => {
                let own = || if let Place::Slot(slot) = place { Some(slot..=slot) } else { None };
                if let Some(slots) = slots.or_else(own) {
                    self.core.slots.write().learn(slots, to.clone(), shard);
                }
                // What was learned is of another slot if this one was guessed.
                let moved_to = (!matches!(place, Place::Slot(_))).then_some(to);
                Ok(Pending { operation, error, after: None, moved_to, is_unordered: place.is_wrong(key_slot) })
            }
            Disposition::Again { after, error } => {
                self.core.lost(slot, address);
                Ok(Pending { operation, error, after: Some(after), moved_to: None, is_unordered: false })
            }
            Disposition::Contended { after, error } => {
                Ok(Pending { operation, error, after: Some(after), moved_to: None, is_unordered: false })
            }
            Disposition::Lost(error) => {
                self.core.lost(slot, address);
                Err(error)
            }
            Disposition::Refused(error) => Err(error),
        }
    }

    /// Fails operations that would happen after a later one on their slot, unless both only read.
    fn keep_order(&mut self, group: &NodeGroup, pending: &mut Vec<Pending>) {
        // By slot: whether a write is among the later operations that have happened, or may have.
        let mut later: BTreeMap<Option<u16>, bool> = BTreeMap::new();
        let mut overtaken = BTreeSet::new();
        for at in group.operations.iter().rev().copied() {
            let (slot, writes) = (self.slot(at), self.operations[at].kind().writes());
            match &self.results[at] {
                Some(Err(error)) if !error.may_have_happened() => {}
                Some(_) => *later.entry(slot).or_default() |= writes,
                None if slot.is_some() && later.get(&slot).is_some_and(|wrote| *wrote || writes) => {
                    overtaken.insert(at);
                }
                None => {}
            }
        }
        for again in pending.extract_if(.., |again| !again.is_unordered && overtaken.contains(&again.operation)) {
            self.results[again.operation] = Some(Err(again.error));
        }
    }

    /// The groups in which operations are tried again; without time or budget for it, they fail.
    fn next_groups(&mut self, group: &NodeGroup, pending: Vec<Pending>) -> Vec<NodeGroup> {
        if pending.is_empty() {
            return Vec::new();
        }
        let asked = pending.iter().filter_map(|again| again.after).max();
        let follows = asked.is_none() && group.redirects < REDIRECTS_MAX;
        let (redirects, retries) = if follows { (group.redirects + 1, group.retries) } else { (0, group.retries + 1) };
        let wait = if follows {
            Some(Duration::ZERO)
        } else {
            self.core.next_try(self.until, group.retries, asked.unwrap_or_default())
        };
        let Some(wait) = wait else {
            for again in pending {
                self.results[again.operation] = Some(Err(again.error));
            }
            return Vec::new();
        };
        let mut operations = Vec::with_capacity(pending.len());
        for again in pending {
            if !follows && again.after.is_none() {
                // The nodes name each other: another one may know better.
                let slot = self.slot(again.operation);
                let named = slot.and_then(|slot| self.core.slots.read().address(slot).cloned());
                named.iter().for_each(|named| self.core.forget(slot, named));
            }
            operations.push((again.operation, again.moved_to.filter(|_| follows)));
        }
        let mut groups = self.groups(operations);
        groups.iter_mut().for_each(|next| (next.redirects, next.retries, next.wait) = (redirects, retries, wait));
        groups
    }
}

impl GroupFailure {
    /// What it means for one of the operations.
    fn verdict(&self, kind: CallKind, address: &str) -> Disposition {
        match self {
            GroupFailure::Refused(status) => disposition(kind, status),
            GroupFailure::TimedOut => Disposition::Lost(timed_out(kind, address)),
            GroupFailure::Unsent(error) => Disposition::Refused(error.clone()),
        }
    }
}

/// Sends one message, after the group's wait.
async fn send(
    core: &ClientCore,
    until: Instant,
    group: NodeGroup,
    operations: Vec<v1::PipelineRequest>,
    span: Span,
) -> (NodeGroup, GroupAnswer) {
    if !group.wait.is_zero() {
        tokio::time::sleep(group.wait).await;
    }
    let answer = match core.node(&group.address) {
        Err(error) => Err(GroupFailure::Unsent(error)),
        Ok(mut node) => {
            let request = core.request(v1::BatchRequest { operations }, until);
            match tokio::time::timeout_at(until, node.batch(request).instrument(span.clone())).await {
                Ok(Ok(response)) => Ok(response.into_inner()),
                Ok(Err(status)) => Err(GroupFailure::Refused(status)),
                Err(_) => Err(GroupFailure::TimedOut),
            }
        }
    };
    let outcome = match &answer {
        Ok(_) => "answered",
        Err(GroupFailure::Refused(_)) => "failed",
        Err(GroupFailure::TimedOut) => "timeout",
        Err(GroupFailure::Unsent(_)) => "unsent",
    };
    span.record("outcome", outcome);
    (group, answer)
}
