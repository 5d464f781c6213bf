//! XTRIM, and the trimming of XADD.

use super::change::StreamChange;
use super::entries::Stream;
use super::id::{StreamId, c_text};
use super::look_up::look_up;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{Key, PackedLimits};
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use fastness_types::FormatLevel;

/// Entries that an approximate trim removes at most, if it names no limit: those of so many nodes, but not more than
/// [`LIMIT_MAX`], and [`LIMIT_OF_ANY`] if nodes have any number of entries.
const NODES_OF_LIMIT: u64 = 100;
const LIMIT_OF_ANY: u64 = 10_000;
const LIMIT_MAX: u64 = 1_000_000;

/// XTRIM key (MAXLEN | MINID) \[= | ~] threshold \[LIMIT count]
pub const XTRIM: Command = Command::data(
    "xtrim",
    "<key> MAXLEN|MINID [=|~] <threshold> [LIMIT <count>]",
    "Removes the oldest entries of a stream: down to a length, or up to an id.",
    xtrim,
);

/// What stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threshold {
    /// So many entries.
    Len(u64),
    /// Entries from this id on.
    From(StreamId),
}

/// How a stream is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trim {
    pub(super) threshold: Threshold,
    /// Whether only whole nodes are removed.
    approximate: bool,
    /// How many entries are removed at most; 0: any number.
    limit: u64,
}

/// The options of a command that trims.
#[derive(Debug, Default)]
pub(super) struct TrimOptions {
    trim: Option<(Threshold, bool)>,
    limit: Option<u64>,
}

impl TrimOptions {
    /// Reads the option at `at`, if there is one: returns the place of the next argument.
    pub(super) fn parse(&mut self, args: Args<'_>, at: usize) -> Result<Option<usize>, CommandError> {
        let is = |name: &str| args.get(at).eq_ignore_ascii_case(name.as_bytes());
        if at + 1 >= args.len() || !(is("maxlen") || is("minid") || is("limit")) {
            return Ok(None);
        }
        if is("limit") {
            let limit = integer(args.get(at + 1))?;
            self.limit =
                Some(u64::try_from(limit).map_err(|_| CommandError::Fixed("ERR The LIMIT argument must be >= 0."))?);
            return Ok(Some(at + 2));
        }
        if self.trim.is_some() {
            return Err(CommandError::Fixed(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        let operator =
            Some(c_text(args.get(at + 1))).filter(|text| [&b"~"[..], b"="].contains(text) && at + 2 < args.len());
        let value_at = at + 1 + usize::from(operator.is_some());
        let value = args.get(value_at);
        let threshold = if is("maxlen") {
            let len = integer(value)?;
            Threshold::Len(
                u64::try_from(len).map_err(|_| CommandError::Fixed("ERR The MAXLEN argument must be >= 0."))?,
            )
        } else {
            Threshold::From(StreamId::parse(value, 0)?)
        };
        self.trim = Some((threshold, operator == Some(&b"~"[..])));
        Ok(Some(value_at + 1))
    }

    /// The options together.
    pub(super) fn finish(self, limits: PackedLimits) -> Result<Option<Trim>, CommandError> {
        let Some((threshold, approximate)) = self.trim else {
            return match self.limit {
                None => Ok(None),
                Some(0) => {
                    Err(CommandError::Fixed("ERR syntax error, LIMIT cannot be used without the special ~ option"))
                }
                Some(_) => Err(CommandError::Fixed(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                )),
            };
        };
        match (self.limit, approximate) {
            (Some(_), false) => {
                Err(CommandError::Fixed("ERR syntax error, LIMIT cannot be used without the special ~ option"))
            }
            (limit, true) => {
                Ok(Some(Trim { threshold, approximate, limit: limit.unwrap_or_else(|| default_limit(limits)) }))
            }
            (None, false) => Ok(Some(Trim { threshold, approximate, limit: 0 })),
        }
    }
}

fn default_limit(limits: PackedLimits) -> u64 {
    match limits.stream_node_entries {
        0 => LIMIT_OF_ANY,
        entries => entries.saturating_mul(NODES_OF_LIMIT).min(LIMIT_MAX),
    }
}

/// What a trim removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Removed {
    nodes: u64,
    /// Entries of the node after these.
    entries: u64,
    /// Entries in all.
    total: u64,
    /// The id of the last one.
    last: Option<StreamId>,
}

impl Trim {
    fn removes(&self, stream: &Stream) -> Removed {
        let (mut removed, mut len) = (Removed::default(), stream.len());
        for (id, node) in stream.nodes() {
            let is_short = matches!(self.threshold, Threshold::Len(max) if len <= max);
            if is_short || (self.limit > 0 && removed.total + node.live() > self.limit) {
                break;
            }
            let whole = match self.threshold {
                Threshold::Len(max) => len - node.live() >= max,
                Threshold::From(min) => node.all_back(id).next().is_none_or(|last| last.id < min),
            };
            if whole {
                removed.nodes += 1;
                removed.total += node.live();
                removed.last = node.all_back(id).find(|entry| !entry.is_deleted).map(|entry| entry.id).or(removed.last);
                len -= node.live();
                continue;
            }
            if !self.approximate {
                removed.entries = match self.threshold {
                    Threshold::Len(max) => len - max,
                    Threshold::From(min) => {
                        let before = node.all(id).take_while(|entry| entry.id < min);
                        before.filter(|entry| !entry.is_deleted).count() as u64
                    }
                };
                removed.total += removed.entries;
                let live = node.all(id).filter(|entry| !entry.is_deleted);
                removed.last = live.take(removed.entries as usize).last().map(|entry| entry.id).or(removed.last);
            }
            break;
        }
        removed
    }
}

impl Engine {
    /// Trims a stream; returns how many entries were removed.
    pub(super) fn trim_stream(&mut self, key: &Key<'_>, trim: Trim, env: &mut Env<'_>) -> Result<u64, CommandError> {
        let Some(stream) = look_up(self, key, env)? else { return Ok(0) };
        let Removed { nodes, entries, total, last } = trim.removes(stream);
        if nodes > 0 || entries > 0 {
            let last = last.filter(|_| self.format() >= FormatLevel::OUTBOUND);
            self.change_stream(key, StreamChange::Trim { nodes, entries, last }, env);
        }
        if total > 0 {
            self.notify(NotifyClasses::STREAM, "xtrim", key);
        }
        Ok(total)
    }
}

fn xtrim(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (mut options, mut at) = (TrimOptions::default(), 2);
    while at < args.len() {
        at = options.parse(args, at)?.ok_or(CommandError::Syntax)?;
    }
    const NO_STRATEGY: CommandError =
        CommandError::Fixed("ERR syntax error, XTRIM must be called with a trimming strategy");
    if options.trim.is_none() && options.limit.is_none_or(|limit| limit == 0) {
        return Err(NO_STRATEGY);
    }
    let trim = options.finish(engine.keyspace().packed_limits())?.ok_or(NO_STRATEGY)?;
    let key = engine.first_key(args, env);
    let removed = engine.trim_stream(&key, trim, env)?;
    env.reply.integer(removed as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::keyspace::PackedLimits;
    use crate::testing::{Bench, check};

    #[test]
    fn exact() {
        let add = "XADD s 1-0 a 1 => $3 1-0 | XADD s 2-0 a 2 => $3 2-0 | XADD s 3-0 a 3 => $3 3-0";
        check(&format!(
            "{add} | XTRIM s MAXLEN 2 => :1 | XTRIM s MAXLEN = 2 => :0 | XRANGE s - + COUNT 1 => *1 *2 $3 2-0 *2 $1 a $1 2"
        ));
        check(&format!("{add} | XTRIM s MINID 3 => :2 | XLEN s => :1 | XTRIM s MAXLEN 0 => :1 | XLEN s => :0"));
        check(&format!(
            "{add} | XTRIM s MINID 9 => :3 | TYPE s => +stream | XADD s 2-5 a 1 => -ERR The ID specified in XADD is equal or smaller than the target stream top item"
        ));
        check("XTRIM s MAXLEN 2 => :0");
    }

    #[test]
    fn approximate_trims_remove_whole_nodes() {
        let mut bench = Bench::new();
        for i in 1..=1_050 {
            bench.run(&[b"XADD", b"s", format!("{i}-0").as_bytes(), b"a", b"1"]);
        }
        bench.script("XTRIM s MAXLEN ~ 990 => :0 | XTRIM s MAXLEN ~ 945 => :100 | XLEN s => :950");
        bench.script("XTRIM s MINID ~ 350 => :200 | XLEN s => :750 | XTRIM s MAXLEN ~ 0 LIMIT 210 => :200");
        bench.script("XADD s MAXLEN ~ 400 LIMIT 100 2000-0 a 1 => $6 2000-0 | XLEN s => :451");
        bench.script("XTRIM s MAXLEN ~ 0 LIMIT 0 => :451 | XLEN s => :0");
    }

    #[test]
    fn options_change_what_an_approximate_trim_removes() {
        let mut bench = Bench::new();
        let options = |bench: &mut Bench, entries: u64, bytes: u64| {
            let limits =
                PackedLimits { stream_node_entries: entries, stream_node_bytes: bytes, ..PackedLimits::default() };
            bench.engine.set_packed_limits(limits);
        };
        let mut id = 0;
        let mut add = |bench: &mut Bench, count: usize| {
            for _ in 0..count {
                id += 1;
                bench.run(&[b"XADD", b"s", format!("{id}-0").as_bytes(), b"a", b"1"]);
            }
        };
        options(&mut bench, 10, 4_096);
        add(&mut bench, 30);
        bench.script("XTRIM s MAXLEN ~ 15 => :10 | XLEN s => :20");
        // Nodes keep their size: two of 10 entries, then of one.
        options(&mut bench, 1, 4_096);
        add(&mut bench, 5);
        bench.script("XTRIM s MAXLEN ~ 3 => :22 | XLEN s => :3 | XTRIM s MINID ~ 35 => :2 | XLEN s => :1");
        // Without LIMIT, the entries of 100 nodes at most.
        add(&mut bench, 120);
        bench.script("XTRIM s MAXLEN ~ 0 => :100 | XLEN s => :21 | DEL s => :1");
        // Short nodes in bytes; 0 and 0: the longest ones.
        options(&mut bench, 0, 60);
        add(&mut bench, 12);
        let nodes = |bench: &mut Bench| {
            let info = bench.run(&[b"XINFO", b"STREAM", b"s"]);
            let info = String::from_utf8_lossy(&info).replace("\r\n", " ");
            info.split("radix-tree-keys :").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok())
        };
        assert!(nodes(&mut bench) > Some(2), "{:?}", nodes(&mut bench));
        bench.script("DEL s => :1");
        options(&mut bench, 0, 0);
        add(&mut bench, 3_000);
        assert_eq!(nodes(&mut bench), Some(1));
        bench.script("XTRIM s MAXLEN ~ 1 => :0 | XTRIM s MAXLEN ~ 0 => :3000 | XLEN s => :0");
    }

    /// A replica with other options gets the same nodes.
    #[test]
    fn nodes_are_those_of_the_primary() {
        let (mut bench, mut replica) = (Bench::new(), Bench::new());
        replica.engine.set_packed_limits(PackedLimits { stream_node_entries: 3, ..PackedLimits::default() });
        for n in 1..=250 {
            bench.run(&[b"XADD", b"s", b"MAXLEN", b"~", b"120", format!("{n}-0").as_bytes(), b"a", b"1"]);
            replica.engine.apply(bench.now, &bench.effects.take().to_vec()).unwrap();
        }
        bench.script("XLEN s => :150");
        replica.script("XLEN s => :150");
        assert_eq!(bench.engine.digest(), replica.engine.digest());
    }

    #[test]
    fn refusals() {
        check("XTRIM s MAXLEN a => -ERR value is not an integer or out of range");
        check("XTRIM s MAXLEN -1 => -ERR The MAXLEN argument must be >= 0.");
        check("XTRIM s MINID a => -ERR Invalid stream ID specified as stream command argument");
        check("XTRIM s MAXLEN ~ 1 LIMIT -1 => -ERR The LIMIT argument must be >= 0.");
        check("XTRIM s MAXLEN 1 LIMIT 5 => -ERR syntax error, LIMIT cannot be used without the special ~ option");
        check(
            "XTRIM s LIMIT 5 => -ERR syntax error, LIMIT cannot be used without specifying a trimming strategy | XTRIM s MAXLEN 1 x => -ERR syntax error",
        );
        check(
            "XTRIM s MAXLEN 1 MINID 2 => -ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
        );
    }
}
