//! CLUSTER, READONLY and READWRITE, answered from this node's own copy of the map.

use super::Call;
use crate::names;
use crate::topology::{NotAPrimary, View};

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

pub(super) fn info(mut call: Call<'_, '_>) {
    if let Some(text) = look(&mut call, |view| view.info()) {
        call.out.verbatim(*b"txt", text.as_bytes());
    }
}

pub(super) fn nodes(mut call: Call<'_, '_>) {
    if let Some(text) = look(&mut call, |view| view.nodes()) {
        call.out.verbatim(*b"txt", text.as_bytes());
    }
}

pub(super) fn slots(call: Call<'_, '_>) {
    write(call, |view, out| view.write_slots(out));
}

pub(super) fn shards(call: Call<'_, '_>) {
    write(call, |view, out| view.write_shards(out));
}

fn write(mut call: Call<'_, '_>, write: impl FnOnce(&View<'_>, &mut fastness_resp::ReplyBuf)) {
    let mut reply = fastness_resp::ReplyBuf::new(call.out.protocol);
    if look(&mut call, |view| write(view, &mut reply)).is_some() {
        call.out.raw(&reply.to_vec());
    }
}

pub(super) fn replicas(mut call: Call<'_, '_>) {
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

pub(super) fn myid(call: Call<'_, '_>) {
    let node = &call.replica.node;
    call.out.bulk(names::replica(node.cluster, node.node, call.replica.shard_id));
}

pub(super) fn myshardid(call: Call<'_, '_>) {
    call.out.bulk(names::shard(call.replica.node.cluster, call.replica.shard_id));
}

/// Valkey's links are those of its gossip; there is none here, so the list is empty.
pub(super) fn links(call: Call<'_, '_>) {
    call.out.array(0);
}

pub(super) fn readonly(call: Call<'_, '_>, readonly: bool) {
    call.session.set_readonly(readonly);
    call.client.readonly.set(readonly);
    call.out.ok();
}
