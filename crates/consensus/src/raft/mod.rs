//! openraft and what it needs: types, log storage, state machine, network and runtime.

pub(crate) mod codec;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod observer;
pub(crate) mod runtime;
pub(crate) mod storage;
pub(crate) mod types;
pub(crate) mod watch;
