use super::super::fixture::{Fixture, ROUND_MS, START_MS};
use super::super::sample::{NodeReport, Polled};
use super::*;

const ZONES: [&str; 3] = ["a", "b", "c"];

fn overview(fixture: &Fixture) -> Overview {
    Overview::of(&fixture.watched, fixture.now_ms())
}

fn take(fixture: &mut Fixture, node: u64, change: impl FnOnce(&mut super::super::sample::NodeSample)) {
    let mut sample = fixture.sample(node, &[1, 2, 3]);
    change(&mut sample);
    let at_ms = fixture.now_ms();
    fixture.watched.take(NodeReport { node, at_ms, polled: Polled::Answered(Box::new(sample)) });
}

#[test]
fn nothing_is_shown_that_was_not_observed() {
    let fixture = Fixture::new(&ZONES, 2);
    let shown = overview(&fixture);
    assert_eq!((shown.zones.len(), shown.nodes.len(), shown.shards.len()), (3, 3, 2));
    for node in &shown.nodes {
        assert_eq!((node.up, node.seen_ms, node.ops, node.resident_bytes), (None, None, None, None));
    }
    for shard in &shown.shards {
        assert!(shard.copies.iter().all(|copy| copy.role == CopyRole::Unknown && copy.applied.is_none()));
        assert_eq!((shard.primary, shard.commit_p99_us, shard.ops, shard.keys), (None, None, None, None));
        assert_eq!((&shard.lag, &shard.durability, shard.quorum_margin), (&None, &None, None));
    }
    assert!(shown.zones.iter().all(|zone| !zone.down), "not polled is not down");
}

#[test]
fn rates_and_percentiles_need_two_samples() {
    let mut fixture = Fixture::new(&ZONES, 2);
    fixture.poll(&[]);
    let shard = overview(&fixture).shards.remove(0);
    assert_eq!((shard.ops, shard.commit_p50_us, shard.commit_p99_us), (None, None, None));
    assert_eq!((shard.primary, shard.keys, shard.quorum_margin), (Some(2), Some(1_234), Some(1)));
    fixture.poll(&[]);
    let shown = overview(&fixture);
    let shard = &shown.shards[0];
    assert_eq!((shard.ops, shard.commit_p50_us, shard.commit_p99_us), (Some(1_500.0), Some(1_024), Some(8_192)));
    assert_eq!(shard.copies[0].ops, Some(500.0));
    assert_eq!(shown.nodes[0].ops, Some(1_000.0), "of both replicas");
    assert_eq!(shard.copies.iter().map(|copy| copy.behind).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    let lag = shard.lag.as_ref().unwrap();
    assert_eq!((lag.lag_us, lag.bound_us, lag.refused), (2_500_000, 10_000_000, Some(0.0)));
}

#[test]
fn counters_of_two_processes_are_not_compared() {
    let mut fixture = Fixture::new(&ZONES, 1);
    fixture.poll(&[]);
    fixture.poll(&[]);
    take(&mut fixture, 2, |sample| sample.figures.as_mut().unwrap().run_id = "another".to_owned());
    let shard = overview(&fixture).shards.remove(0);
    assert_eq!((shard.primary, shard.commit_p99_us), (Some(2), None));
    assert_eq!(shard.copies[1].ops, None);
    assert_eq!(shard.ops, Some(1_000.0), "of the others");
}

#[test]
fn a_node_without_figures_is_up() {
    let mut fixture = Fixture::new(&ZONES, 1);
    fixture.poll(&[]);
    take(&mut fixture, 2, |sample| sample.figures = None);
    let shown = overview(&fixture);
    assert_eq!((shown.nodes[1].up, shown.nodes[1].resident_bytes), (Some(true), None));
    let shard = &shown.shards[0];
    assert_eq!((shard.primary, shard.copies[1].role), (Some(2), CopyRole::Primary));
    assert_eq!((&shard.lag, shard.keys, shard.memory_bytes), (&None, None, None));
}

#[test]
fn a_node_that_is_down_says_since_when_and_hides_nothing_else() {
    let mut fixture = Fixture::new(&["a", "b", "b"], 2);
    fixture.poll(&[]);
    fixture.poll(&[]);
    fixture.poll(&[2]);
    fixture.poll(&[2]);
    let shown = overview(&fixture);
    let node = &shown.nodes[1];
    assert_eq!((node.node, node.up, node.seen_ms), (2, Some(false), Some(START_MS + 2 * ROUND_MS)));
    assert!(node.reason.as_ref().unwrap().contains("connection refused"));
    assert_eq!((node.ops, node.resident_bytes), (None, None), "figures of before are not shown");
    assert!(shown.zones.iter().all(|zone| !zone.down), "the other node of b answers");
    for shard in &shown.shards {
        let roles: Vec<_> = shard.copies.iter().map(|copy| copy.role).collect();
        assert!(roles[1] == CopyRole::Down && roles.contains(&CopyRole::Primary), "{roles:?}");
        assert_eq!((shard.ops, shard.quorum_margin), (Some(1_000.0), Some(0)));
    }
    fixture.poll(&[2, 3]);
    let zones: Vec<_> = overview(&fixture).zones.into_iter().map(|zone| (zone.name, zone.down)).collect();
    assert_eq!(zones, [("a".to_owned(), false), ("b".to_owned(), true)]);
    fixture.poll(&[]);
    let shown = overview(&fixture);
    assert!(shown.nodes.iter().all(|node| node.up == Some(true) && node.reason.is_none()));
    assert_eq!(shown.shards[0].copies[1].ops, None, "one sample since it is back");
}

#[test]
fn peers_say_since_when_a_node_is_lost_that_was_never_seen() {
    let mut fixture = Fixture::new(&ZONES, 1);
    fixture.event(1, 10, "peer_unreachable", &[("peer", 3)]);
    fixture.event(2, 5, "peer_unreachable", &[("peer", 3)]);
    fixture.event(2, 6, "peer_unreachable", &[("peer", 1)]);
    fixture.event(2, 7, "peer_reached", &[("peer", 1)]);
    let since =
        |fixture: &Fixture| overview(fixture).nodes.iter().map(|node| node.unreachable_since_ms).collect::<Vec<_>>();
    assert_eq!(since(&fixture), [None, None, Some(START_MS + 5)]);
    fixture.event(2, 20, "node_started", &[]);
    assert_eq!(since(&fixture), [None, None, Some(START_MS + 10)], "node 2 is another process now");
    let events: Vec<_> = overview(&fixture).events.into_iter().map(|event| event.at_ms - START_MS).collect();
    assert_eq!(events, [20, 10, 7, 6, 5], "the newest first");
}

#[test]
fn a_newer_map_is_followed_and_an_older_one_is_not() {
    let mut fixture = Fixture::new(&ZONES, 1);
    fixture.poll(&[]);
    fixture.map.map_version = 4;
    fixture.map.nodes[2] = NodeSpec { id: 4, az: "c".to_owned(), ..NodeSpec::default() };
    fixture.map.shards[0].members = vec![1, 2, 4];
    take(&mut fixture, 1, |_| {});
    take(&mut fixture, 2, |sample| sample.view.map_version = 2);
    let nodes: Vec<_> = overview(&fixture).nodes.iter().map(|node| (node.node, node.up)).collect();
    assert_eq!(nodes, [(1, Some(true)), (2, Some(true)), (4, None)]);
    // A report of a node that has left is ignored.
    take(&mut fixture, 3, |sample| sample.view.map_version = 3);
    assert_eq!(overview(&fixture).nodes.len(), 3);
}

#[test]
fn slow_commands_are_of_all_replicas() {
    let mut fixture = Fixture::new(&ZONES, 2);
    fixture.poll(&[]);
    let shown = overview(&fixture);
    assert_eq!(shown.slow_commands.len(), 6);
    let slow = &shown.slow_commands[0];
    assert_eq!((slow.duration_us, slow.command.as_str(), slow.arguments), (12_000, "hgetall", 2));
}

#[test]
fn no_shards_are_no_reason_to_fail() {
    let mut fixture = Fixture::new(&ZONES, 0);
    fixture.poll(&[]);
    let shown = overview(&fixture);
    assert!(shown.shards.is_empty() && shown.nodes.iter().all(|node| node.up == Some(true)));
}
