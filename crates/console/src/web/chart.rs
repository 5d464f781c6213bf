//! Charts of the last minutes, a line for each shard. Pure.

use maud::{Markup, html};

use super::scene::Scene;
use crate::watch::history::Measured;
use crate::watch::overview::ShardLine;
use crate::watch::text;

/// Lines of a chart: more cannot be told apart.
const LINES_MAX: usize = 8;
/// The size of a chart, in units of about a pixel on a phone.
const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 150.0;
/// Where the figures are.
const LEFT: f64 = 44.0;
const RIGHT: f64 = WIDTH - 8.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = HEIGHT - 20.0;
/// The shortest time that a chart shows, in seconds.
const SPAN_S_MIN: f64 = 60.0;

/// What a chart shows.
struct Kind {
    id: &'static str,
    title: &'static str,
    figure: Measured,
    /// A figure in words.
    words: fn(f64) -> String,
    /// The least that the axis reaches to.
    top_min: f64,
}

fn seconds(value: f64) -> String {
    text::span((value * 1e6).round() as u64)
}

const KINDS: [Kind; 3] = [
    Kind { id: "lag", title: "Durability lag", figure: Measured::Lag, words: seconds, top_min: 0.001 },
    Kind { id: "p99", title: "Commit time, p99", figure: Measured::CommitP99, words: seconds, top_min: 0.001 },
    Kind { id: "ops", title: "Commands per second", figure: Measured::Ops, words: text::rate, top_min: 10.0 },
];

/// All charts.
pub(super) fn all(scene: &Scene) -> Markup {
    html! {
        @for kind in &KINDS { (chart(scene, kind)) }
    }
}

fn chart(scene: &Scene, kind: &Kind) -> Markup {
    let shown = &scene.overview.shards[..scene.overview.shards.len().min(LINES_MAX)];
    let axes = Axes::of(scene, kind, shown);
    let bound = bound(kind, shown);
    let title = format!("chart-{}-title", kind.id);
    html! {
        figure {
            figcaption id=(title) { (kind.title) }
            svg class="chart" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-labelledby=(title) {
                desc { (description(scene, kind, shown)) }
                @for share in [0.0, 0.5, 1.0] {
                    line class="grid" x1=(LEFT) x2=(RIGHT) y1=(axes.y(share * axes.top)) y2=(axes.y(share * axes.top)) {}
                    text x=(LEFT - 4.0) y=(axes.y(share * axes.top)) class="value" { ((kind.words)(share * axes.top)) }
                }
                text x=(LEFT) y=(HEIGHT - 5.0) class="start" { (text::age((axes.span_s * 1e3) as u64)) " ago" }
                text x=(RIGHT) y=(HEIGHT - 5.0) class="end" { "now" }
                @if let Some(bound) = bound {
                    line class="bound" x1=(LEFT) x2=(RIGHT) y1=(axes.y(bound)) y2=(axes.y(bound)) {}
                    text x=(RIGHT) y=(axes.y(bound) + 11.0) class="end bound" { "writes are refused from here on" }
                }
                @for (place, shard) in shown.iter().enumerate() {
                    @for piece in scene.history.pieces(shard.shard, kind.figure, scene.overview.at_ms) {
                        polyline class={ "line line-" (place + 1) } points=(axes.points(&piece)) {}
                    }
                }
            }
            ul class="legend" {
                @for (place, shard) in shown.iter().enumerate() {
                    li {
                        svg width="26" height="8" aria-hidden="true" {
                            line class={ "line line-" (place + 1) } x1="1" y1="4" x2="25" y2="4" {}
                        }
                        "shard " (shard.shard) ": " (newest(scene, kind, shard))
                    }
                }
                @if shown.len() < scene.overview.shards.len() {
                    li { (scene.overview.shards.len() - shown.len()) " more shards are in the table" }
                }
            }
        }
    }
}

/// The line at which writes are refused, if any shard refuses them.
fn bound(kind: &Kind, shown: &[ShardLine]) -> Option<f64> {
    let refusing = shown.iter().filter(|shard| shard.durability.as_deref() == Some("async"));
    let bounds = refusing.filter_map(|shard| shard.lag.as_ref()).map(|lag| lag.bound_us as f64 / 1e6);
    bounds.filter(|bound| kind.figure == Measured::Lag && *bound > 0.0).reduce(f64::min)
}

fn newest(scene: &Scene, kind: &Kind, shard: &ShardLine) -> String {
    let points = scene.history.points(shard.shard, kind.figure, scene.overview.at_ms);
    let newest = points.last().filter(|(at_s, _)| *at_s == 0.0);
    text::or_none(newest, |(_, value)| (kind.words)(*value))
}

/// The chart in words.
fn description(scene: &Scene, kind: &Kind, shown: &[ShardLine]) -> String {
    let of_shard = |shard: &ShardLine| {
        let points = scene.history.points(shard.shard, kind.figure, scene.overview.at_ms);
        let highest = points.iter().map(|point| point.1).reduce(f64::max);
        let highest = text::or_none(highest, kind.words);
        format!("shard {}: now {}, highest {highest}", shard.shard, newest(scene, kind, shard))
    };
    let shards: Vec<_> = shown.iter().map(of_shard).collect();
    match bound(kind, shown) {
        Some(bound) => format!("{}; writes are refused at {}", shards.join("; "), (kind.words)(bound)),
        None => shards.join("; "),
    }
}

/// From figures to places.
struct Axes {
    span_s: f64,
    top: f64,
}

impl Axes {
    fn of(scene: &Scene, kind: &Kind, shown: &[ShardLine]) -> Axes {
        let points =
            shown.iter().flat_map(|shard| scene.history.points(shard.shard, kind.figure, scene.overview.at_ms));
        let (mut span_s, mut top) = (SPAN_S_MIN, bound(kind, shown).unwrap_or(0.0).max(kind.top_min));
        for (at_s, value) in points {
            span_s = span_s.max(-at_s);
            top = top.max(value);
        }
        Axes { span_s, top: top * 1.1 }
    }

    fn x(&self, at_s: f64) -> f64 {
        RIGHT + (RIGHT - LEFT) * at_s / self.span_s
    }

    /// Rounded: a place is a part of a pixel at most.
    fn y(&self, value: f64) -> f64 {
        ((BOTTOM - (BOTTOM - TOP) * value / self.top) * 10.0).round() / 10.0
    }

    fn points(&self, piece: &[(f64, f64)]) -> String {
        let mut piece = piece.to_vec();
        // A line of one point is not visible.
        if let [(at_s, value)] = piece[..] {
            piece.push((at_s - 0.5, value));
        }
        let places: Vec<_> =
            piece.iter().map(|(at_s, value)| format!("{:.1},{:.1}", self.x(*at_s), self.y(*value))).collect();
        places.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::fixture::Fixture;
    use crate::watch::history::ShardHistory;
    use crate::watch::overview::Overview;

    fn charts(rounds: &[&[u64]], shards: u32) -> String {
        let mut fixture = Fixture::new(&["a", "b", "c"], shards);
        let mut history = ShardHistory::default();
        let mut overview = Overview::default();
        for silent in rounds {
            fixture.poll(silent);
            overview = Overview::of(&fixture.watched, fixture.now_ms());
            history.add(&overview);
        }
        all(&Scene { overview: &overview, history: &history, problem: None }).into_string()
    }

    #[test]
    fn a_chart_has_a_line_for_each_shard_below_the_bound() {
        let html = charts(&[&[], &[], &[]], 2);
        assert_eq!(html.matches("<polyline").count(), 6, "three charts of two shards");
        assert!(
            html.contains(
                "shard 1: now 2.5s, highest 2.5s; shard 2: now 2.5s, highest 2.5s; writes are refused at 10s"
            )
        );
        assert_eq!(html.matches("writes are refused from here on").count(), 1);
        let axes = Axes { span_s: 60.0, top: 10.0 };
        assert_eq!(axes.points(&[(-60.0, 0.0), (0.0, 10.0)]), format!("{LEFT:.1},{BOTTOM:.1} {RIGHT:.1},{TOP:.1}"));
        assert_eq!(axes.points(&[(0.0, 0.0)]).split(' ').count(), 2);
    }

    #[test]
    fn a_figure_that_nobody_reported_interrupts_the_line() {
        let html = charts(&[&[], &[], &[1, 2, 3], &[1, 2, 3], &[]], 1);
        let lag = html.split("<figure>").nth(1).unwrap();
        assert_eq!(lag.matches("<polyline").count(), 2, "{lag}");
        let nothing = charts(&[&[1, 2, 3]], 1);
        assert!(!nothing.contains("<polyline") && nothing.contains("shard 1: now -, highest -"), "{nothing}");
    }

    #[test]
    fn many_shards_are_named_in_the_table_only() {
        let html = charts(&[&[]], 30);
        assert!(html.contains("22 more shards are in the table") && !html.contains("line-9"), "{html}");
    }
}
