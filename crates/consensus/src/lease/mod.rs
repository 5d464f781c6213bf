//! The leader lease: how a leader knows, without asking anybody, that no other leader exists.
//!
//! # The problem
//!
//! A primary answers reads from its memory. The answer is correct only if no other node has become primary meanwhile,
//! because that one may have committed newer writes. Raft alone does not tell a leader that it was deposed: a leader
//! behind a partition believes in its term until a message with a higher term arrives. The same holds for everything
//! else that a primary does on its own: acknowledging writes in `async` mode and expiring keys.
//!
//! A **lease** is a span of time in which no other node can be elected. Each voter promises the leader not to vote for
//! anybody else for a while, and the leader serves while a quorum is bound by such promises. Every later election needs
//! a vote of at least one of these voters, so it cannot succeed before the lease ends.
//!
//! # Why simple solutions fail
//!
//! - *Ask a quorum before each read.* Correct, but each read costs a round trip. It is the fallback for clients that
//!   trust no clock (`deadline::Lease::confirmed`).
//! - *Rely on the election time-out.* It only says when followers usually campaign. A restarted voter, or one that was
//!   asked to take over, votes at once.
//! - *Agree on a point in time.* Wall clocks are set by NTP and by operators: a jump by a minute ends a lease early, or
//!   keeps it a minute too long. So no time is compared between nodes. Each side measures a span on its own boot clock,
//!   which nobody can set.
//! - *Count from the arrival of the answer.* Answers can be late. If an answer takes 300 ms, a lease that is counted
//!   from its arrival outlives the promise by 300 ms. So the leader counts from the time at which it **sent** the
//!   request.
//! - *Check once, serve later.* A process can be paused at any instruction (SIGSTOP, a hypervisor that takes the
//!   cores). So the owner checks the lease with a clock reading that it took **after** it received the command. After a
//!   pause the reading shows that the lease is over.
//! - *Promise when the Raft core has confirmed the vote.* Between confirmation and promise the core may grant a vote to
//!   another candidate. So a voter promises first, then asks its core.
//! - *Keep promises in memory only.* A restarted voter does not know them. So it is silent, as if bound to everybody,
//!   for the longest time that it may have promised before.
//! - *Bind voters with every heartbeat.* If heartbeats arrive and answers are lost, voters stay bound for ever to a
//!   leader that may not act, and nobody can be elected. So a leader first probes, and binds only while a quorum
//!   answers.
//!
//! # How it works
//!
//! 1. The leader of an epoch sends one heartbeat per interval to every member, with its boot time as timestamp. While a
//!    quorum has answered lately, the heartbeat binds (`heartbeat.rs`, `leader::LeaderLease::may_bind`).
//! 2. A member records the promise, then asks its Raft core, through the core's own queue, whether it holds this
//!    leader's vote. If so it answers yes and echoes the timestamp (`promises.rs`).
//! 3. Until the promise ends, the member neither grants votes nor requests them. Both are checked where they leave the
//!    node and where they arrive (`peer/serve.rs`, `raft/network.rs`).
//! 4. The leader extends its lease to the newest timestamp that a quorum has answered, plus the length of the promise,
//!    minus the drift margin (`leader.rs`).
//! 5. The owner of the data checks the lease for each command (`deadline.rs`).
//!
//! # Example
//!
//! Nodes A, B, C; A leads. A promise binds for 350 ms, the drift margin is 20 ms, so a heartbeat is worth 330 ms from
//! its send time. Times are in milliseconds:
//!
//! ```text
//!     0  A sends a heartbeat that binds, timestamp 0. A itself promises until 350.
//!     2  It arrives at B, and is lost on its way to C. B promises until 352, asks its Raft core, and answers.
//!     4  The answer arrives. A and B are a quorum: A holds the lease until 0 + 330 = 330.
//!    10  A partition separates A from B and C. Nothing arrives any more.
//!   100  C, which is not bound, campaigns. B is bound until 352: no grant leaves B, so C has no quorum.
//!   200  A is paused by its hypervisor, with a read command in its queue.
//!   330  The lease ends.
//!   352  B is free. From here on C can win.
//!   610  C campaigns by time-out, wins with B's vote, and serves in a new epoch, with a lease of its own.
//!  5000  A resumes and takes the next command. Its clock reads 5000, the lease ended at 330: it refuses.
//! ```
//!
//! B's promise ends 22 ms after the lease: 2 ms of travel time plus the drift margin. This margin covers clocks whose
//! rates differ by 5 % over the lease (`Timers::validate` demands 1 %); those of real machines differ by a few
//! hundredths of a percent. If B restarts at 50, it forgets its promise, but grants no vote for 350 ms and one
//! heartbeat interval.
//!
//! # Invariants
//!
//! - A voter **first promises, then asks** its Raft core, **then answers**. If the core grants another vote before it
//!   handles the question, the answer is no. If the core grants it after that, the promise exists when the grant is
//!   about to leave, and the grant does not leave.
//! - A promise that is withdrawn because the core holds another vote falls back to what was **answered** before, never
//!   below: the leader may rely on that.
//! - The leader counts from the **send time** of its request, on its own clock. The voter counts from the arrival, on
//!   its own. So the voter's promise ends later, by more than the clocks drift apart in that span (`drift_margin`).
//! - The leader relies on no more than each voter has promised. Answers say for how long that is, because the length
//!   may differ between nodes while `failover-timeout` is being changed.
//! - A restarted voter is silent for as long as it may have promised before.
//! - The quorum is one of the effective membership: of each half of a joint configuration, and the earlier end counts.
//!   When the log takes a new membership, the lease is cut at once to what it is worth under the new voters.
//! - The leader's own node answers like any other, with its own promise and its own Raft core, and must be among those
//!   that answered. So a leader whose Raft core hangs loses its lease.
//! - A closed lease stays closed for the rest of its epoch.
//!
//! Promises and lease are pure: time is an argument.
//!
//! | module | what it does |
//! |---|---|
//! | `promises` | what this node has promised to leaders |
//! | `leader` | what a leader concludes from answers |
//! | `deadline` | the lease as the owner of the data checks it |
//! | `heartbeat` | sends the requests of all groups that this node leads |
//! | `pulse` | notices that this node did not run for a while |
//! | `watchdog` | closes the lease of a primary whose loop is stuck |
//! | `clocks` | whether the wall clock, by which keys expire, can be trusted |

pub(crate) mod clocks;
pub(crate) mod deadline;
pub(crate) mod heartbeat;
pub(crate) mod leader;
pub(crate) mod promises;
pub(crate) mod pulse;
pub(crate) mod watchdog;

#[cfg(test)]
mod tests;
