//! The help: keys and columns. Fits a screen of 80 columns and 24 rows.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Clear, Paragraph, Widget, Wrap};

const TEXT: &str = "\
q quit   \u{2191}\u{2193} choose a shard   Tab \u{2190}\u{2192} choose a panel   p pause   ? help
A figure that was not observed is -.

Roles    PRIMARY leads with a lease; leader has none, so it serves nothing;
         loading has not caught up; learner has no vote.
         In narrow columns: P, L, l, n; r replica, s stopped, X down.
LAG      age of the oldest acknowledged write that has not committed, and
         its bound. async refuses writes at the bound, the red line, and
         slows them before (yellow). In sync there is no lag.
P50 P99  time from the first effect of a batch to its commit, since the
         last sample: upper bounds, which are powers of 2.
QM       quorum margin: how many voters could fail before no write
         commits. Negative: so many more are needed.
OPS/S    commands per second, of all replicas together.
MEM MAX  memory that counts against maxmemory, and maxmemory.
Slots    those of the primary with the most keys.
Slow     the newest entries of SLOWLOG, without their arguments.
DOWN     does not answer. `seen`: when it last did; `lost by its peers`:
         when other nodes lost it.";

/// Its size with a border.
const WIDTH: u16 = 78;
const HEIGHT: u16 = 22;

/// Draws it over what is there.
pub fn draw(area: Rect, buffer: &mut Buffer) {
    let (width, height) = (area.width.min(WIDTH), area.height.min(HEIGHT));
    let place = Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height);
    Clear.render(place, buffer);
    let block = Block::bordered().title(" Help ");
    Paragraph::new(TEXT).wrap(Wrap { trim: false }).block(block).render(place, buffer);
}
