//! Proposes the owner's batches, one at a time until it is accepted.
//!
//! A batch is accepted when the log has taken it, and refused when openraft reports that it was not appended. Commits
//! follow later, for as many batches as the owner has in flight. So the batches of an epoch enter the log in the order
//! of their sequence and without holes: the next batch is proposed only after the previous one is in the log.
//!
//! While the log's queue is full nothing is proposed: this task waits for the disk, so that the Raft core does not have
//! to. Meanwhile batches stay with the owner, which has bounds of its own.
//!
//! A refused batch is proposed again only while the epoch lasts, and only if it was refused because a quorum had not
//! answered recently. After any other refusal all later batches of the epoch are dropped too, so that no hole can
//! arise. The owner learns the fate of dropped batches, and of accepted ones after a loss of leadership, from the log.

use std::sync::Arc;
use std::time::Duration;

use fastness_log::Log;
use fastness_types::{Epoch, Plant};
use openraft::errors::{ClientWriteError, ForwardReason};
use openraft::raft::ClientWriteResult;
use tokio::sync::oneshot;

use crate::group::handle::Proposal;
use crate::group::state::Group;
use crate::raft::types::{Batch, Reply, Types};

/// Pause before a batch that was refused for lack of a quorum is proposed again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// The outcome of proposing a batch.
#[derive(Debug, PartialEq, Eq)]
enum Proposed {
    Accepted,
    Refused,
    Stopped,
}

/// Proposes until the group stops.
pub(crate) async fn run(group: Arc<Group>, log: Log) {
    // The epoch in which a batch was finally refused.
    let mut broken: Option<Epoch> = None;
    // The batch that `Plant::AppliedTwice` proposes twice.
    let mut planted: Option<Proposal> = None;
    loop {
        let Some(proposal) = group.driver.next_proposal() else {
            tokio::select! {
                biased;
                () = group.until_stopped() => return,
                () = group.driver.proposed() => continue,
            }
        };
        if !log.has_capacity() {
            tokio::select! {
                biased;
                () = group.until_stopped() => return,
                () = log.wait_for_capacity() => {}
            }
        }
        let epoch = proposal.epoch;
        if broken == Some(epoch) || group.leads() != Some(epoch) {
            continue;
        }
        let again = Plant::AppliedTwice.is_on().then(|| Proposal { payload: proposal.payload.clone(), ..proposal });
        match propose(&group, proposal).await {
            Proposed::Accepted => {
                if let Some(older) = std::mem::replace(&mut planted, again) {
                    propose(&group, older).await;
                }
            }
            Proposed::Refused => broken = Some(epoch),
            Proposed::Stopped => return,
        }
    }
}

async fn propose(group: &Group, proposal: Proposal) -> Proposed {
    let Proposal { epoch, seq, payload } = proposal;
    let Some(raft) = group.raft() else { return Proposed::Refused };
    let mut accepted = group.accepted();
    while group.leads() == Some(epoch) {
        let (reply, replied) = oneshot::channel::<ClientWriteResult<Types>>();
        let reply = Reply::new(move |result| {
            // Nobody waits for it after the acceptance.
            let _ = reply.send(result);
        });
        let batch = Batch { bytes: payload.clone(), seq };
        if raft.write(batch).with_leader(epoch).responder(reply).await.is_err() {
            return Proposed::Stopped;
        }
        if Plant::PipelinedProposals.is_on() {
            return Proposed::Accepted;
        }
        let refused = tokio::select! {
            biased;
            // The sender lives in the group.
            _ = accepted.wait_for(|newest| *newest == Some((epoch, seq))) => return Proposed::Accepted,
            replied = replied => match replied {
                Ok(Ok(_)) => return Proposed::Accepted,
                Ok(Err(refused)) => refused,
                Err(_) => return Proposed::Stopped,
            },
        };
        match refused {
            ClientWriteError::ForwardToLeader(forward) if forward.reason == ForwardReason::LeaseExpired => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            _ => return Proposed::Refused,
        }
    }
    Proposed::Refused
}
