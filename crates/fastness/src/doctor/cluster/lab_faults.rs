//! Faults that were injected, and forgotten.

use super::super::finding::{CheckResult, Finding, NextStep};
use super::facts::ClusterFacts;

const CHECK: &str = "lab faults";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let of = facts.answers().flat_map(|(node, answer)| {
        answer.view.lab_faults.iter().map(move |fault| {
            let why =
                "somebody has injected it with `fastness lab`; it stays until it is healed, or the node is restarted";
            Finding::ok(CHECK, node.name(), fault.clone()).but(CheckResult::Warning, why).then(heal(
                facts,
                node.spec.id,
                fault,
            ))
        })
    });
    of.collect()
}

/// The command that removes a fault: of the disk, or of the links between the node's AZ and the others.
fn heal(facts: &ClusterFacts, node: u64, fault: &str) -> NextStep {
    let id = node.to_string();
    let peer = fault.split("node ").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let words = match peer.filter(|peer| !peer.is_empty()) {
        Some(peer) => vec!["lab", "link", "heal", "--from", &id, "--to", peer],
        None => vec!["lab", "disk", "heal", "--node", &id],
    };
    NextStep::fastness(words.into_iter().map(str::to_owned).chain(facts.access.arguments.iter().cloned()))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, of_folder, with};
    use super::*;

    #[test]
    fn each_fault_is_named_with_the_command_that_heals_it() {
        assert!(check(&healthy()).is_empty());
        let faults = vec!["disk stalled".to_owned(), "link to node 3: cut".to_owned()];
        let faulty = with(2, |answer| answer.view.lab_faults = faults);
        assert_eq!(results(&check(&faulty)), [CheckResult::Warning; 2]);
        let found = check(&ClusterFacts { access: of_folder(), ..faulty });
        assert_eq!(results(&found), [CheckResult::Warning; 2]);
        let next: Vec<_> = found.iter().map(|found| found.next.as_ref().unwrap().to_string()).collect();
        assert_eq!(next[0], "fastness lab disk heal --node 2 --dir d");
        assert_eq!(next[1], "fastness lab link heal --from 2 --to 3 --dir d");
    }
}
