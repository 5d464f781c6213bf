//! The records that a replica holds, and what reverses changes of them that have not committed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fastness_types::{Seq, WallMs, limits};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

use super::record::{RecordChange, UnitRecord};
use crate::outcome::WrittenAt;

/// Memory of a record beside its reply, and of a client beside its name, bytes: approximately, with the places in the
/// tables.
const RECORD_BYTES: usize = 200;
const CLIENT_BYTES: usize = 200;

/// What a write with a key has left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) client: Arc<[u8]>,
    pub(crate) sequence: u64,
    /// Checksum of the command and its arguments.
    pub(crate) payload: u128,
    /// The time at which it ran.
    pub(crate) timestamp: WallMs,
    /// In RESP3; a null array is written as in RESP2.
    pub(crate) reply: Box<[u8]>,
    /// Where this replica staged it; `None`: it was committed when this replica got it. Not stored.
    pub(crate) at: Option<WrittenAt>,
}

impl Record {
    fn bytes(&self) -> usize {
        RECORD_BYTES + self.reply.len()
    }

    fn digest(&self) -> u128 {
        let mut hasher = SipHasher13::new();
        hasher.write_u8(1);
        hasher.write_u64(self.client.len() as u64);
        hasher.write(&self.client);
        hasher.write_u64(self.sequence);
        hasher.write(&self.payload.to_le_bytes());
        hasher.write_u64(self.timestamp.0);
        hasher.write(&self.reply);
        hasher.finish128().as_u128()
    }
}

/// One client that has records.
#[derive(Debug, Default)]
struct ClientRecords {
    /// The highest sequence number that has left, of others before the client's first record; 0: none.
    floor: u64,
    /// The records by their sequence numbers: their numbers in `by_age`.
    by_sequence: BTreeMap<u64, u64>,
}

/// What the records say of a key.
#[derive(Debug)]
pub(crate) enum Known {
    /// The write has not run.
    New,
    /// It has run, and has left this record.
    Ran(Arc<Record>),
    /// Whether it has run is not known any more: its record may have left, as that of any sequence number up to this.
    Past(u64),
}

/// A change that has not committed.
#[derive(Debug)]
enum Uncommitted {
    /// This record was added.
    Added(u64),
    /// This record has left; the floors were these before.
    Left { number: u64, record: Arc<Record>, floor: u64, floor_of_gone: u64 },
}

/// How many records may be kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyLimits {
    /// Records of one client.
    pub client_records_max: usize,
    /// Memory of all records, bytes.
    pub bytes_max: usize,
    /// Age.
    pub age_max: Duration,
}

impl Default for IdempotencyLimits {
    fn default() -> IdempotencyLimits {
        IdempotencyLimits {
            client_records_max: limits::IDEMPOTENCY_CLIENT_RECORDS_MAX,
            bytes_max: limits::IDEMPOTENCY_BYTES_MAX,
            age_max: limits::IDEMPOTENCY_AGE_MAX,
        }
    }
}

impl IdempotencyLimits {
    /// The limits under this `maxmemory` (0: none): records take an eighth of it at most, so that clients that send
    /// keys do not fill it with what their own writes then lack.
    pub(crate) fn within(self, maxmemory: u64) -> IdempotencyLimits {
        let part = usize::try_from(maxmemory / MEMORY_PART).unwrap_or(usize::MAX);
        let bytes_max = if maxmemory == 0 { self.bytes_max } else { self.bytes_max.min(part) };
        IdempotencyLimits { bytes_max, ..self }
    }
}

/// The part of `maxmemory` that records may take: one in so many.
const MEMORY_PART: u64 = 8;

/// The most records that leave by one unit, so that no unit takes long. The longest reply takes the place of fewer, so
/// every write makes room for its own record.
const LEAVE_MAX: u64 = 512;
const _: () = assert!(LEAVE_MAX as usize * RECORD_BYTES > limits::IDEMPOTENCY_REPLY_BYTES_MAX + 4096);

/// The records of a replica.
#[derive(Debug, Default)]
pub(crate) struct Records {
    clients: HashMap<Arc<[u8]>, ClientRecords>,
    /// In the order of the log.
    by_age: BTreeMap<u64, Arc<Record>>,
    /// Records added so far.
    added: u64,
    /// The highest sequence number that has left of clients without records.
    floor_of_gone: u64,
    bytes: usize,
    /// The sum of the digests of records and floors.
    sum: u128,
    uncommitted: VecDeque<(Seq, Uncommitted)>,
}

impl Records {
    /// What is known of a key.
    pub(crate) fn look_up(&self, client: &[u8], sequence: u64) -> Known {
        let Some(of_client) = self.clients.get(client) else {
            return above(sequence, self.floor_of_gone);
        };
        if let Some(number) = of_client.by_sequence.get(&sequence) {
            return Known::Ran(self.by_age[number].clone());
        }
        above(sequence, of_client.floor)
    }

    /// How many records have to leave for one more of `client` with a reply of `reply_bytes`: of all, and of the
    /// client's own.
    pub(crate) fn room_for(
        &self,
        client: &[u8],
        reply_bytes: usize,
        now: WallMs,
        limits: &IdempotencyLimits,
    ) -> (u64, u64) {
        let mut bytes = self.bytes + RECORD_BYTES + CLIENT_BYTES + client.len() + reply_bytes;
        let (mut leave, mut left_of_own) = (0, 0);
        for record in self.by_age.values().take(LEAVE_MAX as usize) {
            if bytes <= limits.bytes_max && !is_old(record, now, limits) {
                break;
            }
            leave += 1;
            left_of_own += usize::from(&*record.client == client);
            bytes -= record.bytes();
        }
        let own = self.clients.get(client).map_or(0, |client| client.by_sequence.len()) - left_of_own;
        (leave, (own + 1).saturating_sub(limits.client_records_max) as u64)
    }

    /// How many records are older than they may be, up to what leaves by one unit.
    pub(crate) fn overdue(&self, now: WallMs, limits: &IdempotencyLimits) -> u64 {
        self.by_age.values().take(LEAVE_MAX as usize).take_while(|record| is_old(record, now, limits)).count() as u64
    }

    /// The time at which the oldest record ran; `None`: there is none.
    pub(crate) fn oldest(&self) -> Option<WallMs> {
        self.by_age.first_key_value().map(|(_, record)| record.timestamp)
    }

    /// Applies what a committed unit does.
    pub(crate) fn apply(&mut self, change: &RecordChange<'_>, timestamp: WallMs) {
        match change {
            RecordChange::Add(record) => self.add(record, timestamp, None),
            RecordChange::Leave(count) => self.leave(*count, None),
        }
    }

    /// Adds the record of a unit, after others have left for it. `staged`: as a primary that has not committed it.
    pub(crate) fn add(&mut self, record: &UnitRecord<'_>, timestamp: WallMs, staged: Option<WrittenAt>) {
        self.leave(record.leave, staged);
        for _ in 0..record.leave_own {
            let lowest = self.clients.get(record.client).and_then(|own| own.by_sequence.first_key_value());
            let Some((_, number)) = lowest.map(|(sequence, number)| (*sequence, *number)) else { break };
            self.remove(number, staged);
        }
        let known = self.clients.get_key_value(record.client).map(|(client, _)| client.clone());
        let is_new = known.is_none();
        let client = known.unwrap_or_else(|| Arc::from(record.client));
        let UnitRecord { sequence, payload, reply, .. } = *record;
        let number = self.added;
        self.insert(number, Arc::new(Record { client, sequence, payload, timestamp, reply: reply.into(), at: staged }));
        if is_new {
            // It may have had records before.
            self.restore_floor(record.client, self.floor_of_gone);
        }
        self.added += 1;
        if let Some(at) = staged {
            self.uncommitted.push_back((at.seq, Uncommitted::Added(number)));
        }
    }

    /// The `count` oldest records leave.
    pub(crate) fn leave(&mut self, count: u64, staged: Option<WrittenAt>) {
        for _ in 0..count {
            let Some((number, _)) = self.by_age.first_key_value() else { break };
            self.remove(*number, staged);
        }
    }

    fn remove(&mut self, number: u64, staged: Option<WrittenAt>) {
        let floor_of_gone = self.floor_of_gone;
        let Some((record, floor)) = self.take_out(number) else { return };
        let highest = floor.max(record.sequence);
        match self.clients.get_mut(&record.client) {
            Some(client) => {
                client.floor = highest;
                self.sum = self.sum.wrapping_add(floor_digest(&record.client, highest));
            }
            None => self.set_floor_of_gone(floor_of_gone.max(highest)),
        }
        if let Some(at) = staged {
            self.uncommitted.push_back((at.seq, Uncommitted::Left { number, record, floor, floor_of_gone }));
        }
    }

    fn set_floor_of_gone(&mut self, floor: u64) {
        self.sum = self.sum.wrapping_sub(floor_digest(&[], self.floor_of_gone)).wrapping_add(floor_digest(&[], floor));
        self.floor_of_gone = floor;
    }

    /// Adds a record, whose client keeps its floor.
    fn insert(&mut self, number: u64, record: Arc<Record>) {
        self.bytes += record.bytes();
        self.sum = self.sum.wrapping_add(record.digest());
        let client = self.clients.entry(record.client.clone()).or_insert_with(|| {
            self.bytes += CLIENT_BYTES + record.client.len();
            ClientRecords::default()
        });
        client.by_sequence.insert(record.sequence, number);
        self.by_age.insert(number, record);
    }

    /// Takes a record out; returns it with the floor of its client, which is not in the sum any more. A client without
    /// records is taken out, too.
    fn take_out(&mut self, number: u64) -> Option<(Arc<Record>, u64)> {
        let record = self.by_age.remove(&number)?;
        self.bytes -= record.bytes();
        self.sum = self.sum.wrapping_sub(record.digest());
        let client = self.clients.get_mut(&record.client)?;
        client.by_sequence.remove(&record.sequence);
        let floor = client.floor;
        self.sum = self.sum.wrapping_sub(floor_digest(&record.client, floor));
        if client.by_sequence.is_empty() {
            self.clients.remove(&record.client);
            self.bytes -= CLIENT_BYTES + record.client.len();
        }
        Some((record, floor))
    }

    /// Everything staged up to `seq` has committed.
    pub(crate) fn commit(&mut self, seq: Seq) {
        while self.uncommitted.front().is_some_and(|(of, _)| *of <= seq) {
            self.uncommitted.pop_front();
        }
    }

    /// Reverses everything that has not committed.
    pub(crate) fn undo(&mut self) {
        while let Some((_, change)) = self.uncommitted.pop_back() {
            match change {
                Uncommitted::Added(number) => {
                    if let Some((record, floor)) = self.take_out(number)
                        && self.clients.contains_key(&record.client)
                    {
                        self.sum = self.sum.wrapping_add(floor_digest(&record.client, floor));
                    }
                }
                Uncommitted::Left { number, record, floor, floor_of_gone } => {
                    let had = self.clients.get(&record.client).map_or(0, |client| client.floor);
                    self.sum = self.sum.wrapping_sub(floor_digest(&record.client, had));
                    self.sum = self.sum.wrapping_add(floor_digest(&record.client, floor));
                    self.set_floor_of_gone(floor_of_gone);
                    let client = record.client.clone();
                    self.insert(number, record);
                    if let Some(client) = self.clients.get_mut(&client) {
                        client.floor = floor;
                    }
                }
            }
        }
    }

    /// Forgets everything: memory is restored from snapshot and log.
    pub(crate) fn restart(&mut self) {
        *self = Records::default();
    }

    /// Equal on replicas with the same records, in whatever order they got them; 0 without any record or floor.
    pub(crate) fn digest(&self) -> u128 {
        self.sum
    }

    /// Memory, bytes: approximately.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_age.len()
    }

    /// The floor of clients without records.
    pub(crate) fn floor_of_gone(&self) -> u64 {
        self.floor_of_gone
    }

    /// Clients with a floor.
    pub(crate) fn floors(&self) -> impl Iterator<Item = (Arc<[u8]>, u64)> + '_ {
        self.clients.iter().filter(|(_, of)| of.floor > 0).map(|(client, of)| (client.clone(), of.floor))
    }

    /// All records in the order of the log.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.by_age.values()
    }

    /// Adds a record from a snapshot, in the order of the log. `false`: there is one with its key.
    pub(crate) fn restore(&mut self, record: Record) -> bool {
        if matches!(self.look_up(&record.client, record.sequence), Known::Ran(_)) {
            return false;
        }
        let number = self.added;
        self.added += 1;
        self.insert(number, Arc::new(record));
        true
    }

    /// Sets a floor from a snapshot; an empty name: of clients without records. `false`: there is no such client.
    pub(crate) fn restore_floor(&mut self, client: &[u8], floor: u64) -> bool {
        if client.is_empty() {
            self.set_floor_of_gone(floor);
            return true;
        }
        let Some(of_client) = self.clients.get_mut(client) else { return false };
        self.sum =
            self.sum.wrapping_sub(floor_digest(client, of_client.floor)).wrapping_add(floor_digest(client, floor));
        of_client.floor = floor;
        true
    }
}

fn above(sequence: u64, floor: u64) -> Known {
    if sequence > floor { Known::New } else { Known::Past(floor) }
}

fn is_old(record: &Record, now: WallMs, limits: &IdempotencyLimits) -> bool {
    now.0.saturating_sub(record.timestamp.0) > limits.age_max.as_millis() as u64
}

fn floor_digest(client: &[u8], floor: u64) -> u128 {
    if floor == 0 {
        return 0;
    }
    let mut hasher = SipHasher13::new();
    hasher.write_u8(2);
    hasher.write_u64(client.len() as u64);
    hasher.write(client);
    hasher.write_u64(floor);
    hasher.finish128().as_u128()
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
