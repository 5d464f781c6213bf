//! Server commands that need the data alone.

pub mod dbsize;
pub mod debug;
pub mod flush;
pub mod lolwut;
pub mod memory;
pub mod time;
