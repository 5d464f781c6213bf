//! The watches of the mock: each reads the kept changes as fast as its client takes them.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use fastness_wire::v1::watch_request::Start;
use fastness_wire::v1::watch_service_server::WatchService;
use fastness_wire::v1::watched_value::Value;
use fastness_wire::v1::{WatchChange, WatchRequest, WatchResponse, WatchUnit, WatchedField, WatchedHash, WatchedValue};
use futures::{Stream, stream};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::changes::{VALUE_BYTES_MAX, end_of, index_of, key_of};
use super::fault::{MockFault, MockRefusal};
use super::keyspace::{Keyspace, MockValue};
use super::service::{MOCK_SHARD, MockService, SeenCall, text_headers, wait_out};

/// Time between two responses while nothing that is watched changes. A cluster takes ten times as long.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Changes in one response, bytes; the last unit may exceed it.
const MESSAGE_BYTES: usize = 128 * 1024;
/// Current values in one response, bytes; further ones are left out.
const VALUES_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What is watched.
#[derive(Debug)]
struct MockFilter {
    keys: Vec<Bytes>,
    prefixes: Vec<Bytes>,
}

impl MockFilter {
    fn matches(&self, change: &WatchChange) -> bool {
        // All keys are removed: those that are watched as well.
        let Some(key) = key_of(change) else { return true };
        let is_all = self.keys.is_empty() && self.prefixes.is_empty();
        is_all || self.keys.contains(key) || self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// A unit as this stream shows it; absent: it changes nothing that is watched.
    fn shown(&self, unit: &WatchUnit) -> Option<WatchUnit> {
        let changes: Vec<_> = unit.changes.iter().filter(|change| self.matches(change)).cloned().collect();
        (!changes.is_empty()).then(|| WatchUnit { changes, ..unit.clone() })
    }
}

/// One stream.
#[derive(Debug)]
struct MockWatch {
    service: MockService,
    filter: MockFilter,
    with_values: bool,
    /// Everything up to this index was read.
    read: u64,
    /// Cuts of all streams before this one was opened.
    cuts: u64,
    /// Whether the response was sent that says where the stream starts.
    has_started: bool,
    signal: watch::Receiver<()>,
}

impl Drop for MockWatch {
    fn drop(&mut self) {
        self.service.state.lock().watches.open -= 1;
    }
}

impl MockWatch {
    fn open(service: &MockService, request: WatchRequest) -> Result<MockWatch, MockRefusal> {
        let WatchRequest { shard, keys, prefixes, start, with_values } = request;
        if shard == 0 && keys.is_empty() {
            return Err(MockRefusal::invalid("shard: needed without keys; WatchTopology returns the shards"));
        }
        if shard > MOCK_SHARD {
            return Err(MockRefusal::invalid("shard: there is no such shard"));
        }
        let mut state = service.state.lock();
        let changes = &state.keys.changes;
        let read = match start {
            None => changes.newest(),
            Some(Start::FromOldest(true)) => changes.purged(),
            Some(Start::FromOldest(false)) => return Err(MockRefusal::invalid("from_oldest: must be true")),
            Some(Start::After(position)) => index_of(&position),
        };
        changes.place(read)?;
        let signal = changes.signal();
        state.watches.open += 1;
        let cuts = state.watches.cuts;
        let filter = MockFilter { keys, prefixes };
        Ok(MockWatch { service: service.clone(), filter, with_values, read, cuts, has_started: false, signal })
    }

    /// The next response, which is waited for.
    async fn next(&mut self) -> Result<WatchResponse, Status> {
        let progress_at = Instant::now() + PROGRESS_EVERY;
        loop {
            // What happens from here on is noticed.
            self.signal.borrow_and_update();
            let units = self.read_units().map_err(MockRefusal::status)?;
            if !std::mem::replace(&mut self.has_started, true) || !units.is_empty() {
                return Ok(self.response(units));
            }
            tokio::select! {
                changed = self.signal.changed() => {
                    changed.map_err(|_| Status::unavailable("the server has ended"))?;
                }
                () = tokio::time::sleep_until(progress_at) => return Ok(self.response(Vec::new())),
            }
        }
    }

    /// The next units that are watched; those between them are passed over.
    fn read_units(&mut self) -> Result<Vec<WatchUnit>, MockRefusal> {
        let state = self.service.state.lock();
        if state.watches.cuts != self.cuts {
            return Err(MockRefusal::disconnected());
        }
        // The first response has none: it says where the stream starts.
        let (mut units, mut bytes) = (Vec::new(), if self.has_started { 0 } else { MESSAGE_BYTES });
        let after = state.keys.changes.after(self.read)?;
        for unit in after {
            if bytes >= MESSAGE_BYTES {
                break;
            }
            self.read += 1;
            if let Some(unit) = self.filter.shown(unit) {
                bytes += unit_bytes(&unit);
                units.push(unit);
            }
        }
        Ok(units)
    }

    fn response(&self, units: Vec<WatchUnit>) -> WatchResponse {
        let values = if self.with_values { values(&self.service.state.lock().keys, &units) } else { Vec::new() };
        WatchResponse { units, position: Some(end_of(self.read)), values }
    }
}

fn unit_bytes(unit: &WatchUnit) -> usize {
    use fastness_wire::v1::watch_change::Change;
    let bytes = |change: &WatchChange| match &change.change {
        Some(Change::StringSet(set)) => set.value.len(),
        Some(Change::StringAppend(append)) => append.value.len(),
        Some(Change::HashSet(set)) => set.fields.iter().map(|field| field.name.len() + field.value.len()).sum(),
        _ => 0,
    };
    unit.changes.iter().map(|change| 64 + key_of(change).map_or(0, Bytes::len) + bytes(change)).sum()
}

/// What is stored now at the keys that these units change.
fn values(keys: &Keyspace, units: &[WatchUnit]) -> Vec<WatchedValue> {
    let changed: BTreeSet<&Bytes> = units.iter().flat_map(|unit| &unit.changes).filter_map(key_of).collect();
    let position = end_of(keys.changes.newest());
    let mut left = VALUES_BYTES_MAX;
    let value = |key: &Bytes| {
        let (value, bytes) = match keys.value(key) {
            None => (Value::Missing(true), 0),
            Some(MockValue::Text(text)) => (Value::String(text.clone()), text.len()),
            Some(MockValue::Hash(fields)) => {
                let bytes = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
                let field = |(name, value): (&Bytes, &Bytes)| {
                    let (name, value) = (name.clone(), value.clone());
                    WatchedField { name, value, expire_at_ms: None }
                };
                (Value::Hash(WatchedHash { fields: fields.iter().map(field).collect() }), bytes)
            }
        };
        let value = if bytes > VALUE_BYTES_MAX.min(left) { Value::OmittedBytes(bytes as u64) } else { value };
        left = left.saturating_sub(bytes);
        WatchedValue {
            key: key.clone(),
            position: Some(position),
            value: Some(value),
            expire_at_ms: keys.expires_at_ms(key),
        }
    };
    changed.into_iter().map(value).collect()
}

type MockWatchResponses = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl WatchService for MockService {
    type WatchStream = MockWatchResponses;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<MockWatchResponses>, Status> {
        let headers = text_headers(request.metadata());
        let request = request.into_inner();
        let keys = request.keys.iter().chain(&request.prefixes).cloned().collect();
        let fault = {
            let mut state = self.state.lock();
            state.calls.push(SeenCall { name: "watch", keys, headers });
            state.watches.next.pop_front()
        };
        if let Some(refusal) = wait_out(fault).await.and_then(MockFault::refusal) {
            return Err(refusal.status());
        }
        let watch = MockWatch::open(self, request).map_err(MockRefusal::status)?;
        let responses = stream::unfold(Some(watch), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(response) => Some((Ok(response), Some(watch))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}
