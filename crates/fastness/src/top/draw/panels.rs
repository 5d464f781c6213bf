//! The panels below the shards.

use fastness_console::watch::history::{Measured, ShardHistory};
use fastness_console::watch::overview::{CopyLine, EventLine, LagLine, Overview, ShardLine};
use fastness_console::watch::text::{self, or_none};
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use super::grid::{Grid, GridColumn};
use super::shards;
use super::theme;

/// The least height of a chart: two rows, and the axis with its labels.
const CHART_HEIGHT_MIN: u16 = 4;

fn raw(text: impl ToString) -> Line<'static> {
    Line::raw(text.to_string())
}

/// Events of all nodes.
pub fn events(overview: &Overview) -> Grid {
    let columns = vec![
        GridColumn::text("TIME", 8),
        GridColumn::number("NODE", 4),
        GridColumn::text("SHARD", 7),
        GridColumn::text("EVENT", 20),
        GridColumn::text("", 10),
    ];
    let shard = |event: &EventLine| match event.shard {
        Some(0) => "control".to_owned(),
        shard => or_none(shard, |shard| shard.to_string()),
    };
    let row = |event: &EventLine| {
        let style = match event.level.as_str() {
            "ERROR" => theme::BAD,
            "WARN" => theme::WARNING,
            _ => theme::PLAIN,
        };
        vec![
            raw(text::clock(event.at_ms)),
            raw(event.node),
            raw(shard(event)),
            Line::styled(event.kind.clone(), style),
            raw(&event.details),
        ]
    };
    Grid { columns, rows: overview.events.iter().map(row).collect(), chosen: None }
}

/// The members of a shard.
pub fn replicas(shard: &ShardLine) -> Grid {
    let columns = vec![
        GridColumn::number("NODE", 4),
        GridColumn::text("AZ", 10),
        GridColumn::text("ROLE", 7),
        GridColumn::number("TERM", 4),
        GridColumn::number("APPLIED", 9),
        GridColumn::number("BEHIND", 6),
        GridColumn::number("OPS/S", 6),
        GridColumn::number("CLIENTS", 7),
        GridColumn::number("MEM", 5),
    ];
    let row = |copy: &CopyLine| {
        let (role, _, style) = shards::role(copy.role);
        vec![
            raw(copy.node),
            raw(&copy.az),
            Line::styled(role, style),
            raw(or_none(copy.term, |term| term.to_string())),
            raw(or_none(copy.applied, |applied| applied.to_string())),
            raw(or_none(copy.behind, |behind| text::number(behind as f64))),
            raw(or_none(copy.ops, text::rate)),
            raw(or_none(copy.clients, |clients| text::number(clients as f64))),
            raw(or_none(copy.memory_bytes, text::bytes)),
        ]
    };
    Grid { columns, rows: shard.copies.iter().map(row).collect(), chosen: None }
}

/// The slots of a shard with the most keys, with a bar in proportion to the first.
pub fn slots(shard: &ShardLine) -> Grid {
    const BAR: u64 = 20;
    let columns = vec![
        GridColumn::number("SLOT", 5),
        GridColumn::number("KEYS", 7),
        GridColumn::number("SHARE", 6),
        GridColumn::text("", BAR as u16),
    ];
    let most = shard.fullest_slots.first().map_or(1, |slot| slot.keys.max(1));
    let share = |keys: u64| {
        let all = shard.keys.filter(|all| *all > 0);
        or_none(all, |all| format!("{:.1}%", keys as f64 * 100.0 / all as f64))
    };
    let rows = shard.fullest_slots.iter().map(|slot| {
        let bar = "\u{2588}".repeat((slot.keys * BAR / most) as usize);
        vec![raw(slot.slot), raw(text::number(slot.keys as f64)), raw(share(slot.keys)), Line::styled(bar, theme::GOOD)]
    });
    Grid { columns, rows: rows.collect(), chosen: None }
}

/// Slow commands of all replicas.
pub fn slow(overview: &Overview) -> Grid {
    let columns = vec![
        GridColumn::text("TIME", 8),
        GridColumn::number("NODE", 4),
        GridColumn::number("SHARD", 5),
        GridColumn::number("TOOK", 6),
        GridColumn::text("COMMAND", 18),
        GridColumn::number("ARGS", 5),
        GridColumn::text("CLIENT", 10),
    ];
    let rows = overview.slow_commands.iter().map(|slow| {
        vec![
            raw(text::clock(slow.at_ms)),
            raw(slow.node),
            raw(slow.shard),
            raw(text::span(slow.duration_us)),
            raw(&slow.command),
            raw(slow.arguments),
            raw(&slow.client),
        ]
    });
    Grid { columns, rows: rows.collect(), chosen: None }
}

/// The lag of a shard over time, below the line at which writes are refused in `async`.
pub fn lag(shard: &ShardLine, history: &ShardHistory, now_ms: u64, area: Rect, buffer: &mut Buffer) {
    let points = history.points(shard.shard, Measured::Lag, now_ms);
    let Some(lag) = &shard.lag else {
        return buffer_line("the primary has reported no lag", theme::DIM, area, buffer);
    };
    let refuses = shard.durability.as_deref() == Some("async");
    let [head, chart] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    buffer_line(&lag_summary(lag, refuses), theme::PLAIN, head, buffer);
    if chart.height < CHART_HEIGHT_MIN {
        return;
    }
    let bound = lag.bound_us as f64 / 1e6;
    let highest = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let top = if refuses { highest.max(bound) * 1.1 } else { highest.max(0.001) * 1.1 };
    let oldest = points.first().map_or(-1.0, |point| point.0).min(-1.0);
    let line = [(oldest, bound), (0.0, bound)];
    let mut sets = vec![dataset(&points, theme::GOOD)];
    if refuses {
        sets.push(dataset(&line, theme::BAD));
    }
    let times = [text::age((-oldest * 1e3) as u64) + " ago", "now".to_owned()];
    let lags = [0.0, top / 2.0, top].map(|seconds| text::span((seconds * 1e6) as u64));
    Chart::new(sets)
        .x_axis(Axis::default().bounds([oldest, 0.0]).labels(times).style(theme::DIM))
        .y_axis(Axis::default().bounds([0.0, top]).labels(lags).style(theme::DIM))
        .render(chart, buffer);
}

/// The lag in words. `refuses`: whether writes are refused at the bound.
fn lag_summary(lag: &LagLine, refuses: bool) -> String {
    let LagLine { lag_us, oldest_us, bound_us, gate, refused } = lag;
    let oldest = text::span(*oldest_us);
    if !refuses {
        return format!("lag {}; the oldest uncommitted effect is {oldest} old", text::span(*lag_us));
    }
    let refused = or_none(*refused, text::rate);
    let (lag, bound) = (text::span(*lag_us), text::span(*bound_us));
    format!("lag {lag} of {bound}, gate {gate}, {refused}/s refused; writes are refused at the red line")
}

fn dataset(points: &[(f64, f64)], style: Style) -> Dataset<'_> {
    Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(style).data(points)
}

/// One line of text.
pub fn buffer_line(text: &str, style: Style, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    if !area.is_empty() {
        buffer.set_stringn(area.x, area.y, text, usize::from(area.width), style);
    }
}
