//! The Fastness binary.
fn main() {}
