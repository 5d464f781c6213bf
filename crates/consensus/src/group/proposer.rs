//! Proposes the owner's batches, one at a time until it is accepted.
//!
//! Accepted: the log's append has seen it. Refused: openraft said that it was never appended. Commits go on behind, as
//! many as the owner keeps open. So the batches of an epoch enter the log in the order of their sequence and without
//! holes: the next one is not proposed before this one is in the log.
//!
//! While the log's queue is full nothing is proposed: the Raft core must not wait for the disk, so this does. Batches
//! then wait with the owner, which has bounds of its own.
//!
//! A refused batch is proposed again only while the epoch stands and the refusal was for lack of a recent answer from a
//! quorum; after any other refusal every later batch of the epoch is dropped too, so that no hole can arise. What
//! becomes of dropped batches, and of accepted ones when leadership is lost, shows in the log: the owner reads it
//! there.

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

/// Before a batch that found no quorum is proposed again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// What became of a proposal, as far as proposing goes.
#[derive(Debug, PartialEq, Eq)]
enum Proposed {
    Accepted,
    Refused,
    Stopped,
}

/// Proposes until the group stops.
pub(crate) async fn run(group: Arc<Group>, log: Log) {
    // The epoch of which a batch was refused for good.
    let mut broken: Option<Epoch> = None;
    // What is proposed twice by mistake: `Plant::AppliedTwice`.
    let mut planted: Option<Proposal> = None;
    loop {
        let Some(proposal) = group.driver.next_proposal() else {
            tokio::select! {
                biased;
                () = group.until_stopped() => return,
                () = group.driver.proposed() => continue,
            }
        };
        if !log.has_room() {
            tokio::select! {
                biased;
                () = group.until_stopped() => return,
                () = log.room() => {}
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
            // Nobody listens once it was accepted.
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
