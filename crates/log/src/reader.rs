//! The reader of a node's log: reads entries that are no longer in memory.
//!
//! In production one thread of the log reads, fed by a bounded queue whose senders wait. In a simulation the caller
//! reads.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::thread::JoinHandle;

use fastness_types::GroupId;
use tokio::sync::{mpsc, oneshot};

use crate::entry::LogEntry;
use crate::error::ReadError;
use crate::key::{self, Key};
use crate::keyring::Keyring;
use crate::store::{Family, OrderedStore};

/// Reads that can be queued for the thread; further senders wait.
const READS_QUEUED_MAX: usize = 64;

/// A read of entries from disk.
pub(crate) struct DiskRead {
    pub(crate) group: GroupId,
    pub(crate) range: Range<u64>,
    pub(crate) bytes_max: usize,
}

type Answer = Result<Vec<Arc<LogEntry>>, ReadError>;

/// Scans the store and decrypts.
pub(crate) struct DiskReader {
    pub(crate) store: Arc<dyn OrderedStore>,
    pub(crate) ring: Arc<Keyring>,
}

impl DiskReader {
    /// Entries of the range from its first index on, without a gap: at least one, about `bytes_max`. The range is not
    /// empty.
    pub(crate) fn read(&self, wanted: &DiskRead) -> Answer {
        let DiskRead { group, ref range, bytes_max } = *wanted;
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut expected = range.start;
        let mut failure = None;
        self.store.scan(Family::Log, &key::entries(group, range.start, range.end), &mut |key, record| {
            if Key::decode(Family::Log, key) != Some(Key::Entry { group, index: expected }) {
                return ControlFlow::Break(());
            }
            match self.ring.open_entry(group, expected, record) {
                Ok((entry, _)) => {
                    bytes += entry.payload.len();
                    if bytes > bytes_max && !found.is_empty() {
                        return ControlFlow::Break(());
                    }
                    found.push(Arc::new(entry));
                    expected += 1;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    let place = self.store.place();
                    failure = Some(ReadError::Record { place, group, index: expected, error });
                    ControlFlow::Break(())
                }
            }
        })?;
        match failure {
            Some(error) if found.is_empty() => Err(error),
            None if found.is_empty() => Err(ReadError::Missing { place: self.store.place(), group, index: expected }),
            // This answer ends before an invalid record. The next read starts with that record and returns the error.
            _ => Ok(found),
        }
    }
}

/// Handle of the reader.
pub(crate) enum Reader {
    Thread(mpsc::Sender<(DiskRead, oneshot::Sender<Answer>)>),
    Inline(DiskReader),
}

impl Reader {
    /// Starts the reader thread.
    pub(crate) fn thread(reader: DiskReader) -> std::io::Result<(Reader, JoinHandle<()>)> {
        let (sender, mut receiver) = mpsc::channel::<(DiskRead, oneshot::Sender<Answer>)>(READS_QUEUED_MAX);
        let thread = std::thread::Builder::new().name("log-reader".into()).spawn(move || {
            while let Some((wanted, answer)) = receiver.blocking_recv() {
                // Nobody waits for the answer any more: the read was cancelled.
                let _ = answer.send(reader.read(&wanted));
            }
        })?;
        Ok((Reader::Thread(sender), thread))
    }

    pub(crate) async fn read(&self, wanted: DiskRead) -> Answer {
        match self {
            Reader::Inline(reader) => reader.read(&wanted),
            Reader::Thread(sender) => {
                let (answer, answered) = oneshot::channel();
                sender.send((wanted, answer)).await.map_err(|_| ReadError::Closed)?;
                answered.await.map_err(|_| ReadError::Closed)?
            }
        }
    }
}
