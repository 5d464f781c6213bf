//! What DEBUG shows of single keys. The command itself is the server's, because it needs its options. Nothing here
//! hides keys that have expired, or changes access times.

use crate::command::types::dump_forms;
use crate::digest::{self, Digest};
use crate::engine::Engine;
use crate::keyspace::{Entry, PackedLimits};
use crate::list::List;
use crate::types;
use fastness_types::WallMs;

/// What DUMP has around the value: the type before, version and checksum after it, bytes.
const DUMP_FRAME_BYTES: usize = 1 + 2 + 8;
/// The access time has 24 bits of seconds.
const ACCESS_MASK: u32 = 0x00ff_ffff;

/// The digest of a value and its deadline: equal for keys that hold the same, whatever their names and encodings.
/// `None`: the key is missing.
#[must_use]
pub fn digest_of(engine: &Engine, key: &[u8]) -> Option<Digest> {
    engine.keyspace().find(&engine.key(key)).map(digest::of_value)
}

/// How a value is stored, as DEBUG OBJECT says it. `measured`: with the length of its serialized form, which has to be
/// made for that. `None`: the key is missing.
#[must_use]
pub fn describe(engine: &Engine, key: &[u8], now: WallMs, measured: bool) -> Option<String> {
    let entry = engine.keyspace().find(&engine.key(key))?;
    let dumped = || {
        let form = dump_forms().find(|form| form.of == entry.value().of())?;
        (form.dump)(entry, now).map(|payload| payload.len().saturating_sub(DUMP_FRAME_BYTES))
    };
    let length = if measured { dumped() } else { None };
    let length = length.map(|bytes| format!(" serializedlength:{bytes}")).unwrap_or_default();
    let idle = ((now.0 / 1000) as u32).wrapping_sub(entry.access()) & ACCESS_MASK;
    let (encoding, access) = (types::encoding(entry), entry.access() & ACCESS_MASK);
    let nodes = described_nodes(entry, engine.keyspace().packed_limits()).unwrap_or_default();
    Some(format!(
        "Value at:{entry:p} refcount:1 encoding:{encoding}{length} lru:{access} lru_seconds_idle:{idle}{nodes}"
    ))
}

/// The nodes of a list that Valkey stores as a quicklist. They are not compressed.
fn described_nodes(entry: &Entry, limits: PackedLimits) -> Option<String> {
    let (count, bytes) = List::of(entry.value())?.quicklist()?;
    let average = List::of(entry.value())?.len() as f64 / count.max(1) as f64;
    let max = limits.list_node;
    Some(format!(
        " ql_nodes:{count} ql_avg_node:{average:.2} ql_listpack_max:{max} ql_compressed:0 ql_uncompressed_size:{bytes}"
    ))
}

/// The encoding of a value and the bytes that it takes on the heap. `None`: the key is missing.
#[must_use]
pub fn footprint(engine: &Engine, key: &[u8]) -> Option<(&'static str, usize)> {
    engine.keyspace().find(&engine.key(key)).map(|entry| (types::encoding(entry), entry.heap_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn equal_values_have_equal_digests_whatever_their_names_and_encodings() {
        let mut bench = Bench::new();
        bench.run(&[b"SET", b"a", b"12"]);
        bench.run(&[b"SET", b"b", b"1"]);
        bench.run(&[b"APPEND", b"b", b"2"]);
        bench.run(&[b"RPUSH", b"{a}list", b"x", b"y"]);
        bench.run(&[b"COPY", b"{a}list", b"{a}copy"]);
        bench.run(&[b"RPUSH", b"turned", b"y", b"x"]);
        let digest = |bench: &Bench, key: &[u8]| digest_of(&bench.engine, key);
        assert!(digest(&bench, b"a").is_some());
        assert_eq!(digest(&bench, b"a"), digest(&bench, b"b"));
        assert_eq!(digest(&bench, b"{a}list"), digest(&bench, b"{a}copy"));
        assert_ne!(digest(&bench, b"{a}list"), digest(&bench, b"turned"));
        let before = digest(&bench, b"a");
        bench.run(&[b"PEXPIRE", b"a", b"1000"]);
        assert_ne!(digest(&bench, b"a"), before);
        assert_eq!(digest(&bench, b"missing"), None);
    }

    #[test]
    fn a_value_is_described_as_valkey_does() {
        let mut bench = Bench::new();
        bench.run(&[b"SET", b"a", b"hello"]);
        let now = WallMs(bench.now.0 + 2_500);
        let line = describe(&bench.engine, b"a", now, true).unwrap();
        assert!(line.starts_with("Value at:0x"), "{line}");
        assert!(line.contains(" refcount:1 encoding:embstr serializedlength:6 lru:"), "{line}");
        assert!(line.ends_with(" lru_seconds_idle:2"), "{line}");
        let fast = describe(&bench.engine, b"a", now, false).unwrap();
        assert!(fast.contains(" encoding:embstr lru:"), "{fast}");
        assert_eq!(describe(&bench.engine, b"missing", now, true), None);
        assert_eq!(footprint(&bench.engine, b"a").unwrap().0, "embstr");
        // The line of a Valkey 9.1 server for this list.
        bench.engine.set_packed_limits(PackedLimits { list_node: -1, ..PackedLimits::default() });
        let mut push: Vec<&[u8]> = vec![b"LPUSH", b"l"];
        push.resize(6_002, b"1");
        bench.run(&push);
        bench.run(&[b"SORT", b"l", b"STORE", b"l"]);
        let line = describe(&bench.engine, b"l", now, false).unwrap();
        let nodes = " ql_nodes:3 ql_avg_node:2000.00 ql_listpack_max:-1 ql_compressed:0 ql_uncompressed_size:12021";
        assert!(line.ends_with(nodes), "{line}");
        bench.run(&[b"RPUSH", b"short", b"1"]);
        let line = describe(&bench.engine, b"short", now, false).unwrap();
        assert!(!line.contains("ql_"), "{line}");
    }
}
