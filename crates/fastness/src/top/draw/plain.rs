//! A frame as plain text, in which everything is shown, for scripts and logs.

use fastness_console::watch::overview::Overview;
use fastness_console::watch::text;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::grid::Grid;
use super::{nodes, panels, shards};

/// Width of the text.
const WIDTH: u16 = 160;
/// How many rows events, slots and slow commands have.
const ROWS_MAX: usize = 20;

/// The text.
pub fn page(overview: &Overview) -> String {
    let mut page = format!(
        "cluster {} \u{b7} durability {} \u{b7} map version {} \u{b7} {} UTC\n",
        overview.cluster_id,
        overview.durability,
        overview.map_version,
        text::clock(overview.at_ms)
    );
    overview.notices.iter().for_each(|notice| page += &format!("{notice}\n"));
    section(&mut page, "NODES", &nodes::grid(overview, usize::MAX));
    section(&mut page, "SHARDS", &shards::grid(overview, 0, None));
    for shard in &overview.shards {
        section(&mut page, &format!("REPLICAS OF SHARD {}", shard.shard), &panels::replicas(shard));
    }
    for shard in overview.shards.iter().filter(|shard| !shard.fullest_slots.is_empty()) {
        section(&mut page, &format!("SLOTS OF SHARD {} WITH THE MOST KEYS", shard.shard), &panels::slots(shard));
    }
    section(&mut page, "SLOW COMMANDS", &panels::slow(overview));
    section(&mut page, "EVENTS", &panels::events(overview));
    page
}

fn section(page: &mut String, title: &str, grid: &Grid) {
    *page += &format!("\n{title}\n");
    if grid.rows.is_empty() {
        *page += "none\n";
        return;
    }
    let is_bounded = title == "EVENTS" || title == "SLOW COMMANDS" || title.starts_with("SLOTS");
    let rows = if is_bounded { grid.rows.len().min(ROWS_MAX) } else { grid.rows.len() };
    let area = Rect::new(0, 0, WIDTH.max(wanted(grid)), rows as u16 + 1);
    let mut buffer = Buffer::empty(area);
    grid.draw(area, &mut buffer);
    lines(&buffer).iter().for_each(|line| *page += &format!("{line}\n"));
}

/// The width in which all columns fit; the last one may be longer than it says.
fn wanted(grid: &Grid) -> u16 {
    grid.columns.iter().map(|column| column.width() + 1).sum()
}

/// The lines of a buffer, without spaces at their ends.
pub fn lines(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let line = |y| {
        let mut line = String::new();
        let mut x = area.x;
        while let Some(cell) = buffer.cell((x, y)).filter(|_| x < area.right()) {
            line += cell.symbol();
            // A wide character takes the place of two cells.
            x += ratatui::text::Span::raw(cell.symbol()).width().max(1) as u16;
        }
        line.trim_end().to_owned()
    };
    (area.y..area.bottom()).map(line).collect()
}
