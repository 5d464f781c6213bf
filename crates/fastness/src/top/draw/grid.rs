//! Tables: columns that are as wide as they say, cut with an ellipsis.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::theme;

/// A column.
#[derive(Debug, Clone)]
pub struct GridColumn {
    head: Line<'static>,
    width: u16,
    is_number: bool,
}

impl GridColumn {
    /// Of text.
    pub fn text(head: &str, width: u16) -> GridColumn {
        GridColumn { head: Line::styled(head.to_owned(), theme::HEAD), width, is_number: false }
    }

    /// Of numbers, which are aligned to the right.
    pub fn number(head: &str, width: u16) -> GridColumn {
        GridColumn { is_number: true, ..GridColumn::text(head, width) }
    }

    /// With its head in this style.
    pub fn styled(mut self, style: Style) -> GridColumn {
        self.head = self.head.patch_style(style);
        self
    }

    /// Its width.
    pub fn width(&self) -> u16 {
        self.width
    }
}

/// A table.
#[derive(Debug, Clone, Default)]
pub struct Grid {
    /// From left to right.
    pub columns: Vec<GridColumn>,
    /// A cell for each column; if there are fewer, the last one gets the space that is left.
    pub rows: Vec<Vec<Line<'static>>>,
    /// The row that is marked.
    pub chosen: Option<usize>,
}

impl Grid {
    /// The rows that fit into so many lines, below the head, so that the chosen one is among them.
    pub fn visible(&self, height: u16) -> std::ops::Range<usize> {
        let count = usize::from(height.saturating_sub(1)).min(self.rows.len());
        let first = self.chosen.map_or(0, |chosen| (chosen + 1).saturating_sub(count));
        let first = first.min(self.rows.len() - count);
        first..first + count
    }

    /// Draws head and rows. What does not fit is left out; the last column gets the space that is left.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let area = area.intersection(buffer.area);
        if area.is_empty() {
            return;
        }
        let heads: Vec<_> = self.columns.iter().map(|column| column.head.clone()).collect();
        self.draw_line(&heads, Rect { height: 1, ..area }, buffer);
        for (line, row) in (area.y + 1..area.bottom()).zip(self.visible(area.height)) {
            let place = Rect { y: line, height: 1, ..area };
            self.draw_line(&self.rows[row], place, buffer);
            if self.chosen == Some(row) {
                buffer.set_style(place, theme::CHOSEN);
            }
        }
    }

    fn draw_line(&self, cells: &[Line<'static>], place: Rect, buffer: &mut Buffer) {
        let mut x = place.x;
        let last = self.columns.len().saturating_sub(1);
        for (at, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            if x >= place.right() {
                return;
            }
            let rest = place.right() - x;
            let ends_early = at + 1 == cells.len() && at < last;
            let is_wide = ends_early || at == last && !column.is_number;
            let width = if is_wide { rest } else { column.width.min(rest) };
            let cell = cut(cell, usize::from(width));
            let indent = if column.is_number && !is_wide { width.saturating_sub(cell.width() as u16) } else { 0 };
            buffer.set_line(x + indent, place.y, &cell, width - indent);
            x = x.saturating_add(width).saturating_add(1);
        }
    }
}

/// A line with so many columns at most; an ellipsis stands for what was cut off.
pub fn cut(line: &Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line.clone();
    }
    let mut left = width.saturating_sub(1);
    let mut spans = Vec::new();
    for span in &line.spans {
        let mut kept = String::new();
        for c in span.content.chars() {
            let wide = Span::raw(c.to_string()).width();
            if wide > left {
                spans.push(Span::styled(kept + if width > 0 { "\u{2026}" } else { "" }, span.style));
                return Line { spans, ..line.clone() };
            }
            left -= wide;
            kept.push(c);
        }
        spans.push(Span::styled(kept, span.style));
    }
    Line { spans, ..line.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(grid: &Grid, width: u16, height: u16) -> Vec<String> {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        grid.draw(area, &mut buffer);
        super::super::plain::lines(&buffer)
    }

    #[test]
    fn columns_are_as_wide_as_they_say() {
        let columns = vec![GridColumn::text("NAME", 6), GridColumn::number("OPS", 4), GridColumn::text("REST", 2)];
        let row = |name: &str| [name, "12", "some more"].map(|cell| Line::raw(cell.to_owned())).to_vec();
        let grid = Grid { columns, rows: vec![row("a"), row("much longer")], chosen: None };
        let wanted = ["NAME    OPS REST", "a        12 some more", "much \u{2026}   12 some more", ""];
        assert_eq!(lines(&grid, 30, 4), wanted);
        assert_eq!(lines(&grid, 14, 2), ["NAME    OPS R\u{2026}", "a        12 s\u{2026}"]);
        assert_eq!(lines(&grid, 3, 1), ["NA\u{2026}"]);
    }

    #[test]
    fn the_chosen_row_is_visible() {
        let rows: Vec<_> = (0..10).map(|row| vec![Line::raw(row.to_string())]).collect();
        let grid = |chosen| Grid { columns: vec![GridColumn::text("N", 2)], rows: rows.clone(), chosen };
        assert_eq!(grid(None).visible(5), 0..4);
        assert_eq!(grid(Some(3)).visible(5), 0..4);
        assert_eq!(grid(Some(4)).visible(5), 1..5);
        assert_eq!(grid(Some(9)).visible(5), 6..10);
        assert_eq!(grid(Some(20)).visible(5), 6..10);
        assert_eq!(grid(Some(3)).visible(0), 4..4);
        assert_eq!(grid(Some(0)).visible(50), 0..10);
    }

    #[test]
    fn wide_characters_are_not_halved() {
        let line = Line::raw("a\u{6771}\u{4eac}b".to_owned());
        let texts: Vec<_> = (0..=6).map(|width| cut(&line, width).to_string()).collect();
        assert_eq!(
            texts,
            ["", "\u{2026}", "a\u{2026}", "a\u{2026}", "a\u{6771}\u{2026}", "a\u{6771}\u{2026}", "a\u{6771}\u{4eac}b"]
        );
    }
}
