//! What one command is: the row of the table that dispatch, routing, ACL, COMMAND and the docs are read from.
//!
//! A row has two halves. [`Facts`] are generated for every command that Valkey knows (`facts.rs`): what it is called
//! and takes. A [`Command`] is written by hand beside the code of each command that is there, and says how it runs;
//! `table.rs` lists them, one line each, and joins both halves to a [`CommandSpec`].

use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// Runs a command that needs the data alone. A reply has been written when it returns `Ok`; on `Err` nothing has
/// been written to the reply and nothing has changed, and [`Engine::execute`] writes the error.
pub type RunData = fn(&mut Engine, Args<'_>, &mut Env<'_>) -> Result<(), CommandError>;

/// Who runs a command.
#[derive(Clone, Copy)]
pub enum Run {
    /// Touches data alone: the engine runs it.
    Data(RunData),
    /// Changes a connection's transaction: the shard runs it with [`crate::transaction::Session`].
    Session(SessionCommand),
    /// Needs more than the data: the front end runs it.
    FrontEnd(FrontEndCommand),
    /// Known to Valkey and never to be there: refused with this text, which says what to do instead. No look-up
    /// returns such a spec.
    Refused(&'static str),
    /// Known to Valkey and not there yet: answered as an unknown command. No look-up returns such a spec.
    Absent,
}

/// Commands that change a connection's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionCommand {
    /// Starts to queue.
    Multi,
    /// Runs what was queued.
    Exec,
    /// Drops what was queued.
    Discard,
    /// Marks keys whose change aborts the next EXEC.
    Watch,
    /// Forgets all marked keys.
    Unwatch,
}

/// Commands that the front end runs. Each has its line in `table.rs`; one that a front end does not run must be absent
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named after its command")]
pub enum FrontEndCommand {
    AclGetuser,
    AclList,
    AclUsers,
    AclWhoami,
    Asking,
    Auth,
    ClientCapa,
    ClientDurability,
    ClientReads,
    ClientGetname,
    ClientGetredir,
    ClientId,
    ClientInfo,
    ClientKill,
    ClientList,
    ClientNoEvict,
    ClientNoTouch,
    ClientPause,
    ClientReply,
    ClientSetinfo,
    ClientSetname,
    ClientTrackinginfo,
    ClientUnblock,
    ClientUnpause,
    ClusterInfo,
    ClusterLinks,
    ClusterMyid,
    ClusterMyshardid,
    ClusterNodes,
    ClusterReplicas,
    ClusterShards,
    ClusterSlots,
    CommandlogGet,
    CommandlogLen,
    CommandlogReset,
    ConfigGet,
    ConfigResetstat,
    ConfigSet,
    Hello,
    Info,
    Lastsave,
    LatencyHistogram,
    LatencyHistory,
    LatencyLatest,
    LatencyReset,
    ModuleList,
    Quit,
    Readonly,
    Readwrite,
    Reset,
    Role,
    Shutdown,
    SlowlogGet,
    SlowlogLen,
    SlowlogReset,
    Wait,
    Waitaof,
}

/// The bits of [`Flags`], in the order in which COMMAND prints them.
#[allow(missing_docs, reason = "each is named as COMMAND names it; the names are Valkey's")]
pub mod flag {
    pub const NONE: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const READONLY: u32 = 1 << 1;
    pub const DENYOOM: u32 = 1 << 2;
    pub const ADMIN: u32 = 1 << 3;
    pub const PUBSUB: u32 = 1 << 4;
    pub const NOSCRIPT: u32 = 1 << 5;
    pub const BLOCKING: u32 = 1 << 6;
    pub const LOADING: u32 = 1 << 7;
    pub const STALE: u32 = 1 << 8;
    pub const SKIP_MONITOR: u32 = 1 << 9;
    pub const SKIP_COMMANDLOG: u32 = 1 << 10;
    pub const ASKING: u32 = 1 << 11;
    pub const FAST: u32 = 1 << 12;
    pub const NO_AUTH: u32 = 1 << 13;
    pub const NO_MANDATORY_KEYS: u32 = 1 << 14;
    pub const NO_ASYNC_LOADING: u32 = 1 << 15;
    pub const NO_MULTI: u32 = 1 << 16;
    pub const MOVABLEKEYS: u32 = 1 << 17;
    pub const ALLOW_BUSY: u32 = 1 << 18;
    pub(in crate::command) const NAMES: &[&str] = &[
        "write",
        "readonly",
        "denyoom",
        "admin",
        "pubsub",
        "noscript",
        "blocking",
        "loading",
        "stale",
        "skip_monitor",
        "skip_commandlog",
        "asking",
        "fast",
        "no_auth",
        "no_mandatory_keys",
        "no_async_loading",
        "no_multi",
        "movablekeys",
        "allow_busy",
    ];
}

/// The bits of [`Categories`], in the order of ACL CAT.
#[allow(missing_docs, reason = "each is named as ACL CAT names it; the names are Valkey's")]
pub mod category {
    pub const NONE: u32 = 0;
    pub const KEYSPACE: u32 = 1;
    pub const READ: u32 = 1 << 1;
    pub const WRITE: u32 = 1 << 2;
    pub const SET: u32 = 1 << 3;
    pub const SORTEDSET: u32 = 1 << 4;
    pub const LIST: u32 = 1 << 5;
    pub const HASH: u32 = 1 << 6;
    pub const STRING: u32 = 1 << 7;
    pub const BITMAP: u32 = 1 << 8;
    pub const HYPERLOGLOG: u32 = 1 << 9;
    pub const GEO: u32 = 1 << 10;
    pub const STREAM: u32 = 1 << 11;
    pub const PUBSUB: u32 = 1 << 12;
    pub const ADMIN: u32 = 1 << 13;
    pub const FAST: u32 = 1 << 14;
    pub const SLOW: u32 = 1 << 15;
    pub const BLOCKING: u32 = 1 << 16;
    pub const DANGEROUS: u32 = 1 << 17;
    pub const CONNECTION: u32 = 1 << 18;
    pub const TRANSACTION: u32 = 1 << 19;
    pub const SCRIPTING: u32 = 1 << 20;
    pub(in crate::command) const NAMES: &[&str] = &[
        "keyspace",
        "read",
        "write",
        "set",
        "sortedset",
        "list",
        "hash",
        "string",
        "bitmap",
        "hyperloglog",
        "geo",
        "stream",
        "pubsub",
        "admin",
        "fast",
        "slow",
        "blocking",
        "dangerous",
        "connection",
        "transaction",
        "scripting",
    ];
}

/// The bits of [`KeyFlags`]: what a command does with a key, in the order in which COMMAND prints them.
#[allow(missing_docs, reason = "each is named as COMMAND names it; the names are Valkey's")]
pub mod key_flag {
    pub const NONE: u32 = 0;
    pub const RO: u32 = 1;
    pub const RW: u32 = 1 << 1;
    pub const OW: u32 = 1 << 2;
    pub const RM: u32 = 1 << 3;
    pub const ACCESS: u32 = 1 << 4;
    pub const UPDATE: u32 = 1 << 5;
    pub const INSERT: u32 = 1 << 6;
    pub const DELETE: u32 = 1 << 7;
    pub const NOT_KEY: u32 = 1 << 8;
    pub const INCOMPLETE: u32 = 1 << 9;
    pub const VARIABLE_FLAGS: u32 = 1 << 10;
    pub(in crate::command) const NAMES: &[&str] =
        &["RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "not_key", "incomplete", "variable_flags"];
}

/// A set of named bits; each kind has its names and its order.
macro_rules! bit_set {
    ($(#[$doc:meta])* $name:ident, $names:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name(pub u32);

        impl $name {
            /// Whether every bit of `other` is set.
            #[inline]
            #[must_use]
            pub const fn has(self, other: $name) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any bit of `other` is set.
            #[inline]
            #[must_use]
            pub const fn has_any(self, other: $name) -> bool {
                self.0 & other.0 != 0
            }

            /// The names of the bits that are set, in Valkey's order.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                $names.iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| *name)
            }

            /// The bit of this name.
            #[must_use]
            pub fn named(name: &[u8]) -> Option<$name> {
                let bit = $names.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name))?;
                Some($name(1 << bit))
            }
        }
    };
}

bit_set! {
    /// A command's flags, as COMMAND prints them; the bits are in [`flag`].
    Flags, flag::NAMES
}
bit_set! {
    /// A command's ACL categories; the bits are in [`category`].
    Categories, category::NAMES
}
bit_set! {
    /// What a command does with a key; the bits are in [`key_flag`].
    KeyFlags, key_flag::NAMES
}

impl Flags {
    /// May change data.
    pub const WRITE: Flags = Flags(flag::WRITE);
    /// Never changes data.
    pub const READONLY: Flags = Flags(flag::READONLY);
    /// Refused while the memory in use is over `maxmemory`.
    pub const DENYOOM: Flags = Flags(flag::DENYOOM);
    /// Served while the data is being loaded.
    pub const LOADING: Flags = Flags(flag::LOADING);
    /// Served by a replica that has lost its primary.
    pub const STALE: Flags = Flags(flag::STALE);
    /// Refused between MULTI and EXEC.
    pub const NO_MULTI: Flags = Flags(flag::NO_MULTI);
    /// Served before AUTH.
    pub const NO_AUTH: Flags = Flags(flag::NO_AUTH);
}

/// The group under which the documentation lists a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is named as COMMAND DOCS names it")]
pub enum Group {
    Bitmap,
    Cluster,
    Connection,
    Generic,
    Geo,
    Hash,
    Hyperloglog,
    List,
    Pubsub,
    Scripting,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
}

impl Group {
    /// As in COMMAND DOCS.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Group::Bitmap => "bitmap",
            Group::Cluster => "cluster",
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Geo => "geo",
            Group::Hash => "hash",
            Group::Hyperloglog => "hyperloglog",
            Group::List => "list",
            Group::Pubsub => "pubsub",
            Group::Scripting => "scripting",
            Group::Server => "server",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::String => "string",
            Group::Transactions => "transactions",
        }
    }
}

/// Where a group of keys begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At this argument.
    At(u8),
    /// Behind this word, looked for from this argument on (negative: counted from the end, backwards).
    After(&'static str, i8),
    /// Cannot be told from the arguments.
    Unknown,
}

/// Which arguments from the first key on are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// Up to `last` (counted from the first key; negative: from the end), every `step`-th. `limit` above 1: only that
    /// part of the arguments that remain.
    Range {
        /// Last key.
        last: i8,
        /// Distance between keys.
        step: u8,
        /// Divides what remains; 0 and 1: all of it.
        limit: u8,
    },
    /// As many as an argument says.
    Counted {
        /// Where the number stands, counted from where the group begins.
        number_at: u8,
        /// Where the first key stands, counted likewise.
        first: u8,
        /// Distance between keys.
        step: u8,
    },
    /// Cannot be told from the arguments.
    Unknown,
}

/// One group of keys among the arguments, as in COMMAND INFO's key specifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    /// Where it begins.
    pub begin: Begin,
    /// Which are keys.
    pub find: Find,
    /// What is done with them.
    pub flags: KeyFlags,
}

/// What Valkey says about a command; generated.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub(super) name: &'static str,
    pub(super) group: Group,
    pub(super) arity: i16,
    pub(super) flags: Flags,
    pub(super) categories: Categories,
    pub(super) key_specs: &'static [KeySpec],
    pub(super) tips: &'static [&'static str],
    pub(super) since: &'static str,
}

/// A row of `facts.rs`.
#[allow(clippy::too_many_arguments, reason = "a row of a generated table, in the order of its columns")]
pub(super) const fn fact(
    name: &'static str,
    group: Group,
    arity: i16,
    flags: u32,
    categories: u32,
    key_specs: &'static [KeySpec],
    tips: &'static [&'static str],
    since: &'static str,
) -> Facts {
    Facts { name, group, arity, flags: Flags(flags), categories: Categories(categories), key_specs, tips, since }
}

/// One key, at this argument.
pub(super) const fn key(at: u8, flags: u32) -> KeySpec {
    keys(Begin::At(at), range(0, 1, 0), flags)
}

/// A group of keys.
pub(super) const fn keys(begin: Begin, find: Find, flags: u32) -> KeySpec {
    KeySpec { begin, find, flags: KeyFlags(flags) }
}

/// See [`Begin::At`].
pub(super) const fn at(argument: u8) -> Begin {
    Begin::At(argument)
}

/// See [`Begin::After`].
pub(super) const fn after(word: &'static str, from: i8) -> Begin {
    Begin::After(word, from)
}

/// See [`Find::Range`].
pub(super) const fn range(last: i8, step: u8, limit: u8) -> Find {
    Find::Range { last, step, limit }
}

/// See [`Find::Counted`].
pub(super) const fn counted(number_at: u8, first: u8, step: u8) -> Find {
    Find::Counted { number_at, first, step }
}

/// Keys that cannot be told from the arguments.
pub(super) const fn unknown(flags: u32) -> KeySpec {
    keys(Begin::Unknown, Find::Unknown, flags)
}

/// A command that is there: what stands beside its code. `table.rs` has one line for each.
///
/// ```text
/// pub const COMMAND: Command = Command::data("get", "<key>", "Returns a key's string value.", run);
/// ```
#[derive(Clone, Copy)]
pub struct Command {
    /// Lower case; a subcommand is written `container|sub`. Its facts are looked up by it.
    pub name: &'static str,
    /// The arguments behind the name, as HELP prints them: `<key> [SAMPLES <count>]`.
    pub syntax: &'static str,
    /// One sentence, for COMMAND DOCS, HELP and the documentation.
    pub summary: &'static str,
    /// Who runs it.
    pub run: Run,
}

impl Command {
    /// A command that the engine runs.
    #[must_use]
    pub const fn data(name: &'static str, syntax: &'static str, summary: &'static str, run: RunData) -> Command {
        Command { name, syntax, summary, run: Run::Data(run) }
    }

    /// A command that the front end runs.
    #[must_use]
    pub const fn front_end(
        name: &'static str,
        syntax: &'static str,
        summary: &'static str,
        command: FrontEndCommand,
    ) -> Command {
        Command { name, syntax, summary, run: Run::FrontEnd(command) }
    }

    /// A command that the shard runs.
    #[must_use]
    pub const fn session(
        name: &'static str,
        syntax: &'static str,
        summary: &'static str,
        command: SessionCommand,
    ) -> Command {
        Command { name, syntax, summary, run: Run::Session(command) }
    }
}

/// Where the keys stand among the arguments, as far as one range can say it (COMMAND INFO's fields 4 to 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyPositions {
    /// First key's argument, 0: none.
    pub first: i16,
    /// Last key's argument; negative: counted from the end.
    pub last: i16,
    /// Distance between keys.
    pub step: i16,
}

/// One command or subcommand: a row of the table.
pub struct CommandSpec {
    /// Its place in [`crate::command::all`]: for arrays with one element per command.
    pub index: usize,
    /// Lower case; a subcommand is written `container|sub`.
    pub name: &'static str,
    /// Number of arguments with the name (a subcommand: with both names); negative: at least that many.
    pub arity: i16,
    /// See [`Flags`].
    pub flags: Flags,
    /// See [`Categories`].
    pub categories: Categories,
    /// See [`KeySpec`].
    pub key_specs: &'static [KeySpec],
    /// See [`KeyPositions`].
    pub positions: KeyPositions,
    /// An argument that is no key and routes like one; see [`CommandSpec::route`].
    pub(super) routed_by: Option<usize>,
    /// Hints for clients, as COMMAND INFO prints them.
    pub tips: &'static [&'static str],
    /// Version of Valkey (or of what it came from) that first had it; of a command of our own, Fastness' version.
    pub since: &'static str,
    /// See [`Group`].
    pub group: Group,
    /// The arguments behind the name; empty for commands that are not there.
    pub syntax: &'static str,
    /// One sentence; empty for commands that are not there.
    pub summary: &'static str,
    /// Who runs it. A container whose subcommands are there runs nothing itself unless it says so.
    pub run: Run,
    /// Indexes in [`crate::command::all`] of a container's subcommands; empty for other commands.
    pub subcommands: std::ops::Range<usize>,
    /// Whether clients may use it: it or one of its subcommands runs.
    pub is_there: bool,
    /// Whether it is Fastness' own: Valkey has no such command.
    pub is_own: bool,
    /// Whether its one key is the argument behind the name.
    pub key_is_first: bool,
}

impl CommandSpec {
    /// Whether a request of `count` arguments, the name included, is complete.
    #[inline]
    #[must_use]
    pub fn takes(&self, count: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity >= 0 { count == arity } else { count >= arity }
    }

    /// Where its arguments say in which slot it runs, beside its keys: CLUSTERSCAN's cursor.
    #[inline]
    pub fn route<'a>(&self, args: Args<'a>) -> Option<&'a [u8]> {
        args.try_get(self.routed_by?)
    }

    /// Whether it has subcommands.
    #[must_use]
    pub fn is_container(&self) -> bool {
        !self.subcommands.is_empty()
    }

    /// Whether it may change data.
    #[inline]
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.flags.has(Flags::WRITE)
    }
}

impl std::fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CommandSpec").field(&self.name).finish()
    }
}
