//! The same commands to this product and to a real Valkey server: replies and keys must be equal.
//!
//! - [`generator`]: seeded random commands from one shape per command, good arguments and bad ones.
//! - [`mod@reference`]: a Valkey server of its own for the test, as a cluster of one node.
//! - [`exclusions`]: what may differ, with the reasons, read from one file.
//! - [`compare`]: whether two replies are equal, as far as the exclusions ask for it.
//!
//! Whoever runs the product's side (the engine in the test's own process, or a server over a socket) brings that side.

pub mod compare;
pub mod exclusions;
pub mod generator;
pub mod reference;
pub mod shapes;
