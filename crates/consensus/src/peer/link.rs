//! The requesting side of one stream to one peer. The link lives as long as the node.
//!
//! A link reopens its stream whenever the stream ends, after a pause that grows. While the link is down, every request
//! is refused at once, and openraft backs off. When a stream ends, every pending request ends without an answer: it may
//! have been served or not. Answers carry the id of their request, so they may arrive in any order.
//!
//! A stream on which nothing, not even an answer to a ping, has arrived for [`SILENCE_MAX`] is closed. After a
//! partition TCP would otherwise wait for its own growing pauses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastness_events::Event;
use fastness_types::{GroupId, NodeId};
use fastness_wire::peer::v1::{Frame, LeaseResponse};
use futures::StreamExt as _;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::node::NodeCore;
use crate::peer::frame::{Envelope, Joiner, Kind, Outbox, QueueError, Urgency, lingered};
use crate::peer::identity::Admitted;
use crate::peer::transport::{Class, FrameStream, SILENCE_MAX, TransportError};

/// Pauses between attempts to connect.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A peer that does not send its hello in this time counts as unreachable.
const HELLO_TIME_MAX: Duration = Duration::from_millis(1500);
const PING_INTERVAL: Duration = Duration::from_millis(250);

/// Why a request was not sent, or got no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("no connection")]
    Down,
    #[error("not sent: {0}")]
    NotQueued(#[from] QueueError),
    #[error("the connection was closed before the answer arrived")]
    Ended,
    #[error("refused: {0}")]
    Refused(String),
    #[error("timed out")]
    Late,
    #[error("the answer cannot be decoded: {0}")]
    Answer(String),
}

/// The link for one class of traffic to one peer.
pub(crate) struct Link {
    peer: NodeId,
    class: Class,
    state: Mutex<LinkState>,
    wake: Notify,
}

#[derive(Default)]
struct LinkState {
    connected: bool,
    outbox: Outbox,
    /// In the order of the requests. When the stream ends, the waiting tasks are woken in that order.
    pending: BTreeMap<u64, oneshot::Sender<Envelope>>,
    last_id: u64,
    ping_due: Option<Bytes>,
    /// A new request replaces one that was not sent, because only the newest matters.
    lease_request: Option<Bytes>,
}

impl LinkState {
    fn next_frame(&mut self) -> Option<Frame> {
        let alone = |kind, payload| Some(Envelope::new(GroupId::CONTROL, kind, 0, payload).into_frame());
        if let Some(request) = self.lease_request.take() {
            return alone(Kind::LeaseRequest, request);
        }
        if let Some(ping) = self.ping_due.take() {
            return alone(Kind::Ping, ping);
        }
        self.outbox.next_frame()
    }
}

impl Link {
    /// The peer.
    pub(crate) fn peer(&self) -> NodeId {
        self.peer
    }

    pub(crate) fn new(peer: NodeId, class: Class) -> Link {
        Link { peer, class, state: Mutex::default(), wake: Notify::new() }
    }

    /// Queues a request. Requests of one group are sent in the order of these calls.
    pub(crate) fn request(
        &self,
        group: GroupId,
        kind: Kind,
        payload: Bytes,
        urgency: Urgency,
    ) -> Result<oneshot::Receiver<Envelope>, LinkError> {
        let mut state = self.state.lock();
        if !state.connected {
            return Err(LinkError::Down);
        }
        state.last_id += 1;
        let id = state.last_id;
        state.outbox.push(Envelope::new(group, kind, id, payload), urgency)?;
        let (answer, answered) = oneshot::channel();
        state.pending.insert(id, answer);
        drop(state);
        self.wake.notify_one();
        Ok(answered)
    }

    /// Sends a request and waits for the answer.
    pub(crate) async fn call(
        &self,
        group: GroupId,
        kind: Kind,
        payload: Bytes,
        time_max: Duration,
    ) -> Result<Bytes, LinkError> {
        let answered = self.request(group, kind, payload, Urgency::Now)?;
        let answer = tokio::time::timeout(time_max, answered).await.map_err(|_| LinkError::Late)?;
        answer_of(answer)
    }

    /// Sends the lease requests of one heartbeat, if the stream is up.
    pub(crate) fn send_lease_request(&self, payload: Bytes) {
        let mut state = self.state.lock();
        if state.connected {
            state.lease_request = Some(payload);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Runs until the node stops or the peer is replaced.
    pub(crate) async fn run(self: Arc<Self>, node: Arc<NodeCore>) {
        let mut pause = PAUSE_MIN;
        // The newest logged reason why the peer cannot be reached.
        let mut logged: Option<String> = None;
        while node.stopped().is_none() && node.identities.replaced_by(self.peer).is_none() {
            let attempt = async {
                let (stream, admitted) = self.open(&node).await?;
                pause = PAUSE_MIN;
                if logged.take().is_some() {
                    self.record(&node, Event::PeerReached { peer: self.peer });
                }
                self.state.lock().connected = true;
                self.observe(&node, true);
                self.serve(&node, stream, admitted).await;
                self.disconnected();
                self.observe(&node, false);
                Ok::<_, TransportError>(())
            };
            tokio::select! {
                biased;
                outcome = attempt => if let Err(error) = outcome {
                    self.record_failure(&node, &mut logged, &error);
                },
                () = node.until_stopped() => {}
            }
            if node.stopped().is_none() {
                tokio::time::sleep(node.jitter(pause)).await;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.disconnected();
    }

    /// Peers are observed through their heartbeat stream.
    fn observe(&self, node: &NodeCore, connected: bool) {
        if self.class == Class::Heartbeat {
            node.observed.set_connected(self.peer, connected);
        }
    }

    /// Records why the peer cannot be reached, once per reason instead of once per attempt.
    fn record_failure(&self, node: &NodeCore, recorded: &mut Option<String>, error: &TransportError) {
        let reason = error.to_string();
        if recorded.as_ref() != Some(&reason) {
            self.record(node, Event::PeerUnreachable { peer: self.peer, reason: reason.clone() });
            *recorded = Some(reason);
        }
    }

    /// Records an event of the peer, which is observed through its heartbeat stream. Of the other streams it only
    /// repeats that.
    fn record(&self, node: &NodeCore, event: Event) {
        match self.class {
            Class::Heartbeat => node.options.events.record(event),
            class => tracing::debug!(?class, ?event, "a stream to a peer"),
        }
    }

    async fn open(&self, node: &NodeCore) -> Result<(FrameStream, Admitted), TransportError> {
        let unreachable = |what: &str| TransportError::Unreachable(what.to_owned());
        let address = node.address(self.peer).ok_or_else(|| unreachable("no address known"))?;
        let opened = async {
            let mut stream = node.transport().open(self.peer, &address, self.class).await?;
            let hello = Envelope::new(GroupId::CONTROL, Kind::Hello, 0, node.hello(self.peer));
            stream.outgoing.send(hello.into_frame()).await.map_err(|_| unreachable("the stream ended"))?;
            let first = stream.incoming.next().await.ok_or_else(|| unreachable("the stream ended"))?;
            let hello = first.messages.into_iter().next().filter(|m| m.kind == Kind::Hello as u32);
            let hello = hello.ok_or_else(|| unreachable("no hello"))?;
            let admitted = node.verify_hello(self.peer, hello.payload).await;
            Ok((stream, admitted.map_err(|refusal| TransportError::Identity(refusal.to_string()))?))
        };
        tokio::time::timeout(HELLO_TIME_MAX, opened).await.map_err(|_| unreachable("no hello in time"))?
    }

    async fn serve(&self, node: &NodeCore, stream: FrameStream, mut admitted: Admitted) {
        let mut joiner = Joiner::default();
        let FrameStream { outgoing, mut incoming } = stream;
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut next: Option<Frame> = None;
        loop {
            let leaves_at = {
                let mut state = self.state.lock();
                next = next.or_else(|| state.next_frame());
                state.outbox.leaves_at()
            };
            tokio::select! {
                biased;
                frame = incoming.next() => {
                    heard = Instant::now();
                    let Some(frame) = frame else { return };
                    if !node.identities.still_admits(self.peer, &mut admitted) {
                        return;
                    }
                    for message in frame.messages {
                        match joiner.push(message) {
                            Ok(Some(envelope)) => self.received(node, envelope),
                            Ok(None) => {}
                            Err(error) => {
                                tracing::warn!(peer = %self.peer, %error, "a peer violates the protocol; the stream is closed");
                                return;
                            }
                        }
                    }
                }
                sent = send(&outgoing, &mut next), if next.is_some() => if !sent { return },
                () = self.wake.notified(), if next.is_none() => {}
                () = lingered(leaves_at), if next.is_none() => {}
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        tracing::debug!(peer = %self.peer, class = ?self.class, "nothing received; the stream is closed");
                        return;
                    }
                    self.state.lock().ping_due = Some(node.ping(self.peer, self.class));
                }
            }
        }
    }

    fn received(&self, node: &NodeCore, envelope: Envelope) {
        match Kind::from_number(envelope.kind) {
            Some(Kind::Pong) => node.ponged(self.peer, envelope.payload),
            Some(Kind::LeaseResponse) => match LeaseResponse::decode(envelope.payload) {
                Ok(answer) => node.lease_answered(self.peer, &answer),
                Err(error) => tracing::warn!(peer = %self.peer, %error, "a lease response cannot be decoded"),
            },
            _ => {
                if let Some(requester) = self.state.lock().pending.remove(&envelope.id) {
                    // The requester may have timed out.
                    let _ = requester.send(envelope);
                }
            }
        }
    }

    /// Ends all pending requests without an answer.
    fn disconnected(&self) {
        let mut state = self.state.lock();
        let LinkState { last_id, .. } = *state;
        *state = LinkState { last_id, ..LinkState::default() };
    }
}

/// The payload of an answer, or the reason why there is none.
pub(crate) fn answer_of(answer: Result<Envelope, oneshot::error::RecvError>) -> Result<Bytes, LinkError> {
    let answer = answer.map_err(|_| LinkError::Ended)?;
    if answer.kind == Kind::Refused as u32 {
        return Err(LinkError::Refused(String::from_utf8_lossy(&answer.payload).into_owned()));
    }
    Ok(answer.payload)
}

/// Sends the frame once the stream has space for it. If this is cancelled before that, `next` keeps the frame.
pub(crate) async fn send(outgoing: &mpsc::Sender<Frame>, next: &mut Option<Frame>) -> bool {
    let Ok(permit) = outgoing.reserve().await else { return false };
    if let Some(frame) = next.take() {
        permit.send(frame);
    }
    true
}
