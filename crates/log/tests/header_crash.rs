//! A process dies while the header of a snapshot file is replaced. In a binary of its own, because failpoints are
//! process-wide.

#![allow(clippy::unwrap_used)]

mod common;

use common::{
    CLUSTER, G, NODE, check, folder, forget, is_used, master, open, other_master, reopen, rewrap, rotate, write,
};
use fastness_log::memory::MemoryDisk;
use fastness_log::{Cipher, SnapshotFolder};
use fastness_types::LogIndex;

#[test]
fn a_crash_while_a_header_is_replaced_loses_no_snapshot() {
    for (point, torn) in [("log::header_stored", false), ("log::header_stored", true), ("log::header_replaced", false)]
    {
        let (disk, dir) = (MemoryDisk::new(), tempfile::tempdir().unwrap());
        let log = open(&disk);
        let snapshots = folder(dir.path(), Cipher::sharing(log.keys()));
        write(&snapshots, 5);
        rotate(&log, other_master()).unwrap();
        fail::cfg(point, "panic").unwrap();
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| snapshots.rewrap_all().map(drop)));
        fail::remove(point);
        assert!(died.is_err(), "{point} did not strike");
        if torn {
            let mut file = std::fs::read(snapshots.file(LogIndex(5))).unwrap();
            file[30..60].fill(0xee);
            std::fs::write(snapshots.file(LogIndex(5)), file).unwrap();
        }
        log.close();
        drop((log, snapshots));
        disk.kill();

        let log = reopen(&disk, Cipher::new(other_master())).unwrap();
        // As another process reads it, which changes nothing.
        check(&SnapshotFolder::open(dir.path(), CLUSTER, NODE, G, Cipher::sharing(log.keys())), 5).unwrap();
        let snapshots = folder(dir.path(), Cipher::sharing(log.keys()));
        check(&snapshots, 5).unwrap();
        rewrap(&snapshots);
        forget(&log);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{point}: only the snapshot is left");
        assert!(!is_used(dir.path(), &master()));
        check(&SnapshotFolder::open(dir.path(), CLUSTER, NODE, G, Cipher::new(other_master())), 5).unwrap();
    }
}
