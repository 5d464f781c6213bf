//! The rules by which a row counts.

use super::row::{Row, RowVerdict, Suite};

/// Minimum of simulated milliseconds of a seed.
pub const SEED_SIMULATED_MS_MIN: u64 = 20_000;
/// Minimum of acknowledged operations of a seed.
pub const SEED_ACKNOWLEDGED_MIN: u64 = 300;
/// Minimum of faults that took effect in a seed.
pub const SEED_FAULTS_MIN: u64 = 3;

/// Whether a row counts.
///
/// # Errors
/// Why it does not count.
pub fn counts(row: &Row) -> Result<(), String> {
    if row.dirty {
        return Err("the checkout had changes that are in no commit".to_owned());
    }
    if row.verdict == RowVerdict::Invalid {
        return Err("the run proves nothing".to_owned());
    }
    if row.verdict == RowVerdict::Fail {
        return Ok(());
    }
    if row.suite == Suite::Fuzz {
        let is_idle = row.fuzzed.is_empty() || row.fuzzed.values().any(|target| target.decoded == 0);
        return if is_idle { Err("a target has decoded no input".to_owned()) } else { Ok(()) };
    }
    if row.suite == Suite::Differential {
        return if row.ops_checked.is_some_and(|compared| compared > 0) {
            Ok(())
        } else {
            Err("nothing was compared".to_owned())
        };
    }
    if row.undecided.is_some_and(|undecided| undecided > 0) {
        return Err("histories without a verdict".to_owned());
    }
    // Where writes may be lost, a stale read cannot be distinguished from a lost write, so losses are measured instead.
    let looked_for = if row.durability == "async" { row.async_loss_max_ms.is_some() } else { row.stale.is_some() };
    if row.lost.is_none() || !looked_for {
        return Err("what is lost or stale was not looked for".to_owned());
    }
    match row.suite {
        Suite::Sim => seeds(row),
        Suite::Chaos if row.faults.values().sum::<u64>() == 0 => Err("no fault took effect".to_owned()),
        Suite::Chaos | Suite::Soak | Suite::Fuzz | Suite::Differential => Ok(()),
    }
}

/// The suite counts each seed by the same rule; here it must hold on average over the counted seeds.
fn seeds(row: &Row) -> Result<(), String> {
    if row.seeds_counted == 0 || row.seeds_counted > row.seeds {
        return Err(format!("{} of {} seeds counted", row.seeds_counted, row.seeds));
    }
    let least = [
        ("simulated milliseconds", row.simulated_ms, SEED_SIMULATED_MS_MIN),
        ("acknowledged operations", row.ops_checked, SEED_ACKNOWLEDGED_MIN),
        ("faults", Some(row.faults.values().sum()), SEED_FAULTS_MIN),
    ];
    for (what, is, min) in least {
        let each = is.unwrap_or(0) / row.seeds_counted;
        if each < min {
            return Err(format!("{each} {what} for each seed, at least {min}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::row::Fuzzed;

    fn why(change: impl FnOnce(&mut Row)) -> String {
        let mut row = Row::sample(Suite::Sim, 1);
        assert_eq!(counts(&row), Ok(()));
        change(&mut row);
        counts(&row).unwrap_err()
    }

    #[test]
    fn a_row_counts_only_if_it_proves_something() {
        assert!(why(|row| row.dirty = true).contains("no commit"));
        assert!(why(|row| row.verdict = RowVerdict::Invalid).contains("proves nothing"));
        assert!(why(|row| row.undecided = Some(1)).contains("verdict"));
        assert!(why(|row| row.lost = None).contains("lost"));
        assert!(why(|row| row.stale = None).contains("stale"));
        assert!(why(|row| (row.durability, row.async_loss_max_ms) = ("async".to_owned(), None)).contains("lost"));
        assert!(why(|row| row.simulated_ms = Some(19_999)).contains("simulated milliseconds"));
        assert!(why(|row| row.simulated_ms = None).contains("simulated milliseconds"));
        assert!(why(|row| row.ops_checked = Some(299)).contains("acknowledged"));
        assert!(why(|row| row.faults.clear()).contains("faults"));
        assert!(why(|row| (row.seeds, row.seeds_counted) = (2, 2)).contains("simulated milliseconds"));
        assert!(why(|row| row.seeds_counted = 0).contains("seeds"));
    }

    #[test]
    fn a_run_that_found_something_counts_whatever_else_it_lacks() {
        let mut row = Row { verdict: RowVerdict::Fail, lost: Some(1), ..Row::sample(Suite::Sim, 1) };
        row.faults.clear();
        assert_eq!(counts(&row), Ok(()));
        row.dirty = true;
        assert!(counts(&row).is_err());
    }

    #[test]
    fn a_fuzz_run_counts_if_every_target_has_decoded_something() {
        let good = Fuzzed { executions: 1_000, decoded: 10, branches: None };
        let row = |fuzzed: &[(&str, Fuzzed)]| {
            let fuzzed = fuzzed.iter().map(|(name, figures)| ((*name).to_owned(), *figures)).collect();
            Row { fuzzed, lost: None, stale: None, ..Row::sample(Suite::Fuzz, 1) }
        };
        assert_eq!(counts(&row(&[("batch", good)])), Ok(()));
        assert!(counts(&row(&[])).is_err());
        assert!(counts(&row(&[("batch", good), ("image", Fuzzed { decoded: 0, ..good })])).is_err());
    }

    #[test]
    fn a_differential_run_counts_if_it_compared_something() {
        let row = |compared| Row { lost: None, ops_checked: compared, ..Row::sample(Suite::Differential, 1) };
        assert_eq!(counts(&row(Some(1))), Ok(()));
        assert!(counts(&row(Some(0))).is_err() && counts(&row(None)).is_err());
    }

    #[test]
    fn a_chaos_run_without_faults_does_not_count() {
        let mut row = Row::sample(Suite::Chaos, 1);
        assert_eq!(counts(&row), Ok(()));
        row.faults.clear();
        assert!(counts(&row).is_err());
    }
}
