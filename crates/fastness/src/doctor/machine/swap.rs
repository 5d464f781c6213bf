//! Whether memory may be written to a disk.

use super::super::finding::{CheckResult, Finding};
use super::host::{Machine, THIS_MACHINE, system_file};

const CHECK: &str = "swap";

pub fn check(_: &Machine) -> Vec<Finding> {
    vec![judge(system_file("/proc/swaps").as_deref())]
}

/// The lines of `/proc/swaps` after its head are the areas.
fn judge(swaps: Option<&str>) -> Finding {
    let Some(swaps) = swaps else { return Finding::not_checked(CHECK, THIS_MACHINE, "/proc/swaps cannot be read") };
    let areas: Vec<_> = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    if areas.is_empty() {
        return Finding::ok(CHECK, THIS_MACHINE, "off");
    }
    Finding::ok(CHECK, THIS_MACHINE, format!("on: {}", areas.join(", ")))
        .but(
            CheckResult::Warning,
            "pages that are read back stall a shard for longer than its lease, and data that is encrypted on every \
             other disk is written to this one as it is",
        )
        .then_system("swapoff -a && sed -i '/\\sswap\\s/s/^/#/' /etc/fstab")
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn an_area_is_a_warning() {
        let head = "Filename\tType\tSize\tUsed\tPriority";
        assert_eq!(result(&judge(Some(head))), CheckResult::Ok);
        let found = judge(Some(&format!("{head}\n/dev/sda2  partition  8388604  0  -2")));
        assert_eq!((result(&found), &*found.observed), (CheckResult::Warning, "on: /dev/sda2"));
        assert_eq!(result(&judge(None)), CheckResult::NotChecked);
    }
}
