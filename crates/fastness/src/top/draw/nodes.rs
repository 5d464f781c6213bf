//! The table of nodes. One that is down says since when; where not all fit, those that are up make room.

use fastness_console::watch::overview::{NodeLine, Overview};
use fastness_console::watch::text::{self, or_none};
use ratatui::text::{Line, Span};

use super::grid::{Grid, GridColumn};
use super::theme;

/// The table, with so many rows at most.
pub fn grid(overview: &Overview, rows_max: usize) -> Grid {
    let longest = overview.zones.iter().map(|zone| Line::raw(zone.name.as_str()).width()).max().unwrap_or(0);
    let columns = vec![
        GridColumn::text("AZ", longest.clamp(4, 16) as u16),
        GridColumn::number("NODE", 5),
        GridColumn::text("STATE", 7),
        GridColumn::number("LEADS", 5),
        GridColumn::number("OPS/S", 6),
        GridColumn::number("CLIENTS", 7),
        GridColumn::number("RSS", 6),
        GridColumn::number("UPTIME", 6),
        GridColumn::text("", 10),
    ];
    let mut shown: Vec<&NodeLine> = overview.nodes.iter().collect();
    let hidden = shown.len().saturating_sub(rows_max);
    if hidden > 0 {
        // A stable sort: the order by AZ stays.
        shown.sort_by_key(|node| node.up == Some(true));
        shown.truncate(rows_max.saturating_sub(1));
    }
    let mut rows: Vec<_> = shown.iter().map(|node| row(overview, node)).collect();
    if hidden > 0 && rows_max > 0 {
        let left_out = overview.nodes.len() - rows.len();
        let down = overview.nodes.iter().filter(|node| node.up != Some(true)).count().saturating_sub(rows.len());
        rows.push(vec![Line::raw(format!("+{left_out}")), Line::raw(""), more(down)]);
    }
    Grid { columns, rows, chosen: None }
}

/// What the rows that do not fit are.
fn more(down: usize) -> Line<'static> {
    match down {
        0 => Line::styled("more, all up", theme::GOOD),
        down => Line::styled(format!("more, {down} of them DOWN"), theme::BAD),
    }
}

fn row(overview: &Overview, node: &NodeLine) -> Vec<Line<'static>> {
    let zone_is_down = overview.zones.iter().any(|zone| zone.name == node.az && zone.down);
    let (state, style) = match node.up {
        Some(true) => ("up", theme::GOOD),
        Some(false) if zone_is_down => ("AZ DOWN", theme::BAD),
        Some(false) => ("DOWN", theme::BAD),
        None => (text::NONE, theme::DIM),
    };
    let head = [
        Line::styled(node.az.clone(), if zone_is_down { theme::BAD } else { theme::PLAIN }),
        Line::raw(node.node.to_string()),
        Line::styled(state, style),
    ];
    let rest = match node.up {
        Some(false) => vec![absence(overview.at_ms, node)],
        up => vec![
            Line::raw(or_none(up, |_| node.primaries.to_string())),
            Line::raw(or_none(node.ops, text::rate)),
            Line::raw(or_none(node.connections, |count| text::number(count as f64))),
            Line::raw(or_none(node.resident_bytes, text::bytes)),
            Line::raw(or_none(node.uptime_ms, text::age)),
            Line::styled(node.version.clone().unwrap_or_default(), theme::DIM),
        ],
    };
    head.into_iter().chain(rest).collect()
}

/// Since when a node is down, and why.
fn absence(at_ms: u64, node: &NodeLine) -> Line<'static> {
    let since = match (node.seen_ms, node.unreachable_since_ms) {
        (Some(seen), _) => {
            format!("seen {}, {} ago", text::clock(seen), text::age(at_ms.saturating_sub(seen)))
        }
        (None, Some(since)) => {
            let ago = text::age(at_ms.saturating_sub(since));
            format!("lost by its peers {}, {ago} ago", text::clock(since))
        }
        (None, None) => "not seen".to_owned(),
    };
    let reason = node.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    Line::from(vec![Span::styled(since, theme::BAD), Span::styled(reason, theme::DIM)])
}
