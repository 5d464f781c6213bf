//! Whether the config file can be read and its options go together.

use super::super::finding::{CheckResult, Finding, NextStep};
use super::host::Machine;

const CHECK: &str = "config";

pub fn check(host: &Machine) -> Vec<Finding> {
    let Some(file) = &host.file else { return Vec::new() };
    let subject = file.path.display().to_string();
    let refusal = file.config.as_ref().err().map(|error| format!("{error:#}"));
    vec![judge(&subject, refusal)]
}

fn judge(subject: &str, refusal: Option<String>) -> Finding {
    let Some(refusal) = refusal else { return Finding::ok(CHECK, subject, "the options go together") };
    Finding::ok(CHECK, subject, refusal)
        .but(CheckResult::Problem, "the node does not start; the checks below go by the defaults of all options")
        .then(NextStep::System(format!("\"${{EDITOR:-vi}}\" {}", super::super::finding::quoted(subject))))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn a_file_that_is_refused_is_a_problem() {
        assert_eq!(result(&judge("n.conf", None)), CheckResult::Ok);
        assert_eq!(result(&judge("n.conf", Some("line 3: unknown option 'prot'".into()))), CheckResult::Problem);
    }

    #[test]
    fn the_file_is_read_as_a_node_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.conf");
        std::fs::write(&path, "port x").unwrap();
        let found = check(&Machine::new(Some(&path)));
        assert!(found[0].result == CheckResult::Problem && found[0].observed.contains("line 1: port"), "{found:?}");
        assert!(check(&Machine::new(None)).is_empty());
    }
}
