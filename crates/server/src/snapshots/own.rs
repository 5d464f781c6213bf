//! Snapshots that this replica makes, and those that it restores from: a thread writes or reads each file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use fastness_log::{Draft, SnapshotError, SnapshotFolder};
use fastness_shard::{SinkError, SnapshotPart, SnapshotSink, SnapshotSource, SnapshotStore, SourceError};
use fastness_types::LogIndex;
use fastness_types::limits::SNAPSHOT_QUEUE_BYTES_MAX;
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc;

use super::QUEUE_MAX;
use super::files::SnapshotFiles;
use crate::process;

enum Message {
    Chunk(Vec<u8>),
    Finish(LogIndex, Vec<u8>),
}

struct Sink {
    to: Sender<Message>,
    queue: Arc<WriteQueue>,
    failure: Arc<Mutex<Option<SinkError>>>,
    finished: Arc<Mutex<Option<LogIndex>>>,
}

/// Chunks that a file's thread has not written.
#[derive(Default)]
struct WriteQueue {
    chunks: AtomicUsize,
    bytes: AtomicUsize,
}

impl SnapshotSink for Sink {
    fn has_room(&self) -> bool {
        let WriteQueue { chunks, bytes } = &*self.queue;
        chunks.load(Ordering::Acquire) < QUEUE_MAX && bytes.load(Ordering::Acquire) < SNAPSHOT_QUEUE_BYTES_MAX
    }

    fn waiting_bytes(&self) -> u64 {
        self.queue.bytes.load(Ordering::Acquire) as u64
    }

    fn push(&mut self, chunk: Vec<u8>) {
        self.queue.chunks.fetch_add(1, Ordering::AcqRel);
        self.queue.bytes.fetch_add(chunk.capacity(), Ordering::AcqRel);
        // The thread has ended if it has failed, and says so itself.
        let _ = self.to.send(Message::Chunk(chunk));
    }

    fn failure(&self) -> Option<SinkError> {
        self.failure.lock().clone()
    }

    fn finish(&mut self, index: LogIndex, tail: Vec<u8>) {
        let _ = self.to.send(Message::Finish(index, tail));
    }

    fn finished(&self) -> Option<LogIndex> {
        *self.finished.lock()
    }
}

impl SnapshotStore for SnapshotFiles {
    fn admits(&self, bytes: u64) -> bool {
        self.disk.as_ref().is_none_or(|disk| disk.admits(bytes))
    }

    fn create(&self, head: Vec<u8>) -> Box<dyn SnapshotSink> {
        let (to, from) = channel();
        let (queue, failure) = (Arc::<WriteQueue>::default(), Arc::new(Mutex::new(None)));
        let finished = Arc::new(Mutex::new(None));
        let sink = Sink { to, queue: queue.clone(), failure: failure.clone(), finished: finished.clone() };
        let (files, noted) = (self.clone(), failure.clone());
        let thread = process::spawn_background("snapshot-out", move || {
            let _lock = files.writing.lock();
            match write(&files, &head, &from, &queue) {
                Ok(older) => *finished.lock() = older,
                Err(error) => {
                    // Immediately: a full disk needs the space that the draft takes up.
                    if let Err(error) = files.folder.discard(Draft::Own) {
                        tracing::error!(%error, "cannot remove an incomplete snapshot: it takes up space");
                    }
                    *noted.lock() = Some(SinkError::Write(Arc::new(error)));
                }
            }
        });
        if let Err(error) = thread {
            *failure.lock() = Some(SinkError::Thread(Arc::new(error)));
        }
        Box::new(sink)
    }

    fn open_newest(&self, below: Option<LogIndex>) -> Option<(LogIndex, Box<dyn SnapshotSource>)> {
        let list = self.folder.list().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot list the snapshots: the replica restores from the log");
            Vec::new()
        });
        let index = list.into_iter().find(|index| below.is_none_or(|below| *index < below))?;
        Some((index, Box::new(self.parts(index))))
    }
}

/// Writes a snapshot; returns up to where the log is no longer needed once it is on stable storage, `None` if it was
/// given up.
fn write(
    files: &SnapshotFiles,
    head: &[u8],
    from: &Receiver<Message>,
    queue: &WriteQueue,
) -> Result<Option<LogIndex>, SnapshotError> {
    let (folder, draft) = (&files.folder, files.draft());
    let mut writer = folder.create(Draft::Own, head)?;
    loop {
        match from.recv() {
            Ok(Message::Chunk(chunk)) => {
                draft.check()?;
                writer.chunk(&chunk)?;
                queue.chunks.fetch_sub(1, Ordering::AcqRel);
                queue.bytes.fetch_sub(chunk.capacity(), Ordering::AcqRel);
            }
            Ok(Message::Finish(index, tail)) => {
                let bytes = writer.bytes();
                writer.finish(index, &tail)?;
                tracing::info!(index = index.0, bytes, "snapshot written");
                return Ok(Some(files.keep_newest()?.unwrap_or(LogIndex(0))));
            }
            Err(_) => {
                folder.discard(Draft::Own)?;
                return Ok(None);
            }
        }
    }
}

impl SnapshotFiles {
    /// Reads the snapshot of this position on a thread of its own.
    pub(super) fn parts(&self, index: LogIndex) -> Source {
        let (to, from) = mpsc::channel(QUEUE_MAX);
        let (folder, failed) = (self.folder.clone(), to.clone());
        let ahead = Arc::<ReadAhead>::default();
        let reader = ahead.clone();
        let thread = process::spawn_background("snapshot-in", move || {
            if let Err(error) = read(&folder, index, &to, &reader) {
                // The reader may have stopped.
                let _ = to.blocking_send(Err(error.into()));
            }
        });
        if let Err(error) = thread {
            // The queue has space: this is the first message.
            let _ = failed.try_send(Err(error.into()));
        }
        let bytes = std::fs::metadata(self.folder.file(index)).ok().map(|file| file.len());
        Source { parts: from, ahead, bytes }
    }
}

type Part = Result<SnapshotPart, SourceError>;

/// Bytes of parts that a reading thread has read ahead; `None`: nobody takes them any more.
pub(super) struct ReadAhead {
    pub(super) bytes: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Default for ReadAhead {
    fn default() -> ReadAhead {
        ReadAhead { bytes: Mutex::new(Some(0)), changed: Condvar::new() }
    }
}

impl ReadAhead {
    /// Waits until a part of `len` bytes may be read ahead; false if nobody would take it.
    fn reserve(&self, len: usize) -> bool {
        let mut bytes = self.bytes.lock();
        while bytes.is_some_and(|bytes| bytes > 0 && bytes + len > SNAPSHOT_QUEUE_BYTES_MAX) {
            self.changed.wait(&mut bytes);
        }
        *bytes = bytes.map(|bytes| bytes + len);
        bytes.is_some()
    }

    fn taken(&self, len: usize) {
        let mut bytes = self.bytes.lock();
        *bytes = bytes.map(|bytes| bytes - len);
        self.changed.notify_one();
    }
}

fn read(
    folder: &SnapshotFolder,
    index: LogIndex,
    to: &mpsc::Sender<Part>,
    ahead: &ReadAhead,
) -> Result<(), SnapshotError> {
    let mut reader = folder.read(index)?;
    let send = |part: SnapshotPart| ahead.reserve(part.bytes().len()) && to.blocking_send(Ok(part)).is_ok();
    let mut wanted = send(SnapshotPart::Head(reader.head().to_vec().into()));
    while wanted && let Some(chunk) = reader.next_chunk()? {
        wanted = send(SnapshotPart::Chunk(chunk.into()));
    }
    if let Some(tail) = reader.tail() {
        send(SnapshotPart::Tail(tail.to_vec().into()));
    }
    Ok(())
}

pub(super) struct Source {
    parts: mpsc::Receiver<Part>,
    pub(super) ahead: Arc<ReadAhead>,
    /// Of the file, which has little besides the chunks.
    bytes: Option<u64>,
}

impl Source {
    pub(super) async fn take(&mut self) -> Result<Option<SnapshotPart>, SourceError> {
        let part = self.parts.recv().await.transpose()?;
        if let Some(part) = &part {
            self.ahead.taken(part.bytes().len());
        }
        Ok(part)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        *self.ahead.bytes.lock() = None;
        self.ahead.changed.notify_one();
    }
}

#[async_trait::async_trait(?Send)]
impl SnapshotSource for Source {
    fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    async fn next(&mut self) -> Result<Option<SnapshotPart>, SourceError> {
        self.take().await
    }
}
