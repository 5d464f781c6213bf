//! The grammar of values: words with quotes, numbers, sizes, spans, yes and no.

use std::time::Duration;

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Outside what the option takes.
    #[error("expected {expected}, not '{found}'")]
    Expected {
        /// The option's range, as documented.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A percentage over 100, in Valkey's words.
    #[error("percentage argument must be less or equal to 100")]
    PercentTooLarge,
    /// A class of keyspace notifications that does not exist, in Valkey's words.
    #[error("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")]
    EventClass,
    /// The option belongs to Valkey and has one value here.
    #[error("is always '{0}' here")]
    Fixed(&'static str),
}

/// Cuts a line into words as valkey.conf has them: blanks separate, quotes join; `None` if quotes do not match.
pub(super) fn split(line: &str) -> Option<Vec<String>> {
    let mut spans = fastness_resp::ArgSpans::new();
    let text = format!("{line}\n");
    // The same grammar as inline commands: both are Valkey's `sdssplitargs`. A line that starts with `*` is none.
    if line.starts_with('*') {
        return Some(line.split_whitespace().map(str::to_owned).collect());
    }
    match fastness_resp::request::parse(text.as_bytes(), &mut spans, &fastness_resp::Limits::DEFAULT) {
        Ok(fastness_resp::Parsed::Complete { .. }) => {
            let args = spans.args(text.as_bytes());
            Some(args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect())
        }
        _ => None,
    }
}

/// A size in bytes: `100`, `1k` (1000), `1kb` (1024), `m`, `mb`, `g`, `gb`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let unit: u64 = match &lower[digits..] {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    lower[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

/// A span: a number in the option's own unit, or with `ms`, `s`, `m`, `h`.
pub(super) fn span(text: &str, unit: Duration) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "" => unit,
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3_600),
        _ => return None,
    };
    unit.checked_mul(text[..digits].parse().ok()?)
}

/// The same span the other way: without a unit if it is whole in the option's own.
pub(super) fn span_text(span: Duration, unit: Duration) -> String {
    if span.as_millis().is_multiple_of(unit.as_millis()) {
        (span.as_millis() / unit.as_millis()).to_string()
    } else {
        format!("{}ms", span.as_millis())
    }
}
