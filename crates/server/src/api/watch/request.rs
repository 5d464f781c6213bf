//! What a stream is asked for: which shard, which keys, from where on; and whether its user may see that.

use std::sync::Arc;

use fastness_engine::command::CommandTable;
use fastness_resp::Args;
use fastness_shard::changes::{ChangeFilter, ChangePosition, ChangeStart};
use fastness_types::limits::{WATCH_FILTER_BYTES_MAX, WATCH_FILTERS_MAX};
use fastness_types::{LogIndex, ShardId, slot_of};
use fastness_wire::v1::watch_request::Start;
use fastness_wire::v1::{WatchPosition, WatchRequest};
use tonic::Code;

use crate::accounts::Account;
use crate::api::gateway::Gateway;
use crate::api::operation::Target;
use crate::api::refusal::{ApiRefusal, reason};

/// Whoever may run this on a key may watch it: it returns a key of any type.
const READS: &[&[u8]] = &[b"DUMP", b""];

/// A request that is valid.
pub(super) struct Watched {
    pub(super) shard: ShardId,
    pub(super) start: ChangeStart,
    pub(super) keys: Keys,
    pub(super) with_values: bool,
}

/// What is watched.
pub(super) struct Keys {
    keys: Vec<bytes::Bytes>,
    prefixes: Vec<bytes::Bytes>,
}

impl Keys {
    pub(super) fn filter(&self) -> ChangeFilter {
        ChangeFilter::new(self.keys.iter().map(|key| &**key), self.prefixes.iter().map(|prefix| &**prefix))
    }

    /// Whether a user may read all of it.
    pub(super) fn are_allowed(&self, account: &Account, commands: &CommandTable) -> bool {
        let args = Args::slices(READS);
        let Ok(spec) = commands.look_up(args) else { return false };
        let is_all = self.keys.is_empty() && self.prefixes.is_empty();
        let keys = self.keys.iter().map(|key| &**key);
        let prefixes = self.prefixes.iter().map(|prefix| &**prefix).chain(is_all.then_some(&b""[..]));
        account.user.may_read_all((spec, args), keys, prefixes)
    }

    /// For ACL LOG.
    pub(super) fn object(&self) -> Vec<u8> {
        let prefix = self.prefixes.first().map(|prefix| [prefix, &b"*"[..]].concat());
        self.keys.first().map(|key| key.to_vec()).or(prefix).unwrap_or_else(|| b"*".to_vec())
    }
}

/// Checks a request.
pub(super) fn parse(gateway: &Gateway, request: WatchRequest) -> Result<Watched, ApiRefusal> {
    let WatchRequest { shard, keys, prefixes, start, with_values } = request;
    let bytes: usize = keys.iter().chain(&prefixes).map(bytes::Bytes::len).sum();
    if keys.len() + prefixes.len() > WATCH_FILTERS_MAX || bytes > WATCH_FILTER_BYTES_MAX {
        let text = format!(
            "at most {WATCH_FILTERS_MAX} keys and prefixes, of {WATCH_FILTER_BYTES_MAX} bytes together, can be watched"
        );
        return Err(ApiRefusal::invalid(text));
    }
    let start = match start {
        None => ChangeStart::Now,
        Some(Start::FromOldest(true)) => ChangeStart::Oldest,
        Some(Start::FromOldest(false)) => return Err(ApiRefusal::invalid("from_oldest: must be true")),
        Some(Start::After(WatchPosition { index, unit })) => {
            ChangeStart::After(ChangePosition { index: LogIndex(index), unit })
        }
    };
    let map = gateway.node.map.load();
    let none = || ApiRefusal::unavailable(reason::NOT_SERVED, "the cluster is not created yet");
    let map: &Arc<_> = map.as_ref().ok_or_else(none)?;
    let shard = match (shard, keys.first()) {
        (0, None) => return Err(ApiRefusal::invalid("shard: needed without keys; WatchTopology returns the shards")),
        (0, Some(key)) => map.shard_of(slot_of(key)),
        (id, _) => map.shard(ShardId(id)),
    };
    let shard = shard.ok_or_else(|| ApiRefusal::invalid("shard: there is no such shard"))?;
    if keys.iter().any(|key| !shard.owns(slot_of(key))) {
        return Err(ApiRefusal::new(
            Code::InvalidArgument,
            "CROSSSLOT",
            format!("keys: not all of them belong to shard {}; a stream shows one shard", shard.id),
        ));
    }
    if gateway.replicas.get(shard.id).is_none() && !shard.members.contains(&gateway.node.node) {
        return Err(gateway.located(Target::Slot(shard.first), ApiRefusal::new(Code::Unavailable, "MOVED", "")));
    }
    Ok(Watched { shard: shard.id, start, keys: Keys { keys, prefixes }, with_values })
}
