//! The account of memory against `maxmemory`, and what of it stays.
//!
//! Memory in use has parts that leave by themselves: undo records and uncommitted effects at their commit, removed data
//! as the loop frees it. Evicting more because of them would be wrong, and would go on until no key is left: a key that
//! is evicted moves to the undo records and frees nothing before its commit. So eviction compares with its goal what
//! **will** be in use when all of these have left ([`Engine::eviction_excess`]).
//!
//! ```text
//! in use:  existing data | clients, records, … | image | undo records, uncommitted effects, removed data
//! stays:   existing data | clients, records, … | image, up to an eighth of maxmemory
//! ```
//!
//! An image in progress grows with each key that changes before it is written, evicted ones included. So it makes keys
//! leave only up to that share; beyond it, commands that need memory are refused until the image is smaller.
//!
//! The goal of eviction is below `maxmemory` by a reserve, so that writes find room while evictions are on their way to
//! their commit.

use super::Engine;
use crate::room::{MemoryBeside, Room};

/// The reserve is this part of `maxmemory`, and at most [`RESERVE_MAX`].
const RESERVE_PART: u64 = 64;
/// The largest reserve, bytes.
const RESERVE_MAX: u64 = 16 * 1024 * 1024;
/// An image makes keys leave while it takes up to this part of `maxmemory`.
const IMAGE_PART: u64 = 8;

impl Engine {
    /// Bytes in use: by the data, by an image in progress, by undo records, and what the owner has reported with
    /// [`Engine::set_memory_beside`].
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        let MemoryBeside { uncommitted, image, rest } = self.memory_beside;
        self.memory_of_data() + self.image_bytes() + self.undo_bytes() + uncommitted + image + rest
    }

    /// Bytes in use by keys and values, with their tables, and by removed ones that are not freed yet.
    #[must_use]
    pub fn memory_of_data(&self) -> u64 {
        self.keyspace.account().bytes
    }

    /// Bytes in use by an image in progress.
    #[must_use]
    pub fn memory_of_image(&self) -> u64 {
        self.image_bytes()
    }

    /// Sets how many bytes outside of the engine count against the bound of memory.
    #[inline]
    pub fn set_memory_beside(&mut self, beside: MemoryBeside) {
        self.memory_beside = beside;
    }

    /// Whether more memory is in use than allowed.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.maxmemory > 0 && self.memory_used() > self.maxmemory
    }

    /// Bytes in use that leave without an eviction: at commits, and as removed data is freed.
    fn memory_leaving(&self) -> u64 {
        self.keyspace.account().removed + self.undo_bytes() + self.memory_beside.uncommitted
    }

    /// How many bytes more than the goal of eviction will be in use when everything that is staged has committed and
    /// was freed.
    #[must_use]
    pub fn eviction_excess(&self) -> u64 {
        if self.maxmemory == 0 {
            return 0;
        }
        let reserve = (self.maxmemory / RESERVE_PART).min(RESERVE_MAX);
        let image = (self.image_bytes() + self.memory_beside.image).min(self.maxmemory / IMAGE_PART);
        let stays = self.keyspace.account().live() + self.memory_beside.rest + image;
        stays.saturating_sub(self.maxmemory - reserve)
    }

    /// Whether a command may use more memory. `can_evict`: whether there are keys to evict.
    #[must_use]
    pub fn room(&self, can_evict: bool) -> Room {
        if !self.is_out_of_memory() {
            return Room::Enough;
        }
        let after = self.memory_used().saturating_sub(self.memory_leaving());
        if after <= self.maxmemory || (can_evict && self.eviction_excess() > 0) {
            return Room::AfterCommit;
        }
        Room::Lacking
    }
}
