//! A write with an idempotency key on its way: whether it runs, and what tells it from others.

use fastness_engine::transaction::Queued;
use fastness_resp::{Args, ReplyBuf};
use xxhash_rust::xxh3::Xxh3;

use crate::outcome::Outcome;

/// A write with a key that has not run.
pub(crate) struct FirstAttempt {
    pub(crate) client: Vec<u8>,
    pub(crate) sequence: u64,
    pub(crate) payload: u128,
}

/// A write with a key that runs.
pub(crate) struct Recording {
    pub(crate) attempt: FirstAttempt,
    /// The replies of the connection, without that of the write.
    pub(crate) replies: ReplyBuf,
}

/// Whether a write runs.
pub(crate) enum Attempt {
    /// It runs, and leaves a record if it has a key.
    Runs(Option<FirstAttempt>),
    /// It was sent before, or its key is refused: this was answered.
    Answered(Outcome),
}

/// The checksum of one command.
pub(crate) fn payload_of_command(args: Args<'_>) -> u128 {
    let mut sum = Xxh3::new();
    add_command(&mut sum, args);
    sum.digest128()
}

/// The checksum of a transaction.
pub(crate) fn payload_of_queue(queue: &[Queued]) -> u128 {
    let mut sum = Xxh3::new();
    sum.update(b"EXEC");
    queue.iter().for_each(|queued| add_command(&mut sum, queued.args()));
    sum.digest128()
}

fn add_command(sum: &mut Xxh3, args: Args<'_>) {
    sum.update(&(args.len() as u64).to_le_bytes());
    for arg in args.iter() {
        sum.update(&(arg.len() as u64).to_le_bytes());
        sum.update(arg);
    }
}
