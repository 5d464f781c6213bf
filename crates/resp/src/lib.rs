//! RESP2 and RESP3: requests read without copying, replies written as Valkey writes them, replies read back.
//!
//! - [`request`]: one command at the start of a connection's read buffer, borrowed from it.
//! - [`reply`]: the writers of every reply type, per protocol version.
//! - [`value`]: a decoder of replies for tests, the load generator and other front ends.
//! - [`shared_buf`]: bytes that share long pieces with whoever else holds them: replies, and the engine's effects.
//! - [`double`]: how Valkey spells a floating point number.
//!
//! Knows no commands and no sockets. Memory grows with what was received, never with what was announced.

pub mod args;
pub mod double;
pub mod reply;
pub mod request;
pub mod shared_buf;
mod span;
pub mod value;

pub use args::Args;
pub use reply::{Protocol, ReplyBuf};
pub use request::{ArgSpans, Limits, Parsed, ProtocolError};
pub use shared_buf::SharedBuf;
pub use value::Value;
