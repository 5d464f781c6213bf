//! The parts of the page that change: tables, figures, notices. Pure.

use maud::{Markup, html};

use super::scene::{Mood, Scene, event_mood, event_shard};
use crate::watch::overview::{CopyRole, LagLine, NodeLine, Overview, ShardLine};
use crate::watch::text::{self, or_none};

/// How many events the table has.
const EVENTS_MAX: usize = 60;
/// How many slots of each shard the table has.
const SLOTS_MAX: usize = 5;

pub(super) fn state(scene: &Scene) -> Markup {
    let Overview { at_ms, cluster_id, durability, .. } = scene.overview;
    html! {
        @if !cluster_id.is_empty() {
            span { "Cluster " code { (cluster_id.get(..8).unwrap_or(cluster_id)) } }
            span { "Mode " strong { (durability) } }
        }
        span { "At " time { (text::clock(*at_ms)) " UTC" } }
    }
}

pub(super) fn notices(scene: &Scene) -> Markup {
    let Overview { notices, .. } = scene.overview;
    html! {
        @if let Some(problem) = scene.problem {
            p class="notice bad" { strong { "Nothing is known of the cluster: " } (text::printable(problem)) }
        }
        @for notice in notices {
            p class="notice warning" { (notice) }
        }
    }
}

/// The worst of all shards, which an operator looks at first.
pub(super) fn summary(scene: &Scene) -> Markup {
    let Overview { nodes, shards, .. } = scene.overview;
    let up = nodes.iter().filter(|node| node.up == Some(true)).count();
    let down = nodes.iter().filter(|node| node.up == Some(false)).count();
    let led = shards.iter().filter(|shard| shard.primary.is_some()).count();
    let margin = shards.iter().filter_map(|shard| shard.quorum_margin).min();
    let p99 = shards.iter().filter_map(|shard| shard.commit_p99_us).max();
    let ops: Option<f64> =
        shards.iter().filter_map(|shard| shard.ops).fold(None, |sum, ops| Some(sum.unwrap_or(0.0) + ops));
    let lag = shards.iter().filter_map(|shard| Some((shard, shard.lag.as_ref()?))).max_by_key(|(_, lag)| lag.lag_us);
    let of_nodes = if down > 0 { Mood::Bad } else { Mood::Good };
    let of_shards = if led < shards.len() { Mood::Bad } else { Mood::Good };
    html! {
        (card("Nodes up", html! { (up) " of " (nodes.len()) }, of_nodes))
        (card("Shards with a primary", html! { (led) " of " (shards.len()) }, of_shards))
        (card("Lowest quorum margin", html! { (or_none(margin, |margin| margin.to_string())) }, margin_mood(margin)))
        (card("Highest durability lag", html! {
            (or_none(lag, |(_, lag)| text::span(lag.lag_us)))
            @if let Some((_, lag)) = lag.filter(|(shard, _)| refuses(shard)) { " of " (text::span(lag.bound_us)) }
        }, lag.map_or(Mood::Plain, |(shard, lag)| lag_mood(shard, lag))))
        (card("Highest commit p99", html! { (or_none(p99, text::span)) }, Mood::Plain))
        (card("Commands per second", html! { (or_none(ops, text::rate)) }, Mood::Plain))
    }
}

fn card(label: &str, value: Markup, mood: Mood) -> Markup {
    html! {
        div class={ "card " (mood.class()) } { dt { (label) } dd { (value) } }
    }
}

fn margin_mood(margin: Option<i64>) -> Mood {
    match margin {
        None => Mood::Plain,
        Some(0) => Mood::Warning,
        Some(margin) if margin < 0 => Mood::Bad,
        Some(_) => Mood::Good,
    }
}

/// Only `async` refuses writes because of the lag.
fn refuses(shard: &ShardLine) -> bool {
    shard.durability.as_deref() == Some("async")
}

fn lag_mood(shard: &ShardLine, lag: &LagLine) -> Mood {
    match lag.gate.as_str() {
        _ if !refuses(shard) => Mood::Plain,
        "open" => Mood::Good,
        "slowing" => Mood::Warning,
        _ => Mood::Bad,
    }
}

/// A role as a word, and how good that is.
fn role(role: CopyRole) -> (&'static str, Mood) {
    match role {
        CopyRole::Primary => ("PRIMARY", Mood::Good),
        CopyRole::Leader => ("leader", Mood::Warning),
        CopyRole::Replica => ("replica", Mood::Plain),
        CopyRole::Learner => ("learner", Mood::Warning),
        CopyRole::Loading => ("loading", Mood::Warning),
        CopyRole::Stopped => ("stopped", Mood::Bad),
        CopyRole::Down => ("DOWN", Mood::Bad),
        CopyRole::Unknown => (text::NONE, Mood::Plain),
    }
}

fn head(columns: &[(&str, bool)]) -> Markup {
    html! {
        thead { tr {
            @for (name, is_number) in columns {
                th scope="col" class=[is_number.then_some("number")] { (name) }
            }
        } }
    }
}

fn number(text: impl maud::Render) -> Markup {
    html! { td class="number" { (text) } }
}

pub(super) fn shards(scene: &Scene) -> Markup {
    let Overview { zones, shards, .. } = scene.overview;
    html! {
        table {
            caption { "Shards by availability zone: the role of each copy, and the figures of the primary" }
            thead { tr {
                th scope="col" { "Shard" }
                @for zone in zones {
                    th scope="col" class=[zone.down.then_some("bad")] {
                        (zone.name) @if zone.down { " (down)" }
                    }
                }
                @for name in ["Margin", "Durability lag", "p50", "p99", "Commands/s", "Keys", "Memory"] {
                    th scope="col" class=[(name != "Durability lag").then_some("number")] { (name) }
                }
                th scope="col" { "Mode" }
                th scope="col" { "Slots" }
            } }
            tbody {
                @for shard in shards { (shard_row(scene, shard)) }
            }
        }
        @if shards.is_empty() { p class="none" { "No shards are known." } }
    }
}

fn shard_row(scene: &Scene, shard: &ShardLine) -> Markup {
    html! {
        tr {
            th scope="row" { (shard.shard) }
            @for zone in &scene.overview.zones {
                td {
                    @for copy in shard.copies.iter().filter(|copy| copy.az == zone.name) {
                        @let (word, mood) = role(copy.role);
                        span class={ "role " (mood.class()) } title={ "node " (copy.node) } { (word) }
                    }
                }
            }
            td class={ "number " (margin_mood(shard.quorum_margin).class()) } {
                (or_none(shard.quorum_margin, |margin| margin.to_string()))
            }
            td class="lag" { (lag_cell(shard)) }
            (number(or_none(shard.commit_p50_us, text::span)))
            (number(or_none(shard.commit_p99_us, text::span)))
            (number(or_none(shard.ops, text::rate)))
            (number(or_none(shard.keys, |keys| text::number(keys as f64))))
            td class="number" {
                (or_none(shard.memory_bytes, text::bytes))
                @if let Some(max) = shard.memory_max_bytes.filter(|max| *max > 0) { " of " (text::bytes(max)) }
            }
            td { (or_none(shard.durability.as_deref(), str::to_owned)) }
            td { (shard.slots[0]) "\u{2013}" (shard.slots[1]) }
        }
    }
}

/// A bar from no lag to the line at which writes are refused, and the figures in words.
fn lag_cell(shard: &ShardLine) -> Markup {
    const WIDTH: f64 = 80.0;
    let Some(lag) = &shard.lag else { return html! { (text::NONE) } };
    if !refuses(shard) {
        return html! { (text::span(lag.lag_us)) };
    }
    let part = (lag.lag_us as f64 / lag.bound_us.max(1) as f64).min(1.0);
    let mood = lag_mood(shard, lag).class();
    html! {
        svg class="bar" width="90" height="12" viewBox="0 0 90 12" aria-hidden="true" {
            rect class="track" x="0" y="2" width=(WIDTH) height="8" {}
            rect class={ "fill " (mood) } x="0" y="2" width={ (format!("{:.1}", part * WIDTH)) } height="8" {}
            line class="bound" x1=(WIDTH) y1="0" x2=(WIDTH) y2="12" {}
        }
        span class=(mood) {
            (text::span(lag.lag_us)) " of " (text::span(lag.bound_us))
            @if lag.gate != "open" { ", gate " (lag.gate) }
        }
        @if let Some(refused) = lag.refused.filter(|refused| *refused > 0.0) {
            span class="bad" { ", " (text::rate(refused)) "/s refused" }
        }
    }
}

pub(super) fn nodes(scene: &Scene) -> Markup {
    let Overview { nodes, at_ms, .. } = scene.overview;
    html! {
        table {
            caption { "Nodes" }
            (head(&[
                ("Node", false), ("AZ", false), ("State", false), ("Primary of", true), ("Commands/s", true),
                ("Clients", true), ("Memory", true), ("Uptime", true), ("Version", false),
            ]))
            tbody {
                @for node in nodes {
                    tr {
                        th scope="row" { (node.node) }
                        td { (node.az) }
                        (node_state(node, *at_ms))
                        (number(or_none(node.up.filter(|up| *up), |_| node.primaries.to_string())))
                        (number(or_none(node.ops, text::rate)))
                        (number(or_none(node.connections, |count| text::number(count as f64))))
                        (number(or_none(node.resident_bytes, text::bytes)))
                        (number(or_none(node.uptime_ms, text::age)))
                        td { (or_none(node.version.as_deref(), str::to_owned)) }
                    }
                }
            }
        }
    }
}

fn node_state(node: &NodeLine, at_ms: u64) -> Markup {
    let since = match (node.seen_ms, node.unreachable_since_ms) {
        (Some(at), _) => format!(", seen {} ago", text::age(at_ms.saturating_sub(at))),
        (None, Some(at)) => format!(", lost by its peers {} ago", text::age(at_ms.saturating_sub(at))),
        (None, None) => String::new(),
    };
    html! {
        td {
            @match node.up {
                Some(true) => span class="good" { "up" },
                Some(false) => {
                    span class="bad" { "DOWN" } (since)
                    @if let Some(reason) = &node.reason { br; small { (reason) } }
                },
                None => (text::NONE),
            }
        }
    }
}

pub(super) fn events(scene: &Scene) -> Markup {
    let events = &scene.overview.events;
    html! {
        table {
            caption { "The newest events of all nodes, the newest first" }
            (head(&[
                ("Time (UTC)", false), ("Level", false), ("Node", true), ("Shard", true), ("Event", false),
                ("Details", false),
            ]))
            tbody {
                @for event in events.iter().take(EVENTS_MAX) {
                    tr {
                        td { (text::clock(event.at_ms)) }
                        td class=(event_mood(event).class()) { (event.level) }
                        (number(event.node))
                        (number(event_shard(event)))
                        th scope="row" class=(event_mood(event).class()) { (event.kind) }
                        td { (event.details) }
                    }
                }
            }
        }
        @if events.is_empty() { p class="none" { "No events are known." } }
    }
}

pub(super) fn slots(scene: &Scene) -> Markup {
    let shards = &scene.overview.shards;
    let rows: Vec<_> = shards
        .iter()
        .flat_map(|shard| shard.fullest_slots.iter().take(SLOTS_MAX).map(move |slot| (shard, slot)))
        .collect();
    html! {
        table {
            caption { "The slots of each shard with the most keys" }
            (head(&[("Slot", false), ("Shard", true), ("Keys", true), ("Share of its shard", true)]))
            tbody {
                @for (shard, slot) in &rows {
                    tr {
                        th scope="row" { (slot.slot) }
                        (number(shard.shard))
                        (number(text::number(slot.keys as f64)))
                        (number(or_none(shard.keys.filter(|all| *all > 0), |all| {
                            format!("{:.1}%", slot.keys as f64 * 100.0 / all as f64)
                        })))
                    }
                }
            }
        }
        @if rows.is_empty() { p class="none" { "No slot has keys." } }
    }
}

pub(super) fn slow_commands(scene: &Scene) -> Markup {
    let slow = &scene.overview.slow_commands;
    html! {
        table {
            caption { "Slow commands, the newest first, without their arguments" }
            (head(&[
                ("Time (UTC)", false), ("Command", false), ("Took", true), ("Arguments", true), ("Node", true),
                ("Shard", true), ("Client", false),
            ]))
            tbody {
                @for command in slow {
                    tr {
                        td { (text::clock(command.at_ms)) }
                        th scope="row" { (command.command) }
                        (number(text::span(command.duration_us)))
                        (number(command.arguments))
                        (number(command.node))
                        (number(command.shard))
                        td { (command.client) }
                    }
                }
            }
        }
        @if slow.is_empty() { p class="none" { "No slow commands are known." } }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Frame;
    use super::*;
    use crate::watch::fixture::Fixture;
    use crate::watch::history::ShardHistory;

    fn frame(fixture: &Fixture) -> Frame {
        let overview = Overview::of(&fixture.watched, fixture.now_ms());
        let mut history = ShardHistory::default();
        history.add(&overview);
        Frame::of(&overview, &history, None, Vec::new())
    }

    /// A part without its tags, cells separated by bars.
    fn words(html: &str) -> String {
        let mut text = String::new();
        for piece in html.split('<') {
            let (tag, rest) = piece.split_once('>').unwrap_or(("", piece));
            text.push_str(if matches!(tag, "/td" | "/th" | "/tr" | "/dt" | "/dd") { "|" } else { "" });
            text.push_str(rest);
        }
        text
    }

    #[test]
    fn shards_are_shown_with_their_roles_and_figures() {
        let mut fixture = Fixture::new(&["az-a", "az-b", "az-c"], 1);
        fixture.poll(&[]);
        fixture.poll(&[]);
        let frame = frame(&fixture);
        let shards = words(frame.part("shards"));
        assert!(shards.contains("|Slots||1|replica|PRIMARY|replica|1|2.5s of 10s|1.02ms|8.19ms|1.5k|"), "{shards}");
        assert!(shards.contains("|1.23k|64M of 1G|async|0\u{2013}16383|"), "{shards}");
        let summary = words(frame.part("summary"));
        assert!(summary.contains("Nodes up|3 of 3|") && summary.contains("durability lag|2.5s of 10s|"), "{summary}");
        assert!(words(frame.part("slots")).contains("|0|1|617|50.0%|"));
        assert!(
            words(frame.part("slow")).contains("hgetall|12ms|2|1|1|10.0.0.9:50123|"),
            "{}",
            words(frame.part("slow"))
        );
    }

    #[test]
    fn a_lost_az_is_shown_in_every_place() {
        let mut fixture = Fixture::new(&["az-a", "az-b", "az-c"], 1);
        fixture.poll(&[]);
        fixture.poll(&[2]);
        let frame = frame(&fixture);
        let shards = words(frame.part("shards"));
        assert!(shards.contains("az-b (down)|") && shards.contains("|1|replica|DOWN|PRIMARY|0|"), "{shards}");
        assert!(words(frame.part("summary")).contains("Nodes up|2 of 3|"));
        assert!(words(frame.part("summary")).contains("Lowest quorum margin|0|"));
        assert!(words(frame.part("nodes")).contains("|2|az-b|DOWN, seen 1s ago"), "{}", frame.part("nodes"));
    }

    #[test]
    fn what_was_not_observed_is_a_dash() {
        let frame = frame(&Fixture::new(&["az-a", "az-b", "az-c"], 1));
        let shards = words(frame.part("shards"));
        assert!(shards.contains("|1|-|-|-|-|-|-|-|-|-|-|-|"), "{shards}");
        assert!(!frame.is_complete && words(frame.part("events")).contains("No events are known."));
    }

    #[test]
    fn the_page_has_no_markup_of_the_cluster() {
        let zone = "<script>alert(1)</script>\u{1b}\"'";
        let mut fixture = Fixture::new(&[zone, "b"], 1);
        fixture.event(1, 5, "<img src=x onerror=alert(1)>", &[("peer", 2)]);
        fixture.map.lab_faults = vec!["<b>".to_owned()];
        fixture.poll(&[2]);
        for part in frame(&fixture).parts {
            for forbidden in ["<script", "<img", "<b>", "\u{1b}", "onerror=alert(1)>"] {
                assert!(!part.html.contains(forbidden), "{forbidden} in {part:?}");
            }
            // An inline style would need a weaker policy.
            assert!(!part.html.contains(" style="), "{part:?}");
        }
    }
}
