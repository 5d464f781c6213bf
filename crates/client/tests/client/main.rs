//! Tests of the client against servers in this process. They are one program, because what a client is made of takes
//! long to compile. What tracing learns is tested in a process of its own (`spans.rs`).

#![allow(clippy::unwrap_used)]

mod blocking;
mod calls;
mod held;
mod idempotency;
#[path = "../mock/mod.rs"]
mod mock;
mod mock_watch;
mod observed;
mod operations;
mod pipeline;
mod reads;
mod testing;
mod watch;
