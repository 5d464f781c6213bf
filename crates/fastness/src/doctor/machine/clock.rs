//! Whether the wall clock is synchronised, and how far off it may be.

use std::time::Duration;

use super::super::finding::{CheckResult, Finding};
use super::host::{Machine, THIS_MACHINE};

const CHECK: &str = "clock";
/// An error of the clock above which deadlines of keys are off by as much as users notice.
const ERROR_WARNING: Duration = Duration::from_secs(1);

/// What the kernel says of its clock.
#[derive(Debug, Clone, Copy)]
struct Discipline {
    synchronised: bool,
    error_max: Duration,
}

pub fn check(host: &Machine) -> Vec<Finding> {
    vec![judge(discipline(), host.config.clock_max_offset)]
}

/// Asks the kernel; changes nothing.
#[allow(unsafe_code, reason = "no safe wrapper of this call exists in a library that is used already")]
fn discipline() -> Option<Discipline> {
    // SAFETY: `timex` is plain numbers, for which zeros are valid, and with `modes` 0 the call only fills it.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    let error_max = Duration::from_micros(u64::try_from(timex.maxerror).unwrap_or(u64::MAX));
    let synchronised = state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    (state >= 0).then_some(Discipline { synchronised, error_max })
}

fn judge(discipline: Option<Discipline>, offset_max: Duration) -> Finding {
    let Some(Discipline { synchronised, error_max }) = discipline else {
        return Finding::not_checked(CHECK, THIS_MACHINE, "the kernel does not report the state of its clock");
    };
    let next = "timedatectl set-ntp true";
    if !synchronised {
        return Finding::ok(CHECK, THIS_MACHINE, "the kernel reports that its clock is not synchronised")
            .but(
                CheckResult::Warning,
                format!(
                    "a node whose clock is more than {offset_max:?} (clock-max-offset) off the others' serves nothing as \
                     primary, and keys expire by this clock"
                ),
            )
            .then_system(next);
    }
    let found = Finding::ok(CHECK, THIS_MACHINE, format!("synchronised, off by at most {error_max:?}"));
    if error_max >= offset_max {
        let why = "the clock may be off by more than clock-max-offset: the node would serve nothing as primary";
        return found.but(CheckResult::Problem, why).then_system(next);
    }
    if error_max >= ERROR_WARNING {
        return found.but(CheckResult::Warning, "keys may expire by as much too early or too late").then_system(next);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn a_clock_that_nobody_sets_is_reported() {
        let of = |synchronised, ms| {
            let discipline = Discipline { synchronised, error_max: Duration::from_millis(ms) };
            result(&judge(Some(discipline), Duration::from_secs(10)))
        };
        assert_eq!(of(true, 40), CheckResult::Ok);
        assert_eq!([of(false, 40), of(true, 1_500)], [CheckResult::Warning; 2]);
        assert_eq!(of(true, 16_000), CheckResult::Problem);
        assert_eq!(result(&judge(None, Duration::from_secs(10))), CheckResult::NotChecked);
    }

    #[test]
    fn the_kernel_answers() {
        // A sandbox may forbid the call; what it returns is then taken for no answer.
        if let Some(discipline) = discipline() {
            assert!(discipline.error_max < Duration::from_secs(3600), "{discipline:?}");
        }
    }
}
