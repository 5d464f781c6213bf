//! What is sent as a whole.

use crate::address::Address;
use crate::error::CliError;

use super::tally::Failure;

/// Where a unit is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To the node that serves the slot of its keys.
    Slot(u16),
    /// It has no keys: to the first node.
    First,
    /// To where it was redirected.
    Node {
        /// The node.
        address: Address,
        /// After ASKING.
        is_ask: bool,
    },
}

/// One command, or a transaction from MULTI to EXEC.
#[derive(Debug)]
pub struct Unit {
    /// The number of its first command in the input, from 1.
    pub number: u64,
    /// Its commands, each of which is answered with one reply.
    pub commands: usize,
    /// The requests.
    pub bytes: Vec<u8>,
    /// Where it is sent.
    pub place: Place,
    /// The slot of its first key.
    pub slot: Option<u16>,
    /// Where in the input it ends, bytes.
    pub end: u64,
    /// Its part of the memory, returned when it is dropped.
    pub memory: Option<Memory>,
}

/// A part of the memory for what was read and is not answered. Dropping it returns it.
pub struct Memory(pub Box<dyn Send>);

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

/// What the input contains.
#[derive(Debug)]
pub enum Item {
    /// Something to send.
    Unit(Unit),
    /// A command that is not sent.
    Refused(Failure),
    /// The input cannot be read any further.
    Broken(CliError),
}
