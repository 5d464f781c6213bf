//! The task of a pipeline: one stream to each node that is needed, and what follows each answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::held::HeldResults;
use super::order::{LineKey, Numbered, SlotLine};
use super::streams::{NodeEvent, NodeStreams};
use super::submitted::{FailedSending, Submitted, fail, finish, unanswered};
use crate::calls::{ClientCore, REDIRECTS_MAX};
use crate::error::{CONNECTION_LOST, ClientError};
use crate::operation::{OperationResult, Place};
use crate::verdict::Disposition;

/// The operations of a line, and where they go next.
#[derive(Default)]
struct RoutedLine {
    order: SlotLine<Submitted>,
    /// The node that was named for a slot which was only guessed.
    moved_to: Option<Arc<str>>,
    /// How often it was moved since an operation has happened.
    redirects: usize,
}

/// Lines that are sent again at one time. It takes one retry from the budget, however many they are.
struct RetryWave {
    at: Instant,
    lines: Vec<LineKey>,
}

/// See the module.
struct PipelineRun {
    core: Arc<ClientCore>,
    held: Arc<HeldResults>,
    lines: HashMap<LineKey, RoutedLine>,
    streams: NodeStreams,
    /// The node for slots of which none is known: it names the others.
    home: Option<Arc<str>>,
    wave: Option<RetryWave>,
    /// Waves since an operation has happened.
    retries: u32,
}

/// Runs operations until the sender is dropped and all are finished, or nobody takes the results any more.
pub(super) async fn run(
    core: Arc<ClientCore>,
    held: Arc<HeldResults>,
    capacity: usize,
    mut arrivals: mpsc::Receiver<Submitted>,
    mut taken: oneshot::Sender<()>,
) {
    let mut run = PipelineRun {
        core,
        held: held.clone(),
        lines: HashMap::new(),
        streams: NodeStreams::new(capacity),
        home: None,
        wave: None,
        retries: 0,
    };
    let mut arrive = true;
    while arrive || !run.lines.is_empty() {
        run.streams.read(held.reading());
        let wave_at = run.wave.as_ref().map(|wave| wave.at);
        let wave = async {
            match wave_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = taken.closed() => return,
            arrived = arrivals.recv(), if arrive => match arrived {
                Some(submitted) => run.arrive(submitted),
                None => arrive = false,
            },
            Some((node, id, event)) = run.streams.next(), if !run.streams.is_empty() => run.receive(&node, id, event),
            () = wave => run.send_wave(),
            () = held.has_room() => {}
        }
    }
}

impl PipelineRun {
    fn arrive(&mut self, submitted: Submitted) {
        self.core.budget.add_call();
        let number = submitted.reply.number;
        let key = match submitted.operation.place() {
            Place::Slot(slot) | Place::Guess(slot) => LineKey::Slot(slot),
            Place::Any => LineKey::Alone(number),
        };
        self.held.waits(number, key);
        let writes = submitted.operation.kind().writes();
        let operation = Numbered { number, writes, item: submitted };
        let line = self.lines.entry(key).or_default();
        let Some(operation) = line.order.arrive(operation) else { return };
        let node = line.order.node().cloned();
        let node = node.unwrap_or_else(|| self.address(key));
        self.send(key, operation, &node);
        self.settle(key);
    }

    /// The node that serves a line, as far as it is known.
    fn address(&mut self, key: LineKey) -> Arc<str> {
        let learned = key.slot().and_then(|slot| self.core.slots.read().address(slot).cloned());
        learned.unwrap_or_else(|| self.home.get_or_insert_with(|| self.core.pool.any()).clone())
    }

    /// Sends an operation, without waiting.
    fn send(&mut self, key: LineKey, mut operation: Numbered<Submitted>, node: &Arc<str>) {
        let request = operation.item.request.clone();
        let stream = match self.streams.open(&self.core, node) {
            Ok(stream) => stream,
            Err(error) => {
                let error = operation.item.earlier.add(error);
                return finish(operation.item, Err(error));
            }
        };
        // What is sent and not answered is bounded by what may be in flight, except for operations whose callers have
        // stopped waiting: a node that does not answer keeps those.
        let sent = stream.to_node.try_send(request).is_ok();
        let shard = self.core.shard(key.slot());
        let line = self.lines.entry(key).or_default();
        if !sent {
            let error = ClientError::unavailable(CONNECTION_LOST, format!("{node} takes no more operations"));
            let error = operation.item.earlier.add(error);
            operation.item.failure = Some(FailedSending { error, after: Some(Duration::ZERO) });
            line.order.again(operation);
            return;
        }
        operation.item.record.attempt(node, shard);
        line.order.sent(node.clone());
        if let Some(stream) = self.streams.get_mut(node) {
            stream.sent.push_back((key, operation));
        }
    }

    fn receive(&mut self, node: &Arc<str>, id: u64, event: NodeEvent) {
        let Some(stream) = self.streams.current(node, id) else { return };
        match event {
            NodeEvent::Answer(answer) => {
                let Some((key, operation)) = stream.sent.pop_front() else { return };
                let result = operation.item.operation.result(Some(answer));
                self.conclude(node, key, operation, result);
            }
            NodeEvent::Ended { was_accepted, status } => {
                let Some(stream) = self.streams.remove(node) else { return };
                self.lost(None, node);
                for (key, operation) in stream.sent {
                    let verdict = unanswered(operation.item.operation.kind(), was_accepted, &status);
                    self.conclude(node, key, operation, Err(verdict));
                }
            }
        }
    }

    /// The node could not run an operation: the next try goes to another one.
    fn lost(&mut self, slot: Option<u16>, node: &Arc<str>) {
        self.core.lost(slot, node);
        self.home.take_if(|home| home == node);
    }

    /// What follows the answer to an operation.
    fn conclude(
        &mut self,
        node: &Arc<str>,
        key: LineKey,
        mut operation: Numbered<Submitted>,
        result: Result<OperationResult, Disposition>,
    ) {
        let place = operation.item.operation.place();
        // Where it waits to be sent again.
        let mut line = key;
        let failure = match result {
            Ok(result) => {
                self.retries = 0;
                let line = self.lines.entry(key).or_default();
                line.redirects = 0;
                line.order.happened(operation.number, operation.writes);
                finish(operation.item, Ok(result));
                return self.answered(key);
            }
            Err(Disposition::Moved { address, slots, shard, key_slot, error }) => {
                let own = || if let Place::Slot(slot) = place { Some(slot..=slot) } else { None };
                if let Some(slots) = slots.or_else(own) {
                    self.core.slots.write().learn(slots, address.clone(), shard);
                }
                if place.is_wrong(key_slot) {
                    line = LineKey::Alone(operation.number);
                    self.held.waits(operation.number, line);
                }
                // What was learned is of another slot if this one was guessed.
                self.lines.entry(line).or_default().moved_to = (!matches!(place, Place::Slot(_))).then_some(address);
                FailedSending { error, after: None }
            }
            Err(Disposition::Again { after, error }) => {
                self.lost(key.slot(), node);
                FailedSending { error, after: Some(after) }
            }
            Err(Disposition::Contended { after, error }) => FailedSending { error, after: Some(after) },
            Err(verdict @ (Disposition::Lost(_) | Disposition::Refused(_))) => {
                if matches!(verdict, Disposition::Lost(_)) {
                    self.lost(key.slot(), node);
                }
                let error = verdict.into_error();
                error.key_is_past().into_iter().for_each(|above| self.core.keys.raise(above));
                let error = operation.item.earlier.add(error);
                if error.may_have_happened() {
                    let line = self.lines.entry(key).or_default();
                    line.order.happened(operation.number, operation.writes);
                }
                finish(operation.item, Err(error));
                return self.answered(key);
            }
        };
        let FailedSending { error, after } = failure;
        operation.item.failure = Some(FailedSending { error: operation.item.earlier.add(error), after });
        self.lines.entry(line).or_default().order.again(operation);
        self.answered(key);
        if line != key {
            self.settle(line);
        }
    }

    fn answered(&mut self, key: LineKey) {
        if let Some(line) = self.lines.get_mut(&key) {
            line.order.answered();
        }
        self.settle(key);
    }

    /// Once it is known what has happened of a line whose operations are held back: sends them, or lets them wait.
    fn settle(&mut self, key: LineKey) {
        // Again, where a node did not take what was sent. Each round is a redirect, or one operation fewer.
        while let Some(line) = self.lines.get_mut(&key).filter(|line| line.order.is_settled()) {
            line.order.remove_overtaken().into_iter().for_each(|operation| fail(operation.item));
            let waits = line.order.repeated().filter_map(|item| item.failure.as_ref()?.after);
            let after = waits.max();
            if after.is_none() && line.redirects < REDIRECTS_MAX {
                line.redirects += 1;
            } else {
                if after.is_none() {
                    // The nodes name each other: another one may know better.
                    line.redirects = 0;
                    let named = key.slot().and_then(|slot| self.core.slots.read().address(slot).cloned());
                    named.iter().for_each(|named| self.core.forget(key.slot(), named));
                }
                if self.wait(key, after.unwrap_or_default()) {
                    break;
                }
            }
            self.resend(key);
        }
        if self.lines.get(&key).is_some_and(|line| line.order.is_idle()) {
            self.lines.remove(&key);
        }
    }

    /// Lets a line wait for the next wave. Without budget for one, what has not happened fails: returns false.
    fn wait(&mut self, key: LineKey, after: Duration) -> bool {
        let earliest = Instant::now() + after;
        if self.wave.is_none() && self.core.budget.take() {
            let wait = self.core.retries.wait(self.retries, rand::random::<f64>(), after);
            self.retries = self.retries.saturating_add(1);
            self.wave = Some(RetryWave { at: Instant::now() + wait, lines: Vec::new() });
        }
        let Some(line) = self.lines.get_mut(&key) else { return false };
        let Some(wave) = &mut self.wave else {
            line.order.remove_late(|_| true).into_iter().for_each(|operation| fail(operation.item));
            return false;
        };
        wave.at = wave.at.max(earliest);
        // Whatever would be sent after its deadline is not waited for.
        let late = line.order.remove_late(|item| item.until <= wave.at);
        late.into_iter().for_each(|operation| fail(operation.item));
        wave.lines.push(key);
        true
    }

    fn send_wave(&mut self) {
        let Some(wave) = self.wave.take() else { return };
        for key in wave.lines {
            self.resend(key);
            self.settle(key);
        }
    }

    /// Sends what was held back.
    fn resend(&mut self, key: LineKey) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        let (moved_to, operations) = (line.moved_to.take(), line.order.release());
        if operations.is_empty() {
            return;
        }
        let node = moved_to.unwrap_or_else(|| self.address(key));
        for operation in operations {
            if operation.item.reply.is_closed() || operation.item.until <= Instant::now() {
                fail(operation.item);
                continue;
            }
            let line = self.lines.entry(key).or_default();
            if let Some(operation) = line.order.arrive(operation) {
                self.send(key, operation, &node);
            }
        }
    }
}
