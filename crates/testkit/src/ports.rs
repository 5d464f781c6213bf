//! Ports for the real processes of tests: blocks of a hundred ports, each reserved for one user at a time.
//!
//! Checking whether ports are free reserves nothing: two tests that check at the same time find the same ports. So a
//! block is reserved by listening on its last port, which acts as a lock: the kernel gives it to one process or thread
//! at a time, and frees it when that one ends, however it ends. Only then are the other ports of the block checked,
//! because foreign or left-over processes may listen on them. All tests that start processes take their ports here, or
//! in the same way (`tests/clients/cluster.py`).
//!
//! The blocks are below the range that the system uses for outgoing connections (from 32,768 on, by default).

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Number of ports in a block; the last one is the lock.
const BLOCK: u16 = 100;
/// Range of all blocks.
const RANGE: std::ops::Range<u16> = 10_000..30_000;
const BLOCKS: u16 = (RANGE.end - RANGE.start) / BLOCK;

/// A reserved block. Dropping it frees the block.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    _lock: TcpListener,
}

impl Ports {
    /// Reserves a block of unused ports.
    ///
    /// # Errors
    /// If no block is free.
    pub fn reserve() -> Result<Ports> {
        // The start of the search only avoids checking blocks that are reserved already.
        static SEARCHES: AtomicU16 = AtomicU16::new(0);
        let begin = (std::process::id() % u32::from(BLOCKS)) as u16 + SEARCHES.fetch_add(1, Ordering::Relaxed) % BLOCKS;
        let mut blocks = (0..BLOCKS).map(|i| RANGE.start + (begin + i) % BLOCKS * BLOCK);
        match blocks.find_map(Ports::take) {
            Some(ports) => Ok(ports),
            None => bail!("no {BLOCK} free ports in a row between {} and {}", RANGE.start, RANGE.end),
        }
    }

    /// Reserves the block that starts with this port, outside of the range of [`Ports::reserve`]: for data in which
    /// ports are recorded.
    ///
    /// # Errors
    /// If one of its ports is in use.
    pub fn reserve_at(first: u16) -> Result<Ports> {
        match Ports::take(first) {
            Some(ports) if !RANGE.contains(&first) => Ok(ports),
            _ => bail!("ports {first} to {} are not free", first + BLOCK - 1),
        }
    }

    fn take(first: u16) -> Option<Ports> {
        let lock = listen(first + BLOCK - 1)?;
        let free = (first..first + BLOCK - 1).all(|port| listen(port).is_some());
        free.then_some(Ports { first, _lock: lock })
    }

    /// The first port; the next 98 belong to the block, too.
    #[must_use]
    pub fn first(&self) -> u16 {
        self.first
    }

    /// The port with this number, from 0.
    ///
    /// # Panics
    /// If the block does not have that many ports.
    #[must_use]
    pub fn at(&self, number: u16) -> u16 {
        assert!(number < BLOCK - 1, "a block has ports 0 to {}, {number} is not one of them", BLOCK - 2);
        self.first + number
    }
}

/// Listens with SO_REUSEADDR, as servers do: closing connections do not prevent that, another listener does.
fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn threads_that_reserve_at_once_get_different_blocks() {
        let barrier = std::sync::Barrier::new(8);
        let take = || {
            barrier.wait();
            (0..4).map(|_| Ports::reserve().unwrap()).collect::<Vec<_>>()
        };
        let all: Vec<Ports> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let firsts: BTreeSet<u16> = all.iter().map(Ports::first).collect();
        assert_eq!(firsts.len(), all.len(), "{all:?}");
        assert!(all.iter().all(|ports| listen(ports.at(0)).is_some() && listen(ports.at(98)).is_some()));
    }

    #[test]
    fn a_block_is_held_until_it_is_dropped_and_not_taken_while_used() {
        let ports = Ports::reserve().unwrap();
        let first = ports.first();
        assert!(Ports::take(first).is_none(), "it is reserved");
        let stranger = listen(ports.at(7)).unwrap();
        drop(ports);
        assert!(Ports::take(first).is_none(), "one of its ports is in use");
        drop(stranger);
        // Another test may have been faster: then its lock is in the way.
        assert!(Ports::take(first).is_some() || listen(first + BLOCK - 1).is_none());
    }
}
