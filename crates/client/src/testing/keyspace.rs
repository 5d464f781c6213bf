//! What the mock stores: strings and hashes that expire at a clock which the test moves.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fastness_wire::v1::compare::Condition;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::watch_change::Change;
use fastness_wire::v1::{self, WatchCause, expire_request, set_request, watch_expiry};

use super::changes::{self, ChangeLog};
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
    /// What watches show.
    pub(super) changes: ChangeLog,
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
        let (keys, changes) = (BTreeMap::new(), ChangeLog::default());
        Keyspace { keys, recorded, recorded_txns, changes, now_ms: whole_ms(now) }
    }
}

impl Keyspace {
    pub(super) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.now_ms)
    }

    /// Moves the clock. Keys whose time has come cease to exist.
    pub(super) fn advance(&mut self, by: Duration) {
        self.now_ms = self.now_ms.saturating_add(whole_ms(by));
        let (now, changes) = (self.now_ms, &mut self.changes);
        self.keys.retain(|key, stored| {
            let is_kept = stored.expires_at_ms.is_none_or(|at| at > now);
            if !is_kept {
                changes.add(changes::key_delete(key));
            }
            is_kept
        });
        self.changes.commit(WatchCause::Expiry, self.now_ms);
    }

    /// What was changed since the last time is the work of one command, or of one transaction: watches show it.
    pub(super) fn commit(&mut self) {
        self.changes.commit(WatchCause::Command, self.now_ms);
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.changes.add(Change::Flush(v1::FlushChange {}));
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
        Some(self.expires_at_ms(key)?.saturating_sub(self.now_ms))
    }

    /// When a key expires, since the Unix epoch.
    pub(super) fn expires_at_ms(&self, key: &[u8]) -> Option<u64> {
        self.keys.get(key)?.expires_at_ms
    }

    /// Sets a string; one that exists keeps its time to live.
    pub(super) fn put_text(&mut self, key: Bytes, text: Bytes) {
        self.changes.add(changes::string_set(&key, &text, Some(watch_expiry::Expiry::KeepTtl(true))));
        let expires_at_ms = self.expires_at_ms(&key);
        self.keys.insert(key, MockKey { value: MockValue::Text(text), expires_at_ms });
    }

    /// Appends to a string; returns how long it is then.
    pub(super) fn append(&mut self, key: &Bytes, more: &Bytes) -> Result<usize, MockRefusal> {
        let longer = Bytes::from([self.text(key)?.cloned().unwrap_or_default(), more.clone()].concat());
        let (bytes, expires_at_ms) = (longer.len(), self.expires_at_ms(key));
        self.changes.add(changes::string_append(key, more));
        self.keys.insert(key.clone(), MockKey { value: MockValue::Text(longer), expires_at_ms });
        Ok(bytes)
    }

    /// Removes a key; returns whether there was one.
    fn remove(&mut self, key: &Bytes) -> bool {
        let existed = self.keys.remove(key).is_some();
        if existed {
            self.changes.add(changes::key_delete(key));
        }
        existed
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
            let at = match expiry {
                Some(set_request::Expiry::KeepTtl(_)) => {
                    self.put_text(key, value);
                    return Ok(v1::SetResponse { applied: applies, previous });
                }
                Some(set_request::Expiry::TtlMs(ms)) => Some(self.now_ms.saturating_add(ms)),
                Some(set_request::Expiry::ExpireAtMs(at)) => Some(at),
                None => None,
            };
            self.set_until(key, value, at);
        }
        Ok(v1::SetResponse { applied: applies, previous })
    }

    /// Sets a string that expires at this time, or not. If it has passed, the key is removed.
    fn set_until(&mut self, key: Bytes, value: Bytes, expires_at_ms: Option<u64>) {
        if expires_at_ms.is_some_and(|at| at <= self.now_ms) {
            self.remove(&key);
            return;
        }
        self.changes.add(changes::string_set(&key, &value, expires_at_ms.map(watch_expiry::Expiry::ExpireAtMs)));
        self.keys.insert(key, MockKey { value: MockValue::Text(value), expires_at_ms });
    }

    pub(super) fn delete(&mut self, keys: &[Bytes]) -> u64 {
        keys.iter().map(|key| u64::from(self.remove(key))).sum()
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
    pub(super) fn expire(&mut self, key: &Bytes, expiry: Option<expire_request::Expiry>) -> bool {
        let now = self.now_ms;
        let Some(stored) = self.keys.get_mut(key) else { return false };
        let expires_at_ms = match expiry {
            None => None,
            Some(expire_request::Expiry::TtlMs(ms)) => Some(now.saturating_add(ms)),
            Some(expire_request::Expiry::ExpireAtMs(at)) => Some(at),
        };
        let before = std::mem::replace(&mut stored.expires_at_ms, expires_at_ms);
        let key = key.clone();
        match expires_at_ms {
            Some(at) if at <= now => _ = self.remove(&key),
            Some(at) => self.changes.add(Change::KeyExpire(v1::KeyExpireChange { key, expire_at_ms: at })),
            None if before.is_some() => self.changes.add(Change::KeyPersist(v1::KeyPersistChange { key })),
            None => return false,
        }
        true
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
        self.changes.add(changes::hash_set(&key, &fields));
        let new = || MockKey { value: MockValue::Hash(BTreeMap::new()), expires_at_ms: None };
        let MockValue::Hash(stored) = &mut self.keys.entry(key).or_insert_with(new).value else {
            return Err(MockRefusal::wrong_type());
        };
        let added = fields.into_iter().map(|field| u64::from(stored.insert(field.name, field.value).is_none()));
        Ok(added.sum())
    }

    /// Returns how many of the fields existed.
    pub(super) fn hash_delete(&mut self, key: &Bytes, names: &[Bytes]) -> Result<u64, MockRefusal> {
        self.fields(key)?;
        let Some(MockKey { value: MockValue::Hash(stored), .. }) = self.keys.get_mut(key) else { return Ok(0) };
        let removed: Vec<Bytes> = names.iter().filter(|name| stored.remove(*name).is_some()).cloned().collect();
        if stored.is_empty() {
            self.keys.remove(key);
        }
        let count = removed.len() as u64;
        if count > 0 {
            self.changes.add(Change::HashDelete(v1::HashDeleteChange { key: key.clone(), fields: removed }));
        }
        Ok(count)
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
