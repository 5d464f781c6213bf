//! The table of options.

use std::path::PathBuf;
use std::time::Duration;

use fastness_engine::{EvictionOptions, EvictionPolicy, NotifyClasses, PackedLimits};
use fastness_types::Durability;

use super::value::{self, Problem};
use super::{
    CertificateUser, ClientCertificates, CommandAccess, Config, LogFormat, LogLevel, LogLines, MemoryBound,
    OutputLimit, OutputLimits, Percentiles, TraceOptions,
};

/// When an option takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// At the node's start.
    Start,
    /// At once, by CONFIG SET too.
    Running,
    /// Never: an option of Valkey's that has one value here, for clients that read it.
    Never,
}

/// One option.
pub struct OptionSpec {
    /// As in the file.
    pub name: &'static str,
    /// As it would stand in the file.
    pub default: &'static str,
    /// What it takes.
    pub range: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// When it takes effect.
    pub change: Change,
    kind: Kind,
}

type Field<T> = fn(&mut Config) -> &mut T;

/// How an option's value is read and where it is kept.
enum Kind {
    Port(Field<u16>),
    Number { field: Field<u64>, min: u64, max: u64 },
    Signed { field: Field<i64>, min: i64, max: i64 },
    Bytes { field: Field<u64>, min: u64, max: u64 },
    MemoryBound(Field<MemoryBound>),
    Span { field: Field<Duration>, unit: Duration, min: Duration, max: Duration },
    YesNo(Field<bool>),
    Text(Field<String>),
    File(Field<Option<PathBuf>>),
    Folder(Field<PathBuf>),
    Words(Field<Vec<String>>),
    Durability(Field<Durability>),
    Certificates(Field<ClientCertificates>),
    CertificateUser(Field<CertificateUser>),
    CommandAccess(Field<CommandAccess>),
    LogLevel(Field<LogLevel>),
    LogFormat(Field<LogFormat>),
    OutputLimits(Field<OutputLimits>),
    Percentiles(Field<Percentiles>),
    NotifyClasses(Field<NotifyClasses>),
    EvictionPolicy(Field<EvictionPolicy>),
    Fixed,
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// Upper bound of Valkey's options of this kind.
const COUNT_MAX: u64 = i64::MAX as u64;
/// Range of Valkey's list-max-listpack-size.
const LIST_NODE_MIN: i64 = i32::MIN as i64;
const LIST_NODE_MAX: i64 = i32::MAX as i64;

const CERTIFICATES: [(&str, ClientCertificates); 3] =
    [("yes", ClientCertificates::Required), ("optional", ClientCertificates::Optional), ("no", ClientCertificates::No)];

const CERTIFICATE_USERS: [(&str, CertificateUser); 3] =
    [("off", CertificateUser::Off), ("CN", CertificateUser::CommonName), ("URI", CertificateUser::Uri)];

const COMMAND_ACCESS: [(&str, CommandAccess); 3] =
    [("no", CommandAccess::No), ("local", CommandAccess::Local), ("yes", CommandAccess::Yes)];

const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("debug", LogLevel::Debug),
    ("verbose", LogLevel::Verbose),
    ("notice", LogLevel::Notice),
    ("warning", LogLevel::Warning),
    ("nothing", LogLevel::Nothing),
];

const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// The option of this name, in any case.
#[must_use]
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.name.eq_ignore_ascii_case(name))
}

fn word_of<T: PartialEq + Copy>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, v)| *v == value).map_or("", |(word, _)| word)
}

fn value_of<T: Copy>(words: &[(&'static str, T)], text: &str) -> Option<T> {
    words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, v)| *v)
}

impl OptionSpec {
    /// Sets it from the words after its name.
    ///
    /// # Errors
    /// [`Problem`], with the range that is documented.
    pub fn set<S: AsRef<str>>(&self, config: &mut Config, words: &[S]) -> Result<(), Problem> {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        if matches!(self.kind, Kind::Fixed) {
            let same = words.join(" ").eq_ignore_ascii_case(self.default.trim_matches('"'));
            return if same { Ok(()) } else { Err(Problem::Fixed(self.default)) };
        }
        if let Kind::MemoryBound(_) = self.kind
            && let [word] = words[..]
            && word
                .strip_suffix('%')
                .and_then(|percent| percent.parse::<u64>().ok())
                .is_some_and(|percent| percent > 100)
        {
            return Err(Problem::PercentTooLarge);
        }
        if let Kind::NotifyClasses(_) = self.kind {
            return self.assign(config, &words).ok_or(Problem::EventClass);
        }
        self.assign(config, &words)
            .ok_or_else(|| Problem::Expected { expected: self.range.to_owned(), found: words.join(" ") })
    }

    fn assign(&self, config: &mut Config, words: &[&str]) -> Option<()> {
        match &self.kind {
            Kind::Words(field) => {
                let all: Vec<String> =
                    words.iter().flat_map(|word| word.split_whitespace()).map(str::to_owned).collect();
                (!all.is_empty()).then(|| *field(config) = all)
            }
            Kind::OutputLimits(field) => {
                let before = *field(config);
                output_limits(words, before).map(|limits| *field(config) = limits)
            }
            Kind::Percentiles(field) => Percentiles::parse(words).map(|percentiles| *field(config) = percentiles),
            kind => match words {
                [word] => kind.assign_one(config, word),
                _ => None,
            },
        }
    }

    /// The value as CONFIG GET gives it.
    #[must_use]
    pub fn get(&self, config: &Config) -> String {
        // The fields are named by functions that give them for writing; a copy is cheap beside a reply.
        let config = &mut config.clone();
        match &self.kind {
            Kind::Port(field) => field(config).to_string(),
            Kind::Number { field, .. } | Kind::Bytes { field, .. } => field(config).to_string(),
            Kind::Signed { field, .. } => field(config).to_string(),
            Kind::MemoryBound(field) => match *field(config) {
                MemoryBound::Bytes(bytes) => bytes.to_string(),
                MemoryBound::Percent(percent) => format!("{percent}%"),
            },
            Kind::Span { field, unit, .. } => value::span_text(*field(config), *unit),
            Kind::YesNo(field) => if *field(config) { "yes" } else { "no" }.to_owned(),
            Kind::Text(field) => field(config).clone(),
            Kind::File(field) => field(config).as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
            Kind::Folder(field) => field(config).display().to_string(),
            Kind::Words(field) => field(config).join(" "),
            Kind::Durability(field) => field(config).name().to_owned(),
            Kind::Certificates(field) => word_of(&CERTIFICATES, *field(config)).to_owned(),
            Kind::CertificateUser(field) => word_of(&CERTIFICATE_USERS, *field(config)).to_owned(),
            Kind::CommandAccess(field) => word_of(&COMMAND_ACCESS, *field(config)).to_owned(),
            Kind::LogLevel(field) => word_of(&LOG_LEVELS, *field(config)).to_owned(),
            Kind::LogFormat(field) => word_of(&LOG_FORMATS, *field(config)).to_owned(),
            Kind::EvictionPolicy(field) => field(config).name().to_owned(),
            Kind::OutputLimits(field) => {
                let OutputLimits { normal, pubsub } = *field(config);
                let text = |class: &str, limit: OutputLimit| {
                    format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_time.as_secs())
                };
                format!("{} {}", text("normal", normal), text("pubsub", pubsub))
            }
            Kind::Percentiles(field) => field(config).to_string(),
            Kind::NotifyClasses(field) => field(config).text(),
            Kind::Fixed => self.default.trim_matches('"').to_owned(),
        }
    }
}

impl Kind {
    fn assign_one(&self, config: &mut Config, word: &str) -> Option<()> {
        match self {
            Kind::Port(field) => *field(config) = word.parse().ok()?,
            Kind::Number { field, min, max } => {
                *field(config) = word.parse().ok().filter(|n| (*min..=*max).contains(n))?;
            }
            Kind::Signed { field, min, max } => {
                *field(config) = word.parse().ok().filter(|n| (*min..=*max).contains(n))?;
            }
            Kind::Bytes { field, min, max } => {
                *field(config) = value::bytes(word).filter(|n| (*min..=*max).contains(n))?;
            }
            Kind::MemoryBound(field) => {
                *field(config) = match word.strip_suffix('%') {
                    Some(percent) => {
                        MemoryBound::Percent(percent.parse().ok().filter(|percent| (1..=100).contains(percent))?)
                    }
                    None => MemoryBound::Bytes(value::bytes(word)?),
                };
            }
            Kind::Span { field, unit, min, max } => {
                *field(config) = value::span(word, *unit).filter(|s| (*min..=*max).contains(s))?;
            }
            Kind::YesNo(field) => *field(config) = value_of(&[("yes", true), ("no", false)], word)?,
            Kind::Text(field) => word.clone_into(field(config)),
            Kind::File(field) => *field(config) = (!word.is_empty()).then(|| PathBuf::from(word)),
            Kind::Folder(field) => *field(config) = (!word.is_empty()).then(|| PathBuf::from(word))?,
            Kind::Durability(field) => *field(config) = word.to_ascii_lowercase().parse().ok()?,
            Kind::Certificates(field) => *field(config) = value_of(&CERTIFICATES, word)?,
            Kind::CertificateUser(field) => *field(config) = value_of(&CERTIFICATE_USERS, word)?,
            Kind::CommandAccess(field) => *field(config) = value_of(&COMMAND_ACCESS, word)?,
            Kind::LogLevel(field) => *field(config) = value_of(&LOG_LEVELS, word)?,
            Kind::LogFormat(field) => *field(config) = value_of(&LOG_FORMATS, word)?,
            Kind::NotifyClasses(field) => *field(config) = NotifyClasses::parse(word)?,
            Kind::EvictionPolicy(field) => *field(config) = value_of(&EvictionPolicy::NAMES, word)?,
            Kind::Words(_) | Kind::OutputLimits(_) | Kind::Percentiles(_) | Kind::Fixed => return None,
        }
        Some(())
    }
}

/// `class hard soft seconds`, once or more. A class that is not among them keeps its limit. Limits of replicas are
/// taken and have nothing to act on.
fn output_limits(words: &[&str], before: OutputLimits) -> Option<OutputLimits> {
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return None;
    }
    let mut limits = before;
    for class in words.chunks(4) {
        let limit = OutputLimit {
            hard_bytes: value::bytes(class[1])?,
            soft_bytes: value::bytes(class[2])?,
            soft_time: Duration::from_secs(class[3].parse().ok()?),
        };
        match class[0] {
            "normal" => limits.normal = limit,
            "pubsub" => limits.pubsub = limit,
            "replica" | "slave" => {}
            _ => return None,
        }
    }
    Some(limits)
}

const fn fixed(name: &'static str, value: &'static str, summary: &'static str) -> OptionSpec {
    OptionSpec { name, default: value, range: "one value", summary, change: Change::Never, kind: Kind::Fixed }
}

macro_rules! option {
    ($name:literal, $default:literal, $range:literal, $change:ident, $kind:expr, $summary:literal) => {
        OptionSpec {
            name: $name,
            default: $default,
            range: $range,
            summary: $summary,
            change: Change::$change,
            kind: $kind,
        }
    };
}

/// Every option.
#[rustfmt::skip]
pub static OPTIONS: &[OptionSpec] = &[
    // Listeners.
    option!("bind", "127.0.0.1", "one or more IP addresses", Start, Kind::Words(|c| &mut c.bind),
        "addresses to listen on"),
    option!("bind-source-addr", "\"\"", "an IP address", Start, Kind::Text(|c| &mut c.bind_source_addr),
        "source address of connections to other nodes; empty: chosen by the system"),
    option!("port", "0", "a port from 0 to 65535, 0: none", Start, Kind::Port(|c| &mut c.port),
        "plaintext port of shard 1's replica (shard n: port + n - 1); on loopback only, unless plaintext-beyond-loopback is yes"),
    option!("plaintext-beyond-loopback", "no", "yes or no", Start, Kind::YesNo(|c| &mut c.plaintext_beyond_loopback),
        "lets the plaintext port listen on every address of bind: clients' data then crosses the network unencrypted"),
    option!("tls-port", "6379", "a port from 0 to 65535, 0: none", Start, Kind::Port(|c| &mut c.tls_port),
        "TLS port of shard 1's replica (shard n: tls-port + n - 1)"),
    option!("tls-cert-file", "\"\"", "a file", Start, Kind::File(|c| &mut c.tls_cert_file),
        "this node's certificate chain, PEM; its SAN names node and cluster"),
    option!("tls-key-file", "\"\"", "a file", Start, Kind::File(|c| &mut c.tls_key_file),
        "the certificate's private key, PEM"),
    option!("tls-ca-cert-file", "\"\"", "a file", Start, Kind::File(|c| &mut c.tls_ca_cert_file),
        "CA certificates that sign those of nodes, administrators and clients, PEM"),
    option!("tls-ca-cert-dir", "\"\"", "a folder", Start, Kind::File(|c| &mut c.tls_ca_cert_dir),
        "a folder with such CA certificates, in addition to tls-ca-cert-file or instead of it; all its files are read, hidden ones excepted"),
    option!("tls-auto-reload-interval", "10", "seconds up to a year, 0: only on SIGHUP", Running,
        Kind::Span { field: |c| &mut c.tls_auto_reload_interval, unit: SECOND, min: Duration::ZERO, max: Duration::from_secs(365 * 86_400) },
        "how often tls-cert-file, tls-key-file and the CA certificates are read again; new connections use what has changed, if it is usable, and others stay open"),
    option!("tls-protocols", "\"TLSv1.2 TLSv1.3\"", "TLSv1.2, TLSv1.3 or both, in quotes", Start, Kind::Text(|c| &mut c.tls_protocols),
        "versions of TLS that all listeners of this node accept; older ones are not supported"),
    option!("tls-ciphers", "\"\"", "names separated by colons, empty: all", Start, Kind::Text(|c| &mut c.tls_ciphers),
        "cipher suites of TLS 1.2 that all listeners accept, with OpenSSL's names, such as ECDHE-RSA-AES256-GCM-SHA384"),
    option!("tls-ciphersuites", "\"\"", "names separated by colons, empty: all", Start, Kind::Text(|c| &mut c.tls_ciphersuites),
        "cipher suites of TLS 1.3 that all listeners accept, such as TLS_AES_256_GCM_SHA384"),
    option!("tls-auth-clients", "yes", "yes, optional or no", Start, Kind::Certificates(|c| &mut c.tls_auth_clients),
        "whether clients of the TLS port must present a certificate; nodes and administrators always must"),
    option!("tls-auth-clients-user", "off", "off, CN or URI", Start, Kind::CertificateUser(|c| &mut c.tls_auth_clients_user),
        "makes a client whose certificate names a user that user without a password: by the common name, or by a URI among the alternative names"),
    option!("protected-mode", "yes", "yes or no", Running, Kind::YesNo(|c| &mut c.protected_mode),
        "refuses clients from other machines that have neither a client certificate nor a password, while the user default needs none"),
    option!("peer-port", "16379", "a port from 0 to 65535, 0: chosen by the system", Start, Kind::Port(|c| &mut c.peer_port),
        "port for the other nodes"),
    option!("grpc-port", "17379", "a port from 0 to 65535, 0: chosen by the system", Start, Kind::Port(|c| &mut c.grpc_port),
        "port for administration over gRPC"),
    option!("metrics-port", "9121", "a port from 0 to 65535, 0: none", Start, Kind::Port(|c| &mut c.metrics_port),
        "HTTP and HTTPS port of /metrics, /healthz, /readyz and the web console, /console"),
    option!("metrics-digest", "no", "yes or no", Running, Kind::YesNo(|c| &mut c.metrics_digest),
        "offers /digest on the metrics port to callers on this machine: it reads every key, in slices, so that replicas can be compared"),
    option!("tcp-backlog", "511", "a number from 1 to 65535", Start, Kind::Number { field: |c| &mut c.tcp_backlog, min: 1, max: 65_535 },
        "longest queue of connections waiting to be accepted, per port"),
    // Identity.
    option!("node-id", "0", "a number from 0 to 9223372036854775807, 0: as on the disk", Start,
        Kind::Number { field: |c| &mut c.node_id, min: 0, max: i64::MAX as u64 },
        "this node's id, required at the first start; it is stored on the disk, and a different one is refused afterwards"),
    option!("availability-zone", "\"\"", "a name", Start, Kind::Text(|c| &mut c.availability_zone),
        "the availability zone of this node; clients use it to read from replicas in their own zone"),
    option!("dir", ".", "a folder", Start, Kind::Folder(|c| &mut c.dir),
        "where the transaction log and the snapshots are kept"),
    option!("snapshot-log-bytes", "268435456", "bytes, 0: only on request", Running,
        Kind::Bytes { field: |c| &mut c.snapshot_log_bytes, min: 0, max: u64::MAX },
        "a replica makes a snapshot after this many bytes of log, or after as many as its newest snapshot has if that is more, and earlier if disk-budget requires it; a restart loads the newest snapshot and replays the log after it"),
    option!("watch-log-bytes", "64mb", "bytes, 0: none beyond what a restart needs", Running,
        Kind::Bytes { field: |c| &mut c.watch_log_bytes, min: 0, max: u64::MAX },
        "a replica keeps at least this much of its log, at most its share of disk-budget, so that watchers can resume; when the disk is short it gives way"),
    option!("disk-budget", "0", "bytes from 67108864, 0: 80 percent of what is free and used already", Start,
        Kind::Bytes { field: |c| &mut c.disk_budget, min: 0, max: u64::MAX },
        "disk space for this node's log, snapshots and ballast, all shards together; snapshots are made and the log is purged in time, and close to the bound files that are not needed are removed"),
    option!("cluster-announce-ip", "\"\"", "an address or host name", Start, Kind::Text(|c| &mut c.cluster_announce_ip),
        "address that clients and other nodes connect to, if it is not that of bind"),
    option!("cluster-announce-hostname", "\"\"", "a host name", Start, Kind::Text(|c| &mut c.cluster_announce_hostname),
        "host name announced beside the address"),
    option!("cluster-announce-plaintext-ip", "\"\"", "an address or host name", Start, Kind::Text(|c| &mut c.cluster_announce_plaintext_ip),
        "address announced to clients of the plaintext port, for every node: for clusters whose plaintext ports are all mapped to one machine, such as 127.0.0.1"),
    option!("cluster-announce-port", "0", "a port from 0 to 65535, 0: port", Start, Kind::Port(|c| &mut c.cluster_announce_port),
        "plaintext port announced to clients for shard 1"),
    option!("cluster-announce-tls-port", "0", "a port from 0 to 65535, 0: tls-port", Start, Kind::Port(|c| &mut c.cluster_announce_tls_port),
        "TLS port announced to clients for shard 1"),
    // Durability.
    option!("durability", "sync", "sync, async or disabled", Start, Kind::Durability(|c| &mut c.durability),
        "the durability mode this node is prepared for: sync and async require TLS, master-key-file and availability-zone"),
    option!("durability-max-lag", "10", "a span from 100ms to 10m", Running,
        Kind::Span { field: |c| &mut c.durability_max_lag, unit: SECOND, min: Duration::from_millis(100), max: Duration::from_secs(600) },
        "async: writes are refused once the oldest uncommitted write has this age, and slowed from half of it on"),
    option!("clock-max-offset", "10", "a span from 1s to 1h", Start,
        Kind::Span { field: |c| &mut c.clock_max_offset, unit: SECOND, min: SECOND, max: Duration::from_secs(3_600) },
        "how far this node's wall clock may differ from the median of all nodes before it takes no writes and hands over leadership"),
    option!("failover-timeout", "700", "milliseconds from 700 to 10s", Start,
        Kind::Span { field: |c| &mut c.failover_timeout, unit: Duration::from_millis(1), min: Duration::from_millis(700), max: Duration::from_secs(10) },
        "longest time between a primary's last heartbeat and the election of another replica; leases last half as long, so a longer timeout survives longer pauses"),
    option!("consensus-nice", "-15", "a number from -20 to 0, 0: as the process", Start,
        Kind::Signed { field: |c| &mut c.consensus_nice, min: -20, max: 0 },
        "nice value of the thread that sends heartbeats and renews leases, as far as the process may set it"),
    option!("shard-nice", "0", "a number from -20 to 0, 0: as the process", Start,
        Kind::Signed { field: |c| &mut c.shard_nice, min: -20, max: 0 },
        "nice value of the threads that run the shards' commands, as far as the process may set it; not below consensus-nice"),
    option!("lease-wait-max", "200", "milliseconds up to 10s, 0: none", Running,
        Kind::Span { field: |c| &mut c.lease_wait_max, unit: Duration::from_millis(1), min: Duration::ZERO, max: Duration::from_secs(10) },
        "how long commands wait before they are refused while this primary's lease has lapsed and no other primary is known; most lapses are short"),
    option!("busy-reply-threshold", "5000", "milliseconds up to 10m, 0: never", Running,
        Kind::Span { field: |c| &mut c.busy_reply_threshold, unit: Duration::from_millis(1), min: Duration::ZERO, max: Duration::from_secs(600) },
        "from this time of a script or function on, other commands of its shard are answered BUSY; until then they wait"),
    option!("lua-time-limit", "5000", "milliseconds up to 10m, 0: never", Running,
        Kind::Span { field: |c| &mut c.busy_reply_threshold, unit: Duration::from_millis(1), min: Duration::ZERO, max: Duration::from_secs(600) },
        "older name of busy-reply-threshold"),
    option!("script-time-max", "60000", "milliseconds from 100 to 10m", Running,
        Kind::Span { field: |c| &mut c.script_time_max, unit: Duration::from_millis(1), min: Duration::from_millis(100), max: Duration::from_secs(600) },
        "how long a script or function may run before it is undone and answered with an error, even if it has written"),
    option!("loop-stall-max", "3", "a span from 500ms to 10m", Start,
        Kind::Span { field: |c| &mut c.loop_stall_max, unit: SECOND, min: Duration::from_millis(500), max: Duration::from_secs(600) },
        "how long a primary's event loop may stall (one command that takes this long) before it gives up its lease and another replica is elected"),
    option!("master-key-file", "\"\"", "a file", Start, Kind::File(|c| &mut c.master_key_file),
        "the key that encrypts the keys of all files on disk: 32 bytes or 64 hexadecimal digits, mode 600. `fastness cluster rotate-master-key` exchanges it for the one in the file of this name with .new at its end"),
    // Memory and clients.
    option!("maxmemory", "0", "bytes, 0: no limit", Running, Kind::Bytes { field: |c| &mut c.maxmemory, min: 0, max: u64::MAX },
        "memory of one replica (data, a snapshot in progress, uncommitted effects, client buffers) above which keys are evicted by maxmemory-policy, or commands that need more are refused with OOM"),
    option!("maxmemory-clients", "25%", "bytes, or a percentage from 1% to 100% of maxmemory, and of the memory that the node may use while maxmemory is 0; 0: no limit of its own", Running,
        Kind::MemoryBound(|c| &mut c.maxmemory_clients),
        "what the connections of one replica may take together, as part of maxmemory; 1 MiB at least; a connection may have as many unread replies as are left of it, and over it the largest are closed, except those with CLIENT NO-EVICT (crates/LIMITS.md)"),
    option!("maxmemory-policy", "noeviction", "volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random or noeviction", Running,
        Kind::EvictionPolicy(|c| &mut c.eviction.policy),
        "which keys the primary removes when memory is full; set it on every node, because any replica may become the primary. Replicas apply what the primary evicts, and evict nothing themselves"),
    option!("maxmemory-samples", "5", "a number from 1 to 64", Running,
        Kind::Number { field: |c| &mut c.eviction.samples, min: 1, max: EvictionOptions::SAMPLES_MAX },
        "keys that an LRU or LFU policy compares for each key that it removes"),
    option!("maxmemory-eviction-tenacity", "10", "a number from 0 to 100", Running,
        Kind::Number { field: |c| &mut c.eviction.tenacity, min: 0, max: EvictionOptions::TENACITY_MAX },
        "how long one slice of evictions may take: 0.5 ms at 10, more above, and 200 keys in any case"),
    option!("lfu-log-factor", "10", "a number from 0 to 2147483647", Running,
        Kind::Number { field: |c| &mut c.eviction.lfu_log_factor, min: 0, max: i32::MAX as u64 },
        "how much slower the counter of a key's accesses grows the higher it is, under an LFU policy"),
    option!("lfu-decay-time", "1", "minutes from 0 to 2147483647, 0: never", Running,
        Kind::Number { field: |c| &mut c.eviction.lfu_decay_minutes, min: 0, max: i32::MAX as u64 },
        "time after which the counter of a key's accesses loses one, under an LFU policy"),
    option!("hash-max-listpack-entries", "512", "a number; more than 512 counts as 512", Running,
        Kind::Number { field: |c| &mut c.packed_limits.hash_fields, min: 0, max: COUNT_MAX },
        "fields up to which a hash is kept in the compact form that OBJECT ENCODING calls listpack; set it on every node, because each replica decides for itself"),
    option!("hash-max-ziplist-entries", "512", "a number; more than 512 counts as 512", Running,
        Kind::Number { field: |c| &mut c.packed_limits.hash_fields, min: 0, max: COUNT_MAX },
        "older name of hash-max-listpack-entries"),
    option!("hash-max-listpack-value", "64", "bytes; more than 128 counts as 128", Running,
        Kind::Bytes { field: |c| &mut c.packed_limits.hash_text, min: 0, max: COUNT_MAX },
        "longest field and value of such a hash"),
    option!("hash-max-ziplist-value", "64", "bytes; more than 128 counts as 128", Running,
        Kind::Bytes { field: |c| &mut c.packed_limits.hash_text, min: 0, max: COUNT_MAX },
        "older name of hash-max-listpack-value"),
    option!("set-max-intset-entries", "512", "a number; more than 512 counts as 512", Running,
        Kind::Number { field: |c| &mut c.packed_limits.set_ints, min: 0, max: COUNT_MAX },
        "members up to which a set of integers is kept in the compact form that OBJECT ENCODING calls intset; set it on every node, because each replica decides for itself"),
    option!("set-max-listpack-entries", "128", "a number; more than 512 counts as 512", Running,
        Kind::Number { field: |c| &mut c.packed_limits.set_texts, min: 0, max: COUNT_MAX },
        "members up to which another set is kept in the compact form that OBJECT ENCODING calls listpack; set it on every node, because each replica decides for itself"),
    option!("set-max-listpack-value", "64", "bytes; more than 128 counts as 128", Running,
        Kind::Bytes { field: |c| &mut c.packed_limits.set_text, min: 0, max: COUNT_MAX },
        "longest member of such a set"),
    option!("zset-max-listpack-entries", "128", "a number; more than 512 counts as 512", Running,
        Kind::Number { field: |c| &mut c.packed_limits.zset_members, min: 0, max: COUNT_MAX },
        "members up to which a sorted set is kept in the compact form that OBJECT ENCODING calls listpack; set it on every node, because each replica decides for itself"),
    option!("zset-max-ziplist-entries", "128", "a number; more than 512 counts as 512", Running,
        Kind::Number { field: |c| &mut c.packed_limits.zset_members, min: 0, max: COUNT_MAX },
        "older name of zset-max-listpack-entries"),
    option!("zset-max-listpack-value", "64", "bytes; more than 128 counts as 128", Running,
        Kind::Bytes { field: |c| &mut c.packed_limits.zset_name, min: 0, max: COUNT_MAX },
        "longest member of such a sorted set"),
    option!("zset-max-ziplist-value", "64", "bytes; more than 128 counts as 128", Running,
        Kind::Bytes { field: |c| &mut c.packed_limits.zset_name, min: 0, max: COUNT_MAX },
        "older name of zset-max-listpack-value"),
    option!("list-max-listpack-size", "-2", "a number of elements, or -1 to -5: 4, 8, 16, 32 or 64 KiB", Running,
        Kind::Signed { field: |c| &mut c.packed_limits.list_node, min: LIST_NODE_MIN, max: LIST_NODE_MAX },
        "most elements (0: 1), or the size, of a node of a list; a list that is one node has the encoding listpack, others quicklist; set it on every node, because each replica decides for itself"),
    option!("list-max-ziplist-size", "-2", "a number of elements, or -1 to -5: 4, 8, 16, 32 or 64 KiB", Running,
        Kind::Signed { field: |c| &mut c.packed_limits.list_node, min: LIST_NODE_MIN, max: LIST_NODE_MAX },
        "older name of list-max-listpack-size"),
    option!("stream-node-max-bytes", "4096", "bytes; 0 and more than 64kb count as 64kb", Running,
        Kind::Bytes { field: |c| &mut c.packed_limits.stream_node_bytes, min: 0, max: COUNT_MAX },
        "size from which a node of a stream gets no further entry; XTRIM and XADD with ~ remove whole nodes; set it on every node, because the primary's applies"),
    option!("stream-node-max-entries", "100", "a number, 0: no limit but the bytes", Running,
        Kind::Number { field: |c| &mut c.packed_limits.stream_node_entries, min: 0, max: COUNT_MAX },
        "most entries of such a node; without LIMIT, a trim with ~ removes 100 times as many at most (0: 10000)"),
    option!("hll-sparse-max-bytes", "3000", "bytes", Running,
        Kind::Bytes { field: |c| &mut c.packed_limits.hll_sparse_bytes, min: 0, max: COUNT_MAX },
        "length up to which a HyperLogLog is kept in the sparse form; set it on every node, because the primary's applies"),
    option!("maxclients", "10000", "a number from 1 to 1000000", Running, Kind::Number { field: |c| &mut c.maxclients, min: 1, max: 1_000_000 },
        "client connections to this node"),
    option!("source-connections-per-second", "2000", "a number from 0 to 1000000, 0: no limit", Running,
        Kind::Number { field: |c| &mut c.source_connections_per_second, min: 0, max: 1_000_000 },
        "new connections that one address (of IPv6, its first 64 bits) may open per second in the long run, to all listeners for clients of this node together; further ones are refused at once"),
    option!("source-connections-burst", "20000", "a number from 1 to 1000000", Running,
        Kind::Number { field: |c| &mut c.source_connections_burst, min: 1, max: 1_000_000 },
        "new connections that one address may open at once after a pause, as a pool that reconnects behind one NAT does"),
    option!("source-handshakes-per-second", "500", "a number from 0 to 1000000, 0: no limit", Running,
        Kind::Number { field: |c| &mut c.source_handshakes_per_second, min: 0, max: 1_000_000 },
        "TLS handshakes that one address may start per second in the long run, over RESP and gRPC together; each of them counts as a new connection, too"),
    option!("source-handshakes-burst", "10000", "a number from 1 to 1000000", Running,
        Kind::Number { field: |c| &mut c.source_handshakes_burst, min: 1, max: 1_000_000 },
        "TLS handshakes that one address may start at once after a pause"),
    option!("timeout", "0", "seconds up to a day, 0: never", Running,
        Kind::Span { field: |c| &mut c.timeout, unit: SECOND, min: Duration::ZERO, max: DAY },
        "a connection that is idle for this long is closed"),
    option!("tcp-keepalive", "300", "seconds up to a day, 0: none", Running,
        Kind::Span { field: |c| &mut c.tcp_keepalive, unit: SECOND, min: Duration::ZERO, max: DAY },
        "how often the system probes whether a silent client is still reachable"),
    option!("requirepass", "\"\"", "a password, empty: none", Running, Kind::Text(|c| &mut c.requirepass),
        "the password of the user default"),
    option!("aclfile", "\"\"", "a file", Start, Kind::File(|c| &mut c.aclfile),
        "the file that ACL LOAD and ACL SAVE read and write on this node. A new cluster takes its users from it, or from lines user NAME RULE ... of this file; later starts only compare, because users are kept in the cluster"),
    option!("acllog-max-len", "128", "a number from 0 to 100000", Running,
        Kind::Number { field: |c| &mut c.acllog_max_len, min: 0, max: 100_000 },
        "entries kept in the log of what was refused to clients"),
    option!("acl-pubsub-default", "resetchannels", "resetchannels", Never, Kind::Fixed,
        "the channels of a new user: none"),
    option!("core-dumps", "no", "yes or no", Start, Kind::YesNo(|c| &mut c.core_dumps),
        "lets a crash leave a core file, which holds data and secrets unencrypted"),
    option!("grpc-memory", "512mb", "bytes from 128mb to 1tb", Start,
        Kind::Bytes { field: |c| &mut c.grpc_memory, min: 128 << 20, max: 1 << 40 },
        "memory for messages of the data API over gRPC on this node, beside maxmemory: one half for requests that are received and run, the other one for replies that are not sent"),
    option!("client-query-buffer-limit", "1gb", "bytes from 1mb to 4gb", Running,
        Kind::Bytes { field: |c| &mut c.client_query_buffer_limit, min: 1 << 20, max: 4 << 30 },
        "bytes that one connection may have received and not executed before it is closed"),
    option!("client-output-buffer-limit", "normal 1gb 256mb 60 pubsub 32mb 8mb 60", "class hard soft seconds (classes normal, pubsub)", Running,
        Kind::OutputLimits(|c| &mut c.client_output_buffer_limit),
        "bytes of unread replies at which a connection is closed: at once (hard), or after some seconds (soft); 0 0 0: never. Until then its commands are executed whether it reads or not. Valkey's default of normal is 0 0 0; this default bounds a client that writes and never reads, and holds one reply of proto-max-bulk-len. pubsub: clients with subscriptions"),
    option!("tracking-table-max-keys", "1000000", "a number from 0 to 9223372036854775807, 0: no limit of its own", Running,
        Kind::Number { field: |c| &mut c.tracking_table_max_keys, min: 0, max: i64::MAX as u64 },
        "keys that one replica remembers because clients have read them (CLIENT TRACKING); beyond it the readers of random keys are informed as if these had changed. In any case they take at most 512 MiB, and an eighth of maxmemory"),
    option!("proto-max-bulk-len", "512mb", "bytes from 1mb to 512mb", Running,
        Kind::Bytes { field: |c| &mut c.proto_max_bulk_len, min: 1 << 20, max: fastness_types::limits::VALUE_BYTES_MAX as u64 },
        "longest argument of a command"),
    // Observability.
    option!("commandlog-execution-slower-than", "10000", "microseconds, -1: none", Running,
        Kind::Signed { field: |c| &mut c.command_logs[0].threshold, min: -1, max: i64::MAX },
        "commands that take longer are recorded in the slow log"),
    option!("slowlog-log-slower-than", "10000", "microseconds, -1: none", Running,
        Kind::Signed { field: |c| &mut c.command_logs[0].threshold, min: -1, max: i64::MAX },
        "older name of commandlog-execution-slower-than"),
    option!("commandlog-slow-execution-max-len", "128", "a number from 0 to 100000", Running,
        Kind::Number { field: |c| &mut c.command_logs[0].len_max, min: 0, max: 100_000 },
        "entries kept in the slow log of each replica"),
    option!("slowlog-max-len", "128", "a number from 0 to 100000", Running,
        Kind::Number { field: |c| &mut c.command_logs[0].len_max, min: 0, max: 100_000 },
        "older name of commandlog-slow-execution-max-len"),
    option!("commandlog-request-larger-than", "1048576", "bytes, -1: none", Running,
        Kind::Signed { field: |c| &mut c.command_logs[1].threshold, min: -1, max: i64::MAX },
        "commands whose request is as long or longer are recorded in the log of large requests"),
    option!("commandlog-large-request-max-len", "128", "a number from 0 to 100000", Running,
        Kind::Number { field: |c| &mut c.command_logs[1].len_max, min: 0, max: 100_000 },
        "entries kept in the log of large requests of each replica"),
    option!("commandlog-reply-larger-than", "1048576", "bytes, -1: none", Running,
        Kind::Signed { field: |c| &mut c.command_logs[2].threshold, min: -1, max: i64::MAX },
        "commands whose reply is as long or longer are recorded in the log of large replies"),
    option!("commandlog-large-reply-max-len", "128", "a number from 0 to 100000", Running,
        Kind::Number { field: |c| &mut c.command_logs[2].len_max, min: 0, max: 100_000 },
        "entries kept in the log of large replies of each replica"),
    option!("latency-monitor-threshold", "0", "milliseconds up to a day, 0: off", Running,
        Kind::Span { field: |c| &mut c.latency_monitor_threshold, unit: Duration::from_millis(1), min: Duration::ZERO, max: DAY },
        "commands, commits, fsyncs of the log, removals of expired keys and delays of the event loop that take as long or longer become samples of LATENCY"),
    option!("loglevel", "notice", "debug, verbose, notice, warning or nothing", Start, Kind::LogLevel(|c| &mut c.loglevel),
        "least severity that is logged"),
    option!("log-format", "text", "text or json", Start, Kind::LogFormat(|c| &mut c.log_format),
        "form of log lines: text, or one JSON object per line with timestamp, level, target and fields"),
    option!("log-lines-per-second", "10", "a number from 0 to 1000000, 0: no limit", Start,
        Kind::Number { field: |c| &mut c.log_lines.per_second, min: 0, max: 1_000_000 },
        "log lines that one place in the code may write per second in the long run; what is left out is counted, and reported every 10 seconds"),
    option!("log-lines-burst", "100", "a number from 1 to 1000000", Start,
        Kind::Number { field: |c| &mut c.log_lines.burst, min: 1, max: 1_000_000 },
        "log lines that one place may write at once after a pause"),
    option!("logfile", "\"\"", "a file, empty: standard error", Start, Kind::Text(|c| &mut c.logfile),
        "where log messages are written"),
    option!("otlp-endpoint", "\"\"", "a URL, http or https; empty: off", Start, Kind::Text(|c| &mut c.traces.endpoint),
        "the OpenTelemetry collector (OTLP over gRPC, as http://127.0.0.1:4317) that takes traces of sampled writes; empty: there are none"),
    option!("otlp-ca-cert-file", "\"\"", "a file, empty: tls-ca-cert-file", Start, Kind::File(|c| &mut c.traces.ca_cert_file),
        "the CA certificates that sign the collector's, PEM; for an endpoint with https"),
    option!("trace-sample", "0", "a number from 0 to 1000000000", Running, Kind::Number { field: |c| &mut c.traces.sample, min: 0, max: 1_000_000_000 },
        "of the writes without a traceparent, one in so many is traced, 0: none; a write whose client's span is sampled always is. Only with otlp-endpoint"),
    option!("shutdown-timeout", "10", "seconds up to an hour", Start,
        Kind::Span { field: |c| &mut c.shutdown_timeout, unit: SECOND, min: Duration::ZERO, max: Duration::from_secs(3_600) },
        "longest time for handing over leadership and draining at shutdown"),
    option!("lab", "no", "yes or no", Start, Kind::YesNo(|c| &mut c.lab),
        "lets `fastness lab` inject faults into this node's disk and links; refused unless the node's certificate allows it, as those of `fastness dev` do"),
    option!("enable-debug-command", "no", "no, local or yes", Start, Kind::CommandAccess(|c| &mut c.enable_debug_command),
        "whether clients may use DEBUG, which is for tests and can block a shard: no client, those on this machine, or all; its user needs the right to it in any case"),
    option!("notify-keyspace-events", "\"\"", "letters of Ag$lshzxetdmnKE; empty: none", Running,
        Kind::NotifyClasses(|c| &mut c.notify_keyspace_events),
        "keyspace notifications of this node: K to __keyspace@0__:<key>, E to __keyevent@0__:<event>; g generic, $ strings, l lists, s sets, h hashes, z sorted sets, x expired, e evicted, t streams, d modules, A all of these, m key misses, n new keys"),
    // Options of Valkey that have one value here.
    fixed("cluster-enabled", "yes", "cluster mode is the only mode"),
    fixed("cluster-databases", "1", "numbered databases are not implemented"),
    fixed("databases", "1", "numbered databases are not implemented"),
    fixed("cluster-require-full-coverage", "no", "each shard serves independently"),
    fixed("cluster-allow-reads-when-down", "no", "a primary without a quorum serves nothing"),
    fixed("cluster-preferred-endpoint-type", "ip", "cluster-announce-ip may be a host name"),
    fixed("save", "\"\"", "there are no RDB save points: the transaction log is always on"),
    fixed("appendonly", "no", "there is no append-only file: the transaction log is always on"),
    fixed("replica-read-only", "yes", "replicas never take writes"),
    fixed("replicaof", "\"\"", "the cluster chooses primaries and replicas"),
    fixed("slaveof", "\"\"", "the cluster chooses primaries and replicas"),
    fixed("slave-read-only", "yes", "replicas never take writes"),
    fixed("io-threads", "1", "each replica has its own thread"),
    fixed("daemonize", "no", "runs in the foreground"),
    fixed("list-compress-depth", "0", "nodes of lists are not compressed"),
    fixed("tls-cluster", "yes", "nodes speak TLS to each other"),
    fixed("tls-replication", "yes", "nodes speak TLS to each other"),
    fixed("latency-tracking", "yes", "LATENCY HISTOGRAM and INFO latencystats are always on"),
    option!("latency-tracking-info-percentiles", "\"50 99 99.9\"", "numbers from 0 to 100, in quotes; empty: none", Running,
        Kind::Percentiles(|c| &mut c.latency_percentiles),
        "percentiles of the time that each command took, in INFO latencystats"),
    fixed("lazyfree-lazy-eviction", "yes", "memory of removed values is freed in the background, in slices"),
    fixed("lazyfree-lazy-expire", "yes", "memory of removed values is freed in the background, in slices"),
    fixed("lazyfree-lazy-server-del", "yes", "memory of removed values is freed in the background, in slices"),
    fixed("lazyfree-lazy-user-del", "yes", "memory of removed values is freed in the background, in slices"),
    fixed("lazyfree-lazy-user-flush", "yes", "memory of removed values is freed in the background, in slices"),
    fixed("hz", "10", "the period of background work, 10 per second"),
];

impl Config {
    /// Every field empty; only for [`Config::default`], which then applies the table's defaults.
    #[allow(clippy::too_many_lines, reason = "a line for each option")]
    pub(super) fn blank() -> Config {
        Config {
            bind: Vec::new(),
            bind_source_addr: String::new(),
            port: 0,
            plaintext_beyond_loopback: false,
            tls_port: 0,
            tls_cert_file: None,
            tls_key_file: None,
            tls_ca_cert_file: None,
            tls_ca_cert_dir: None,
            tls_auto_reload_interval: Duration::ZERO,
            tls_protocols: String::new(),
            tls_ciphers: String::new(),
            tls_ciphersuites: String::new(),
            tls_auth_clients: ClientCertificates::Required,
            peer_port: 0,
            grpc_port: 0,
            metrics_port: 0,
            metrics_digest: false,
            node_id: 0,
            availability_zone: String::new(),
            dir: PathBuf::new(),
            cluster_announce_ip: String::new(),
            cluster_announce_hostname: String::new(),
            cluster_announce_plaintext_ip: String::new(),
            cluster_announce_port: 0,
            cluster_announce_tls_port: 0,
            durability: Durability::Sync,
            notify_keyspace_events: NotifyClasses::NONE,
            durability_max_lag: Duration::ZERO,
            clock_max_offset: Duration::ZERO,
            failover_timeout: Duration::ZERO,
            consensus_nice: 0,
            shard_nice: 0,
            lease_wait_max: Duration::ZERO,
            busy_reply_threshold: Duration::ZERO,
            script_time_max: Duration::ZERO,
            loop_stall_max: Duration::ZERO,
            master_key_file: None,
            maxmemory: 0,
            eviction: EvictionOptions::default(),
            snapshot_log_bytes: 256 << 20,
            watch_log_bytes: 0,
            disk_budget: 0,
            packed_limits: PackedLimits::default(),
            maxclients: 0,
            source_connections_per_second: 0,
            source_connections_burst: 0,
            source_handshakes_per_second: 0,
            source_handshakes_burst: 0,
            timeout: Duration::ZERO,
            tcp_keepalive: Duration::ZERO,
            tcp_backlog: 0,
            tls_auth_clients_user: CertificateUser::Off,
            protected_mode: true,
            requirepass: String::new(),
            aclfile: None,
            users: Vec::new(),
            acllog_max_len: 0,
            maxmemory_clients: MemoryBound::Percent(25),
            core_dumps: false,
            grpc_memory: 0,
            client_query_buffer_limit: 0,
            client_output_buffer_limit: OutputLimits::default(),
            tracking_table_max_keys: 0,
            proto_max_bulk_len: 0,
            command_logs: Default::default(),
            latency_monitor_threshold: Duration::ZERO,
            latency_percentiles: Percentiles::default(),
            loglevel: LogLevel::Notice,
            log_format: LogFormat::Text,
            log_lines: LogLines::default(),
            logfile: String::new(),
            traces: TraceOptions::default(),
            shutdown_timeout: Duration::ZERO,
            lab: false,
            enable_debug_command: CommandAccess::No,
        }
    }
}
