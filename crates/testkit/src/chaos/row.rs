//! The row of a chaos run in the ledger of long runs.

use std::collections::BTreeMap;

use super::{ChaosFault, ChaosReport, Until};
use crate::clients::ClientMix;
use crate::proof::{Checkout, Row, RowVerdict, Spans, Suite};

/// Maximum number of violations in a row; the log of the run has all of them.
const NOTES_MAX: usize = 20;

impl ChaosReport {
    /// The row of the run. `checkout`: the code at its start, `durability`: its mode.
    #[must_use]
    pub fn ledger_row(&self, checkout: &Checkout, profile: &str, durability: &str) -> Row {
        let violations = self.violations();
        let known = violations.len() as u64;
        let counts = self.counts();
        let verdict = match (violations.is_empty(), self.undecided().is_empty()) {
            (false, _) => RowVerdict::Fail,
            (true, false) => RowVerdict::Invalid,
            (true, true) => RowVerdict::Pass,
        };
        // As the profiles of older rows.
        let clients = match self.clients {
            ClientMix::Resp => String::new(),
            mix => format!(", {} clients", mix.name()),
        };
        Row {
            wall_ms: self.elapsed.as_millis() as u64,
            ops_checked: Some(self.ops_checked()),
            durability: durability.to_owned(),
            acknowledged_sync: (durability == "sync").then_some(counts.acknowledged),
            async_loss_max_ms: self.async_loss_max_ms(),
            refused: Some(counts.refused),
            unknown: Some(counts.unknown),
            clients: self.by_client(),
            faults: by_kind(|fault| self.times(&[fault])),
            power_losses: by_kind(|fault| self.power_losses(&[fault])),
            lost: Some(self.lost()),
            // Where writes may be lost, an old read does not show as such.
            stale: (durability == "sync").then(|| self.stale()),
            other_violations: Some(known.saturating_sub(self.lost() + self.stale())),
            undecided: Some(self.undecided().len() as u64),
            until_write: self.spans(Until::Write),
            until_read: self.spans(Until::Read),
            verdict,
            notes: violations.into_iter().chain(self.undecided()).take(NOTES_MAX).collect(),
            ..Row::new(
                checkout,
                Suite::Chaos,
                format!("{profile}, {} nodes, {} shards{clients}", self.size.0, self.size.1),
                self.seed,
            )
        }
    }

    /// Quantiles of all faults that were injected alone.
    fn spans(&self, what: Until) -> Option<Spans> {
        let at = |share| self.until(what, &ChaosFault::ALL, share).map(|span| span.as_millis() as u64);
        let times = self.alone(&ChaosFault::ALL) as u64;
        Some(Spans { times, p50_ms: at(0.5)?, p99_ms: at(0.99)? })
    }
}

/// The kinds that occurred, with their numbers.
fn by_kind(times: impl Fn(ChaosFault) -> usize) -> BTreeMap<String, u64> {
    let counted = ChaosFault::ALL.into_iter().map(|fault| (fault.name().to_owned(), times(fault) as u64));
    counted.filter(|(_, times)| *times > 0).collect()
}
