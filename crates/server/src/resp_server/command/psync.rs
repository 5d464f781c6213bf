//! REPLCONF, PSYNC, SYNC: a reader outside of the cluster becomes a replica of this one; see
//! [`crate::replication_out`].

use super::call::{Call, SYNTAX, ServerCommand, integer, is};
use crate::replication_out::{FileForm, OutboundRequest, Outlet};

pub(super) const PSYNC: ServerCommand = ServerCommand::reply(
    "psync",
    "<replicationid> <offset>",
    "Makes the connection that of a replica outside of the cluster: sends all data, then every change.",
    psync,
)
.changing_connection();
pub(super) const SYNC: ServerCommand =
    ServerCommand::reply("sync", "", "As PSYNC, for tools that do not know it: without a reply before the data.", sync)
        .changing_connection();
pub(super) const REPLCONF: ServerCommand = ServerCommand::reply(
    "replconf",
    "[<option> <value> ...]",
    "Says what a replica outside of the cluster can read, and how far it has read.",
    replconf,
)
.changing_connection();

/// Bytes of the mark after a file, and of a replication id.
const MARK_BYTES: usize = 20;

/// `REPLCONF [option value ...]`.
fn replconf(call: Call<'_, '_>) {
    if call.args.len().is_multiple_of(2) {
        return call.out.error(SYNTAX);
    }
    let facts = &call.client.replica_facts;
    for at in (1..call.args.len()).step_by(2) {
        let (option, value) = (call.args.get(at), call.args.get(at + 1));
        // Neither has a reply, as in Valkey.
        if is(option, "ack") || is(option, "getack") {
            return;
        }
        if let Err(error) = facts.set(option, value) {
            return call.out.error(error.to_string());
        }
    }
    call.out.ok();
}

/// `PSYNC replicationid offset`: always with all data.
fn psync(call: Call<'_, '_>) {
    if call.args.len() > 3 {
        let text = "ERR a replica outside of the cluster cannot take over: the cluster chooses primaries itself";
        return call.out.error(text);
    }
    if integer(call.args.get(2)).is_none() {
        return call.out.error("ERR value is not an integer or out of range");
    }
    // An id of its own for each stream: offsets count its bytes, and must not be compared with those of another one.
    let greeting = format!("+FULLRESYNC {} 0\r\n", random_hex()).into_bytes();
    attach(call, greeting);
}

/// `SYNC`.
fn sync(call: Call<'_, '_>) {
    attach(call, Vec::new());
}

fn random_hex() -> String {
    (0..MARK_BYTES).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

/// Leaves for the connection what it is to send. `greeting` is the reply.
fn attach(call: Call<'_, '_>, greeting: Vec<u8>) {
    let Call { replica, client, out, shard, .. } = call;
    if client.outlet.borrow().is_some() {
        return;
    }
    if !shard.may_block() {
        return out.error("ERR PSYNC and SYNC are not allowed here: the connection would be the replica's");
    }
    let Some(files) = replica.snapshot_files.clone() else {
        return out.error("ERR this node stores no snapshots, with which a replica outside of the cluster starts");
    };
    let spec = replica.node.accounts.table().named(client.command.get().as_bytes());
    let (Some(spec), Some(place)) = (spec, replica.node.outbound.take_place()) else {
        return out.error("ERR as many replicas outside of the cluster read from this node as it serves");
    };
    let facts = &client.replica_facts;
    let (ip, port) = (facts.ip(client.address), facts.port());
    let reader = replica.node.outbound.enter(replica.shard_id, ip, port);
    let request = OutboundRequest {
        greeting,
        dialect: facts.dialect(),
        form: if facts.knows_marks() { FileForm::Mark(random_hex()) } else { FileForm::Length },
        with_data: facts.wants_data(),
        only_file: facts.only_file(),
        place,
    };
    client.is_outbound.set(true);
    client.outlet.replace(Some(Outlet { request, reader, files, spec }));
}
