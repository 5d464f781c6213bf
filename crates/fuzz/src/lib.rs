//! Fuzz targets for every decoder: of requests, files, messages, log entries, snapshots and payloads.
//!
//! A [`Target`] takes arbitrary bytes and panics if something does not hold: the decoder panics itself, what was
//! decoded is written and read back as something else, two ways of reading disagree, an invariant of the data is
//! broken, or memory is requested by a length that is only declared. It returns whether the bytes were decoded, so that
//! a long run shows how many of its inputs were more than refused.
//!
//! - [`targets`]: the targets, one file for each kind of input. `bench`: engines for them.
//! - [`seeds`]: the inputs from which others are made: valid encodings, and the files in `corpus/TARGET`.
//! - [`mutate`]: makes an input from others, by a seed.
//! - [`run`]: executes one input, or many, and counts.
//! - [`coverage`]: which branches an input takes, where `make fuzz` has compiled that in.
//! - [`memory`]: counts what is requested from the allocator.
//!
//! `tests/corpus.rs` replays the corpus and some thousand random inputs in `make test`; `make fuzz` runs for long.

mod bench;
pub mod coverage;
pub mod memory;
pub mod mutate;
pub mod run;
pub mod seeds;
pub mod targets;

/// One decoder, or several that read the same kind of input.
#[derive(Debug)]
pub struct Target {
    /// Its name: of its folder in `corpus`, and on the command line.
    pub name: &'static str,
    /// What it decodes, and what must hold.
    pub what: &'static str,
    /// Longest input that is made, bytes.
    pub bytes_max: usize,
    /// Executions of a run that covers all targets, in proportion to the others.
    pub share: u32,
    /// Valid encodings.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that inputs often contain.
    pub words: fn() -> Vec<Vec<u8>>,
    /// Most bytes that may be requested from the allocator for an input of this length.
    pub memory: fn(usize) -> usize,
    /// Decodes an input.
    ///
    /// # Panics
    /// Something does not hold that always must.
    pub run: fn(&[u8]) -> bool,
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    targets::ALL.iter().find(|target| target.name == name)
}
