//! WAIT and WAITAOF: how many copies of a connection's writes are on stable storage.
//!
//! The answer counts the replicas that have the log entry of the last write on stable storage, according to the group's
//! leader. The index of the entry is known only once it has committed. Until then the count is 0, so an answer is never
//! too high.
//!
//! WAIT closes the open batch at the end of the turn, so that the client does not wait for writes of other clients.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use fastness_engine::command::SessionCommand;
use fastness_resp::Args;

use crate::inner::Inner;
use crate::outcome::{WaitAnswer, WaitRequest, WrittenAt};
use crate::refusal::WaitRefusal;
use crate::role::SeenRole;
use crate::waits::Waiting;

/// Checks the arguments of WAIT or WAITAOF.
pub(crate) fn parse(
    command: SessionCommand,
    args: Args<'_>,
    written: Option<WrittenAt>,
    role: &SeenRole,
) -> Result<WaitRequest, WaitRefusal> {
    let is_aof = command == SessionCommand::Waitaof;
    let (local, replicas_at) = if is_aof { (Some(local_copies(args.get(1))?), 2) } else { (None, 1) };
    let replicas = number(args.get(replicas_at)).ok_or(WaitRefusal::NotAnInteger)?;
    if is_aof && replicas < 0 {
        return Err(WaitRefusal::Negative);
    }
    let timeout = number(args.get(replicas_at + 1)).ok_or(WaitRefusal::TimeoutNotAnInteger)?;
    let timeout = u64::try_from(timeout).map_err(|_| WaitRefusal::TimeoutNegative)?;
    if role.is_follower() {
        return Err(if is_aof { WaitRefusal::AofOnReplica } else { WaitRefusal::OnReplica });
    }
    Ok(WaitRequest {
        written,
        local,
        replicas: u64::try_from(replicas).unwrap_or(0),
        timeout: (timeout > 0).then(|| Duration::from_millis(timeout)),
    })
}

fn local_copies(arg: &[u8]) -> Result<u64, WaitRefusal> {
    match number(arg) {
        Some(count @ 0..=1) => Ok(count as u64),
        _ => Err(WaitRefusal::NotZeroOrOne),
    }
}

fn number(arg: &[u8]) -> Option<i64> {
    std::str::from_utf8(arg).ok()?.parse().ok()
}

/// Waits until enough copies exist or the time-out expires.
pub(crate) async fn wait(inner: &Rc<Inner>, request: WaitRequest) -> WaitAnswer {
    let started = inner.state.borrow_mut().start_wait(&inner.edges, request);
    match started {
        Ok(waiting) => {
            // The loop sets its timer and subscribes to acknowledgements.
            inner.edges.work.notify_one();
            Answer { inner: inner.clone(), waiting }.await
        }
        Err(answer) => answer,
    }
}

/// A future that resolves with the answer. Dropping it ends the wait.
struct Answer {
    inner: Rc<Inner>,
    waiting: Rc<Waiting>,
}

impl Future for Answer {
    type Output = WaitAnswer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WaitAnswer> {
        self.waiting.poll(cx)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.waiting.is_open() {
            self.inner.state.borrow_mut().replica.waits.remove(&self.waiting);
        }
    }
}
