//! Execution of writes that carry an idempotency key: each takes effect once. See `idempotency`.
//!
//! While such a write runs, its reply goes into a buffer of its own, in a form from which it can be written for either
//! version of the protocol: the connection that sends it again may speak the other one.

use fastness_resp::{ReplyBuf, value};
use fastness_types::{BootNs, Durability, FormatLevel, limits};

use crate::execution::Execution;
use crate::idempotency::IdempotencyKey;
use crate::idempotency::attempt::{Attempt, FirstAttempt, Recording};
use crate::idempotency::record::{UnitRecord, client_of};
use crate::idempotency::records::{Known, Record};
use crate::outcome::{Outcome, PendingReply, WrittenAt};
use crate::refusal::Refusal;
use crate::state::Primary;
use crate::unit::UnitInProgress;

impl Execution<'_> {
    /// Whether a write runs now. `payload`: the checksum of what it is.
    #[inline]
    pub(crate) fn attempt(&mut self, primary: &mut Primary<'_>, payload: impl FnOnce() -> u128) -> Attempt {
        match self.idempotency {
            None => Attempt::Runs(None),
            Some(key) => self.keyed_attempt(primary, key, key.payload.unwrap_or_else(payload)),
        }
    }

    #[cold]
    fn keyed_attempt(&mut self, primary: &mut Primary<'_>, key: IdempotencyKey<'_>, payload: u128) -> Attempt {
        let ahead_ms = self.now.wall.0.saturating_add(limits::IDEMPOTENCY_AHEAD_MAX.as_millis() as u64);
        let refusal = match key.client.len() {
            0 => Some(Refusal::KeyClient),
            length if length > limits::IDEMPOTENCY_CLIENT_BYTES_MAX => Some(Refusal::KeyClient),
            _ if self.edges.handle.format() < FormatLevel::IDEMPOTENCY => Some(Refusal::KeysUnknown),
            _ if key.sequence > ahead_ms.saturating_mul(1000) => Some(Refusal::KeyAhead),
            _ => None,
        };
        let client = client_of(&self.front_end.user(), key.client);
        let refusal = match refusal {
            Some(refusal) => refusal,
            None => match primary.replica.records.look_up(&client, key.sequence) {
                Known::New => return Attempt::Runs(Some(FirstAttempt { client, sequence: key.sequence, payload })),
                Known::Ran(record) if record.payload == payload => {
                    return Attempt::Answered(self.answer_again(primary, &record));
                }
                Known::Ran(_) => Refusal::KeyReused,
                Known::Past(floor) => Refusal::KeyPast { floor },
            },
        };
        primary.replica.counters.keys_refused += 1;
        self.refuse(&primary.replica.flow, &refusal);
        Attempt::Answered(Outcome::REPLY)
    }

    /// Answers a write that has run with its reply. It is released once the write has committed, in every mode.
    fn answer_again(&mut self, primary: &mut Primary<'_>, record: &Record) -> Outcome {
        primary.replica.counters.repeated_writes += 1;
        self.give(&record.reply);
        let (tenure, committed) = (primary.leader.tenure, primary.leader.committed);
        let Some(at) = record.at.filter(|at| at.tenure == tenure) else { return Outcome::REPLY };
        self.session.written = Some(at);
        if at.seq <= committed {
            return Outcome::REPLY;
        }
        if self.mode != Durability::Sync {
            self.await_commit(primary, at.seq);
        }
        let pending =
            PendingReply { tenure, seq: at.seq, durability: Durability::Sync, wrote: true, arrived: BootNs(0) };
        Outcome::Reply { pending: Some(pending), wrote: false }
    }

    /// From here on replies are kept apart, if the write has a key.
    pub(crate) fn record(&mut self, attempt: Option<FirstAttempt>) -> Option<Recording> {
        let attempt = attempt?;
        let apart = ReplyBuf::recording(self.out.protocol);
        Some(Recording { attempt, replies: std::mem::replace(self.out, apart) })
    }

    /// Ends a unit as [`Execution::end_unit`] does, with a record if it changed anything and has a key.
    #[inline]
    pub(crate) fn end_recorded(
        &mut self,
        primary: &mut Primary<'_>,
        unit: UnitInProgress,
        recording: Option<Recording>,
    ) -> bool {
        match recording {
            None => self.end_unit(primary, unit, None),
            Some(recording) => self.end_keyed(primary, unit, recording),
        }
    }

    #[cold]
    fn end_keyed(&mut self, primary: &mut Primary<'_>, unit: UnitInProgress, recording: Recording) -> bool {
        let effects = &primary.leader.stage.effects;
        let wrote = if effects.len() <= unit.before || effects.has_overflowed() {
            self.end_unit(primary, unit, None)
        } else if self.out.len() > limits::IDEMPOTENCY_REPLY_BYTES_MAX {
            self.roll_back(primary, unit, &Refusal::ReplyTooLong);
            false
        } else {
            self.end_with_record(primary, unit, &recording.attempt)
        };
        self.stop_recording(recording);
        wrote
    }

    fn end_with_record(&mut self, primary: &mut Primary<'_>, unit: UnitInProgress, attempt: &FirstAttempt) -> bool {
        let FirstAttempt { client, sequence, payload } = attempt;
        let (reply, replica) = (self.out.to_vec(), &*primary.replica);
        let limits = replica.idempotency.within(replica.data.engine.maxmemory());
        let (leave, leave_own) = replica.records.room_for(client, reply.len(), self.now.wall, &limits);
        let (sequence, payload) = (*sequence, *payload);
        let record = UnitRecord { leave, leave_own, client, sequence, payload, reply: &reply };
        let wrote = self.end_unit(primary, unit, Some(record.encode()));
        let at = WrittenAt { tenure: primary.leader.tenure, seq: primary.leader.stage.last_staged() };
        primary.replica.records.add(&record, self.now.wall, Some(at));
        wrote
    }

    /// Gives the reply that was kept apart to the connection.
    pub(crate) fn stop_recording(&mut self, recording: Recording) {
        let apart = std::mem::replace(self.out, recording.replies);
        self.out.protocol = apart.protocol;
        self.give(&apart.to_vec());
    }

    /// Writes a recorded reply for the connection's version of the protocol.
    fn give(&mut self, recorded: &[u8]) {
        match value::parse(recorded) {
            Ok(Some((value, _))) => value.encode(self.out),
            // A command without a reply: CLIENT REPLY does not write, so it has none here.
            Ok(None) | Err(_) => self.out.error("ERR the recorded reply cannot be read"),
        }
    }
}
