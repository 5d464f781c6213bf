//! A block of a hundred unused ports on loopback, reserved as long as the value exists.
//!
//! Listening on the last port of a block is the lock: the kernel gives it to one process at a time. The tests of this
//! repository reserve their ports in the same way.

use std::net::TcpListener;

use anyhow::{Result, bail};

/// Number of ports in a block; the last one is the lock.
const BLOCK: u16 = 100;
/// First port of the first block. All are below the range of outgoing connections.
const FIRST: u16 = 10_000;
/// Number of blocks.
const BLOCKS: u16 = 200;

/// A reserved block.
pub struct PortBlock {
    first: u16,
    _lock: TcpListener,
}

impl PortBlock {
    /// Reserves a block.
    pub fn reserve() -> Result<PortBlock> {
        let start: u16 = rand::random();
        let firsts = (0..BLOCKS).map(|number| FIRST + (start % BLOCKS + number) % BLOCKS * BLOCK);
        match firsts.into_iter().find_map(PortBlock::take) {
            Some(block) => Ok(block),
            None => bail!("there are no {BLOCK} unused ports in a row between {FIRST} and 30000"),
        }
    }

    fn take(first: u16) -> Option<PortBlock> {
        let listen = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok();
        let lock = listen(first + BLOCK - 1)?;
        let is_free = (first..first + BLOCK - 1).all(|port| listen(port).is_some());
        is_free.then_some(PortBlock { first, _lock: lock })
    }

    /// The first port; 98 more belong to the block.
    pub fn first(&self) -> u16 {
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_block_is_not_given_away_again() {
        let block = PortBlock::reserve().unwrap();
        assert!(PortBlock::take(block.first()).is_none());
    }
}
