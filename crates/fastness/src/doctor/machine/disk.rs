//! The file system of the data folder, and its free space.

use fastness_server::space::Space;

use super::super::finding::{CheckResult, Finding, quoted};
use super::host::{Machine, size};

const CHECK: &str = "disk";
/// A disk should hold this many times the data: two snapshots, one that is being written, and the log.
const TIMES_DATA: u64 = 5;

pub fn check(host: &Machine) -> Vec<Finding> {
    let folder = host.data_folder();
    let kind = rustix::fs::statfs(&folder).ok().map(|found| FileSystem::of(found.f_type as u64));
    judge(&folder.display().to_string(), kind, Space::of(&folder), host.given().map_or(0, |config| config.maxmemory))
}

/// Kinds of file systems that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileSystem {
    /// tmpfs or ramfs.
    Memory,
    /// The writable layer of a container.
    Overlay,
    /// NFS or another one over the network.
    Network,
    Other,
}

impl FileSystem {
    /// By the number that the kernel gives to it.
    fn of(magic: u64) -> FileSystem {
        match magic & 0xffff_ffff {
            0x0102_1994 | 0x8584_58f6 => FileSystem::Memory,
            0x794c_7630 => FileSystem::Overlay,
            0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x5346_414f | 0x00c3_6400 => FileSystem::Network,
            _ => FileSystem::Other,
        }
    }
}

fn judge(folder: &str, kind: Option<FileSystem>, space: Option<Space>, maxmemory: u64) -> Vec<Finding> {
    let next = format!("findmnt --target {}", quoted(folder));
    let on =
        |observed: &str, result, why| Finding::ok(CHECK, folder, observed).but(result, why).then_system(next.clone());
    let kind = kind.map(|kind| match kind {
        FileSystem::Memory => on(
            "the file system is in memory (tmpfs)",
            CheckResult::Problem,
            "nothing on it survives a restart of the machine: set `dir` to a folder on a disk",
        ),
        FileSystem::Overlay => on(
            "the file system is an overlay, such as the writable layer of a container",
            CheckResult::Warning,
            "it is lost with the container: set `dir` to a folder on a volume",
        ),
        FileSystem::Network => on(
            "the file system is on the network",
            CheckResult::Warning,
            "a node stalls with its server, and several nodes may share one: set `dir` to a folder on a local disk",
        ),
        FileSystem::Other => Finding::ok(CHECK, folder, "a file system on a disk"),
    });
    let kind = kind.unwrap_or_else(|| Finding::not_checked(CHECK, folder, "the kind of file system is not reported"));
    vec![kind, free(folder, space, maxmemory)]
}

fn free(folder: &str, space: Option<Space>, maxmemory: u64) -> Finding {
    let Some(space) = space else { return Finding::not_checked(CHECK, folder, "free space is not reported") };
    let found = Finding::ok(CHECK, folder, format!("{} of {} are free", size(space.free), size(space.total)));
    let next = format!("du -xh --max-depth=2 {} | sort -h | tail", quoted(folder));
    if space.free < space.needed() {
        let why = format!("a node needs {} to open its log, and waits without them", size(space.needed()));
        return found.but(CheckResult::Problem, why).then_system(next);
    }
    if space.total < maxmemory.saturating_mul(TIMES_DATA) {
        let why = format!(
            "a disk should hold {TIMES_DATA} times the data, and maxmemory is {} for each replica: with less space one \
             snapshot is kept instead of two, and the log is purged early",
            size(maxmemory)
        );
        return found.but(CheckResult::Warning, why).then_system(next);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::{result, results};
    use super::*;

    #[test]
    fn memory_is_no_disk() {
        let space = Some(Space { free: 1 << 40, total: 1 << 41 });
        let of = |magic| results(&judge("/d", Some(FileSystem::of(magic)), space, 0))[0];
        assert_eq!(of(0x0102_1994), CheckResult::Problem);
        assert_eq!([of(0x794c_7630), of(0x6969)], [CheckResult::Warning; 2]);
        assert_eq!([of(0xef53), of(0x5846_5342)], [CheckResult::Ok; 2]);
        assert_eq!(results(&judge("/d", None, None, 0)), [CheckResult::NotChecked; 2]);
    }

    #[test]
    fn space_is_needed_for_the_log_and_for_the_data() {
        let of = |free, total, maxmemory| result(&free_of(free, total, maxmemory));
        fn free_of(free: u64, total: u64, maxmemory: u64) -> Finding {
            super::free("/d", Some(Space { free, total }), maxmemory)
        }
        assert_eq!(of(100 << 30, 200 << 30, 32 << 30), CheckResult::Ok);
        assert_eq!(of(100 << 30, 100 << 30, 32 << 30), CheckResult::Warning);
        assert_eq!(of(100 << 20, 200 << 30, 0), CheckResult::Problem);
    }
}
