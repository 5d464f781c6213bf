//! One stream: the RDB file, then the committed units as commands. Runs on a thread of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastness_consensus::handle::{GroupHandle, Role};
use fastness_engine::outbound::dialect::Dialect;
use fastness_engine::outbound::unit::UnitCommands;
use fastness_engine::outbound::untranslated::Untranslated;
use fastness_events::Event;
use fastness_shard::batch::UnitKind;
use fastness_shard::changes::{ChangeError, ChangePosition, ChangeReader, ChangeStart, CommittedBatch};
use fastness_types::limits::{OUTBOUND_LARGE_TIME_MAX, OUTBOUND_QUEUE_BYTES_MAX, OUTBOUND_SNAPSHOT_WAIT_MAX};
use fastness_types::{BootNs, Clock as _, LogIndex, SystemClock};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use super::rdb::{FileError, FileFacts, FileForm, RdbFile, empty, length_of};
use super::readers::{OutboundReader, OutboundState};
use crate::process;
use crate::shared::{NodeShared, Phase};
use crate::snapshots::SnapshotFiles;

/// Bytes that are passed to the connection at once.
const PIECE_BYTES: usize = 64 * 1024;
/// How often it is checked whether the replica still serves, and whether the snapshot is complete.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// How often it is checked whether the reader has found the end of the file.
const READY_EVERY: Duration = Duration::from_millis(20);
/// Time between two signs of life while there is nothing to send before the file: readers wait a minute.
const NEWLINE_EVERY: Duration = Duration::from_secs(1);
/// Time between two PINGs in the stream (Valkey's `repl-ping-replica-period`).
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long the replica may have no contact with a primary: longer than an election takes.
const CONTACT_LOST_MAX: Duration = Duration::from_secs(5);
/// The least time between two looks at the log: a shard that commits all the time is not read for every batch.
const READ_EVERY: Duration = Duration::from_millis(1);
/// Commands of Valkey's protocol that belong to no unit.
const SELECT: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// The queue between a stream and its connection.
pub type QueuedBytes = mpsc::Receiver<Bytes>;

/// From where a stream reads.
pub struct OutboundSource {
    /// The node.
    pub node: Arc<NodeShared>,
    /// The group of its replica.
    pub handle: GroupHandle,
    /// The snapshots of the replica.
    pub files: SnapshotFiles,
    /// The snapshot with which the stream starts is of this index or a later one; it was requested.
    pub from: LogIndex,
    /// About how many keys there are.
    pub keys: u64,
}

/// What a reader has asked for.
#[derive(Debug)]
pub struct OutboundRequest {
    /// Bytes that are sent first: the reply to PSYNC.
    pub greeting: Vec<u8>,
    /// What it understands.
    pub dialect: Dialect,
    /// How it finds the end of the file.
    pub form: FileForm,
    /// Whether the file has the data; else it is empty.
    pub with_data: bool,
    /// Whether nothing follows the file.
    pub only_file: bool,
    /// Its place among those of the node.
    pub place: OwnedSemaphorePermit,
}

/// Why a stream ends.
enum OutboundEnd {
    /// The connection is gone.
    Gone,
    /// Nothing was to follow the file.
    Complete,
    /// The replica cannot continue it.
    Source(String),
    /// The reader is too slow.
    Slow(String),
}

impl From<FileError> for OutboundEnd {
    fn from(error: FileError) -> OutboundEnd {
        OutboundEnd::Source(error.to_string())
    }
}

impl From<Untranslated> for OutboundEnd {
    fn from(error: Untranslated) -> OutboundEnd {
        OutboundEnd::Source(format!("the stream has to start again: {error}"))
    }
}

impl From<ChangeError> for OutboundEnd {
    fn from(error: ChangeError) -> OutboundEnd {
        match error {
            ChangeError::Purged { .. } => OutboundEnd::Slow(format!("the reader has fallen behind: {error}")),
            error => OutboundEnd::Source(error.to_string()),
        }
    }
}

/// Starts a stream.
///
/// # Errors
/// The system gives no thread or runtime.
pub fn start(source: OutboundSource, reader: Arc<OutboundReader>, request: OutboundRequest) -> io::Result<QueuedBytes> {
    let (to, queue) = mpsc::channel((OUTBOUND_QUEUE_BYTES_MAX / PIECE_BYTES).max(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    process::spawn_background("replication-out", move || {
        let now = SystemClock.boot();
        let marker = format!("fastness-marker-{:032x}", rand::random::<u128>()).into_bytes();
        let mut stream = OutboundStream {
            source,
            reader,
            request,
            marker: marker.into(),
            to,
            out: Vec::new(),
            in_commands: false,
            contact: now,
            large_until: None,
            has_told_of_deadlines: false,
        };
        runtime.block_on(stream.run());
    })?;
    Ok(queue)
}

struct OutboundStream {
    source: OutboundSource,
    reader: Arc<OutboundReader>,
    request: OutboundRequest,
    /// A text that no list and no group has.
    marker: Arc<[u8]>,
    to: mpsc::Sender<Bytes>,
    /// What was made and not passed on.
    out: Vec<u8>,
    /// Whether `out` has commands: they count in the offset.
    in_commands: bool,
    /// When the replica was last in contact with a primary.
    contact: BootNs,
    /// Until when a batch of several entries must have been passed on.
    large_until: Option<Instant>,
    has_told_of_deadlines: bool,
}

impl OutboundStream {
    async fn run(&mut self) {
        let Err(end) = self.follow().await;
        match end {
            OutboundEnd::Gone => self.reader.end("the connection was closed"),
            // The event of the file says it.
            OutboundEnd::Complete => return,
            OutboundEnd::Source(reason) => self.reader.end(reason),
            OutboundEnd::Slow(reason) => {
                self.source.node.outbound.count_cut_off();
                self.reader.end(reason);
            }
        }
        let (shard, reader) = (self.source.handle.group(), self.reader.name());
        let reason = self.reader.end_reason().unwrap_or_default();
        self.source.node.events.record(Event::OutboundEnded { shard, reader, reason });
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, OutboundEnd> {
        let greeting = std::mem::take(&mut self.request.greeting);
        self.out.extend_from_slice(&greeting);
        self.flush().await?;
        let index = if self.request.with_data { self.snapshot().await? } else { self.source.handle.applied() };
        self.send_file(index).await?;
        if self.request.only_file {
            return Err(OutboundEnd::Complete);
        }
        self.reader_is_ready().await?;
        let start = ChangeStart::After(ChangePosition::end_of(index));
        let large = self.source.node.outbound.large.clone();
        let mut log = ChangeReader::open(self.source.handle.clone(), start, large).await?;
        self.reader.set_state(OutboundState::Online);
        self.in_commands = true;
        self.out.extend_from_slice(SELECT);
        self.flush().await?;
        self.send_commands(&mut log).await
    }

    /// Waits for the snapshot with which the stream starts.
    async fn snapshot(&mut self) -> Result<LogIndex, OutboundEnd> {
        let until = Instant::now() + OUTBOUND_SNAPSHOT_WAIT_MAX;
        let mut newline_at = Instant::now() + NEWLINE_EVERY;
        loop {
            if let Some(index) = self.source.files.newest().filter(|index| *index >= self.source.from) {
                return Ok(index);
            }
            self.check()?;
            let now = Instant::now();
            if now >= until {
                return Err(OutboundEnd::Source("no snapshot was made in time; the node's log says why".to_owned()));
            }
            if now >= newline_at {
                newline_at = now + NEWLINE_EVERY;
                self.out.push(b'\n');
                self.flush().await?;
            }
            self.pause(CHECK_EVERY).await?;
        }
    }

    /// Waits until the reader has confirmed the file. One that finds its end by a mark looks for that at the end of
    /// what it has received, so nothing may follow before it has found it.
    async fn reader_is_ready(&mut self) -> Result<(), OutboundEnd> {
        if self.request.form == FileForm::Length {
            return Ok(());
        }
        self.reader.set_state(OutboundState::AwaitsReader);
        while self.reader.acknowledged().is_none() {
            self.check()?;
            self.pause(READY_EVERY).await?;
        }
        Ok(())
    }

    /// Waits, unless the connection ends.
    async fn pause(&self, span: Duration) -> Result<(), OutboundEnd> {
        tokio::select! {
            () = self.to.closed() => Err(OutboundEnd::Gone),
            () = tokio::time::sleep(span) => Ok(()),
        }
    }

    async fn send_file(&mut self, index: LogIndex) -> Result<(), OutboundEnd> {
        self.reader.set_state(OutboundState::SendsFile);
        let made_at = SystemClock.wall().0 / 1_000;
        let facts = FileFacts::new(self.reader.shard, self.request.dialect, self.source.keys, made_at);
        if !self.request.with_data {
            let file = empty(&facts);
            self.begin_file(|| Ok(file.len() as u64))?;
            self.out.extend_from_slice(&file);
            return self.end_file().await;
        }
        let files = self.source.files.clone();
        self.begin_file(|| length_of(&files, index, &facts))?;
        let mut file = RdbFile::open(&files, index, &facts, &mut self.out)?;
        let exported = loop {
            if self.out.len() >= PIECE_BYTES {
                self.flush().await?;
            }
            self.check()?;
            if let Some(exported) = file.write_next(&mut self.out)? {
                break exported;
            }
        };
        self.end_file().await?;
        let (shard, reader, keys) = (self.source.handle.group(), self.reader.name(), exported.keys);
        self.source.node.events.record(Event::OutboundSent { shard, reader, index, keys });
        self.tell_of_deadlines(exported.hashes_without_deadlines > 0);
        Ok(())
    }

    fn begin_file(&mut self, length: impl FnOnce() -> Result<u64, FileError>) -> Result<(), OutboundEnd> {
        let head = match &self.request.form {
            FileForm::Mark(mark) => format!("$EOF:{mark}\r\n"),
            FileForm::Length => format!("${}\r\n", length()?),
        };
        self.out.extend_from_slice(head.as_bytes());
        Ok(())
    }

    async fn end_file(&mut self) -> Result<(), OutboundEnd> {
        if let FileForm::Mark(mark) = &self.request.form {
            self.out.extend_from_slice(mark.as_bytes());
        }
        self.flush().await
    }

    async fn send_commands(&mut self, log: &mut ChangeReader) -> Result<std::convert::Infallible, OutboundEnd> {
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ping_at = Instant::now() + PING_EVERY;
        let mut read_at = Instant::now();
        loop {
            self.check()?;
            if Instant::now() >= ping_at {
                ping_at = Instant::now() + PING_EVERY;
                self.out.extend_from_slice(PING);
            }
            let next = tokio::select! {
                biased;
                next = log.next() => next?,
                _ = check.tick() => continue,
            };
            match next {
                Some(batch) => self.send_batch(&batch).await?,
                None => {
                    self.flush().await?;
                    tokio::select! {
                        () = log.moved() => tokio::time::sleep_until(read_at + READ_EVERY).await,
                        () = self.to.closed() => return Err(OutboundEnd::Gone),
                        _ = check.tick() => {}
                    }
                    read_at = Instant::now();
                }
            }
        }
    }

    async fn send_batch(&mut self, batch: &CommittedBatch) -> Result<(), OutboundEnd> {
        let marker = self.marker.clone();
        self.large_until = batch.is_assembled().then(|| Instant::now() + OUTBOUND_LARGE_TIME_MAX);
        for unit in batch.units()? {
            let unit = unit.unit;
            let has_changes = match unit.kind {
                UnitKind::Write | UnitKind::Expiry => !unit.effects.is_empty(),
                UnitKind::Mode | UnitKind::Time | UnitKind::Setting | UnitKind::Leave => false,
            };
            if !has_changes {
                continue;
            }
            let mut commands = UnitCommands::new(unit.effects, self.request.dialect, &marker)?;
            while commands.write_next(&mut self.out)? {
                if self.out.len() >= PIECE_BYTES {
                    self.flush().await?;
                }
            }
            self.tell_of_deadlines(commands.has_left_off_deadlines());
        }
        if self.out.len() >= PIECE_BYTES || batch.is_assembled() {
            self.flush().await?;
        }
        self.large_until = None;
        Ok(())
    }

    /// Records once that deadlines of fields are not carried.
    fn tell_of_deadlines(&mut self, are_left_off: bool) {
        if are_left_off && !std::mem::replace(&mut self.has_told_of_deadlines, true) {
            let (shard, reader) = (self.source.handle.group(), self.reader.name());
            self.source.node.events.record(Event::OutboundWithoutDeadlines { shard, reader });
        }
    }

    /// Passes on what was made, in pieces. Waits while the queue is full; the connection closes it if its reader takes
    /// nothing.
    async fn flush(&mut self) -> Result<(), OutboundEnd> {
        let mut rest = Bytes::from(std::mem::take(&mut self.out));
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            let len = piece.len();
            let sent = self.to.send(piece);
            match self.large_until {
                None => sent.await.map_err(|_| OutboundEnd::Gone)?,
                Some(until) => {
                    let slow = |_| OutboundEnd::Slow("the reader takes a large transaction too slowly".to_owned());
                    tokio::time::timeout_at(until, sent).await.map_err(slow)?.map_err(|_| OutboundEnd::Gone)?;
                }
            }
            if self.in_commands {
                self.reader.add_to_offset(len);
            }
        }
        Ok(())
    }

    /// Checks what ends a stream beside its reader.
    fn check(&mut self) -> Result<(), OutboundEnd> {
        let now = SystemClock.boot();
        let has_contact = match &**self.source.handle.role() {
            Role::Leader { lease, .. } => lease.holds(now),
            Role::Follower { .. } => self.source.handle.hears_leader(now),
            Role::Stopped { .. } => return Err(OutboundEnd::Source("the replica has stopped".to_owned())),
        };
        if has_contact {
            self.contact = now;
        } else if now.since(self.contact) > CONTACT_LOST_MAX {
            return Err(OutboundEnd::Source("the replica has lost contact with its primary".to_owned()));
        }
        // What was committed until now was sent, or is read from another replica.
        if self.source.node.phase() >= Phase::Waiting {
            return Err(OutboundEnd::Source("the node stops".to_owned()));
        }
        Ok(())
    }
}
