//! When the certificates that the nodes use expire.

use fastness_wire::admin::v1::MachineFigures;

use super::super::expiry::{self, NodeCertificate};
use super::super::finding::{CheckResult, Finding, NextStep};
use super::facts::{ClusterFacts, NodeFacts};

const CHECK: &str = "certificate";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let machines = facts.answers().filter_map(|(node, answer)| Some((node, answer.machine()?)));
    let nodes = machines.flat_map(|(node, machine)| of_node(facts, node, machine));
    nodes.chain(of_ca(facts)).collect()
}

fn of_node(facts: &ClusterFacts, node: &NodeFacts, machine: &MachineFigures) -> Vec<Finding> {
    let certificate = NodeCertificate {
        node: node.spec.id,
        hosts: machine.certificate_hosts.clone(),
        lab: machine.certificate_lab,
        ca_folder: facts.access.ca_folder(),
    };
    let times = (machine.certificate_expires_at_s, expiry::now_s());
    let expires = match machine.certificate_expires_at_s {
        0 => Finding::not_checked(CHECK, node.name(), "it does not know when its certificate expires"),
        _ => expiry::judge(CHECK, &node.name(), times, certificate.renewal()),
    };
    let refused = (machine.certificate_failures > 0).then(|| {
        let observed =
            format!("new TLS files were refused {} times since it was started", machine.certificate_failures);
        let why = "the files before stay in use until they expire; the event has the reason";
        let next = facts.access.cluster(&["events", "--kind", "certificates_refused"]);
        Finding::ok(CHECK, node.name(), observed).but(CheckResult::Warning, why).then(next)
    });
    [expires].into_iter().chain(refused).collect()
}

/// The CA that expires first.
fn of_ca(facts: &ClusterFacts) -> Option<Finding> {
    let expiries = facts.answers().filter_map(|(_, answer)| Some(answer.machine()?.ca_expires_at_s));
    let first = expiries.filter(|at| *at != 0).min()?;
    let cluster = facts.map.cluster_id.clone();
    let cluster = (!cluster.is_empty()).then_some(["--cluster".to_owned(), cluster]);
    let words = ["certs", "ca", "--out", "new-ca"].map(str::to_owned).into_iter().chain(cluster.into_iter().flatten());
    Some(expiry::judge(CHECK, "the CA of the cluster", (first, expiry::now_s()), NextStep::fastness(words)))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, with_machine};
    use super::*;

    #[test]
    fn certificates_are_renewed_in_time() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 4]);
        let soon = |days: i64| {
            check(&with_machine(2, |machine| {
                machine.certificate_expires_at_s = expiry::now_s() + days * 86_400;
                machine.certificate_lab = true;
            }))
        };
        assert_eq!([results(&soon(10))[1], results(&soon(1))[1]], [CheckResult::Warning, CheckResult::Problem]);
        let next = soon(10)[1].next.clone().unwrap().to_string();
        assert_eq!(next, "fastness certs node --ca ca --node-id 2 --host 10.0.2.1 --lab --out ca/renewed-2");
        let ca = check(&with_machine(3, |machine| machine.ca_expires_at_s = expiry::now_s() - 1));
        assert_eq!((results(&ca)[3], &*ca[3].subject), (CheckResult::Problem, "the CA of the cluster"));
        let unknown = with_machine(1, |machine| machine.certificate_expires_at_s = 0);
        assert_eq!(results(&check(&unknown))[0], CheckResult::NotChecked);
        let refused = with_machine(1, |machine| machine.certificate_failures = 2);
        assert_eq!(results(&check(&refused))[1], CheckResult::Warning);
    }
}
