//! The programs that tests and tools start by name, and what brings each to a machine.
//!
//! `tests/style.rs` holds the sources to this table, and the table to `deploy/setup/system.sh`: a test that needs a
//! program which the set-up does not install would fail on a bare machine only. Signals need no program at all:
//! `rustix::process`.

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Every Debian has it: its package is essential or required, and so part of the smallest installation (minbase).
    Base,
    /// `deploy/setup/system.sh test` installs this package where the program is missing.
    SetUp(&'static str),
    /// Whoever uses it does without it where it is missing, and says so.
    Optional,
}

/// Every program that is started by its name.
pub const PROGRAMS: &[(&str, Source)] = &[
    ("/bin/sh", Source::Base),
    ("cp", Source::Base),
    ("mount", Source::Base),
    ("sh", Source::Base),
    ("sleep", Source::Base),
    ("tar", Source::Base),
    ("umount", Source::Base),
    ("unshare", Source::Base),
    ("git", Source::SetUp("git")),
    ("ip", Source::SetUp("iproute2")),
    ("iptables", Source::SetUp("iptables")),
    ("mkfs.ext4", Source::SetUp("e2fsprogs")),
    ("xfs_io", Source::SetUp("xfsprogs")),
    ("perf", Source::Optional),
];
