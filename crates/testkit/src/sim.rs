//! A deterministic simulation of a whole cluster: nodes on one thread, in simulated time, over a simulated network and
//! simulated disks, while messages are lost, nodes crash, disks fail, clocks jump and operators change their minds.
//!
//! # Why
//!
//! Bugs of a replicated store need rare orders of events: a reply that leaves between a crash and an election, a frame
//! that arrives after its sender was deposed. Tests on real processes meet such an order by chance, in one run of many,
//! and cannot repeat it. Here one seed determines every choice, so that a failing run can be replayed, traced line by
//! line, and kept as a test, and a thousand runs take minutes.
//!
//! # What is real
//!
//! ```text
//! client.rs ═ RESP over simulated TCP ═▶ front_end.rs ─▶ Shard ─▶ Consensus ─▶ Log ─▶ disk.rs
//!                                                                    net.rs ═ frames ═▶ the other nodes
//! fault.rs injects faults, adversary.rs runs hostile clients
//! invariants.rs checks all nodes after every step; ledger.rs checks what clients see
//! ```
//!
//! Everything between the edges is the product's code: the log with encryption and group commit, consensus with leases
//! and changes of members, the shard's loop, the engine, and the connection core of the front end. Only the edges are
//! replaced: the store below the log, the transport between peers, clocks, snapshot files and sockets; and the control
//! plane, whose decisions are in `plan.rs`.
//!
//! Not covered: TLS, MULTI and scripts of the regular clients, a process that is paused in the middle of a turn of its
//! loop (but its messages and replies can be held back), and damage inside the store's own files (see
//! `log/tests/damage.rs`).
//!
//! # How a run is made
//!
//! 1. `World::new` (`world.rs`) seeds the generators and draws the size of the cluster, the number of shards, the
//!    [`SimProfile`] (`sync`, `async`, switching between the two, `disabled`), the lag bound and the batching. It
//!    creates the nodes (`build.rs`) and registers each node and each client as a host of turmoil, which simulates time
//!    and TCP.
//! 2. When a host starts, `process.rs` starts what a production node starts, on the edges above. A crash drops all of
//!    that; what is left is the part of the node in `node.rs`: its disk, its snapshots and its clocks. From these the
//!    process starts again.
//! 3. The driver advances simulated time in steps of one millisecond. In each step turmoil runs every host until it
//!    waits for something; then the invariants are checked from outside. The first violation ends the run.
//! 4. The phases: create the cluster and wait for acknowledged writes; inject faults for a while (`fault/schedule.rs`
//!    chooses them, and several overlap); heal everything; require that every shard accepts writes again; stop the
//!    clients and read every key back; require that all replicas have the same data.
//! 5. The clients record in the ledger what they send and receive. Before every reply the front end sends which node
//!    gave it, in which role, mode and epoch (`origin.rs`). With that the ledger knows what each later read must show.
//!
//! A new fault is a kind in `fault.rs` and a function in one of the modules below it, which returns a `RunningFault`. A
//! new invariant is a file in `invariants/` and a call in `invariants.rs`.
//!
//! # What a run proves
//!
//! A seed counts only if enough happened in it ([`SimReport::verdict`]): simulated time, acknowledged writes, and
//! faults that took effect. A suite of seeds counts only if everything happened in it ([`Coverage`]).
//!
//! # Determinism
//!
//! Every choice comes from the seed, also openraft's random numbers (`consensus/src/raft/runtime.rs`), and nothing else
//! has an order of its own. So equal seeds give equal runs in any fresh process, to the last line of the trace
//! ([`SimOptions::trace`]). A seed that is not the first one of its process may differ: tokio drops the tasks of a
//! crashed node in an order that depends on how many tasks the process has had (`plug.rs` removes most of that effect).
//! So whoever runs many seeds gives each a process of its own ([`Simulator`]).

mod adversary;
mod apart;
mod build;
mod client;
mod clock;
mod connection;
mod coverage;
mod departures;
mod disk;
mod fault;
mod flushes;
mod form;
mod front_end;
mod invariants;
mod keyed;
mod ledger;
mod net;
mod node;
mod options;
mod origin;
mod panics;
mod plan;
mod plug;
mod process;
mod profile;
mod report;
mod snapshots;
mod stable_log;
mod thread;
mod trace;
mod traffic;
mod world;

pub use apart::Simulator;
pub use coverage::{Coverage, CoverageEvent, SEEDS_MIN};
pub use fault::SimFault;
pub use ledger::Summary;
pub use options::SimOptions;
pub use profile::SimProfile;
pub use report::{SimReport, SimVerdict};

use world::World;

/// Runs one simulation on a thread of this process; [`Simulator`] runs one in a process of its own.
///
/// # Panics
/// If no thread can be started or the trace's file cannot be written.
#[must_use]
pub fn run(options: &SimOptions) -> SimReport {
    let options = options.clone();
    let thread =
        std::thread::Builder::new().name(format!("seed-{}", options.seed)).spawn(move || World::new(options).run());
    let joined = thread.expect("a thread for the simulation").join();
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
