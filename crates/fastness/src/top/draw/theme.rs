//! Colours. What a colour says is in the text as well.

use ratatui::style::{Color, Modifier, Style};

/// Heads of columns.
pub const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
/// The chosen row or panel.
pub const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
/// What is in order.
pub const GOOD: Style = Style::new().fg(Color::Green);
/// What to look at.
pub const WARNING: Style = Style::new().fg(Color::Yellow);
/// What is wrong.
pub const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
/// What is of less interest.
pub const DIM: Style = Style::new().fg(Color::DarkGray);
/// What is as usual.
pub const PLAIN: Style = Style::new();
