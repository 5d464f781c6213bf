//! What has changed between two frames, in words: for people who do not see the page.

use crate::watch::overview::{NodeLine, Overview, ShardLine};

/// How many changes of one frame are put in words.
const CHANGES_MAX: usize = 6;

/// Changes, with a number that increases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The number.
    pub number: u64,
    /// The changes.
    pub text: String,
}

/// The changes; `None`: there are none that matter to everybody.
#[must_use]
pub fn between(before: &Overview, after: &Overview) -> Option<String> {
    let mut changes = Vec::new();
    for node in &after.nodes {
        let was = before.nodes.iter().find(|other| other.node == node.node);
        changes.extend(was.and_then(|was| of_node(was, node)));
    }
    for shard in &after.shards {
        let was = before.shards.iter().find(|other| other.shard == shard.shard);
        if let Some(was) = was {
            of_shard(was, shard, &mut changes);
        }
    }
    if !before.durability.is_empty() && before.durability != after.durability {
        changes.push(format!("the durability mode is to be {}", after.durability));
    }
    let left_out = changes.len().saturating_sub(CHANGES_MAX);
    changes.truncate(CHANGES_MAX);
    if left_out > 0 {
        changes.push(format!("and {left_out} more changes"));
    }
    (!changes.is_empty()).then(|| changes.join("; "))
}

fn of_node(was: &NodeLine, is: &NodeLine) -> Option<String> {
    match (was.up, is.up) {
        (Some(true), Some(false)) => Some(format!("node {} in {} is down", is.node, is.az)),
        (Some(false), Some(true)) => Some(format!("node {} in {} is up again", is.node, is.az)),
        _ => None,
    }
}

fn of_shard(was: &ShardLine, is: &ShardLine, changes: &mut Vec<String>) {
    match (was.primary, is.primary) {
        (Some(_), None) => changes.push(format!("shard {} has no primary", is.shard)),
        (before, Some(primary)) if before != Some(primary) && has_known(was) => {
            changes.push(format!("node {primary} is the primary of shard {}", is.shard));
        }
        _ => {}
    }
    if let (Some(before), Some(margin)) = (was.quorum_margin, is.quorum_margin)
        && before != margin
    {
        changes.push(format!("the quorum margin of shard {} is {margin}", is.shard));
    }
    if let (Some(before), Some(lag)) = (&was.lag, &is.lag)
        && before.gate != lag.gate
    {
        changes.push(format!("the lag gate of shard {} is {}", is.shard, lag.gate));
    }
}

/// Whether the frame before knew the shard at all: a page that opens has no news.
fn has_known(was: &ShardLine) -> bool {
    was.primary.is_some() || was.copies.iter().any(|copy| copy.term.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::fixture::Fixture;

    fn overview(fixture: &Fixture) -> Overview {
        Overview::of(&fixture.watched, fixture.now_ms())
    }

    #[test]
    fn a_lost_node_is_news_with_what_follows_from_it() {
        let mut fixture = Fixture::new(&["a", "b", "c"], 1);
        let empty = overview(&fixture);
        fixture.poll(&[]);
        let before = overview(&fixture);
        assert_eq!(between(&empty, &before), None, "the page has just opened");
        assert_eq!(between(&before, &before), None);
        fixture.poll(&[2]);
        let after = overview(&fixture);
        let news = between(&before, &after).unwrap();
        let expected = "node 2 in b is down; node 3 is the primary of shard 1; the quorum margin of shard 1 is 0";
        assert_eq!(news, expected);
        fixture.poll(&[1, 2, 3]);
        assert!(between(&after, &overview(&fixture)).unwrap().contains("shard 1 has no primary"));
        let none = overview(&fixture);
        fixture.poll(&[]);
        assert!(between(&none, &overview(&fixture)).unwrap().contains("node 3 in c is up again"));
    }

    #[test]
    fn many_changes_are_few_words() {
        let zones: Vec<String> = (0..30).map(|zone| format!("zone-{zone}")).collect();
        let mut fixture = Fixture::new(&zones.iter().map(String::as_str).collect::<Vec<_>>(), 3);
        fixture.poll(&[]);
        let before = overview(&fixture);
        fixture.poll(&(1..=20).collect::<Vec<_>>());
        let news = between(&before, &overview(&fixture)).unwrap();
        assert!(news.ends_with("more changes") && news.split("; ").count() == CHANGES_MAX + 1, "{news}");
    }
}
