//! The progress bar, on standard error if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::tally::Tally;

/// How often it is drawn again while nothing happens.
const TICK: Duration = Duration::from_millis(500);
/// The bar takes what is left of the terminal's width: a line that is wrapped cannot be drawn again in its place.
const WITH_TOTAL: &str = "{wide_bar} {percent:>3} %  {bytes}/{total_bytes}  {bytes_per_sec}  {msg}  {eta} left";
const WITHOUT_TOTAL: &str = "{spinner} {bytes}  {bytes_per_sec}  {msg}";

/// How far the input has been sent.
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows the bar. `total`: the length of the input, if it is known.
    #[must_use]
    pub fn start(total: Option<u64>) -> Progress {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), WITH_TOTAL),
            None => (ProgressBar::new_spinner(), WITHOUT_TOTAL),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Progress(bar)
    }

    /// Everything before this position of the input has been answered.
    pub fn show(&self, position: Option<u64>, tally: &Tally) {
        if let Some(position) = position {
            self.0.set_position(position);
        }
        let failed = tally.errors + tally.unknown;
        let failures = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        self.0.set_message(format!("{} answered{failures}", tally.replies));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid_and_the_bar_follows() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        let progress = Progress::start(Some(100));
        let tally = Tally { replies: 7, errors: 1, ..Tally::default() };
        progress.show(Some(40), &tally);
        progress.show(None, &tally);
        assert_eq!((progress.0.position(), progress.0.message().as_str()), (40, "7 answered, 1 failed"));
    }
}
