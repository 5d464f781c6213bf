//! Changes of streams. Each stages one effect and performs it, unless the unit would become too long with it; such a
//! unit is rolled back as a whole. The caller has looked the key up before, which removed an expired one.

use super::change::{Delivery, StreamChange, write_deliveries, write_ids};
use super::effect::StreamEffect;
use super::id::StreamId;
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::Key;

/// Pending entries that one effect names.
const DELIVERIES_PER_EFFECT: usize = 1_024;

impl Engine {
    /// Makes one change of a stream.
    pub(super) fn change_stream(&mut self, key: &Key<'_>, change: StreamChange<'_>, env: &mut Env<'_>) {
        self.stage(StreamEffect { key: *key, change }, env.effects, env.now);
    }

    /// Makes entries pending for a consumer. Without entries nothing happens.
    pub(super) fn deliver(
        &mut self,
        key: &Key<'_>,
        (group, consumer): (&[u8], &[u8]),
        deliveries: &[Delivery],
        env: &mut Env<'_>,
    ) {
        for chunk in deliveries.chunks(DELIVERIES_PER_EFFECT) {
            let deliveries = write_deliveries(chunk);
            self.change_stream(key, StreamChange::Deliver { group, consumer, deliveries: &deliveries }, env);
        }
    }

    /// Ends that entries are pending. Without ids nothing happens.
    pub(super) fn acknowledge(&mut self, key: &Key<'_>, group: &[u8], ids: &[StreamId], env: &mut Env<'_>) {
        for chunk in ids.chunks(DELIVERIES_PER_EFFECT) {
            let ids = write_ids(chunk.iter().copied());
            self.change_stream(key, StreamChange::Acknowledge { group, ids: &ids }, env);
        }
    }
}
