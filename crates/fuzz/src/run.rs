//! Executes inputs, and counts.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::mutate::Mutator;
use crate::{Target, memory};

/// Inputs that a run keeps in addition to its corpus, because they have taken new branches.
const KEPT_MAX: usize = 20_000;
/// After the corpus, branches are counted in one of this many executions: to look through all counters takes many
/// times as long as most inputs.
const COUNTED_EVERY: u64 = 16;
/// Executions between two looks at the clock.
const STRIDE: u64 = 256;

/// An input that must not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What did not hold.
    pub what: String,
}

/// When a run ends; whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Executions.
    pub executions: u64,
    /// Time.
    pub time: Duration,
}

/// The figures of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Executions.
    pub executions: u64,
    /// Of these, inputs that were decoded.
    pub decoded: u64,
    /// Branches that were taken, where they are counted.
    pub edges: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Inputs that have taken new branches.
    pub kept: Vec<Vec<u8>>,
    /// The input that ended the run.
    pub finding: Option<Finding>,
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what a panic says, instead of printing it: it becomes a finding.
fn hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_target = PANIC.with(|text| {
                let mut text = text.borrow_mut();
                let is_target = !text.is_empty();
                if is_target {
                    *text = info.to_string();
                }
                is_target
            });
            if !is_target {
                before(info);
            }
        }));
    });
}

/// Executes one input; returns whether it was decoded.
///
/// # Errors
/// Something does not hold.
pub fn execute(target: &Target, input: &[u8]) -> Result<bool, Finding> {
    hook();
    PANIC.with(|text| "running".clone_into(&mut text.borrow_mut()));
    let before = memory::requested();
    let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let requested = memory::requested().wrapping_sub(before);
    let said = PANIC.with(|text| std::mem::take(&mut *text.borrow_mut()));
    let finding = |what: String| Finding { input: input.to_vec(), what };
    let decoded = ran.map_err(|_| finding(said))?;
    let most = (target.memory)(input.len());
    if requested > most {
        return Err(finding(format!("{requested} bytes were requested from the allocator, {most} are allowed")));
    }
    Ok(decoded)
}

/// Executes the corpus, then inputs that are made from it.
#[must_use]
pub fn run(target: &Target, corpus: Vec<Vec<u8>>, seed: u64, budget: Budget) -> Report {
    let started = Instant::now();
    let mut report = Report::default();
    let mut coverage = Coverage::default();
    let mut mutator = Mutator::new(seed, (target.words)(), target.bytes_max);
    let mut inputs = corpus;
    let given = inputs.len();
    let mut input = Vec::new();
    while report.executions < budget.executions
        && (!report.executions.is_multiple_of(STRIDE) || started.elapsed() < budget.time)
    {
        match inputs.get(report.executions as usize).filter(|_| report.executions < given as u64) {
            Some(seed) => input.clone_from(seed),
            None => mutator.next(&inputs, &mut input),
        }
        let is_counted = report.executions <= given as u64 || report.executions.is_multiple_of(COUNTED_EVERY);
        if is_counted {
            Coverage::start();
        }
        report.executions += 1;
        match execute(target, &input) {
            Ok(decoded) => report.decoded += u64::from(decoded),
            Err(finding) => {
                report.finding = Some(finding);
                break;
            }
        }
        if is_counted && coverage.add() && report.executions > given as u64 && inputs.len() < given + KEPT_MAX {
            inputs.push(input.clone());
        }
    }
    report.edges = coverage.edges();
    report.kept = inputs.split_off(given);
    report.elapsed = started.elapsed();
    report
}

/// Makes the input of a finding shorter, as long as something does not hold.
#[must_use]
pub fn shortened(target: &Target, finding: Finding) -> Finding {
    let mut shortest = finding;
    let mut piece = shortest.input.len().next_power_of_two() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < shortest.input.len() {
            let mut input = shortest.input.clone();
            input.drain(at..(at + piece).min(input.len()));
            match execute(target, &input) {
                Err(finding) => shortest = finding,
                Ok(_) => at += piece,
            }
        }
        piece /= 2;
    }
    shortest
}
