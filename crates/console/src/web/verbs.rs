//! The verbs of a lab as buttons: a closed set, on targets that the lab has. Nothing else can be requested.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::watch::sample::now_ms;

/// How many runs are shown.
const RUNS_MAX: usize = 10;
/// Bytes of a verb's output that are shown.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// What a verb is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// An AZ.
    Zone,
    /// A node.
    Node,
    /// The load of the lab.
    Load,
}

/// A row of the table of verbs.
#[derive(Debug, PartialEq, Eq)]
pub struct VerbFacts {
    /// Its name in a form.
    pub name: &'static str,
    /// The words on a button.
    pub label: &'static str,
    /// What it is done to.
    pub target: TargetKind,
    /// The words of `fastness lab`; `{}` is the target.
    words: &'static [&'static str],
}

const fn verb(
    name: &'static str,
    label: &'static str,
    target: TargetKind,
    words: &'static [&'static str],
) -> VerbFacts {
    VerbFacts { name, label, target, words }
}

/// All verbs.
pub const VERBS: &[VerbFacts] = &[
    verb("az-down", "Kill", TargetKind::Zone, &["az", "down", "{}"]),
    verb("az-up", "Start", TargetKind::Zone, &["az", "up", "{}"]),
    verb("az-partition", "Cut off", TargetKind::Zone, &["az", "partition", "{}"]),
    verb("az-slow", "Slow down", TargetKind::Zone, &["az", "slow", "{}"]),
    verb("az-heal", "Heal", TargetKind::Zone, &["az", "heal", "{}"]),
    verb("node-kill", "Kill", TargetKind::Node, &["node", "kill", "{}"]),
    verb("node-pause", "Pause", TargetKind::Node, &["node", "pause", "{}"]),
    verb("node-resume", "Resume", TargetKind::Node, &["node", "resume", "{}"]),
    verb("node-start", "Start", TargetKind::Node, &["node", "start", "{}"]),
    verb("disk-stall", "Stall disk", TargetKind::Node, &["disk", "stall", "--node", "{}"]),
    verb("disk-full", "Fill disk", TargetKind::Node, &["disk", "full", "--node", "{}"]),
    verb("disk-heal", "Heal disk", TargetKind::Node, &["disk", "heal", "--node", "{}"]),
    verb("load-start", "Start load", TargetKind::Load, &["load", "start"]),
    verb("load-stop", "Stop load and judge", TargetKind::Load, &["load", "stop"]),
];

/// The AZs of a lab, each with its nodes.
pub type LabZones = Vec<(String, Vec<u64>)>;

/// A verb with its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenVerb {
    facts: &'static VerbFacts,
    target: String,
}

impl ChosenVerb {
    /// What a form names, if the lab has it.
    #[must_use]
    pub fn of(zones: &LabZones, name: &str, target: &str) -> Option<ChosenVerb> {
        let facts = VERBS.iter().find(|facts| facts.name == name)?;
        let has_target = match facts.target {
            TargetKind::Zone => zones.iter().any(|(zone, _)| zone == target),
            TargetKind::Node => zones.iter().flat_map(|(_, nodes)| nodes).any(|node| node.to_string() == target),
            TargetKind::Load => target.is_empty(),
        };
        has_target.then(|| ChosenVerb { facts, target: target.to_owned() })
    }

    /// The arguments of `fastness lab`.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.facts.words.iter().map(|word| word.replace("{}", &self.target)).collect()
    }
}

/// How a verb has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerbOutcome {
    /// Whether it did what it is to do.
    pub is_ok: bool,
    /// What it has printed.
    pub output: String,
}

/// Runs verbs.
#[async_trait]
pub trait VerbRunner: Send + Sync {
    /// The AZs and nodes of the lab.
    fn zones(&self) -> &LabZones;

    /// Runs a verb to its end. Bounded in time by the verb itself.
    async fn run(&self, verb: &ChosenVerb) -> VerbOutcome;
}

/// A verb that was pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerbRun {
    /// When it was pressed, in ms since the Unix epoch.
    pub at_ms: u64,
    /// Its words.
    pub words: String,
    /// How it has ended; `None`: it is in progress.
    pub outcome: Option<VerbOutcome>,
}

/// A verb is in progress, so that no other one can start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`fastness lab {0}` is still in progress")]
pub struct VerbInProgress(pub String);

/// The verbs of one lab: one runs at a time.
pub struct VerbDesk {
    runner: Arc<dyn VerbRunner>,
    /// The newest first.
    runs: watch::Sender<Vec<VerbRun>>,
    in_progress: Mutex<Option<String>>,
}

/// Marks that a verb has ended, also if it panics.
struct VerbTicket(Arc<VerbDesk>);

impl Drop for VerbTicket {
    fn drop(&mut self) {
        self.0.in_progress.lock().take();
        // What has panicked has no outcome.
        let ended = VerbOutcome { is_ok: false, output: "the verb has ended without an outcome".to_owned() };
        self.0.runs.send_modify(|runs| {
            runs.iter_mut().filter(|run| run.outcome.is_none()).for_each(|run| run.outcome = Some(ended.clone()));
        });
    }
}

impl VerbDesk {
    /// Nothing was pressed yet.
    #[must_use]
    pub fn new(runner: Arc<dyn VerbRunner>) -> Arc<VerbDesk> {
        let (runs, _) = watch::channel(Vec::new());
        Arc::new(VerbDesk { runner, runs, in_progress: Mutex::new(None) })
    }

    /// The AZs and nodes of the lab.
    #[must_use]
    pub fn zones(&self) -> &LabZones {
        self.runner.zones()
    }

    /// What was pressed, the newest first.
    #[must_use]
    pub fn runs(&self) -> watch::Receiver<Vec<VerbRun>> {
        self.runs.subscribe()
    }

    /// Starts a verb, which goes on without whoever has pressed it.
    ///
    /// # Errors
    /// Another one is in progress.
    pub fn press(self: &Arc<Self>, verb: ChosenVerb) -> Result<(), VerbInProgress> {
        let words = verb.words().join(" ");
        {
            let mut in_progress = self.in_progress.lock();
            if let Some(words) = &*in_progress {
                return Err(VerbInProgress(words.clone()));
            }
            *in_progress = Some(words.clone());
        }
        let ticket = VerbTicket(self.clone());
        self.runs.send_modify(|runs| {
            runs.insert(0, VerbRun { at_ms: now_ms(), words, outcome: None });
            runs.truncate(RUNS_MAX);
        });
        tokio::spawn(async move {
            let desk = &ticket.0;
            let mut outcome = desk.runner.run(&verb).await;
            outcome.output = shortened(outcome.output);
            desk.runs.send_modify(|runs| runs.iter_mut().take(1).for_each(|run| run.outcome = Some(outcome.clone())));
        });
        Ok(())
    }
}

/// The beginning of a long text.
fn shortened(mut text: String) -> String {
    if text.len() > OUTPUT_BYTES_MAX {
        let end = (0..=OUTPUT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('\u{2026}');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::sync::Semaphore;

    use super::*;

    /// Ends a verb when it gets a permit.
    struct Slow {
        zones: LabZones,
        permits: Semaphore,
    }

    #[async_trait]
    impl VerbRunner for Slow {
        fn zones(&self) -> &LabZones {
            &self.zones
        }

        async fn run(&self, verb: &ChosenVerb) -> VerbOutcome {
            self.permits.acquire().await.unwrap().forget();
            assert_ne!(verb.target, "3", "a panic");
            VerbOutcome { is_ok: true, output: "\u{e9}".repeat(OUTPUT_BYTES_MAX) }
        }
    }

    fn slow() -> (Arc<Slow>, Arc<VerbDesk>) {
        let zones = vec![("a".to_owned(), vec![1]), ("b".to_owned(), vec![2, 3])];
        let runner = Arc::new(Slow { zones, permits: Semaphore::new(0) });
        (runner.clone(), VerbDesk::new(runner))
    }

    fn chosen(desk: &VerbDesk, name: &str, target: &str) -> Option<ChosenVerb> {
        ChosenVerb::of(desk.zones(), name, target)
    }

    #[test]
    fn only_verbs_on_what_the_lab_has_can_be_chosen() {
        let (_, desk) = slow();
        assert_eq!(chosen(&desk, "az-down", "b").unwrap().words(), ["az", "down", "b"]);
        assert_eq!(chosen(&desk, "disk-stall", "3").unwrap().words(), ["disk", "stall", "--node", "3"]);
        assert_eq!(chosen(&desk, "load-start", "").unwrap().words(), ["load", "start"]);
        for (name, target) in [
            ("az-down", "c"),
            ("az-down", "--dir"),
            ("az-down", ""),
            ("node-kill", "4"),
            ("node-kill", "a"),
            ("node-kill", "01"),
            ("load-start", "1"),
            ("demo", ""),
            ("", ""),
        ] {
            assert_eq!(chosen(&desk, name, target), None, "{name} {target}");
        }
        let names: BTreeSet<_> = VERBS.iter().map(|facts| facts.name).collect();
        assert_eq!(names.len(), VERBS.len());
    }

    #[tokio::test]
    async fn one_verb_runs_at_a_time_and_its_outcome_stays() {
        let (runner, desk) = slow();
        let mut runs = desk.runs();
        let kill = || chosen(&desk, "node-kill", "1").unwrap();
        desk.press(kill()).unwrap();
        assert_eq!(desk.press(kill()), Err(VerbInProgress("node kill 1".to_owned())));
        runner.permits.add_permits(1);
        let ended = runs.wait_for(|runs| runs[0].outcome.is_some()).await.unwrap().clone();
        let outcome = ended[0].outcome.as_ref().unwrap();
        assert!(outcome.is_ok && outcome.output.len() <= OUTPUT_BYTES_MAX + 3, "{}", outcome.output.len());
        // A verb that panics makes place for the next one.
        for _ in 0..RUNS_MAX + 2 {
            while desk.press(chosen(&desk, "node-kill", "3").unwrap()).is_err() {
                tokio::task::yield_now().await;
            }
            runner.permits.add_permits(1);
            runs.wait_for(|runs| runs.iter().all(|run| run.outcome.is_some())).await.unwrap();
        }
        assert_eq!(runs.borrow().len(), RUNS_MAX);
        assert!(!runs.borrow()[0].outcome.as_ref().unwrap().is_ok);
    }
}
