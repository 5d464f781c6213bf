//! How often the loop of a replica's thread has gone through its events, and how long it was busy with them: figures of
//! the runtime that drives it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// What a loop has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoopFigures {
    /// How often it has asked the system for events.
    pub cycles: u64,
    /// How long it ran between two such calls, all of them together.
    pub busy: Duration,
}

impl LoopFigures {
    /// Those of the runtime that drives this thread, since it was made; zeros outside of one.
    fn now() -> LoopFigures {
        let Ok(handle) = Handle::try_current() else { return LoopFigures::default() };
        let metrics = handle.metrics();
        // A loop's runtime has one thread.
        LoopFigures { cycles: metrics.worker_park_count(0), busy: metrics.worker_total_busy_duration(0) }
    }

    fn since(self, earlier: LoopFigures) -> LoopFigures {
        LoopFigures { cycles: self.cycles.saturating_sub(earlier.cycles), busy: self.busy.saturating_sub(earlier.busy) }
    }

    /// The time of one cycle on average, microseconds.
    #[must_use]
    pub fn micros_each(self) -> u64 {
        self.busy.as_micros() as u64 / self.cycles.max(1)
    }
}

/// The loop of one replica, with its rates. On the loop's thread.
#[derive(Default)]
pub struct EventLoop {
    /// What it had done when counting started.
    from: Cell<LoopFigures>,
    /// The newest sample.
    sampled: Cell<Option<(Instant, LoopFigures)>>,
    /// Between the two newest samples.
    newest: Cell<(Duration, LoopFigures)>,
}

impl EventLoop {
    /// What it has done since counting started.
    #[must_use]
    pub fn total(&self) -> LoopFigures {
        LoopFigures::now().since(self.from.get())
    }

    /// Cycles per second, and the time of one on average in microseconds, between the two newest samples.
    #[must_use]
    pub fn rates(&self) -> (u64, u64) {
        let (span, figures) = self.newest.get();
        let seconds = span.as_secs_f64().max(1e-3);
        ((figures.cycles as f64 / seconds) as u64, figures.micros_each())
    }

    /// Takes a sample. About once a second.
    pub fn sample(&self) {
        let (now, figures) = (Instant::now(), LoopFigures::now());
        if let Some((then, before)) = self.sampled.replace(Some((now, figures))) {
            self.newest.set((now.duration_since(then), figures.since(before)));
        }
    }

    /// Starts to count anew.
    pub fn reset(&self) {
        self.from.set(LoopFigures::now());
        self.newest.set(Default::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_counts_its_cycles() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let figures = EventLoop::default();
        assert_eq!(figures.total(), LoopFigures::default());
        runtime.block_on(async {
            figures.sample();
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            figures.sample();
            assert!(figures.total().cycles >= 5, "{:?}", figures.total());
            assert!(figures.rates().0 >= 1, "{:?}", figures.rates());
            figures.reset();
            assert_eq!((figures.total().cycles, figures.rates()), (0, (0, 0)));
        });
    }
}
