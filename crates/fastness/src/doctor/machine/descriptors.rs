//! Whether the limit of open files suffices for `maxclients`.

use fastness_server::descriptors;
use rustix::process::{Resource, getrlimit};

use super::super::finding::{CheckResult, Finding};
use super::host::{Machine, THIS_MACHINE};

const CHECK: &str = "descriptors";
/// The replicas and other nodes that the check goes by: those of the usual cluster of three AZs and three shards.
const REPLICAS: usize = 3;
const PEERS: usize = 2;
/// Fewer clients than this are a problem.
const CLIENTS_MIN: u64 = 100;

pub fn check(host: &Machine) -> Vec<Finding> {
    let limit = getrlimit(Resource::Nofile);
    let of = |bound: Option<u64>| bound.unwrap_or(u64::MAX);
    vec![judge((of(limit.current), of(limit.maximum)), host.config.maxclients)]
}

/// A node raises its soft limit to the hard one, so that only the latter counts.
fn judge((soft, hard): (u64, u64), maxclients: u64) -> Finding {
    let clients = descriptors::clients_max(hard, REPLICAS, PEERS).min(maxclients);
    let observed = format!(
        "processes that are started here may have {hard} (soft limit {soft}, which a node raises): enough for {clients} \
         clients of maxclients {maxclients}, with {REPLICAS} replicas and {PEERS} other nodes"
    );
    let found = Finding::ok(CHECK, THIS_MACHINE, observed);
    if clients >= maxclients {
        return found;
    }
    let wanted = (hard..).step_by(1024).find(|limit| descriptors::clients_max(*limit, REPLICAS, PEERS) >= maxclients);
    let result = if clients < CLIENTS_MIN { CheckResult::Problem } else { CheckResult::Warning };
    found
        .but(result, "further clients are refused; beyond the hard limit no process gets more")
        .then_system(format!("ulimit -Hn {0} # under systemd: LimitNOFILE={0} in the unit", wanted.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn the_hard_limit_must_suffice_for_the_clients() {
        let of = |hard| result(&judge((1_024u64.min(hard), hard), 10_000));
        assert_eq!([of(524_288), of(u64::MAX)], [CheckResult::Ok; 2]);
        assert_eq!(of(4_096), CheckResult::Warning);
        assert_eq!(of(512), CheckResult::Problem);
    }

    #[test]
    fn the_limit_that_is_proposed_suffices() {
        let next = judge((1_024, 4_096), 10_000).next.unwrap().to_string();
        let proposed: u64 = next.split_whitespace().nth(2).unwrap().parse().unwrap();
        assert_eq!(result(&judge((1_024, proposed), 10_000)), CheckResult::Ok, "{next}");
    }
}
