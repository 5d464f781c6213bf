//! The connection of a reader outside of the cluster, once it has become a replica (PSYNC, SYNC): it is sent what its
//! stream makes ([`crate::replication_out`]), and says how far it is (`REPLCONF ACK`). No command of it runs any more.
//!
//! A reader that takes nothing although something waits for it, that does not confirm the file, or that has confirmed
//! offsets and confirms none any more, is cut off after [`OUTBOUND_STALL_MAX`].

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use fastness_engine::command::CommandSpec;
use fastness_resp::request::{self, ArgSpans};
use fastness_resp::{Args, Limits, Parsed};
use fastness_types::limits::OUTBOUND_STALL_MAX;
use tokio::io::{Interest, Ready};

use super::ReplicaServer;
use super::clients::Client;
use super::received::Filled;
use super::stats::add;
use super::stream::ClientStream;
use crate::replication_out::{
    self, OutboundReader, OutboundRequest, OutboundSource, OutboundState, Outlet, QueuedBytes,
};
use crate::snapshots::SnapshotFiles;

/// Bytes that a reader may send without a complete request.
const RECEIVED_BYTES_MAX: usize = 64 * 1024;
/// Space made for one read, bytes.
const READ_BYTES: usize = 4 * 1024;
/// How often it is checked whether the reader is too slow, and whether its user may still read.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A connection that is a reader's.
struct Feed<'a> {
    server: &'a ReplicaServer,
    client: &'a Rc<Client>,
    stream: &'a mut ClientStream,
    reader: Arc<OutboundReader>,
    spec: &'static CommandSpec,
    /// What is being sent.
    piece: Bytes,
    received: Vec<u8>,
    /// When it last took or sent something.
    moved_at: Instant,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoesOn,
    Ends,
}

/// Sends a stream to the connection until either ends.
pub(super) async fn feed(server: &ReplicaServer, client: &Rc<Client>, stream: &mut ClientStream, outlet: Outlet) {
    let Outlet { request, reader, files, spec } = outlet;
    let queue = match start(server, &reader, files, request) {
        Ok(queue) => queue,
        Err(error) => {
            tracing::error!(reader = reader.name(), %error, "no stream can be started for a replica outside of the cluster");
            return;
        }
    };
    let (piece, received, moved_at) = (Bytes::new(), Vec::new(), Instant::now());
    let mut feed = Feed { server, client, stream, reader, spec, piece, received, moved_at };
    if let Err(error) = feed.run(queue).await {
        feed.reader.end(format!("the connection broke: {error}"));
    }
}

/// Starts the stream. If something has committed since the newest snapshot, it starts with a new one.
fn start(
    server: &ReplicaServer,
    reader: &Arc<OutboundReader>,
    files: SnapshotFiles,
    request: OutboundRequest,
) -> io::Result<QueuedBytes> {
    let Some(handle) = server.node.group(server.shard_id) else {
        return Err(io::Error::other("this node has no replica of the shard any more"));
    };
    let from = handle.applied();
    if request.with_data && files.newest().is_none_or(|newest| newest < from) {
        server.shard.snapshot();
    }
    let keys = server.shard.with_engine(|engine| engine.keyspace_stats().keys);
    let source = OutboundSource { node: server.node.clone(), handle, files, from, keys };
    replication_out::start(source, reader.clone(), request)
}

impl Feed<'_> {
    async fn run(&mut self, mut queue: QueuedBytes) -> io::Result<()> {
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut has_ended = false;
        loop {
            let waits = !self.piece.is_empty() || self.stream.wants_flush();
            if has_ended && !waits {
                return Ok(());
            }
            let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let has_plaintext = self.stream.has_plaintext();
            let (client, stream, piece) = (self.client, &mut *self.stream, &self.piece);
            let ready = async {
                match has_plaintext {
                    true => Ok(Ready::READABLE),
                    false => stream.ready(interest).await,
                }
            };
            tokio::select! {
                killed = client.killed_or_called() => if killed {
                    return Ok(());
                },
                ready = ready => {
                    if self.note_ready(ready?)? == Next::Ends {
                        return Ok(());
                    }
                    // Fairness: others on this thread run between two pieces.
                    tokio::task::yield_now().await;
                }
                next = queue.recv(), if piece.is_empty() && !has_ended => match next {
                    Some(next) => {
                        self.piece = next;
                        self.send()?;
                    }
                    None => has_ended = true,
                },
                _ = check.tick() => {
                    if self.check(waits) == Next::Ends {
                        return Ok(());
                    }
                }
            }
            self.client.unsent_bytes.set(self.piece.len());
        }
    }

    fn note_ready(&mut self, ready: Ready) -> io::Result<Next> {
        if ready.is_writable() {
            self.stream.flush()?;
            self.send()?;
        }
        if ready.is_readable() || ready.is_read_closed() { self.read() } else { Ok(Next::GoesOn) }
    }

    /// Sends of the piece what is taken at once.
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let len = self.stream.send(&self.piece)?;
        if len > 0 {
            self.piece.advance(len);
            self.moved_at = Instant::now();
            add(&self.server.stats.bytes_out, len as u64);
            add(&self.client.bytes_out, len as u64);
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<Next> {
        self.received.reserve(READ_BYTES);
        let before = self.received.len();
        let filled = self.stream.fill(&mut self.received)?;
        let len = self.received.len() - before;
        add(&self.server.stats.bytes_in, len as u64);
        add(&self.client.bytes_in, len as u64);
        match filled {
            Filled::End => return Ok(Next::Ends),
            Filled::Bytes(0) => return Ok(Next::GoesOn),
            Filled::Bytes(_) => {}
        }
        let now = Instant::now();
        self.moved_at = now;
        self.client.active_at.set(now);
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        let mut spans = ArgSpans::new();
        loop {
            match request::parse(rest, &mut spans, &Limits::DEFAULT) {
                Ok(Parsed::Complete { consumed }) => {
                    if note_request(&self.reader, spans.args(rest)) == Next::Ends {
                        return Ok(Next::Ends);
                    }
                    rest = &rest[consumed..];
                }
                Ok(Parsed::Incomplete { .. }) if rest.len() <= RECEIVED_BYTES_MAX => break,
                Ok(Parsed::Incomplete { .. }) | Err(_) => {
                    self.reader.end("the reader has sent what is no request");
                    return Ok(Next::Ends);
                }
            }
        }
        self.received = rest.to_vec();
        Ok(Next::GoesOn)
    }

    /// Checks whether the reader is too slow, and whether its user may still read. `waits`: something waits for it.
    fn check(&mut self, waits: bool) -> Next {
        let is_late = |at: Instant| at.elapsed() > OUTBOUND_STALL_MAX;
        // Tools that know SYNC alone confirm once, and never again.
        let confirmed = self.reader.acknowledged().filter(|_| self.spec.name == "psync");
        let slow = if waits && is_late(self.moved_at) {
            Some("it takes nothing")
        } else if self.reader.state() == OutboundState::AwaitsReader && is_late(self.moved_at) {
            Some("it does not confirm the file")
        } else {
            confirmed.filter(|(_, at)| is_late(*at)).map(|_| "it confirms nothing")
        };
        if let Some(slow) = slow {
            self.server.node.outbound.count_cut_off();
            self.reader.end(format!("the reader is cut off: {slow}"));
            return Next::Ends;
        }
        self.client.renew(&self.server.node.accounts);
        let args = Args::slices(&[b"psync", b"?", b"-1"]);
        let may_read = self.client.account().is_some_and(|account| account.user.check(self.spec, args).is_ok());
        if self.client.is_outdated() || !may_read {
            self.reader.end("the user may not use the command any more");
            return Next::Ends;
        }
        Next::GoesOn
    }
}

/// Notes what a reader has sent. Whatever is not REPLCONF ACK or QUIT has no effect, and no reply: a reply would be
/// taken for a part of the stream.
fn note_request(reader: &OutboundReader, args: Args<'_>) -> Next {
    let is = |at: usize, word: &str| args.try_get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    if is(0, "replconf") && is(1, "ack") {
        let offset = args.try_get(2).and_then(fastness_resp::number::parse_int);
        if let Some(offset) = offset.and_then(|offset| u64::try_from(offset).ok()) {
            reader.acknowledge(offset);
        }
    }
    if is(0, "quit") { Next::Ends } else { Next::GoesOn }
}
