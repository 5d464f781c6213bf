//! Snapshots: heads, chunks and tails, and their files.

use std::cell::RefCell;
use std::path::PathBuf;

use bytes::Bytes;
use fastness_consensus::handle::{Committed, EntryPayload};
use fastness_engine::{Digest, EffectBuf};
use fastness_log::{Draft, SnapshotFolder, fuzzing};
use fastness_shard::SnapshotCheck;
use fastness_types::{ClusterId, Epoch, GroupId, LogIndex, NodeId, ShardId};

use super::batches::batches;
use super::images::images;
use super::input::{joined, linear, none, pieces, words};
use crate::Target;
use crate::bench::{ENGINES_BYTES, NOW, image, run, with_engines};

pub(super) const SNAPSHOT: Target = Target {
    name: "snapshot",
    what: "head, chunks and tail of a snapshot, and log entries after it: what is accepted has the keys and the digest \
           that its tail says",
    bytes_max: 1_200,
    share: 3,
    seeds,
    words: || {
        words(&[
            "\"index\":",
            "\"durability\":\"async\"",
            "null",
            "\"\"",
            "18446744073709551616",
            "-1",
            "{",
            "}",
            "[",
            "\"log_checksum\":\"\"",
        ])
    },
    memory: |length| ENGINES_BYTES + 4096 * length,
    run: check,
};

pub(super) const SNAPSHOT_FILE: Target = Target {
    name: "snapshot-file",
    what: "files of snapshots: a file that is not exactly as it was written is not read to its end, and what is read \
           before is what was written",
    bytes_max: 700,
    share: 12,
    seeds: files,
    words: none,
    memory: |length| (4 << 20) + linear(length),
    run: read_file,
};

const EPOCH: Epoch = Epoch { term: 3, node: NodeId(2) };

fn tail(keys: u64, digest: Digest) -> Vec<u8> {
    format!(
        "{{\"index\":100,\"term\":3,\"node\":2,\"sequence\":0,\"durability\":\"sync\",\"durability_version\":1,\
         \"max_lag_ms\":10000,\"max_lag_version\":1,\"log_checksum\":\"00000000deadbeef\",\"keys\":{keys},\
         \"digest\":\"{digest}\"}}"
    )
    .into_bytes()
}

/// Parts: each has its kind (0 head, 1 chunk, 2 tail, 3 entry) before its bytes.
fn parts(parts: &[(u8, &[u8])]) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = parts.iter().map(|(kind, bytes)| [&[*kind][..], bytes].concat()).collect();
    joined(parts.iter().map(|part| &part[..]))
}

fn seeds() -> Vec<Vec<u8>> {
    let head: &[u8] = b"{\"version\":1,\"shard\":1,\"stamp\":1700000000000}";
    let (data, sum) = with_engines(|[engine, ..]| {
        let mut effects = EffectBuf::new();
        run(engine, &[b"SET", b"a", b"1"], &mut effects);
        run(engine, &[b"HSET", b"h", b"f", b"1"], &mut effects);
        (image(engine, usize::MAX), tail(engine.keyspace_stats().keys, engine.digest()))
    });
    let none = with_engines(|[engine, ..]| tail(0, engine.digest()));
    let batches = batches();
    let mut seeds = vec![
        parts(&[(0, head), (1, &data), (2, &sum)]),
        parts(&[(0, head), (1, &data), (2, &sum), (3, &batches[2]), (3, &batches[1])]),
        parts(&[(0, head), (2, &none), (3, &batches[0])]),
        parts(&[(0, head), (2, &none)]),
    ];
    for image in images() {
        let (keys, digest) = with_engines(|[engine, ..]| {
            engine.load_image(NOW, &image).unwrap_or_else(|error| panic!("an image that was written: {error}"));
            (engine.keyspace_stats().keys, engine.digest())
        });
        seeds.push(parts(&[(0, head), (1, &image), (2, &tail(keys, digest))]));
    }
    seeds
}

fn check(input: &[u8]) -> bool {
    let mut parts = pieces(input).into_iter().filter_map(<[u8]>::split_first);
    let Some((_, head)) = parts.next() else { return false };
    let Ok(mut check) = SnapshotCheck::new(ShardId(1), head) else { return false };
    let mut finished = None;
    for (kind, bytes) in parts.by_ref() {
        if *kind != 1 {
            finished = Some(bytes);
            break;
        }
        if check.chunk(bytes).is_err() {
            return false;
        }
    }
    let Some(tail) = finished else { return false };
    let Ok((report, mut replay)) = check.finish(tail) else { return false };
    let said = String::from_utf8_lossy(tail);
    assert!(said.contains(&report.digest.to_string()), "the tail says the digest");
    assert_eq!(replay.index(), report.index);
    for (number, (_, payload)) in (1u64..).zip(parts) {
        let Some(index) = report.index.0.checked_add(number) else { break };
        let payload = EntryPayload::Batch(Bytes::copy_from_slice(payload));
        if replay.apply(&Committed { index: LogIndex(index), epoch: EPOCH, payload }).is_err() {
            break;
        }
        assert_eq!(replay.index().0, index);
    }
    true
}

const INDEX: LogIndex = LogIndex(7);

struct Files {
    folder: SnapshotFolder,
    path: PathBuf,
    /// Removed at the end of the program.
    _dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        // In memory, if the system has such a folder.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder for files");
        let (cluster, node) = (ClusterId([3; 16]), NodeId(2));
        let folder = SnapshotFolder::open(dir.path(), cluster, node, GroupId(1), fuzzing::cipher());
        let path = dir.path().join(format!("{:020}.snapshot", INDEX.0));
        folder.prepare().expect("a folder for files");
        Files { folder, path, _dir: dir }
    }

    /// The parts of a file that was written by [`Files::write`], and its bytes.
    fn write(&self, parts: &[&[u8]]) -> Vec<u8> {
        let written = self.folder.create(Draft::Own, parts[0]).and_then(|mut writer| {
            for chunk in &parts[1..parts.len() - 1] {
                writer.chunk(chunk)?;
            }
            writer.finish(INDEX, parts[parts.len() - 1])
        });
        written.expect("a snapshot is written");
        std::fs::read(&self.path).expect("a snapshot is a file")
    }
}

fn with_files<T>(with: impl FnOnce(&Files, &[(Vec<u8>, Vec<Vec<u8>>)]) -> T) -> T {
    type Written = Vec<(Vec<u8>, Vec<Vec<u8>>)>;
    thread_local! {
        static FILES: RefCell<Option<(Files, Written)>> = const { RefCell::new(None) };
    }
    FILES.with_borrow_mut(|files| {
        let (files, written) = files.get_or_insert_with(|| {
            let files = Files::new();
            let all: [&[&[u8]]; 3] =
                [&[b"head", b"tail"], &[b"head", b"chunk", b"tail"], &[b"", b"", &[b'x'; 300], b"y", b""]];
            let written = all.map(|parts| (files.write(parts), parts.iter().map(|part| part.to_vec()).collect()));
            (files, written.to_vec())
        });
        with(files, written)
    })
}

fn files() -> Vec<Vec<u8>> {
    with_files(|_, written| written.iter().map(|(bytes, _)| bytes.clone()).collect())
}

fn read_file(input: &[u8]) -> bool {
    with_files(|files, written| {
        std::fs::write(&files.path, input).expect("a file is written");
        let (mut read, mut is_whole) = (Vec::new(), false);
        if let Ok(mut reader) = files.folder.read(INDEX) {
            read.push(reader.head().to_vec());
            while let Ok(chunk) = reader.next_chunk() {
                if let Some(chunk) = chunk {
                    read.push(chunk);
                } else {
                    read.extend(reader.tail().map(<[u8]>::to_vec));
                    is_whole = true;
                    break;
                }
            }
        }
        assert!(written.iter().any(|(_, parts)| parts.starts_with(&read)), "something is read that was not written");
        let known = written.iter().find(|(bytes, _)| bytes == input);
        assert_eq!(
            known.map(|(_, parts)| parts),
            is_whole.then_some(&read),
            "a file is read to its end as it was written"
        );
        !read.is_empty()
    })
}
