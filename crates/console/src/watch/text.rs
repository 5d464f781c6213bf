//! Figures as short texts.

use std::time::{Duration, UNIX_EPOCH};

/// What stands for a figure that was not observed.
pub const NONE: &str = "-";

/// A figure as text, or [`NONE`].
pub fn or_none<T>(figure: Option<T>, text: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| NONE.to_owned(), text)
}

/// A number of at most four characters before its unit: two digits after the point below 10 units, one below 100.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let (size, unit) = units.iter().rev().find(|(size, _)| value >= *size).unwrap_or(&units[0]);
    let scaled = value / size;
    let digits = match scaled {
        _ if *size <= 1.0 => 0,
        scaled if scaled < 9.995 => 2,
        scaled if scaled < 99.95 => 1,
        _ => 0,
    };
    let number = format!("{scaled:.digits$}");
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number.as_str() };
    format!("{number}{unit}")
}

/// A span in microseconds: `850us`, `1.25ms`, `10s`, `3m`.
pub fn span(us: u64) -> String {
    match us {
        0 => "0".to_owned(),
        us if us < 60_000_000 => scaled(us as f64, &[(1.0, "us"), (1e3, "ms"), (1e6, "s")]),
        us => age(us / 1_000),
    }
}

/// An age or a duration in ms, in its largest unit: `12s`, `3m`, `2h`, `4d`.
pub fn age(ms: u64) -> String {
    match ms / 1_000 {
        s if s < 60 => format!("{s}s"),
        s if s < 3_600 => format!("{}m", s / 60),
        s if s < 86_400 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

/// A number: `0`, `999`, `1.25k`, `34k`.
pub fn number(value: f64) -> String {
    scaled(value, &[(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G")])
}

/// A rate per second; below 10 with a digit after the point, so that a rare event is not shown as none.
pub fn rate(value: f64) -> String {
    if value > 0.0 && value < 9.95 { format!("{value:.1}") } else { number(value.round()) }
}

/// A number of bytes: `512B`, `1.5K`, `340M`.
pub fn bytes(value: u64) -> String {
    scaled(
        value as f64,
        &[(1.0, "B"), (1024.0, "K"), (1_048_576.0, "M"), (1_073_741_824.0, "G"), (1_099_511_627_776.0, "T")],
    )
}

/// The time of day in UTC of a time in ms since the Unix epoch: `14:03:07`.
pub fn clock(at_ms: u64) -> String {
    let at = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at_ms)).to_string();
    at.get(11..19).unwrap_or(NONE).to_owned()
}

/// A text of the cluster without control characters, which a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{b7}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let spans = [0, 999, 1_000, 1_250, 12_345, 999_400, 1_500_000, 10_000_000, 61_000_000, 7_200_000_000];
        let spans: Vec<_> = spans.into_iter().map(span).collect();
        assert_eq!(spans, ["0", "999us", "1ms", "1.25ms", "12.3ms", "999ms", "1.5s", "10s", "1m", "2h"]);
        let numbers: Vec<_> = [0.0, 7.0, 999.0, 1_000.0, 1_234.0, 34_000.0, 2_500_000.0].map(number).into();
        assert_eq!(numbers, ["0", "7", "999", "1k", "1.23k", "34k", "2.5M"]);
        assert_eq!([0.0, 0.2, 9.9, 10.4, 1_500.0].map(rate), ["0", "0.2", "9.9", "10", "1.5k"]);
        assert_eq!([0, 512, 1_536, 356_515_840].map(bytes), ["0B", "512B", "1.5K", "340M"]);
        assert_eq!([0, 59_999, 60_000, 3_600_000, 86_400_000].map(age), ["0s", "59s", "1m", "1h", "1d"]);
        assert_eq!(clock(86_400_000 + 50_587_000), "14:03:07");
        assert_eq!(or_none(None, bytes), "-");
    }

    #[test]
    fn a_terminal_obeys_nothing_that_a_cluster_says() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{b7}[2Jb\u{b7}");
    }
}
