//! The snapshots of a replica, in files. The shard's thread never waits for a disk: each file has a thread that writes
//! or reads it, and a short queue.
//!
//! The two newest are kept; older ones are removed once a newer one is on stable storage. One that comes from another
//! node is written aside until consensus installs it, and read again from this node's disk like any other.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use fastness_consensus::committed_entry;
use fastness_consensus::snapshot::{
    IncomingSnapshot, OutgoingSnapshot, SnapshotFileError, SnapshotFiles as SnapshotExchange, SnapshotPiece,
};
use fastness_log::rocks::{RocksOptions, RocksStore};
use fastness_log::{Cipher, Draft, LogOptions, SnapshotError, SnapshotFolder};
use fastness_shard::{
    SnapshotCheck, SnapshotPart, SnapshotReplay, SnapshotReport, SnapshotSink, SnapshotSource, SnapshotStore,
};
use fastness_types::limits::SNAPSHOT_QUEUE_BYTES_MAX;
use fastness_types::{ClusterId, GroupId, LogIndex, NodeId, ShardId};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::config::Config;
use crate::disk_monitor::{self, NodeDisk};
use crate::node::{NodeError, master_key};
use crate::process;
use crate::tls::Material;

/// Chunks or parts that wait at once; together they have [`SNAPSHOT_QUEUE_BYTES_MAX`] bytes, and one more.
const QUEUE_MAX: usize = 16;
/// Frames of a file that wait to be sent to another node: at 16 MiB a frame at most.
const PIECES_MAX: usize = 2;
pub(crate) const SNAPSHOTS: &str = "snapshots";
pub(crate) const SHARD: &str = "shard-";
/// Snapshots that are kept.
const KEPT: usize = 2;

/// See the module. Clones are the same files.
#[derive(Clone)]
pub struct SnapshotFiles {
    folder: Arc<SnapshotFolder>,
    /// Held while one of this node's own is written.
    writing: Arc<Mutex<()>>,
    /// Snapshots that began to come from other nodes.
    received: Arc<AtomicU64>,
    /// The disk's budget; `None`: there is room for everything.
    disk: Option<Arc<NodeDisk>>,
    /// The newest snapshot that was read back whole; 0: none.
    verified: Arc<AtomicU64>,
    /// The newest snapshot that did not read whole, so that it is not read again and again; 0: none.
    unreadable: Arc<AtomicU64>,
    /// Raised to have drafts given up: a thread that has begun one under another number stops.
    drafts: Arc<AtomicU64>,
    /// Drafts that are being written.
    under_way: Arc<AtomicUsize>,
}

impl SnapshotFiles {
    /// In this folder.
    #[must_use]
    pub fn new(folder: SnapshotFolder, disk: Option<Arc<NodeDisk>>) -> SnapshotFiles {
        SnapshotFiles {
            folder: Arc::new(folder),
            writing: Arc::default(),
            received: Arc::default(),
            disk,
            verified: Arc::default(),
            unreadable: Arc::default(),
            drafts: Arc::default(),
            under_way: Arc::default(),
        }
    }

    /// Bytes on the disk of snapshots, and of drafts.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        self.folder.bytes()
    }

    /// Bytes of the newest snapshot; 0: there is none.
    pub(crate) fn newest_bytes(&self) -> u64 {
        let newest = self.folder.list().unwrap_or_default().first().copied();
        newest.and_then(|index| std::fs::metadata(self.folder.file(index)).ok()).map_or(0, |file| file.len())
    }

    /// Has what is being written, or received, given up; false if nothing is. The threads that write notice with their
    /// next chunk, and remove what they have written.
    pub(crate) fn give_up_drafts(&self) -> bool {
        let under_way = self.under_way.load(Ordering::Acquire) > 0;
        if under_way {
            self.drafts.fetch_add(1, Ordering::AcqRel);
        }
        under_way
    }

    /// Verifies the newest snapshot and removes what is older; gives its position, and how many were removed. `None`:
    /// there is no snapshot.
    pub(crate) fn keep_verified_alone(&self) -> Result<Option<(LogIndex, u64)>, String> {
        let newest = self.folder.list().unwrap_or_default().first().map_or(0, |index| index.0);
        if newest == self.unreadable.load(Ordering::Acquire) {
            return Ok(None);
        }
        let known = LogIndex(self.verified.load(Ordering::Acquire));
        let kept = disk_monitor::keep_verified_alone(&self.folder, Some(known));
        if kept.is_err() {
            self.unreadable.store(newest, Ordering::Release);
        }
        let kept = kept?;
        if let Some((verified, _)) = kept {
            self.verified.fetch_max(verified.0, Ordering::AcqRel);
        }
        Ok(kept)
    }

    /// Removes what need not be kept beside the newest, which was just written: the others but one, or, where two do
    /// not fit, all of them once the newest was verified. Gives up to where the log is no longer needed.
    fn keep_newest(&self) -> Result<Option<LogIndex>, SnapshotError> {
        if self.disk.as_ref().is_none_or(|disk| disk.keeps_two()) {
            return keep_newest(&self.folder);
        }
        match self.keep_verified_alone() {
            Ok(kept) => Ok(kept.map(|(verified, _)| verified)),
            Err(error) => {
                tracing::error!(error, "the newest snapshot does not read whole: what is older stays");
                Ok(None)
            }
        }
    }

    /// What a thread that writes a draft looks at.
    fn draft(&self) -> DraftUnderWay {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        DraftUnderWay { begun_as: self.drafts.load(Ordering::Acquire), files: self.clone() }
    }
}

/// A draft that is being written; not any more once it is dropped.
struct DraftUnderWay {
    files: SnapshotFiles,
    begun_as: u64,
}

impl DraftUnderWay {
    /// An error if it is to be given up.
    fn go_on(&self) -> Result<(), SnapshotError> {
        if self.files.drafts.load(Ordering::Acquire) == self.begun_as {
            return Ok(());
        }
        let source = std::io::Error::new(std::io::ErrorKind::StorageFull, "given up: there is no room for it");
        Err(SnapshotError::Io { path: self.files.folder.path().to_owned(), source })
    }
}

impl Drop for DraftUnderWay {
    fn drop(&mut self) {
        self.files.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The folder of a shard's snapshots.
#[must_use]
pub fn folder_of(config: &Config, shard: ShardId) -> PathBuf {
    config.dir.join(SNAPSHOTS).join(format!("{SHARD}{shard}"))
}

/// A snapshot that was looked at.
#[derive(Debug)]
pub struct Verified {
    /// The file.
    pub file: PathBuf,
    /// What it holds, or what is wrong with it.
    pub found: Result<SnapshotReport, String>,
    /// Whether the log leads from the snapshot before to this one: the number of entries, or what differs. `None`:
    /// there is no such snapshot that is whole, or the log does not reach back to it.
    pub replayed: Option<Result<u64, String>>,
}

/// Reads every snapshot of the node with this config (or of one shard), restores each in a scratch place and compares
/// keys and digest with what it says; then replays the log from each to the next and compares again. The node may be
/// running.
///
/// # Errors
/// Key, certificate or log cannot be read, or a folder not be listed.
pub fn verify(config: &Config, only: Option<ShardId>) -> Result<Vec<Verified>, NodeError> {
    let refused = |error: &dyn std::fmt::Display| NodeError::Snapshots(error.to_string());
    let (cluster, node) = Material::load(config)?.identity()?;
    let parent = config.dir.join(SNAPSHOTS);
    let entries = std::fs::read_dir(&parent).map_err(|error| refused(&format!("{}: {error}", parent.display())))?;
    let mut shards: Vec<ShardId> = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| refused(&error))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(SHARD)?.parse().ok());
        shards.extend(number.map(ShardId).filter(|shard| only.is_none_or(|only| only == *shard)));
    }
    shards.sort_unstable();
    let mut verified = Vec::new();
    for shard in shards {
        let cipher = Cipher::new(master_key(config)?);
        let folder = SnapshotFolder::open(&folder_of(config, shard), cluster, node, GroupId::from(shard), cipher);
        let mut list = folder.list().map_err(|error| refused(&error))?;
        list.reverse();
        let mut before: Option<SnapshotReplay> = None;
        for index in list {
            let (found, replay) = match verify_one(&folder, shard, index) {
                Ok((report, replay)) => (Ok(report), Some(replay)),
                Err(error) => (Err(error), None),
            };
            let replayed = match (before.take(), &found) {
                (Some(before), Ok(report)) => replay_to(config, (cluster, node), shard, before, report)?,
                _ => None,
            };
            before = replay;
            verified.push(Verified { file: folder.file(index), found, replayed });
        }
    }
    Ok(verified)
}

/// Attempts to open the log of a node that may be running, and replaces files meanwhile.
const OPEN_ATTEMPTS: usize = 5;

/// Replays the log from one snapshot to the next.
fn replay_to(
    config: &Config,
    (cluster, node): (ClusterId, NodeId),
    shard: ShardId,
    mut replay: SnapshotReplay,
    to: &SnapshotReport,
) -> Result<Option<Result<u64, String>>, NodeError> {
    let options = RocksOptions::new(config.dir.join("log"));
    let mut opened = RocksStore::open_read_only(&options);
    for _ in 1..OPEN_ATTEMPTS {
        if opened.is_ok() {
            break;
        }
        opened = RocksStore::open_read_only(&options);
    }
    let log = |error: &dyn std::fmt::Display| NodeError::Log(error.to_string());
    let store = opened.map_err(|error| log(&error))?;
    let (mut entries, mut wrong, mut reaches_back) = (0, None, false);
    let cipher = Cipher::new(master_key(config)?);
    let options = LogOptions::new(node, cluster);
    fastness_log::inspect(store.as_ref(), cipher, &options, GroupId::from(shard), &mut |entry| {
        reaches_back |= entry.index == replay.index().0 + 1;
        let is_next = entry.index > replay.index().0 && entry.index <= to.index.0;
        if reaches_back && is_next && wrong.is_none() {
            entries += 1;
            wrong = replay.apply(&committed_entry(entry)).err();
        }
    })
    .map_err(|error| log(&error))?;
    if !reaches_back {
        return Ok(None);
    }
    let compared = match wrong {
        Some(wrong) => Err(wrong),
        None => replay.compare(to),
    };
    Ok(Some(compared.map(|()| entries)))
}

fn verify_one(
    folder: &SnapshotFolder,
    shard: ShardId,
    index: LogIndex,
) -> Result<(SnapshotReport, SnapshotReplay), String> {
    let text = |error: SnapshotError| error.to_string();
    let mut reader = folder.read(index).map_err(text)?;
    let mut check = SnapshotCheck::new(shard, reader.head())?;
    while let Some(chunk) = reader.next_chunk().map_err(text)? {
        check.chunk(&chunk)?;
    }
    let (report, replay) = check.finish(reader.tail().unwrap_or_default())?;
    if report.index != index {
        return Err(format!("it says that it is of index {}: the file has another one's name", report.index.0));
    }
    Ok((report, replay))
}

enum Message {
    Chunk(Vec<u8>),
    Finish(LogIndex, Vec<u8>),
}

struct Sink {
    to: Sender<Message>,
    waiting: Arc<Waiting>,
    failure: Arc<Mutex<Option<String>>>,
    finished: Arc<Mutex<Option<LogIndex>>>,
}

/// Chunks that a file's thread has not written.
#[derive(Default)]
struct Waiting {
    chunks: AtomicUsize,
    bytes: AtomicUsize,
}

impl SnapshotSink for Sink {
    fn has_room(&self) -> bool {
        let Waiting { chunks, bytes } = &*self.waiting;
        chunks.load(Ordering::Acquire) < QUEUE_MAX && bytes.load(Ordering::Acquire) < SNAPSHOT_QUEUE_BYTES_MAX
    }

    fn waiting_bytes(&self) -> u64 {
        self.waiting.bytes.load(Ordering::Acquire) as u64
    }

    fn push(&mut self, chunk: Vec<u8>) {
        self.waiting.chunks.fetch_add(1, Ordering::AcqRel);
        self.waiting.bytes.fetch_add(chunk.capacity(), Ordering::AcqRel);
        // The thread has ended if it has failed, and says so itself.
        let _ = self.to.send(Message::Chunk(chunk));
    }

    fn failure(&self) -> Option<String> {
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
        let (waiting, failure) = (Arc::<Waiting>::default(), Arc::new(Mutex::new(None)));
        let finished = Arc::new(Mutex::new(None));
        let sink = Sink { to, waiting: waiting.clone(), failure: failure.clone(), finished: finished.clone() };
        let (files, told) = (self.clone(), failure.clone());
        let thread = process::spawn_background("snapshot-out", move || {
            let _lock = files.writing.lock();
            match write(&files, &head, &from, &waiting) {
                Ok(older) => *finished.lock() = older,
                Err(error) => {
                    // At once: a full disk needs the space that it takes up.
                    if let Err(error) = files.folder.discard(Draft::Own) {
                        tracing::error!(%error, "a draft is not removed");
                    }
                    *told.lock() = Some(error.to_string());
                }
            }
        });
        if let Err(error) = thread {
            *failure.lock() = Some(error.to_string());
        }
        Box::new(sink)
    }

    fn open_newest(&self, below: Option<LogIndex>) -> Option<(LogIndex, Box<dyn SnapshotSource>)> {
        let list = self.folder.list().unwrap_or_else(|error| {
            tracing::error!(%error, "snapshots cannot be listed");
            Vec::new()
        });
        let index = list.into_iter().find(|index| below.is_none_or(|below| *index < below))?;
        Some((index, Box::new(self.parts(index))))
    }
}

impl SnapshotFiles {
    /// Reads the snapshot of this position on a thread of its own.
    fn parts(&self, index: LogIndex) -> Source {
        let (to, from) = mpsc::channel(QUEUE_MAX);
        let (folder, failed) = (self.folder.clone(), to.clone());
        let ahead = Arc::<Ahead>::default();
        let reader = ahead.clone();
        let thread = process::spawn_background("snapshot-in", move || {
            if let Err(error) = read(&folder, index, &to, &reader) {
                // Whoever reads may have gone away.
                let _ = to.blocking_send(Err(error.to_string()));
            }
        });
        if let Err(error) = thread {
            // There is room: it is the first.
            let _ = failed.try_send(Err(error.to_string()));
        }
        let bytes = std::fs::metadata(self.folder.file(index)).ok().map(|file| file.len());
        Source { parts: from, ahead, bytes }
    }
}

#[async_trait::async_trait]
impl SnapshotExchange for SnapshotFiles {
    async fn open(&self, index: LogIndex) -> Result<Box<dyn OutgoingSnapshot>, SnapshotFileError> {
        let file = self.folder.file(index);
        let bytes = match std::fs::metadata(&file) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SnapshotFileError::Missing(index)),
            Err(source) => return Err(SnapshotFileError::file(SnapshotError::Io { path: file, source })),
        };
        let (to, pieces) = mpsc::channel(PIECES_MAX);
        let folder = self.folder.clone();
        let read = move || {
            if let Err(error) = read_pieces(&folder, index, &to) {
                // Whoever reads may have gone away.
                let _ = to.blocking_send(Err(SnapshotFileError::file(error)));
            }
        };
        process::spawn_background("snapshot-in", read).map_err(SnapshotFileError::file)?;
        Ok(Box::new(Outgoing { pieces, bytes }))
    }

    async fn receive(&self) -> Result<Box<dyn IncomingSnapshot>, SnapshotFileError> {
        if self.disk.as_ref().is_some_and(|disk| !disk.takes_snapshots()) {
            return Err(SnapshotFileError::NoSpace);
        }
        let draft = Draft::Received(self.received.fetch_add(1, Ordering::Relaxed));
        let (to, mut from) = mpsc::channel(QUEUE_MAX);
        let failure = Arc::new(Mutex::new(None));
        let (files, told) = (self.clone(), failure.clone());
        // Whoever finds the queue closed finds out why: `from` lives as long as this does.
        let store = move || {
            let stored = store(&files, draft, &mut from);
            let removed = files.folder.discard(draft);
            if let Err(error) = stored.and(removed.map_err(SnapshotFileError::file)) {
                *told.lock() = Some(error);
            }
        };
        process::spawn_background("snapshot-store", store).map_err(SnapshotFileError::file)?;
        Ok(Box::new(Incoming { to, room: Arc::new(Semaphore::new(SNAPSHOT_QUEUE_BYTES_MAX)), failure }))
    }
}

/// For the thread that stores what comes from another node.
enum Received {
    /// With its share of the bytes that may wait.
    Piece(SnapshotPiece, OwnedSemaphorePermit),
    Publish(LogIndex, oneshot::Sender<()>),
}

struct Incoming {
    to: mpsc::Sender<Received>,
    room: Arc<Semaphore>,
    failure: Arc<Mutex<Option<SnapshotFileError>>>,
}

impl Incoming {
    fn failure(&self) -> SnapshotFileError {
        self.failure.lock().clone().unwrap_or(SnapshotFileError::GivenUp)
    }
}

#[async_trait::async_trait]
impl IncomingSnapshot for Incoming {
    async fn push(&mut self, piece: SnapshotPiece) -> Result<(), SnapshotFileError> {
        let bytes = piece.part.bytes().len().min(SNAPSHOT_QUEUE_BYTES_MAX) as u32;
        // Shares of a thread that has ended are given back with its queue.
        let share = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| self.failure())?;
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

/// Stores a snapshot under its draft's name, and makes it one of this replica's when it is told to.
fn store(files: &SnapshotFiles, draft: Draft, from: &mut mpsc::Receiver<Received>) -> Result<(), SnapshotFileError> {
    let (folder, under_way) = (&files.folder, files.draft());
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
                under_way.go_on().map_err(failed)?;
                writer.piece(&piece, continues).map_err(failed)?;
                within = continues;
            }
            (Received::Piece(SnapshotPiece { part: SnapshotPart::Tail(last), .. }, _), None) if !within => {
                tail = Some(last)
            }
            (Received::Publish(index, done), Some(tail)) => {
                writer.finish(index, &tail).map_err(failed)?;
                if let Err(error) = files.keep_newest() {
                    tracing::warn!(%error, "an old snapshot is not removed");
                }
                // Whoever asked may have gone away.
                let _ = done.send(());
                return Ok(());
            }
            _ => return Err(SnapshotFileError::Order),
        }
    }
    Ok(())
}

/// Removes all but the newest, and gives the position of the oldest that is kept, if it is not the only one.
fn keep_newest(folder: &SnapshotFolder) -> Result<Option<LogIndex>, SnapshotError> {
    let mut list = folder.list()?;
    for old in list.split_off(KEPT.min(list.len())) {
        folder.remove(old)?;
    }
    Ok(list.into_iter().skip(1).last())
}

/// Gives up to where the log is no longer needed once the snapshot is on stable storage, `None` if it was given up.
fn write(
    files: &SnapshotFiles,
    head: &[u8],
    from: &Receiver<Message>,
    waiting: &Waiting,
) -> Result<Option<LogIndex>, SnapshotError> {
    let (folder, under_way) = (&files.folder, files.draft());
    let mut writer = folder.create(Draft::Own, head)?;
    loop {
        match from.recv() {
            Ok(Message::Chunk(chunk)) => {
                under_way.go_on()?;
                writer.chunk(&chunk)?;
                waiting.chunks.fetch_sub(1, Ordering::AcqRel);
                waiting.bytes.fetch_sub(chunk.capacity(), Ordering::AcqRel);
            }
            Ok(Message::Finish(index, tail)) => {
                let bytes = writer.bytes();
                writer.finish(index, &tail)?;
                tracing::info!(index = index.0, bytes, "a snapshot is on stable storage");
                return Ok(Some(files.keep_newest()?.unwrap_or(LogIndex(0))));
            }
            Err(_) => {
                folder.discard(Draft::Own)?;
                return Ok(None);
            }
        }
    }
}

type Part = Result<SnapshotPart, String>;

/// How far a reading thread is ahead of whoever takes the parts, bytes; `None`: nobody takes them any more.
struct Ahead {
    bytes: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Default for Ahead {
    fn default() -> Ahead {
        Ahead { bytes: Mutex::new(Some(0)), changed: Condvar::new() }
    }
}

impl Ahead {
    /// Waits until a part of `len` bytes may be read ahead; false if nobody would take it.
    fn make_room(&self, len: usize) -> bool {
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

fn read(folder: &SnapshotFolder, index: LogIndex, to: &mpsc::Sender<Part>, ahead: &Ahead) -> Result<(), SnapshotError> {
    let mut reader = folder.read(index)?;
    let send = |part: SnapshotPart| ahead.make_room(part.bytes().len()) && to.blocking_send(Ok(part)).is_ok();
    let mut goes_on = send(SnapshotPart::Head(reader.head().to_vec().into()));
    while goes_on && let Some(chunk) = reader.next_chunk()? {
        goes_on = send(SnapshotPart::Chunk(chunk.into()));
    }
    if let Some(tail) = reader.tail() {
        send(SnapshotPart::Tail(tail.to_vec().into()));
    }
    Ok(())
}

struct Source {
    parts: mpsc::Receiver<Part>,
    ahead: Arc<Ahead>,
    /// Of the file, which has little besides the chunks.
    bytes: Option<u64>,
}

impl Source {
    async fn take(&mut self) -> Result<Option<SnapshotPart>, String> {
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

    async fn next(&mut self) -> Result<Option<SnapshotPart>, String> {
        self.take().await
    }
}

/// A snapshot that is read to be sent: piece by piece, as its frames are, so that no more than some of them are in
/// memory.
struct Outgoing {
    pieces: mpsc::Receiver<Result<SnapshotPiece, SnapshotFileError>>,
    bytes: u64,
}

#[async_trait::async_trait]
impl OutgoingSnapshot for Outgoing {
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

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
