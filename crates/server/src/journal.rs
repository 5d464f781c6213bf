//! The journal of a node: the newest events that it has recorded, since the process started.
//!
//! - It is bounded in number and in bytes. Over a bound the oldest event of the kind with the most events is discarded,
//!   so that a kind that repeats all the time, such as an unreachable peer, does not displace the election of an hour
//!   ago.
//! - Events are numbered from 1 in the order in which they were recorded. A reader continues after a number, and learns
//!   how many events were discarded.
//! - It is in memory: a node that is killed forgets it, and the other nodes tell what they have seen of that node. What
//!   must outlive the process is in the log file, from the same source.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fastness_events::{ElectionReason, Event, EventSink, Kind, Value};
use fastness_types::limits::{EVENT_TEXT_BYTES_MAX, EVENTS_BYTES_MAX, EVENTS_MAX, EVENTS_PAGE_MAX};
use fastness_types::{BootNs, Clock, GroupId, SpanCounts, SpanHistogram, WallMs};
use parking_lot::Mutex;

/// Bytes that an event takes besides its texts: an estimate of its place in the journal and of its fields.
const EVENT_BYTES: usize = 256;

/// An event as the journal has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its number.
    pub sequence: u64,
    /// When it was recorded, on this node's wall clock.
    pub at: WallMs,
    /// Its kind.
    pub kind: Kind,
    /// Its fields. Long texts are cut.
    pub fields: Vec<(&'static str, Value)>,
}

impl Recorded {
    /// The shard that it is about; 0: the control plane.
    #[must_use]
    pub fn shard(&self) -> Option<GroupId> {
        self.fields.iter().find_map(|(name, value)| match value {
            Value::Unsigned(shard) if *name == "shard" => u32::try_from(*shard).ok().map(GroupId),
            _ => None,
        })
    }

    fn bytes(&self) -> usize {
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
        EVENT_BYTES + self.fields.iter().map(|(_, value)| text(value)).sum::<usize>()
    }
}

/// Which events a reader wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only events after this number.
    pub after: u64,
    /// Only events that were recorded at this time or later.
    pub since: WallMs,
    /// Only events of these kinds; empty: of all.
    pub kinds: BTreeSet<Kind>,
    /// Only events of this shard.
    pub shard: Option<GroupId>,
    /// At most so many; never more than [`EVENTS_PAGE_MAX`].
    pub count_max: usize,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The events, oldest first.
    pub events: Vec<Recorded>,
    /// The number after which the next page starts.
    pub next_after: u64,
    /// Whether there are more events that the reader wants.
    pub more: bool,
    /// Events that were discarded since the process started.
    pub discarded: u64,
}

#[derive(Debug, Default)]
struct JournalEntries {
    newest: u64,
    events: BTreeMap<u64, Recorded>,
    /// The numbers of each kind's events, oldest first.
    of_kind: BTreeMap<Kind, VecDeque<u64>>,
    bytes: usize,
    discarded: u64,
}

impl JournalEntries {
    fn push(&mut self, at: WallMs, event: &Event) {
        self.newest += 1;
        let fields = event.fields().into_iter().map(|(name, value)| (name, cut(value))).collect();
        let recorded = Recorded { sequence: self.newest, at, kind: event.kind(), fields };
        self.bytes += recorded.bytes();
        self.of_kind.entry(recorded.kind).or_default().push_back(self.newest);
        self.events.insert(self.newest, recorded);
        while self.events.len() > EVENTS_MAX || self.bytes > EVENTS_BYTES_MAX {
            self.discard();
        }
    }

    /// Discards the oldest event of the kind with the most events.
    fn discard(&mut self) {
        let most = self.of_kind.values_mut().max_by_key(|numbers| numbers.len());
        let oldest = most.and_then(VecDeque::pop_front).and_then(|number| self.events.remove(&number));
        if let Some(oldest) = oldest {
            self.bytes -= oldest.bytes();
            self.discarded += 1;
        }
    }

    fn page(&self, wanted: &EventFilter) -> Page {
        let is_wanted = |event: &&Recorded| {
            event.at >= wanted.since
                && (wanted.kinds.is_empty() || wanted.kinds.contains(&event.kind))
                && (wanted.shard.is_none() || wanted.shard == event.shard())
        };
        let count_max = wanted.count_max.min(EVENTS_PAGE_MAX);
        let mut found =
            self.events.range((Excluded(wanted.after), Unbounded)).map(|(_, event)| event).filter(is_wanted);
        let events: Vec<_> = found.by_ref().take(count_max).cloned().collect();
        let more = found.next().is_some();
        let last = events.last().map_or(wanted.after, |event| event.sequence);
        let next_after = if more { last } else { self.newest.max(wanted.after) };
        Page { events, next_after, more, discarded: self.discarded }
    }
}

/// Cuts a text that is too long.
fn cut(value: Value) -> Value {
    match value {
        Value::Text(mut text) if text.len() > EVENT_TEXT_BYTES_MAX => {
            let mut end = EVENT_TEXT_BYTES_MAX;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('…');
            Value::Text(text)
        }
        value => value,
    }
}

/// The journal of one node; see the module.
pub struct Journal {
    clock: Arc<dyn Clock>,
    entries: Mutex<JournalEntries>,
    /// Events of each kind since the process started, in the order of [`Kind::TABLE`].
    counts: Vec<AtomicU64>,
    elections: Mutex<BTreeMap<GroupId, Election>>,
    /// How long shards had no primary before this node became theirs, in the order of [`ElectionReason::ALL`].
    failovers: Vec<SpanHistogram>,
}

/// An election that this node has won.
struct Election {
    term: u64,
    reason: ElectionReason,
    /// When the leader before was heard last, as far as this node knows; otherwise when this node was elected.
    since: BootNs,
}

impl Journal {
    /// An empty journal.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Journal {
        let counts = Kind::TABLE.iter().map(|_| AtomicU64::new(0)).collect();
        let failovers = ElectionReason::ALL.iter().map(|_| SpanHistogram::default()).collect();
        Journal { clock, entries: Mutex::default(), counts, elections: Mutex::default(), failovers }
    }

    /// The events that a reader wants, from the oldest.
    #[must_use]
    pub fn page(&self, wanted: &EventFilter) -> Page {
        self.entries.lock().page(wanted)
    }

    /// The names of all kinds, and how many events of each were recorded since the process started.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Kind::TABLE.iter().zip(&self.counts).map(|(facts, count)| (facts.name, count.load(Ordering::Relaxed)))
    }

    /// For each reason of an election: how long it took from when the leader before was last heard until this node
    /// served as primary.
    pub fn failovers(&self) -> impl Iterator<Item = (&'static str, SpanCounts)> {
        ElectionReason::ALL.iter().zip(&self.failovers).map(|(reason, spans)| (reason.name(), spans.read()))
    }

    fn measure_failover(&self, event: &Event) {
        let now = self.clock.boot();
        match *event {
            Event::Elected { shard, term, reason, silent_ms, .. } => {
                let since = BootNs(now.0.saturating_sub(silent_ms.unwrap_or(0) * 1_000_000));
                self.elections.lock().insert(shard, Election { term, reason, since });
            }
            Event::Primary { shard, term, .. } => {
                let won = self.elections.lock().remove(&shard).filter(|won| won.term == term);
                if let Some(won) = won
                    && let Some(spans) = self.failovers.get(won.reason as usize)
                {
                    spans.record(now.since(won.since));
                }
            }
            _ => {}
        }
    }
}

impl EventSink for Journal {
    fn take(&self, event: &Event) {
        if let Some(count) = self.counts.get(event.kind() as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.measure_failover(event);
        self.entries.lock().push(self.clock.wall(), event);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fastness_types::{LogIndex, NodeId};

    use super::*;

    struct Ticks(AtomicU64);

    impl Clock for Ticks {
        fn boot(&self) -> BootNs {
            BootNs(self.0.fetch_add(1, Ordering::Relaxed) * 1_000_000)
        }

        fn wall(&self) -> WallMs {
            WallMs(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    fn journal() -> Journal {
        Journal::new(Arc::new(Ticks(AtomicU64::new(1000))))
    }

    fn all() -> EventFilter {
        EventFilter { count_max: usize::MAX, ..EventFilter::default() }
    }

    fn lost(shard: u32) -> Event {
        Event::LeaseLost { shard: GroupId(shard), term: 1 }
    }

    fn unreachable(reason: String) -> Event {
        Event::PeerUnreachable { peer: NodeId(2), reason }
    }

    #[test]
    fn readers_get_what_they_want_in_pages() {
        let journal = journal();
        for shard in [1, 2, 1, 2, 1] {
            journal.take(&lost(shard));
            journal.take(&unreachable("refused".to_owned()));
        }
        let wanted = EventFilter { shard: Some(GroupId(1)), count_max: 2, ..EventFilter::default() };
        let page = journal.page(&wanted);
        let numbers = |page: &Page| page.events.iter().map(|event| event.sequence).collect::<Vec<_>>();
        assert_eq!((numbers(&page), page.next_after, page.more), (vec![1, 5], 5, true));
        let page = journal.page(&EventFilter { after: page.next_after, ..wanted.clone() });
        assert_eq!((numbers(&page), page.next_after, page.more), (vec![9], 10, false), "continues after the newest");
        assert_eq!(numbers(&journal.page(&EventFilter { after: 10, ..wanted })), Vec::<u64>::new());
        let kinds = [Kind::PeerUnreachable].into();
        assert_eq!(numbers(&journal.page(&EventFilter { kinds, since: page.events[0].at, ..all() })), vec![10]);
        assert_eq!(journal.counts().find(|(name, _)| *name == "lease_lost"), Some(("lease_lost", 5)));
    }

    #[test]
    fn a_kind_that_repeats_does_not_displace_the_others() {
        let journal = journal();
        journal.take(&lost(1));
        for _ in 0..3 * EVENTS_MAX {
            journal.take(&unreachable("refused".to_owned()));
        }
        journal.take(&lost(2));
        let mut wanted = all();
        let mut events = Vec::new();
        loop {
            let page = journal.page(&wanted);
            assert!(page.events.len() <= EVENTS_PAGE_MAX);
            events.extend(page.events);
            wanted.after = page.next_after;
            if !page.more {
                assert_eq!(page.discarded, 2 * EVENTS_MAX as u64 + 2);
                break;
            }
        }
        assert_eq!(events.len(), EVENTS_MAX);
        let shards: Vec<_> = events.iter().filter_map(Recorded::shard).collect();
        assert_eq!(shards, vec![GroupId(1), GroupId(2)]);
        assert!(events.is_sorted_by_key(|event| event.sequence));
    }

    #[test]
    fn failovers_are_measured_from_the_leaders_last_sign_to_the_first_service() {
        let journal = journal();
        let shard = GroupId(1);
        let elected = |term, reason, silent_ms| Event::Elected { shard, term, reason, leader_before: None, silent_ms };
        let primary = |term| Event::Primary { shard, term, index: LogIndex(9) };
        journal.take(&elected(3, ElectionReason::LeaderSilent, Some(700)));
        journal.take(&primary(3));
        // Already counted, and of another term.
        journal.take(&primary(3));
        journal.take(&elected(4, ElectionReason::HandOver, None));
        journal.take(&primary(5));
        let counted: Vec<_> = journal.failovers().filter(|(_, spans)| spans.total_us > 0).collect();
        assert!(matches!(counted[..], [("leader-silent", spans)] if (700_000..800_000).contains(&spans.total_us)));
    }

    #[test]
    fn long_texts_are_cut_and_bytes_are_bounded() {
        let journal = journal();
        for _ in 0..EVENTS_MAX {
            journal.take(&unreachable("ä".repeat(EVENT_TEXT_BYTES_MAX)));
        }
        let entries = journal.entries.lock();
        assert!(entries.bytes <= EVENTS_BYTES_MAX && entries.events.len() < EVENTS_MAX);
        let real: usize = entries.events.values().map(Recorded::bytes).sum();
        assert_eq!(real, entries.bytes);
        let texts = entries.events.values().flat_map(|event| &event.fields).filter_map(|(_, value)| match value {
            Value::Text(text) => Some(text.len()),
            _ => None,
        });
        assert!(texts.max().unwrap() <= EVENT_TEXT_BYTES_MAX + '…'.len_utf8());
    }
}
