//! Whether the thread that sends heartbeats may be preferred (`consensus-nice`).

use rustix::process::{Resource, getrlimit};

use super::super::finding::{CheckResult, Finding};
use super::host::{Machine, THIS_MACHINE, system_file};

const CHECK: &str = "priority";
/// The bit of CAP_SYS_NICE.
const CAP_SYS_NICE: u64 = 1 << 23;

pub fn check(host: &Machine) -> Vec<Finding> {
    let status = system_file("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    let limit = getrlimit(Resource::Nice).current.unwrap_or(40);
    vec![judge(capabilities & CAP_SYS_NICE != 0, limit, host.config.consensus_nice)]
}

/// `limit`: 20 minus the lowest nice value that the process may choose.
fn judge(is_capable: bool, limit: u64, wanted: i64) -> Finding {
    let lowest = if is_capable { -20 } else { 20 - i64::try_from(limit).unwrap_or(40) };
    if lowest <= wanted {
        return Finding::ok(
            CHECK,
            THIS_MACHINE,
            format!("processes that are started here may choose consensus-nice {wanted}"),
        );
    }
    Finding::ok(
        CHECK,
        THIS_MACHINE,
        format!("consensus-nice {wanted} is not allowed to processes that are started here"),
    )
    .but(
        CheckResult::Warning,
        "where other processes keep the cores busy, heartbeats come late, and primaries are lost",
    )
    .then_system(format!("ulimit -e {} # under systemd: LimitNICE={wanted} in the unit", 20 - wanted))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn a_capability_or_a_limit_suffices() {
        assert_eq!(result(&judge(true, 0, -15)), CheckResult::Ok);
        assert_eq!(result(&judge(false, 35, -15)), CheckResult::Ok);
        assert_eq!(result(&judge(false, 20, 0)), CheckResult::Ok);
        assert_eq!(result(&judge(false, 34, -15)), CheckResult::Warning);
        assert_eq!(result(&judge(false, 0, -15)), CheckResult::Warning);
    }
}
