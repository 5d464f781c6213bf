//! The codec of RESP2 and RESP3: parses requests without copying, writes replies as Valkey does, and reads replies.
//!
//! - [`request`]: one command at the start of a connection's read buffer, borrowed from it.
//! - [`reply`]: the writers of every reply type, per protocol version.
//! - [`value`]: a decoder of replies for tests, the load generator and other front ends.
//! - [`shared_buf`]: a byte buffer that shares long pieces with their other owners, for replies and the engine's
//!   effects.
//! - [`extent`]: where a reply ends, for replies that arrive in many pieces.
//! - [`double`]: Valkey's text form of floating point numbers.
//! - [`number`]: the text form of integers.
//!
//! Does not know commands or sockets. Memory grows with the bytes received, never with declared lengths.

pub mod args;
pub mod double;
pub mod extent;
pub mod number;
pub mod reply;
pub mod request;
pub mod shared_buf;
mod span;
pub mod value;

pub use args::Args;
pub use extent::ReplyExtent;
pub use reply::{Protocol, ReplyBuf};
pub use request::{ArgSpans, Limits, Parsed, ProtocolError};
pub use shared_buf::SharedBuf;
pub use value::Value;
