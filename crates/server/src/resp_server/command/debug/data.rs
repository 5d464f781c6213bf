//! Subcommands of DEBUG that read the data, or rebuild it. They read it in one step, which blocks the shard.

use std::time::Duration;

use fastness_engine::server::debug;
use fastness_engine::{Digest, RebuildError};
use fastness_shard::FrontEndOutcome;
use fastness_shard::refusal::Refusal;

use crate::resp_server::command::call::{Call, integer, is, refuse};

/// More data than that is not read in one step, bytes: it would take so long that the primary might lose its lease.
const AT_ONCE_BYTES_MAX: u64 = 64 << 20;
/// When a RELOAD checks again whether everything has committed.
const CHECK_EVERY: Duration = Duration::from_millis(1);

const NO_KEY: &str = "ERR no such key";

/// Whether the data may be read, all of it at once if `whole`. If not, the error has been appended.
fn may_read(call: &mut Call<'_, '_>, whole: bool) -> bool {
    if !call.shard.is_serving() {
        Refusal::Loading.write(call.out);
        return false;
    }
    if whole && call.shard.engine().memory_of_data() > AT_ONCE_BYTES_MAX {
        call.out.error(
            "ERR DEBUG reads at most 64 MiB of data at once, because it blocks the shard; the option metrics-digest \
             offers a digest in slices",
        );
        return false;
    }
    true
}

/// Forty digits, as Valkey's digests have; a missing key and no data at all have forty zeros.
fn hex(digest: Option<Digest>) -> String {
    format!("{:040x}", digest.unwrap_or_default().0)
}

pub(super) fn digest(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    if may_read(call, true) {
        call.out.simple(hex(Some(call.shard.engine().digest())));
    }
    FrontEndOutcome::ShowsKeys
}

pub(super) fn digest_value(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    if may_read(call, false) {
        let keys = call.args.skip(2);
        call.out.array(keys.len());
        for key in keys.iter() {
            call.out.simple(hex(debug::digest_of(call.shard.engine(), key)));
        }
    }
    FrontEndOutcome::ShowsKeys
}

pub(super) fn object(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    if may_read(call, false) {
        let is_fast = call.args.try_get(3).is_some_and(|word| is(word, "fast"));
        match debug::describe(call.shard.engine(), call.args.get(2), call.shard.wall_now(), !is_fast) {
            Some(line) => call.out.simple(line),
            None => call.out.error(NO_KEY),
        }
    }
    FrontEndOutcome::ShowsKeys
}

pub(super) fn htstats(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    match integer(call.args.get(2)) {
        Some(0) => {}
        Some(_) => return refuse(call.out, "ERR Out of range database"),
        None => return refuse(call.out, "ERR value is not an integer or out of range"),
    }
    let stats = call.shard.engine().keyspace_stats();
    let (keys, with_deadline) = (stats.keys, stats.with_deadline);
    let text =
        format!("[Dictionary HT]\nnumber of elements: {keys}\n[Expires HT]\nnumber of elements: {with_deadline}\n");
    call.out.verbatim(*b"txt", text.as_bytes());
    FrontEndOutcome::Reply
}

pub(super) fn htstats_key(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    if may_read(call, false) {
        match debug::footprint(call.shard.engine(), call.args.get(2)) {
            Some((encoding @ ("hashtable" | "skiplist"), bytes)) => {
                call.out.verbatim(*b"txt", format!("encoding: {encoding}\nbytes: {bytes}\n").as_bytes());
            }
            Some(_) => {
                call.out.error("ERR The value stored at the specified key is not represented using an hash table");
            }
            None => call.out.error(NO_KEY),
        }
    }
    FrontEndOutcome::ShowsKeys
}

/// `RELOAD` and `LOADAOF`. There is no file of the data: a restart loads a snapshot and the log after it. The nearest
/// true thing is to load an image of the data, as snapshots have it.
pub(super) fn reload(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    if call.args.len() > 2 {
        return refuse(
            call.out,
            "ERR DEBUG RELOAD takes no options here: the data is rebuilt from an image in memory, and there is no file",
        );
    }
    if !may_read(call, true) {
        return FrontEndOutcome::Reply;
    }
    match call.shard.rebuild_data() {
        Ok(()) => call.out.ok(),
        Err(RebuildError::Busy) if call.shard.may_block() => {
            return FrontEndOutcome::Again(call.shard.boot_now().plus(CHECK_EVERY));
        }
        Err(RebuildError::Busy) => call.out.error("ERR DEBUG RELOAD waits for commits, which a transaction cannot"),
        Err(error) => call.out.error(format!("ERR DEBUG RELOAD failed, and nothing has changed: {error}")),
    }
    FrontEndOutcome::Reply
}
