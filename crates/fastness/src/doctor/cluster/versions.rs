//! Whether all nodes run the same version, and know the same formats.

use std::collections::BTreeSet;

use super::super::finding::{CheckResult, Finding};
use super::facts::ClusterFacts;

const CHECK: &str = "versions";
const SUBJECT: &str = "the cluster";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut versions, mut levels) = (BTreeSet::new(), BTreeSet::new());
    for (node, answer) in facts.answers() {
        let Some(figures) = &answer.figures else {
            let observed = "it has sent no figures: it is of an older version, or busy; its machine was not checked";
            findings.push(Finding::not_checked(CHECK, node.name(), observed));
            continue;
        };
        let level = figures.machine.as_ref().map_or(0, |machine| machine.format_level);
        versions.insert(figures.version.clone());
        levels.insert(level);
        if level == 0 {
            let observed = format!("version {} does not report its machine, which was not checked", figures.version);
            findings.push(Finding::not_checked(CHECK, node.name(), observed));
        }
    }
    let shown = versions.iter().cloned().collect::<Vec<_>>().join(", ");
    match (versions.len(), levels.len()) {
        (0, _) => {}
        (1, 1) => findings.push(Finding::ok(CHECK, SUBJECT, format!("all nodes that answer run {shown}"))),
        _ => findings.push(mixed(facts, &shown, &levels)),
    }
    findings
}

fn mixed(facts: &ClusterFacts, versions: &str, levels: &BTreeSet<u32>) -> Finding {
    let newest = levels.last().copied().unwrap_or(0);
    let level = |answer: &super::facts::NodeAnswer| answer.machine().map_or(0, |machine| machine.format_level);
    let oldest = facts
        .answers()
        .min_by_key(|(_, answer)| (level(answer), answer.figures.as_ref().map(|figures| figures.version.clone())));
    let behind = facts.answers().filter(|(_, answer)| level(answer) < newest).map(|(node, _)| node.spec.id.to_string());
    let behind = behind.collect::<Vec<_>>().join(", ");
    let observed = match behind.is_empty() {
        true => format!("nodes run different versions: {versions}"),
        false => format!("nodes run different versions ({versions}); only older formats are known to node {behind}"),
    };
    let found = Finding::ok(CHECK, SUBJECT, observed).but(
        CheckResult::Warning,
        "an upgrade is incomplete: what the newer version adds is used once every node has it",
    );
    match oldest {
        Some((node, _)) => {
            let command = format!("systemctl restart fastness@{}", node.spec.id);
            found.then(facts.access.on_machine(&node.spec, &command))
        }
        None => found,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, with, with_machine};
    use super::*;

    #[test]
    fn an_incomplete_upgrade_is_a_warning() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok]);
        let other = with(2, |answer| answer.figures.as_mut().unwrap().version = "0.2.0".into());
        assert_eq!(results(&check(&other)), [CheckResult::Warning]);
        let found = check(&with_machine(3, |machine| machine.format_level = 4));
        assert_eq!(results(&found), [CheckResult::Warning]);
        assert!(
            found[0].observed.ends_with("to node 3")
                && found[0].next.as_ref().unwrap().to_string().contains("fastness@3")
        );
    }

    #[test]
    fn an_older_node_is_not_checked_further() {
        let silent = with(2, |answer| answer.figures = None);
        assert_eq!(results(&check(&silent)), [CheckResult::NotChecked, CheckResult::Ok]);
        let older = with(2, |answer| answer.figures.as_mut().unwrap().machine = None);
        assert_eq!(results(&check(&older)), [CheckResult::NotChecked, CheckResult::Warning]);
    }
}
