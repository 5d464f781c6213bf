//! What the user has chosen to see, and the keys by which that is done.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A part of the screen below the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Panel {
    /// Events of all nodes.
    #[default]
    Events,
    /// The lag of the chosen shard over time.
    Lag,
    /// The replicas of the chosen shard.
    Replicas,
    /// The slots of the chosen shard with the most keys.
    Slots,
    /// Slow commands.
    Slow,
}

impl Panel {
    /// All, in the order in which Tab visits them.
    pub const ALL: [Panel; 5] = [Panel::Events, Panel::Lag, Panel::Replicas, Panel::Slots, Panel::Slow];

    /// As a word.
    pub fn name(self) -> &'static str {
        match self {
            Panel::Events => "Events",
            Panel::Lag => "Lag",
            Panel::Replicas => "Replicas",
            Panel::Slots => "Slots",
            Panel::Slow => "Slow commands",
        }
    }

    fn at(self, steps: usize) -> Panel {
        let place = Panel::ALL.iter().position(|panel| *panel == self).unwrap_or(0);
        Panel::ALL[(place + steps) % Panel::ALL.len()]
    }
}

/// What is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choice {
    /// The shard, by its place in the table.
    pub shard: usize,
    /// The panel.
    pub panel: Panel,
    /// Whether the figures stay as they are.
    pub is_paused: bool,
    /// Whether the help is shown.
    pub shows_help: bool,
}

impl Choice {
    /// Obeys a key; false: the program is to end. `shards`: how many there are.
    pub fn press(&mut self, key: KeyEvent, shards: usize) -> bool {
        if key.kind == KeyEventKind::Release {
            return true;
        }
        let last = shards.saturating_sub(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('q') => return false,
            KeyCode::Esc if self.shows_help => self.shows_help = false,
            KeyCode::Char('?' | 'h') => self.shows_help = !self.shows_help,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Up => self.shard = self.shard.min(last).saturating_sub(1),
            KeyCode::Down => self.shard = (self.shard + 1).min(last),
            KeyCode::Home => self.shard = 0,
            KeyCode::End => self.shard = last,
            KeyCode::Tab | KeyCode::Right => self.panel = self.panel.at(1),
            KeyCode::BackTab | KeyCode::Left => self.panel = self.panel.at(Panel::ALL.len() - 1),
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_choose() {
        let mut choice = Choice::default();
        let mut press = |code| {
            assert!(choice.press(KeyEvent::new(code, KeyModifiers::NONE), 3));
            (choice.shard, choice.panel, choice.is_paused, choice.shows_help)
        };
        assert_eq!(press(KeyCode::Up), (0, Panel::Events, false, false));
        assert_eq!(press(KeyCode::End), (2, Panel::Events, false, false));
        assert_eq!(press(KeyCode::Down), (2, Panel::Events, false, false));
        assert_eq!(press(KeyCode::Up), (1, Panel::Events, false, false));
        assert_eq!(press(KeyCode::Tab), (1, Panel::Lag, false, false));
        assert_eq!(press(KeyCode::Left), (1, Panel::Events, false, false));
        assert_eq!(press(KeyCode::BackTab), (1, Panel::Slow, false, false));
        assert_eq!(press(KeyCode::Right), (1, Panel::Events, false, false));
        assert_eq!(press(KeyCode::Char('p')), (1, Panel::Events, true, false));
        assert_eq!(press(KeyCode::Char('?')), (1, Panel::Events, true, true));
        assert_eq!(press(KeyCode::Esc), (1, Panel::Events, true, false));
    }

    #[test]
    fn some_keys_end_the_program() {
        let mut choice = Choice::default();
        assert!(!choice.press(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE), 0));
        assert!(!choice.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), 0));
        assert!(choice.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::NONE), 0));
        assert!(choice.press(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE), 0));
        assert_eq!(choice, Choice::default());
    }
}
