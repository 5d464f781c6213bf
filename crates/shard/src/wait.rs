//! WAIT and WAITAOF: how many copies of a connection's writes are on stable storage.
//!
//! Counted are replicas that hold the last write's log entry on stable storage, as the group's leader knows it. The
//! entry's index is known once it has committed; until then nothing is counted, so an answer is never too high.
//!
//! Asking closes the open batch at the end of the turn: who waits for a copy does not wait for company.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use fastness_engine::command::SessionCommand;
use fastness_resp::Args;

use crate::inner::Inner;
use crate::outcome::{WaitAnswer, WaitRequest, WrittenAt};
use crate::role::SeenRole;
use crate::waits::Waiting;

/// Checks the arguments of WAIT or WAITAOF; on refusal gives Valkey's text.
pub(crate) fn parse(
    command: SessionCommand,
    args: Args<'_>,
    written: Option<WrittenAt>,
    role: &SeenRole,
) -> Result<WaitRequest, String> {
    let is_aof = command == SessionCommand::Waitaof;
    let (local, replicas_at) = if is_aof { (Some(local_copies(args.get(1))?), 2) } else { (None, 1) };
    let replicas = number(args.get(replicas_at)).ok_or("ERR value is not an integer or out of range")?;
    if is_aof && replicas < 0 {
        return Err("ERR value is out of range, must be positive".into());
    }
    let timeout = number(args.get(replicas_at + 1)).ok_or("ERR timeout is not an integer or out of range")?;
    let timeout = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
    if role.is_follower() {
        return Err(replica_text(is_aof));
    }
    Ok(WaitRequest {
        written,
        local,
        replicas: u64::try_from(replicas).unwrap_or(0),
        timeout: (timeout > 0).then(|| Duration::from_millis(timeout)),
    })
}

/// Valkey's texts, which differ.
fn replica_text(is_aof: bool) -> String {
    if is_aof {
        "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and \
         are not propagated."
            .into()
    } else {
        "ERR WAIT cannot be used with replica instances. Please also note that if a replica is configured to be \
         writable (which is not the default) writes to replicas are just local and are not propagated."
            .into()
    }
}

fn local_copies(arg: &[u8]) -> Result<u64, String> {
    match number(arg) {
        Some(count @ 0..=1) => Ok(count as u64),
        _ => Err("ERR value is out of range, value must between 0 and 1".into()),
    }
}

fn number(arg: &[u8]) -> Option<i64> {
    std::str::from_utf8(arg).ok()?.parse().ok()
}

/// Waits until there are enough copies, or for the time-out.
pub(crate) async fn wait(inner: &Rc<Inner>, request: WaitRequest) -> WaitAnswer {
    let started = inner.state.borrow_mut().start_wait(&inner.edges, request);
    match started {
        Ok(waiting) => {
            // The loop sets its timer, and follows the acknowledgements.
            inner.edges.work.notify_one();
            Answer { inner: inner.clone(), waiting }.await
        }
        Err(answer) => answer,
    }
}

/// Resolves with the answer. Whoever drops it waits no longer.
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
