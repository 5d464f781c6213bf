//! What a check has found: what was observed, why it matters, and the command to run next.

use std::fmt;

use serde::{Serialize, Serializer};

/// How a check has ended, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// As it should be.
    Ok,
    /// The check could not be made.
    NotChecked,
    /// Works, but will not for long, or not as well as it could.
    Warning,
    /// Does not work, or a promise is not kept.
    Problem,
}

impl CheckResult {
    /// As a word of the report.
    pub fn name(self) -> &'static str {
        match self {
            CheckResult::Ok => "ok",
            CheckResult::NotChecked => "not checked",
            CheckResult::Warning => "WARNING",
            CheckResult::Problem => "PROBLEM",
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// A command of this program: its arguments.
    Fastness(Vec<String>),
    /// A command of the system.
    System(String),
    /// A line for a node's config file, which takes effect when the node is restarted.
    Option(String),
}

impl NextStep {
    /// A command of this program.
    pub fn fastness<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> NextStep {
        NextStep::Fastness(arguments.into_iter().map(Into::into).collect())
    }

    /// The arguments of a command of this program.
    pub fn arguments(&self) -> Option<&[String]> {
        match self {
            NextStep::Fastness(arguments) => Some(arguments),
            NextStep::System(_) | NextStep::Option(_) => None,
        }
    }
}

impl fmt::Display for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextStep::Fastness(arguments) => {
                f.write_str("fastness")?;
                arguments.iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))
            }
            NextStep::System(command) => f.write_str(command),
            NextStep::Option(line) => write!(f, "write into the config file, and restart the node: {line}"),
        }
    }
}

impl Serialize for NextStep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An argument as a shell reads it.
pub fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

/// The outcome of one check on one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// What was checked: this machine, a file, a node, a shard.
    pub subject: String,
    /// The outcome.
    pub result: CheckResult,
    /// What was observed.
    pub observed: String,
    /// Why it matters; empty if all is well.
    pub why: String,
    /// What to do next.
    pub next: Option<NextStep>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, subject: impl Into<String>, observed: impl Into<String>) -> Finding {
        let (subject, observed) = (subject.into(), observed.into());
        Finding { check, subject, result: CheckResult::Ok, observed, why: String::new(), next: None }
    }

    /// The check could not be made, for the reason in `observed`.
    pub fn not_checked(check: &'static str, subject: impl Into<String>, observed: impl Into<String>) -> Finding {
        Finding { result: CheckResult::NotChecked, ..Finding::ok(check, subject, observed) }
    }

    /// The same with another result, and the reason for it.
    pub fn but(self, result: CheckResult, why: impl Into<String>) -> Finding {
        Finding { result, why: why.into(), ..self }
    }

    /// The same with the next step.
    pub fn then(self, next: NextStep) -> Finding {
        Finding { next: Some(next), ..self }
    }

    /// The same with a command of the system as the next step.
    pub fn then_system(self, command: impl Into<String>) -> Finding {
        self.then(NextStep::System(command.into()))
    }
}

/// The findings of made-up observations.
#[cfg(test)]
pub mod testing {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    /// The result of the only finding, whose next step, if it is a command of this program, the program accepts.
    pub fn result(finding: &Finding) -> CheckResult {
        check(finding);
        finding.result
    }

    /// The results of all findings, checked in the same way.
    pub fn results(findings: &[Finding]) -> Vec<CheckResult> {
        findings.iter().map(result).collect()
    }

    fn check(finding: &Finding) {
        let Finding { result, observed, why, next, .. } = finding;
        assert!(!observed.is_empty(), "{finding:?}");
        if matches!(result, CheckResult::Warning | CheckResult::Problem) {
            assert!(!why.is_empty() && next.is_some(), "{finding:?}");
        }
        let Some(arguments) = next.as_ref().and_then(NextStep::arguments) else { return };
        let line = ["fastness".to_owned()].into_iter().chain(arguments.iter().cloned());
        if let Err(error) = crate::CommandLine::try_parse_from(line) {
            assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{arguments:?}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_as_a_shell_needs_it() {
        let step = NextStep::fastness(["top", "--dir", "a b", "it's", ""]);
        assert_eq!(step.to_string(), "fastness top --dir 'a b' 'it'\\''s' ''");
        assert_eq!(NextStep::System("swapoff -a".to_owned()).to_string(), "swapoff -a");
    }

    #[test]
    fn verdicts_are_ordered_from_good_to_bad() {
        let all = [CheckResult::Ok, CheckResult::NotChecked, CheckResult::Warning, CheckResult::Problem];
        assert!(all.is_sorted());
    }
}
