//! Which durability mode was in force on a shard, and when: its primary is asked several times a second. A write was
//! made in `sync` if the mode was seen before it was sent and after it was acknowledged, and no other one in between.
//! (A mode that is left and entered again between two questions is not noticed.)

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastness_resp::value::Value;

/// Bound on the remembered spans of one shard.
const SPANS_MAX: usize = 1024;

/// What a primary answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeAnswer {
    /// sync, async, disabled, or none: the server has no modes.
    pub mode: String,
    /// `durability-max-lag`.
    pub bound: Option<Duration>,
    /// Whether the node is the primary with a lease. A server without modes is believed.
    pub leads: bool,
}

impl ModeAnswer {
    /// Reads the reply to `INFO durability`.
    #[must_use]
    pub fn parse(reply: &Value) -> Option<ModeAnswer> {
        let Value::Bulk(text) = reply else { return None };
        let text = std::str::from_utf8(text).ok()?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        let Some(mode) = field("durability") else {
            return Some(ModeAnswer { mode: "none".to_owned(), bound: None, leads: true });
        };
        let bound = field("durability_max_lag_ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        let leads = field("durability_lease_held").as_deref() == Some("1");
        Some(ModeAnswer { mode, bound, leads })
    }
}

#[derive(Debug)]
struct Span {
    mode: String,
    from: Instant,
    until: Instant,
}

/// The modes of one shard.
#[derive(Debug, Default)]
pub struct Modes {
    spans: VecDeque<Span>,
}

impl Modes {
    /// Records that this mode was in force at a moment between `asked` and `answered`.
    pub fn seen(&mut self, mode: &str, asked: Instant, answered: Instant) {
        match self.spans.back_mut() {
            Some(span) if span.mode == mode => span.until = asked,
            _ => {
                if self.spans.len() >= SPANS_MAX {
                    self.spans.pop_front();
                }
                self.spans.push_back(Span { mode: mode.to_owned(), from: answered, until: answered });
            }
        }
    }

    /// Whether `sync` was in force from `sent` to `at`.
    #[must_use]
    pub fn was_sync(&self, sent: Instant, at: Instant) -> bool {
        self.spans.iter().any(|span| span.mode == "sync" && span.from <= sent && at <= span.until)
    }

    /// All modes that were seen.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.spans.iter().map(|span| span.mode.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_around_a_switch_was_not_made_in_sync() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut modes = Modes::default();
        for at in [0, 100, 200] {
            modes.seen("sync", ms(at), ms(at + 5));
        }
        modes.seen("async", ms(300), ms(305));
        modes.seen("sync", ms(400), ms(405));
        modes.seen("sync", ms(500), ms(505));
        assert!(modes.was_sync(ms(10), ms(150)) && modes.was_sync(ms(410), ms(420)));
        for (sent, at) in [(1, 10), (150, 250), (290, 410), (450, 600), (310, 320)] {
            assert!(!modes.was_sync(ms(sent), ms(at)), "{sent} to {at}");
        }
        assert_eq!(modes.all().collect::<Vec<_>>(), ["sync", "async", "sync"]);
    }

    #[test]
    fn the_answer_of_a_server_without_modes_is_none() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let text = "# Durability\r\ndurability:async\r\ndurability_max_lag_ms:10000\r\ndurability_lease_held:1\r\n";
        let answer = ModeAnswer { mode: "async".into(), bound: Some(Duration::from_secs(10)), leads: true };
        assert_eq!(ModeAnswer::parse(&bulk(text)), Some(answer));
        assert_eq!(ModeAnswer::parse(&bulk("")).unwrap().mode, "none");
        assert_eq!(ModeAnswer::parse(&Value::Null), None);
    }
}
