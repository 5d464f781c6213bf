//! The disks of the nodes: synced writes of the log, and free space.

use std::time::Duration;

use fastness_server::process::human;
use fastness_server::space::Space;
use fastness_wire::admin::v1::MachineFigures;

use super::super::finding::{CheckResult, Finding};
use super::facts::{ClusterFacts, NodeFacts};
use fastness_console::watch::measure::percentile_us;

const CHECK: &str = "disks";
/// As in the alert `FastnessFsyncSlow`.
const SLOW: Duration = Duration::from_millis(100);

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let machines = facts.answers().filter_map(|(node, answer)| Some((node, answer.machine()?)));
    machines.flat_map(|(node, machine)| [sync_time(facts, node, machine), space(facts, node, machine)]).collect()
}

fn sync_time(facts: &ClusterFacts, node: &NodeFacts, machine: &MachineFigures) -> Finding {
    let none = vec![0; machine.sync_counts.len()];
    let at = |share| percentile_us(&none, &machine.sync_counts, share).map(Duration::from_micros);
    let Some((median, p99)) = at(0.5).zip(at(0.99)) else {
        return Finding::not_checked(CHECK, node.name(), "nothing was written to its log yet");
    };
    let count: u64 = machine.sync_counts.iter().sum();
    let observed = format!("{count} synced writes since its start: median below {median:.1?}, p99 below {p99:.1?}");
    let found = Finding::ok(CHECK, node.name(), observed);
    // The upper bound of a bucket, so the span itself is between this and half of it.
    if p99 / 2 < SLOW {
        return found;
    }
    let why = "in sync mode every write waits for the second fastest disk of three, and a stalled disk moves primaries";
    found.but(CheckResult::Warning, why).then(facts.access.on_machine(&node.spec, "iostat -x 1 5"))
}

fn space(facts: &ClusterFacts, node: &NodeFacts, machine: &MachineFigures) -> Finding {
    let space = Space { free: machine.disk_free_bytes, total: machine.disk_total_bytes };
    if space.total == 0 {
        return Finding::not_checked(CHECK, node.name(), "its system does not report free space");
    }
    let found = Finding::ok(CHECK, node.name(), format!("{} of {} are free", human(space.free), human(space.total)));
    if space.free >= space.needed() {
        return found;
    }
    let next = facts.access.on_machine(&node.spec, "df -h");
    if space.free < space.reserve() {
        let why = "the disk counts as full: the node gives up what it can spare, then takes no writes";
        return found.but(CheckResult::Problem, why).then(next);
    }
    let why = format!("if the node restarts, it waits until {} are free", human(space.needed()));
    found.but(CheckResult::Warning, why).then(next)
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, with_machine};
    use super::*;

    #[test]
    fn a_slow_disk_is_named() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 6]);
        let found = check(&with_machine(2, |machine| machine.sync_counts[18] = 50));
        assert_eq!((results(&found)[2], &*found[2].subject), (CheckResult::Warning, "node 2"));
        assert!(found[2].observed.contains("median below 1.0ms, p99 below 262.1ms"), "{}", found[2].observed);
        let fresh = with_machine(2, |machine| machine.sync_counts.fill(0));
        assert_eq!(results(&check(&fresh))[2], CheckResult::NotChecked);
    }

    #[test]
    fn a_full_disk_is_named() {
        let of = |free| results(&check(&with_machine(1, |machine| machine.disk_free_bytes = free)))[1];
        assert_eq!(
            [of(1 << 30), of(200 << 20), of(20 << 20)],
            [CheckResult::Ok, CheckResult::Warning, CheckResult::Problem]
        );
        let unknown = with_machine(1, |machine| machine.disk_total_bytes = 0);
        assert_eq!(results(&check(&unknown))[1], CheckResult::NotChecked);
    }
}
