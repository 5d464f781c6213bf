//! The table of shards: a column for each AZ, and as many figures as fit, the most important ones first.

use fastness_console::watch::overview::{CopyRole, LagLine, Overview, ShardLine};
use fastness_console::watch::text::{self, or_none};
use ratatui::text::{Line, Span};

use super::grid::{Grid, GridColumn};
use super::theme;

/// Widest column of an AZ, and the one in which roles are words; in narrower ones they are letters.
const ZONE_WIDTH_MAX: usize = 14;
const ZONE_WIDTH_WORDS: usize = 7;
const ZONE_WIDTH_LETTERS: u16 = 3;
/// A column of lags is the bar and the figures.
const LAG_FIGURES_WIDTH: u16 = 13;

/// A figure of a shard, with its column and its importance: 0 is shown first.
struct ShardFigure {
    importance: u8,
    column: GridColumn,
    cell: Box<dyn Fn(&ShardLine) -> Line<'static>>,
}

fn figure(importance: u8, column: GridColumn, cell: impl Fn(&ShardLine) -> Line<'static> + 'static) -> ShardFigure {
    ShardFigure { importance, column, cell: Box::new(cell) }
}

fn raw(text: String) -> Line<'static> {
    Line::raw(text)
}

/// From left to right.
fn figures(bar: u16) -> Vec<ShardFigure> {
    vec![
        figure(6, GridColumn::text("MODE", 8), move |shard| raw(or_none(shard.durability.clone(), |mode| mode))),
        figure(0, GridColumn::text("LAG", bar + LAG_FIGURES_WIDTH), move |shard| lag(shard, usize::from(bar))),
        figure(4, GridColumn::number("P50", 6), move |shard| raw(or_none(shard.commit_p50_us, text::span))),
        figure(1, GridColumn::number("P99", 6), move |shard| raw(or_none(shard.commit_p99_us, text::span))),
        figure(2, GridColumn::number("QM", 2), margin),
        figure(3, GridColumn::number("OPS/S", 6), move |shard| raw(or_none(shard.ops, text::rate))),
        figure(5, GridColumn::number("MEM", 5), move |shard| raw(or_none(shard.memory_bytes, text::bytes))),
        figure(7, GridColumn::number("MAX", 5), move |shard| {
            raw(or_none(shard.memory_max_bytes.filter(|max| *max > 0), text::bytes))
        }),
        figure(8, GridColumn::number("KEYS", 6), move |shard| {
            raw(or_none(shard.keys, |keys| text::number(keys as f64)))
        }),
        figure(9, GridColumn::text("SLOTS", 11), move |shard| raw(format!("{}-{}", shard.slots[0], shard.slots[1]))),
    ]
}

/// The table for so many columns of a screen; `width` 0: everything, however wide.
pub fn grid(overview: &Overview, width: u16, chosen: Option<usize>) -> Grid {
    let bar = if width == 0 || width >= 120 { 20 } else { 5 };
    let (zones, words) = zone_columns(overview, width);
    let mut used: u16 = 5 + zones.iter().map(|zone| zone.width() + 1).sum::<u16>();
    let mut figures = figures(bar);
    let mut by_importance: Vec<u8> = figures.iter().map(|figure| figure.importance).collect();
    by_importance.sort_unstable();
    let mut least = None;
    for importance in by_importance {
        let wide = figures.iter().find(|figure| figure.importance == importance).map_or(0, |f| f.column.width());
        if width > 0 && used + 1 + wide > width {
            break;
        }
        used += 1 + wide;
        least = Some(importance);
    }
    figures.retain(|figure| least.is_some_and(|least| figure.importance <= least));
    let columns = [GridColumn::number("SHARD", 5)].into_iter().chain(zones);
    let row = |shard: &ShardLine| {
        let zones = overview.zones.iter().map(|zone| zone_cell(shard, &zone.name, words));
        let number = Line::raw(shard.shard.to_string());
        [number].into_iter().chain(zones).chain(figures.iter().map(|figure| (figure.cell)(shard))).collect()
    };
    let rows = overview.shards.iter().map(row).collect();
    Grid { columns: columns.chain(figures.iter().map(|figure| figure.column.clone())).collect(), rows, chosen }
}

/// A column for each AZ, and whether roles are words in it.
fn zone_columns(overview: &Overview, width: u16) -> (Vec<GridColumn>, bool) {
    let column = |wide: u16| {
        let of_zone = move |zone: &fastness_console::watch::overview::ZoneLine| {
            GridColumn::text(&zone.name, wide).styled(if zone.down { theme::BAD } else { theme::PLAIN })
        };
        overview.zones.iter().map(of_zone).collect::<Vec<_>>()
    };
    let longest = overview.zones.iter().map(|zone| Line::raw(zone.name.as_str()).width()).max().unwrap_or(0);
    let words = longest.clamp(ZONE_WIDTH_WORDS, ZONE_WIDTH_MAX) as u16;
    let fits = |wide: u16, rest: u16| width == 0 || 5 + overview.zones.len() as u16 * (wide + 1) + rest <= width;
    // With the figures that an operator looks at first.
    if fits(words, 47) {
        (column(words), true)
    } else if fits(ZONE_WIDTH_WORDS as u16, 20) {
        (column(ZONE_WIDTH_WORDS as u16), true)
    } else {
        (column(ZONE_WIDTH_LETTERS), false)
    }
}

/// A role as a word, as a letter, and in its colour.
pub fn role(role: CopyRole) -> (&'static str, &'static str, ratatui::style::Style) {
    match role {
        CopyRole::Primary => ("PRIMARY", "P", theme::GOOD),
        CopyRole::Leader => ("leader", "L", theme::WARNING),
        CopyRole::Replica => ("replica", "r", theme::PLAIN),
        CopyRole::Learner => ("learner", "n", theme::WARNING),
        CopyRole::Loading => ("loading", "l", theme::WARNING),
        CopyRole::Stopped => ("stopped", "s", theme::BAD),
        CopyRole::Down => ("DOWN", "X", theme::BAD),
        CopyRole::Unknown => (text::NONE, text::NONE, theme::DIM),
    }
}

/// The roles of a shard's members in an AZ. Several are letters.
fn zone_cell(shard: &ShardLine, zone: &str, words: bool) -> Line<'static> {
    let roles: Vec<_> = shard.copies.iter().filter(|copy| copy.az == zone).map(|copy| role(copy.role)).collect();
    match roles.as_slice() {
        [] => Line::raw(""),
        [(word, _, style)] if words => Line::styled(*word, *style),
        several => {
            Line::from(several.iter().map(|(_, letter, style)| Span::styled(*letter, *style)).collect::<Vec<_>>())
        }
    }
}

fn margin(shard: &ShardLine) -> Line<'static> {
    let style = match shard.quorum_margin {
        Some(margin) if margin < 0 => theme::BAD,
        Some(0) => theme::WARNING,
        _ => theme::PLAIN,
    };
    Line::styled(or_none(shard.quorum_margin, |margin| margin.to_string()), style)
}

/// A bar from no lag to the line at which writes are refused, and the figures. Only `async` refuses writes.
fn lag(shard: &ShardLine, width: usize) -> Line<'static> {
    let Some(lag) = &shard.lag else { return Line::raw(text::NONE) };
    if shard.durability.as_deref() != Some("async") {
        return Line::raw(format!("{:width$} {}", "", text::span(lag.lag_us)));
    }
    let style = match lag.gate.as_str() {
        "open" => theme::GOOD,
        "slowing" => theme::WARNING,
        _ => theme::BAD,
    };
    let cells = width.saturating_sub(1);
    let filled = filled(lag, cells);
    let line = if lag.lag_us >= lag.bound_us { "\u{2503}" } else { "\u{2502}" };
    let figures = format!(" {}/{}", text::span(lag.lag_us), text::span(lag.bound_us));
    Line::from(vec![
        Span::styled("\u{2588}".repeat(filled), style),
        Span::styled("\u{b7}".repeat(cells - filled), theme::DIM),
        Span::styled(line, theme::BAD),
        Span::styled(figures, style),
    ])
}

/// How many cells of a bar are filled: all of them only at the bound, and one as soon as a tenth of it is reached.
fn filled(lag: &LagLine, cells: usize) -> usize {
    if lag.lag_us >= lag.bound_us {
        return cells;
    }
    let part = lag.lag_us as f64 / lag.bound_us as f64;
    let least = usize::from(part >= 0.1);
    ((part * cells as f64) as usize).max(least).min(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_at_the_bound_only() {
        let of = |lag_us| {
            let lag =
                LagLine { lag_us, oldest_us: lag_us, bound_us: 10_000_000, gate: "open".to_owned(), refused: None };
            filled(&lag, 4)
        };
        assert_eq!([0, 999_999, 1_000_000, 4_999_999, 5_000_000, 9_999_999, 10_000_000].map(of), [0, 0, 1, 1, 2, 3, 4]);
    }
}
