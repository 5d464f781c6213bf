//! The events of the last minutes on a line for each node. Pure.

use maud::{Markup, html};

use super::scene::{Mood, Scene, event_mood, event_shard};
use crate::watch::overview::{EventLine, NodeLine};
use crate::watch::text;

/// What the timeline shows, in ms.
const SPAN_MS: u64 = 10 * 60 * 1_000;
/// Lines: further nodes are in the table of events only.
const LANES_MAX: usize = 12;
/// The size, in units of about a pixel on a phone.
const WIDTH: f64 = 340.0;
const LANE: f64 = 26.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 10.0;
/// How far a mark reaches.
const MARK: f64 = 5.0;

/// The timeline.
pub(super) fn draw(scene: &Scene) -> Markup {
    let nodes = &scene.overview.nodes[..scene.overview.nodes.len().min(LANES_MAX)];
    let start_ms = scene.overview.at_ms.saturating_sub(SPAN_MS);
    let shown: Vec<_> = scene.overview.events.iter().filter(|event| event.at_ms >= start_ms).collect();
    let height = LANE * nodes.len() as f64 + 22.0;
    html! {
        svg class="timeline" viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label=(summary(&shown)) {
            @for (lane, node) in nodes.iter().enumerate() {
                @let y = LANE * (lane as f64 + 0.5);
                text x="0" y=(y) class="lane" { "node " (node.node) }
                line class="grid" x1=(LEFT) x2=(RIGHT) y1=(y) y2=(y) {}
                @if let Some(since_ms) = absence_ms(node, scene.overview.at_ms) {
                    rect class="absence" x=(place(since_ms.max(start_ms), start_ms)) y=(y - 3.0) height="6"
                        width=(RIGHT - place(since_ms.max(start_ms), start_ms)) {
                        title { "node " (node.node) " is down since " (text::clock(since_ms)) }
                    }
                }
                // The oldest first, so that the newest is on top.
                @for event in shown.iter().rev().filter(|event| event.node == node.node) {
                    (mark(event, place(event.at_ms, start_ms), y))
                }
            }
            text x=(LEFT) y=(height - 5.0) class="start" { (text::age(SPAN_MS)) " ago" }
            text x=(RIGHT) y=(height - 5.0) class="end" { "now" }
        }
        ul class="legend" {
            @for (word, mood) in [("information", Mood::Plain), ("warning", Mood::Warning), ("error", Mood::Bad)] {
                li { svg width="14" height="14" aria-hidden="true" { (shape(mood, 7.0, 7.0)) } (word) }
            }
            li { "a bar: the node is down" }
        }
    }
}

fn place(at_ms: u64, start_ms: u64) -> f64 {
    let share = at_ms.saturating_sub(start_ms) as f64 / SPAN_MS as f64;
    ((LEFT + (RIGHT - LEFT) * share.min(1.0)) * 10.0).round() / 10.0
}

/// Since when a node is down.
fn absence_ms(node: &NodeLine, at_ms: u64) -> Option<u64> {
    (node.up == Some(false)).then(|| node.seen_ms.or(node.unreachable_since_ms).unwrap_or(at_ms))
}

fn mark(event: &EventLine, x: f64, y: f64) -> Markup {
    let words = format!(
        "{} node {} shard {} {} {}",
        text::clock(event.at_ms),
        event.node,
        event_shard(event),
        event.kind,
        event.details
    );
    html! {
        g { title { (words) } (shape(event_mood(event), x, y)) }
    }
}

/// A mark: its form says as much as its colour.
fn shape(mood: Mood, x: f64, y: f64) -> Markup {
    let points = match mood {
        Mood::Bad => format!(
            "{},{} {},{} {},{} {},{}",
            x - MARK,
            y - MARK,
            x + MARK,
            y - MARK,
            x + MARK,
            y + MARK,
            x - MARK,
            y + MARK
        ),
        _ => format!("{},{} {},{} {},{}", x, y - MARK, x + MARK, y + MARK, x - MARK, y + MARK),
    };
    html! {
        @match mood {
            Mood::Bad | Mood::Warning => polygon class={ "mark " (mood.class()) } points=(points) {},
            Mood::Good | Mood::Plain => circle class={ "mark " (mood.class()) } cx=(x) cy=(y) r="4" {},
        }
    }
}

/// The timeline in words; the table of events has the rest.
fn summary(shown: &[&EventLine]) -> String {
    let minutes = SPAN_MS / 60_000;
    let of_level = |level: &str| shown.iter().filter(|event| event.level == level).count();
    let (warnings, errors) = (of_level("WARN"), of_level("ERROR"));
    let newest = shown.first().map_or_else(String::new, |event| {
        format!("; the newest is {} on node {} at {}", event.kind, event.node, text::clock(event.at_ms))
    });
    let count = shown.len();
    format!("Events of the last {minutes} minutes: {count}, of which {warnings} warnings and {errors} errors{newest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::fixture::{Fixture, START_MS};
    use crate::watch::history::ShardHistory;
    use crate::watch::overview::Overview;

    #[test]
    fn events_and_absences_have_their_places() {
        let mut fixture = Fixture::new(&["a", "b"], 1);
        fixture.poll(&[]);
        fixture.event(1, 500, "peer_unreachable", &[("peer", 2)]);
        fixture.poll(&[2]);
        let overview = Overview::of(&fixture.watched, START_MS + SPAN_MS);
        let draw = |overview: &Overview| {
            draw(&Scene { overview, history: &ShardHistory::default(), problem: None }).into_string()
        };
        let html = draw(&overview);
        assert!(
            html.contains("1, of which 1 warnings and 0 errors; the newest is peer_unreachable on node 1"),
            "{html}"
        );
        assert!(html.contains("node 1 shard - peer_unreachable peer=2"), "{html}");
        assert!(
            html.contains("node 2 is down since 14:03:08") && html.matches("class=\"absence\"").count() == 1,
            "{html}"
        );
        assert_eq!((place(START_MS, START_MS), place(START_MS + SPAN_MS, START_MS)), (LEFT, RIGHT));
        let later = Overview::of(&fixture.watched, START_MS + 2 * SPAN_MS);
        assert!(draw(&later).contains("minutes: 0, of which 0 warnings"), "an old event");
    }
}
