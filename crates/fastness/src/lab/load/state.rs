//! The figures of a running load.

use std::time::Instant;

use fastness_load::chains::Phase;
use fastness_load::chains::meter::Interruption;
use serde::{Deserialize, Serialize};

use super::plan::LoadPlan;
use crate::table::Table;

/// An interruption, for display.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownInterruption {
    /// The shard, from 1; of payments, the bank.
    pub shard: usize,
    /// Its length.
    pub ms: u64,
    /// Whether it lasts.
    pub lasts: bool,
    /// How long ago it ended.
    pub ended_s: u64,
}

impl ShownInterruption {
    fn of(interruption: &Interruption) -> ShownInterruption {
        let now = Instant::now();
        ShownInterruption {
            shard: interruption.shard + 1,
            ms: interruption.length(now).as_millis() as u64,
            lasts: interruption.until.is_none(),
            ended_s: interruption.until.map_or(0, |until| now.saturating_duration_since(until).as_secs()),
        }
    }
}

/// Content of `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadState {
    /// writes or payments.
    pub mode: String,
    /// Number of clients.
    pub clients: usize,
    /// How long the load has been running.
    pub running_s: u64,
    /// Operations per second in the last seconds.
    pub operations_per_s: u64,
    /// Writes acknowledged since the start; of payments, payments.
    pub acknowledged: u64,
    /// Writes of unknown outcome since the start.
    pub unknown: u64,
    /// Writes refused since the start.
    pub refused: u64,
    /// Reads answered since the start.
    pub reads: u64,
    /// Reads that were not answered since the start.
    pub reads_failed: u64,
    /// Latency of acknowledged writes in the last seconds.
    pub write_p50_us: u64,
    /// 99th percentile of the same.
    pub write_p99_us: u64,
    /// 99th percentile of the latency of reads.
    pub read_p99_us: u64,
    /// The last interruption.
    pub interruption: Option<ShownInterruption>,
    /// Acknowledged writes that were found to be lost so far.
    pub lost_so_far: u64,
}

impl LoadState {
    /// The state, from the figures since the start and those of the last seconds.
    pub fn of(plan: &LoadPlan, total: &Phase, recent: &Phase, gaps: &[Interruption], lost: u64) -> LoadState {
        LoadState {
            mode: plan.mode.name().to_owned(),
            clients: plan.clients,
            running_s: total.length.as_secs(),
            operations_per_s: recent.operations_per_second() as u64,
            acknowledged: total.acknowledged,
            unknown: total.unknown,
            refused: total.refused,
            reads: total.reads,
            reads_failed: total.reads_failed,
            write_p50_us: recent.write_us.value_at_quantile(0.5),
            write_p99_us: recent.write_us.value_at_quantile(0.99),
            read_p99_us: recent.read_us.value_at_quantile(0.99),
            interruption: gaps.last().map(ShownInterruption::of),
            lost_so_far: lost,
        }
    }

    /// The table of the figures.
    pub fn table(&self, pid: Option<i32>) -> Table {
        let mut table = Table::new(&[
            "LOAD",
            "RUNNING",
            "OPS/S",
            "ACKNOWLEDGED",
            "UNKNOWN",
            "REFUSED",
            "READS",
            "LOST",
            "WRITE P50",
            "WRITE P99",
            "READ P99",
            "LAST INTERRUPTION",
        ]);
        let process = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        table.row([
            format!("{} × {}{process}", self.clients, self.mode),
            format!("{} s", self.running_s),
            self.operations_per_s.to_string(),
            self.acknowledged.to_string(),
            self.unknown.to_string(),
            self.refused.to_string(),
            self.reads.to_string(),
            self.lost_so_far.to_string(),
            ms(self.write_p50_us),
            ms(self.write_p99_us),
            ms(self.read_p99_us),
            self.interruption.as_ref().map_or_else(|| "-".to_owned(), interruption_text),
        ]);
        table
    }
}

/// Microseconds as milliseconds.
pub fn ms(us: u64) -> String {
    format!("{:.1} ms", us as f64 / 1e3)
}

fn interruption_text(interruption: &ShownInterruption) -> String {
    let ShownInterruption { shard, ms, lasts, ended_s } = interruption;
    let seconds = *ms as f64 / 1e3;
    let when = if *lasts { "and lasts".to_owned() } else { format!("{ended_s} s ago") };
    format!("shard {shard}: {seconds:.2} s, {when}")
}
