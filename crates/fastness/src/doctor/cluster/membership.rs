//! Whether the members of the groups are changing.

use super::super::finding::{CheckResult, Finding};
use super::facts::ClusterFacts;

const CHECK: &str = "membership";
const SUBJECT: &str = "the cluster";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let Some(replacement) = &facts.map.replacement else {
        return vec![Finding::ok(CHECK, SUBJECT, "no replacement of a node is in progress")];
    };
    let leaving: Vec<_> = replacement.leaving.iter().map(u64::to_string).collect();
    let (by, lost) = (replacement.by.to_string(), replacement.leaving.first().map(u64::to_string).unwrap_or_default());
    let observed = format!("node {by} is replacing node {}", leaving.join(" and "));
    let mut words = vec!["replace-replica", "--node", &lost, "--with", &by];
    let address = facts.map.nodes.iter().find(|node| node.id == replacement.by).map(|node| node.grpc_address.as_str());
    if facts.access.dir.is_none() {
        words.extend(["--at", address.unwrap_or("HOST:PORT")]);
    }
    let why = "until it is complete the cluster has no replica to spare; the command shows the progress";
    vec![Finding::ok(CHECK, SUBJECT, observed).but(CheckResult::Warning, why).then(facts.access.cluster(&words))]
}

#[cfg(test)]
mod tests {
    use fastness_wire::admin::v1::Replacement;

    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, of_folder};
    use super::*;

    #[test]
    fn a_replacement_in_progress_is_a_warning() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok]);
        let mut facts = healthy();
        facts.map.replacement = Some(Replacement { leaving: vec![1], by: 4 });
        assert_eq!(results(&check(&facts)), [CheckResult::Warning]);
        facts.access = of_folder();
        let found = check(&facts);
        assert_eq!(results(&found), [CheckResult::Warning]);
        let next = found[0].next.as_ref().unwrap().to_string();
        assert_eq!(next, "fastness cluster replace-replica --node 1 --with 4 --dir d");
    }
}
