//! Whether a crash leaves a core file.

use super::super::finding::{CheckResult, Finding, NextStep};
use super::host::{Machine, system_file};

const CHECK: &str = "core files";

pub fn check(host: &Machine) -> Vec<Finding> {
    let Some(config) = host.given() else { return Vec::new() };
    vec![judge(config.core_dumps, system_file("/proc/sys/kernel/core_pattern").as_deref())]
}

fn judge(allowed: bool, pattern: Option<&str>) -> Finding {
    let subject = "core-dumps";
    if !allowed {
        return Finding::ok(CHECK, subject, "no: a crash leaves no core file");
    }
    let place = pattern.unwrap_or("an unknown place");
    Finding::ok(CHECK, subject, format!("yes: a crash leaves a core file ({place})"))
        .but(CheckResult::Warning, "the file has all data, passwords' hashes and keys, unencrypted")
        .then(NextStep::Option("core-dumps no".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn a_core_file_is_a_warning() {
        assert_eq!(result(&judge(false, None)), CheckResult::Ok);
        let found = judge(true, Some("/var/cores/%p"));
        assert_eq!(result(&found), CheckResult::Warning);
        assert!(found.observed.contains("/var/cores/%p"));
    }
}
