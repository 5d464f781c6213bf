//! Whether the memory suffices for `maxmemory`.

use fastness_server::process;

use super::super::finding::{CheckResult, Finding, NextStep};
use super::host::{Machine, THIS_MACHINE, size};

const CHECK: &str = "memory";
/// What a process needs beside its replicas and `grpc-memory` (`deploy/README.md`, Sizing).
const BESIDE: u64 = 1 << 30;

pub fn check(host: &Machine) -> Vec<Finding> {
    let beside = BESIDE.saturating_add(host.config.grpc_memory);
    vec![judge(process::memory_max(), beside, host.given().map(|config| config.maxmemory))]
}

/// What a replica needs: an allocator loses some to fragmentation.
fn of_replica(maxmemory: u64) -> u64 {
    maxmemory.saturating_add(maxmemory / 4)
}

/// `maxmemory`: that of the config, if there is one.
fn judge(available: u64, beside: u64, maxmemory: Option<u64>) -> Finding {
    if available == 0 {
        return Finding::not_checked(CHECK, THIS_MACHINE, "the system reports no amount of memory");
    }
    let has = format!("{} may be used (the machine's memory, or the limit of the control group)", size(available));
    // What one replica could have, rounded down to 64 MiB.
    let fits = (available.saturating_sub(beside) / 5 * 4) >> 26 << 26;
    let Some(maxmemory) = maxmemory else { return Finding::ok(CHECK, THIS_MACHINE, has) };
    if maxmemory == 0 {
        return Finding::ok(CHECK, THIS_MACHINE, format!("{has}; maxmemory is 0, no limit"))
            .but(CheckResult::Warning, "nothing keeps the node below this; the kernel kills a process that exceeds it")
            .then(NextStep::Option(format!("maxmemory {}", (fits / 2).max(64 << 20))));
    }
    let room = available.saturating_sub(beside) / of_replica(maxmemory).max(1);
    let rule = "a process needs five quarters of maxmemory for each replica, grpc-memory, and 1 GiB";
    if room == 0 {
        return Finding::ok(
            CHECK,
            THIS_MACHINE,
            format!("{has}; one replica of maxmemory {} does not fit", size(maxmemory)),
        )
        .but(CheckResult::Problem, format!("{rule}; the kernel kills a process that exceeds the limit"))
        .then(NextStep::Option(format!("maxmemory {}", fits.max(64 << 20))));
    }
    Finding::ok(
        CHECK,
        THIS_MACHINE,
        format!("{has}: enough for {room} replicas of maxmemory {} ({rule})", size(maxmemory)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn memory_must_suffice_for_a_replica() {
        let gib = 1u64 << 30;
        let of = |available, maxmemory| result(&judge(available, BESIDE, maxmemory));
        assert_eq!([of(8 * gib, None), of(8 * gib, Some(4 * gib))], [CheckResult::Ok; 2]);
        assert_eq!(of(8 * gib, Some(0)), CheckResult::Warning);
        assert_eq!(
            [of(8 * gib, Some(6 * gib)), of(gib / 2, Some(gib)), of(8 * gib, Some(u64::MAX))],
            [CheckResult::Problem; 3]
        );
        assert_eq!(of(0, Some(gib)), CheckResult::NotChecked);
    }

    #[test]
    fn what_is_proposed_fits() {
        let gib = 1u64 << 30;
        let Some(NextStep::Option(line)) = judge(8 * gib, BESIDE, Some(7 * gib)).next else { panic!("no proposal") };
        let proposed: u64 = line.strip_prefix("maxmemory ").unwrap().parse().unwrap();
        assert_eq!(result(&judge(8 * gib, BESIDE, Some(proposed))), CheckResult::Ok, "{line}");
    }
}
