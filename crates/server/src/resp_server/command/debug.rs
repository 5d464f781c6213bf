//! DEBUG, for tests: off unless `enable-debug-command` allows it.
//!
//! A subcommand does what Valkey's does, or the nearest thing that is true here, or is refused with the reason. Each is
//! one row of [`SUBCOMMANDS`] or of [`REFUSED`]. `data.rs`: what reads the data; `protocol.rs`: replies of every type.
//!
//! DEBUG runs on the replica that receives it and is never redirected: it names a node, not a key. On a replica that is
//! not the primary it shows what that has applied. What it shows of the data waits, in `sync`, for the commit of
//! everything staged.

mod data;
mod protocol;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use fastness_engine::command::CommandSpec;
use fastness_engine::glob;
use fastness_resp::{Args, ReplyBuf};
use fastness_shard::FrontEndOutcome;
use fastness_types::{Clock as _, SystemClock};

use super::call::{Call, ServerCommand, integer, is, refuse};
use crate::config::{CommandAccess, Config};

pub(super) const DEBUG: ServerCommand = ServerCommand::outcome(
    "debug",
    "<subcommand> [<argument> ...]",
    "Runs a subcommand for tests, if enable-debug-command allows it.",
    run,
);

/// A value of `enable-debug-command`, as Valkey's error quotes it.
const LOCAL: &str = "\"local\"";
const NO_FLAG: &str = "ERR argument must be 0 or 1";

/// Part of `loop-stall-max` that a DEBUG SLEEP may take. At the whole of it the primary loses its lease.
const SLEEP_PART: u32 = 2;
/// The same within a transaction, which may have run for half of `loop-stall-max` before.
const SLEEP_PART_IN_EXEC: u32 = 4;
/// How long after a sleep the next one starts at the earliest, so that the loop has its turn between them.
const BETWEEN_SLEEPS: Duration = Duration::from_millis(10);
/// Longest text that STRINGMATCH-LEN makes, bytes: a match takes at most as many steps as text and pattern multiplied.
const MATCHED_BYTES_MAX: i64 = 1 << 20;
/// Most steps of such a match.
const MATCH_STEPS_MAX: i64 = 1 << 28;
/// Bytes of a text that DEBUG LOG writes; the rest is left out.
const LOGGED_BYTES_MAX: usize = 1024;

/// A subcommand that exists.
struct Subcommand {
    name: &'static str,
    /// Numbers of arguments, the two names included.
    arity: RangeInclusive<usize>,
    syntax: &'static str,
    summary: &'static str,
    run: fn(&mut Call<'_, '_>) -> FrontEndOutcome,
}

const MANY: usize = usize::MAX;

#[rustfmt::skip]
const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { name: "digest", arity: 2..=2, syntax: "", run: data::digest,
        summary: "Returns a digest of all data of this replica." },
    Subcommand { name: "digest-value", arity: 2..=MANY, syntax: "<key> [<key> ...]", run: data::digest_value,
        summary: "Returns a digest of the value of each key." },
    Subcommand { name: "error", arity: 3..=3, syntax: "<text>", run: error,
        summary: "Returns an error with this text." },
    Subcommand { name: "help", arity: 2..=2, syntax: "", run: help,
        summary: "Prints this help." },
    Subcommand { name: "htstats", arity: 3..=4, syntax: "<database> [full]", run: data::htstats,
        summary: "Returns the numbers of keys, and of keys with a deadline." },
    Subcommand { name: "htstats-key", arity: 3..=4, syntax: "<key> [full]", run: data::htstats_key,
        summary: "Returns the size of a value that has a hash table." },
    Subcommand { name: "jmap", arity: 2..=2, syntax: "", run: ok,
        summary: "Does nothing." },
    Subcommand { name: "loadaof", arity: 2..=2, syntax: "", run: data::reload,
        summary: "As RELOAD." },
    Subcommand { name: "log", arity: 3..=3, syntax: "<text>", run: log,
        summary: "Writes a line to the log." },
    Subcommand { name: "object", arity: 3..=4, syntax: "<key> [fast]", run: data::object,
        summary: "Returns how the value of a key is stored." },
    Subcommand { name: "pause-cron", arity: 3..=3, syntax: "0", run: pause_cron,
        summary: "Does nothing: no periodic job could be paused, and 1 is refused." },
    Subcommand { name: "protocol", arity: 3..=3, syntax: "<type>", run: protocol::protocol,
        summary: "Returns a reply of this type of the protocol." },
    Subcommand { name: "quicklist-packed-threshold", arity: 3..=3, syntax: "<bytes>", run: packed_threshold,
        summary: "Checks its argument. No reply depends on how nodes of lists are stored." },
    Subcommand { name: "reload", arity: 2..=MANY, syntax: "", run: data::reload,
        summary: "Rebuilds the data of this replica from an image of it in memory." },
    Subcommand { name: "replybuffer", arity: 4..=4, syntax: "(RESIZING) (0|1)", run: replybuffer,
        summary: "Does nothing: no periodic job resizes buffers of replies." },
    Subcommand { name: "set-active-expire", arity: 3..=3, syntax: "(0|1)", run: set_active_expire,
        summary: "Stops or resumes the removal of expired keys and fields that no command meets." },
    Subcommand { name: "set-disable-deny-scripts", arity: 3..=3, syntax: "(0|1)", run: set_disable_deny_scripts,
        summary: "Lets scripts run DEBUG, or not. Other commands that scripts may not run stay refused." },
    Subcommand { name: "sleep", arity: 3..=3, syntax: "<seconds>", run: sleep,
        summary: "Blocks this shard, for at most half of loop-stall-max." },
    Subcommand { name: "stringmatch-len", arity: 4..=4, syntax: "<length> <pattern>", run: stringmatch_len,
        summary: "Returns whether a text of so many letters a matches a pattern." },
];

/// Valkey's other subcommands, with the reason why they are not implemented.
#[rustfmt::skip]
const REFUSED: &[(&str, &str)] = &[
    ("aof-flush-sleep", "there is no append only file"),
    ("assert", "the lab stops nodes"),
    ("change-repl-id", "there is no replication id, because replicas follow the Raft log"),
    ("client-eviction", "the memory of clients is in CLIENT LIST"),
    ("close-cluster-link-on-packet-drop", "there is no cluster bus"),
    ("config-rewrite-force-all", "the configuration file is never written"),
    ("crash-and-recover", "the lab stops nodes"),
    ("delay-rdb-client-free-second", "there are no RDB files"),
    ("dict-resizing", "tables grow and shrink with each change"),
    ("drop-cluster-packet-filter", "there is no cluster bus"),
    ("leak", "memory is not leaked on purpose"),
    ("listpack", "no value is stored as a listpack, although OBJECT ENCODING names it so"),
    ("mallctl", "the allocator cannot be changed"),
    ("mallctl-str", "the allocator cannot be changed"),
    ("oom", "the lab stops nodes"),
    ("panic", "the lab stops nodes"),
    ("pause-after-fork", "nothing forks"),
    ("populate", "its keys would not be in the log, and replicas would lack them"),
    ("quicklist", "no value is stored as a quicklist, although OBJECT ENCODING names it so"),
    ("replicate", "replicas follow the Raft log alone"),
    ("restart", "the lab stops nodes"),
    ("sdslen", "no value is stored as an SDS"),
    ("segfault", "the lab stops nodes"),
    ("set-skip-checksum-validation", "checksums are always checked"),
    ("stringmatch-test", "the matcher is tested beside its code"),
    ("structsize", "there are no structures of C"),
];

/// Whether a client at this address may run the command, as far as `enable-debug-command` says. If not, the error has
/// been appended.
#[cold]
pub(super) fn permit(spec: &CommandSpec, address: SocketAddr, config: &Config, out: &mut ReplyBuf) -> bool {
    let is_permitted = spec.name != "debug"
        || match config.enable_debug_command {
            CommandAccess::No => false,
            CommandAccess::Local => address.ip().to_canonical().is_loopback(),
            CommandAccess::Yes => true,
        };
    if !is_permitted {
        out.error(format!(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to {LOCAL}, you can run it from \
             a local connection, otherwise you need to set this option in the configuration file, and then restart the \
             server."
        ));
    }
    is_permitted
}

fn run(mut call: Call<'_, '_>) -> FrontEndOutcome {
    let name = call.args.get(1);
    if let Some((name, reason)) = REFUSED.iter().find(|(refused, _)| is(name, refused)) {
        let name = name.to_ascii_uppercase();
        call.out.error(format!("ERR DEBUG {name} is not implemented: {reason}"));
        return FrontEndOutcome::Reply;
    }
    match SUBCOMMANDS.iter().find(|one| is(name, one.name) && one.arity.contains(&call.args.len())) {
        Some(one) => (one.run)(&mut call),
        None => wrong_form(call.args, call.out),
    }
}

/// Valkey's text for a subcommand that does not exist, or not with so many arguments.
fn wrong_form(args: Args<'_>, out: &mut ReplyBuf) -> FrontEndOutcome {
    let text: [&[u8]; 3] =
        [b"ERR unknown subcommand or wrong number of arguments for '", args.get(1), b"'. Try DEBUG HELP."];
    refuse(out, text.concat())
}

fn ok(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    call.out.ok();
    FrontEndOutcome::Reply
}

/// A flag, as 0 or 1.
fn flag(arg: &[u8]) -> Option<bool> {
    match arg {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

fn help(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    call.out.array(1 + 2 * SUBCOMMANDS.len());
    let container = DEBUG.command.name().to_ascii_uppercase();
    call.out.simple(format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    // HELP itself is the last one, as in the other containers.
    let (last, others): (Vec<_>, Vec<_>) = SUBCOMMANDS.iter().partition(|one| one.name == "help");
    for Subcommand { name, syntax, summary, .. } in others.into_iter().chain(last) {
        let blank = if syntax.is_empty() { "" } else { " " };
        call.out.simple(format!("{}{blank}{syntax}", name.to_ascii_uppercase()));
        call.out.simple(format!("    {summary}"));
    }
    FrontEndOutcome::Reply
}

fn set_active_expire(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    let Some(on) = flag(call.args.get(2)) else { return refuse(call.out, NO_FLAG) };
    call.shard.set_active_expiry(on);
    ok(call)
}

fn set_disable_deny_scripts(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    let Some(on) = flag(call.args.get(2)) else { return refuse(call.out, NO_FLAG) };
    call.shard.set_debug_in_scripts(on);
    ok(call)
}

fn pause_cron(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    match flag(call.args.get(2)) {
        Some(false) => ok(call),
        Some(true) => refuse(
            call.out,
            "ERR DEBUG PAUSE-CRON 1 is not implemented: no periodic job could be paused; SET-ACTIVE-EXPIRE 0 stops the \
             removal of expired keys",
        ),
        None => refuse(call.out, NO_FLAG),
    }
}

fn replybuffer(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    if is(call.args.get(2), "peak-reset-time") {
        return refuse(
            call.out,
            "ERR DEBUG REPLYBUFFER PEAK-RESET-TIME is not implemented: peaks of buffers of replies are not measured",
        );
    }
    if !is(call.args.get(2), "resizing") {
        return wrong_form(call.args, call.out);
    }
    match flag(call.args.get(3)) {
        Some(_) => ok(call),
        None => refuse(call.out, NO_FLAG),
    }
}

/// `QUICKLIST-PACKED-THRESHOLD bytes`: 0 stands for the default.
fn packed_threshold(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    /// Valkey's own bound.
    const BYTES_MAX: u64 = (4 << 30) - (1 << 20);
    let text = std::str::from_utf8(call.args.get(2)).ok();
    match text.and_then(crate::config::bytes).filter(|bytes| *bytes <= BYTES_MAX) {
        Some(_) => ok(call),
        None => refuse(call.out, "ERR argument must be a memory value bigger than 1 and smaller than 4gb"),
    }
}

/// `SLEEP seconds`. The thread sleeps, with everything that it serves: a watchdog that sees no turn of the loop for
/// `loop-stall-max` closes the lease, so a sleep is shorter, and two sleeps have a turn between them.
fn sleep(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    let seconds = std::str::from_utf8(call.args.get(2)).ok().and_then(|text| text.parse::<f64>().ok());
    let Some(span) = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) else {
        return refuse(call.out, "ERR value is not a valid float");
    };
    let part = if call.shard.may_block() { SLEEP_PART } else { SLEEP_PART_IN_EXEC };
    let longest = call.replica.node.config.load().loop_stall_max / part;
    if span > longest {
        let longest_ms = longest.as_millis();
        let text = format!(
            "ERR DEBUG SLEEP may take at most {longest_ms} ms here, a part of loop-stall-max: a longer one would cost \
             the primary its lease"
        );
        return refuse(call.out, text);
    }
    // The reading of the call may be from before another sleep of the same pipeline.
    let now = SystemClock.boot();
    let next = call.replica.slept_until.get().plus(BETWEEN_SLEEPS);
    if now < next && call.shard.may_block() {
        return FrontEndOutcome::Again(next);
    }
    std::thread::sleep(span);
    call.replica.slept_until.set(SystemClock.boot());
    ok(call)
}

fn stringmatch_len(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    let pattern = call.args.get(3);
    let steps_max = MATCH_STEPS_MAX / (pattern.len() as i64).max(1);
    let length = integer(call.args.get(2)).filter(|length| (0..=MATCHED_BYTES_MAX.min(steps_max)).contains(length));
    let Some(length) = length else {
        return refuse(call.out, "ERR the text is at most 1048576 letters long, and shorter for a long pattern");
    };
    let text = vec![b'a'; length as usize];
    call.out.integer(i64::from(glob::matches(pattern, &text)));
    FrontEndOutcome::Reply
}

/// `ERROR text`: its first word is the code.
fn error(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    refuse(call.out, call.args.get(2))
}

fn log(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    let text = call.args.get(2);
    let text = String::from_utf8_lossy(&text[..text.len().min(LOGGED_BYTES_MAX)]);
    tracing::warn!(client = %call.client.address, text = %text.escape_debug(), "a client has logged this with DEBUG LOG");
    ok(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_known_once_and_in_order() {
        let names: Vec<_> = SUBCOMMANDS.iter().map(|one| one.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(REFUSED.is_sorted(), "{REFUSED:?}");
        assert!(REFUSED.iter().all(|(name, _)| !names.contains(name)));
    }

    #[test]
    fn who_may_run_it_depends_on_the_option_and_the_address() {
        let spec = super::super::registry::table().named(b"debug").unwrap();
        let permits = |option: &str, address: &str| {
            let config = Config::parse(&format!("enable-debug-command {option}")).unwrap();
            permit(spec, address.parse().unwrap(), &config, &mut ReplyBuf::new(fastness_resp::Protocol::Resp2))
        };
        let (near, far) = ("127.0.0.1:5000", "10.0.0.1:5000");
        assert!(!permits("no", near) && !permits("no", far));
        assert!(permits("local", near) && permits("local", "[::ffff:127.0.0.1]:5000") && !permits("local", far));
        assert!(permits("yes", near) && permits("yes", far));
        assert_eq!(Config::default().enable_debug_command, CommandAccess::No);
    }
}
