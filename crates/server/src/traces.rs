//! OpenTelemetry traces of sampled writes, from the listener to the commit. Off unless `otlp-endpoint` is set.
//!
//! ```text
//! connection, loop ─▶ WriteTrace: times in cells ──(dropped)──▶ queue ─▶ exporter (other thread): spans ─▶ collector
//!                             └── proposed ──▶ queue ─▶ follower: when this node's disk and the others have the entry
//! ```
//!
//! - A write is sampled if its client's span is (`traceparent`), or by chance, one in `trace-sample`. A connection has
//!   one sampled write at a time, a node at most [`tracer::LIVE_MAX`].
//! - On the loop there are no spans: a sampled write has a `WriteTrace`, which holds points in time. When both the
//!   connection and the shard have dropped it, its record enters the queue. Everything else is done on other threads.
//! - Nothing waits for the queue or the collector. What finds no room, and what the collector does not take in time, is
//!   dropped and counted.
//! - A trace has names of commands, sizes, positions and outcomes. It never has keys, values, users or addresses.
//!
//! - `tracer`: the queue and the counters. `record`: what a sampled write leaves. `write`: a sampled write on the loop.
//!   `live`: that of one connection. `replication`: where its entry is stored.
//! - `spans`: what becomes of a record. `export`: the task that sends spans.

pub mod export;
pub mod live;
pub(crate) mod record;
mod replication;
mod spans;
pub mod tracer;
pub(crate) mod write;
