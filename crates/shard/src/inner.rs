//! What the shard's handles, its sessions and its loop share.

use std::cell::RefCell;

use crate::edges::Edges;
use crate::state::State;

/// See the module.
pub(crate) struct Inner {
    pub(crate) state: RefCell<State>,
    pub(crate) edges: Edges,
}
