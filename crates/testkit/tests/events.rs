//! Events on real processes: what happens is found on the node where it happened, with its reason, in order, and
//! nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_events::Kind;
use fastness_load::{Outcome, outcome::classify};
use fastness_testkit::cluster::{Cluster, ClusterOptions, SeenEvent};
use fastness_testkit::observe::page;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);
const SHARD: u64 = 1;

/// The field of every event of the shard.
fn of_shard() -> (&'static str, serde_json::Value) {
    ("shard", json!(SHARD))
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Waits for an event of a node.
fn wait_for(cluster: &Cluster, node: u64, kind: &str, fields: &[(&str, serde_json::Value)]) -> Result<SeenEvent> {
    let wanted = |event: &SeenEvent| event.node == node && event.is(kind, fields);
    blocking(|| cluster.wait_for_event(PATIENCE, wanted)).with_context(|| format!("node {node}: {kind} {fields:?}"))
}

async fn call(cluster: &Cluster, node: u64, command: &[&[u8]]) -> Result<()> {
    let reply = cluster.connect(node, 1, PATIENCE).await?.call(command).await?;
    ensure!(classify(&reply) == Outcome::Acknowledged, "{reply:?}");
    Ok(())
}

/// Checks what holds for every journal: each is in order, a term has one leader, only leaders become primaries or lose
/// leadership, and nothing that the test has not done is recorded.
fn check(events: &[SeenEvent]) -> Result<()> {
    ensure!(events.is_sorted_by_key(|event| event.at_ms), "the merged journals are not in order of time");
    let mut leaders: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
    let mut in_order: Vec<_> = events.iter().collect();
    in_order.sort_by_key(|event| (event.node, event.number));
    for event in &in_order {
        let last = numbers.insert(event.node, event.number).unwrap_or(0);
        ensure!(event.number == last + 1, "node {}: {} follows {last}", event.node, event.number);
        let (shard, term) = (event.number_of("shard"), event.number_of("term"));
        if let ("elected", Some(shard), Some(term)) = (event.kind.as_str(), shard, term) {
            let other = leaders.insert((shard, term), event.node);
            ensure!(other.is_none(), "two leaders of term {term}: {other:?} and {event:?}");
        }
        if let ("primary" | "leadership_lost" | "lease_lost" | "lease_regained" | "handed_over", Some(shard)) =
            (event.kind.as_str(), shard)
        {
            let term = term.context("no term")?;
            ensure!(leaders.get(&(shard, term)) == Some(&event.node), "not elected before: {event:?}");
        }
    }
    let never = [
        "replica_stopped",
        "log_failed",
        "node_failed",
        "consensus_stopped",
        "replacement_started",
        "replacement_finished",
        "peer_refused",
        "certificates_refused",
        "certificate_expires",
        "clock_off",
        "clocks_disagree",
        "snapshot_failed",
        "lab_fault",
        "writes_undone",
    ];
    let invented = events.iter().find(|event| never.contains(&event.kind.as_str()));
    ensure!(invented.is_none(), "{invented:?}");
    Ok(())
}

/// The primary of the shard, as its newest event of that kind says.
fn primary_of(events: &[SeenEvent]) -> Result<(u64, u64)> {
    let newest = events.iter().rfind(|event| event.is("primary", &[of_shard()]));
    newest.and_then(|event| Some((event.node, event.number_of("term")?))).context("no primary")
}

async fn counts(cluster: &Cluster, node: u64) -> Result<BTreeMap<String, u64>> {
    let text = page(&cluster.node(node)?.metrics, "/metrics").await?;
    let of = |line: &str| {
        let (kind, count) = line.strip_prefix("fastness_events_total{kind=\"")?.split_once("\"} ")?;
        Some((kind.to_owned(), count.parse().ok()?))
    };
    Ok(text.lines().filter_map(of).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_is_found_where_it_happened_with_its_reason() -> Result<()> {
    let options = ClusterOptions { shards: 1, durability: "async", ..ClusterOptions::default() };
    let mut cluster = Cluster::start(&options)?;
    cluster.keep_files();
    start(&cluster).await?;
    hand_over(&cluster).await?;
    change(&cluster).await?;
    let killed = kill(&cluster).await?;
    start_again(&cluster, killed)?;
    check_filters(&cluster)?;
    check_metrics(&cluster).await?;
    cluster.discard_files();
    Ok(())
}

/// A new cluster.
async fn start(cluster: &Cluster) -> Result<()> {
    cluster.primary(1, PATIENCE).await?;
    for node in cluster.node_ids()? {
        wait_for(cluster, node, "cluster_created", &[("nodes", json!(3)), ("mode", json!("async"))])?;
    }
    let events = blocking(|| cluster.events(&[]))?;
    check(&events)?;
    let election = events.iter().find(|event| event.is("elected", &[of_shard()]));
    let reason = election.and_then(|event| event.text_of("reason"));
    ensure!(reason == Some("first"), "the first election: {events:#?}");
    Ok(())
}

async fn hand_over(cluster: &Cluster) -> Result<()> {
    let old = primary_of(&blocking(|| cluster.events(&[]))?)?.0;
    blocking(|| cluster.hand_over(1))?;
    let new = cluster.primary_other_than(old, 1, PATIENCE).await?;
    let by_request = [of_shard(), ("reason", json!("requested")), ("peer", json!(new))];
    let handed = wait_for(cluster, old, "handed_over", &by_request)?;
    let lost = [of_shard(), ("reason", json!("hand-over")), ("peer", json!(new))];
    let lost = wait_for(cluster, old, "leadership_lost", &lost)?;
    let elected = [of_shard(), ("reason", json!("hand-over")), ("leader_before", json!(old))];
    let elected = wait_for(cluster, new, "elected", &elected)?;
    ensure!(handed.number_of("term") == lost.number_of("term"), "{handed:?} {lost:?}");
    ensure!(lost.number_of("term_after") == elected.number_of("term"), "{lost:?} {elected:?}");
    let term = elected.number_of("term").context("no term")?;
    wait_for(cluster, new, "primary", &[of_shard(), ("term", json!(term))]).map(drop)
}

/// Changes of the mode, of options and of users.
async fn change(cluster: &Cluster) -> Result<()> {
    ensure!(!blocking(|| cluster.events(&[]))?.iter().any(|event| event.kind == "mode_desired"), "too early");
    blocking(|| cluster.set_durability("sync"))?;
    let nodes = cluster.node_ids()?;
    for node in &nodes {
        wait_for(cluster, *node, "mode_desired", &[("from", json!("async")), ("to", json!("sync"))])?;
        wait_for(cluster, *node, "mode_in_force", &[of_shard(), ("mode", json!("sync"))])?;
    }
    let primary = cluster.primary(1, PATIENCE).await?;
    call(cluster, primary, &[b"CONFIG", b"SET", b"maxclients", b"500", b"slowlog-max-len", b"64"]).await?;
    let changed = [("options", json!("maxclients, slowlog-max-len")), ("user", json!("default"))];
    wait_for(cluster, primary, "options_changed", &changed)?;
    call(cluster, primary, &[b"ACL", b"SETUSER", b"bob", b"on", b">very-secret", b"~*", b"+@read"]).await?;
    for node in nodes {
        wait_for(cluster, node, "users_changed", &[("changed", json!("bob")), ("deleted", json!(""))])?;
    }
    check(&blocking(|| cluster.events(&[]))?)
}

/// Kills the primary, and returns which node that was.
async fn kill(cluster: &Cluster) -> Result<u64> {
    let before = blocking(|| cluster.events(&[]))?;
    let (killed, _) = primary_of(&before)?;
    blocking(|| cluster.kill(killed))?;
    let next = cluster.primary_other_than(killed, 1, PATIENCE).await?;
    let elected = [of_shard(), ("reason", json!("leader-silent")), ("leader_before", json!(killed))];
    let elected = wait_for(cluster, next, "elected", &elected)?;
    let silent = elected.number_of("silent_ms").context("how long it was silent")?;
    ensure!(silent > 0, "{elected:?}");
    let primary = [of_shard(), ("term", json!(elected.number_of("term")))];
    let primary = wait_for(cluster, next, "primary", &primary)?;
    ensure!(primary.number > elected.number, "{elected:?} {primary:?}");
    for node in cluster.others(killed)? {
        wait_for(cluster, node, "peer_unreachable", &[("peer", json!(killed))])?;
    }
    let mut mode_changes = before.iter().filter(|event| event.kind == "mode_in_force" && event.node == next);
    ensure!(mode_changes.all(|event| event.number < elected.number), "out of order");
    Ok(killed)
}

/// The next process of a killed node has a journal of its own, in which nothing is repeated.
fn start_again(cluster: &Cluster, killed: u64) -> Result<()> {
    blocking(|| cluster.start_node(killed))?;
    for node in cluster.others(killed)? {
        wait_for(cluster, node, "peer_reached", &[("peer", json!(killed))])?;
    }
    wait_for(cluster, killed, "memory_restored", &[of_shard()])?;
    let events = blocking(|| cluster.events(&["--node", &killed.to_string()]))?;
    ensure!(events.iter().all(|event| event.node == killed) && events[0].number == 1, "{events:#?}");
    let repeated = ["cluster_created", "mode_desired", "mode_in_force", "users_changed", "settings_changed"];
    let repeated = events.iter().find(|event| repeated.contains(&event.kind.as_str()));
    ensure!(repeated.is_none(), "repeated from the log: {repeated:?}");
    check(&blocking(|| cluster.events(&[]))?)
}

/// Filters of the command, and what it refuses.
fn check_filters(cluster: &Cluster) -> Result<()> {
    let kinds = |filters: &[&str]| -> Result<BTreeSet<String>> {
        Ok(blocking(|| cluster.events(filters))?.into_iter().map(|event| event.kind).collect())
    };
    let found = kinds(&["--kind", "elected,primary", "--shard", "1"])?;
    ensure!(found == BTreeSet::from(["elected".to_owned(), "primary".to_owned()]), "{found:?}");
    let of_control = blocking(|| cluster.events(&["--shard", "0"]))?;
    ensure!(!of_control.is_empty() && of_control.iter().all(|e| e.number_of("shard") == Some(0)), "{of_control:#?}");
    ensure!(kinds(&["--since", "2100-01-01T00:00:00Z"])?.is_empty(), "events of the future");
    ensure!(kinds(&["--since", "1d"])?.len() > 5, "events of a day");
    let refused = blocking(|| cluster.events(&["--kind", "nonsense"]));
    ensure!(refused.is_err(), "a kind that does not exist: {refused:?}");
    let all = format!("{:?}", blocking(|| cluster.events(&[]))?);
    ensure!(!all.contains("very-secret"), "a secret in an event");
    Ok(())
}

/// The counters have the same source as the journal.
async fn check_metrics(cluster: &Cluster) -> Result<()> {
    for node in cluster.node_ids()? {
        let before = counts(cluster, node).await?;
        let events = blocking(|| cluster.events(&["--node", &node.to_string()]))?;
        let after = counts(cluster, node).await?;
        ensure!(before.len() == Kind::TABLE.len(), "a series of each kind: {before:?}");
        for (kind, count) in before {
            let recorded = events.iter().filter(|event| event.kind == kind).count() as u64;
            ensure!((count..=after[&kind]).contains(&recorded), "{kind}: {count} to {} and {recorded}", after[&kind]);
        }
    }
    Ok(())
}
