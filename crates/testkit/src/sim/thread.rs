//! The thread of one shard on a simulated node, as far as it can stand still: a shard's loop and the connections of its
//! clients share one in production, and consensus has another.

use std::rc::Rc;
use std::task::ready;
use std::time::Duration;

use fastness_types::ShardId;

use crate::sim::node::SimNode;

/// How often what stands still looks whether it may go on.
const LOOK: Duration = Duration::from_millis(1);

/// Does the work, but for the time in which the shard's thread stands still.
pub async fn on_thread_of<T>(node: Rc<SimNode>, shard: ShardId, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut look = None;
    let stands_still = || node.stuck.get() == Some(shard);
    std::future::poll_fn(move |cx| {
        while stands_still() {
            let sleep = look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            ready!(sleep.as_mut().poll(cx));
            look = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}
