//! The thread of one shard on a simulated node. In production a shard's loop and the connections of its clients share a
//! thread, and consensus runs on another one; so a fault can stall the former while the latter continues.

use std::rc::Rc;
use std::task::ready;
use std::time::Duration;

use fastness_types::ShardId;

use crate::sim::node::SimNode;

/// Interval at which a stalled thread checks whether it may resume.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Runs `work`, except while the shard's thread is stalled.
pub async fn on_thread_of<T>(node: Rc<SimNode>, shard: ShardId, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut poll = None;
    let is_stalled = || node.stuck.get() == Some(shard);
    std::future::poll_fn(move |cx| {
        while is_stalled() {
            let sleep = poll.get_or_insert_with(|| Box::pin(tokio::time::sleep(POLL_INTERVAL)));
            ready!(sleep.as_mut().poll(cx));
            poll = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}
