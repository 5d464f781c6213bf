//! The alert rules in `deploy/prometheus`: promtool accepts them and their tests pass, the metrics and the events that
//! they use exist, and `deploy/ALERTS.md` explains each alert.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_events::Kind;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::page;
use fastness_testkit::wait::until_ok;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");
const RULES: &str = include_str!("../../../deploy/prometheus/alerts.yml");
const TESTS: &str = include_str!("../../../deploy/prometheus/alerts_test.yml");
const PAGE: &str = include_str!("../../../deploy/ALERTS.md");
const PATIENCE: Duration = Duration::from_secs(60);

/// Metrics that a node has only in some state, and in which. The primary of the only shard has them all.
const ONLY_ON_PRIMARIES: &[(&str, &str)] = &[("fastness_quorum_margin", "only a leader knows who answers")];

/// The expressions of the rules.
fn expressions() -> impl Iterator<Item = &'static str> {
    RULES.split("expr:").skip(1).filter_map(|rule| rule.split("for:").next())
}

/// The metrics that the rules use.
fn used() -> BTreeSet<&'static str> {
    let words = expressions().flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    words.filter(|word| word.starts_with("fastness_") || word.starts_with("redis_")).collect()
}

/// Whether a page of metrics has a sample of this name.
fn has(page: &str, name: &str) -> bool {
    page.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() -> Result<()> {
    for arguments in [["check", "rules", "prometheus/alerts.yml"], ["test", "rules", "prometheus/alerts_test.yml"]] {
        let output = match Command::new("promtool").args(arguments).current_dir(DEPLOY).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let why = "promtool is not installed (deploy/setup/system.sh test unpacks it)";
                ensure!(std::env::var_os("CI").is_none(), "{why}");
                eprintln!("SKIPPED: {why}");
                return Ok(());
            }
            output => output.context("promtool")?,
        };
        let (printed, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "promtool {arguments:?}: {printed}{complained}");
    }
    Ok(())
}

#[test]
fn each_alert_is_tested_and_explained_and_names_events_that_exist() -> Result<()> {
    let alerts: Vec<_> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    ensure!(alerts.len() > 15, "found only {alerts:?}");
    for alert in alerts {
        ensure!(PAGE.lines().any(|line| line.strip_prefix("## ") == Some(alert)), "{alert} is not in ALERTS.md");
        for outcome in ["fires", "is silent"] {
            let name = format!("- name: {alert} {outcome}");
            ensure!(
                TESTS.lines().any(|line| line.trim() == name),
                "alerts_test.yml does not test that {alert} {outcome}"
            );
        }
        let runbook = format!("runbook: deploy/ALERTS.md#{}", alert.to_lowercase());
        ensure!(RULES.lines().any(|line| line.trim() == runbook), "no rule has {runbook}");
    }
    let kinds: Vec<_> = expressions().flat_map(|text| text.split("kind=\"").skip(1)).collect();
    ensure!(!kinds.is_empty(), "no rule counts events");
    for kind in kinds.into_iter().filter_map(|rest| rest.split('"').next()) {
        ensure!(Kind::named(kind).is_some(), "there is no kind of events {kind}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_that_the_rules_use_exists() -> Result<()> {
    let used = used();
    ensure!(used.len() > 20, "found only {used:?}");
    for (name, _) in ONLY_ON_PRIMARIES {
        ensure!(used.contains(name), "no rule uses {name}: remove it from the list");
    }
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    // Repeated, because an election may move the primary between two looks.
    until_ok(PATIENCE, async || {
        let primary = cluster.primary(1, PATIENCE).await?;
        for node in cluster.node_ids()? {
            let metrics = page(&cluster.node(node)?.metrics, "/metrics").await?;
            let expected = |name: &&str| node == primary || ONLY_ON_PRIMARIES.iter().all(|(only, _)| only != name);
            let missing: Vec<_> = used.iter().copied().filter(|name| expected(name) && !has(&metrics, name)).collect();
            ensure!(missing.is_empty(), "node {node}, with node {primary} as the primary, has no {missing:?}");
        }
        Ok(())
    })
    .await?;
    cluster.discard_files();
    Ok(())
}
