//! CLUSTER, READONLY and READWRITE, answered from this node's own copy of the map.

use super::call::{Call, ServerCommand};
use crate::names;
use crate::topology::{NotAPrimary, View};

pub(super) const ASKING: ServerCommand =
    ServerCommand::reply("asking", "", "Lets the next command run in a slot that is being imported.", asking)
        .changing_connection();
pub(super) const READONLY: ServerCommand =
    ServerCommand::reply("readonly", "", "Enables reads from a replica on this connection.", |call| {
        readonly(call, true)
    })
    .changing_connection();
pub(super) const READWRITE: ServerCommand =
    ServerCommand::reply("readwrite", "", "Disables reads from a replica on this connection.", |call| {
        readonly(call, false)
    })
    .changing_connection();
pub(super) const COUNT_FAILURE_REPORTS: ServerCommand = ServerCommand::reply(
    "cluster|count-failure-reports",
    "<node-id>",
    "Returns how many nodes report that a node has failed.",
    count_failure_reports,
);
pub(super) const GETSLOTMIGRATIONS: ServerCommand =
    ServerCommand::reply("cluster|getslotmigrations", "", "Lists the migrations of slots.", no_migrations);
pub(super) const INFO: ServerCommand =
    ServerCommand::reply("cluster|info", "", "Returns the state of the cluster.", info);
pub(super) const LINKS: ServerCommand =
    ServerCommand::reply("cluster|links", "", "Lists the links between this node and its peers.", links);
pub(super) const MYID: ServerCommand = ServerCommand::reply("cluster|myid", "", "Returns the id of this node.", myid);
pub(super) const MYSHARDID: ServerCommand =
    ServerCommand::reply("cluster|myshardid", "", "Returns the id of the shard of this node.", myshardid);
pub(super) const NODES: ServerCommand =
    ServerCommand::reply("cluster|nodes", "", "Lists the nodes with their roles and slots.", nodes);
pub(super) const REPLICAS: ServerCommand =
    ServerCommand::reply("cluster|replicas", "<node-id>", "Lists the replicas of a primary.", replicas);
pub(super) const SAVECONFIG: ServerCommand =
    ServerCommand::reply("cluster|saveconfig", "", "Saves the map of the cluster to disk.", saveconfig);
pub(super) const SHARDS: ServerCommand =
    ServerCommand::reply("cluster|shards", "", "Lists the shards with their slots and nodes.", shards);
pub(super) const SLAVES: ServerCommand = ServerCommand::reply(
    "cluster|slaves",
    "<node-id>",
    "Lists the replicas of a primary; an old name of CLUSTER REPLICAS.",
    replicas,
);
pub(super) const SLOTS: ServerCommand =
    ServerCommand::reply("cluster|slots", "", "Lists the slot ranges with their nodes.", slots);

/// No slot is ever being imported: what ASKING allows for the next command is always or never allowed.
fn asking(call: Call<'_, '_>) {
    call.out.ok();
}

const NOT_CREATED: &str = "CLUSTERDOWN The cluster is not created yet";

/// Lets `look` see the cluster as this client is told it.
fn look<T>(call: &mut Call<'_, '_>, look: impl FnOnce(&View<'_>) -> T) -> Option<T> {
    let info = call.shard.info();
    let healthy = !info.restoring && info.stopped.is_none();
    let seen = call.replica.with_view(call.client.tls, info.applied.0, healthy, look);
    if seen.is_none() {
        call.out.error(NOT_CREATED);
    }
    seen
}

fn info(mut call: Call<'_, '_>) {
    if let Some(text) = look(&mut call, |view| view.info()) {
        call.out.verbatim(*b"txt", text.as_bytes());
    }
}

fn nodes(mut call: Call<'_, '_>) {
    if let Some(text) = look(&mut call, |view| view.nodes()) {
        call.out.verbatim(*b"txt", text.as_bytes());
    }
}

fn slots(call: Call<'_, '_>) {
    write(call, |view, out| view.write_slots(out));
}

fn shards(call: Call<'_, '_>) {
    write(call, |view, out| view.write_shards(out));
}

fn write(mut call: Call<'_, '_>, write: impl FnOnce(&View<'_>, &mut fastness_resp::ReplyBuf)) {
    let mut reply = fastness_resp::ReplyBuf::new(call.out.protocol);
    if look(&mut call, |view| write(view, &mut reply)).is_some() {
        call.out.raw(&reply.to_vec());
    }
}

fn replicas(mut call: Call<'_, '_>) {
    let name = String::from_utf8_lossy(call.args.get(2)).into_owned();
    match look(&mut call, |view| view.replicas_of(&name)) {
        None => {}
        Some(None) => call.out.error(format!("ERR Unknown node {name}")),
        Some(Some(Err(NotAPrimary))) => call.out.error("ERR The specified node is not a master"),
        Some(Some(Ok(lines))) => {
            call.out.array(lines.len());
            lines.iter().for_each(|line| call.out.bulk(line));
        }
    }
}

fn myid(call: Call<'_, '_>) {
    let node = &call.replica.node;
    call.out.bulk(names::replica(node.cluster, node.node, call.replica.shard_id));
}

fn myshardid(call: Call<'_, '_>) {
    call.out.bulk(names::shard(call.replica.node.cluster, call.replica.shard_id));
}

/// Valkey's links are those of its gossip; there is none here, so the list is empty.
fn links(call: Call<'_, '_>) {
    call.out.array(0);
}

/// Shards keep the slots with which the cluster was created.
fn no_migrations(call: Call<'_, '_>) {
    call.out.array(0);
}

/// Valkey's reports are those of its gossip; here nobody reports a node, because leases and elections decide.
fn count_failure_reports(mut call: Call<'_, '_>) {
    let name = String::from_utf8_lossy(call.args.get(2)).into_owned();
    match look(&mut call, |view| view.replicas_of(&name).is_some()) {
        None => {}
        Some(false) => call.out.error(format!("ERR Unknown node {name}")),
        Some(true) => call.out.integer(0),
    }
}

/// The map is on the disks of the control plane before any node acts on it.
fn saveconfig(mut call: Call<'_, '_>) {
    if look(&mut call, |_| ()).is_some() {
        call.out.ok();
    }
}

fn readonly(call: Call<'_, '_>, readonly: bool) {
    call.session.set_readonly(readonly);
    call.client.readonly.set(readonly);
    call.out.ok();
}
