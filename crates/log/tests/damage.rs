//! Changes every byte of every file of a small log in RocksDB, one at a time. Each open must either refuse, naming the
//! file and what to do, or find everything. It must never find less.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{CLUSTER, NODE, append, master, open_store, vote};
use fastness_log::rocks::{RocksOptions, RocksStore};
use fastness_log::{Cipher, EntryId, Log, LogEntry, LogOptions, WriterDriver};
use fastness_types::GroupId;

const GROUPS: [GroupId; 2] = [GroupId(0), GroupId(7)];
const BOOT: &str = "this boot";
const NEXT_BOOT: &str = "the next boot";

/// All files of a folder.
type Image = BTreeMap<PathBuf, Vec<u8>>;

/// Last entry, all entries and vote of each group.
type Content = Vec<(Option<EntryId>, Vec<LogEntry>, Option<Vec<u8>>)>;

/// A directory in memory if the system has one, because thousands of logs are opened.
fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn options(dir: &Path, boot: &str) -> RocksOptions {
    let mut options = RocksOptions::new(dir);
    options.boot_id = Some(boot.to_owned());
    options
}

/// Starts twice. Everything of the first start is in table files, everything of the second in the write-ahead log.
fn make(dir: &Path) {
    for start in 0..2 {
        let store = RocksStore::open(&options(dir, BOOT)).unwrap();
        let log = open_store(store.clone(), |_| {});
        for group in GROUPS {
            append(&log.group(group), start * 4 + 1..=start * 4 + 4).unwrap();
            vote(&log.group(group), format!("vote {start}").as_bytes()).unwrap();
        }
        log.close();
        if start == 0 {
            store.flush().unwrap();
        }
    }
}

fn image(dir: &Path) -> Image {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.file_name().unwrap().into(), std::fs::read(&path).unwrap())).collect()
}

fn write(dir: &Path, image: &Image) {
    std::fs::create_dir_all(dir).unwrap();
    for old in std::fs::read_dir(dir).unwrap() {
        let old = old.unwrap().path();
        if old.is_dir() { std::fs::remove_dir_all(old).unwrap() } else { std::fs::remove_file(old).unwrap() }
    }
    for (name, bytes) in image {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

fn content(dir: &Path, boot: &str) -> Result<Content, String> {
    let store = RocksStore::open(&options(dir, boot)).map_err(|error| error.to_string())?;
    let options = LogOptions::new(NODE, CLUSTER);
    let log = Log::open(store, Cipher::new(master()), options, WriterDriver::Thread).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = GROUPS.map(|id| {
        let group = log.group(id);
        let state = group.state();
        let mut entries = Vec::new();
        let end = state.last.map_or(0, |last| last.index + 1);
        while state.first.unwrap_or(1) + (entries.len() as u64) < end {
            let next = state.first.unwrap() + entries.len() as u64;
            let read = runtime.block_on(group.read(next..end, 1000)).map_err(|error| error.to_string())?;
            entries.extend(read.iter().map(|entry| (**entry).clone()));
        }
        Ok::<_, String>((state.last, entries, state.vote.map(|vote| vote.to_vec())))
    });
    log.close();
    found.into_iter().collect()
}

/// What is wrong with the result of an open, if anything.
fn wrong(found: &Result<Content, String>, allowed: &[&Content], dir: &Path) -> Option<String> {
    match found {
        Ok(found) if allowed.contains(&found) => None,
        Ok(found) => Some(format!("it finds {found:?}")),
        // The message must name the file or at least the directory, and what to do.
        Err(error) if !error.contains(dir.to_str().unwrap()) => Some(format!("no place in: {error}")),
        Err(error) if !["replace-replica", "master", "newer version"].iter().any(|word| error.contains(word)) => {
            Some(format!("nothing to do in: {error}"))
        }
        Err(_) => None,
    }
}

struct Run {
    image: Image,
    whole: Content,
    /// The content without the last batch, which a power loss may tear.
    without_last: Content,
}

fn prepare() -> Run {
    let dir = scratch();
    let path = dir.path().join("log");
    make(&path);
    let image = image(&path);
    let whole = content(&path, BOOT).unwrap();
    assert_eq!(whole.iter().map(|(_, entries, _)| entries.len()).sum::<usize>(), 16);
    let mut without_last = whole.clone();
    without_last[1].2 = Some(b"vote 0".to_vec());
    Run { image, whole, without_last }
}

/// Changes each byte of each file that `chosen` accepts, opens the log as of `boot`, and returns how many opens refused
/// and how many found everything.
fn flip_all(run: &Run, boot: &str, chosen: impl Fn(&str) -> bool, torn: bool) -> (usize, usize) {
    let names = run.image.keys().filter(|name| chosen(name.to_str().unwrap()));
    let places: Vec<(&PathBuf, usize)> =
        names.flat_map(|name| (0..run.image[name].len()).map(move |at| (name, at))).collect();
    assert!(!places.is_empty());
    let half = places.len().div_ceil(2);
    let outcomes = std::thread::scope(|scope| {
        let halves: Vec<_> = places.chunks(half).map(|part| scope.spawn(move || flip(run, boot, part, torn))).collect();
        halves.into_iter().map(|half| half.join().unwrap()).collect::<Vec<_>>()
    });
    let wrong: Vec<String> = outcomes.iter().flat_map(|(.., wrong)| wrong.clone()).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), places.len(), wrong[..wrong.len().min(20)].join("\n"));
    outcomes.iter().fold((0, 0), |(refused, whole), one| (refused + one.0, whole + one.1))
}

fn flip(run: &Run, boot: &str, places: &[(&PathBuf, usize)], torn: bool) -> (usize, usize, Vec<String>) {
    let dir = scratch();
    let path = dir.path().join("log");
    let (mut refused, mut whole, mut wrongs) = (0, 0, Vec::new());
    let allowed = if torn { vec![&run.whole, &run.without_last] } else { vec![&run.whole] };
    for &(name, at) in places {
        let mut image = run.image.clone();
        let byte = &mut image.get_mut(name).unwrap()[at];
        *byte ^= 1 << (at % 8);
        write(&path, &image);
        let found = content(&path, boot);
        if let Some(what) = wrong(&found, &allowed, &path) {
            wrongs.push(format!("{} byte {at} of {}: {what}", name.display(), run.image[name].len()));
        }
        if found.is_ok() { whole += 1 } else { refused += 1 }
    }
    (refused, whole, wrongs)
}

fn is_wal(name: &str) -> bool {
    name.ends_with(".log")
}

/// Files that RocksDB writes and never reads when it opens.
fn is_for_humans(name: &str) -> bool {
    name.starts_with("LOG") || name.starts_with("OPTIONS")
}

#[test]
fn every_changed_byte_of_the_write_ahead_log_is_refused() {
    let run = prepare();
    let (refused, whole) = flip_all(&run, BOOT, is_wal, false);
    eprintln!("{refused} refused, {whole} found whole");
    assert_eq!(whole, 0, "each of its bytes matters");
}

/// After a power loss the last batch may be torn and is cut off; nothing else is lost.
#[test]
fn after_a_power_loss_a_changed_byte_costs_the_last_batch_at_most() {
    let run = prepare();
    let (refused, whole) = flip_all(&run, NEXT_BOOT, is_wal, true);
    eprintln!("{refused} refused, {whole} whole or without the last batch");
    assert!(refused > whole && whole > 0);
}

#[test]
fn a_changed_byte_of_tables_and_manifest_is_refused_or_does_not_matter() {
    let run = prepare();
    let (refused, whole) = flip_all(&run, BOOT, |name| !is_wal(name) && !is_for_humans(name), false);
    eprintln!("{refused} refused, {whole} found whole");
    assert!(refused > 1_000);
}

/// A refused open changes nothing: once the byte is restored, everything is found.
#[test]
fn a_refused_open_changes_nothing() {
    let run = prepare();
    let dir = scratch();
    let path = dir.path().join("log");
    let mut tried = 0;
    for (name, good) in run.image.iter().filter(|(name, _)| !is_for_humans(name.to_str().unwrap())) {
        for at in (0..good.len()).step_by(good.len() / 12 + 1) {
            write(&path, &run.image);
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            std::fs::write(path.join(name), &bad).unwrap();
            if content(&path, BOOT).is_err() {
                std::fs::write(path.join(name), good).unwrap();
                assert_eq!(content(&path, BOOT).as_ref(), Ok(&run.whole), "{} byte {at}", name.display());
                tried += 1;
            }
        }
    }
    assert!(tried > 20, "{tried}");
}

/// A missing file is reported, never taken for a new log.
#[test]
fn a_missing_file_is_refused_or_does_not_matter() {
    let run = prepare();
    let dir = scratch();
    let path = dir.path().join("log");
    for name in run.image.keys() {
        // A log whose newest file is missing cannot be distinguished from one that was never written: the start counter
        // reveals it to the peers.
        if is_wal(name.to_str().unwrap()) {
            continue;
        }
        let mut image = run.image.clone();
        image.remove(name);
        write(&path, &image);
        let found = content(&path, BOOT);
        assert_eq!(wrong(&found, &[&run.whole], &path), None, "without {}", name.display());
    }
}
