//! Traffic between nodes: streams of frames, the identity of peers, and what was observed of them.

pub(crate) mod codec;
pub(crate) mod frame;
pub(crate) mod identity;
pub(crate) mod link;
pub(crate) mod links;
pub mod observed;
pub(crate) mod serve;
pub(crate) mod start;
pub(crate) mod transport;
