//! The shard loop: engine and consensus brought together. One [`Shard`] is one replica of one shard; one thread owns
//! it.
//!
//! The path of a command: [`Shard::run`] → `dispatch` (MULTI, who runs it) → `admit` (slot, role, lease, bounds) → the
//! engine, through `execution` → `stage` (effects into the open batch) → [`Outcome`] with a [`PendingReply`]
//! (`release`, `dirty`). At the end of the turn `turn` closes the batch and proposes it. Commits come back through
//! `log_walk`, which takes the committed entries in order: a primary marks its batches as committed and releases
//! replies; a replica applies them. `leadership` starts and ends tenures as primary; `undo` undoes uncommitted effects
//! when a tenure is lost.
//!
//! Ordering rules:
//! - In `sync` no reply leaves before everything that it depends on has committed.
//! - Nothing is served without a lease that holds at that moment, except committed data to READONLY clients.
//! - If a tenure is lost with uncommitted effects, memory returns to the committed state before it is read or changed.
//!
//! The crate uses no socket, file or system clock: clocks, pauses and the positions of other replicas are passed in
//! [`ShardOptions`]. It does not know how consensus works, nor how replies reach clients.

mod admit;
pub mod batch;
mod blocking;
mod changed;
pub mod changes;
mod client_override;
mod client_pause;
mod committed_value;
mod confirm;
mod counters;
mod data;
mod digest;
mod dirty;
mod dispatch;
mod edges;
mod evict;
mod execution;
mod flow;
pub mod fragment;
mod free;
mod front_end;
mod front_end_command;
mod idempotency;
mod info;
mod inner;
mod key_events;
mod key_waiter;
mod key_waits;
mod lag;
mod lag_bound;
mod leader;
mod leadership;
mod loading;
mod log_walk;
mod memory;
mod memory_check;
mod mode;
mod notifying;
mod now;
mod once;
mod options;
mod outcome;
mod position;
mod probe;
mod reader;
mod recorder;
pub mod refusal;
mod release;
mod reply_queue;
mod restore;
mod role;
mod scripts;
mod served;
mod session;
mod settings;
mod shard;
mod slots_seen;
mod snapshot;
mod snapshot_check;
mod snapshot_export;
mod snapshot_format;
mod snapshot_store;
mod snapshots;
mod stage;
mod state;
mod tenures;
mod time;
mod tracking;
mod transaction;
mod turn;
mod undo;
mod unit;
mod upkeep;
mod wait;
mod waits;

pub use client_override::{DurabilityOverride, ReadConfirmation};
pub use client_pause::PauseKind;
pub use committed_value::CommittedValue;
pub use counters::Peaks;
pub use digest::{DigestError, DigestResult};
pub use front_end::{Call, ExecutedQueued, FrontEnd, FrontEndOutcome, ShardView, SnapshotRequest};
pub use idempotency::records::IdempotencyLimits;
pub use idempotency::{IdempotencyCounter, IdempotencyKey};
pub use info::{ShardInfo, Standing};
pub use key_events::PassedNotifications;
pub use key_waiter::{KeyWaiter, WaitEnd};
pub use key_waits::KeyWaitCounts;
pub use lag::{GateInfo, GateState};
pub use lag_bound::{DesiredLagBound, LagBound};
pub use loading::LoadInfo;
pub use memory::{ClientShare, MemoryUse};
pub use mode::DesiredMode;
pub use now::Now;
pub use options::{Batching, FollowCopies, Pause, ShardOptions, SlotSet, StableCopies, TokioPause};
pub use outcome::{Outcome, PendingReply, Release, Tenure, WaitAnswer, WaitRequest};
pub use probe::{CommitProbe, StageMark};
pub use release::Released;
pub use scripts::scripting::ScriptCounts;
pub use session::{Session, WaitsFor};
pub use shard::Shard;
pub use snapshot_check::{ReplayError, SnapshotCheck, SnapshotReplay, SnapshotReport};
pub use snapshot_export::{ExportedSnapshot, RdbStart, SnapshotExport};
pub use snapshot_format::UnusableSnapshot;
pub use snapshot_store::{SinkError, SnapshotPart, SnapshotSink, SnapshotSource, SnapshotStore, SourceError};
pub use snapshots::SnapshotInfo;
pub use tracking::KeyTracker;
