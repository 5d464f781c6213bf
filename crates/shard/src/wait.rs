//! WAIT and WAITAOF: how many copies of a connection's writes are on stable storage.
//!
//! Counted are replicas that hold the last write's log entry on stable storage, as the group's leader knows it. The
//! entry's index is known once it has committed; until then nothing is counted, so an answer is never too high.
//!
//! Asking closes the open batch at the end of the turn: who waits for a copy does not wait for company.

use std::rc::Rc;
use std::time::Duration;

use fastness_engine::command::CommandSpec;
use fastness_resp::Args;
use fastness_types::{Durability, LogIndex};

use crate::outcome::{Hold, WaitAnswer, WaitRequest};
use crate::release::{Released, Waiter};
use crate::session::Session;
use crate::shard::Inner;
use crate::state::{SeenRole, State};

/// The first pause between two looks at the replicas' positions.
const LOOK_FIRST: Duration = Duration::from_micros(250);
/// The longest pause between two looks.
const LOOK_MAX: Duration = Duration::from_millis(5);
/// How often the role is looked at while a commit is awaited.
const ROLE_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Checks the arguments of WAIT or WAITAOF; on refusal gives Valkey's text.
pub(crate) fn parse(
    spec: &CommandSpec,
    args: Args<'_>,
    session: &Session,
    state: &State,
) -> Result<WaitRequest, String> {
    let is_aof = spec.name.eq_ignore_ascii_case("waitaof");
    let (local, replicas_at) = if is_aof { (Some(local_copies(args.get(1))?), 2) } else { (None, 1) };
    let replicas = number(args.get(replicas_at)).ok_or("ERR value is not an integer or out of range")?;
    if is_aof && replicas < 0 {
        return Err("ERR value is out of range, must be positive".into());
    }
    let timeout = number(args.get(replicas_at + 1)).ok_or("ERR timeout is not an integer or out of range")?;
    let timeout = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
    if matches!(state.role, SeenRole::Follower { .. }) {
        return Err(replica_text(is_aof));
    }
    Ok(WaitRequest {
        written: session.written,
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

/// Where a connection's last write is.
enum Target {
    /// In the log at this index; 0: there is no write.
    At(LogIndex),
    /// Staged.
    NotCommitted(Hold),
    /// Undone, or nobody knows any more.
    Lost,
}

impl State {
    fn wait_target(&self, request: &WaitRequest) -> Target {
        let Some(written) = request.written else { return Target::At(LogIndex(0)) };
        match &self.leader {
            Some(leader) if leader.tenure == written.tenure && written.seq <= leader.committed => {
                Target::At(leader.index_of(written.seq))
            }
            Some(leader) if leader.tenure == written.tenure => Target::NotCommitted(Hold {
                tenure: written.tenure,
                seq: written.seq,
                durability: Durability::Sync,
                wrote: true,
            }),
            _ => self.ended.committed_by(written.tenure, written.seq).map_or(Target::Lost, Target::At),
        }
    }

    fn has_lost_its_role(&self) -> bool {
        !matches!(self.role, SeenRole::Leader { .. })
    }
}

/// The answer as it is now, as inside of EXEC.
pub(crate) fn now(inner: &Rc<Inner>, state: &State, request: &WaitRequest) -> WaitAnswer {
    let (local, replicas) = match state.wait_target(request) {
        Target::At(index) => (u64::from(inner.copies.local(index)), inner.copies.replicas(index)),
        Target::NotCommitted(_) | Target::Lost => (0, 0),
    };
    match request.local {
        Some(_) => WaitAnswer::LocalAndReplicas(local, replicas),
        None => WaitAnswer::Replicas(replicas),
    }
}

fn is_enough(request: &WaitRequest, answer: WaitAnswer) -> bool {
    match answer {
        WaitAnswer::Replicas(replicas) => replicas >= request.replicas,
        WaitAnswer::LocalAndReplicas(local, replicas) => {
            local >= request.local.unwrap_or(0) && replicas >= request.replicas
        }
        WaitAnswer::Unblocked | WaitAnswer::AskedToEnd => true,
    }
}

/// Waits until enough copies are there, or for the time-out.
pub(crate) async fn wait(inner: &Rc<Inner>, request: WaitRequest) -> WaitAnswer {
    let deadline = request.timeout.map(|timeout| inner.clock.boot().plus(timeout));
    let waiter = Rc::new(Waiter::default());
    let mut pause = LOOK_FIRST;
    loop {
        let (answer, target) = {
            let state = inner.state.borrow();
            if state.has_lost_its_role() {
                return WaitAnswer::Unblocked;
            }
            (now(inner, &state, &request), state.wait_target(&request))
        };
        if is_enough(&request, answer) {
            return answer;
        }
        let left = match deadline {
            Some(deadline) if deadline <= inner.clock.boot() => return answer,
            Some(deadline) => deadline.since(inner.clock.boot()),
            None => Duration::MAX,
        };
        match target {
            Target::Lost => return WaitAnswer::Unblocked,
            Target::NotCommitted(hold) => {
                let released = Released { inner: inner.clone(), waiter: waiter.clone(), hold };
                tokio::select! {
                    biased;
                    () = released => {}
                    () = inner.pause.pause(left.min(ROLE_LOOK_EVERY)) => {}
                }
            }
            Target::At(_) => {
                inner.pause.pause(pause.min(left)).await;
                pause = (pause * 2).min(LOOK_MAX);
            }
        }
    }
}
