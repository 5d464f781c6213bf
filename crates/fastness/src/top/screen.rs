//! The terminal as a screen, which is given back however the program ends: at the end, after an error, after a signal
//! (`live.rs` turns signals into an end), and after a panic.

use std::io::{IsTerminal, stdout};

use anyhow::{Context, Result, ensure};
use ratatui::DefaultTerminal;

use super::draw::Scene;

/// The screen.
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal.
    pub fn open() -> Result<Screen> {
        ensure!(
            stdout().is_terminal(),
            "standard output is not a terminal: `fastness top --once` prints one frame as text"
        );
        // This also lets a panic restore the terminal before it is reported.
        match ratatui::try_init() {
            Ok(terminal) => Ok(Screen { terminal }),
            Err(error) => {
                // It may have been taken in part.
                let _ = ratatui::try_restore();
                Err(error).context("the terminal cannot show a screen")
            }
        }
    }

    /// Draws a frame.
    pub fn draw(&mut self, scene: &Scene<'_>) -> Result<()> {
        let drawn = self.terminal.draw(|frame| scene.draw(frame.area(), frame.buffer_mut()));
        drawn.map(drop).context("the terminal cannot be written")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After a panic it is restored already, and the message is on it.
        if !std::thread::panicking() {
            let _ = ratatui::try_restore();
        }
    }
}
