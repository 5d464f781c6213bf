//! The environment of one replica: its consensus group, clocks and timers, and the notifications that wake its loop and
//! waiting commands.
//!
//! The loop and all handles share it. It is not part of the replica's mutable state, so it can be used while that is
//! borrowed; its own changes go through cells.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_engine::command::CommandTable;
use fastness_types::{BootNs, Clock, WallMs};
use tokio::sync::Notify;

use crate::now::Now;
use crate::options::{Pause, ShardOptions, StableCopies};

/// How long a reading of the wall clock is reused. The clock has a resolution of one millisecond.
const WALL_FRESH: Duration = Duration::from_micros(500);

/// The environment of one replica; see the module.
pub(crate) struct Edges {
    pub(crate) handle: GroupHandle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pause: Rc<dyn Pause>,
    pub(crate) copies: Rc<dyn StableCopies>,
    /// The commands of the shard's front ends.
    pub(crate) commands: &'static CommandTable,
    /// Wakes the loop, because something was staged.
    pub(crate) work: Notify,
    /// Wakes commands whose outcome was [`crate::Outcome::Busy`].
    pub(crate) unblocked: Notify,
    /// Wakes commands that wait for memory.
    pub(crate) room: Notify,
    /// Wakes commands that wait for a primary.
    pub(crate) primary_found: Notify,
    /// The newest reading of the wall clock: the time of the reading, its value, and whether it is close to the clocks
    /// of the other nodes.
    wall: Cell<(BootNs, WallMs, bool)>,
}

impl Edges {
    pub(crate) fn new(handle: GroupHandle, options: &ShardOptions) -> Edges {
        Edges {
            handle,
            clock: options.clock.clone(),
            pause: options.pause.clone(),
            copies: options.copies.clone(),
            commands: options.commands,
            work: Notify::new(),
            unblocked: Notify::new(),
            room: Notify::new(),
            primary_found: Notify::new(),
            wall: Cell::new((BootNs(0), WallMs(0), true)),
        }
    }

    /// Reads both clocks. Reads the boot clock on every call, because leases are compared with it.
    #[inline]
    pub(crate) fn now(&self) -> Now {
        let boot = self.clock.boot();
        let (read, wall, trusted) = self.wall.get();
        if boot.since(read) < WALL_FRESH && read <= boot && read != BootNs(0) {
            return Now { boot, wall, trusted };
        }
        let wall = self.clock.wall();
        let trusted = self.handle.check_wall(wall, boot).trusted;
        self.wall.set((boot, wall, trusted));
        Now { boot, wall, trusted }
    }
}
