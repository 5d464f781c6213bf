//! The whole shard path in a deterministic simulation: nodes on one thread, in simulated time, over a simulated network
//! and simulated disks, while messages get lost, nodes crash, disks fail, clocks jump and operators change their minds.
//!
//! ```text
//! client.rs ═ RESP over the simulation's TCP ═▶ front end.rs ─▶ Shard ─▶ Consensus ─▶ Log ─▶ disk.rs
//!                                                             net.rs ═ frames ═▶ the other nodes
//! fault.rs: what goes wrong, adversary.rs: hostile clients
//! invariants.rs looks at all nodes, at every step; ledger.rs looks at what clients see
//! ```
//!
//! Everything above the edges is the code that ships: log with encryption and group commit, consensus with its leases
//! and its changes of members, the shard's loop and the engine. Replaced are the edges alone: store, peer transport,
//! clocks, snapshot files, the front end's sockets; and the control plane, whose word is `plan.rs`.
//!
//! A run (`world.rs`): the cluster is created, clients load it, faults come for a while, everything heals; then writes
//! must go on, every key is read back, and all replicas must come to the same data. Its seed chooses the [`SimProfile`]
//! too: `sync`, `async`, switching between the two, `disabled`.
//!
//! A seed counts only if enough happened ([`SimReport::verdict`]), and a suite of seeds only if everything happened in it
//! ([`Coverage`]).
//!
//! What it does not do: TLS, MULTI and scripts, a process that is paused in the middle of a turn of its loop (what it
//! says, hears and replies can be held back), damage inside of the store's own files (`log/tests/damage.rs` has it).
//!
//! Determinism: every choice comes from the seed, openraft's among them (`consensus/src/raft/runtime.rs`), and nothing else
//! has an order of its own: the same seed leads to the same run, in any fresh process, to the last line of its
//! [`SimOptions::trace`]. A seed that is not the first of its process may differ: tokio drops the tasks of a crashed node
//! in an order that depends on how many the process has had (`plug.rs` takes most of that away). So whoever runs many
//! gives each a process of its own ([`Simulator`]).

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
mod front_end;
mod invariants;
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
