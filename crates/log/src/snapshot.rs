//! Snapshot files of one group: an image of its data at one log position, encrypted, in the group's folder.
//!
//! The owner defines the content of a snapshot; here it is a head, chunks and a tail. All calls block: a caller that
//! must not wait runs them on another thread.
//!
//! # File (frozen; golden bytes in the tests), named after the log position: `INDEX.snapshot`, 20 digits
//!
//! ```text
//! magic        8   "FASTSNAP"
//! version      u8  1
//! reserved     3   0
//! fingerprint  8   of the master key
//! nonce        12  random
//! key          48  the file's own key, wrapped by the master key (AES-256-GCM, with tag)
//! frames:
//!   kind       u8  1 head, 2 chunk, 3 tail, 4 part of a chunk that continues in the next frame
//!   length     u32 be, of the sealed bytes
//!   sealed         AES-256-GCM under the file's key, with tag; the nonce is 0x00000002 and the frame's number, u64 be
//! ```
//!
//! Associated data: of the key `"fastness/snapshot-key/1" | cluster 16 | node 8 | group u32 be`, of a frame
//! `"fastness/snapshot/1" | cluster | node | group | number u64 be | kind | length`. So a frame opens only in its own
//! file, place and order. A file is one head, any number of chunks, one tail, then its end, so that a truncated file is
//! detected.
//!
//! # Invariants
//! - A file is written under another name (`writing`; `receiving-N` if another node sends it), synced, renamed, and its
//!   folder synced. A file whose name ends in `.snapshot` is therefore complete, unless the disk has damaged it.
//! - Each file has its own key, so that no nonce is used twice, and the log can drop its keys without checking the
//!   snapshots.
//! - A rotation of the master key replaces the header of each file, and leaves the frames as they are
//!   (`snapshot_header.rs`). While `INDEX.header` exists beside a file, it counts instead of the file's own header.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fail::fail_point;
use fastness_types::{ClusterId, GroupId, LogIndex, NodeId};
use parking_lot::Mutex;
use ring::aead::{Aad, LessSafeKey, Nonce};

use crate::cipher::{Cipher, MasterKeys, Random};
use crate::entry::{TAG_BYTES, array_at};
use crate::folder;
use crate::master_key::{Fingerprint, MasterKey, aead_key};
use crate::snapshot_header::{Fault, HEADER_BYTES, Header, HeaderFile};

/// First 4 bytes of a frame's nonce. The log has number 1.
const PURPOSE_SNAPSHOT: [u8; 4] = [0, 0, 0, 2];
/// Longest frame, in plain bytes. A longer chunk is split. A longer length is damage, and is not allocated.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Bytes written between two syncs.
const SYNC_EVERY_BYTES: u64 = 4 << 20;
const ENDING: &str = ".snapshot";
const WRITING: &str = "writing";
const RECEIVING: &str = "receiving-";
const HEADER: &str = ".header";
const HEADER_WRITING: &str = ".header-writing";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Head = 1,
    Chunk = 2,
    Tail = 3,
    Part = 4,
}

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged: truncated, changed, from another place, or of a newer version.
    #[error(
        "{path}, byte {at}: {what}; the snapshot is damaged: remove the file, and the node uses an older snapshot or the log"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// The file is sealed under a master key that this node does not have.
    #[error(
        "{path} is sealed under the master key with fingerprint {found}, which this node does not have: set master-key-file to the file of that key"
    )]
    OtherMaster {
        /// The file.
        path: PathBuf,
        /// The key's fingerprint.
        found: Fingerprint,
    },
}

/// A file that is not a snapshot yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draft {
    /// The node's own draft; only one exists at a time.
    Own,
    /// A draft that another node sends, identified by a number.
    Received(u64),
}

impl Draft {
    fn name(self) -> String {
        match self {
            Draft::Own => WRITING.to_owned(),
            Draft::Received(number) => format!("{RECEIVING}{number}"),
        }
    }
}

/// The snapshot files of one group on one node.
pub struct SnapshotFolder {
    path: PathBuf,
    place: Vec<u8>,
    keys: MasterKeys,
    random: Mutex<Random>,
}

impl std::fmt::Debug for SnapshotFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotFolder").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SnapshotFolder {
    /// A handle of the folder; changes nothing. A caller that writes calls [`SnapshotFolder::prepare`] first.
    #[must_use]
    pub fn open(path: &Path, cluster: ClusterId, node: NodeId, group: GroupId, cipher: Cipher) -> SnapshotFolder {
        let mut place = Vec::with_capacity(28);
        place.extend_from_slice(&cluster.0);
        place.extend_from_slice(&node.0.to_be_bytes());
        place.extend_from_slice(&group.0.to_be_bytes());
        let Cipher { keys, random } = cipher;
        SnapshotFolder { path: path.to_owned(), place, keys, random: Mutex::new(random) }
    }

    /// Creates the folder if necessary, removes the drafts that an earlier process left, and completes the replacement
    /// of a header.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn prepare(&self) -> Result<(), SnapshotError> {
        // A rotation of the master key may be replacing headers in this folder.
        let _headers = self.keys.lock_headers();
        // Drafts first: on a full disk the folder exists, and removing its drafts frees space.
        self.remove_drafts()?;
        self.io(folder::create_durably(&self.path))?;
        for index in self.positions(HEADER)? {
            match self.complete_header(index) {
                // The header in the file may be whole. If not, reading the snapshot says so.
                Err(error @ SnapshotError::Damaged { .. }) => tracing::error!(%error, "a snapshot's header"),
                completed => completed?,
            }
        }
        Ok(())
    }

    /// Removes all drafts, whoever writes them; returns their bytes.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove_drafts(&self) -> Result<u64, SnapshotError> {
        let mut freed = 0;
        for (name, bytes) in self.sizes().into_iter().filter(|(name, _)| is_draft(name)) {
            match std::fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => self.io(Err(error))?,
                _ => freed += bytes,
            }
        }
        Ok(freed)
    }

    /// Bytes on disk of the snapshots, and of the drafts.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let (drafts, whole): (Vec<_>, Vec<_>) = self.sizes().into_iter().partition(|(name, _)| is_draft(name));
        let sum = |files: Vec<(String, u64)>| files.into_iter().map(|(_, bytes)| bytes).sum();
        (sum(whole), sum(drafts))
    }

    /// Name and bytes on disk of each file; empty if the folder does not exist.
    fn sizes(&self) -> Vec<(String, u64)> {
        use std::os::unix::fs::MetadataExt;
        let Ok(entries) = std::fs::read_dir(&self.path) else { return Vec::new() };
        let size = |entry: std::fs::DirEntry| {
            Some((entry.file_name().into_string().ok()?, entry.metadata().ok()?.blocks() * 512))
        };
        entries.filter_map(|entry| size(entry.ok()?)).collect()
    }

    /// Reads a snapshot back completely, from the disk and not from the page cache, and discards what it reads.
    ///
    /// # Errors
    /// See [`SnapshotError`]. The snapshot must not be relied on then.
    pub fn verify(&self, index: LogIndex) -> Result<(), SnapshotError> {
        use rustix::fs::{Advice, fadvise};
        let file =
            File::open(self.file(index)).map_err(|source| SnapshotError::Io { path: self.file(index), source })?;
        // A hint: if the system ignores it, the file may be read from memory.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        drop(file);
        let mut reader = self.read(index)?;
        while reader.next_piece()?.is_some() {}
        Ok(())
    }

    fn io<T>(&self, result: io::Result<T>) -> Result<T, SnapshotError> {
        result.map_err(|source| SnapshotError::Io { path: self.path.clone(), source })
    }

    /// Path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the file of this position.
    #[must_use]
    pub fn file(&self, index: LogIndex) -> PathBuf {
        self.path.join(format!("{:020}{ENDING}", index.0))
    }

    /// Positions of the existing snapshots, newest first. Other files are skipped.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn list(&self) -> Result<Vec<LogIndex>, SnapshotError> {
        self.positions(ENDING)
    }

    fn positions(&self, ending: &str) -> Result<Vec<LogIndex>, SnapshotError> {
        let mut found = Vec::new();
        for entry in self.io(std::fs::read_dir(&self.path))? {
            let name = self.io(entry)?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(ending)).filter(|digits| digits.len() == 20);
            found.extend(digits.and_then(|digits| digits.parse().ok()).map(LogIndex));
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// Starts to write a snapshot.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn create(&self, draft: Draft, head: &[u8]) -> Result<SnapshotWriter<'_>, SnapshotError> {
        let path = self.path.join(draft.name());
        let at = |source| SnapshotError::Io { path: path.clone(), source };
        let file = File::create(&path).map_err(at)?;
        let mut plain = FileKey([0; 32]);
        (self.random.lock())(&mut plain.0);
        let header = self.header(&self.keys.master(), &plain);
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(header.bytes()).map_err(at)?;
        let (key, bytes) = (aead_key(&plain.0), HEADER_BYTES as u64);
        let mut writer = SnapshotWriter { folder: self, path, out, header, plain, key, number: 0, bytes, synced: 0 };
        writer.frame(Kind::Head, head)?;
        Ok(writer)
    }

    fn header(&self, master: &MasterKey, plain: &FileKey) -> Header {
        let mut nonce = [0; 12];
        (self.random.lock())(&mut nonce);
        Header::new(&master.wrapping, nonce, &self.key_data(), plain.0)
    }

    /// Opens a snapshot and reads its head.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn read(&self, index: LogIndex) -> Result<SnapshotReader, SnapshotError> {
        let path = self.file(index);
        let io = |source| SnapshotError::Io { path: path.clone(), source };
        let (mut file, header) = {
            let _headers = self.keys.lock_headers();
            let mut file = File::open(&path).map_err(io)?;
            let header = self.header_of(index, &mut file)?;
            (file, header)
        };
        let length = file.metadata().map_err(io)?.len();
        if length < HEADER_BYTES as u64 {
            return Err(SnapshotError::Damaged { path, at: length, what: "it ends within its header".into() });
        }
        file.seek(SeekFrom::Start(HEADER_BYTES as u64)).map_err(io)?;
        let input = BufReader::with_capacity(1 << 20, file);
        let key = aead_key(&self.file_key(&path, &header)?.0);
        let data = self.data(b"fastness/snapshot/1", &[]);
        let at = HEADER_BYTES as u64;
        let mut reader = SnapshotReader {
            path,
            input,
            key,
            data,
            number: 0,
            at,
            length,
            head: Vec::new(),
            tail: None,
            within: false,
        };
        match reader.frame()? {
            (Kind::Head, head) => reader.head = head,
            (kind, _) => return Err(reader.damaged(&format!("it starts with a {kind:?}"))),
        }
        Ok(reader)
    }

    /// Removes the draft of an abandoned snapshot.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn discard(&self, draft: Draft) -> Result<(), SnapshotError> {
        match std::fs::remove_file(self.path.join(draft.name())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.io(Err(error)),
            _ => Ok(()),
        }
    }

    /// Removes a snapshot; succeeds if it does not exist.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove(&self, index: LogIndex) -> Result<(), SnapshotError> {
        {
            let _headers = self.keys.lock_headers();
            match std::fs::remove_file(self.file(index)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => self.io(Err(error))?,
                _ => self.io(self.header_file(index).remove())?,
            }
        }
        self.sync()
    }

    /// Puts every snapshot under the master key in force, unless it is already: replaces the headers of the files.
    /// Returns how many were replaced, and what could not be. Snapshots that are being written need nothing: they get
    /// the key in force when they are finished.
    ///
    /// # Errors
    /// The folder cannot be read. A folder that does not exist has no snapshots.
    pub fn rewrap_all(&self) -> Result<(u64, Vec<SnapshotError>), SnapshotError> {
        let list = match self.list() {
            Err(SnapshotError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            list => list?,
        };
        let (mut replaced, mut failed) = (0, Vec::new());
        for index in list {
            match self.rewrap(index) {
                Ok(done) => replaced += u64::from(done),
                Err(error) => failed.push(error),
            }
        }
        Ok((replaced, failed))
    }

    fn rewrap(&self, index: LogIndex) -> Result<bool, SnapshotError> {
        let _headers = self.keys.lock_headers();
        let path = self.file(index);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            // Removed since the list was made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(SnapshotError::Io { path, source }),
        };
        let (header, master) = (self.header_of(index, &mut file)?, self.keys.master());
        if header.fingerprint() != master.fingerprint() {
            let plain = self.file_key(&path, &header)?;
            self.io(self.header_file(index).store(&self.header(&master, &plain)))?;
        }
        // Also that of a replacement which was interrupted.
        self.complete_header(index)?;
        Ok(header.fingerprint() != master.fingerprint())
    }

    /// The header that counts. The lock of headers is held.
    fn header_of(&self, index: LogIndex, file: &mut File) -> Result<Header, SnapshotError> {
        let beside = self.header_file(index);
        let (path, header) = match beside.read() {
            Ok(Some(header)) => (beside.path, Ok(header)),
            Ok(None) => (beside.of, Header::read(file)),
            Err(source) => return Err(SnapshotError::Io { path: beside.path, source }),
        };
        match header {
            Ok(header) => header.map_err(|(at, what)| SnapshotError::Damaged { path, at, what }),
            Err(source) => Err(SnapshotError::Io { path, source }),
        }
    }

    fn complete_header(&self, index: LogIndex) -> Result<(), SnapshotError> {
        let beside = self.header_file(index);
        let completed = self.io(beside.complete())?;
        completed.map_err(|(at, what)| SnapshotError::Damaged { path: beside.path, at, what })
    }

    fn header_file(&self, index: LogIndex) -> HeaderFile {
        let named = |ending: &str| self.path.join(format!("{:020}{ending}", index.0));
        HeaderFile { of: self.file(index), path: named(HEADER), draft: named(HEADER_WRITING) }
    }

    /// Unwraps the key of a file.
    fn file_key(&self, path: &Path, header: &Header) -> Result<FileKey, SnapshotError> {
        let found = header.fingerprint();
        let wrapping = self.keys.wrapping_by(found);
        let wrapping = wrapping.ok_or_else(|| SnapshotError::OtherMaster { path: path.to_owned(), found })?;
        let opened = header.open(&wrapping, &self.key_data());
        let damaged = |(at, what): Fault| SnapshotError::Damaged { path: path.to_owned(), at, what };
        opened.map(FileKey).map_err(damaged)
    }

    fn key_data(&self) -> Vec<u8> {
        self.data(b"fastness/snapshot-key/1", &[])
    }

    fn sync(&self) -> Result<(), SnapshotError> {
        self.io(File::open(&self.path).and_then(|folder| folder.sync_all()))
    }

    fn data(&self, label: &[u8], more: &[u8]) -> Vec<u8> {
        [label, &self.place, more].concat()
    }
}

fn is_draft(name: &str) -> bool {
    name == WRITING || name.starts_with(RECEIVING) || name.ends_with(HEADER_WRITING)
}

/// The plain key of one file.
struct FileKey([u8; 32]);

impl Drop for FileKey {
    fn drop(&mut self) {
        self.0.fill(0);
    }
}

fn frame_data(file: &[u8], number: u64, header: &[u8; 5]) -> Vec<u8> {
    [file, &number.to_be_bytes(), header].concat()
}

fn frame_nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&PURPOSE_SNAPSHOT);
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Writes a snapshot. If dropped before [`SnapshotWriter::finish`], there is no snapshot.
pub struct SnapshotWriter<'f> {
    folder: &'f SnapshotFolder,
    path: PathBuf,
    out: BufWriter<File>,
    /// As it was written. The master key may have changed since then.
    header: Header,
    plain: FileKey,
    key: LessSafeKey,
    number: u64,
    bytes: u64,
    /// Length of the file at the last sync.
    synced: u64,
}

impl SnapshotWriter<'_> {
    /// Adds a chunk.
    ///
    /// # Errors
    /// The file system refuses; the snapshot must be abandoned.
    pub fn chunk(&mut self, mut chunk: &[u8]) -> Result<(), SnapshotError> {
        while let Some((part, rest)) = chunk.split_at_checked(FRAME_BYTES_MAX).filter(|(_, rest)| !rest.is_empty()) {
            self.frame(Kind::Part, part)?;
            chunk = rest;
        }
        self.frame(Kind::Chunk, chunk)
    }

    /// Adds a piece of a chunk, of any size. `continues` says that more of the same chunk follows.
    ///
    /// # Errors
    /// The file system refuses; the snapshot must be abandoned.
    pub fn piece(&mut self, mut piece: &[u8], continues: bool) -> Result<(), SnapshotError> {
        if !continues {
            return self.chunk(piece);
        }
        while !piece.is_empty() {
            let (part, rest) = piece.split_at(piece.len().min(FRAME_BYTES_MAX));
            self.frame(Kind::Part, part)?;
            piece = rest;
        }
        Ok(())
    }

    /// Bytes of the file so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the file that may not be on stable storage yet: less than 4 MiB between two calls, however long the
    /// file is.
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        self.bytes - self.synced
    }

    /// Completes the file and makes it the snapshot of this position. It is on stable storage when this returns.
    ///
    /// # Errors
    /// The file system refuses; there is no such snapshot then.
    pub fn finish(mut self, index: LogIndex, tail: &[u8]) -> Result<(), SnapshotError> {
        self.frame(Kind::Tail, tail)?;
        let at = |source| SnapshotError::Io { path: self.path.clone(), source };
        self.out.flush().map_err(at)?;
        self.out.get_ref().sync_all().map_err(at)?;
        fail_point!("log::snapshot");
        let headers = self.folder.keys.lock_headers();
        let master = self.folder.keys.master();
        if self.header.fingerprint() != master.fingerprint() {
            // Nobody relies on the draft, so its header needs no copy beside it.
            let file = self.out.get_ref();
            file.write_all_at(self.folder.header(&master, &self.plain).bytes(), 0).map_err(at)?;
            file.sync_data().map_err(at)?;
        }
        // A header beside an older file of the same name would be taken for that of this one.
        self.folder.complete_header(index)?;
        std::fs::rename(&self.path, self.folder.file(index)).map_err(at)?;
        drop(headers);
        fail_point!("log::renamed");
        self.folder.sync()
    }

    fn frame(&mut self, kind: Kind, plain: &[u8]) -> Result<(), SnapshotError> {
        assert!(plain.len() <= FRAME_BYTES_MAX, "chunks are cut into parts, head and tail are short");
        let mut header = [kind as u8, 0, 0, 0, 0];
        header[1..].copy_from_slice(&((plain.len() + TAG_BYTES) as u32).to_be_bytes());
        let data = frame_data(&self.folder.data(b"fastness/snapshot/1", &[]), self.number, &header);
        let mut sealed = Vec::with_capacity(plain.len() + TAG_BYTES);
        sealed.extend_from_slice(plain);
        self.key
            .seal_in_place_append_tag(frame_nonce(self.number), Aad::from(data), &mut sealed)
            .expect("a frame is far below AES-GCM's limit of 64 GiB");
        self.number += 1;
        self.bytes += (header.len() + sealed.len()) as u64;
        let written = self.out.write_all(&header).and_then(|()| self.out.write_all(&sealed));
        written.and_then(|()| self.pace()).map_err(|source| SnapshotError::Io { path: self.path.clone(), source })
    }

    /// Syncs at regular distances. A file of hundreds of MB that is synced only at its end makes every fsync of the log
    /// on the same disk wait for all of it, which takes seconds on a slow disk.
    fn pace(&mut self) -> std::io::Result<()> {
        if self.unsynced() < SYNC_EVERY_BYTES {
            return Ok(());
        }
        self.out.flush()?;
        self.out.get_ref().sync_data()?;
        self.synced = self.bytes;
        Ok(())
    }
}

/// Reads a snapshot.
pub struct SnapshotReader {
    path: PathBuf,
    input: BufReader<File>,
    key: LessSafeKey,
    data: Vec<u8>,
    number: u64,
    at: u64,
    length: u64,
    head: Vec<u8>,
    tail: Option<Vec<u8>>,
    /// Whether the newest frame was part of a chunk that continues.
    within: bool,
}

impl SnapshotReader {
    /// The head.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The next piece of a chunk, at most one frame long, and whether the chunk continues after it. `None` at the end;
    /// the file is then known to be complete. Not to be mixed with [`SnapshotReader::next_chunk`] within a chunk.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn next_piece(&mut self) -> Result<Option<(Vec<u8>, bool)>, SnapshotError> {
        if self.tail.is_some() {
            return Ok(None);
        }
        match self.frame()? {
            (Kind::Part, piece) => {
                self.within = true;
                Ok(Some((piece, true)))
            }
            (Kind::Chunk, piece) => {
                self.within = false;
                Ok(Some((piece, false)))
            }
            (Kind::Tail, tail) => {
                if self.at != self.length || self.within {
                    return Err(self.damaged("the file does not end after its tail, or a chunk is incomplete"));
                }
                self.tail = Some(tail);
                Ok(None)
            }
            (Kind::Head, _) => Err(self.damaged("it has a second head")),
        }
    }

    /// The next chunk. `None` at the end; the file is then known to be complete.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let mut whole = Vec::new();
        while let Some((piece, continues)) = self.next_piece()? {
            match (whole.is_empty(), continues) {
                (true, false) => return Ok(Some(piece)),
                (_, false) => {
                    whole.extend_from_slice(&piece);
                    return Ok(Some(whole));
                }
                (_, true) => whole.extend_from_slice(&piece),
            }
        }
        Ok(None)
    }

    /// The tail, available once [`SnapshotReader::next_chunk`] or [`SnapshotReader::next_piece`] has returned `None`.
    #[must_use]
    pub fn tail(&self) -> Option<&[u8]> {
        self.tail.as_deref()
    }

    fn damaged(&self, what: &str) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), at: self.at, what: what.to_owned() }
    }

    fn frame(&mut self) -> Result<(Kind, Vec<u8>), SnapshotError> {
        let mut header = [0; 5];
        let left = self.length - self.at;
        if left < header.len() as u64 {
            return Err(self.damaged("it is truncated"));
        }
        let io = |path: &Path, source| SnapshotError::Io { path: path.to_owned(), source };
        self.input.read_exact(&mut header).map_err(|source| io(&self.path, source))?;
        let kind = match header[0] {
            1 => Kind::Head,
            2 => Kind::Chunk,
            3 => Kind::Tail,
            4 => Kind::Part,
            other => return Err(self.damaged(&format!("a frame has the unknown kind {other}"))),
        };
        let length = u32::from_be_bytes(array_at(&header, 1)) as usize;
        if !(TAG_BYTES..=FRAME_BYTES_MAX + TAG_BYTES).contains(&length) {
            return Err(self.damaged(&format!("a frame has the invalid length of {length} bytes")));
        }
        if (length as u64) > left - header.len() as u64 {
            return Err(self.damaged("it is truncated within a frame"));
        }
        let mut sealed = vec![0; length];
        self.input.read_exact(&mut sealed).map_err(|source| io(&self.path, source))?;
        let data = frame_data(&self.data, self.number, &header);
        let opened = self.key.open_in_place(frame_nonce(self.number), Aad::from(data), &mut sealed);
        let plain = opened.map_err(|_| self.damaged("a frame does not open: its bytes have changed"))?.len();
        sealed.truncate(plain);
        self.number += 1;
        self.at += (header.len() + length) as u64;
        Ok((kind, sealed))
    }
}
