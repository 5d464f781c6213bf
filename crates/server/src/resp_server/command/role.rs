//! ROLE, BGSAVE, LASTSAVE and SHUTDOWN.

use fastness_shard::{SnapshotRequest, Standing};

use super::call::{Call, SYNTAX, ServerCommand, is};
use crate::resp_server::replication;

pub(super) const BGSAVE: ServerCommand =
    ServerCommand::reply("bgsave", "[SCHEDULE|CANCEL]", "Makes a snapshot of this replica in the background.", bgsave);
pub(super) const LASTSAVE: ServerCommand =
    ServerCommand::reply("lastsave", "", "Returns the time of the last successful save to disk.", lastsave);
pub(super) const ROLE: ServerCommand =
    ServerCommand::reply("role", "", "Returns the replication role of this node.", role);
pub(super) const SHUTDOWN: ServerCommand = ServerCommand::reply(
    "shutdown",
    "[NOSAVE|SAVE] [NOW] [FORCE] [SAFE] [FAILOVER] | ABORT",
    "Hands over leadership and stops this node.",
    shutdown,
);
pub(super) const MODULE_LIST: ServerCommand =
    ServerCommand::reply("module|list", "", "Lists the loaded modules.", |call| call.out.array(0));

/// `ROLE`.
fn role(call: Call<'_, '_>) {
    let info = call.shard.info();
    if replication::is_primary(&info) {
        // As in Valkey, of those that follow only those that have everything.
        let mut replicas = replication::replicas(call.replica, call.client.tls);
        replicas.retain(|replica| replica.online);
        call.out.array(3);
        call.out.bulk("master");
        call.out.integer(info.applied.0 as i64);
        call.out.array(replicas.len());
        for replica in replicas {
            call.out.array(3);
            call.out.bulk(&replica.host);
            call.out.bulk(replica.port.to_string());
            call.out.bulk(replica.offset.to_string());
        }
        return;
    }
    let (host, port) = replication::primary(call.replica, call.client.tls).unwrap_or_default();
    call.out.array(5);
    call.out.bulk("slave");
    call.out.bulk(host);
    call.out.integer(i64::from(port));
    call.out.bulk(match info.standing {
        Standing::Replica { leader: Some(leader) } if !call.replica.node.peer(leader).alive => "connect",
        Standing::Replica { leader: Some(_) } if info.restoring => "sync",
        Standing::Replica { leader: Some(_) } => "connected",
        _ => "connect",
    });
    call.out.integer(info.applied.0 as i64);
}

/// `BGSAVE [SCHEDULE|CANCEL]`: a snapshot of this replica, as those that it makes by itself. LASTSAVE and INFO
/// persistence report it.
fn bgsave(call: Call<'_, '_>) {
    let is_word = |word: &str| call.args.try_get(1).is_some_and(|arg| is(arg, word));
    match call.args.len() {
        1 => {}
        2 if is_word("schedule") => {}
        2 if is_word("cancel") => return cancel_bgsave(call),
        _ => return call.out.error(SYNTAX),
    }
    match call.shard.request_snapshot() {
        SnapshotRequest::Accepted if call.shard.may_block() => call.out.simple("Background saving started"),
        // Within a transaction.
        SnapshotRequest::Accepted => call.out.simple("Background saving scheduled"),
        SnapshotRequest::InProgress => call.out.error("ERR Background save already in progress"),
        SnapshotRequest::NoStore => call.out.error("ERR this replica stores no snapshots"),
    }
}

/// The log is purged when a snapshot has been written, so one that has begun ends.
fn cancel_bgsave(call: Call<'_, '_>) {
    call.out.error(if call.shard.has_snapshot_to_make() {
        "ERR BGSAVE CANCEL is not implemented: a snapshot that has begun is finished"
    } else {
        "ERR Background saving is currently not in progress or scheduled"
    });
}

/// `LASTSAVE`: everything that is committed is on stable storage now.
fn lastsave(call: Call<'_, '_>) {
    call.out.integer(call.replica.stats.snapshots().saved_at as i64);
}

/// `SHUTDOWN`: as SIGTERM does; the connection ends with the process.
fn shutdown(call: Call<'_, '_>) {
    if call.args.len() == 2 && is(call.args.get(1), "abort") {
        // One that was asked for closes this front end: nobody could ask to end it.
        return call.out.error("ERR No shutdown in progress.");
    }
    let known = ["nosave", "save", "now", "force", "safe", "failover"];
    if !call.args.skip(1).iter().all(|arg| known.iter().any(|word| is(arg, word))) {
        return call.out.error(SYNTAX);
    }
    tracing::info!(client = %call.client.address, "SHUTDOWN was requested");
    if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM) {
        call.out.error(format!("ERR Errors trying to SHUTDOWN: {error}"));
    }
}
