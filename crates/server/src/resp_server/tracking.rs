//! Client-side caching (CLIENT TRACKING): which client has read which key of this replica, and the messages by which
//! clients hear that keys have changed.
//!
//! ```text
//! a read ─▶ keys: who has read what ─┐
//! the shard: a key has changed ──────┼─▶ outbox: until the commit ─▶ outbox: due ─▶ deliver: in slices ─▶ pushes
//! CLIENT TRACKING BCAST ─▶ prefixes ─┘
//! ```
//!
//! Rules:
//! - A key is entered when a command that reads it has run. Its readers leave the table when a change of it is staged,
//!   which [`fastness_shard::KeyTracker`] explains, and are informed then, or after the commit.
//! - A message about a change that was staged after a read follows the reply of the read on the same connection,
//!   because messages go between replies. Over a second connection (REDIRECT) it may overtake the reply: clients are
//!   prepared for that, as with Valkey. To inform a client once too often, or late, is safe; not to inform it is not.
//! - Changes of one turn of the loop are passed on together. With BCAST a client gets each key at most once for them.
//! - A connection with NOLOOP is not informed of its own changes. Unlike in Valkey it stays among the readers of the
//!   key: others may change it later.
//! - Whatever exceeds a bound is not dropped: readers of a random key are informed as if it had changed (the table), or
//!   every client is informed that nothing is valid (what waits).
//! - A client that does not read its messages is closed at `client-output-buffer-limit`.
//!
//! - [`client`]: the state of one connection. `keys`, `prefixes`: who is to be informed. `outbox`: what waits.
//! - `message`: a message for its receivers. `deliver`: passes them on, and clears up.

pub mod client;
pub(crate) mod deliver;
mod keys;
mod message;
mod outbox;
mod prefixes;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use fastness_engine::ChangedKeys;
use fastness_engine::command::{CommandSpec, Flags, Run};
use fastness_resp::Args;
use fastness_shard::{ClientShare, KeyTracker};
use fastness_types::Seq;
use fastness_types::limits::{TRACKING_BYTES_MAX, TRACKING_PENDING_BYTES_MAX};
use tokio::sync::Notify;

use super::clients::Client;
use crate::config::Config;
use client::TrackingOptions;
use keys::ReadKeys;
use outbox::{KeyChange, TrackingOutbox};
use prefixes::Prefixes;
pub use prefixes::TooManyPrefixes;

/// The table may take this part of `maxmemory`.
const MAXMEMORY_PART: u64 = 8;
/// Keys beyond the bound that leave the table with each key that enters it.
const EVICTED_AT_ONCE: usize = 16;

/// Figures for INFO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrackingFigures {
    /// Connections that track.
    pub clients: usize,
    /// Keys that clients have read.
    pub keys: usize,
    /// Pairs of a key and a client that has read it.
    pub items: usize,
    /// Prefixes with clients.
    pub prefixes: usize,
}

/// See the module. On the loop's thread.
pub struct Tracking {
    keys: RefCell<ReadKeys>,
    /// Tables that were emptied at once, and are freed in slices.
    retired: RefCell<Vec<ReadKeys>>,
    prefixes: RefCell<Prefixes>,
    outbox: RefCell<TrackingOutbox>,
    /// Connections that track.
    clients: Cell<usize>,
    /// The connection whose command runs, if it has NOLOOP; 0: none.
    writer: Cell<u64>,
    /// Keys that the table may have, and bytes that it may take.
    bounds: Cell<(usize, usize)>,
    /// What all this takes.
    share: RefCell<ClientShare>,
    wake: Notify,
    clears: Notify,
    /// Whether readers have left that may be in the table still.
    has_left: Cell<bool>,
}

impl Tracking {
    /// Nobody tracks. `share`: what it takes counts there.
    #[must_use]
    pub fn new(share: ClientShare) -> Tracking {
        Tracking {
            keys: RefCell::default(),
            retired: RefCell::default(),
            prefixes: RefCell::default(),
            outbox: RefCell::default(),
            clients: Cell::new(0),
            writer: Cell::new(0),
            bounds: Cell::new((usize::MAX, TRACKING_BYTES_MAX)),
            share: RefCell::new(share),
            wake: Notify::new(),
            clears: Notify::new(),
            has_left: Cell::new(false),
        }
    }

    /// Whether any connection tracks.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.clients.get() > 0
    }

    /// Figures for INFO.
    #[must_use]
    pub fn figures(&self) -> TrackingFigures {
        let (keys, prefixes) = (self.keys.borrow(), self.prefixes.borrow());
        TrackingFigures { clients: self.clients.get(), keys: keys.len(), items: keys.items(), prefixes: prefixes.len() }
    }

    /// Starts to track for a connection, or changes how; `options` are compatible with its state.
    ///
    /// # Errors
    /// A bound of prefixes is reached. Nothing has changed.
    pub fn enter(&self, client: &Client, options: &TrackingOptions<'_>) -> Result<(), TooManyPrefixes> {
        let state = &client.tracking;
        if options.is_bcast {
            let everything: &[&[u8]] = &[b""];
            let prefixes = if options.prefixes.is_empty() { everything } else { &options.prefixes[..] };
            self.prefixes.borrow_mut().enter(client.id, &state.prefixes, prefixes)?;
        }
        self.clients.set(self.clients.get() + usize::from(!state.is_on()));
        state.set(options);
        self.count();
        Ok(())
    }

    /// Stops to track for a connection, if it does.
    pub fn leave(&self, client: &Client) {
        let state = &client.tracking;
        if !state.is_on() {
            return;
        }
        self.prefixes.borrow_mut().leave(client.id, &state.prefixes);
        if state.has_read() {
            self.has_left.set(true);
            self.clears.notify_one();
        }
        state.clear();
        self.clients.set(self.clients.get() - 1);
        if !self.is_any() {
            self.forget();
        }
        self.count();
    }

    /// A command of a connection with NOLOOP starts to run, or has run: it makes the changes that are reported between.
    pub fn set_writer(&self, client: &Client, runs: bool) {
        self.writer.set(if runs { client.id } else { 0 });
    }

    /// Enters the keys that a command has read, if its connection is to be informed of their changes.
    #[cold]
    pub fn note_read(&self, client: &Client, (spec, args): (&CommandSpec, Args<'_>), config: &Config) {
        // What a script reads is noted of each of its commands.
        let reads = spec.flags.has(Flags::READONLY) && !matches!(spec.run, Run::Script(_));
        if !reads || !client.tracking.remembers() {
            return;
        }
        self.set_bounds(config);
        for name in spec.keys(args) {
            client.tracking.note_read();
            self.keys.borrow_mut().enter(name, client.id);
            self.shrink(EVICTED_AT_ONCE);
        }
        self.bound_waiting();
        self.count();
    }

    /// Sets what the table may take.
    pub fn set_bounds(&self, config: &Config) {
        let keys = match config.tracking_table_max_keys {
            0 => usize::MAX,
            keys => usize::try_from(keys).unwrap_or(usize::MAX),
        };
        let part = match config.maxmemory {
            0 => u64::MAX,
            maxmemory => maxmemory / MAXMEMORY_PART,
        };
        let bytes = usize::try_from(part).unwrap_or(usize::MAX).min(TRACKING_BYTES_MAX);
        if self.bounds.replace((keys, bytes)) != (keys, bytes) {
            self.wake.notify_one();
        }
    }

    /// Removes random keys while the table exceeds its bounds, at most so many; returns whether it still does.
    fn shrink(&self, count_max: usize) -> bool {
        let (keys_max, bytes_max) = self.bounds.get();
        let mut keys = self.keys.borrow_mut();
        for _ in 0..count_max {
            if keys.len() <= keys_max && keys.bytes() <= bytes_max {
                return false;
            }
            let place = rand::random_range(0..keys.len().max(1));
            let Some((name, readers)) = keys.take_at(place) else { return false };
            self.outbox.borrow_mut().add(KeyChange::Key { name, readers }, None);
            self.wake.notify_one();
        }
        keys.len() > keys_max || keys.bytes() > bytes_max
    }

    /// Forgets all that was read, and what waits.
    fn forget(&self) {
        let keys = self.keys.take();
        if keys.len() > 0 {
            self.retired.borrow_mut().push(keys);
            self.clears.notify_one();
        }
        self.prefixes.borrow_mut().forget_changed();
        self.outbox.borrow_mut().clear();
    }

    /// Reports what all this takes.
    fn count(&self) {
        let retired: usize = self.retired.borrow().iter().map(ReadKeys::bytes).sum();
        let waiting = self.outbox.borrow().bytes();
        let bytes = self.keys.borrow().bytes() + retired + self.prefixes.borrow().bytes() + waiting;
        self.share.borrow_mut().set(bytes);
    }

    /// Everybody is informed that nothing is valid, if more waits than may.
    fn bound_waiting(&self) {
        let waiting = self.outbox.borrow().bytes() + self.prefixes.borrow().changed_bytes();
        if waiting > TRACKING_PENDING_BYTES_MAX {
            self.lost();
        }
    }
}

impl KeyTracker for Tracking {
    fn changed(&self, changed: &ChangedKeys, after: Option<Seq>) {
        let writer = self.writer.get();
        let mut keys = self.keys.borrow_mut();
        let mut prefixes = self.prefixes.borrow_mut();
        let mut outbox = self.outbox.borrow_mut();
        if changed.is_everything() {
            let keys = std::mem::take(&mut *keys);
            self.retired.borrow_mut().push(keys);
            self.clears.notify_one();
            outbox.add(KeyChange::Everything, after);
        } else {
            for name in changed.names() {
                if let Some((name, readers)) = keys.take(name, writer) {
                    outbox.add(KeyChange::Key { name, readers }, after);
                }
                if prefixes.matches(name) {
                    match after {
                        None => prefixes.note(&Rc::from(name), writer),
                        Some(_) => outbox.add(KeyChange::Prefixed { name: Rc::from(name), writer }, after),
                    }
                }
            }
        }
        drop((keys, prefixes, outbox));
        self.bound_waiting();
        self.count();
        self.wake.notify_one();
    }

    fn committed(&self, seq: Seq) {
        let prefixed = self.outbox.borrow_mut().commit(seq);
        let mut prefixes = self.prefixes.borrow_mut();
        prefixed.iter().for_each(|(name, writer)| prefixes.note(name, *writer));
        drop(prefixes);
        self.bound_waiting();
        self.count();
        self.wake.notify_one();
    }

    fn lost(&self) {
        self.forget();
        self.outbox.borrow_mut().add(KeyChange::Everything, None);
        self.count();
        self.wake.notify_one();
    }
}
