//! One connection: parse, run, release.
//!
//! Rules:
//! - Commands run in the order in which they came, as many as were received at once, for at most
//!   [`limits::CONNECTION_SLICE`] at a time. Between two slices the owner lets others run and sends what is released.
//! - Commands that arrived together meet one answer of the lag gate, however many slices they take: the gate's answer
//!   to the first slice is kept. This is safe both ways, because refusing always is, and because an acknowledgement is
//!   checked against the lag again when it is released. Each slice reads the clock again, so the lease is compared with
//!   a fresh one.
//! - The shard's clock is read after the bytes of a command were: it is read only for what is in the buffer.
//! - Replies to a client that reads none are kept, and its commands run meanwhile, so that a pipeline which is written
//!   completely before anything is read is answered. [`Host::unsent_bytes_max`] bounds them. One turn adds
//!   [`TURN_REPLY_BYTES`] and one reply at most.
//! - Nothing more is read while a command waits.
//! - A client that has closed its side receives every reply to what it had sent.
//! - After a protocol error or QUIT, what can be released is sent and the connection is closed.

use std::cell::Cell;
use std::time::Instant;

use fastness_engine::Key;
use fastness_engine::command::{CommandSpec, Group};
use fastness_resp::request::HEAP_BYTES_KEPT;
use fastness_resp::{ArgSpans, Args};
use fastness_shard::{Now, Outcome, PendingReply, Release, Session, Shard, WaitAnswer, WaitRequest, WaitsFor};
use fastness_types::limits;

use crate::attribute::{self, Overrides};
use crate::host::{Closing, Executed, Host, ReplyMode};
use crate::pipeline::{AHEAD_MAX, Pipeline, Stop};
use crate::replies::{Fate, Replies};

/// Replies that one turn of a connection adds, bytes; the last one may be longer.
pub const TURN_REPLY_BYTES: usize = 256 * 1024;
/// Fewer unsent replies than these never stop a connection, bytes: the host is not asked for its bound.
pub const UNSENT_BYTES_FREE: usize = 1024;
/// Space made for one read, bytes.
const READ_BYTES: usize = 64 * 1024;
/// Capacity that a connection's own read buffer keeps once it is empty.
const OWN_BUFFER_BYTES_KEPT: usize = 0;

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes; 0: none at the moment.
    Bytes(usize),
    /// The client has closed its side.
    End,
}

/// What a connection's command waits for. Its owner awaits that, then calls [`Connection::resume`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// The command has not run; it runs again after what its session [`waits for`](Session::waits_for).
    Busy(WaitsFor),
    /// WAIT or WAITAOF: [`Shard::wait`] gives the answer.
    Copies(WaitRequest),
}

/// See the module.
pub struct Connection {
    session: Session,
    /// Received and not executed; empty most of the time, because a read goes into a buffer that connections share.
    input: Vec<u8>,
    /// Places of the commands that are parsed ahead, and of an incomplete one (always the first).
    spans: Vec<ArgSpans>,
    /// The length of `input` at which parsing resumes.
    needed: usize,
    replies: Replies,
    waits: Option<Waits>,
    /// The last slice has ended with commands left.
    sliced: bool,
    /// What is left of bytes that arrived together and take more than one slice.
    sliced_bytes: usize,
    /// The client has closed its side, and everything before that was read.
    input_ended: bool,
    /// Bytes of unsent replies at which the turn ends.
    turn_max: usize,
    /// When the newest command ended.
    last_ended: Instant,
}

/// What is known of a command before it runs.
#[derive(Clone, Copy)]
struct Prepared<'a> {
    spec: Option<&'static CommandSpec>,
    key: Option<Key<'a>>,
    /// Read after its bytes were.
    now: Now,
}

impl Connection {
    /// A connection of a client that has just connected.
    #[must_use]
    pub fn new(shard: &Shard, now: Instant) -> Connection {
        Connection {
            session: shard.session(),
            input: Vec::new(),
            spans: (0..=AHEAD_MAX).map(|_| ArgSpans::default()).collect(),
            needed: 1,
            replies: Replies::default(),
            waits: None,
            sliced: false,
            sliced_bytes: 0,
            input_ended: false,
            turn_max: 0,
            last_ended: now,
        }
    }

    /// The shard's half of the connection's state.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// When the newest command ended.
    #[must_use]
    pub fn last_ended(&self) -> Instant {
        self.last_ended
    }

    /// What the newest command waits for; `None`: nothing.
    #[must_use]
    pub fn waits(&self) -> Option<Waits> {
        self.waits
    }

    /// Whether the client has closed its side and everything before that was read.
    #[must_use]
    pub fn input_ended(&self) -> bool {
        self.input_ended
    }

    /// Nothing more is read, and no command that waits runs again.
    pub fn stop(&mut self) {
        self.input_ended = true;
        self.waits = None;
        self.session.stop_waiting();
    }

    /// Whether the client has closed its side and every reply was taken.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.input_ended && self.waits.is_none() && self.unsent() == 0
    }

    /// Whether bytes are taken from the socket.
    #[must_use]
    pub fn may_read(&self, host: &impl Host) -> bool {
        !self.input_ended && self.may_run(host)
    }

    /// Whether a command may run now.
    fn may_run(&self, host: &impl Host) -> bool {
        self.waits.is_none() && host.has_room() && !self.is_withheld(host)
    }

    /// Whether so many replies are unsent that no further command runs until some are.
    #[must_use]
    pub fn is_withheld(&self, host: &impl Host) -> bool {
        let unsent = self.replies.unsent();
        unsent >= UNSENT_BYTES_FREE && unsent >= host.unsent_bytes_max()
    }

    /// Whether a turn has ended with complete commands in the buffer: others run, then [`Connection::resume_slice`].
    #[must_use]
    pub fn has_more_to_run(&self, host: &impl Host) -> bool {
        !self.input.is_empty() && self.input.len() >= self.needed && self.may_run(host)
    }

    /// Others have had their turn since the last slice.
    pub fn resume_slice(&mut self) {
        self.sliced = false;
    }

    /// What the command waited for has happened: WAIT and WAITAOF bring their answer.
    pub fn resume(&mut self, answer: Option<WaitAnswer>, host: &mut impl Host) {
        self.waits = None;
        let Some(answer) = answer else { return };
        self.push(host);
        match host.reply_mode().get() {
            ReplyMode::On => {
                host.before_reply(&mut self.replies.out);
                answer.write(&mut self.replies.out);
            }
            ReplyMode::Off => {}
            ReplyMode::SkipNext => host.reply_mode().set(ReplyMode::On),
        }
    }

    /// Reads once, through `fill`, and runs what was received. `shared` is a buffer for whichever connection reads at
    /// the moment: one that has nothing left over needs none of its own.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn receive<H: Host>(
        &mut self,
        shard: &Shard,
        host: &mut H,
        shared: &Cell<Vec<u8>>,
        fill: impl FnOnce(&mut H, &mut Vec<u8>) -> Result<Received, Closing>,
    ) -> Result<(), Closing> {
        let is_shared = self.input.is_empty();
        let mut buffer = if is_shared { shared.take() } else { std::mem::take(&mut self.input) };
        if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            // Doubles at most; never by what a client has declared.
            buffer.reserve(READ_BYTES.max(buffer.len()));
        }
        if is_shared {
            self.session.arrived();
        }
        let result = match fill(host, &mut buffer) {
            Err(closing) => Err(closing),
            Ok(Received::End) => {
                self.input_ended = true;
                Ok(0)
            }
            Ok(Received::Bytes(0)) => Ok(0),
            Ok(Received::Bytes(_)) => self.execute(&buffer, shard, host),
        };
        let consumed = *result.as_ref().unwrap_or(&0);
        self.keep_gate(buffer.len() - consumed, consumed, shard);
        if is_shared {
            self.input.extend_from_slice(&buffer[consumed..]);
            buffer.clear();
            shared.set(buffer);
        } else {
            self.keep_rest(buffer, consumed);
        }
        result?;
        let bytes_max = host.query_bytes_max();
        if self.input.len() as u64 > bytes_max {
            host.query_too_long(bytes_max);
            return Err(Closing::Now);
        }
        Ok(())
    }

    /// Runs what is left in the connection's own buffer, unless a slice has just ended.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn run(&mut self, shard: &Shard, host: &mut impl Host) -> Result<(), Closing> {
        if self.sliced || !self.has_more_to_run(host) {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.input);
        let result = self.execute(&buffer, shard, host);
        let consumed = *result.as_ref().unwrap_or(&0);
        self.keep_gate(buffer.len() - consumed, consumed, shard);
        self.keep_rest(buffer, consumed);
        result.map(|_| ())
    }

    /// Keeps the connection's own buffer without what was executed.
    fn keep_rest(&mut self, mut buffer: Vec<u8>, consumed: usize) {
        buffer.drain(..consumed);
        if buffer.is_empty() {
            buffer.shrink_to(OWN_BUFFER_BYTES_KEPT);
        }
        self.input = buffer;
    }

    /// Keeps the gate's answer for bytes that arrived together: from the end of a first slice that leaves `left` of
    /// them until these have been consumed.
    fn keep_gate(&mut self, left: usize, consumed: usize, shard: &Shard) {
        if self.sliced_bytes > 0 {
            self.sliced_bytes = self.sliced_bytes.saturating_sub(consumed);
            if self.sliced_bytes == 0 {
                self.session.release_gate();
            }
        } else if self.sliced && left > 0 {
            self.sliced_bytes = left;
            shard.keep_gate(&mut self.session);
        }
    }

    /// Runs the commands at the start of `buffer`, for one slice; returns how many bytes they were.
    fn execute(&mut self, buffer: &[u8], shard: &Shard, host: &mut impl Host) -> Result<usize, Closing> {
        let mut consumed = 0;
        let mut began = host.clock();
        let slice_ends = began + limits::CONNECTION_SLICE;
        self.needed = 1;
        self.replies.close_block();
        self.turn_max = host.unsent_bytes_max().min(self.replies.unsent() + TURN_REPLY_BYTES);
        while consumed < buffer.len() && self.is_in_turn() {
            let rest = &buffer[consumed..];
            let mut pipeline = Pipeline::parse(rest, &mut self.spans, &host.request_limits());
            pipeline.look_up(rest, &self.spans, shard);
            // One reading for all of them: their bytes are here, and nothing is awaited between them.
            let now = shard.now();
            for i in 0..pipeline.count {
                let (start, end) = (pipeline.starts[i], pipeline.starts[i + 1]);
                let prepared = Prepared { spec: pipeline.specs[i], key: pipeline.keys[i], now };
                let bytes = &rest[start..end];
                let has_run =
                    self.is_in_turn() && self.execute_one(i, bytes, prepared, (shard, &mut *host), &mut began)?;
                if !has_run {
                    self.sliced = self.waits.is_none();
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
            consumed += pipeline.starts[pipeline.count];
            self.sliced = consumed < buffer.len() && self.waits.is_none() && !self.is_in_turn();
            match pipeline.stop {
                Stop::Full => {}
                Stop::Incomplete { needed } => {
                    // It resumes where it is: the place for the first command of the next round.
                    self.spans.swap(0, pipeline.count);
                    self.needed = needed;
                    break;
                }
                // A command before it may have changed the limits: parsed again.
                Stop::Error(_) if pipeline.count > 0 => self.spans.iter_mut().for_each(ArgSpans::reset),
                Stop::Error(error) => {
                    host.protocol_error(&error);
                    host.before_reply(&mut self.replies.out);
                    self.replies.out.error([b"ERR ", &*error.text()].concat());
                    return Err(Closing::AfterReplies);
                }
            }
        }
        Ok(consumed)
    }

    /// Whether the turn is not over.
    fn is_in_turn(&self) -> bool {
        self.waits.is_none() && self.replies.unsent() < self.turn_max
    }

    /// Runs a command that was parsed; `false`: it has to be run again.
    fn execute_one<H: Host>(
        &mut self,
        i: usize,
        bytes: &[u8],
        prepared: Prepared<'_>,
        (shard, host): (&Shard, &mut H),
        began: &mut Instant,
    ) -> Result<bool, Closing> {
        if self.spans[i].is_empty() {
            return Ok(true);
        }
        self.push(host);
        let before = self.replies.out.len();
        host.before_reply(&mut self.replies.out);
        let start = self.replies.out.len();
        let outcome = self.call(i, bytes, prepared, shard, host);
        if outcome == Outcome::Busy {
            debug_assert_eq!(self.replies.out.len(), start);
            self.replies.drop_since(before);
            let waits_for = self.session.waits_for();
            self.waits = Some(Waits::Busy(waits_for));
            if let (WaitsFor::Keys, Some(spec)) = (waits_for, prepared.spec) {
                host.waits_for_keys(spec, self.spans[i].args(bytes));
            }
            return Ok(false);
        }
        // One reading of the clock per command: a command's time starts where the one before it ended.
        let ended = host.clock();
        let took = ended.duration_since(*began);
        // A script that has run in slices.
        let took = self.session.take_run_time().unwrap_or(took);
        *began = ended;
        self.last_ended = ended;
        let reply = self.replies.out.buf().piece_at(start);
        let args = self.spans[i].args(bytes);
        let (request_bytes, reply_bytes) = (bytes.len(), self.replies.out.len() - start);
        let executed = Executed { spec: prepared.spec, args, took, request_bytes, reply_bytes, reply, outcome };
        if let Some(closing) = host.executed(&executed) {
            return Err(closing);
        }
        if self.spans[i].heap_bytes() > HEAP_BYTES_KEPT {
            self.spans[i].reset();
        }
        self.finish((before, start), (prepared.spec, outcome), host)?;
        Ok(true)
    }

    /// From a parsed command to its outcome.
    fn call<H: Host>(
        &mut self,
        i: usize,
        bytes: &[u8],
        prepared: Prepared<'_>,
        shard: &Shard,
        host: &mut H,
    ) -> Outcome {
        let args = self.spans[i].args(bytes);
        let overrides = match self.spans[i].attribute(bytes).map(attribute::parse).transpose() {
            Ok(overrides) => overrides.unwrap_or_default(),
            Err(text) => return refuse(&mut self.session, &mut self.replies, text),
        };
        let Some(spec) = prepared.spec else {
            let text = match shard.commands().look_up(args) {
                Ok(_) => unreachable!("the same request was refused before"),
                Err(error) => error.as_ref().to_vec(),
            };
            return refuse(&mut self.session, &mut self.replies, text);
        };
        if let Some(parent) = overrides.trace_parent {
            host.set_trace_parent(parent);
        }
        if !host.permit(spec, args, &mut self.replies.out) {
            self.session.fail_transaction();
            self.session.stop_waiting();
            return Outcome::REPLY;
        }
        if host.answer(spec, args, &mut self.replies.out) {
            return Outcome::REPLY;
        }
        let Overrides { durability, reads, idempotency, staleness_max, deadline, trace_parent: _ } = overrides;
        let call = shard.call(spec, args, prepared.now).with_first(prepared.key);
        let call = call.with_durability_override(durability).with_reads(reads).with_idempotency(idempotency);
        let call = call.with_staleness_max(staleness_max).with_deadline(deadline);
        host.set_running(true);
        let outcome = shard.run(&mut self.session, call, &mut self.replies.out, host);
        host.set_running(false);
        outcome
    }

    /// What follows from a command's outcome. Its reply starts at `start`, and what its host wrote before it at
    /// `before`.
    fn finish(
        &mut self,
        (before, start): (usize, usize),
        (spec, outcome): (Option<&'static CommandSpec>, Outcome),
        host: &impl Host,
    ) -> Result<(), Closing> {
        match host.reply_mode().get() {
            mode if spec.is_some_and(replies_by_push) && is_push(self.replies.out.buf().piece_at(start)) => {
                if mode == ReplyMode::SkipNext {
                    host.reply_mode().set(ReplyMode::On);
                }
            }
            ReplyMode::On if self.replies.out.len() == start => self.replies.drop_since(before),
            ReplyMode::On => {}
            ReplyMode::Off => self.replies.drop_since(before),
            ReplyMode::SkipNext => {
                // CLIENT REPLY SKIP itself writes nothing; the command after it is the one without a reply.
                if self.replies.out.len() > start {
                    host.reply_mode().set(ReplyMode::On);
                }
                self.replies.drop_since(before);
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
                self.waits = Some(Waits::Copies(request));
                Ok(())
            }
            Outcome::Busy => Ok(()),
            Outcome::Close => Err(Closing::AfterReplies),
        }
    }

    /// Takes the push messages that wait for the client. While a command waits, they go before its reply.
    pub fn push(&mut self, host: &mut impl Host) {
        loop {
            self.replies.close_block();
            if !host.append_pushes(&mut self.replies.out) {
                return;
            }
        }
    }

    /// Releases the replies that the shard lets go, in order, and replaces those that can never be released. Returns
    /// what the oldest one that is still pending depends on: await [`Shard::wait_released`].
    pub fn release(&mut self, shard: &Shard) -> Option<PendingReply> {
        self.replies.release(|pending| match shard.release(pending) {
            Release::Now => Fate::Leaves,
            Release::Wait => Fate::Waits,
            Release::Unknown => Fate::Lost(pending.unknown_text()),
        })
    }

    /// What can be sent now, in one piece; call [`Connection::release`] before.
    #[must_use]
    pub fn sendable(&self) -> &[u8] {
        self.replies.sendable()
    }

    /// How much can be sent now, bytes.
    #[must_use]
    pub fn sendable_bytes(&self) -> usize {
        self.replies.sendable_bytes()
    }

    /// Notes that `len` bytes of [`Connection::sendable`] were sent.
    pub fn sent(&mut self, len: usize) {
        self.replies.sent(len);
    }

    /// Bytes of replies that were not sent, pending ones included.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.replies.unsent()
    }

    /// Bytes that were received and not executed, and the capacity beside them.
    #[must_use]
    pub fn query_bytes(&self) -> (usize, usize) {
        (self.input.len(), self.input.capacity() - self.input.len())
    }

    /// What it takes on the heap, bytes. Of the places of arguments only those of an incomplete command are counted:
    /// the others keep at most [`HEAP_BYTES_KEPT`] each.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        (AHEAD_MAX + 1) * size_of::<ArgSpans>()
            + self.input.capacity()
            + self.spans[0].heap_bytes()
            + self.replies.heap_bytes()
            + self.session.held_bytes()
    }
}

/// Answers a command that no table row or no attribute fits: a transaction that is being queued will be aborted.
#[cold]
fn refuse(session: &mut Session, replies: &mut Replies, text: Vec<u8>) -> Outcome {
    session.fail_transaction();
    replies.out.error(text);
    Outcome::REPLY
}

/// Whether a command is answered by push messages, which a client receives even if it receives no replies: SUBSCRIBE
/// and its like.
fn replies_by_push(spec: &'static CommandSpec) -> bool {
    spec.group == Group::Pubsub && spec.changes_connection
}

/// Whether a reply of such a command begins with a push message, which is an array in RESP2: it may also be an error,
/// or QUEUED.
fn is_push(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'>' | b'*'))
}

/// Whether this is the start of an HTTP request, or one of its lines: a web page can make a browser send commands here,
/// as the body of a request.
#[must_use]
pub fn is_http(args: Args<'_>) -> bool {
    args.try_get(0).is_some_and(|name| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
}
