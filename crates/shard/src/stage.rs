//! Effects on their way into the log: the open batch, sealed batches that wait for space in the window, and batches in
//! flight.
//!
//! Invariants:
//! - Sequences are assigned in the order of sealing, without gaps; the open batch has the next one.
//! - `sealed` and `in_flight` are ordered by sequence; every batch in flight precedes every sealed batch.
//! - At most `in_flight_max` log entries are in flight. While the window is full, the batch stays open. Only if the
//!   next unit would make it larger than one entry, the units staged so far are sealed and wait for the window.
//! - A sealed batch always fits into entries, because the size of every unit is bounded while it runs and measured
//!   afterwards. A unit that is too large for one entry becomes a batch of its own, which is cut into fragments
//!   (`fragment.rs`), one per entry. The number of fragments follows from the length, so the batch gets the sequence of
//!   its last fragment when it is staged. Whatever waits for the batch therefore waits for the last fragment.
//! - The unit of a script that is suspended is **held**: its effects are alone in the buffer, without a head, and
//!   nothing is staged before it resumes or is rolled back.
//! - No method blocks: proposing only pushes to the queue of consensus.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fail::fail_point;
use fastness_consensus::handle::{GroupHandle, Proposal};
use fastness_engine::EffectBuf;
use fastness_types::{BootNs, Durability, Epoch, FormatLevel, Plant, Seq, WallMs};

use crate::batch::{self, BatchHeader, UnitHead, UnitKind};
use crate::dirty::DirtyKeys;
use crate::fragment::{self, Cut};
use crate::lag_bound::DesiredLagBound;
use crate::mode::DesiredMode;
use crate::now::Now;
use crate::options::Batching;

/// Bytes of a batch besides its effects: the batch header, with the heads of units without effects that may join it.
const HEADER_BYTES_MAX: usize = 512;
/// Upper bound on the encoded head of one unit, in bytes.
const HEAD_BYTES_MAX: usize = 24;
/// Buffers with a larger capacity than this are freed instead of reused for the next batch, in bytes.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Largest divisor of the time to wait for further writes. The divisor doubles each time that the wait was without
/// effect.
const IMPATIENCE_MAX: u32 = 16;
/// In each series of this many closed batches, the first [`PROBES`] wait for the full time, to measure whether waiting
/// has an effect again.
const PROBE_EVERY: u64 = 64;
const PROBES: u64 = 4;

/// What the loop knows of a batch, from sealing to commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batched {
    pub(crate) seq: Seq,
    /// When its first unit was staged.
    pub(crate) opened: BootNs,
    pub(crate) bytes: usize,
    /// Bytes of its payload in the log.
    pub(crate) payload_bytes: usize,
    pub(crate) units: usize,
    /// Writes whose clients wait for its commit.
    pub(crate) writes: usize,
    /// The last mode change in the batch.
    pub(crate) mode: Option<DesiredMode>,
    /// The last change of `durability-max-lag` in the batch.
    pub(crate) lag_bound: Option<DesiredLagBound>,
    /// The timestamp of its last unit.
    pub(crate) timestamp: WallMs,
}

/// The payload of a sealed batch, or the part of it that is not proposed yet.
enum Payload {
    Whole(Bytes),
    Cut(Cut),
}

/// A proposed entry that has not committed yet.
enum InFlight {
    /// The entry completes its batch.
    Batch(Batched),
    /// A fragment that is not the last one of its batch.
    Fragment(Seq),
}

/// The bounds of entries and units.
#[derive(Debug, Clone, Copy)]
struct EntryLimits {
    unit_bytes_max: usize,
    entry_bytes_max: usize,
    fragment_bytes_max: usize,
    /// Every member of the group reads fragments.
    cuts: bool,
}

impl EntryLimits {
    /// Largest payload of a batch that is not cut, in bytes. A batch is sealed before it would exceed this.
    #[inline]
    fn whole_bytes_max(&self) -> usize {
        if self.cuts { self.fragment_bytes_max } else { self.entry_bytes_max }
    }
}

/// When the open batch is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// Do not close it: it is empty, or the window is full.
    Not,
    Now,
    /// Close it at this time, or earlier if it grows.
    At(BootNs),
}

/// A unit that is about to be staged.
pub(crate) struct StagedUnit {
    pub(crate) kind: UnitKind,
    /// Where its effects start in the open batch.
    pub(crate) before: usize,
    /// Its idempotency record.
    pub(crate) record: Option<Box<[u8]>>,
}

/// The staging side of one tenure.
pub(crate) struct Stage {
    epoch: Epoch,
    limits: EntryLimits,
    /// The sequence of the open batch; if it will be cut, the sequence of its last fragment.
    open_seq: Seq,
    /// Set if the open batch is a single unit that will be cut: the sequence of its first fragment, and the mode in
    /// which it is sealed.
    cut: Option<(Seq, Durability)>,
    pub(crate) effects: EffectBuf,
    heads: Vec<UnitHead>,
    /// Bytes of the records in `heads`.
    record_bytes: usize,
    opened: BootNs,
    /// Writes in the open batch whose clients wait for its commit; in `sync` all of them.
    writes: usize,
    mode: Option<DesiredMode>,
    lag_bound: Option<DesiredLagBound>,
    sealed: VecDeque<(Batched, Payload)>,
    in_flight: VecDeque<InFlight>,
    /// Bytes of effects and records in `sealed` and `in_flight`.
    closed_bytes: usize,
    /// Bytes of the payloads in `sealed` and `in_flight`.
    closed_payload_bytes: usize,
    /// Writes whose replies were released at `released`, and whose clients have not sent their next write yet.
    expected: usize,
    released: BootNs,
    /// How many of `writes` were staged before `released`.
    at_release: usize,
    /// When the loop last closed a batch, and how long the last committed batch was in flight.
    closed_at: BootNs,
    flight: Duration,
    /// Divisor of the time to wait for `expected` writes; a power of two, at most [`IMPATIENCE_MAX`].
    impatience: u32,
    /// Batches closed after a wait.
    closings: u64,
    /// Whether to close the open batch at the end of the turn, because something waits for the commit (WAIT, a
    /// hand-over, a mode change).
    hurry: bool,
    /// Whether a client with an override waits for the commit of the open batch, which is then closed as in `sync`.
    awaited: bool,
    /// Whether the buffer has part of a unit that is suspended.
    held: bool,
}

impl Stage {
    /// `open_seq`: the sequence of the next batch of `epoch`.
    pub(crate) fn new(epoch: Epoch, open_seq: Seq, batching: &Batching) -> Stage {
        Stage {
            epoch,
            limits: EntryLimits {
                unit_bytes_max: batching.unit_bytes_max,
                entry_bytes_max: batching.entry_bytes_max,
                fragment_bytes_max: batching.fragment_bytes_max.min(batching.entry_bytes_max - fragment::HEADER_BYTES),
                cuts: false,
            },
            open_seq,
            cut: None,
            effects: EffectBuf::new(),
            heads: Vec::new(),
            record_bytes: 0,
            opened: BootNs(0),
            writes: 0,
            mode: None,
            lag_bound: None,
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            closed_bytes: 0,
            closed_payload_bytes: 0,
            expected: 0,
            released: BootNs(0),
            at_release: 0,
            closed_at: BootNs(0),
            flight: Duration::ZERO,
            impatience: 1,
            closings: 0,
            hurry: false,
            awaited: false,
            held: false,
        }
    }

    /// The newest sequence that anything was staged under; 0: none.
    #[inline]
    pub(crate) fn last_staged(&self) -> Seq {
        if self.heads.is_empty() { Seq(self.open_seq.0 - 1) } else { self.open_seq }
    }

    /// Whether memory has nothing uncommitted: everything that was staged has committed, and no unit is held.
    #[inline]
    pub(crate) fn is_clean(&self) -> bool {
        !self.held && self.heads.is_empty() && self.sealed.is_empty() && self.in_flight.is_empty()
    }

    /// Size of the uncommitted effects and records, in bytes.
    #[inline]
    pub(crate) fn open_bytes(&self) -> usize {
        self.closed_bytes + self.effects.len() + self.record_bytes
    }

    /// Memory of all uncommitted batches, in bytes, without buffers that are kept for reuse.
    #[inline]
    pub(crate) fn memory(&self) -> usize {
        self.closed_payload_bytes + self.effects.len() + self.record_bytes + self.heads.len() * size_of::<UnitHead>()
    }

    pub(crate) fn open_batches(&self) -> usize {
        usize::from(!self.heads.is_empty()) + self.closed().count()
    }

    /// Units in the open batch.
    pub(crate) fn units_in_open_batch(&self) -> usize {
        self.heads.len()
    }

    /// The newest batch, or fragment of one, that was proposed and has not committed.
    pub(crate) fn newest_proposed(&self) -> Option<Seq> {
        self.in_flight.back().map(|entry| match entry {
            InFlight::Batch(batch) => batch.seq,
            InFlight::Fragment(seq) => *seq,
        })
    }

    pub(crate) fn open_units(&self) -> usize {
        self.heads.len() + self.closed().map(|batch| batch.units).sum::<usize>()
    }

    /// When the oldest effect that has not committed was staged.
    pub(crate) fn oldest_open(&self) -> Option<BootNs> {
        self.closed().map(|batch| batch.opened).next().or_else(|| (!self.heads.is_empty()).then_some(self.opened))
    }

    fn closed(&self) -> impl Iterator<Item = &Batched> {
        let in_flight = self.in_flight.iter().filter_map(|entry| match entry {
            InFlight::Batch(batch) => Some(batch),
            InFlight::Fragment(_) => None,
        });
        in_flight.chain(self.sealed.iter().map(|(batch, _)| batch))
    }

    /// Sets the format level that all members of the group support. Must not be called while a unit runs.
    pub(crate) fn follow_format(&mut self, level: FormatLevel) {
        self.limits.cuts = level >= FormatLevel::BOUNDS;
    }

    /// Largest size of a unit's effects, in bytes. One entry at most while a member of the group cannot read fragments.
    #[inline]
    pub(crate) fn unit_bytes_max(&self) -> usize {
        let EntryLimits { unit_bytes_max, entry_bytes_max, cuts, .. } = self.limits;
        if cuts {
            return unit_bytes_max;
        }
        unit_bytes_max.min(entry_bytes_max.saturating_sub(HEADER_BYTES_MAX + HEAD_BYTES_MAX))
    }

    /// Stages the effects from `before` on as one unit. The unit joins the open batch if both fit into one entry.
    pub(crate) fn stage(&mut self, unit: StagedUnit, now: Now, in_force: Durability, dirty: &mut DirtyKeys) {
        let StagedUnit { kind, before, record } = unit;
        let own = HEAD_BYTES_MAX + record.as_ref().map_or(0, |record| record.len());
        let heads = self.heads.len() * HEAD_BYTES_MAX + self.record_bytes + own + HEADER_BYTES_MAX;
        let is_large = self.effects.len() + heads > self.limits.whole_bytes_max();
        if (is_large || self.cut.is_some()) && !self.heads.is_empty() {
            self.seal_before_unit(in_force);
            return self.stage(StagedUnit { kind, before: 0, record }, now, in_force, dirty);
        }
        let unit =
            UnitHead { kind, durability: None, timestamp: now.wall, length: self.effects.len() - before, record };
        if is_large && self.limits.cuts {
            self.cut_open(&unit, in_force);
        }
        for hash in self.effects.touched() {
            dirty.mark(*hash, self.open_seq);
        }
        if self.effects.touches_all() && !Plant::FlushIsClean.is_on() {
            dirty.mark_everything(self.open_seq);
        }
        self.effects.clear_touched();
        self.push(unit, now);
    }

    /// Makes this unit the only one of the open batch, which will be cut into fragments.
    #[cold]
    fn cut_open(&mut self, unit: &UnitHead, durability: Durability) {
        let header = BatchHeader { seq: self.open_seq, timestamp: unit.timestamp, durability };
        let length = batch::encode_head(header, std::slice::from_ref(unit)).len() + unit.length;
        let count = fragment::count_of(length, self.limits.fragment_bytes_max);
        self.cut = Some((self.open_seq, durability));
        self.open_seq = Seq(self.open_seq.0 + u64::from(count) - 1);
    }

    /// Seals the open batch if it will be cut, because no unit may join such a batch. True if it was sealed.
    #[inline]
    pub(crate) fn seal_cut(&mut self) -> bool {
        let Some((_, durability)) = self.cut else { return false };
        self.seal(durability);
        true
    }

    /// Seals the open batch without the unit that has just run, which becomes the first one of the next batch.
    #[cold]
    fn seal_before_unit(&mut self, durability: Durability) {
        let unit = self.effects.split_unit();
        self.seal(durability);
        self.effects = unit;
    }

    /// Keeps the unit that is running apart from those before it, which are sealed, until [`Stage::resume_unit`].
    pub(crate) fn hold_unit(&mut self, durability: Durability) {
        if !self.heads.is_empty() {
            let unit = self.effects.split_running_unit();
            self.seal(durability);
            self.effects = unit;
        }
        self.held = true;
    }

    /// The unit that was held resumes, or was rolled back.
    pub(crate) fn resume_unit(&mut self) {
        self.held = false;
    }

    /// Whether the buffer has part of a unit that is suspended.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Counts the unit that was just staged as a write whose client waits for the commit.
    #[inline]
    pub(crate) fn count_waiting(&mut self) {
        self.writes += 1;
    }

    /// Records that a reply waits for batch `seq` because of an override. True if the loop must check the open batch
    /// therefore.
    pub(crate) fn await_commit(&mut self, seq: Seq) -> bool {
        let is_news = seq == self.open_seq && !self.awaited;
        self.awaited |= is_news;
        is_news
    }

    /// The mode by which the open batch is closed.
    #[inline]
    fn closes_as(&self, mode: Durability) -> Durability {
        if self.awaited { Durability::Sync } else { mode }
    }

    fn push(&mut self, head: UnitHead, now: Now) {
        debug_assert!(self.cut.is_none() || self.heads.is_empty(), "nothing joins a batch that will be cut");
        if self.heads.is_empty() {
            self.opened = now.boot;
        }
        self.record_bytes += head.record.as_ref().map_or(0, |record| record.len());
        self.heads.push(head);
    }

    /// Whether the loop must check the open batch: it has its first unit, or it need not wait any longer.
    #[inline]
    pub(crate) fn wants_loop(&self, mode: Durability, batching: &Batching) -> bool {
        self.heads.len() == 1
            || self.effects.len() >= batching.bytes_soft
            || (self.closes_as(mode) == Durability::Sync && self.writes == self.expected)
    }

    /// Closes and proposes a batch that has reached its size within a turn, if the window has space.
    #[inline]
    pub(crate) fn close_if_full(&mut self, handle: &GroupHandle, mode: Durability, batching: &Batching) {
        if self.effects.len() >= batching.bytes_soft
            && self.sealed.is_empty()
            && self.in_flight.len() < batching.in_flight_max
        {
            self.seal(mode);
            self.propose(handle, batching.in_flight_max);
        }
    }

    /// Requests that the open batch be closed at the end of the turn.
    pub(crate) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// When to close the open batch.
    ///
    /// In `sync` the batch waits for as many writes as replies were just released: clients whose replies are released
    /// together send their next commands together, and one entry can carry all of them. A single client never waits,
    /// because only its own write is expected. While another batch is in flight, this one stays open for a short time,
    /// because a commit costs each node the same few hundred microseconds for one write as for fifty. On an `async`
    /// cluster, a batch that a client with an override waits for is closed by the same rule; only the writes of such
    /// clients are counted.
    pub(crate) fn when(&self, mode: Durability, batching: &Batching, now: BootNs) -> Close {
        if self.heads.is_empty() || !self.sealed.is_empty() || self.in_flight.len() >= batching.in_flight_max {
            return Close::Not;
        }
        if self.hurry || self.effects.len() >= batching.bytes_soft {
            return Close::Now;
        }
        let at = match self.closes_as(mode) {
            Durability::Sync if !self.in_flight.is_empty() => self.opened.plus(batching.sync_hold),
            Durability::Sync if self.writes >= self.expected => return Close::Now,
            Durability::Sync => self.released.plus(batching.sync_wait / self.impatience),
            Durability::Async | Durability::Disabled => self.opened.plus(batching.async_age),
        };
        if at <= now { Close::Now } else { Close::At(at) }
    }

    /// Adapts the wait to the open batch, which is about to be closed. If clients send their next writes together, far
    /// more writes arrive shortly after the release than while the preceding batch was in flight. If writes arrive
    /// independently, the wait is shortened, and tried in full again from time to time.
    pub(crate) fn learn(&mut self, mode: Durability, now: BootNs) {
        self.closed_at = now;
        if self.closes_as(mode) != Durability::Sync || self.expected == 0 || self.hurry || !self.in_flight.is_empty() {
            return;
        }
        self.closings += 1;
        let came = (self.writes.saturating_sub(self.at_release)) as u128 * self.flight.as_nanos();
        let as_before = self.at_release as u128 * now.since(self.released).as_nanos();
        let together = self.writes >= self.expected || came > 2 * as_before;
        let probes = self.closings % PROBE_EVERY < PROBES;
        self.impatience = if together || probes { 1 } else { (self.impatience * 2).min(IMPATIENCE_MAX) };
    }

    /// Seals the open batch, which then waits for space in the window.
    pub(crate) fn seal(&mut self, durability: Durability) {
        let Some(first) = self.heads.first() else { return };
        let seq = self.open_seq;
        let header = BatchHeader { seq, timestamp: first.timestamp, durability };
        let timestamp = self.heads.last().map_or(first.timestamp, |last| last.timestamp);
        let bytes = self.effects.len() + std::mem::take(&mut self.record_bytes);
        let (payload, payload_bytes, entry_bytes) = match self.cut.take() {
            Some((first, _)) => {
                let fragment_bytes = self.limits.fragment_bytes_max;
                let cut = Cut::new(batch::encode_head(header, &self.heads), self.effects.take(), fragment_bytes, first);
                assert_eq!(cut.last(), seq, "its length was known when it was staged");
                let length = cut.len();
                (Payload::Cut(cut), length, fragment_bytes + fragment::HEADER_BYTES)
            }
            None => {
                let payload = batch::encode(header, &self.heads, self.effects.encoded());
                let length = payload.len();
                (Payload::Whole(payload), length, length)
            }
        };
        assert!(entry_bytes <= self.limits.entry_bytes_max, "an entry of {entry_bytes} bytes is sealed");
        let batched = Batched {
            seq,
            opened: self.opened,
            bytes,
            payload_bytes,
            units: self.heads.len(),
            writes: self.writes,
            mode: self.mode,
            lag_bound: self.lag_bound,
            timestamp,
        };
        self.closed_bytes += batched.bytes;
        self.closed_payload_bytes += batched.payload_bytes;
        self.sealed.push_back((batched, payload));
        // Writes that have arrived are no longer expected, and the others are not waited for a second time.
        self.expected = 0;
        self.open_seq = seq.next();
        self.heads.clear();
        if self.effects.len() > KEPT_BYTES_MAX {
            self.effects = EffectBuf::new();
        } else {
            self.effects.clear();
        }
        self.writes = 0;
        self.mode = None;
        self.lag_bound = None;
        self.hurry = false;
        self.awaited = false;
    }

    /// Proposes sealed batches, or the next fragments of one, while the window has space.
    pub(crate) fn propose(&mut self, handle: &GroupHandle, in_flight_max: usize) {
        while self.in_flight.len() < in_flight_max
            && let Some((seq, payload, entry)) = self.next_entry()
        {
            fail_point!("shard::propose");
            handle.propose(Proposal { epoch: self.epoch, seq, payload });
            self.in_flight.push_back(entry);
        }
    }

    fn next_entry(&mut self) -> Option<(Seq, Bytes, InFlight)> {
        if let (_, Payload::Cut(cut)) = self.sealed.front_mut()?
            && !cut.ends()
        {
            let (seq, payload) = cut.next()?;
            return Some((seq, payload, InFlight::Fragment(seq)));
        }
        let (batch, payload) = self.sealed.pop_front()?;
        let payload = match payload {
            Payload::Whole(payload) => payload,
            Payload::Cut(mut cut) => cut.next()?.1,
        };
        Some((batch.seq, payload, InFlight::Batch(batch)))
    }

    /// Records the commit of the oldest entry in flight. False if that entry is not the fragment `seq`. The batch is
    /// committed with its last fragment.
    pub(crate) fn commit_fragment(&mut self, seq: Seq) -> bool {
        let is_it = matches!(self.in_flight.front(), Some(InFlight::Fragment(front)) if *front == seq);
        if is_it {
            self.in_flight.pop_front();
        }
        is_it
    }

    /// Records the commit of the oldest batch in flight, and returns it. `None` if its sequence is not `seq`.
    pub(crate) fn commit(&mut self, seq: Seq, now: BootNs) -> Option<Batched> {
        let InFlight::Batch(front) = self.in_flight.front()? else { return None };
        if front.seq != seq {
            return None;
        }
        let Some(InFlight::Batch(batch)) = self.in_flight.pop_front() else { return None };
        self.closed_bytes -= batch.bytes;
        self.closed_payload_bytes -= batch.payload_bytes;
        // The writes that are staged already are not from the clients whose replies are released now.
        self.expected = self.expected.max(self.writes) + batch.writes;
        self.released = now;
        self.at_release = self.writes;
        self.flight = now.since(self.closed_at);
        Some(batch)
    }

    /// Stages a unit that has only a timestamp.
    pub(crate) fn stage_time(&mut self, now: Now) {
        self.push(UnitHead::of_time(now.wall), now);
    }

    /// Stages a unit by which the `count` oldest idempotency records leave.
    pub(crate) fn stage_leave(&mut self, count: u64, now: Now) {
        self.seal_cut();
        self.push(UnitHead::of_leave(count, now.wall), now);
    }

    /// Stages a change of the lag bound. The batch is closed without waiting.
    pub(crate) fn stage_lag_bound(&mut self, desired: DesiredLagBound, now: Now) {
        self.seal_cut();
        self.lag_bound = Some(desired);
        self.push(UnitHead::of_lag_bound(desired, now.wall), now);
        self.hurry();
    }

    /// Stages a change of the mode. The batch is closed without waiting.
    pub(crate) fn stage_mode(&mut self, desired: DesiredMode, now: Now, dirty: &mut DirtyKeys) {
        self.seal_cut();
        self.mode = Some(desired);
        if Plant::ModeForgetsDirty.is_on() {
            *dirty = DirtyKeys::new();
        } else {
            dirty.mark_everything(self.open_seq);
        }
        self.push(UnitHead::of_mode(desired, now.wall), now);
        self.hurry();
    }
}
