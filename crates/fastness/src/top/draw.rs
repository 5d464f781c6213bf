//! Draws a frame. A pure function of what is known and what is chosen.
//!
//! ```text
//! title
//! notices, if there are any
//! nodes by AZ
//! ┌ shards by AZ ┐
//! ┌ panels: all of them on a large screen, otherwise the chosen one ┐
//! keys
//! ```

mod grid;
mod help;
mod nodes;
mod panels;
mod plain;
mod shards;
mod theme;

use std::time::Duration;

use fastness_console::watch::history::ShardHistory;
use fastness_console::watch::overview::{Overview, ShardLine};
use fastness_console::watch::text;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Widget};

use super::choice::{Choice, Panel};
use grid::{Grid, cut};

pub use plain::page;

/// The smallest screen on which something can be shown.
const WIDTH_MIN: u16 = 40;
const HEIGHT_MIN: u16 = 12;
/// From here on, all panels are shown at once.
const ALL_PANELS_WIDTH_MIN: u16 = 120;
const ALL_PANELS_HEIGHT_MIN: u16 = 20;
/// The least height of the panels, with their border.
const PANEL_HEIGHT_MIN: u16 = 7;

/// What a frame is drawn from.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The cluster.
    pub overview: &'a Overview,
    /// Its lags.
    pub history: &'a ShardHistory,
    /// What is to be seen.
    pub choice: &'a Choice,
    /// The time between two samples.
    pub interval: Duration,
}

impl Scene<'_> {
    /// Draws it.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer) {
        if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
            let text = format!("enlarge the terminal to {WIDTH_MIN}x{HEIGHT_MIN}");
            return panels::buffer_line(&text, theme::WARNING, area, buffer);
        }
        let notices = u16::from(!self.overview.notices.is_empty());
        let [title, notice, body, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(notices),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(area);
        let (nodes, shards, lower) = self.heights(body.height);
        let [nodes, shards, lower] = Layout::vertical([nodes, shards, lower].map(Constraint::Length)).areas(body);
        self.draw_title(title, buffer);
        panels::buffer_line(&self.overview.notices.join(" \u{b7} "), theme::WARNING, notice, buffer);
        nodes::grid(self.overview, usize::from(nodes.height.saturating_sub(1))).draw(nodes, buffer);
        self.draw_shards(shards, buffer);
        if lower.width >= ALL_PANELS_WIDTH_MIN && lower.height >= ALL_PANELS_HEIGHT_MIN {
            self.draw_all_panels(lower, buffer);
        } else {
            self.draw_chosen_panel(lower, buffer);
        }
        self.draw_keys(keys, buffer);
        if self.choice.shows_help {
            help::draw(area, buffer);
        }
    }

    /// Heights of nodes, shards and panels. Nodes get at most a third, shards what the panels leave.
    fn heights(&self, height: u16) -> (u16, u16, u16) {
        let count = |items: usize| u16::try_from(items).unwrap_or(u16::MAX);
        let nodes = count(self.overview.nodes.len().max(1)).saturating_add(1).min((height / 3).max(3));
        let rest = height - nodes;
        let lower_min = if rest >= 2 * PANEL_HEIGHT_MIN { PANEL_HEIGHT_MIN } else { rest / 2 };
        let shards = count(self.overview.shards.len().max(1)).saturating_add(3).min(rest - lower_min);
        (nodes, shards, rest - shards)
    }

    fn draw_title(&self, area: Rect, buffer: &mut Buffer) {
        let Overview { at_ms, cluster_id, durability, nodes, .. } = self.overview;
        let down = nodes.iter().filter(|node| node.up == Some(false)).count();
        let id = if area.width >= 100 { cluster_id.as_str() } else { cluster_id.get(..8).unwrap_or(cluster_id) };
        let mut spans = vec![
            Span::styled(" fastness top ", theme::CHOSEN),
            Span::raw(format!(" {id}  {durability}  {} nodes", nodes.len())),
        ];
        if down > 0 {
            spans.push(Span::styled(format!(", {down} DOWN"), theme::BAD));
        }
        let interval = text::span(self.interval.as_micros() as u64);
        spans.push(Span::raw(format!("  {} UTC  every {interval}", text::clock(*at_ms))));
        if self.choice.is_paused {
            spans.push(Span::styled("  PAUSED", theme::WARNING));
        }
        buffer.set_line(area.x, area.y, &cut(&Line::from(spans), usize::from(area.width)), area.width);
    }

    fn draw_keys(&self, area: Rect, buffer: &mut Buffer) {
        let keys = " q quit  \u{2191}\u{2193} shard  Tab panel  p pause  ? help";
        panels::buffer_line(keys, theme::DIM, area, buffer);
    }

    fn draw_shards(&self, area: Rect, buffer: &mut Buffer) {
        let shards = self.overview.shards.len();
        let chosen = (shards > 0).then(|| self.choice.shard.min(shards - 1));
        let grid = shards::grid(self.overview, area.width.saturating_sub(2), chosen);
        let visible = grid.visible(area.height.saturating_sub(2));
        let title = if visible.len() < shards {
            format!(" Shards {}-{} of {shards} ", visible.start + 1, visible.end)
        } else {
            " Shards ".to_owned()
        };
        let inner = frame(Line::raw(title), false, area, buffer);
        if shards == 0 {
            return panels::buffer_line("the cluster has no shards", theme::DIM, inner, buffer);
        }
        grid.draw(inner, buffer);
    }

    fn chosen_shard(&self) -> Option<&ShardLine> {
        let shards = &self.overview.shards;
        shards.get(self.choice.shard.min(shards.len().saturating_sub(1)))
    }

    fn draw_all_panels(&self, area: Rect, buffer: &mut Buffer) {
        let [left, right] = Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(area);
        let [lag, events] = Layout::vertical([Constraint::Percentage(40), Constraint::Min(0)]).areas(left);
        let replicas = self.chosen_shard().map_or(1, |shard| shard.copies.len()).min(9) as u16 + 3;
        let [replicas, slots, slow] =
            Layout::vertical([Constraint::Length(replicas), Constraint::Fill(1), Constraint::Fill(1)]).areas(right);
        let places = [events, lag, replicas, slots, slow];
        for (panel, place) in Panel::ALL.into_iter().zip(places) {
            let title = Line::raw(format!(" {} ", self.title(panel)));
            let inner = frame(title, panel == self.choice.panel, place, buffer);
            self.draw_panel(panel, inner, buffer);
        }
    }

    fn draw_chosen_panel(&self, area: Rect, buffer: &mut Buffer) {
        let chosen = self.choice.panel;
        let tab = |panel: Panel| match panel == chosen {
            true => Span::styled(format!(" {} ", self.title(panel)), theme::CHOSEN),
            false => Span::raw(format!(" {} ", panel.name())),
        };
        let inner = frame(Line::from_iter(Panel::ALL.map(tab)), false, area, buffer);
        self.draw_panel(chosen, inner, buffer);
    }

    /// The title of a panel, with the shard that it is of.
    fn title(&self, panel: Panel) -> String {
        match (panel, self.chosen_shard()) {
            (Panel::Lag | Panel::Replicas | Panel::Slots, Some(shard)) => {
                format!("{} of shard {}", panel.name(), shard.shard)
            }
            _ => panel.name().to_owned(),
        }
    }

    fn draw_panel(&self, panel: Panel, area: Rect, buffer: &mut Buffer) {
        let of_shard = |grid: fn(&ShardLine) -> Grid| self.chosen_shard().map(grid).unwrap_or_default();
        let (grid, empty) = match panel {
            Panel::Events => (panels::events(self.overview), "no events"),
            Panel::Replicas => (of_shard(panels::replicas), "no replicas"),
            Panel::Slots => (of_shard(panels::slots), "no keys are reported"),
            Panel::Slow => (panels::slow(self.overview), "no slow commands"),
            Panel::Lag => {
                let Some(shard) = self.chosen_shard() else { return };
                return panels::lag(shard, self.history, self.overview.at_ms, area, buffer);
            }
        };
        if grid.rows.is_empty() {
            return panels::buffer_line(empty, theme::DIM, area, buffer);
        }
        grid.draw(area, buffer);
    }
}

/// Draws a border with a title; returns what is inside.
fn frame(title: Line<'_>, is_chosen: bool, area: Rect, buffer: &mut Buffer) -> Rect {
    let style = if is_chosen { theme::HEAD } else { Style::new() };
    let title = if is_chosen { title.style(theme::CHOSEN) } else { title };
    let block = Block::bordered().border_style(style).title(title);
    let inner = block.inner(area);
    block.render(area, buffer);
    inner
}

#[cfg(test)]
mod tests;
