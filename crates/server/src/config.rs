//! The options of one node, in valkey.conf's grammar and naming.
//!
//! One table ([`options::OPTIONS`]) says for every option its name, default, range, meaning and whether it changes at
//! run time; the parser, CONFIG GET, CONFIG SET and the documentation are read from it, so none of them can disagree.
//!
//! What an option's value means alone is checked when it is read; what several mean together, and what a durable node
//! needs, by [`Config::check`].

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastness_engine::{EvictionOptions, NotifyClasses, PackedLimits};
use fastness_log::{KeyFileError, MasterKey};
use fastness_types::Durability;
use fastness_types::limits::USERS_MAX;

use crate::process;
use crate::sources::{SourceRate, SourceRates};

mod options;
mod percentiles;
mod value;

pub use options::{Change, OPTIONS, OptionSpec, find};
pub use percentiles::Percentiles;
pub use value::Problem;
pub(crate) use value::bytes;

/// Whether clients of the TLS front end show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A connection without one is refused.
    Required,
    /// One that is shown must be valid.
    Optional,
    /// Not requested.
    No,
}

/// Who may use a command that is off by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandAccess {
    /// Nobody.
    No,
    /// Clients on this machine.
    Local,
    /// Every client whose user may run it.
    Yes,
}

/// A bound that is a number of bytes or a part of `maxmemory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryBound {
    /// Bytes; 0: none.
    Bytes(u64),
    /// Percent of `maxmemory`, from 1 to 100; while there is none, of the memory that the process may use.
    Percent(u8),
}

impl MemoryBound {
    /// The least bound, bytes: below it nobody could connect to set another one. (Valkey's is 128 KiB; a connection
    /// over gRPC has buffers of 256 KiB.)
    pub const BYTES_MIN: u64 = 1 << 20;

    /// The bound in bytes; `None`: there is none.
    #[must_use]
    pub fn bytes(self, maxmemory: u64) -> Option<u64> {
        let bytes = match self {
            MemoryBound::Bytes(0) => return None,
            MemoryBound::Bytes(bytes) => bytes,
            MemoryBound::Percent(percent) => {
                let all = if maxmemory > 0 { maxmemory } else { process::memory_max() };
                (u128::from(all) * u128::from(percent) / 100) as u64
            }
        };
        Some(bytes.max(MemoryBound::BYTES_MIN))
    }
}

/// How a client's certificate names its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateUser {
    /// It does not.
    Off,
    /// The common name of its subject.
    CommonName,
    /// A URI among its subject alternative names.
    Uri,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Much.
    Verbose,
    /// What an operator wants to see.
    Notice,
    /// Only what is wrong.
    Warning,
    /// Nothing.
    Nothing,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line, for programs.
    Json,
}

/// What a command log takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommandLogBounds {
    /// From which value on, in microseconds or bytes; negative: nothing.
    pub threshold: i64,
    /// How many entries it keeps.
    pub len_max: u64,
}

/// How many lines one place in the code may log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogLines {
    /// In the long run; 0: no limit.
    pub per_second: u64,
    /// At once after a pause.
    pub burst: u64,
}

/// Which writes are traced, and where traces go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceOptions {
    /// The collector; empty: traces are off.
    pub endpoint: String,
    /// The CA certificates of its certificate.
    pub ca_cert_file: Option<PathBuf>,
    /// One write in so many is traced; 0: none but those whose client's span is sampled.
    pub sample: u64,
}

/// When a slow reader is cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// At once at this many bytes of unsent replies; 0: never.
    pub hard_bytes: u64,
    /// After `soft_time` without a pause above this many; 0: never.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_time: Duration,
}

/// The limits of the classes of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients without subscriptions.
    pub normal: OutputLimit,
    /// Clients with subscriptions to channels.
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    /// Those of a client with or without subscriptions.
    #[must_use]
    pub fn of(&self, is_subscribed: bool) -> OutputLimit {
        if is_subscribed { self.pubsub } else { self.normal }
    }
}

/// A line `user <name> <rule> …` of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct UserLine {
    /// From 1.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// Its rules, which are not checked yet.
    pub rules: Vec<String>,
}

impl std::fmt::Debug for UserLine {
    /// Omits the rules: they contain passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "user {:?} in line {}", self.name, self.line)
    }
}

/// Every option of one node. Made by [`Config::parse`]; a field's meaning, unit and range stand in [`OPTIONS`].
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "documented by the table of options, which is where users read it too")]
pub struct Config {
    pub bind: Vec<String>,
    pub bind_source_addr: String,
    pub port: u16,
    pub plaintext_beyond_loopback: bool,
    pub tls_port: u16,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    pub tls_ca_cert_file: Option<PathBuf>,
    pub tls_ca_cert_dir: Option<PathBuf>,
    /// How often the TLS files are read again; 0: only on SIGHUP.
    pub tls_auto_reload_interval: Duration,
    pub tls_protocols: String,
    pub tls_ciphers: String,
    pub tls_ciphersuites: String,
    pub tls_auth_clients: ClientCertificates,
    pub tls_auth_clients_user: CertificateUser,
    pub protected_mode: bool,
    pub peer_port: u16,
    pub grpc_port: u16,
    pub metrics_port: u16,
    pub metrics_digest: bool,
    pub node_id: u64,
    pub availability_zone: String,
    pub dir: PathBuf,
    pub cluster_announce_ip: String,
    pub cluster_announce_hostname: String,
    pub cluster_announce_plaintext_ip: String,
    pub cluster_announce_port: u16,
    pub cluster_announce_tls_port: u16,
    pub durability: Durability,
    pub durability_max_lag: Duration,
    /// Which keyspace notifications this node publishes.
    pub notify_keyspace_events: NotifyClasses,
    /// How far this node's wall clock may be off the median of all nodes'.
    pub clock_max_offset: Duration,
    /// When an election starts at the latest after a leader's last word; leases are half as long.
    pub failover_timeout: Duration,
    /// The nice value that the consensus thread requests; 0: that of the process.
    pub consensus_nice: i64,
    /// The nice value that the shards' threads request; 0: that of the process.
    pub shard_nice: i64,
    /// How long commands wait while no primary is known.
    pub lease_wait_max: Duration,
    /// From this time of a script on other commands are answered BUSY; zero: never.
    pub busy_reply_threshold: Duration,
    /// How long a script may run.
    pub script_time_max: Duration,
    /// How long the loop of a replica that leads may not turn before its lease is closed.
    pub loop_stall_max: Duration,
    pub master_key_file: Option<PathBuf>,
    pub maxmemory: u64,
    /// Which keys leave when memory is full.
    pub eviction: EvictionOptions,
    /// Bytes of log after which a replica makes a snapshot; 0: only on request.
    pub snapshot_log_bytes: u64,
    /// `watch-log-bytes`.
    pub watch_log_bytes: u64,
    /// Bytes that log, snapshots and ballast of this node may take together; 0: derived from the file system.
    pub disk_budget: u64,
    /// Up to which size hashes, sets and sorted sets are packed.
    pub packed_limits: PackedLimits,
    pub maxclients: u64,
    pub source_connections_per_second: u64,
    pub source_connections_burst: u64,
    pub source_handshakes_per_second: u64,
    pub source_handshakes_burst: u64,
    pub timeout: Duration,
    pub tcp_keepalive: Duration,
    pub tcp_backlog: u64,
    pub requirepass: String,
    pub aclfile: Option<PathBuf>,
    /// The lines `user …`, in their order. Taken out at the start of the node.
    pub users: Vec<UserLine>,
    pub acllog_max_len: u64,
    pub maxmemory_clients: MemoryBound,
    pub core_dumps: bool,
    pub grpc_memory: u64,
    pub client_query_buffer_limit: u64,
    pub client_output_buffer_limit: OutputLimits,
    pub tracking_table_max_keys: u64,
    pub proto_max_bulk_len: u64,
    /// Of slow commands, large requests and large replies.
    pub command_logs: [CommandLogBounds; 3],
    pub latency_monitor_threshold: Duration,
    /// In INFO latencystats.
    pub latency_percentiles: Percentiles,
    pub loglevel: LogLevel,
    pub log_format: LogFormat,
    pub log_lines: LogLines,
    pub logfile: String,
    pub traces: TraceOptions,
    pub shutdown_timeout: Duration,
    /// Whether faults can be commanded.
    pub lab: bool,
    pub enable_debug_command: CommandAccess,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A line that is not `name value …`.
    #[error("line {line}: unbalanced quotes")]
    Quotes {
        /// From 1.
        line: usize,
    },
    /// A name that is not in the table.
    #[error("line {line}: unknown option '{name}'")]
    Unknown {
        /// From 1.
        line: usize,
        /// As written.
        name: String,
    },
    /// A value that the option does not take.
    #[error("line {line}: {name}: {problem}")]
    Value {
        /// From 1.
        line: usize,
        /// The option.
        name: &'static str,
        /// What was expected.
        problem: Problem,
    },
    /// A line `user …` that names no user, or one of a line before.
    #[error("line {line}: {problem}")]
    User {
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: UserProblem,
    },
    /// Options that do not go together, or a requirement that is not met.
    #[error("{0}")]
    Unmet(Unmet),
}

/// What is wrong with a line `user …` whatever its rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserProblem {
    /// It has no name, or one with blanks.
    #[error("user: the name of a user is missing, or contains blanks or null characters")]
    Name,
    /// A line before has the same name.
    #[error("user: Duplicate user '{0}' found")]
    Duplicate(String),
    /// There are too many.
    #[error("user: a cluster has at most {USERS_MAX} users")]
    TooMany,
}

/// What a node needs and this configuration does not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each says what it is in its own text")]
pub enum Unmet {
    #[error("durability {0} needs TLS for every client and every peer: set {1}")]
    DurableTls(Durability, &'static str),
    #[error("durability {0} needs encryption at rest: set master-key-file")]
    DurableKey(Durability),
    #[error("durability {0} needs to know this node's zone: set availability-zone")]
    DurableZone(Durability),
    #[error("nodes speak mutual TLS with each other and with administrators in every mode: set {0}")]
    NodeTls(&'static str),
    #[error("what is on disk is encrypted in every mode: set master-key-file")]
    DiskKey,
    #[error("no door for clients: set tls-port or port")]
    NoFrontEnd,
    #[error("{0} and {1} are both {2}")]
    SamePort(&'static str, &'static str, u16),
    #[error("{0}: '{1}' is not an address")]
    Address(&'static str, String),
    #[error("line {0} defines a user, and aclfile is set: users are in one place, so remove either")]
    TwoPlacesOfUsers(usize),
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Config::blank();
        for option in OPTIONS {
            let words = value::split(option.default).expect("defaults have balanced quotes");
            option.set(&mut config, &words).expect("a default is within its own range");
        }
        config
    }
}

impl Config {
    /// Where the transaction log is.
    #[must_use]
    pub fn log_folder(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Reads the master key.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key.
    pub fn master_key(&self) -> Result<MasterKey, KeyFileError> {
        MasterKey::load(self.master_key_file.as_deref().unwrap_or(Path::new("")))
    }

    /// The file in which a rotation of the master key finds the new key: `master-key-file` with `.new` after its name.
    #[must_use]
    pub fn new_master_key_file(&self) -> PathBuf {
        let mut name = self.master_key_file.clone().unwrap_or_default().into_os_string();
        name.push(".new");
        PathBuf::from(name)
    }

    /// Reads a file's text on top of the defaults. Does not [`Config::check`].
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for (number, line) in text.lines().enumerate() {
            config.apply_line(number + 1, line)?;
        }
        Ok(config)
    }

    fn apply_line(&mut self, line: usize, text: &str) -> Result<(), ConfigError> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let words = value::split(text).ok_or(ConfigError::Quotes { line })?;
        let Some((name, values)) = words.split_first() else { return Ok(()) };
        if name.eq_ignore_ascii_case("user") {
            return self.add_user(line, values).map_err(|problem| ConfigError::User { line, problem });
        }
        let option = find(name).ok_or_else(|| ConfigError::Unknown { line, name: name.clone() })?;
        option.set(self, values).map_err(|problem| ConfigError::Value { line, name: option.name, problem })
    }

    fn add_user(&mut self, line: usize, words: &[String]) -> Result<(), UserProblem> {
        let is_name = |name: &str| !(name.is_empty() || name.contains(|c: char| c.is_ascii_whitespace() || c == '\0'));
        let (name, rules) = words.split_first().filter(|(name, _)| is_name(name)).ok_or(UserProblem::Name)?;
        if self.users.iter().any(|user| user.name == *name) {
            return Err(UserProblem::Duplicate(name.clone()));
        }
        if self.users.len() >= USERS_MAX {
            return Err(UserProblem::TooMany);
        }
        self.users.push(UserLine { line, name: name.clone(), rules: rules.to_vec() });
        Ok(())
    }

    /// The table of options, for the documentation.
    #[must_use]
    pub fn documented() -> &'static [OptionSpec] {
        OPTIONS
    }

    /// Whether the options go together and meet what the chosen durability needs.
    ///
    /// # Errors
    /// The first requirement that is not met.
    pub fn check(&self) -> Result<(), Unmet> {
        self.check_durable()?;
        self.check_material()?;
        self.check_ports()?;
        if let (Some(user), Some(_)) = (self.users.first(), &self.aclfile) {
            return Err(Unmet::TwoPlacesOfUsers(user.line));
        }
        let source = Some(&self.bind_source_addr).filter(|address| !address.is_empty());
        let addresses = self.bind.iter().map(|address| ("bind", address));
        for (option, address) in addresses.chain(source.map(|address| ("bind-source-addr", address))) {
            address.parse::<IpAddr>().map_err(|_| Unmet::Address(option, address.clone()))?;
        }
        Ok(())
    }

    fn check_durable(&self) -> Result<(), Unmet> {
        let durability = self.durability;
        if !durability.is_durable() {
            return Ok(());
        }
        if let Some(missing) = self.missing_tls() {
            return Err(Unmet::DurableTls(durability, missing));
        }
        if self.master_key_file.is_none() {
            return Err(Unmet::DurableKey(durability));
        }
        if self.availability_zone.is_empty() {
            return Err(Unmet::DurableZone(durability));
        }
        Ok(())
    }

    fn check_material(&self) -> Result<(), Unmet> {
        match self.missing_tls() {
            Some(missing) => Err(Unmet::NodeTls(missing)),
            None if self.master_key_file.is_none() => Err(Unmet::DiskKey),
            None => Ok(()),
        }
    }

    fn missing_tls(&self) -> Option<&'static str> {
        let files = [
            (&self.tls_cert_file, "tls-cert-file"),
            (&self.tls_key_file, "tls-key-file"),
            (
                if self.tls_ca_cert_dir.is_some() { &self.tls_ca_cert_dir } else { &self.tls_ca_cert_file },
                "tls-ca-cert-file",
            ),
        ];
        files.into_iter().find(|(file, _)| file.is_none()).map(|(_, name)| name)
    }

    fn check_ports(&self) -> Result<(), Unmet> {
        if self.port == 0 && self.tls_port == 0 {
            return Err(Unmet::NoFrontEnd);
        }
        let ports = [
            ("port", self.port),
            ("tls-port", self.tls_port),
            ("peer-port", self.peer_port),
            ("grpc-port", self.grpc_port),
            ("metrics-port", self.metrics_port),
        ];
        for (i, (name, port)) in ports.iter().enumerate().filter(|(_, (_, port))| *port != 0) {
            if let Some((other, _)) = ports[..i].iter().find(|(_, other)| other == port) {
                return Err(Unmet::SamePort(other, name, *port));
            }
        }
        Ok(())
    }

    /// How fast one source may open connections.
    #[must_use]
    pub fn source_rates(&self) -> SourceRates {
        // The options' ranges end far below.
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let rate = |per_second, burst| SourceRate { per_second: number(per_second), burst: number(burst) };
        SourceRates {
            connections: rate(self.source_connections_per_second, self.source_connections_burst),
            handshakes: rate(self.source_handshakes_per_second, self.source_handshakes_burst),
        }
    }

    /// The addresses the plaintext front end listens on: loopback only, unless `plaintext-beyond-loopback` is yes.
    #[must_use]
    pub fn plaintext_addresses(&self) -> Vec<IpAddr> {
        let addresses = self.addresses();
        if self.plaintext_beyond_loopback {
            return addresses;
        }
        let loopback: Vec<IpAddr> = addresses.into_iter().filter(IpAddr::is_loopback).collect();
        if loopback.is_empty() { vec![IpAddr::from([127, 0, 0, 1])] } else { loopback }
    }

    /// The addresses all other front ends listen on.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.bind.iter().filter_map(|address| address.parse().ok()).collect()
    }

    /// `bind-source-addr`, if it is set.
    #[must_use]
    pub fn source_address(&self) -> Option<IpAddr> {
        self.bind_source_addr.parse().ok()
    }

    /// The address announced to clients: `cluster-announce-ip`, or the first address that is one.
    #[must_use]
    pub fn announced_host(&self) -> String {
        if !self.cluster_announce_ip.is_empty() {
            return self.cluster_announce_ip.clone();
        }
        let address = self.addresses().into_iter().find(|address| !address.is_unspecified());
        address.map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string())
    }

    /// The host that clients of a RESP listener are told for every node; `None`: for each node the one that it
    /// announces.
    #[must_use]
    pub fn announced_to(&self, tls: bool) -> Option<&str> {
        Some(self.cluster_announce_plaintext_ip.as_str()).filter(|host| !tls && !host.is_empty())
    }
}

#[cfg(test)]
mod tests;
