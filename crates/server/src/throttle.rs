//! Log lines that clients can cause as often as they like: one in a while is written, with the number of those that
//! were not.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The usual span between two lines of one kind.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// One kind of log line.
#[derive(Debug, Default)]
pub struct Throttle {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    written: Option<Instant>,
    left_out: u64,
}

impl Throttle {
    /// Whether a line may be written now: `Some` of the lines that were left out since the last one.
    #[must_use]
    pub fn permit(&self) -> Option<u64> {
        self.permit_at(Instant::now())
    }

    fn permit_at(&self, now: Instant) -> Option<u64> {
        let mut seen = self.seen.lock();
        if seen.written.is_some_and(|written| now.duration_since(written) < LINE_EVERY) {
            seen.left_out += 1;
            return None;
        }
        seen.written = Some(now);
        Some(std::mem::take(&mut seen.left_out))
    }
}

/// The kinds of lines of one node that clients can cause.
#[derive(Debug, Default)]
pub struct Throttles {
    /// `maxclients` is reached.
    pub maxclients: Throttle,
    /// A source has opened too many connections.
    pub sources: Throttle,
    /// A connection could not be accepted.
    pub accept: Throttle,
    /// A client speaks HTTP.
    pub http: Throttle,
    /// A connection was closed because its client does not read.
    pub unread: Throttle,
    /// A connection was closed because it sent more than may wait to be executed.
    pub query: Throttle,
    /// A connection was closed because all of them took too much.
    pub evicted: Throttle,
    /// A connection was closed because the log did not make progress.
    pub held: Throttle,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_tells_of_the_others() {
        let throttle = Throttle::default();
        let began = Instant::now();
        assert_eq!(throttle.permit_at(began), Some(0));
        assert_eq!(throttle.permit_at(began + LINE_EVERY / 2), None);
        assert_eq!(throttle.permit_at(began + LINE_EVERY / 2), None);
        assert_eq!(throttle.permit_at(began + LINE_EVERY), Some(2));
        assert_eq!(throttle.permit_at(began + 2 * LINE_EVERY), Some(0));
    }
}
