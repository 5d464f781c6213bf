//! openraft's log storage: one group's part of the transaction log.
//!
//! Ordering rules:
//! - The log's queue takes votes, entries and truncations in the order of these calls, and writes them in that order.
//! - `append` returns once entries are readable. The log's writer calls the callback once they are on stable storage.
//!   `save_vote` returns only then.
//! - The group sees every vote before it is stored, and every entry before `append` returns (`group/state.rs`). Roles,
//!   the voters of the lease, and the acceptance of proposals are decided there, in the Raft core's own order.
//! - After a failed write no callback is called. The Raft core must stay alive to hand over leadership, which the node
//!   does when it notices the failure (`consensus.rs`). Meanwhile entries stay readable from memory.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use fail::fail_point;
use fastness_log::{EntryId, GroupLog, GroupState, WriteError};
use fastness_types::{Epoch, NodeId, Plant};
use futures::Stream;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use crate::raft::codec::{self, DecodeError};
use crate::raft::observer::RaftObserver;
use crate::raft::types::{Entry, LogId, Membership, StoredMembership, Types, Vote};

/// Bytes that one read returns at most, unless a single entry is larger. One append request carries as much.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Log storage of one group. Cheap to clone; readers are clones.
#[derive(Clone)]
pub(crate) struct Storage {
    log: GroupLog,
    /// `None` in tests of the storage alone.
    observer: Option<Arc<dyn RaftObserver>>,
}

/// The stored state of a group, decoded.
pub(crate) struct Stored {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    /// The membership at `committed`.
    pub(crate) membership: StoredMembership,
    pub(crate) last: Option<LogId>,
    /// The position up to which the log is purged, and the membership there.
    pub(crate) purged: Option<(LogId, StoredMembership)>,
    /// All memberships in the log, the oldest first.
    pub(crate) memberships: Vec<Membership>,
}

/// Reads the stored state of a group.
pub(crate) fn stored(log: &GroupLog) -> Result<Stored, DecodeError> {
    let state = log.state();
    let vote = state.vote.as_deref().map(codec::decode_stored_vote).transpose()?;
    let last = state.last.map(log_id);
    let purged = state.purged.map(log_id);
    // Purged entries were committed.
    let committed = saved_committed(&state)?.max(purged);
    let membership = membership_at(&state, committed.map_or(0, |id| id.index))?;
    let purged = purged.map(|id| Ok::<_, DecodeError>((id, membership_at(&state, id.index)?))).transpose()?;
    let memberships = state.memberships.iter().map(|entry| codec::decode_membership(&entry.payload));
    let memberships = memberships.collect::<Result<_, _>>()?;
    Ok(Stored { vote, committed, membership, last, purged, memberships })
}

/// The stored committed position. It is written together with later records, so it is never after the entry that it
/// names.
fn saved_committed(state: &GroupState) -> Result<Option<LogId>, DecodeError> {
    let saved = state.committed.as_deref().map(codec::decode_log_id).transpose()?;
    Ok(saved.filter(|saved| state.last.is_some_and(|last| saved.index <= last.index)))
}

/// The membership in effect at an index. The index must be in the log or in its purged part.
pub(crate) fn membership_at(state: &GroupState, index: u64) -> Result<StoredMembership, DecodeError> {
    match state.memberships.iter().rfind(|entry| entry.index <= index) {
        Some(entry) => Ok(StoredMembership::new(Some(log_id(entry.id())), codec::decode_membership(&entry.payload)?)),
        None => Ok(StoredMembership::default()),
    }
}

pub(crate) fn log_id(id: EntryId) -> LogId {
    LogId::new(Epoch { term: id.term, node: NodeId(id.node) }, id.index)
}

pub(crate) fn entry_id(id: &LogId) -> EntryId {
    EntryId { index: id.index, term: id.leader_id.term, node: id.leader_id.node.0 }
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn indexes(range: impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}

impl Storage {
    pub(crate) fn new(log: GroupLog, observer: Option<Arc<dyn RaftObserver>>) -> Storage {
        Storage { log, observer }
    }

    /// Entries from the start of the range on: at least one if it exists, none at the end of the log.
    async fn read(&self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        let range = range.start.max(self.log.state().first.unwrap_or(u64::MAX))..range.end;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let found = match self.log.read_cached(range.clone(), READ_BYTES_MAX) {
            Some(found) => found,
            None => self.log.read(range, READ_BYTES_MAX).await.map_err(io::Error::other)?,
        };
        found.iter().map(|entry| codec::from_log(entry).map_err(invalid)).collect()
    }
}

/// Waits for a write. Stays pending after a failed write (see the last rule of the module).
pub(crate) async fn written(outcome: oneshot::Receiver<Result<(), WriteError>>) -> io::Result<()> {
    match outcome.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(WriteError::Failed(_))) => std::future::pending().await,
        Ok(Err(error)) => Err(io::Error::other(error)),
        Err(_) => Err(io::Error::other("the log's writer has ended")),
    }
}

/// A completion that sends the outcome to the waiting task.
pub(crate) fn completion(
    to: oneshot::Sender<Result<(), WriteError>>,
) -> impl FnOnce(Result<(), WriteError>) + Send + 'static {
    move |outcome| {
        // The waiting task may have been shut down.
        let _ = to.send(outcome);
    }
}

impl RaftLogReader<Types> for Storage {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut range = indexes(range);
        let mut all = Vec::new();
        loop {
            let some = self.read(range.clone()).await?;
            let Some(last) = some.last() else { return Ok(all) };
            range.start = last.log_id.index + 1;
            all.extend(some);
        }
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // In batches, because what a follower lacks may not fit into memory.
        let start = (self.clone(), indexes(range), Vec::new().into_iter());
        Box::pin(futures::stream::try_unfold(start, |(storage, mut range, mut read)| async move {
            if read.len() == 0 {
                read = storage.read(range.clone()).await?.into_iter();
            }
            let Some(entry) = read.next() else { return Ok(None) };
            let entry: Entry = entry;
            range.start = entry.log_id.index + 1;
            Ok(Some((entry, (storage, range, read))))
        }))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let vote = self.log.state().vote;
        vote.as_deref().map(codec::decode_stored_vote).transpose().map_err(invalid)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end).await
    }
}

impl RaftLogStorage<Types> for Storage {
    type LogReader = Storage;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.log.state();
        Ok(LogState { last_purged_log_id: state.purged.map(log_id), last_log_id: state.last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> Storage {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if let Some(observer) = &self.observer {
            observer.observe_vote(*vote);
        }
        let (done, outcome) = oneshot::channel();
        fail_point!("consensus::vote");
        self.log.save_vote(codec::encode_stored_vote(vote), completion(done));
        written(outcome).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.log.save_committed(codec::encode_log_id(&committed));
            if let Some(observer) = &self.observer {
                observer.observe_committed(committed.index);
            }
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        saved_committed(&self.log.state()).map_err(invalid)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let Some(last) = entries.last().map(|entry| entry.log_id.index) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let flushed = self.observer.clone();
        let done = move |outcome: Result<(), WriteError>| match outcome {
            Ok(()) => {
                flushed.into_iter().for_each(|observer| observer.observe_flushed(last));
                callback.io_completed(Ok(()));
            }
            // The callback is withheld: see the last rule of the module.
            Err(WriteError::Failed(_)) => {}
            Err(error) => callback.io_completed(Err(io::Error::other(error))),
        };
        let records = entries.iter().cloned().map(codec::to_log).collect();
        if Plant::AckBeforeFlush.is_on() {
            self.log.append(records, |_| {});
            done(Ok(()));
        } else {
            self.log.append(records, done);
        }
        if let Some(observer) = &self.observer {
            entries.iter().for_each(|entry| observer.observe_entry(entry));
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        // Queued in order with all other writes. Nothing waits for it: a failure shows at the next vote or entry.
        fail_point!("consensus::truncate");
        self.log.truncate_after(last.as_ref().map(entry_id), |_| {});
        if let Some(observer) = &self.observer {
            observer.observe_truncated(last.map(|id| id.index));
        }
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        fail_point!("consensus::purge");
        self.log.purge(entry_id(&upto), |_| {});
        Ok(())
    }
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
