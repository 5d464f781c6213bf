//! The facts that Valkey states about each command: its name, arity, flags, ACL categories, keys and group.
//!
//! They are generated for every command that Valkey knows (`facts.rs`) and written by hand for Fastness's own
//! (`own.rs`). How a command runs is in [`mod@super::table`].

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
    /// Scripts may not run it.
    pub const NOSCRIPT: Flags = Flags(flag::NOSCRIPT);
    /// It runs while a script takes long.
    pub const ALLOW_BUSY: Flags = Flags(flag::ALLOW_BUSY);
    /// Manages the server; MONITOR does not show it.
    pub const ADMIN: Flags = Flags(flag::ADMIN);
    /// MONITOR does not show it, but what it runs.
    pub const SKIP_MONITOR: Flags = Flags(flag::SKIP_MONITOR);
    /// The command logs leave it out.
    pub const SKIP_COMMANDLOG: Flags = Flags(flag::SKIP_COMMANDLOG);
    /// May wait until a key has what it removes or reads.
    pub const BLOCKING: Flags = Flags(flag::BLOCKING);
    /// Served while the data is being loaded.
    pub const LOADING: Flags = Flags(flag::LOADING);
    /// Served by a replica that has lost its primary.
    pub const STALE: Flags = Flags(flag::STALE);
    /// Refused between MULTI and EXEC.
    pub const NO_MULTI: Flags = Flags(flag::NO_MULTI);
    /// Served before AUTH.
    pub const NO_AUTH: Flags = Flags(flag::NO_AUTH);
    /// Takes constant or logarithmic time.
    pub const FAST: Flags = Flags(flag::FAST);
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

/// What COMMAND INFO reports about a command: of Valkey's generated, else as [`own`](super::own) says.
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

/// A row of facts.
#[allow(clippy::too_many_arguments, reason = "a row of a generated table, in the order of its columns")]
#[must_use]
pub const fn fact(
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
#[must_use]
pub const fn key(at: u8, flags: u32) -> KeySpec {
    keys(Begin::At(at), range(0, 1, 0), flags)
}

/// A group of keys.
#[must_use]
pub const fn keys(begin: Begin, find: Find, flags: u32) -> KeySpec {
    KeySpec { begin, find, flags: KeyFlags(flags) }
}

/// See [`Begin::At`].
#[must_use]
pub const fn at(argument: u8) -> Begin {
    Begin::At(argument)
}

/// See [`Begin::After`].
#[must_use]
pub const fn after(word: &'static str, from: i8) -> Begin {
    Begin::After(word, from)
}

/// See [`Find::Range`].
#[must_use]
pub const fn range(last: i8, step: u8, limit: u8) -> Find {
    Find::Range { last, step, limit }
}

/// See [`Find::Counted`].
#[must_use]
pub const fn counted(number_at: u8, first: u8, step: u8) -> Find {
    Find::Counted { number_at, first, step }
}

/// Keys that cannot be told from the arguments.
#[must_use]
pub const fn unknown(flags: u32) -> KeySpec {
    keys(Begin::Unknown, Find::Unknown, flags)
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
