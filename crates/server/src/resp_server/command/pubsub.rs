//! SUBSCRIBE, PUBLISH, PUBSUB and their like.
//!
//! Each confirmation of the SUBSCRIBE family is a push message: several answer one command, also within EXEC, and a
//! connection without replies (CLIENT REPLY OFF) receives them, all as in Valkey.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastness_resp::Args;
use fastness_shard::FrontEndOutcome;
use fastness_shard::refusal::Refusal;
use fastness_types::limits::{CHANNEL_BYTES_MAX, CHANNEL_MESSAGE_BYTES_MAX, CHANNEL_PATTERN_BYTES_MAX};
use fastness_types::slot_of;

use super::call::{Call, ServerCommand};
use crate::publications::message::Publication;
use crate::resp_server::pubsub::subscriptions::ChannelKind;

/// When a publisher tries again that has found no room.
const AGAIN_AFTER: Duration = Duration::from_millis(2);

pub(super) const PSUBSCRIBE: ServerCommand = ServerCommand::reply(
    "psubscribe",
    "<pattern> [<pattern> ...]",
    "Subscribes to the channels whose names match one of the patterns.",
    |call| subscribe(call, ChannelKind::Pattern),
)
.changing_connection();
pub(super) const PUBLISH: ServerCommand = ServerCommand::outcome(
    "publish",
    "<channel> <message>",
    "Sends a message to the subscribers of a channel on all nodes; returns how many subscribers of this node it reaches.",
    |call| publish(call, false),
);
pub(super) const CHANNELS: ServerCommand = ServerCommand::reply(
    "pubsub|channels",
    "[<pattern>]",
    "Lists the channels that have subscribers on this node.",
    |call| channels(call, ChannelKind::Channel),
);
pub(super) const NUMPAT: ServerCommand =
    ServerCommand::reply("pubsub|numpat", "", "Returns how many patterns have subscribers on this node.", numpat);
pub(super) const NUMSUB: ServerCommand = ServerCommand::reply(
    "pubsub|numsub",
    "[<channel> ...]",
    "Returns how many subscribers the channels have on this node, without those of patterns.",
    |call| numsub(call, ChannelKind::Channel),
);
pub(super) const SHARDCHANNELS: ServerCommand = ServerCommand::reply(
    "pubsub|shardchannels",
    "[<pattern>]",
    "Lists the channels of the shard that have subscribers on this node.",
    |call| channels(call, ChannelKind::Shard),
);
pub(super) const SHARDNUMSUB: ServerCommand = ServerCommand::reply(
    "pubsub|shardnumsub",
    "[<shardchannel> ...]",
    "Returns how many subscribers the channels of the shard have on this node.",
    |call| numsub(call, ChannelKind::Shard),
);
pub(super) const PUNSUBSCRIBE: ServerCommand = ServerCommand::reply(
    "punsubscribe",
    "[<pattern> ...]",
    "Ends the subscriptions to the patterns, or to all.",
    |call| unsubscribe(call, ChannelKind::Pattern),
)
.changing_connection();
pub(super) const SPUBLISH: ServerCommand = ServerCommand::outcome(
    "spublish",
    "<shardchannel> <message>",
    "Sends a message to the subscribers of a channel on all nodes of its shard; returns how many subscribers of this node \
     it reaches.",
    |call| publish(call, true),
);
pub(super) const SSUBSCRIBE: ServerCommand = ServerCommand::reply(
    "ssubscribe",
    "<shardchannel> [<shardchannel> ...]",
    "Subscribes to channels of the shard.",
    ssubscribe,
)
.changing_connection();
pub(super) const SUBSCRIBE: ServerCommand =
    ServerCommand::reply("subscribe", "<channel> [<channel> ...]", "Subscribes to channels.", |call| {
        subscribe(call, ChannelKind::Channel)
    })
    .changing_connection();
pub(super) const SUNSUBSCRIBE: ServerCommand = ServerCommand::reply(
    "sunsubscribe",
    "[<shardchannel> ...]",
    "Ends the subscriptions to the channels of the shard, or to all.",
    sunsubscribe,
)
.changing_connection();
pub(super) const UNSUBSCRIBE: ServerCommand = ServerCommand::reply(
    "unsubscribe",
    "[<channel> ...]",
    "Ends the subscriptions to the channels, or to all.",
    |call| unsubscribe(call, ChannelKind::Channel),
)
.changing_connection();

/// How soon a publisher notices that a pause of clients has ended early.
const PAUSE_CHECK_EVERY: Duration = Duration::from_millis(50);

const CHANNEL_TOO_LONG: &str = "ERR channel name is longer than 4096 bytes";
const PATTERN_TOO_LONG: &str = "ERR pattern of channels is longer than 1024 bytes";
const MESSAGE_TOO_LONG: &str = "ERR message is longer than 16777216 bytes";
const NO_ROOM: &str = "ERR too many messages wait to be delivered";
const SSUBSCRIBE_IN_EXEC: &str = "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client";

/// The words of the two confirmations.
fn words(kind: ChannelKind) -> [&'static str; 2] {
    match kind {
        ChannelKind::Channel => ["subscribe", "unsubscribe"],
        ChannelKind::Pattern => ["psubscribe", "punsubscribe"],
        ChannelKind::Shard => ["ssubscribe", "sunsubscribe"],
    }
}

/// Appends the confirmation of one subscription, or of its end. `None`: there was none to end.
fn confirm(call: &mut Call<'_, '_>, (kind, word): (ChannelKind, &str), name: Option<&[u8]>) {
    call.out.push(3);
    call.out.bulk(word);
    match name {
        Some(name) => call.out.bulk(name),
        None => call.out.null(),
    }
    call.out.integer(i64::try_from(call.client.subscriptions.shown(kind)).unwrap_or(i64::MAX));
}

fn subscribe(mut call: Call<'_, '_>, kind: ChannelKind) {
    let names = call.args.skip(1);
    let (bytes_max, too_long) = match kind {
        ChannelKind::Pattern => (CHANNEL_PATTERN_BYTES_MAX, PATTERN_TOO_LONG),
        ChannelKind::Channel | ChannelKind::Shard => (CHANNEL_BYTES_MAX, CHANNEL_TOO_LONG),
    };
    if names.iter().any(|name| name.len() > bytes_max) {
        return call.out.error(too_long);
    }
    let replica = call.replica;
    let channels = &replica.pubsub.channels;
    let added = names.iter().filter(|name| !call.client.subscriptions.has(kind, name)).count();
    let new_names = names.iter().filter(|name| channels.subscribers(kind, name) == 0).count();
    if let Err(full) = channels.check_room(call.client, kind, (added, new_names)) {
        return call.out.error(full.to_string());
    }
    let [word, _] = words(kind);
    for name in names.iter() {
        replica.pubsub.channels.subscribe(call.client, kind, name);
        confirm(&mut call, (kind, word), Some(name));
    }
}

fn unsubscribe(mut call: Call<'_, '_>, kind: ChannelKind) {
    let [_, word] = words(kind);
    let channels = &call.replica.pubsub.channels;
    if call.args.len() > 1 {
        for name in call.args.skip(1).iter() {
            channels.unsubscribe(call.client, kind, name);
            confirm(&mut call, (kind, word), Some(name));
        }
        return;
    }
    let names = call.client.subscriptions.names(kind);
    if names.is_empty() {
        return confirm(&mut call, (kind, word), None);
    }
    for name in names {
        channels.unsubscribe(call.client, kind, &name);
        confirm(&mut call, (kind, word), Some(&name));
    }
}

/// Refuses channels of other shards, and of several slots. Any replica of the shard serves them, as in Valkey.
fn check_slots(call: &Call<'_, '_>, channels: Args<'_>) -> Result<(), Refusal> {
    let mut slots = channels.iter().map(slot_of);
    let Some(slot) = slots.next() else { return Ok(()) };
    if slots.any(|other| other != slot) {
        return Err(Refusal::CrossSlot);
    }
    if call.shard.owns(slot) {
        return Ok(());
    }
    let address = call.replica.with_view(call.client.tls, 0, true, |view| view.address(slot, None)).flatten();
    Err(address.map_or(Refusal::SlotNotServed, |address| Refusal::Moved { slot, address }))
}

fn ssubscribe(call: Call<'_, '_>) {
    if let Err(refusal) = check_slots(&call, call.args.skip(1)) {
        return refusal.write(call.out);
    }
    if !call.shard.may_block() {
        return call.out.error(SSUBSCRIBE_IN_EXEC);
    }
    subscribe(call, ChannelKind::Shard);
}

fn sunsubscribe(call: Call<'_, '_>) {
    match check_slots(&call, call.args.skip(1)) {
        Ok(()) => unsubscribe(call, ChannelKind::Shard),
        Err(refusal) => refusal.write(call.out),
    }
}

/// `PUBLISH channel message`, `SPUBLISH channel message`. Within EXEC the message leaves with the commit.
fn publish(call: Call<'_, '_>, sharded: bool) -> FrontEndOutcome {
    let (channel, payload) = (call.args.get(1), call.args.get(2));
    if sharded && let Err(refusal) = check_slots(&call, call.args.skip(1).take(1)) {
        refusal.write(call.out);
        return FrontEndOutcome::Reply;
    }
    let too_long = match () {
        () if channel.len() > CHANNEL_BYTES_MAX => Some(CHANNEL_TOO_LONG),
        () if payload.len() > CHANNEL_MESSAGE_BYTES_MAX => Some(MESSAGE_TOO_LONG),
        () => None,
    };
    if let Some(too_long) = too_long {
        call.out.error(too_long);
        return FrontEndOutcome::Reply;
    }
    let (replica, client, may_wait) = (call.replica, call.client, call.shard.may_block());
    // As in Valkey, a pause of writes delays messages, too.
    if may_wait && let Some((_, left)) = call.shard.client_pause() {
        return FrontEndOutcome::Again(call.shard.boot_now().plus(left.min(PAUSE_CHECK_EVERY)));
    }
    if !replica.may_publish(client, !may_wait) {
        if may_wait {
            return FrontEndOutcome::Again(call.shard.boot_now().plus(AGAIN_AFTER));
        }
        call.out.error(NO_ROOM);
        return FrontEndOutcome::Reply;
    }
    let message = Arc::new(Publication {
        channel: Bytes::copy_from_slice(channel),
        payload: Bytes::copy_from_slice(payload),
        shard: sharded.then_some(replica.shard_id),
    });
    let receivers =
        if may_wait { replica.publish_after(client, &message) } else { replica.publish_with_commit(client, message) };
    call.out.integer(i64::try_from(receivers).unwrap_or(i64::MAX));
    FrontEndOutcome::Reply
}

fn channels(call: Call<'_, '_>, kind: ChannelKind) {
    if call.args.len() > 3 {
        return call.out.error(wrong_form(call.args));
    }
    let place = call.out.defer();
    let mut count = 0;
    call.replica.pubsub.channels.each(kind, call.args.try_get(2), |name| {
        call.out.bulk(name);
        count += 1;
    });
    call.out.finish_array(place, count);
}

/// Valkey's text for a subcommand with too many arguments.
fn wrong_form(args: Args<'_>) -> Vec<u8> {
    let text: [&[u8]; 3] =
        [b"ERR unknown subcommand or wrong number of arguments for '", args.get(1), b"'. Try PUBSUB HELP."];
    text.concat()
}

fn numpat(call: Call<'_, '_>) {
    let patterns = call.replica.pubsub.channels.names_count(ChannelKind::Pattern);
    call.out.integer(i64::try_from(patterns).unwrap_or(i64::MAX));
}

fn numsub(call: Call<'_, '_>, kind: ChannelKind) {
    let names = call.args.skip(2);
    call.out.array(2 * names.len());
    for name in names.iter() {
        call.out.bulk(name);
        let subscribers = call.replica.pubsub.channels.subscribers(kind, name);
        call.out.integer(i64::try_from(subscribers).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_name_the_limits() {
        for (text, limit) in [
            (CHANNEL_TOO_LONG, CHANNEL_BYTES_MAX),
            (PATTERN_TOO_LONG, CHANNEL_PATTERN_BYTES_MAX),
            (MESSAGE_TOO_LONG, CHANNEL_MESSAGE_BYTES_MAX),
        ] {
            assert!(text.contains(&format!(" {limit} bytes")), "{text}");
        }
    }
}
