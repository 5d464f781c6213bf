//! Snapshots that are sent to other nodes and received from them: a thread reads or stores each file.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastness_consensus::snapshot::{
    IncomingSnapshot, OutgoingSnapshot, SnapshotFileError, SnapshotFiles as SnapshotExchange, SnapshotPiece,
};
use fastness_log::{Draft, SnapshotError, SnapshotFolder};
use fastness_shard::SnapshotPart;
use fastness_types::LogIndex;
use fastness_types::limits::SNAPSHOT_QUEUE_BYTES_MAX;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::QUEUE_MAX;
use super::files::SnapshotFiles;
use crate::process;

/// Frames of a file that wait to be sent to another node: at 16 MiB a frame at most.
const PIECES_MAX: usize = 2;

#[async_trait::async_trait]
impl SnapshotExchange for SnapshotFiles {
    async fn open(&self, index: LogIndex) -> Result<Box<dyn OutgoingSnapshot>, SnapshotFileError> {
        let file = self.folder.file(index);
        let bytes = match std::fs::metadata(&file) {
            Ok(file) => file.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SnapshotFileError::Missing(index)),
            Err(source) => return Err(SnapshotFileError::file(SnapshotError::Io { path: file, source })),
        };
        let (to, pieces) = mpsc::channel(PIECES_MAX);
        let folder = self.folder.clone();
        let read = move || {
            if let Err(error) = read_pieces(&folder, index, &to) {
                // The reader may have stopped.
                let _ = to.blocking_send(Err(SnapshotFileError::file(error)));
            }
        };
        process::spawn_background("snapshot-in", read).map_err(SnapshotFileError::file)?;
        Ok(Box::new(SentFile { pieces, bytes }))
    }

    async fn receive(&self) -> Result<Box<dyn IncomingSnapshot>, SnapshotFileError> {
        if self.disk.as_ref().is_some_and(|disk| !disk.takes_snapshots()) {
            return Err(SnapshotFileError::NoSpace);
        }
        let draft = Draft::Received(self.received.fetch_add(1, Ordering::Relaxed));
        let (to, mut from) = mpsc::channel(QUEUE_MAX);
        let failure = Arc::new(Mutex::new(None));
        let (files, noted) = (self.clone(), failure.clone());
        // Whoever finds the queue closed also finds the reason: `from` lives as long as this closure.
        let store = move || {
            let stored = store(&files, draft, &mut from);
            let removed = files.folder.discard(draft);
            if let Err(error) = stored.and(removed.map_err(SnapshotFileError::file)) {
                *noted.lock() = Some(error);
            }
        };
        process::spawn_background("snapshot-store", store).map_err(SnapshotFileError::file)?;
        Ok(Box::new(ReceivedFile { to, space: Arc::new(Semaphore::new(SNAPSHOT_QUEUE_BYTES_MAX)), failure }))
    }
}

/// A message to the thread that stores a snapshot from another node.
enum Received {
    /// With its share of the bytes that may wait.
    Piece(SnapshotPiece, OwnedSemaphorePermit),
    Publish(LogIndex, oneshot::Sender<()>),
}

struct ReceivedFile {
    to: mpsc::Sender<Received>,
    space: Arc<Semaphore>,
    failure: Arc<Mutex<Option<SnapshotFileError>>>,
}

impl ReceivedFile {
    fn failure(&self) -> SnapshotFileError {
        self.failure.lock().clone().unwrap_or(SnapshotFileError::GivenUp)
    }
}

#[async_trait::async_trait]
impl IncomingSnapshot for ReceivedFile {
    async fn push(&mut self, piece: SnapshotPiece) -> Result<(), SnapshotFileError> {
        let bytes = piece.part.bytes().len().min(SNAPSHOT_QUEUE_BYTES_MAX) as u32;
        // Shares of a thread that has ended are given back with its queue.
        let share = self.space.clone().acquire_many_owned(bytes).await.map_err(|_| self.failure())?;
        self.to.send(Received::Piece(piece, share)).await.map_err(|_| self.failure())
    }

    async fn publish(self: Box<Self>, index: LogIndex) -> Result<(), SnapshotFileError> {
        let (done, published) = oneshot::channel();
        self.to.send(Received::Publish(index, done)).await.map_err(|_| self.failure())?;
        if published.await.is_err() {
            // The thread notes why before it ends.
            self.to.closed().await;
            return Err(self.failure());
        }
        Ok(())
    }
}

/// Stores a snapshot under its draft's name, and makes it one of this replica's when it is noted to.
fn store(files: &SnapshotFiles, draft: Draft, from: &mut mpsc::Receiver<Received>) -> Result<(), SnapshotFileError> {
    let (folder, draft_in_progress) = (&files.folder, files.draft());
    let failed = |error: SnapshotError| SnapshotFileError::file(error);
    let mut next = || from.blocking_recv();
    let Some(Received::Piece(SnapshotPiece { part: SnapshotPart::Head(head), .. }, _)) = next() else {
        return Err(SnapshotFileError::NoHead);
    };
    let mut writer = folder.create(draft, &head).map_err(failed)?;
    let mut tail = None;
    let mut within = false;
    while let Some(message) = next() {
        match (message, tail.take()) {
            (Received::Piece(SnapshotPiece { part: SnapshotPart::Chunk(piece), continues }, _share), None) => {
                draft_in_progress.check().map_err(failed)?;
                writer.piece(&piece, continues).map_err(failed)?;
                within = continues;
            }
            (Received::Piece(SnapshotPiece { part: SnapshotPart::Tail(last), .. }, _), None) if !within => {
                tail = Some(last)
            }
            (Received::Publish(index, done), Some(tail)) => {
                writer.finish(index, &tail).map_err(failed)?;
                if let Err(error) = files.keep_newest() {
                    tracing::warn!(%error, "cannot remove an old snapshot: it takes up space");
                }
                // The caller may have stopped waiting.
                let _ = done.send(());
                return Ok(());
            }
            _ => return Err(SnapshotFileError::Order),
        }
    }
    Ok(())
}

/// A snapshot that is read to be sent: piece by piece, as its frames are, so that no more than some of them are in
/// memory.
struct SentFile {
    pieces: mpsc::Receiver<Result<SnapshotPiece, SnapshotFileError>>,
    bytes: u64,
}

#[async_trait::async_trait]
impl OutgoingSnapshot for SentFile {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn next(&mut self) -> Result<Option<SnapshotPiece>, SnapshotFileError> {
        self.pieces.recv().await.transpose()
    }
}

fn read_pieces(
    folder: &SnapshotFolder,
    index: LogIndex,
    to: &mpsc::Sender<Result<SnapshotPiece, SnapshotFileError>>,
) -> Result<(), SnapshotError> {
    let mut reader = folder.read(index)?;
    let send = |piece| to.blocking_send(Ok(piece)).is_ok();
    let mut wanted = send(SnapshotPiece::whole(SnapshotPart::Head(reader.head().to_vec().into())));
    while wanted && let Some((piece, continues)) = reader.next_piece()? {
        wanted = send(SnapshotPiece { part: SnapshotPart::Chunk(piece.into()), continues });
    }
    if wanted && let Some(tail) = reader.tail() {
        send(SnapshotPiece::whole(SnapshotPart::Tail(tail.to_vec().into())));
    }
    Ok(())
}
