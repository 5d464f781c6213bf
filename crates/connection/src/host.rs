//! What a connection asks of its owner.

use std::cell::Cell;
use std::time::{Duration, Instant};

use fastness_engine::command::CommandSpec;
use fastness_resp::{Args, Limits, ProtocolError, ReplyBuf};
use fastness_shard::{FrontEnd, Outcome};

use crate::attribute::TraceParent;

/// Which replies a connection receives: CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// All of them.
    #[default]
    On,
    /// None.
    Off,
    /// None for the next command.
    SkipNext,
}

impl ReplyMode {
    /// The mode after CLIENT REPLY with this word; `None` if it is not ON, OFF or SKIP. Only ON is replied to.
    #[must_use]
    pub fn after(self, word: &[u8]) -> Option<ReplyMode> {
        let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
        match self {
            _ if is("on") => Some(ReplyMode::On),
            _ if is("off") => Some(ReplyMode::Off),
            ReplyMode::Off if is("skip") => Some(ReplyMode::Off),
            _ if is("skip") => Some(ReplyMode::SkipNext),
            _ => None,
        }
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// What is released within a grace period is sent first.
    AfterReplies,
    /// At once.
    Now,
}

/// A command that has run, or was refused before.
pub struct Executed<'a> {
    /// What it was; `None`: the table has no such command, or not with these arguments.
    pub spec: Option<&'static CommandSpec>,
    /// Its arguments.
    pub args: Args<'a>,
    /// From the end of the command before it (or the start of the slice) to its own end.
    pub took: Duration,
    /// Bytes of its request, an attribute before it included.
    pub request_bytes: usize,
    /// Bytes of its reply, whether the client receives it or not.
    pub reply_bytes: usize,
    /// The start of its reply, as far as that is in one piece.
    pub reply: &'a [u8],
    /// What the reply depends on.
    pub outcome: Outcome,
}

/// The owner of a connection: the front end of its commands, and everything that a connection does not know itself.
pub trait Host: FrontEnd {
    /// The clock by which slices are cut and commands are timed.
    fn clock(&self) -> Instant;

    /// What the client may send at the moment.
    fn request_limits(&self) -> Limits;

    /// Bytes of unsent replies from which on no further command runs.
    fn unsent_bytes_max(&self) -> usize;

    /// Whether there is room for replies at the moment, whoever gets them. Without it no command runs; the owner asks
    /// again when that has changed.
    fn has_room(&self) -> bool;

    /// Bytes that may be received and not executed.
    fn query_bytes_max(&self) -> u64;

    /// The connection's reply mode, which CLIENT REPLY changes.
    fn reply_mode(&self) -> &Cell<ReplyMode>;

    /// Whether the client may run this command: authentication and ACL. If not, the error has been appended.
    fn permit(&mut self, spec: &'static CommandSpec, args: Args<'_>, out: &mut ReplyBuf) -> bool;

    /// Answers a permitted command instead of the shard, as PING of a client that is subscribed in RESP2. `false`: the
    /// command runs, and nothing has been appended.
    fn answer(&mut self, _spec: &'static CommandSpec, _args: Args<'_>, _out: &mut ReplyBuf) -> bool {
        false
    }

    /// Appends the push messages that wait for the client, as far as one block of replies takes them: messages of
    /// channels. They go between two replies, and leave whatever the connection's reply mode is. Returns whether more
    /// wait.
    fn append_pushes(&mut self, _out: &mut ReplyBuf) -> bool {
        false
    }

    /// The span of the client, for the command that is permitted next.
    fn set_trace_parent(&mut self, _parent: TraceParent) {}

    /// A command starts to run on the shard (`true`) or has returned (`false`).
    fn set_running(&mut self, running: bool);

    /// A command waits for keys; it will be tried again, and reported here again if it still waits.
    fn waits_for_keys(&mut self, _spec: &'static CommandSpec, _args: Args<'_>) {}

    /// A command has run or was refused. `Some`: the connection is to be closed.
    fn executed(&mut self, executed: &Executed<'_>) -> Option<Closing>;

    /// The client sent what is no command. The error is appended, and the connection will be closed.
    fn protocol_error(&mut self, error: &ProtocolError);

    /// More was received than may wait to be executed. The connection will be closed.
    fn query_too_long(&mut self, bytes_max: u64);

    /// A reply is about to be written; what is appended here is sent before it, whatever becomes of the reply. For
    /// simulations, whose clients judge a reply by where it comes from.
    fn before_reply(&mut self, _out: &mut ReplyBuf) {}
}
