//! Differential tests: the same commands to this product and to a real Valkey server must give equal replies and keys.
//!
//! - [`generator`]: seeded random commands from one shape per command, with good and bad arguments. [`positions`]:
//!   those of the geo commands. [`rng`]: random numbers.
//! - [`mod@reference`]: a Valkey server of its own for each test, as a cluster of one node.
//! - [`exclusions`]: allowed differences, with the reasons, read from one file.
//! - [`compare`]: whether two replies are equal, as far as the exclusions require it.
//! - [`ours`]: the engine in this process and a replica of it. [`sides`]: this and the reference, compared.
//!
//! A test over the network has a server in place of [`ours`].

pub mod compare;
pub mod exclusions;
pub mod generator;
pub mod ours;
pub mod positions;
pub mod reference;
pub mod rng;
pub mod shapes;
pub mod sides;
