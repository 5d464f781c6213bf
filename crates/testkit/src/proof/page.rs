//! Generates `tests/LEDGER.md` from the rows.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::chain::Sealed;
use super::row::{Row, RowVerdict, Spans, Suite};
use crate::clients::Counts;

/// Number of newest rows that the page lists; all rows are in the file.
const SHOWN: usize = 30;

const HEAD: &str = "\
# Ledger of long runs

Made of `ledger.jsonl` by `make ledger`; a test compares them. Rows are written by the tools that run (`make sim`, `make chaos`,
`make soak`, `make fuzz`, `make test-differential`), one for each run, and by nobody else: each carries a checksum over itself and the row before it, which a test checks.

A row counts only if the checkout had no changes that are in no commit, the run was valid (every fault was seen to take effect, the
load was high enough, every checker came to a verdict) and it looked for lost writes and stale reads. A simulated seed needs 20 simulated
seconds, 300 acknowledged operations and 3 faults. A row of `make fuzz` counts if each of its
targets has decoded some of its inputs, and one of `make test-differential` if it drew every command of the engine. A power loss counts only if an unsynced canary on each file system that
it hit had vanished, and at least 1,000 writes were acknowledged since the fault before. A run that found something counts, whatever
else it lacks. What is not known is shown as a dash, and is not 0.

";

/// The page.
#[must_use]
pub fn page(rows: &[Sealed]) -> String {
    let mut out = HEAD.to_owned();
    let counted: Vec<&Row> = rows.iter().filter(|row| row.counted).map(|row| &row.row).collect();
    let last = rows.last().map_or("none", |row| row.sum.as_str());
    let _ = writeln!(out, "{} rows, {} of them count; last checksum: `{last}`\n", rows.len(), counted.len());
    if !counted.is_empty() {
        suites(&mut out, &counted);
        commits(&mut out, &counted);
        broken(&mut out, rows);
        faults(&mut out, &counted);
        clients(&mut out, &counted);
        fuzzed(&mut out, &counted);
    }
    if !rows.is_empty() {
        newest(&mut out, rows);
    }
    out
}

/// Sum of the known figures; `None` if none is known.
fn sum(rows: &[&Row], of: impl Fn(&Row) -> Option<u64>) -> Option<u64> {
    rows.iter().filter_map(|row| of(row)).reduce(|a, b| a + b)
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or("–".to_owned(), |value| value.to_string())
}

fn suites(out: &mut String, rows: &[&Row]) {
    out.push_str("## What was run\n\n");
    out.push_str("| suite | runs | seeds | hours | simulated hours | operations checked | acknowledged sync writes | lost | at most lost, 95 % | stale | other | unknown outcome | longest loss in async, ms |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for suite in Suite::ALL {
        let of_suite: Vec<&Row> = rows.iter().copied().filter(|row| row.suite == suite).collect();
        if !of_suite.is_empty() {
            total(out, suite.name(), &of_suite);
        }
    }
    total(out, "all", rows);
    out.push_str("\n\"At most lost\" is the rate that is refuted with 95 % confidence by as many writes without a loss: 3/N (the rule of three).\n\n");
}

/// The same sums for each commit, the newest first: what an older commit broke may be fixed in a newer one.
fn commits(out: &mut String, rows: &[&Row]) {
    out.push_str("## By commit\n\n");
    out.push_str("| commit | runs | seeds | hours | simulated hours | operations checked | acknowledged sync writes | lost | at most lost, 95 % | stale | other | unknown outcome | longest loss in async, ms |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    let mut seen: Vec<&str> = Vec::new();
    for row in rows.iter().rev().filter(|row| !row.dirty) {
        if !seen.contains(&row.commit.as_str()) {
            seen.push(&row.commit);
            let of_commit: Vec<&Row> = rows.iter().copied().filter(|other| other.commit == row.commit).collect();
            total(out, &format!("`{}`", row.commit.get(..10).unwrap_or(&row.commit)), &of_commit);
        }
    }
    out.push('\n');
}

/// The violations in the words of the run; `FINDINGS.md` says what followed from them.
fn broken(out: &mut String, rows: &[Sealed]) {
    let broken: Vec<&Sealed> = rows.iter().filter(|sealed| sealed.row.verdict == RowVerdict::Fail).collect();
    if broken.is_empty() {
        return;
    }
    out.push_str("## Runs that found something\n\nWhat each was, and where it is mended: [FINDINGS.md](FINDINGS.md).\n\n| # | commit | what was seen |\n|---|---|---|\n");
    for sealed in broken {
        let commit = sealed.row.commit.get(..10).unwrap_or(&sealed.row.commit);
        let notes = sealed.row.notes.join("; ").replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(out, "| {} | `{commit}` | {notes} |", sealed.number);
    }
    out.push('\n');
}

fn total(out: &mut String, name: &str, rows: &[&Row]) {
    let hours = |ms: u64| format!("{:.1}", ms as f64 / 3_600_000.0);
    let (written, lost) = (sum(rows, |row| row.acknowledged_sync), sum(rows, |row| row.lost));
    let cells = [
        name.to_owned(),
        rows.len().to_string(),
        rows.iter().map(|row| row.seeds_counted).sum::<u64>().to_string(),
        shown(sum(rows, |row| Some(row.wall_ms)).map(hours)),
        shown(sum(rows, |row| row.simulated_ms).map(hours)),
        shown(sum(rows, |row| row.ops_checked)),
        shown(written),
        shown(lost),
        bound(rows),
        shown(sum(rows, |row| row.stale)),
        shown(sum(rows, |row| row.other_violations)),
        shown(sum(rows, |row| row.unknown)),
        shown(rows.iter().filter_map(|row| row.async_loss_max_ms).max()),
    ];
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// The rate of losses that the writes refute: only without losses, and only from runs that searched for losses and
/// stale reads.
fn bound(rows: &[&Row]) -> String {
    let known: Vec<&Row> =
        rows.iter().copied().filter(|row| row.lost.is_some() && row.acknowledged_sync.is_some()).collect();
    match (sum(&known, |row| row.lost), sum(&known, |row| row.acknowledged_sync)) {
        (Some(0), Some(written)) if written > 0 => format!("{:.1e}", 3.0 / written as f64),
        _ => "–".to_owned(),
    }
}

fn faults(out: &mut String, rows: &[&Row]) {
    let mut by_kind: BTreeMap<(&str, Suite), (u64, Option<u64>)> = BTreeMap::new();
    for row in rows {
        for (kind, times) in &row.faults {
            by_kind.entry((kind, row.suite)).or_default().0 += times;
        }
        for (kind, times) in &row.power_losses {
            *by_kind.entry((kind, row.suite)).or_default().1.get_or_insert(0) += times;
        }
    }
    if by_kind.is_empty() {
        return;
    }
    out.push_str(
        "## Faults that took effect\n\n| fault | suite | times | as power losses that count |\n|---|---|---|---|\n",
    );
    for ((kind, suite), (times, power)) in by_kind {
        let _ = writeln!(out, "| {kind} | {} | {times} | {} |", suite.name(), shown(power));
    }
    out.push('\n');
}

/// Operations of the clients, in runs that count them by kind.
fn clients(out: &mut String, rows: &[&Row]) {
    let mut kinds: BTreeMap<&str, (u64, Counts)> = BTreeMap::new();
    for (kind, counts) in rows.iter().flat_map(|row| &row.clients) {
        let (runs, sum) = kinds.entry(kind).or_default();
        (*runs, *sum) = (*runs + 1, *sum + *counts);
    }
    if kinds.is_empty() {
        return;
    }
    out.push_str("## Clients\n\n| what they speak | runs | writes acknowledged | refused | of unknown outcome | reads |\n|---|---|---|---|---|---|\n");
    for (kind, (runs, Counts { acknowledged, refused, unknown, reads })) in kinds {
        let _ = writeln!(out, "| {kind} | {runs} | {acknowledged} | {refused} | {unknown} | {reads} |");
    }
    out.push('\n');
}

/// Fuzz targets over all runs: executions, and the most branches that one run has taken.
fn fuzzed(out: &mut String, rows: &[&Row]) {
    let mut targets: BTreeMap<&str, (u64, u64, Option<u64>)> = BTreeMap::new();
    for (name, figures) in rows.iter().flat_map(|row| &row.fuzzed) {
        let (executions, decoded, branches) = targets.entry(name).or_default();
        *executions += figures.executions;
        *decoded += figures.decoded;
        *branches = figures.branches.max(*branches);
    }
    if targets.is_empty() {
        return;
    }
    out.push_str(
        "## Fuzz targets\n\n| target | executions | decoded | most branches taken in a run |\n|---|---|---|---|\n",
    );
    for (name, (executions, decoded, branches)) in &targets {
        let _ = writeln!(out, "| {name} | {executions} | {decoded} | {} |", shown(*branches));
    }
    let sum = |of: fn(&(u64, u64, Option<u64>)) -> u64| targets.values().map(of).sum::<u64>();
    let _ = writeln!(out, "| all | {} | {} | – |\n", sum(|target| target.0), sum(|target| target.1));
}

fn newest(out: &mut String, rows: &[Sealed]) {
    out.push_str("## The newest runs\n\n");
    out.push_str("| # | day | commit | suite | profile | seed | wall s | checked | acknowledged | faults | lost | stale | until write p50/p99 ms | until read p50/p99 ms | verdict |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for sealed in rows.iter().rev().take(SHOWN) {
        let row = &sealed.row;
        let seeds =
            if row.seeds > 1 { format!("{} and {} more", row.seed, row.seeds - 1) } else { row.seed.to_string() };
        let cells = [
            sealed.number.to_string(),
            day(row.began_s),
            format!("`{}`{}", row.commit.get(..10).unwrap_or(&row.commit), if row.dirty { " dirty" } else { "" }),
            row.suite.name().to_owned(),
            row.profile.clone(),
            seeds,
            row.wall_ms.div_ceil(1000).to_string(),
            shown(row.ops_checked),
            shown(row.acknowledged_sync),
            row.faults.values().sum::<u64>().to_string(),
            shown(row.lost),
            shown(row.stale),
            spans(row.until_write),
            spans(row.until_read),
            verdict(sealed),
        ];
        let _ = writeln!(out, "| {} |", cells.join(" | ").replace('\n', " "));
    }
}

fn spans(spans: Option<Spans>) -> String {
    shown(spans.map(|spans| format!("{}/{}", spans.p50_ms, spans.p99_ms)))
}

fn verdict(sealed: &Sealed) -> String {
    let verdict = match sealed.row.verdict {
        RowVerdict::Pass => "pass",
        RowVerdict::Fail => "FAIL",
        RowVerdict::Invalid => "invalid",
    };
    match &sealed.why_not {
        Some(why) => format!("{verdict}, does not count: {why}"),
        None => verdict.to_owned(),
    }
}

/// A day as 2026-11-25, from seconds since 1970, by the Gregorian calendar.
fn day(seconds: u64) -> String {
    let mut days = seconds / 86_400;
    let mut year = 1970;
    let is_leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::row::Fuzzed;

    fn sealed(rows: impl IntoIterator<Item = Row>) -> Vec<Sealed> {
        let mut all: Vec<Sealed> = Vec::new();
        for row in rows {
            all.push(Sealed::after(all.last(), row).unwrap());
        }
        all
    }

    fn line(page: &str, start: &str) -> String {
        page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}: {page}")).to_owned()
    }

    #[test]
    fn sums_are_of_what_counts() {
        let mut dirty = Row::sample(Suite::Sim, 3);
        dirty.dirty = true;
        let rows =
            sealed([Row::sample(Suite::Sim, 1), Row::sample(Suite::Sim, 2), dirty, Row::sample(Suite::Chaos, 4)]);
        let page = page(&rows);
        assert_eq!(line(&page, "4 rows"), format!("4 rows, 3 of them count; last checksum: `{}`", rows[3].sum));
        assert_eq!(line(&page, "| sim |"), "| sim | 2 | 2 | 0.0 | 0.0 | 6000 | 2000 | 0 | 1.5e-3 | 0 | – | 10 | – |");
        assert_eq!(line(&page, "| all |"), "| all | 3 | 3 | 0.1 | 0.0 | 9000 | 3000 | 0 | 1.0e-3 | 0 | – | 15 | – |");
        assert_eq!(line(&page, "| kill-primary | sim"), "| kill-primary | sim | 8 | – |");
        assert!(line(&page, "| 3 |").contains("dirty") && line(&page, "| 3 |").contains("does not count"));
    }

    #[test]
    fn what_is_not_known_is_not_0_and_what_is_lost_is_shown() {
        let mut unknown = Row::sample(Suite::Soak, 1);
        unknown.unknown = None;
        unknown.ops_checked = None;
        let lost = Row { verdict: RowVerdict::Fail, lost: Some(2), ..Row::sample(Suite::Chaos, 2) };
        let page = page(&sealed([unknown, lost]));
        assert_eq!(line(&page, "| soak |"), "| soak | 1 | 1 | 0.0 | – | – | 1000 | 0 | 3.0e-3 | 0 | – | – | – |");
        assert_eq!(line(&page, "| chaos |"), "| chaos | 1 | 1 | 0.0 | – | 3000 | 1000 | 2 | – | 0 | – | 5 | – |");
        assert!(line(&page, "| all |").contains("| 2 | – |"));
        assert!(page.lines().any(|line| line.starts_with("| 2 |") && line.ends_with("| FAIL |")));
    }

    #[test]
    fn commits_have_sums_of_their_own_and_what_was_found_is_told() {
        let newer = Row { commit: "beef".into(), ..Row::sample(Suite::Sim, 2) };
        let notes = vec!["seed 1: gone".to_owned()];
        let broken = Row { verdict: RowVerdict::Fail, lost: Some(1), notes, ..Row::sample(Suite::Sim, 1) };
        let page = page(&sealed([broken, newer]));
        assert_eq!(
            line(&page, "| `beef` | 1"),
            "| `beef` | 1 | 1 | 0.0 | 0.0 | 3000 | 1000 | 0 | 3.0e-3 | 0 | – | 5 | – |"
        );
        assert_eq!(
            line(&page, "| `c0ffee` | 1"),
            "| `c0ffee` | 1 | 1 | 0.0 | 0.0 | 3000 | 1000 | 1 | – | 0 | – | 5 | – |"
        );
        assert_eq!(line(&page, "| 1 | `c0ffee` | seed"), "| 1 | `c0ffee` | seed 1: gone |");
    }

    #[test]
    fn power_losses_that_count_stand_beside_all() {
        let mut row = Row::sample(Suite::Chaos, 1);
        row.faults.insert("power-all".to_owned(), 5);
        row.power_losses.insert("power-all".to_owned(), 4);
        assert_eq!(line(&page(&sealed([row])), "| power-all"), "| power-all | chaos | 5 | 4 |");
    }

    #[test]
    fn executions_of_fuzz_targets_are_summed() {
        let run = |executions, branches| {
            let figures = Fuzzed { executions, decoded: executions / 2, branches };
            let fuzzed = BTreeMap::from([("batch".to_owned(), figures), ("image".to_owned(), figures)]);
            Row { fuzzed, ..Row::sample(Suite::Fuzz, 1) }
        };
        let page = page(&sealed([run(1_000, Some(70)), run(500, None)]));
        assert_eq!(line(&page, "| batch |"), "| batch | 1500 | 750 | 70 |");
        assert!(page.contains("| all | 3000 | 1500 | – |"));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(1_709_164_800), "2024-02-29");
        assert_eq!(day(1_735_689_599), "2024-12-31");
        assert_eq!(day(1_795_564_800), "2026-11-25");
    }

    #[test]
    fn an_empty_ledger_has_a_page() {
        assert!(page(&[]).ends_with("0 rows, 0 of them count; last checksum: `none`\n\n"));
    }
}
