//! Whether clients from other machines get in without showing who they are.

use super::super::finding::{CheckResult, Finding};
use super::facts::ClusterFacts;

const CHECK: &str = "users";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let machines = facts.answers().filter_map(|(node, answer)| Some((node, answer.machine()?)));
    machines
        .map(|(node, machine)| {
            if !machine.open_to_all {
                let observed = "clients from other machines need a certificate or a password";
                return Finding::ok(CHECK, node.name(), observed);
            }
            let why = "whoever reaches its port reads and changes all data";
            Finding::ok(CHECK, node.name(), "the user default has no password, and clients from everywhere are let in")
                .but(CheckResult::Problem, why)
                .then(facts.access.config_set(&node.spec, "requirepass", "\"$(openssl rand -hex 32)\""))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, with_machine};
    use super::*;

    #[test]
    fn a_node_that_lets_everybody_in_is_a_problem() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 3]);
        let found = check(&with_machine(2, |machine| machine.open_to_all = true));
        assert_eq!(results(&found), [CheckResult::Ok, CheckResult::Problem, CheckResult::Ok]);
    }
}
