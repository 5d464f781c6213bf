//! Whether the kernel refuses memory that is free.

use super::super::finding::{CheckResult, Finding};
use super::host::{Machine, THIS_MACHINE, system_file};

const CHECK: &str = "overcommit";

pub fn check(_: &Machine) -> Vec<Finding> {
    vec![judge(system_file("/proc/sys/vm/overcommit_memory").as_deref())]
}

fn judge(mode: Option<&str>) -> Finding {
    match mode {
        // Snapshots are made without a fork, so the heuristic of mode 0 refuses nothing that is needed.
        Some(mode @ ("0" | "1")) => Finding::ok(CHECK, THIS_MACHINE, format!("vm.overcommit_memory is {mode}")),
        Some("2") => Finding::ok(CHECK, THIS_MACHINE, "vm.overcommit_memory is 2, never")
            .but(
                CheckResult::Warning,
                "the allocator reserves more than it uses, and a process that the kernel refuses memory ends, although \
                 memory is free",
            )
            .then_system("sysctl -w vm.overcommit_memory=0"),
        _ => Finding::not_checked(CHECK, THIS_MACHINE, "/proc/sys/vm/overcommit_memory cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn never_is_a_warning() {
        let modes = [Some("0"), Some("1"), Some("2"), None].map(|mode| result(&judge(mode)));
        assert_eq!(modes, [CheckResult::Ok, CheckResult::Ok, CheckResult::Warning, CheckResult::NotChecked]);
    }
}
