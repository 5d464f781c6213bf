//! Descriptors, clients and memory of the nodes against their limits.

use fastness_server::process::human;
use fastness_wire::admin::v1::{MachineFigures, ShowFiguresResponse};

use super::super::finding::{CheckResult, Finding};
use super::facts::{ClusterFacts, NodeFacts};

const CHECK: &str = "resources";
/// Parts of a limit that count as near it, in percent, as in `deploy/prometheus/alerts.yml`.
const DESCRIPTORS_PERCENT: u64 = 80;
const CLIENTS_PERCENT: u64 = 80;
const MEMORY_PERCENT: u64 = 90;

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let all = facts.answers().filter_map(|(node, answer)| Some((node, answer.figures.as_ref()?)));
    all.flat_map(|(node, figures)| {
        let machine = figures.machine.as_ref().map(|machine| of_machine(facts, node, figures, machine));
        machine.into_iter().flatten().chain(clients(facts, node, figures)).chain(replicas(facts, node, figures))
    })
    .collect()
}

/// Whether so many percent of a limit are reached; 0: there is none.
fn is_near(used: u64, limit: u64, percent: u64) -> bool {
    limit > 0 && u128::from(used) * 100 >= u128::from(limit) * u128::from(percent)
}

fn of_machine(
    facts: &ClusterFacts,
    node: &NodeFacts,
    figures: &ShowFiguresResponse,
    machine: &MachineFigures,
) -> [Finding; 2] {
    let descriptors = Finding::ok(
        CHECK,
        node.name(),
        format!("{} of {} descriptors are open", machine.open_files, machine.open_files_max),
    );
    let descriptors = match is_near(machine.open_files, machine.open_files_max, DESCRIPTORS_PERCENT) {
        false => descriptors,
        true => {
            let next = format!("systemctl edit fastness@{} # LimitNOFILE= in [Service]", node.spec.id);
            let why = "beyond the limit clients are refused";
            descriptors.but(CheckResult::Warning, why).then(facts.access.on_machine(&node.spec, &next))
        }
    };
    let (used, limit) = (figures.resident_bytes, machine.memory_max_bytes);
    if limit == 0 {
        return [descriptors, Finding::not_checked(CHECK, node.name(), "its system reports no limit of memory")];
    }
    let memory =
        Finding::ok(CHECK, node.name(), format!("resident {} of the {} that it may use", human(used), human(limit)));
    let memory = match is_near(used, limit, MEMORY_PERCENT) {
        false => memory,
        true => {
            let why = "the kernel kills a process that exceeds the limit: lower maxmemory, or give the node more";
            memory.but(CheckResult::Problem, why).then(facts.access.on_machine(&node.spec, "free -m"))
        }
    };
    [descriptors, memory]
}

fn clients(facts: &ClusterFacts, node: &NodeFacts, figures: &ShowFiguresResponse) -> Option<Finding> {
    let (used, limit) = (figures.client_connections, figures.client_connections_max);
    let found = Finding::ok(CHECK, node.name(), format!("{used} of {limit} clients are connected"));
    is_near(used, limit, CLIENTS_PERCENT).then(|| {
        let next = facts.access.config_set(&node.spec, "maxclients", &(limit * 2).to_string());
        found.but(CheckResult::Warning, "beyond the limit clients are refused").then(next)
    })
}

/// Only replicas that are near `maxmemory`.
fn replicas(facts: &ClusterFacts, node: &NodeFacts, figures: &ShowFiguresResponse) -> Vec<Finding> {
    let near = |replica: &&fastness_wire::admin::v1::ReplicaFigures| {
        is_near(replica.memory_bytes, replica.memory_max_bytes, MEMORY_PERCENT)
    };
    let found = figures.replicas.iter().filter(near).map(|replica| {
        let (used, limit) = (replica.memory_bytes, replica.memory_max_bytes);
        let observed =
            format!("its replica of shard {} takes {} of maxmemory {}", replica.shard, human(used), human(limit));
        let next = facts.access.config_set(&node.spec, "maxmemory", &(limit.saturating_add(limit / 2)).to_string());
        Finding::ok(CHECK, node.name(), observed)
            .but(
                CheckResult::Warning,
                "at the limit writes are answered OOM, or keys are evicted if maxmemory-policy allows it",
            )
            .then(next)
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, with, with_figures, with_machine};
    use super::*;

    #[test]
    fn limits_that_are_near_are_named() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 6]);
        let files = with_machine(1, |machine| machine.open_files = 16_000);
        assert_eq!(results(&check(&files))[0], CheckResult::Warning);
        let memory = with(1, |answer| answer.figures.as_mut().unwrap().resident_bytes = 7_900 << 20);
        assert_eq!(results(&check(&memory))[1], CheckResult::Problem);
        let unlimited = with_machine(1, |machine| machine.memory_max_bytes = 0);
        assert_eq!(results(&check(&unlimited))[1], CheckResult::NotChecked);
        let clients = with(1, |answer| answer.figures.as_mut().unwrap().client_connections = 8_000);
        assert_eq!(results(&check(&clients))[2], CheckResult::Warning);
        let full = check(&with_figures(2, 1, |figures| figures.memory_bytes = 1_000 << 20));
        assert!(full.iter().any(|found| found.result == CheckResult::Warning && found.observed.contains("shard 1")));
    }

    #[test]
    fn no_limit_is_never_near() {
        assert!(is_near(80, 100, 80) && !is_near(79, 100, 80) && !is_near(u64::MAX, 0, 1));
    }
}
