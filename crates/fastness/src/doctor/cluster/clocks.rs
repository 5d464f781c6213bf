//! The wall clocks of the nodes against each other.

use super::super::finding::{CheckResult, Finding};
use super::facts::{ClusterFacts, NodeAnswer, NodeFacts};

const CHECK: &str = "clocks";
/// A difference that users notice: keys expire by the primary's clock.
const DIFFERENCE_WARNING_MS: i64 = 1_000;
const NEXT: &str = "timedatectl set-ntp true";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let nodes = facts.answers().filter_map(|(node, answer)| of_node(facts, node, answer));
    nodes.chain(against_each_other(facts)).collect()
}

/// What the node's own replica has measured against the median of all nodes.
fn of_node(facts: &ClusterFacts, node: &NodeFacts, answer: &NodeAnswer) -> Option<Finding> {
    let machine = answer.machine()?;
    let Some((offset, trusted)) = machine.clock_offset_ms.zip(machine.clock_trusted) else {
        return Some(Finding::not_checked(CHECK, node.name(), "it has no replica that has measured its clock"));
    };
    let found = Finding::ok(CHECK, node.name(), format!("{offset} ms ahead of the median of all nodes"));
    let next = facts.access.on_machine(&node.spec, NEXT);
    if !trusted {
        let why = "it is further off than clock-max-offset, or no majority of clocks agrees: the node leads nothing";
        return Some(found.but(CheckResult::Problem, why).then(next));
    }
    if offset.abs() >= DIFFERENCE_WARNING_MS {
        let why = "keys expire too early or too late while this node leads their shard";
        return Some(found.but(CheckResult::Warning, why).then(next));
    }
    Some(found)
}

/// What was measured from here. Only a difference that the time on the way does not explain is one.
fn against_each_other(facts: &ClusterFacts) -> Option<Finding> {
    let clocks: Vec<_> = facts.answers().filter_map(|(node, answer)| Some((node, answer.clock?))).collect();
    let (slow, (slow_offset, slow_error)) = clocks.iter().min_by_key(|(_, (offset, _))| *offset)?;
    let (fast, (fast_offset, fast_error)) = clocks.iter().max_by_key(|(_, (offset, _))| *offset)?;
    if slow.spec.id == fast.spec.id {
        return None;
    }
    let (apart, error) = (fast_offset - slow_offset, slow_error + fast_error);
    let subject = format!("nodes {} and {}", slow.spec.id, fast.spec.id);
    let found = Finding::ok(CHECK, subject, format!("{apart} ms apart, measured from here, give or take {error} ms"));
    if apart - error < DIFFERENCE_WARNING_MS {
        return Some(found);
    }
    let farther = if fast_offset.abs() > slow_offset.abs() { fast } else { slow };
    let why = "keys expire too early or too late after a failover between these nodes";
    Some(found.but(CheckResult::Warning, why).then(facts.access.on_machine(&farther.spec, NEXT)))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, with, with_machine};
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_named() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 4]);
        let off = with_machine(2, |machine| machine.clock_offset_ms = Some(-1_500));
        assert_eq!(results(&check(&off))[1], CheckResult::Warning);
        let found = check(&with_machine(2, |machine| machine.clock_trusted = Some(false)));
        assert_eq!((results(&found)[1], &*found[1].subject), (CheckResult::Problem, "node 2"));
        let unknown = with_machine(2, |machine| machine.clock_offset_ms = None);
        assert_eq!(results(&check(&unknown))[1], CheckResult::NotChecked);
    }

    #[test]
    fn the_time_on_the_way_is_no_difference() {
        let of = |offset, error| results(&check(&with(3, |answer| answer.clock = Some((offset, error)))))[3];
        assert_eq!(of(5_000, 10), CheckResult::Warning);
        assert_eq!(of(5_000, 4_500), CheckResult::Ok);
        assert_eq!(of(-700, 10), CheckResult::Ok);
    }
}
