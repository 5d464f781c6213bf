//! What a connection's command waits for.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use fastness_shard::{KeyWaiter, Shard, WaitAnswer, WaitEnd, WaitRequest};

use super::clients::{Client, Unblock};

/// What a command that waits is waiting for.
pub(super) enum Blocked {
    /// The log is behind, leadership is being handed over, the lease has lapsed, writes are slowed, clients are paused,
    /// or its keys have nothing for it: the command will be run again.
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

/// A wait for keys, until the command must run again: one of its keys may have a value, its time is over, or CLIENT
/// UNBLOCK.
pub(super) async fn wait_for_keys(shard: Shard, client: Rc<Client>, waiter: Rc<KeyWaiter>) {
    let how = tokio::select! {
        biased;
        how = client.unblock_requested() => how,
        () = waiter.clone().ready() => return,
    };
    let end = match how {
        Unblock::TimedOut => WaitEnd::TimedOut,
        Unblock::Error => WaitEnd::UnblockedWithError,
    };
    shard.end_key_wait(&waiter, end);
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
