//! The programs that tests and tools start by name, and how each is installed.
//!
//! `tests/style.rs` compares the sources with this table, and the table with `deploy/setup/system.sh`: a test that
//! needs a program which the set-up does not install would fail only on a bare machine. Signals need no program:
//! `rustix::process`.

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Part of every Debian: its package is essential or required, and so part of the smallest installation (minbase).
    Base,
    /// `deploy/setup/system.sh test` installs this package, or unpacks the program from it, where it is missing.
    SetUp(&'static str),
    /// Its users do without it where it is missing, and report that.
    Optional,
}

/// Every program that is started by name.
pub const PROGRAMS: &[(&str, Source)] = &[
    ("/bin/sh", Source::Base),
    ("bash", Source::Base),
    ("cp", Source::Base),
    ("mount", Source::Base),
    ("sh", Source::Base),
    ("sleep", Source::Base),
    ("tar", Source::Base),
    ("umount", Source::Base),
    ("unshare", Source::Base),
    ("chromium", Source::SetUp("chromium")),
    ("git", Source::SetUp("git")),
    ("ip", Source::SetUp("iproute2")),
    ("iptables", Source::SetUp("iptables")),
    ("mkfs.ext4", Source::SetUp("e2fsprogs")),
    ("prometheus-redis-exporter", Source::SetUp("prometheus-redis-exporter")),
    ("promtool", Source::SetUp("prometheus")),
    ("xfs_io", Source::SetUp("xfsprogs")),
    ("docker", Source::Optional),
    ("docker-compose", Source::Optional),
    ("perf", Source::Optional),
    ("systemd-analyze", Source::Optional),
];
