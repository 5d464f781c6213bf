//! The streams of a pipeline: one to each node that is needed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use fastness_wire::v1;
use futures::channel::mpsc::{Sender, channel};
use futures::future::ready as now;
use futures::stream::{BoxStream, SelectAll, Stream, StreamExt as _, once, poll_fn};
use futures::task::AtomicWaker;
use tonic::Status;

use super::held::Reading;
use super::order::{LineKey, Numbered};
use super::submitted::Submitted;
use crate::calls::ClientCore;
use crate::error::ClientError;

pub(super) struct NodeStream {
    /// Tells it from an earlier stream to the same node.
    id: u64,
    pub(super) to_node: Sender<v1::PipelineRequest>,
    /// Without an answer yet, in their order.
    pub(super) sent: VecDeque<(LineKey, Numbered<Submitted>)>,
    gate: Arc<AnswerGate>,
}

pub(super) enum NodeEvent {
    Answer(v1::PipelineResponse),
    /// It has ended: before the node accepted it, or later.
    Ended {
        was_accepted: bool,
        status: Status,
    },
}

type NodeEvents = BoxStream<'static, (Arc<str>, u64, NodeEvent)>;

/// Whether the answers of a stream are read. As long as they are not, they wait at the node, which bounds them.
#[derive(Debug, Default)]
struct AnswerGate {
    is_closed: AtomicBool,
    waker: AtomicWaker,
}

impl AnswerGate {
    fn set(&self, is_open: bool) {
        if self.is_closed.swap(!is_open, Ordering::AcqRel) && is_open {
            self.waker.wake();
        }
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_closed.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // It may have been opened meanwhile.
        if self.is_closed.load(Ordering::Acquire) { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Reads answers while the gate is open.
fn gated(mut answers: BoxStream<'static, NodeEvent>, gate: Arc<AnswerGate>) -> impl Stream<Item = NodeEvent> + Send {
    poll_fn(move |cx| {
        ready!(gate.poll_open(cx));
        answers.poll_next_unpin(cx)
    })
}

/// See the module.
pub(super) struct NodeStreams {
    /// How many operations may be in flight.
    capacity: usize,
    by_node: HashMap<Arc<str>, NodeStream>,
    opened: u64,
    events: SelectAll<NodeEvents>,
    reading: Reading,
}

impl NodeStreams {
    pub(super) fn new(capacity: usize) -> NodeStreams {
        let (by_node, events) = (HashMap::new(), SelectAll::new());
        NodeStreams { capacity, by_node, opened: 0, events, reading: Reading::All }
    }

    /// The stream to a node, which is opened if there is none.
    ///
    /// # Errors
    /// The address is not valid.
    pub(super) fn open(&mut self, core: &ClientCore, node: &Arc<str>) -> Result<&mut NodeStream, ClientError> {
        if !self.by_node.contains_key(node) {
            let mut client = core.node(node)?;
            let (to_node, requests) = channel(self.capacity);
            let request = core.authorized(requests);
            self.opened += 1;
            let (id, gate) = (self.opened, Arc::<AnswerGate>::default());
            let ended = |was_accepted, status| NodeEvent::Ended { was_accepted, status };
            let opened_gate = gate.clone();
            let events = once(async move { client.pipeline(request).await }).flat_map(move |opened| match opened {
                Ok(response) => {
                    let answers = response.into_inner().map(move |answer| match answer {
                        Ok(answer) => NodeEvent::Answer(answer),
                        Err(status) => ended(true, status),
                    });
                    let answers = answers.chain(once(now(ended(true, Status::unknown("by the node")))));
                    gated(answers.boxed(), opened_gate.clone()).boxed()
                }
                Err(status) => once(now(ended(false, status))).boxed(),
            });
            let name = node.clone();
            self.events.push(events.map(move |event| (name.clone(), id, event)).boxed());
            self.by_node.insert(node.clone(), NodeStream { id, to_node, sent: VecDeque::new(), gate });
        }
        self.get_mut(node).ok_or_else(|| ClientError::invalid("no stream"))
    }

    pub(super) fn get_mut(&mut self, node: &Arc<str>) -> Option<&mut NodeStream> {
        self.by_node.get_mut(node)
    }

    /// The stream to a node if it is still this one.
    pub(super) fn current(&mut self, node: &Arc<str>, id: u64) -> Option<&mut NodeStream> {
        self.by_node.get_mut(node).filter(|stream| stream.id == id)
    }

    /// Removes a stream that has ended.
    pub(super) fn remove(&mut self, node: &Arc<str>) -> Option<NodeStream> {
        let stream = self.by_node.remove(node)?;
        // What is left of it is read to its end.
        stream.gate.set(true);
        Some(stream)
    }

    /// Says which streams are read from now on.
    pub(super) fn read(&mut self, reading: Reading) {
        if reading == Reading::All && self.reading == Reading::All {
            return;
        }
        self.reading = reading;
        for stream in self.by_node.values() {
            stream.gate.set(match reading {
                Reading::All => true,
                Reading::Line(line) => stream.sent.iter().any(|(key, _)| *key == line),
                Reading::Nothing => false,
            });
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What is received next.
    pub(super) async fn next(&mut self) -> Option<(Arc<str>, u64, NodeEvent)> {
        self.events.next().await
    }
}
