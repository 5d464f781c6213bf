//! One client connection without I/O: received bytes go in, commands run on the shard, replies come out in order.
//!
//! ```text
//! bytes ─▶ Connection::receive: parse ─▶ look up ─▶ permit ─▶ prefetch ─▶ Shard::run ─▶ Replies
//!                                                                                        │
//! bytes ◀─ Connection::sendable ◀── Connection::release: what the shard lets go, in order ┘
//! ```
//!
//! Who owns the socket drives a [`Connection`]: it passes bytes in, awaits what a command waits for, and sends what is
//! released. The server drives it with sockets, the simulation with simulated ones, so that the code which orders
//! replies and cuts pipelines is the code that is simulated.
//!
//! - [`connection`]: the connection, its rules and its order of events.
//! - [`host`]: what a connection asks of its owner: permission, limits, statistics.
//! - [`replies`]: replies that have not been sent, and what pending ones depend on.
//! - [`attribute`]: what a client asks for a single command.
//!
//! It knows no sockets, no TLS, no users, no clock (the host's is used) and no metrics.

pub mod attribute;
pub mod connection;
pub mod host;
mod pipeline;
pub mod replies;

pub use connection::{Connection, Received, Waits};
pub use host::{Closing, Executed, Host, ReplyMode};
