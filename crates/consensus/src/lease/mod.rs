//! The lease as plain state: what a voter has promised, and what a leader may conclude from answers.
//!
//! Both sides are pure (time is passed in). How questions and answers travel is in `lease/heartbeat.rs`.
//!
//! A voter that promises a leader something until a point in time neither grants nor asks for votes before that point
//! (`peer/link.rs` and `raft/network.rs` ask [`Promises::bars`] at every vote, on its way in and out). A leader that
//! has such promises of a quorum knows that nobody else can be elected before the earliest end of a quorum's latest
//! ends.
//!
//! Why it is safe:
//! - A voter **first promises, then asks** its Raft core, through the core's own queue, whether it holds this leader's
//!   vote, **then answers**. A vote for somebody else that the core handles before the question makes the answer a no;
//!   one that it handles after it finds the promise when the grant is about to leave, and does not leave.
//! - A promise that is withdrawn (the core held another vote) falls back to what was **answered** before, never below
//!   it: the leader may be counting on that.
//! - The leader counts from the **send time** of its question, on its own clock, the voter from its arrival: the
//!   voter's promise ends later, by more than clocks drift apart in that span (`drift_margin`).
//! - It counts on no more than what the voter has promised: answers say for how long that is, which may differ between
//!   nodes while `failover-timeout` is being changed. A restarted voter is silent for as long as it may have promised
//!   before.
//! - The quorum is of the effective membership, for each half of a joint one on its own; the earlier end counts.
//!   Whatever was concluded under the old voters is cut down the moment the log takes a new membership.
//! - The leader's own node answers like any other (own promise, own core), and must be among those that answered: a
//!   leader whose Raft core hangs loses its lease.

pub(crate) mod clocks;
pub(crate) mod deadline;
pub(crate) mod heartbeat;
pub(crate) mod leader;
pub(crate) mod promises;
pub(crate) mod pulse;
pub(crate) mod watchdog;

#[cfg(test)]
mod tests;
