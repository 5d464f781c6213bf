//! What a connection's command waits for.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use fastness_shard::{Shard, WaitAnswer, WaitRequest};

use super::clients::{Client, Unblock};

/// What a command that waits is waiting for.
pub(super) enum Blocked {
    /// The log is behind, leadership is being handed over, the lease has lapsed, writes are slowed, or clients are
    /// paused: the command will be run again.
    Busy(Pin<Box<dyn Future<Output = ()>>>),
    /// WAIT or WAITAOF.
    Wait(Pin<Box<dyn Future<Output = WaitAnswer>>>),
}

/// WAIT or WAITAOF, until its end or CLIENT UNBLOCK.
pub(super) async fn wait(shard: Shard, client: Rc<Client>, request: WaitRequest) -> WaitAnswer {
    let how = tokio::select! {
        biased;
        answer = shard.wait(request) => return answer,
        how = client.unblock_requested() => how,
    };
    match how {
        Unblock::TimedOut => shard.wait(request.at_once()).await,
        Unblock::Error => WaitAnswer::UnblockedWithError,
    }
}

/// Resolves when the command may go on: with its answer, if it was WAIT.
pub(super) async fn unblocked(blocked: &mut Option<Blocked>) -> Option<WaitAnswer> {
    match blocked {
        Some(Blocked::Busy(busy)) => {
            busy.await;
            None
        }
        Some(Blocked::Wait(wait)) => Some(wait.await),
        None => std::future::pending().await,
    }
}
