//! A connection's transaction: its queue of commands, and its watches.
//!
//! The state belongs to the connection. The shard runs MULTI, EXEC, DISCARD, WATCH and UNWATCH with it and queues the
//! commands between MULTI and EXEC. It runs the queue that [`TransactionState::exec`] returns as one unit: all effects
//! are in one batch, and the reply is released with that batch.

use crate::command::{CommandSpec, Flags};
use crate::engine::Engine;
use crate::error::CommandError;
use fastness_resp::Args;
use fastness_types::WallMs;
use fastness_types::limits::TRANSACTION_BYTES_MAX;

/// Approximate memory of a watched key besides its bytes, in the session and in the index.
const WATCHED_BYTES: usize = 112;
/// Approximate memory of a queued argument besides its bytes.
const ARGUMENT_BYTES: usize = 32;

/// A command that waits for EXEC.
pub struct Queued {
    /// The command.
    pub spec: &'static CommandSpec,
    /// Its arguments, the name first.
    pub args: Vec<Vec<u8>>,
}

impl Queued {
    /// The arguments, as a command gets them.
    #[must_use]
    pub fn args(&self) -> Args<'_> {
        Args::owned(&self.args)
    }
}

impl std::fmt::Debug for Queued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queued").field("command", &self.spec.name).field("args", &self.args()).finish()
    }
}

#[derive(Debug)]
struct Queue {
    commands: Vec<Queued>,
    bytes: usize,
    bytes_max: usize,
    failed: bool,
}

impl Queue {
    fn new(bytes_max: usize) -> Queue {
        Queue { commands: Vec::new(), bytes: 0, bytes_max, failed: false }
    }
}

/// The outcome of EXEC.
#[derive(Debug)]
pub enum Exec {
    /// These commands run in order, as one unit; the reply is an array of their replies.
    Run(Vec<Queued>),
    /// A watched key has changed: the reply is a null array.
    Touched,
    /// Refused, with this error.
    Refused(CommandError),
}

/// The state of one connection's transaction: its queue and its watches.
#[derive(Debug)]
pub struct TransactionState {
    token: u64,
    /// Whether the connection is in READONLY mode: a replica may serve its reads.
    pub readonly: bool,
    queue: Option<Queue>,
    /// [`TRANSACTION_BYTES_MAX`], except in tests.
    queue_bytes_max: usize,
    /// Number of watched keys.
    watched: usize,
    /// Bytes that watched keys take.
    watched_bytes: usize,
}

impl TransactionState {
    /// The state of a new connection; `token` is unique among the connections of one engine.
    #[must_use]
    pub fn new(token: u64) -> TransactionState {
        TransactionState {
            token,
            readonly: false,
            queue: None,
            queue_bytes_max: TRANSACTION_BYTES_MAX,
            watched: 0,
            watched_bytes: 0,
        }
    }

    /// The connection's token.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether commands are queued.
    #[must_use]
    pub fn in_multi(&self) -> bool {
        self.queue.is_some()
    }

    /// Whether a command of the open transaction was refused, so that EXEC will fail.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.failed)
    }

    /// Number of queued commands.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.commands.len())
    }

    /// The queued commands.
    #[must_use]
    pub fn commands(&self) -> &[Queued] {
        self.queue.as_ref().map_or(&[], |queue| &queue.commands)
    }

    /// Bytes that queued commands take. A failed transaction keeps none.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queue.as_ref().filter(|queue| !queue.failed).map_or(0, |queue| queue.bytes)
    }

    /// Bytes that queued commands and watched keys take.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.queued_bytes() + self.watched_bytes
    }

    /// Whether keys are watched.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.watched > 0
    }

    /// Number of watched keys.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.watched
    }

    /// MULTI.
    ///
    /// # Errors
    /// A transaction is open; it stays open and will fail, as in Valkey.
    pub fn multi(&mut self) -> Result<(), CommandError> {
        if self.in_multi() {
            self.fail();
            return Err(CommandError::Fixed("ERR Command 'multi' not allowed inside a transaction"));
        }
        self.queue = Some(Queue::new(self.queue_bytes_max));
        Ok(())
    }

    /// Queues a command; the reply is `QUEUED`. The caller has checked that it is known, that its arity is right and
    /// that it may be queued and that the engine [admits](Engine::admit) it, and has called [`TransactionState::fail`]
    /// otherwise.
    ///
    /// # Errors
    /// The queue exceeds [`TRANSACTION_BYTES_MAX`], or no transaction is open.
    pub fn enqueue(&mut self, spec: &'static CommandSpec, args: Args<'_>) -> Result<(), CommandError> {
        let Some(queue) = self.queue.as_mut() else {
            return Err(CommandError::Fixed("ERR no transaction is open"));
        };
        let bytes: usize = args.iter().map(|arg| arg.len() + ARGUMENT_BYTES).sum();
        if queue.bytes + bytes > queue.bytes_max {
            let bytes_max = queue.bytes_max;
            self.fail();
            return Err(CommandError::Text(format!(
                "ERR the transaction's commands are longer than {bytes_max} bytes"
            )));
        }
        queue.bytes += bytes;
        // A failed transaction never runs: its commands are counted and not kept.
        if !queue.failed {
            queue.commands.push(Queued { spec, args: args.to_owned_args() });
        }
        Ok(())
    }

    /// Makes EXEC fail, because a command of the open transaction was refused. Without effect outside of a transaction.
    pub fn fail(&mut self) {
        if let Some(queue) = self.queue.as_mut() {
            queue.failed = true;
            queue.commands = Vec::new();
        }
    }

    /// EXEC: ends the transaction and all watches. The commands that it returns have been admitted; the caller runs
    /// them with [`Engine::execute_admitted`].
    pub fn exec(&mut self, engine: &mut Engine, now: WallMs) -> Exec {
        let Some(queue) = self.queue.take() else {
            return Exec::Refused(CommandError::Fixed("ERR EXEC without MULTI"));
        };
        let touched = self.is_watching() && engine.is_touched(self.token, now);
        self.unwatch(engine);
        if queue.failed {
            return Exec::Refused(CommandError::Fixed("EXECABORT Transaction discarded because of previous errors."));
        }
        let needs_memory = queue.commands.iter().any(|queued| queued.spec.flags.has(Flags::DENYOOM));
        if needs_memory && engine.is_out_of_memory() {
            let error = CommandError::OutOfMemory;
            return Exec::Refused(CommandError::Text(format!("EXECABORT Transaction discarded because of: {error}")));
        }
        if touched { Exec::Touched } else { Exec::Run(queue.commands) }
    }

    /// DISCARD: ends the transaction and all watches.
    ///
    /// # Errors
    /// No transaction is open.
    pub fn discard(&mut self, engine: &mut Engine) -> Result<(), CommandError> {
        if !self.in_multi() {
            return Err(CommandError::Fixed("ERR DISCARD without MULTI"));
        }
        self.end(engine);
        Ok(())
    }

    /// WATCH.
    ///
    /// # Errors
    /// A transaction is open; it stays open and will fail, as in Valkey.
    pub fn watch(&mut self, engine: &mut Engine, args: Args<'_>, now: WallMs) -> Result<(), CommandError> {
        if self.in_multi() {
            self.fail();
            return Err(CommandError::Fixed("ERR Command 'watch' not allowed inside a transaction"));
        }
        for key in args.skip(1).iter() {
            if engine.watch(self.token, key, now) {
                self.watched += 1;
                self.watched_bytes += key.len() + WATCHED_BYTES;
            }
        }
        Ok(())
    }

    /// UNWATCH.
    pub fn unwatch(&mut self, engine: &mut Engine) {
        self.watched_bytes = 0;
        if std::mem::take(&mut self.watched) > 0 {
            engine.unwatch(self.token);
        }
    }

    /// Ends the transaction and all watches: for RESET, and when the connection closes.
    pub fn end(&mut self, engine: &mut Engine) {
        self.queue = None;
        self.unwatch(engine);
    }
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
