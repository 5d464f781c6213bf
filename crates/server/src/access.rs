//! What was refused to clients: counters, and the entries of ACL LOG. One per node.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use fastness_types::WallMs;
use parking_lot::Mutex;

/// An entry that is as the newest refusal, and not older than this, counts it (milliseconds).
const SAME_MS: u64 = 60_000;

/// What was lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// A right user and password.
    Auth,
    /// The right to a command.
    Command,
    /// The right to a key.
    Key,
    /// The right to a channel.
    Channel,
    /// The right to a database.
    Database,
}

impl Lacking {
    /// All of them.
    pub const ALL: [Lacking; 5] = [Lacking::Auth, Lacking::Command, Lacking::Key, Lacking::Channel, Lacking::Database];

    /// As ACL LOG has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Lacking::Auth => "auth",
            Lacking::Command => "command",
            Lacking::Key => "key",
            Lacking::Channel => "channel",
            Lacking::Database => "database",
        }
    }
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What was lacking.
    pub lacking: Lacking,
    /// `toplevel`, or `multi` in EXEC.
    pub context: &'static str,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// The user; of a failed attempt to authenticate the name that was given.
    pub user: Vec<u8>,
    /// The connection, as CLIENT LIST shows it.
    pub client: Vec<u8>,
}

/// An entry of ACL LOG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Rises by one with each entry of this process, from 0.
    pub id: u64,
    /// How many refusals it counts.
    pub count: u64,
    /// The newest of them.
    pub refused: Refused,
    /// When the first one was.
    pub created: WallMs,
    /// When the newest one was.
    pub updated: WallMs,
}

/// Longest object and user name that an entry keeps, bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct AccessLog {
    entries: Mutex<Entries>,
    counts: [AtomicU64; 5],
}

#[derive(Debug, Default)]
struct Entries {
    /// Newest first.
    newest_first: VecDeque<LogEntry>,
    next_id: u64,
}

impl AccessLog {
    /// Counts a refusal and notes it among at most `len_max` entries (`acllog-max-len`).
    pub fn note(&self, mut refused: Refused, now: WallMs, len_max: usize) {
        self.counts[refused.lacking as usize].fetch_add(1, Ordering::Relaxed);
        refused.object.truncate(TEXT_BYTES_MAX);
        refused.user.truncate(TEXT_BYTES_MAX);
        let entries = &mut *self.entries.lock();
        let is_same = |entry: &LogEntry| {
            let Refused { lacking, context, object, user, .. } = &entry.refused;
            (*lacking, *context, object, user) == (refused.lacking, refused.context, &refused.object, &refused.user)
                && now.0.saturating_sub(entry.created.0) <= SAME_MS
        };
        let entry = match entries.newest_first.iter().position(is_same).and_then(|at| entries.newest_first.remove(at)) {
            Some(known) => LogEntry { count: known.count + 1, refused, updated: now, ..known },
            None => {
                let id = entries.next_id;
                entries.next_id += 1;
                LogEntry { id, count: 1, refused, created: now, updated: now }
            }
        };
        entries.newest_first.push_front(entry);
        entries.newest_first.truncate(len_max);
    }

    /// The newest entries, newest first.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<LogEntry> {
        self.entries.lock().newest_first.iter().take(count).cloned().collect()
    }

    /// Forgets all entries.
    pub fn reset(&self) {
        self.entries.lock().newest_first.clear();
    }

    /// How many there were of one kind.
    #[must_use]
    pub fn count(&self, lacking: Lacking) -> u64 {
        self.counts[lacking as usize].load(Ordering::Relaxed)
    }

    /// Starts to count anew, as CONFIG RESETSTAT does.
    pub fn reset_counts(&self) {
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(object: &str) -> Refused {
        Refused {
            lacking: Lacking::Key,
            context: "toplevel",
            object: object.into(),
            user: b"alice".to_vec(),
            client: b"id=1".to_vec(),
        }
    }

    #[test]
    fn equal_refusals_are_one_entry_for_a_minute() {
        let log = AccessLog::default();
        log.note(refused("a"), WallMs(1_000), 10);
        log.note(refused("b"), WallMs(2_000), 10);
        log.note(refused("a"), WallMs(61_000), 10);
        let seen = |log: &AccessLog| log.newest(10).iter().map(|e| (e.id, e.count, e.updated.0)).collect::<Vec<_>>();
        assert_eq!(seen(&log), [(0, 2, 61_000), (1, 1, 2_000)]);
        log.note(refused("a"), WallMs(61_001), 10);
        assert_eq!(seen(&log), [(2, 1, 61_001), (0, 2, 61_000), (1, 1, 2_000)]);
        assert_eq!((log.count(Lacking::Key), log.count(Lacking::Auth)), (4, 0));
        log.reset();
        assert_eq!((log.newest(10).len(), log.count(Lacking::Key)), (0, 4));
        log.reset_counts();
        assert_eq!(log.count(Lacking::Key), 0);
    }

    #[test]
    fn the_log_is_bounded() {
        let log = AccessLog::default();
        for i in 0..5 {
            log.note(refused(&i.to_string().repeat(2 * TEXT_BYTES_MAX)), WallMs(i), 3);
        }
        let ids: Vec<_> = log.newest(2).iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [4, 3]);
        assert_eq!(log.newest(100).len(), 3);
        assert!(log.newest(1).iter().all(|entry| entry.refused.object.len() == TEXT_BYTES_MAX));
        log.note(refused("x"), WallMs(9), 0);
        assert!(log.newest(100).is_empty());
    }
}
