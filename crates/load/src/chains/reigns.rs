//! Which node acknowledged writes of a shard from when to when.
//!
//! A client does not see tenures. A reign is a span in which one node acknowledged without a break: a connection that
//! broke or could not be opened, or an acknowledgement by another node. A superfluous break only makes a loss look
//! shorter, by the acknowledgements that arrive around it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::connection::Endpoint;

/// Bound on the reigns of one shard that are remembered.
const REIGNS_MAX: usize = 1024;
/// Earliest time after which a node that another one has relieved leads again: an election takes longer.
const RELIEVED_MIN: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Reign {
    by: Endpoint,
    first: Instant,
    last: Instant,
    broken: bool,
}

/// The reigns of one shard.
#[derive(Debug, Default)]
pub struct Reigns {
    reigns: VecDeque<Reign>,
}

impl Reigns {
    /// Records an acknowledgement.
    pub fn acknowledged(&mut self, by: &Endpoint, at: Instant) {
        let last = self.reigns.len().saturating_sub(1);
        if let Some((position, reign)) = self.reigns.iter_mut().enumerate().rfind(|(_, reign)| reign.by == *by)
            && !reign.broken
            && (position == last || at.saturating_duration_since(reign.last) < RELIEVED_MIN)
        {
            reign.last = reign.last.max(at);
            return;
        }
        if self.reigns.len() >= REIGNS_MAX {
            self.reigns.pop_front();
        }
        self.reigns.push_back(Reign { by: by.clone(), first: at, last: at, broken: false });
    }

    /// Records that a connection to a node broke or could not be opened.
    pub fn broke(&mut self, by: &Endpoint) {
        if let Some(reign) = self.reigns.iter_mut().rfind(|reign| reign.by == *by) {
            reign.broken = true;
        }
    }

    /// The newest acknowledgement of the reign in which `by` acknowledged something at `at`; `None` if that is
    /// forgotten.
    #[must_use]
    pub fn newest(&self, by: &Endpoint, at: Instant) -> Option<Instant> {
        let reign = self.reigns.iter().rfind(|reign| reign.by == *by && reign.first <= at && at <= reign.last)?;
        Some(reign.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reign_ends_when_another_node_leads_or_a_connection_breaks() {
        let (start, [a, b]) = (Instant::now(), [1, 2].map(|port| Endpoint::new("h", port)));
        let ms = |ms| start + Duration::from_millis(ms);
        let mut reigns = Reigns::default();
        reigns.acknowledged(&a, ms(0));
        reigns.acknowledged(&a, ms(100));
        reigns.acknowledged(&b, ms(110));
        reigns.acknowledged(&a, ms(120));
        assert_eq!(reigns.newest(&a, ms(50)), Some(ms(120)), "a late acknowledgement of the one before");
        reigns.acknowledged(&a, ms(900));
        assert_eq!(reigns.newest(&a, ms(50)), Some(ms(120)));
        assert_eq!(reigns.newest(&a, ms(900)), Some(ms(900)));
        reigns.broke(&a);
        reigns.acknowledged(&a, ms(950));
        assert_eq!(reigns.newest(&a, ms(900)), Some(ms(900)));
        assert_eq!(reigns.newest(&b, ms(500)), None);
    }

    #[test]
    fn the_number_of_reigns_is_bounded() {
        let (start, mut reigns) = (Instant::now(), Reigns::default());
        for port in 1..2_000 {
            reigns.acknowledged(&Endpoint::new("h", port), start);
        }
        assert_eq!(reigns.reigns.len(), REIGNS_MAX);
    }
}
