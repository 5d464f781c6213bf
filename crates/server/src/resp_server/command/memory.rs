//! MEMORY PURGE, MALLOC-STATS and STATS: what the allocator and the counters say. The engine has the other subcommands.

use super::call::{Call, ServerCommand};
use crate::allocator::{self, AllocatorFigures};
use crate::process::Usage;
use crate::resp_server::snapshot::Figures;

pub(super) const MALLOC_STATS: ServerCommand =
    ServerCommand::reply("memory|malloc-stats", "", "Returns the statistics of the allocator.", malloc_stats);
pub(super) const PURGE: ServerCommand =
    ServerCommand::reply("memory|purge", "", "Asks the allocator to return unused memory to the system.", purge);
pub(super) const STATS: ServerCommand =
    ServerCommand::reply("memory|stats", "", "Returns how the memory of this replica is used.", stats);

/// `MEMORY PURGE`. It does not wait for the system.
fn purge(call: Call<'_, '_>) {
    allocator::start_purge();
    call.out.ok();
}

/// `MEMORY MALLOC-STATS`.
fn malloc_stats(call: Call<'_, '_>) {
    match allocator::installed() {
        Some(allocator) => call.out.verbatim(*b"txt", &allocator.statistics()),
        None => call.out.bulk("Stats not supported for the current allocator"),
    }
}

/// One figure of MEMORY STATS.
enum MemoryFigure {
    Count(i64),
    Ratio(f64),
}

/// `MEMORY STATS`: Valkey's names, for what is measured here.
fn stats(call: Call<'_, '_>) {
    let resident = Usage::now().resident_bytes;
    let mut figures = of_replica(&call, resident);
    if let Some(of_allocator) = allocator::installed().and_then(|allocator| allocator.figures()) {
        add_allocator(of_allocator, resident, &mut figures);
    }
    call.out.map(figures.len());
    for (name, figure) in figures {
        call.out.bulk(name);
        match figure {
            MemoryFigure::Count(count) => call.out.integer(count),
            MemoryFigure::Ratio(ratio) => call.out.double(ratio),
        }
    }
}

fn part(of: u64, all: u64) -> f64 {
    of as f64 / all.max(1) as f64
}

fn of_replica(call: &Call<'_, '_>, resident: u64) -> Vec<(&'static str, MemoryFigure)> {
    let memory = call.shard.info().memory;
    let (used, keys) = (memory.total(), Figures::of(call.shard.engine()).keyspace.keys);
    let peak = call.replica.stats.memory_peak(used);
    vec![
        ("peak.allocated", MemoryFigure::Count(peak as i64)),
        ("total.allocated", MemoryFigure::Count(used as i64)),
        ("clients.normal", MemoryFigure::Count(memory.clients as i64)),
        ("overhead.total", MemoryFigure::Count(memory.overhead() as i64)),
        ("keys.count", MemoryFigure::Count(keys as i64)),
        ("keys.bytes-per-key", MemoryFigure::Count((memory.data / keys.max(1)) as i64)),
        ("dataset.bytes", MemoryFigure::Count(memory.data as i64)),
        ("dataset.percentage", MemoryFigure::Ratio(100.0 * part(memory.data, used))),
        ("peak.percentage", MemoryFigure::Ratio(100.0 * part(used, peak))),
        ("fragmentation", MemoryFigure::Ratio(part(resident, used))),
        ("fragmentation.bytes", MemoryFigure::Count(resident as i64 - used as i64)),
    ]
}

/// Figures of the whole process, which may have several replicas.
fn add_allocator(of: AllocatorFigures, resident: u64, figures: &mut Vec<(&'static str, MemoryFigure)>) {
    let AllocatorFigures { allocated_bytes, active_bytes, resident_bytes } = of;
    let mut add_ratio = |ratio, bytes, (above, below): (u64, u64)| {
        figures.push((ratio, MemoryFigure::Ratio(part(above, below))));
        figures.push((bytes, MemoryFigure::Count(above as i64 - below as i64)));
    };
    add_ratio("allocator-fragmentation.ratio", "allocator-fragmentation.bytes", (active_bytes, allocated_bytes));
    add_ratio("allocator-rss.ratio", "allocator-rss.bytes", (resident_bytes, active_bytes));
    add_ratio("rss-overhead.ratio", "rss-overhead.bytes", (resident, resident_bytes));
    figures.push(("allocator.allocated", MemoryFigure::Count(allocated_bytes as i64)));
    figures.push(("allocator.active", MemoryFigure::Count(active_bytes as i64)));
    figures.push(("allocator.resident", MemoryFigure::Count(resident_bytes as i64)));
}
