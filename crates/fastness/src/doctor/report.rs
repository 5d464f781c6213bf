//! The findings as text and as JSON.

use std::fmt::Write as _;

use serde_json::json;

use super::finding::{CheckResult, Finding, NextStep};

/// Exit status if nothing is worse than `ok`.
const STATUS_OK: u8 = 0;
/// The same if the worst finding is a warning, or nothing could be checked.
const STATUS_WARNING: u8 = 10;
/// The same if there is a problem.
const STATUS_PROBLEM: u8 = 11;

/// The exit status for these findings.
pub fn status(findings: &[Finding]) -> u8 {
    let is_checked = findings.iter().any(|finding| finding.result != CheckResult::NotChecked);
    match findings.iter().map(|finding| finding.result).max() {
        Some(CheckResult::Problem) => STATUS_PROBLEM,
        Some(CheckResult::Ok | CheckResult::NotChecked) if is_checked => STATUS_OK,
        Some(CheckResult::Warning | CheckResult::Ok | CheckResult::NotChecked) | None => STATUS_WARNING,
    }
}

fn count(findings: &[Finding], result: CheckResult) -> usize {
    findings.iter().filter(|finding| finding.result == result).count()
}

/// As text: what is wrong first, what is well on one line each.
pub fn text(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.result));
    let mut text = String::new();
    for Finding { check, subject, result, observed, why, next } in sorted {
        if *result == CheckResult::Ok {
            let _ = writeln!(text, "ok  {check}, {subject}: {observed}");
            continue;
        }
        let _ = writeln!(text, "{}  {check}, {subject}\n    observed  {observed}", result.name());
        if !why.is_empty() {
            let _ = writeln!(text, "    why       {why}");
        }
        if let Some(next) = next {
            let _ = writeln!(text, "    next      {next}");
        }
        text.push('\n');
    }
    let of = |result| count(findings, result);
    let (problems, warnings) = (of(CheckResult::Problem), of(CheckResult::Warning));
    let _ = writeln!(
        text,
        "\n{problems} problems, {warnings} warnings, {} ok, {} not checked",
        of(CheckResult::Ok),
        of(CheckResult::NotChecked)
    );
    text
}

/// As JSON. `next_arguments` has the arguments of a next step that is a command of this program.
pub fn json(findings: &[Finding]) -> serde_json::Value {
    let of = |result| count(findings, result);
    let list: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "check": finding.check, "subject": finding.subject, "result": finding.result,
                "observed": finding.observed, "why": finding.why, "next": finding.next,
                "next_arguments": finding.next.as_ref().and_then(NextStep::arguments),
            })
        })
        .collect();
    json!({
        "problems": of(CheckResult::Problem), "warnings": of(CheckResult::Warning), "ok": of(CheckResult::Ok),
        "not_checked": of(CheckResult::NotChecked), "findings": list,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        let well = Finding::ok("clock", "this machine", "synchronised");
        let lost = Finding::ok("reachability", "node 2", "refused")
            .but(CheckResult::Problem, "its AZ has no other")
            .then(NextStep::fastness(["lab", "node", "start", "2", "--dir", "d"]));
        vec![well, lost, Finding::not_checked("swap", "this machine", "no /proc/swaps")]
    }

    #[test]
    fn what_is_wrong_stands_first_with_its_next_step() {
        let text = text(&findings());
        assert!(text.starts_with("PROBLEM  reachability, node 2\n    observed  refused\n"), "{text}");
        assert!(text.contains("    next      fastness lab node start 2 --dir d\n"), "{text}");
        assert!(text.ends_with("\n1 problems, 0 warnings, 1 ok, 1 not checked\n"), "{text}");
        let json = json(&findings());
        assert_eq!((&json["problems"], &json["findings"][1]["result"]), (&json!(1), &json!("problem")));
        assert_eq!(json["findings"][1]["next_arguments"][3], json!("2"));
        assert_eq!(json["findings"][0]["next"], json!(null));
    }

    #[test]
    fn the_status_is_that_of_the_worst_finding() {
        let all = findings();
        assert_eq!((status(&all), status(&all[..1]), status(&all[2..])), (STATUS_PROBLEM, STATUS_OK, STATUS_WARNING));
        assert_eq!(status(&[all[0].clone(), all[2].clone()]), STATUS_OK);
        let warning = Finding::ok("swap", "this machine", "on").but(CheckResult::Warning, "slow");
        assert_eq!(status(&[all[0].clone(), warning]), STATUS_WARNING);
    }
}
