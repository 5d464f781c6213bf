//! The version of the kernel.

use super::super::finding::{CheckResult, Finding};
use super::host::{Machine, THIS_MACHINE, system_file};

const CHECK: &str = "kernel";
/// The oldest version that gets fixes from its authors.
const OLDEST: (u32, u32) = (5, 10);

pub fn check(_: &Machine) -> Vec<Finding> {
    let release = system_file("/proc/sys/kernel/osrelease");
    vec![judge(release.as_deref())]
}

fn judge(release: Option<&str>) -> Finding {
    let Some(release) = release else {
        return Finding::not_checked(CHECK, THIS_MACHINE, "/proc/sys/kernel/osrelease cannot be read");
    };
    match version(release) {
        None => Finding::not_checked(CHECK, THIS_MACHINE, format!("the release {release:?} has no version")),
        Some(version) if version < OLDEST => Finding::ok(CHECK, THIS_MACHINE, format!("Linux {release}"))
            .but(CheckResult::Warning, "its authors do not maintain it any more, and Fastness is not tested on it")
            .then_system("apt-get install --only-upgrade linux-image-$(dpkg --print-architecture) && reboot"),
        Some(_) => Finding::ok(CHECK, THIS_MACHINE, format!("Linux {release}")),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn an_old_kernel_is_a_warning() {
        let of = |release| result(&judge(release));
        assert_eq!(of(Some("6.1.0-28-amd64")), CheckResult::Ok);
        assert_eq!(of(Some("5.10.0")), CheckResult::Ok);
        assert_eq!(of(Some("4.19.0-27-amd64")), CheckResult::Warning);
        assert_eq!([of(Some("hurd")), of(None)], [CheckResult::NotChecked; 2]);
    }
}
