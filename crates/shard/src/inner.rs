//! What the shard's handles, its sessions and its loop share.

use std::cell::RefCell;

use crate::edges::Edges;
use crate::state::State;

/// One replica's state and edges.
pub(crate) struct Inner {
    pub(crate) state: RefCell<State>,
    pub(crate) edges: Edges,
}
