//! Transparent huge pages.

use super::super::finding::{CheckResult, Finding};
use super::host::{Machine, THIS_MACHINE, system_file};

const CHECK: &str = "huge pages";
const FILE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

pub fn check(_: &Machine) -> Vec<Finding> {
    vec![judge(system_file(FILE).as_deref())]
}

/// The selected word stands in brackets.
fn judge(enabled: Option<&str>) -> Finding {
    let Some(enabled) = enabled else { return Finding::ok(CHECK, THIS_MACHINE, "the kernel has none") };
    let selected = enabled.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    match selected {
        Some("always") => Finding::ok(CHECK, THIS_MACHINE, "transparent huge pages are used always")
            .but(
                CheckResult::Warning,
                "freed memory goes back to the system in whole huge pages only, so the process grows beyond what \
                 maxmemory promises",
            )
            .then_system(format!("echo madvise > {FILE}")),
        Some(selected) => Finding::ok(CHECK, THIS_MACHINE, format!("transparent huge pages: {selected}")),
        None => Finding::not_checked(CHECK, THIS_MACHINE, format!("{FILE} selects nothing: {enabled:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn only_always_is_a_warning() {
        let of = |enabled| result(&judge(enabled));
        assert_eq!(of(Some("[always] madvise never")), CheckResult::Warning);
        assert_eq!([of(Some("always [madvise] never")), of(None)], [CheckResult::Ok; 2]);
        assert_eq!(of(Some("always")), CheckResult::NotChecked);
    }
}
