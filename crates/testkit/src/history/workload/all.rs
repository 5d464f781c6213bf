//! The list of workloads.

use std::sync::Arc;

use super::{Workload, append, bank, board, copies, counter, lives, pair, queue, register, set, stream};
use crate::history::run::HistoryOptions;

/// All workloads of one group.
pub(crate) fn all(options: &HistoryOptions, group: u32) -> Vec<Arc<dyn Workload>> {
    let name = |workload: &str| format!("{}{workload}:g{group}", options.prefix);
    vec![
        Arc::new(register::Registers::new(&name("register"))),
        Arc::new(counter::Counters::new(&name("counter"))),
        Arc::new(set::Sets::new(&name("set"))),
        Arc::new(bank::Banks::new(&name("bank"))),
        Arc::new(pair::WatchedPairs::new(&name("watch"))),
        Arc::new(append::GrowingLists::new(&name("append"))),
        Arc::new(lives::KeysWithDeadlines::new(&name("ttl"))),
        Arc::new(copies::Copies::new(&name("copies"))),
        Arc::new(queue::Queues::new(&name("queue"))),
        Arc::new(board::Boards::new(&name("board"))),
        Arc::new(stream::Streams::new(&name("stream"))),
    ]
}
