//! One connection's life on the loop's thread: read, parse, run, send what may leave.
//!
//! Rules:
//! - Commands run in the order in which they came, as many as were received in one go, and for no longer than
//!   [`limits::CONNECTION_SLICE`] at a time: then others have their turn, and replies leave, between two commands. A
//!   client that has gone is found out by these, and what it had sent beyond is dropped.
//! - What has arrived together meets one answer of the lag gate, however many slices it takes: the gate's answer to the
//!   first slice stays. Safe both ways: refusing always is, and an acknowledgement looks at the lag again when it is
//!   about to leave. Every slice reads the clock anew, so the lease is compared with a fresh one.
//! - The shard reads its clock after the bytes of a command were read: it is asked only for what is in the buffer.
//! - Replies of a client that does not read are kept in memory, and its commands are read and run meanwhile, so that a
//!   pipeline which is written completely before anything is read is answered. What may wait so is bounded
//!   (`unsent_max`): by `client-output-buffer-limit`, by less once `maxmemory` is reached, by next to nothing for a
//!   stranger. One turn adds [`TURN_REPLY_BYTES`] and one reply at most, then others have their turn.
//! - No more is read while the log is behind or a command waits.
//! - Nothing waits for ever without a word: a client that does not read although no more can be kept for it, and a
//!   reply or a command that the log has kept waiting for too long, close the connection with a log line
//!   ([`super::clients::Clients::close_stuck`]).
//! - A client that has closed its side gets every reply to what it had sent, then the end.
//! - After a protocol error, QUIT or a limit, what may still leave is sent and the connection is closed.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fail::fail_point;
use fastness_engine::Key;
use fastness_resp::request::HEAP_BYTES_KEPT;
use fastness_resp::{ArgSpans, Args, Limits, Parsed, ProtocolError};
use fastness_shard::{ClientShare, Now, Outcome, PendingReply, Release, Session, WaitAnswer, WaitsFor};
use fastness_types::limits;
use tokio::io::Interest;

use super::attribute::Asked;
use super::blocked::{Blocked, unblocked, wait};
use super::clients::{Client, ReplyMode, Unblock};
use super::command::ConnectionFrontEnd;
use super::release::{Fate, Replies};
use super::stats::add;
use super::stream::{ClientStream, Closed, Filled};
use super::{ReplicaServer, attribute};
use crate::config::Config;

/// Replies that one turn of a connection adds, bytes; the last one may be longer.
pub const TURN_REPLY_BYTES: usize = 256 * 1024;
/// Replies that have not left, bytes: once `maxmemory` is reached, no further command of the connection runs at it.
pub const UNSENT_BYTES_SOFT: usize = 256 * 1024;
/// The same for a connection that has to give a password and has not: what strangers can make the server hold.
pub const UNSENT_BYTES_SOFT_UNAUTHENTICATED: usize = 1024;
/// Room made for one read, bytes.
const READ_BYTES: usize = 64 * 1024;
/// Capacity that a connection's own read buffer keeps once it is empty.
const OWN_BUFFER_BYTES_KEPT: usize = 0;
/// Held and unsent replies of a connection that is being closed get this long to leave.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// After the last reply a client gets this long to close its side. What it sends meanwhile is read and dropped: a
/// socket that is closed over unread bytes resets the connection, and replies that are on their way are lost.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// How soon it is noticed that a client has closed its side while its command waits and nothing is read from it.
const CLOSED_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Commands parsed ahead of the one that runs.
const AHEAD_MAX: usize = 16;
/// What a connection takes that holds nothing. Of the places of arguments only those of a command that is not whole yet
/// are counted beside it: the others keep at most [`HEAP_BYTES_KEPT`] each.
const CONNECTION_BYTES: usize = size_of::<Connection>() + size_of::<Client>() + (AHEAD_MAX + 1) * size_of::<ArgSpans>();
/// A first argument longer than this is not taken for a key before its command says so, bytes.
const KEY_AHEAD_BYTES_MAX: usize = 256;

/// Commands that were parsed: `starts[i]..starts[i + 1]` in the buffer.
struct Ahead {
    count: usize,
    starts: [usize; AHEAD_MAX + 1],
    stop: Stop,
}

/// What is known of a command before it runs.
#[derive(Clone, Copy)]
struct Moment<'a> {
    /// Read after its bytes were.
    now: Now,
    /// What stands first behind its name.
    first: Option<Key<'a>>,
}

/// Why no more were parsed.
enum Stop {
    /// There were enough, or the buffer is empty.
    Full,
    /// The next one is not whole.
    Incomplete {
        /// See [`Parsed::Incomplete`].
        needed: usize,
    },
    /// The next one is none.
    Error(ProtocolError),
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client has closed it and has every reply, or it broke.
    Gone,
    /// QUIT, a protocol error, CLIENT KILL of itself: what is written is sent first.
    AfterReplies,
    /// CLIENT KILL, idle, over a limit, the node stops: at once.
    Now,
}

/// Something happened.
enum Event {
    Socket(io::Result<tokio::io::Ready>),
    /// A reply may leave, or a command may run.
    Released,
    Unblocked(Option<WaitAnswer>),
    Killed,
    /// The client has closed its side while its command waited.
    Closed(Closed),
}

struct Connection {
    server: Rc<ReplicaServer>,
    client: Rc<Client>,
    stream: ClientStream,
    session: Session,
    /// Received and not executed; empty most of the time, see [`ReplicaServer::read_buffer`].
    input: Vec<u8>,
    /// Places of the commands that are parsed ahead, and of one that is not whole yet (always the first).
    spans: Vec<ArgSpans>,
    /// The length of `input` at which parsing goes on.
    needed: usize,
    replies: Replies,
    blocked: Option<Blocked>,
    /// The last slice has ended with commands left.
    sliced: bool,
    /// What is left of bytes that arrived together and take more than one slice.
    sliced_bytes: usize,
    /// The client has closed its side, and everything before that was read.
    input_ended: bool,
    /// It was seen that the client has closed its side while its command waited.
    closed_seen: bool,
    /// The bytes of unsent replies at which the turn ends.
    turn_max: usize,
    /// When the newest command ended.
    last_ended: Instant,
    /// What the oldest held reply waited for at the last look.
    oldest_held: Option<PendingReply>,
    /// What all this takes.
    share: ClientShare,
}

/// Serves one connection that is entered, until it ends.
pub(super) async fn serve(server: &Rc<ReplicaServer>, client: &Rc<Client>, stream: ClientStream) {
    add(&server.stats.connections, 1);
    let session = server.shard.session();
    let mut connection = Connection {
        client: client.clone(),
        stream,
        session,
        input: Vec::new(),
        spans: (0..=AHEAD_MAX).map(|_| ArgSpans::default()).collect(),
        needed: 1,
        replies: Replies::default(),
        blocked: None,
        sliced: false,
        sliced_bytes: 0,
        input_ended: false,
        closed_seen: false,
        turn_max: 0,
        last_ended: Instant::now(),
        oldest_held: None,
        share: server.shard.client_share(),
        server: server.clone(),
    };
    let end = connection.run().await;
    if end == End::AfterReplies {
        // Bounded: a client that does not read must not keep its connection.
        let _ = tokio::time::timeout(CLOSE_GRACE, connection.drain()).await;
    }
    connection.stream.close();
    if end == End::AfterReplies {
        let _ = tokio::time::timeout(LINGER_MAX, connection.stream.read_away()).await;
    }
}

impl Connection {
    async fn run(&mut self) -> End {
        loop {
            if !self.sliced
                && let Err(end) = self.execute()
            {
                return end;
            }
            let held = match self.send() {
                Ok(held) => held,
                Err(_) => return End::Gone,
            };
            if let Err(end) = self.check_output() {
                return end;
            }
            if self.client.is_killed() {
                return End::Now;
            }
            if self.has_more_to_run() {
                // Fairness: others on this thread get their turn between two chunks.
                tokio::task::yield_now().await;
                self.sliced = false;
                continue;
            }
            self.sliced = false;
            if self.input_ended && self.blocked.is_none() && !self.has_unsent() {
                return End::Gone;
            }
            match self.next_event(held).await {
                Event::Killed => return End::Now,
                Event::Closed(closed) => {
                    if let Err(end) = self.note_closed(closed) {
                        return end;
                    }
                }
                Event::Released => {}
                Event::Unblocked(answer) => self.unblock(answer),
                Event::Socket(Err(_)) => return End::Gone,
                Event::Socket(Ok(ready)) => {
                    if ready.is_writable() && self.stream.flush().is_err() {
                        return End::Gone;
                    }
                    if (ready.is_readable() || ready.is_read_closed())
                        && self.may_read()
                        && let Err(end) = self.read_and_execute()
                    {
                        return end;
                    }
                }
            }
        }
    }

    /// Sends what is written, as far as the client takes it. Nothing is read any more.
    async fn drain(&mut self) {
        self.input_ended = true;
        self.blocked = None;
        while let Ok(held) = self.send()
            && self.has_unsent()
        {
            match self.next_event(held).await {
                Event::Socket(Ok(ready)) if ready.is_writable() && self.stream.flush().is_ok() => {}
                Event::Released => {}
                _ => return,
            }
        }
    }

    fn has_unsent(&self) -> bool {
        self.replies.unsent() > 0 || self.stream.wants_flush()
    }

    /// The client has closed its side while its command waits. What it has sent is answered: the command that waits, as
    /// well as those after it. A WAIT, which may be for ever, ends as if its time were over.
    fn note_closed(&mut self, closed: Closed) -> Result<(), End> {
        self.closed_seen = true;
        self.client.ask_to_unblock(Unblock::TimedOut);
        if closed == Closed::Broken { Err(End::Gone) } else { Ok(()) }
    }

    /// Whether bytes are taken from the socket.
    fn may_read(&self) -> bool {
        !self.input_ended && self.may_run()
    }

    /// Whether a command may run now.
    fn may_run(&self) -> bool {
        self.blocked.is_none() && !self.is_withheld()
    }

    /// Whether so many replies have not left that no further command runs until some have.
    fn is_withheld(&self) -> bool {
        let unsent = self.replies.unsent();
        unsent >= UNSENT_BYTES_SOFT_UNAUTHENTICATED && unsent >= self.unsent_max()
    }

    /// The bytes of unsent replies at which no further command runs.
    fn unsent_max(&self) -> usize {
        if !self.client.authenticated.get() {
            return UNSENT_BYTES_SOFT_UNAUTHENTICATED;
        }
        if self.server.shard.with_engine(|engine| engine.is_out_of_memory()) {
            return UNSENT_BYTES_SOFT;
        }
        // Over it by what the client does not take, it is closed; by what waits for a commit, it waits.
        match self.server.node.config.load().client_output_buffer_limit.hard_bytes {
            0 => usize::MAX,
            hard => usize::try_from(hard).unwrap_or(usize::MAX).max(UNSENT_BYTES_SOFT),
        }
    }

    /// Whether there are commands in the buffer that were left because the turn was over.
    fn has_more_to_run(&self) -> bool {
        !self.input.is_empty() && self.input.len() >= self.needed && self.may_run()
    }

    async fn next_event(&mut self, held: Option<PendingReply>) -> Event {
        let read = self.may_read();
        if read && self.stream.has_plaintext() {
            return Event::Socket(Ok(tokio::io::Ready::READABLE));
        }
        let write = self.stream.wants_flush() || !self.replies.sendable().is_empty();
        let interest = match (read, write) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        let looks = self.blocked.is_some() && !self.closed_seen;
        let Connection { stream, client, blocked, server, session, .. } = self;
        let socket = async {
            match interest {
                Some(interest) => stream.ready(interest).await,
                None => std::future::pending().await,
            }
        };
        let closed = async {
            match looks {
                true => stream.closed(CLOSED_LOOK_EVERY).await,
                false => std::future::pending().await,
            }
        };
        let is_unread = client.unread_since.get().is_some();
        let again = async {
            match is_unread {
                true => client.asked_again().await,
                false => std::future::pending().await,
            }
        };
        let released = async {
            match held {
                Some(hold) => server.shard.wait_released(session, hold).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = client.killed() => Event::Killed,
            () = released => Event::Released,
            answer = unblocked(blocked) => Event::Unblocked(answer),
            ready = socket => Event::Socket(ready),
            closed = closed => Event::Closed(closed),
            () = again => Event::Released,
        }
    }

    fn unblock(&mut self, answer: Option<WaitAnswer>) {
        self.blocked = None;
        self.client.set_waiting(false);
        let Some(answer) = answer else { return };
        match self.client.reply_mode.get() {
            ReplyMode::On => answer.write(&mut self.replies.out),
            ReplyMode::Off => {}
            ReplyMode::SkipNext => self.client.reply_mode.set(ReplyMode::On),
        }
    }

    /// Reads once and runs what came.
    fn read_and_execute(&mut self) -> Result<(), End> {
        let shared = self.input.is_empty();
        let mut buffer = if shared { self.server.read_buffer.take() } else { std::mem::take(&mut self.input) };
        if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            // Doubles at most; never by what a client has declared.
            buffer.reserve(READ_BYTES.max(buffer.len()));
        }
        if shared {
            self.session.arrived();
        }
        fail_point!("server::read");
        let before = buffer.len();
        let filled = self.stream.fill(&mut buffer);
        add(&self.server.stats.bytes_in, (buffer.len() - before) as u64);
        add(&self.client.bytes_in, (buffer.len() - before) as u64);
        let result = match filled {
            Err(_) => Err(End::Gone),
            Ok(Filled::End) => {
                self.input_ended = true;
                Ok(0)
            }
            Ok(Filled::Bytes(0)) => Ok(0),
            Ok(Filled::Bytes(_)) => {
                add(&self.server.stats.reads, 1);
                self.client.active_at.set(Instant::now());
                self.execute_buffer(&buffer)
            }
        };
        let consumed = *result.as_ref().unwrap_or(&0);
        self.keep_rest(buffer, consumed, shared);
        result?;
        let limit = self.server.node.config.load().client_query_buffer_limit;
        if self.input.len() as u64 > limit {
            add(&self.server.stats.query_limit_closes, 1);
            if let Some(others) = self.server.node.throttles.query.permit() {
                let client = self.client.address;
                tracing::warn!(%client, limit, others, "closed: more was sent than may wait to be executed");
            }
            return Err(End::Now);
        }
        Ok(())
    }

    /// Runs what is left in the connection's own buffer.
    fn execute(&mut self) -> Result<(), End> {
        if !self.has_more_to_run() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.input);
        let result = self.execute_buffer(&buffer);
        let consumed = *result.as_ref().unwrap_or(&0);
        self.keep_rest(buffer, consumed, false);
        result.map(|_| ())
    }

    /// Puts the buffer back where it came from, and what was not executed into the connection's own.
    fn keep_rest(&mut self, mut buffer: Vec<u8>, consumed: usize, shared: bool) {
        self.keep_gate(buffer.len() - consumed, consumed);
        if shared {
            self.input.extend_from_slice(&buffer[consumed..]);
            buffer.clear();
            self.server.read_buffer.set(buffer);
        } else {
            buffer.drain(..consumed);
            if buffer.is_empty() {
                buffer.shrink_to(OWN_BUFFER_BYTES_KEPT);
            }
            self.input = buffer;
        }
    }

    /// What arrived together meets one answer of the lag gate: noted when a first slice ends with `left` bytes,
    /// forgotten when these have been consumed.
    fn keep_gate(&mut self, left: usize, consumed: usize) {
        if self.sliced_bytes > 0 {
            self.sliced_bytes = self.sliced_bytes.saturating_sub(consumed);
            if self.sliced_bytes == 0 {
                self.session.release_gate();
            }
        } else if self.sliced && left > 0 {
            self.sliced_bytes = left;
            self.server.shard.keep_gate(&mut self.session);
        }
    }

    /// Runs the commands at the start of `buffer`, for one slice; returns how many bytes they were.
    ///
    /// A few commands are parsed ahead and their keys' places in memory asked for, so that the waits for memory
    /// overlap.
    fn execute_buffer(&mut self, buffer: &[u8]) -> Result<usize, End> {
        let config = self.server.node.config.load();
        let mut consumed = 0;
        let mut began = Instant::now();
        let slice_ends = began + limits::CONNECTION_SLICE;
        self.needed = 1;
        self.replies.close_block();
        self.turn_max = self.unsent_max().min(self.replies.unsent() + TURN_REPLY_BYTES);
        while consumed < buffer.len() && self.is_in_turn() {
            let limits = Limits {
                bulk_bytes_max: config.proto_max_bulk_len as usize,
                authenticated: self.client.authenticated.get(),
                ..Limits::DEFAULT
            };
            let rest = &buffer[consumed..];
            let ahead = self.parse_ahead(rest, &limits);
            let firsts = self.look_ahead(rest, &ahead);
            // One reading for all of them: their bytes are here, and they run without a wait between them.
            let now = self.server.shard.now();
            for (i, first) in firsts.into_iter().enumerate().take(ahead.count) {
                let (start, end) = (ahead.starts[i], ahead.starts[i + 1]);
                let at = Moment { now, first };
                let ready = self.is_in_turn() && self.execute_one(i, &rest[start..end], at, &config, &mut began)?;
                if !ready {
                    self.sliced = self.blocked.is_none();
                    // What was parsed ahead is parsed again: the buffer will have moved.
                    self.spans.iter_mut().for_each(ArgSpans::reset);
                    return Ok(consumed + start);
                }
                if began >= slice_ends && consumed + end < buffer.len() {
                    self.sliced = true;
                    self.spans.iter_mut().for_each(ArgSpans::reset);
                    return Ok(consumed + end);
                }
            }
            consumed += ahead.starts[ahead.count];
            self.sliced = consumed < buffer.len() && self.blocked.is_none() && !self.is_in_turn();
            match ahead.stop {
                Stop::Full => {}
                Stop::Incomplete { needed } => {
                    // It resumes where it is: the place for the first command of the next round.
                    self.spans.swap(0, ahead.count);
                    self.needed = needed;
                    break;
                }
                // A command before it may have changed the limits: parsed again.
                Stop::Error(_) if ahead.count > 0 => self.spans.iter_mut().for_each(ArgSpans::reset),
                Stop::Error(error) => {
                    tracing::debug!(client = %self.client.address, %error, "protocol error");
                    let mut text = b"ERR ".to_vec();
                    text.extend_from_slice(&error.text());
                    self.replies.out.error(&text);
                    return Err(End::AfterReplies);
                }
            }
        }
        Ok(consumed)
    }

    /// Whether the turn is not over. A stranger that has just given the password is in its own next turn.
    fn is_in_turn(&self) -> bool {
        self.blocked.is_none() && self.replies.unsent() < self.turn_max
    }

    fn parse_ahead(&mut self, bytes: &[u8], limits: &Limits) -> Ahead {
        let mut ahead = Ahead { count: 0, starts: [0; AHEAD_MAX + 1], stop: Stop::Full };
        while ahead.count < AHEAD_MAX && ahead.starts[ahead.count] < bytes.len() {
            let start = ahead.starts[ahead.count];
            match fastness_resp::request::parse(&bytes[start..], &mut self.spans[ahead.count], limits) {
                Ok(Parsed::Complete { consumed }) => {
                    ahead.count += 1;
                    ahead.starts[ahead.count] = start + consumed;
                }
                Ok(Parsed::Incomplete { needed }) => {
                    ahead.stop = Stop::Incomplete { needed };
                    break;
                }
                Err(error) => {
                    ahead.stop = Stop::Error(error);
                    break;
                }
            }
        }
        ahead
    }

    /// What stands first behind the name is a key more often than not: its place is worked out here, once, and what
    /// stands there is asked for.
    fn look_ahead<'b>(&self, bytes: &'b [u8], ahead: &Ahead) -> [Option<Key<'b>>; AHEAD_MAX] {
        let mut keys = [None; AHEAD_MAX];
        self.server.shard.with_engine(|engine| {
            for (i, key) in keys.iter_mut().enumerate().take(ahead.count) {
                let first = self.spans[i].first(&bytes[ahead.starts[i]..ahead.starts[i + 1]]);
                *key = first.filter(|arg| arg.len() <= KEY_AHEAD_BYTES_MAX).map(|arg| engine.key(arg));
            }
            if ahead.count > 1 {
                engine.prefetch(keys.iter().flatten());
            }
        });
        keys
    }

    /// Runs a command that was parsed; `false`: it has to be run again.
    fn execute_one(
        &mut self,
        i: usize,
        bytes: &[u8],
        at: Moment<'_>,
        config: &Config,
        began: &mut Instant,
    ) -> Result<bool, End> {
        if self.spans[i].is_empty() {
            return Ok(true);
        }
        let start = self.replies.out.len();
        let args = self.spans[i].args(bytes);
        let mut server = ConnectionFrontEnd { replica: &self.server, client: &self.client, spec: None };
        let outcome = match self.spans[i].attribute(bytes).map(attribute::read).transpose() {
            Ok(asked) => {
                let Asked { ask, reads } = asked.unwrap_or_default();
                let call = self.server.shard.call(args, at.now).with_first(at.first).with_ask(ask).with_reads(reads);
                self.server.executing.set(true);
                fail_point!("server::executing");
                let outcome = self.server.shard.run(&mut self.session, call, &mut self.replies.out, &mut server);
                self.server.executing.set(false);
                outcome
            }
            Err(text) => {
                self.session.fail_transaction();
                self.replies.out.error(text);
                Outcome::REPLY
            }
        };
        let spec = server.spec;
        if outcome == Outcome::Busy {
            debug_assert_eq!(self.replies.out.len(), start);
            self.hold_back();
            return Ok(false);
        }
        self.client.busy_since.set(None);
        if spec.is_none() && is_http(args) {
            return Err(self.refuse_http());
        }
        // One reading of the clock per command: a command's time begins where the one before it ended.
        let ended = Instant::now();
        let took = ended.duration_since(*began);
        *began = ended;
        self.last_ended = ended;
        let reply = self.replies.out.buf().piece_at(start);
        add(&self.client.commands, 1);
        match spec {
            Some(spec) => {
                self.server.stats.count(spec, took, reply);
                if config.slowlog_log_slower_than >= 0 && took.as_micros() as i64 >= config.slowlog_log_slower_than {
                    self.server.stats.note_slow(args, took, &self.client, config.slowlog_max_len as usize);
                }
            }
            None if reply.first() == Some(&b'-') => self.server.stats.count_error(reply),
            None => {}
        }
        if self.spans[i].heap_bytes() > HEAP_BYTES_KEPT {
            self.spans[i].reset();
        }
        self.client.queued.set(self.session.queued().map_or(-1, |queued| queued as i64));
        self.client.watched.set(self.session.watched());
        self.finish(start, outcome)?;
        Ok(true)
    }

    /// A web page can make a browser send commands here, as the body of a request. Nothing of it runs from here on.
    #[cold]
    fn refuse_http(&mut self) -> End {
        add(&self.server.stats.http_closes, 1);
        if let Some(others) = self.server.node.throttles.http.permit() {
            tracing::warn!(
                client = %self.client.address, others,
                "closed: possible SECURITY ATTACK: it sends POST or Host:, as in cross protocol scripting"
            );
        }
        End::Now
    }

    /// The command that was just tried will be run again.
    fn hold_back(&mut self) {
        let shard = self.server.shard.clone();
        let busy: Pin<Box<dyn Future<Output = ()>>> = match self.session.waits_for() {
            WaitsFor::Pause => {
                self.client.blocked.set(true);
                Box::pin(shard.unpaused())
            }
            WaitsFor::Lag(until) => Box::pin(async move { shard.slowed(until).await }),
            WaitsFor::Primary(until) => Box::pin(async move { shard.primary_found(until).await }),
            WaitsFor::Shard => {
                add(&self.server.stats.stalled, 1);
                if self.client.busy_since.get().is_none() {
                    self.client.busy_since.set(Some(self.last_ended));
                }
                Box::pin(async move { shard.unblocked().await })
            }
        };
        self.blocked = Some(Blocked::Busy(busy));
    }

    /// What follows from a command's outcome.
    fn finish(&mut self, start: usize, outcome: Outcome) -> Result<(), End> {
        match self.client.reply_mode.get() {
            ReplyMode::On => {}
            ReplyMode::Off => self.replies.drop_since(start),
            ReplyMode::SkipNext => {
                // CLIENT REPLY SKIP itself writes nothing; the command after it is the one that is not answered.
                if self.replies.out.len() > start {
                    self.replies.drop_since(start);
                    self.client.reply_mode.set(ReplyMode::On);
                }
            }
        }
        match outcome {
            Outcome::Reply { pending, .. } => {
                if let Some(pending) = pending {
                    self.replies.hold(start, pending);
                }
                Ok(())
            }
            Outcome::Wait(request) => {
                self.client.set_waiting(true);
                let wait = wait(self.server.shard.clone(), self.client.clone(), request);
                self.blocked = Some(Blocked::Wait(Box::pin(wait)));
                Ok(())
            }
            Outcome::Busy => Ok(()),
            Outcome::Close => Err(End::AfterReplies),
        }
    }

    /// Sends what may leave and fits into the socket. Returns what the oldest held reply waits for.
    fn send(&mut self) -> io::Result<Option<PendingReply>> {
        let before = self.replies.unsent();
        let held = self.send_sendable();
        self.count_memory();
        if let Ok(held) = held {
            self.note_waits(held, self.replies.unsent() < before);
        }
        held
    }

    /// Notes since when something keeps the connection from making progress; see
    /// [`super::clients::Clients::close_stuck`].
    fn note_waits(&mut self, held: Option<PendingReply>, has_sent: bool) {
        if held != self.oldest_held {
            self.oldest_held = held;
            self.client.held_since.set(held.map(|_| self.last_ended));
        }
        let unread = self.replies.sendable_bytes() > 0 && self.is_withheld();
        if !unread {
            self.client.unread_since.set(None);
        } else if has_sent || self.client.unread_since.get().is_none() {
            self.client.unread_since.set(Some(Instant::now()));
        }
    }

    /// Tells what the connection holds now that others have their turn. What one turn may grow by is
    /// [`TURN_REPLY_BYTES`] and one reply.
    fn count_memory(&mut self) {
        let client = &self.client;
        client.query_bytes.set(self.input.len());
        client.query_free.set(self.input.capacity() - self.input.len());
        client.queued_bytes.set(self.session.queued_bytes());
        client.unsent_bytes.set(self.replies.unsent());
        self.share.set(
            CONNECTION_BYTES
                + client.texts_bytes()
                + self.input.capacity()
                + self.spans[0].heap_bytes()
                + self.replies.heap_bytes()
                + self.session.held_bytes()
                + self.stream.heap_bytes(),
        );
        client.memory.set(self.share.bytes());
    }

    fn send_sendable(&mut self) -> io::Result<Option<PendingReply>> {
        loop {
            let shard = &self.server.shard;
            let held = self.replies.release(|hold| match shard.release(hold) {
                Release::Now => Fate::Leaves,
                Release::Wait => Fate::Waits,
                Release::Unknown => Fate::Lost(hold.unknown_text()),
            });
            let sendable = self.replies.sendable();
            if sendable.is_empty() {
                return Ok(held);
            }
            let len = self.stream.send(sendable)?;
            if len == 0 {
                return Ok(held);
            }
            add(&self.server.stats.writes, 1);
            add(&self.server.stats.bytes_out, len as u64);
            add(&self.client.bytes_out, len as u64);
            let all = len == sendable.len();
            self.replies.sent(len);
            if !all || self.replies.unsent() == 0 {
                return Ok(held);
            }
        }
    }

    /// Whether the client reads fast enough. What the shard holds back is not the client's fault.
    fn check_output(&mut self) -> Result<(), End> {
        let unsent = self.replies.sendable_bytes() as u64;
        if unsent == 0 && self.client.over_soft_since.get().is_none() {
            return Ok(());
        }
        let limit = self.server.node.config.load().client_output_buffer_limit;
        if limit.soft_bytes == 0 || unsent <= limit.soft_bytes {
            self.client.over_soft_since.set(None);
        } else if self.client.over_soft_since.get().is_none() {
            self.client.over_soft_since.set(Some(Instant::now()));
        }
        if limit.hard_bytes > 0 && unsent > limit.hard_bytes {
            self.server.note_unread(&self.client, "client-output-buffer-limit's hard limit is reached");
            return Err(End::Now);
        }
        Ok(())
    }
}

/// Whether this is the start of an HTTP request, or a line of one.
fn is_http(args: Args<'_>) -> bool {
    args.try_get(0).is_some_and(|name| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
}
