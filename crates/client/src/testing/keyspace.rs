//! What the mock stores: strings and hashes that expire at a clock which the test moves.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fastness_wire::v1::compare::Condition;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::{self, expire_request, set_request};

use super::fault::MockRefusal;

/// A value of either type.
#[derive(Debug, Clone)]
pub(super) enum MockValue {
    Text(Bytes),
    /// Never empty.
    Hash(BTreeMap<Bytes, Bytes>),
}

#[derive(Debug)]
struct MockKey {
    value: MockValue,
    /// Since the Unix epoch.
    expires_at_ms: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keyspace {
    keys: BTreeMap<Bytes, MockKey>,
    /// What writes with these idempotency keys have led to: the client, and the sequence number.
    pub(super) recorded: BTreeMap<(Bytes, u64), Outcome>,
    pub(super) recorded_txns: BTreeMap<(Bytes, u64), v1::TxnResponse>,
    /// Since the Unix epoch. It starts at the real time, and is moved by the test only.
    now_ms: u64,
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Default for Keyspace {
    fn default() -> Keyspace {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (recorded, recorded_txns) = (BTreeMap::new(), BTreeMap::new());
        Keyspace { keys: BTreeMap::new(), recorded, recorded_txns, now_ms: whole_ms(now) }
    }
}

impl Keyspace {
    pub(super) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.now_ms)
    }

    /// Moves the clock. Keys whose time has come cease to exist.
    pub(super) fn advance(&mut self, by: Duration) {
        self.now_ms = self.now_ms.saturating_add(whole_ms(by));
        self.remove_expired();
    }

    fn remove_expired(&mut self) {
        let now = self.now_ms;
        self.keys.retain(|_, key| key.expires_at_ms.is_none_or(|at| at > now));
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
    }

    pub(super) fn value(&self, key: &[u8]) -> Option<&MockValue> {
        self.keys.get(key).map(|key| &key.value)
    }

    pub(super) fn text(&self, key: &[u8]) -> Result<Option<&Bytes>, MockRefusal> {
        match self.value(key) {
            None => Ok(None),
            Some(MockValue::Text(text)) => Ok(Some(text)),
            Some(MockValue::Hash(_)) => Err(MockRefusal::wrong_type()),
        }
    }

    /// The fields of a hash; none if there is no such key.
    pub(super) fn fields(&self, key: &[u8]) -> Result<Option<&BTreeMap<Bytes, Bytes>>, MockRefusal> {
        match self.value(key) {
            None => Ok(None),
            Some(MockValue::Hash(fields)) => Ok(Some(fields)),
            Some(MockValue::Text(_)) => Err(MockRefusal::wrong_type()),
        }
    }

    /// The remaining time to live; absent if the key does not expire or does not exist.
    pub(super) fn ttl_ms(&self, key: &[u8]) -> Option<u64> {
        let at = self.keys.get(key)?.expires_at_ms?;
        Some(at.saturating_sub(self.now_ms))
    }

    /// Sets a string; one that exists keeps its time to live.
    pub(super) fn put_text(&mut self, key: Bytes, text: Bytes) {
        let expires_at_ms = self.keys.get(&key).and_then(|key| key.expires_at_ms);
        self.keys.insert(key, MockKey { value: MockValue::Text(text), expires_at_ms });
    }

    pub(super) fn get(&self, request: &v1::GetRequest) -> Result<v1::GetResponse, MockRefusal> {
        let value = self.text(&request.key)?.cloned();
        let ttl_ms = if request.with_ttl { self.ttl_ms(&request.key) } else { None };
        Ok(v1::GetResponse { value, ttl_ms })
    }

    pub(super) fn set(&mut self, request: v1::SetRequest) -> Result<v1::SetResponse, MockRefusal> {
        let v1::SetRequest { key, value, expiry, condition, return_previous, .. } = request;
        let exists = self.keys.contains_key(&key);
        let applies = match condition {
            None => true,
            Some(set_request::Condition::IfAbsent(_)) => !exists,
            Some(set_request::Condition::IfPresent(_)) => exists,
            Some(set_request::Condition::IfEqual(expected)) => self.text(&key)? == Some(&expected),
        };
        let previous = if return_previous { self.text(&key)?.cloned() } else { None };
        if applies {
            let kept = self.keys.get(&key).and_then(|key| key.expires_at_ms);
            let expires_at_ms = match expiry {
                None => None,
                Some(set_request::Expiry::TtlMs(ms)) => Some(self.now_ms.saturating_add(ms)),
                Some(set_request::Expiry::ExpireAtMs(at)) => Some(at),
                Some(set_request::Expiry::KeepTtl(_)) => kept,
            };
            self.keys.insert(key, MockKey { value: MockValue::Text(value), expires_at_ms });
            self.remove_expired();
        }
        Ok(v1::SetResponse { applied: applies, previous })
    }

    pub(super) fn delete(&mut self, keys: &[Bytes]) -> u64 {
        keys.iter().map(|key| u64::from(self.keys.remove(key).is_some())).sum()
    }

    pub(super) fn increment(&mut self, key: Bytes, by: i64) -> Result<i64, MockRefusal> {
        let text = self.text(&key)?;
        let before = text.map_or(Some(0), |text| std::str::from_utf8(text).ok()?.parse::<i64>().ok());
        let sum = before.and_then(|before| before.checked_add(by));
        let sum = sum.ok_or_else(|| MockRefusal::plain("value is not an integer or out of range"))?;
        self.put_text(key, sum.to_string().into());
        Ok(sum)
    }

    /// Returns whether it has changed anything.
    pub(super) fn expire(&mut self, key: &[u8], expiry: Option<expire_request::Expiry>) -> bool {
        let now = self.now_ms;
        let Some(stored) = self.keys.get_mut(key) else { return false };
        let expires_at_ms = match expiry {
            None => None,
            Some(expire_request::Expiry::TtlMs(ms)) => Some(now.saturating_add(ms)),
            Some(expire_request::Expiry::ExpireAtMs(at)) => Some(at),
        };
        let before = std::mem::replace(&mut stored.expires_at_ms, expires_at_ms);
        self.remove_expired();
        expires_at_ms.is_some() || before.is_some()
    }

    pub(super) fn hash_get(&self, request: &v1::HashGetRequest) -> Result<v1::HashGetResponse, MockRefusal> {
        let Some(stored) = self.fields(&request.key)? else { return Ok(v1::HashGetResponse::default()) };
        let field = |(name, value): (&Bytes, &Bytes)| v1::HashField { name: name.clone(), value: value.clone() };
        let fields = if request.fields.is_empty() {
            stored.iter().map(field).collect()
        } else {
            request.fields.iter().filter_map(|name| stored.get_key_value(name)).map(field).collect()
        };
        Ok(v1::HashGetResponse { fields })
    }

    /// Returns how many of the fields are new.
    pub(super) fn hash_set(&mut self, key: Bytes, fields: Vec<v1::HashField>) -> Result<u64, MockRefusal> {
        self.fields(&key)?;
        if fields.is_empty() {
            return Err(MockRefusal::invalid("fields: at least one is needed"));
        }
        let new = || MockKey { value: MockValue::Hash(BTreeMap::new()), expires_at_ms: None };
        let MockValue::Hash(stored) = &mut self.keys.entry(key).or_insert_with(new).value else {
            return Err(MockRefusal::wrong_type());
        };
        let added = fields.into_iter().map(|field| u64::from(stored.insert(field.name, field.value).is_none()));
        Ok(added.sum())
    }

    /// Returns how many of the fields existed.
    pub(super) fn hash_delete(&mut self, key: &[u8], names: &[Bytes]) -> Result<u64, MockRefusal> {
        self.fields(key)?;
        let Some(MockKey { value: MockValue::Hash(stored), .. }) = self.keys.get_mut(key) else { return Ok(0) };
        let removed = names.iter().map(|name| u64::from(stored.remove(name).is_some())).sum();
        if stored.is_empty() {
            self.keys.remove(key);
        }
        Ok(removed)
    }

    /// Whether a comparison holds.
    pub(super) fn holds(&self, compare: &v1::Compare) -> Result<bool, MockRefusal> {
        let condition = compare.condition.as_ref().ok_or_else(|| MockRefusal::invalid("condition: not given"))?;
        Ok(match (condition, &compare.field) {
            (Condition::Exists(expected), None) => self.value(&compare.key).is_some() == *expected,
            (Condition::Equals(expected), None) => self.text(&compare.key)? == Some(expected),
            (condition, Some(name)) => {
                let found = self.fields(&compare.key)?.and_then(|fields| fields.get(name));
                match condition {
                    Condition::Exists(expected) => found.is_some() == *expected,
                    Condition::Equals(expected) => found == Some(expected),
                }
            }
        })
    }
}
