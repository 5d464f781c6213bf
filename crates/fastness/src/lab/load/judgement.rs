//! The verdict of a load, in the form in which it is stored and printed.

use std::fmt;

use fastness_load::chains::ChainVerdict;
use serde::{Deserialize, Serialize};

use super::payments::PaymentVerdict;
use crate::table::Table;

/// What a load has proven.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "load", rename_all = "snake_case")]
pub enum Verdict {
    /// Of writes over the protocol.
    Writes(ChainVerdict),
    /// Of payments with the SDK.
    Payments(PaymentVerdict),
}

/// A verdict and the promises that it finds broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The figures.
    pub figures: Verdict,
    /// Each broken promise as a sentence.
    pub broken: Vec<String>,
}

impl From<Verdict> for Judgement {
    fn from(figures: Verdict) -> Judgement {
        let broken = match &figures {
            Verdict::Writes(verdict) => verdict.broken(),
            Verdict::Payments(verdict) => verdict.broken(),
        };
        Judgement { figures, broken }
    }
}

impl Judgement {
    /// The exit status: 1 if a promise is broken.
    pub fn status(&self) -> u8 {
        u8::from(!self.broken.is_empty())
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["FIGURE", "VALUE"]);
        let rows = match &self.figures {
            Verdict::Writes(verdict) => rows_of_writes(verdict),
            Verdict::Payments(verdict) => verdict.rows(),
        };
        rows.into_iter().for_each(|(figure, value)| table.row([figure.to_owned(), value]));
        write!(f, "{table}\n{}", verdict_line(&self.broken))
    }
}

/// The line at the end.
pub fn verdict_line(broken: &[String]) -> String {
    if broken.is_empty() {
        return "verdict: every promise is kept\n".to_owned();
    }
    broken.iter().map(|broken| format!("verdict: BROKEN: {broken}\n")).collect()
}

fn rows_of_writes(verdict: &ChainVerdict) -> Vec<(&'static str, String)> {
    let bound = verdict.loss_bound_ms.map_or_else(|| "none".to_owned(), |ms| format!("{ms} ms"));
    vec![
        ("seconds", format!("{:.1}", verdict.seconds)),
        ("durability modes", verdict.modes.join(", ")),
        ("acknowledged writes", verdict.acknowledged.to_string()),
        ("lost, made in sync", verdict.lost_in_sync.to_string()),
        ("lost, made otherwise", verdict.lost_otherwise.to_string()),
        ("longest loss", format!("{} ms, bound in async {bound}", verdict.loss_longest_ms)),
        ("doubled", verdict.doubled.to_string()),
        ("refused, yet happened", verdict.phantoms.to_string()),
        ("unknown outcome", verdict.unknown.to_string()),
        ("refused", verdict.refused.to_string()),
        ("reads", verdict.reads.to_string()),
        ("keys not read back", verdict.unread.to_string()),
        ("longest interruption", format!("{:.2} s", verdict.interruption_longest_ms as f64 / 1e3)),
    ]
}
