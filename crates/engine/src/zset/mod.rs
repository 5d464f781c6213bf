//! Sorted sets: their two forms ([`packed`], [`mod@table`]), effects, changes, images, DUMP form and commands. A
//! command is in a file of its own or with its closest relatives.
//!
//! A large sorted set has its members in a table by name ([`members`]) and their marks in a tree by score ([`tree`]).
//!
//! Commands follow the rules of the string commands: arguments first, then data, then one reply, and errors in the
//! order in which Valkey finds them. An effect names only members that it changes, each once, and the scores that
//! result.

pub mod add;
pub mod blocking;
pub mod combine;
mod dump;
pub mod effect;
pub mod get;
pub(crate) mod image;
mod keyspace;
pub(crate) mod look_up;
pub mod members;
pub mod packed;
pub mod pop;
pub mod randmember;
pub mod range;
pub mod ranges;
pub mod remove;
pub mod scan;
pub mod score;
pub mod table;
pub mod tree;
mod value;
pub mod view;
mod write;

use crate::command::typed::TypeCommands;

pub use members::Member;
pub use packed::NUMBER;
pub use table::MemberTable;
pub use view::SortedSet;

/// The commands and the DUMP form of sorted sets.
#[rustfmt::skip]
pub(crate) const COMMANDS: TypeCommands = TypeCommands {
    commands: &[
        blocking::BZMPOP,
        blocking::BZPOPMAX,
        blocking::BZPOPMIN,
        add::ZADD,
        add::ZINCRBY,
        combine::ZDIFF,
        combine::ZDIFFSTORE,
        combine::ZINTER,
        combine::ZINTERCARD,
        combine::ZINTERSTORE,
        combine::ZUNION,
        combine::ZUNIONSTORE,
        get::ZCARD,
        get::ZCOUNT,
        get::ZLEXCOUNT,
        get::ZMSCORE,
        get::ZRANK,
        get::ZREVRANK,
        get::ZSCORE,
        pop::ZMPOP,
        pop::ZPOPMAX,
        pop::ZPOPMIN,
        randmember::ZRANDMEMBER,
        ranges::ZRANGE,
        ranges::ZRANGEBYLEX,
        ranges::ZRANGEBYSCORE,
        ranges::ZRANGESTORE,
        ranges::ZREVRANGE,
        ranges::ZREVRANGEBYLEX,
        ranges::ZREVRANGEBYSCORE,
        remove::ZREM,
        remove::ZREMRANGEBYLEX,
        remove::ZREMRANGEBYRANK,
        remove::ZREMRANGEBYSCORE,
        scan::ZSCAN,
    ],
    dump: dump::FORM,
};
