//! Checks that the table of limits in `crates/LIMITS.md` and the constants in `src/limits.rs` agree.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use fastness_types::limits;

/// Parses the form in which the table writes a constant.
trait Written {
    fn is_written(&self, text: &str) -> bool;
}

impl Written for usize {
    fn is_written(&self, text: &str) -> bool {
        let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
        let unit = match unit {
            "" => 1,
            "bytes" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return false,
        };
        number.replace(',', "").parse::<usize>().is_ok_and(|number| number * unit == *self)
    }
}

impl Written for u64 {
    fn is_written(&self, text: &str) -> bool {
        (*self as usize).is_written(text)
    }
}

impl Written for u32 {
    fn is_written(&self, text: &str) -> bool {
        (*self as usize).is_written(text)
    }
}

impl Written for std::time::Duration {
    fn is_written(&self, text: &str) -> bool {
        let (number, unit) = text.split_once(' ').unwrap_or_default();
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            _ => return false,
        };
        number.parse::<u128>().is_ok_and(|number| number * unit_ms == self.as_millis())
    }
}

macro_rules! constants {
    ($($name:ident),* $(,)?) => {
        BTreeMap::from([$((stringify!($name), Box::new(limits::$name) as Box<dyn Written>)),*])
    };
}

/// All constants of the module; the test names one that is missing here.
fn constants() -> BTreeMap<&'static str, Box<dyn Written>> {
    let mut constants = of_clients();
    constants.extend(of_channels());
    constants.extend(of_shards_and_peers());
    constants
}

fn of_clients() -> BTreeMap<&'static str, Box<dyn Written>> {
    constants![
        VALUE_BYTES_MAX,
        KEY_BYTES_MAX,
        UNIT_BYTES_MAX,
        UNIT_FLUSHES_MAX,
        TRANSACTION_BYTES_MAX,
        RESTORED_BYTES_MAX,
        UNREAD_MAX,
        LOG_WAIT_MAX,
        GRPC_MESSAGE_BYTES_MAX,
        GRPC_CALLS_MAX,
        GRPC_PIPELINE_MAX,
        GRPC_PIPELINE_BYTES_MAX,
        IDEMPOTENCY_CLIENT_BYTES_MAX,
        IDEMPOTENCY_REPLY_BYTES_MAX,
        IDEMPOTENCY_CLIENT_RECORDS_MAX,
        IDEMPOTENCY_BYTES_MAX,
        IDEMPOTENCY_AGE_MAX,
        IDEMPOTENCY_AHEAD_MAX,
        GRPC_WINDOW_BYTES,
        GRPC_CONNECTION_WINDOW_BYTES,
        WATCHERS_MAX,
        WATCH_FILTERS_MAX,
        WATCH_FILTER_BYTES_MAX,
        WATCH_VALUE_BYTES_MAX,
        WATCH_VALUES_BYTES_MAX,
        WATCH_MESSAGE_BYTES,
        WATCH_BUFFER_BYTES_MAX,
        WATCH_STALL_MAX,
        WATCH_LARGE_BATCHES_MAX,
        WATCH_LARGE_TIME_MAX,
        WATCH_MEMORY_BYTES_MAX,
        TOPOLOGY_STREAMS_MAX,
        SCRIPT_BYTES_MAX,
        LIBRARIES_MAX,
        LIBRARIES_BYTES_MAX,
        SCRIPT_CACHE_BYTES_MAX,
        SCRIPT_SLICE,
        SCRIPT_TIME_MAX,
        CONNECTION_SOURCES_MAX,
        SORT_LOOK_UPS_MAX,
        USERS_MAX,
        USER_NAME_BYTES_MAX,
        USERS_BYTES_MAX,
        CONTROL_LOG_ENTRIES_MAX,
        CONTROL_LOG_BYTES_MAX,
        CONTROL_SNAPSHOT_BYTES_MAX,
        AUTH_FAILURES_MAX,
        AUTH_FAILURE_EVERY,
        AUTH_SOURCES_MAX,
        EVENTS_MAX,
        EVENTS_BYTES_MAX,
        EVENT_TEXT_BYTES_MAX,
        EVENTS_PAGE_MAX,
        FIGURES_SLOTS_MAX,
        FIGURES_SLOW_COMMANDS_MAX,
    ]
}

fn of_channels() -> BTreeMap<&'static str, Box<dyn Written>> {
    constants![
        CHANNEL_BYTES_MAX,
        CHANNEL_PATTERN_BYTES_MAX,
        CHANNEL_MESSAGE_BYTES_MAX,
        NOTIFICATION_BYTES_MAX,
        SUBSCRIPTIONS_PER_CLIENT_MAX,
        SUBSCRIPTIONS_MAX,
        CHANNEL_PATTERNS_MAX,
        CHANNEL_MATCH_TIME_MAX,
        DELIVERY_BYTES_MAX,
        CHANNEL_INBOX_BYTES_MAX,
        CHANNEL_LINK_BYTES_MAX,
        TRACKING_BYTES_MAX,
        TRACKING_PENDING_BYTES_MAX,
        TRACKING_PREFIX_BYTES_MAX,
        TRACKING_PREFIXES_PER_CLIENT_MAX,
        TRACKING_PREFIXES_MAX,
    ]
}

fn of_shards_and_peers() -> BTreeMap<&'static str, Box<dyn Written>> {
    constants![
        EXPIRY_UNIT_BYTES_MAX,
        EXPIRY_UNIT_KEYS_MAX,
        ENTRY_BYTES_MAX,
        BATCH_BYTES_MAX,
        FRAGMENT_BYTES_MAX,
        BATCH_BYTES_SOFT,
        BATCHES_IN_FLIGHT_MAX,
        OPEN_EFFECT_BYTES_MAX,
        UNDO_BYTES_MAX,
        IMAGE_RECORD_BYTES_MAX,
        SNAPSHOT_QUEUE_BYTES_MAX,
        FRAME_BYTES_MAX,
        MESSAGE_BYTES_MAX,
        LOG_TAIL_BYTES_MAX,
        CAUGHT_UP_ENTRIES_MAX,
        CAUGHT_UP_BYTES_MAX,
        PEER_HANDSHAKES_MAX,
        PEER_HANDSHAKE_TIME_MAX,
        PEER_CONNECTIONS_MAX,
        READ_CONFIRM_MAX,
        SETTINGS_SILENCE_MAX,
        SETTINGS_BEHIND_MAX,
        OUTBOUND_STREAMS_MAX,
        OUTBOUND_QUEUE_BYTES_MAX,
        OUTBOUND_STALL_MAX,
        OUTBOUND_SNAPSHOT_WAIT_MAX,
        OUTBOUND_LARGE_BATCHES_MAX,
        OUTBOUND_LARGE_TIME_MAX,
        DURABILITY_LAG_MAX,
        LOOP_STALL_MAX,
        UNIT_TIME_MAX,
        LEASE_WAIT_MAX,
        CONNECTION_SLICE,
    ]
}

#[test]
fn the_table_of_limits_agrees_with_the_constants() {
    let constants = constants();
    let source = include_str!("../src/limits.rs");
    let in_source = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    for name in in_source {
        assert!(constants.contains_key(name), "{name} is missing in this test, and perhaps in LIMITS.md");
    }
    let table = include_str!("../../LIMITS.md");
    let mut rows = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, value, bounds, at_the_bound] = cells[..] else { panic!("a row has four cells: {row}") };
        let name = name.trim_matches('`');
        let constant = constants.get(name).unwrap_or_else(|| panic!("LIMITS.md names {name}, which is not a constant"));
        assert!(constant.is_written(value), "LIMITS.md says that {name} is {value}");
        assert!(!bounds.is_empty() && !at_the_bound.is_empty(), "{name}: what it bounds, and what happens then");
        assert!(rows.insert(name), "{name} has two rows");
    }
    for name in constants.keys() {
        assert!(rows.contains(name), "{name} has no row in LIMITS.md");
    }
}

/// Relations between limits that other code relies on.
#[test]
fn the_limits_fit_together() {
    use limits::*;
    const { assert!(UNIT_BYTES_MAX >= VALUE_BYTES_MAX + 2 * KEY_BYTES_MAX) };
    const { assert!(KEY_BYTES_MAX < ENTRY_BYTES_MAX) };
    const { assert!(BATCH_BYTES_SOFT <= ENTRY_BYTES_MAX && EXPIRY_UNIT_BYTES_MAX <= ENTRY_BYTES_MAX) };
    const { assert!(MESSAGE_BYTES_MAX > ENTRY_BYTES_MAX) };
    const { assert!(FRAGMENT_BYTES_MAX + FRAME_BYTES_MAX <= ENTRY_BYTES_MAX && UNIT_BYTES_MAX < BATCH_BYTES_MAX) };
    const { assert!(IMAGE_RECORD_BYTES_MAX < SNAPSHOT_QUEUE_BYTES_MAX && SNAPSHOT_QUEUE_BYTES_MAX < MESSAGE_BYTES_MAX) };
    const { assert!(FRAME_BYTES_MAX <= ENTRY_BYTES_MAX) };
    const { assert!(BATCHES_IN_FLIGHT_MAX >= 1) };
}
