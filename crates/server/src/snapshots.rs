//! The snapshots of a replica, in files. The shard's thread never waits for a disk: each file has a thread that writes or reads
//! it, and a short queue.
//!
//! The two newest are kept; older ones are removed once a newer one is on stable storage.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use fastness_log::{Cipher, SnapshotError, SnapshotFolder};
use fastness_shard::{SnapshotCheck, SnapshotPart, SnapshotReport, SnapshotSink, SnapshotSource, SnapshotStore};
use fastness_types::{GroupId, LogIndex, ShardId};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::node::{NodeError, master_key};
use crate::tls::Material;

/// Chunks that wait for the disk at once.
const QUEUE_MAX: usize = 16;
const SNAPSHOTS: &str = "snapshots";
const SHARD: &str = "shard-";
/// Snapshots that are kept.
const KEPT: usize = 2;

/// See the module.
pub struct SnapshotFiles {
    folder: Arc<SnapshotFolder>,
    /// Held while a file is written.
    writing: Arc<Mutex<()>>,
}

impl SnapshotFiles {
    /// In this folder.
    #[must_use]
    pub fn new(folder: SnapshotFolder) -> SnapshotFiles {
        SnapshotFiles { folder: Arc::new(folder), writing: Arc::default() }
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
}

/// Reads every snapshot of the node with this config (or of one shard), restores each in a scratch place and compares keys and
/// digest with what it says. The node may be running.
///
/// # Errors
/// Key or certificate cannot be read, or a folder not be listed.
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
        for index in folder.list().map_err(|error| refused(&error))? {
            verified.push(Verified { file: folder.file(index), found: verify_one(&folder, shard, index) });
        }
    }
    Ok(verified)
}

fn verify_one(folder: &SnapshotFolder, shard: ShardId, index: LogIndex) -> Result<SnapshotReport, String> {
    let text = |error: SnapshotError| error.to_string();
    let mut reader = folder.read(index).map_err(text)?;
    let mut check = SnapshotCheck::new(shard, reader.head())?;
    while let Some(chunk) = reader.next_chunk().map_err(text)? {
        check.chunk(&chunk)?;
    }
    let report = check.finish(reader.tail().unwrap_or_default())?;
    if report.index != index {
        return Err(format!("it says that it is of index {}: the file has another one's name", report.index.0));
    }
    Ok(report)
}

enum Message {
    Chunk(Vec<u8>),
    Finish(LogIndex, Vec<u8>),
}

struct Sink {
    to: Sender<Message>,
    waiting: Arc<AtomicUsize>,
    failure: Arc<Mutex<Option<String>>>,
    finished: Arc<AtomicBool>,
}

impl SnapshotSink for Sink {
    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Acquire) < QUEUE_MAX
    }

    fn push(&mut self, chunk: Vec<u8>) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        // The thread has ended if it has failed, and says so itself.
        let _ = self.to.send(Message::Chunk(chunk));
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    fn finish(&mut self, index: LogIndex, tail: Vec<u8>) {
        let _ = self.to.send(Message::Finish(index, tail));
    }

    fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}

impl SnapshotStore for SnapshotFiles {
    fn create(&self, head: Vec<u8>) -> Box<dyn SnapshotSink> {
        let (to, from) = channel();
        let (waiting, failure) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
        let finished = Arc::new(AtomicBool::new(false));
        let sink = Sink { to, waiting: waiting.clone(), failure: failure.clone(), finished: finished.clone() };
        let (folder, lock, told) = (self.folder.clone(), self.writing.clone(), failure.clone());
        let thread = std::thread::Builder::new().name("snapshot-out".into()).spawn(move || {
            let _lock = lock.lock();
            match write(&folder, &head, &from, &waiting) {
                Ok(is_whole) => finished.store(is_whole, Ordering::Release),
                Err(error) => *told.lock() = Some(error.to_string()),
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
        let (to, from) = mpsc::channel(QUEUE_MAX);
        let (folder, failed) = (self.folder.clone(), to.clone());
        let thread = std::thread::Builder::new().name("snapshot-in".into()).spawn(move || {
            if let Err(error) = read(&folder, index, &to) {
                // Whoever reads may have gone away.
                let _ = to.blocking_send(Err(error.to_string()));
            }
        });
        if let Err(error) = thread {
            // There is room: it is the first.
            let _ = failed.try_send(Err(error.to_string()));
        }
        Some((index, Box::new(Source(from))))
    }
}

/// True if it is on stable storage, false if it was given up.
fn write(
    folder: &SnapshotFolder,
    head: &[u8],
    from: &Receiver<Message>,
    waiting: &AtomicUsize,
) -> Result<bool, SnapshotError> {
    let mut writer = folder.create(head)?;
    loop {
        match from.recv() {
            Ok(Message::Chunk(chunk)) => {
                writer.chunk(&chunk)?;
                waiting.fetch_sub(1, Ordering::AcqRel);
            }
            Ok(Message::Finish(index, tail)) => {
                let bytes = writer.bytes();
                writer.finish(index, &tail)?;
                tracing::info!(index = index.0, bytes, "a snapshot is on stable storage");
                for old in folder.list()?.into_iter().skip(KEPT) {
                    folder.remove(old)?;
                }
                return Ok(true);
            }
            Err(_) => {
                folder.discard()?;
                return Ok(false);
            }
        }
    }
}

type Part = Result<SnapshotPart, String>;

fn read(folder: &SnapshotFolder, index: LogIndex, to: &mpsc::Sender<Part>) -> Result<(), SnapshotError> {
    let mut reader = folder.read(index)?;
    let send = |part| to.blocking_send(Ok(part)).is_ok();
    let mut goes_on = send(SnapshotPart::Head(reader.head().to_vec()));
    while goes_on && let Some(chunk) = reader.next_chunk()? {
        goes_on = send(SnapshotPart::Chunk(chunk));
    }
    if let Some(tail) = reader.tail() {
        send(SnapshotPart::Tail(tail.to_vec()));
    }
    Ok(())
}

struct Source(mpsc::Receiver<Part>);

#[async_trait::async_trait(?Send)]
impl SnapshotSource for Source {
    async fn next(&mut self) -> Result<Option<SnapshotPart>, String> {
        self.0.recv().await.transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;
    use std::time::{Duration, Instant};

    use fastness_log::MasterKey;
    use fastness_types::{ClusterId, NodeId};

    use super::*;

    fn files(path: &Path) -> SnapshotFiles {
        let cipher = Cipher::new(MasterKey::from_bytes(&[7; 32]));
        let folder = SnapshotFolder::open(path, ClusterId([1; 16]), NodeId(1), GroupId(1), cipher);
        folder.prepare().unwrap();
        SnapshotFiles::new(folder)
    }

    fn write(files: &SnapshotFiles, index: u64) {
        let mut sink = files.create(b"head".to_vec());
        for chunk in 0..50u8 {
            while !sink.has_room() {
                std::thread::sleep(Duration::from_millis(1));
            }
            sink.push(vec![chunk; 10]);
        }
        assert_eq!(sink.failure(), None);
        sink.finish(LogIndex(index), b"tail".to_vec());
        until(|| sink.is_finished());
        assert_eq!(files.folder.list().unwrap().first(), Some(&LogIndex(index)));
    }

    fn until(holds: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < until, "it does not come");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    async fn parts(files: &SnapshotFiles, below: Option<LogIndex>) -> (u64, Result<Vec<SnapshotPart>, String>) {
        let (index, mut source) = files.open_newest(below).unwrap();
        let mut parts = Vec::new();
        loop {
            match source.next().await {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => return (index.0, Ok(parts)),
                Err(error) => return (index.0, Err(error)),
            }
        }
    }

    #[tokio::test]
    async fn the_two_newest_are_kept_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        assert!(files.open_newest(None).is_none());
        for index in [10, 20, 30] {
            write(&files, index);
        }
        until(|| files.folder.list().unwrap().len() == KEPT);
        let (index, newest) = parts(&files, None).await;
        let newest = newest.unwrap();
        assert_eq!((index, newest.len()), (30, 52));
        assert_eq!(newest[0], SnapshotPart::Head(b"head".to_vec()));
        assert_eq!(newest[50], SnapshotPart::Chunk(vec![49; 10]));
        assert_eq!(newest[51], SnapshotPart::Tail(b"tail".to_vec()));
        assert_eq!(parts(&files, Some(LogIndex(30))).await.0, 20);
        assert!(files.open_newest(Some(LogIndex(20))).is_none());

        let path = files.folder.file(LogIndex(30));
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = parts(&files, None).await.1.unwrap_err();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("its bytes have changed"), "{error}");
    }

    #[test]
    fn one_that_is_given_up_leaves_nothing_and_a_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let mut sink = files.create(b"head".to_vec());
        sink.push(vec![1; 10]);
        drop(sink);
        until(|| std::fs::read_dir(dir.path()).unwrap().count() == 0 && files.writing.try_lock().is_some());
        std::fs::remove_dir(dir.path()).unwrap();
        let sink = files.create(b"head".to_vec());
        until(|| sink.failure().is_some());
        assert!(sink.failure().unwrap().contains(dir.path().to_str().unwrap()));
        std::fs::create_dir(dir.path()).unwrap();
    }
}
