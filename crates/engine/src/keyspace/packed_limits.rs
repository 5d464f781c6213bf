//! Up to which size values are packed: hashes, sets and sorted sets, the nodes of lists and streams, and HyperLogLogs.

use fastness_types::limits::IMAGE_RECORD_BYTES_MAX;

/// The limits, with the meaning of Valkey's options. They decide how a value is stored and what OBJECT ENCODING
/// reports, never what it is: replicas with other limits hold the same data. A value that is stored already keeps its
/// form until it is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedLimits {
    /// The most fields of a packed hash: `hash-max-listpack-entries`.
    pub hash_fields: u64,
    /// The longest field and value of a packed hash, bytes: `hash-max-listpack-value`.
    pub hash_text: u64,
    /// The most members of a packed set of integers: `set-max-intset-entries`.
    pub set_ints: u64,
    /// The most members of a packed set of texts: `set-max-listpack-entries`.
    pub set_texts: u64,
    /// The longest text of a packed set, bytes: `set-max-listpack-value`.
    pub set_text: u64,
    /// The most members of a packed sorted set: `zset-max-listpack-entries`.
    pub zset_members: u64,
    /// The longest member of a packed sorted set, bytes: `zset-max-listpack-value`.
    pub zset_name: u64,
    /// The most elements of a node of a list, or below 0 a class of sizes: `list-max-listpack-size`.
    pub list_node: i64,
    /// The length from which a node of a stream gets no further entry, bytes; 0: the most
    /// ([`PackedLimits::STREAM_NODE_BYTES_MAX`]): `stream-node-max-bytes`.
    pub stream_node_bytes: u64,
    /// The most entries of a node of a stream; 0: no limit but the bytes: `stream-node-max-entries`.
    pub stream_node_entries: u64,
    /// The longest sparse HyperLogLog with its header, bytes: `hll-sparse-max-bytes`.
    pub hll_sparse_bytes: u64,
}

const _: () = assert!(PackedLimits::PARTS_MAX < u16::MAX as u64 && PackedLimits::TEXT_MAX <= u8::MAX as u64);
const _: () = assert!(PackedLimits::PARTS_MAX * 2 * (PackedLimits::TEXT_MAX + 2) < IMAGE_RECORD_BYTES_MAX as u64);

impl PackedLimits {
    /// Upper bound on the numbers of fields and members: a packed value is read from its start, copied when it changes,
    /// and one record of an image.
    pub const PARTS_MAX: u64 = 512;
    /// Upper bound on the lengths: a packed value has one byte for each.
    pub const TEXT_MAX: u64 = 128;
    /// Upper bound on `stream_node_bytes`: a node is read from its start, and copied when it changes while an image or
    /// an undo record has it.
    pub const STREAM_NODE_BYTES_MAX: u64 = 64 << 10;
    /// What any packed value may have: those of images keep their form.
    pub const MOST: PackedLimits = PackedLimits {
        hash_fields: Self::PARTS_MAX,
        hash_text: Self::TEXT_MAX,
        set_ints: Self::PARTS_MAX,
        set_texts: Self::PARTS_MAX,
        set_text: Self::TEXT_MAX,
        zset_members: Self::PARTS_MAX,
        zset_name: Self::TEXT_MAX,
        list_node: -5,
        stream_node_bytes: Self::STREAM_NODE_BYTES_MAX,
        stream_node_entries: 0,
        hll_sparse_bytes: u64::MAX,
    };

    /// These limits within their upper bounds.
    #[must_use]
    pub fn bounded(self) -> PackedLimits {
        PackedLimits {
            hash_fields: self.hash_fields.min(Self::PARTS_MAX),
            hash_text: self.hash_text.min(Self::TEXT_MAX),
            set_ints: self.set_ints.min(Self::PARTS_MAX),
            set_texts: self.set_texts.min(Self::PARTS_MAX),
            set_text: self.set_text.min(Self::TEXT_MAX),
            zset_members: self.zset_members.min(Self::PARTS_MAX),
            zset_name: self.zset_name.min(Self::TEXT_MAX),
            stream_node_bytes: match self.stream_node_bytes {
                0 => Self::STREAM_NODE_BYTES_MAX,
                bytes => bytes.min(Self::STREAM_NODE_BYTES_MAX),
            },
            ..self
        }
    }

    /// Whether a hash of so many fields may be packed.
    #[must_use]
    pub fn takes_fields(self, count: usize) -> bool {
        count as u64 <= self.hash_fields
    }

    /// Whether a packed hash may have this field or value.
    #[must_use]
    pub fn takes_text(self, text: &[u8]) -> bool {
        text.len() as u64 <= self.hash_text
    }

    /// Whether a sorted set of so many members may be packed.
    #[must_use]
    pub fn takes_members(self, count: usize) -> bool {
        count as u64 <= self.zset_members
    }

    /// Whether a packed sorted set may have a member of this name.
    #[must_use]
    pub fn takes_name(self, name: &[u8]) -> bool {
        name.len() as u64 <= self.zset_name
    }
}

/// Valkey's defaults.
impl Default for PackedLimits {
    fn default() -> Self {
        PackedLimits {
            hash_fields: 512,
            hash_text: 64,
            set_ints: 512,
            set_texts: 128,
            set_text: 64,
            zset_members: 128,
            zset_name: 64,
            list_node: -2,
            stream_node_bytes: 4_096,
            stream_node_entries: 100,
            hll_sparse_bytes: 3_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn with(limits: PackedLimits) -> Bench {
        let mut bench = Bench::new();
        bench.engine.set_packed_limits(limits);
        bench
    }

    #[test]
    fn lower_limits_make_tables_earlier() {
        let few =
            PackedLimits { hash_fields: 2, set_ints: 2, set_texts: 2, zset_members: 2, ..PackedLimits::default() };
        let mut bench = with(few);
        bench.script("HSET h a 1 b 2 => :2 | OBJECT ENCODING h => $8 listpack | HSET h c 3 => :1");
        bench.script("OBJECT ENCODING h => $9 hashtable | HGET h a => $1 1");
        bench.script("ZADD z 1 a 2 b => :2 | OBJECT ENCODING z => $8 listpack | ZADD z 3 c => :1");
        bench.script("OBJECT ENCODING z => $8 skiplist | ZRANK z a => :0");
        bench.script("SADD s 1 2 => :2 | OBJECT ENCODING s => $6 intset | SADD s 3 => :1");
        bench.script("OBJECT ENCODING s => $9 hashtable | SCARD s => :3");
        bench.script("SADD t a b => :2 | OBJECT ENCODING t => $8 listpack | SADD t c => :1");
        bench.script("OBJECT ENCODING t => $9 hashtable | SISMEMBER t a => :1");
        let short = PackedLimits { hash_text: 2, set_text: 2, zset_name: 2, ..PackedLimits::default() };
        let mut bench = with(short);
        bench.script("HSET h a 12 => :1 | OBJECT ENCODING h => $8 listpack | HSET h a 123 => :0");
        bench.script("OBJECT ENCODING h => $9 hashtable");
        bench.script("ZADD z 1 ab => :1 | OBJECT ENCODING z => $8 listpack | ZADD z 1 abc => :1");
        bench.script("OBJECT ENCODING z => $8 skiplist");
        bench.script("SADD s ab => :1 | OBJECT ENCODING s => $8 listpack | SADD s abc => :1");
        bench.script("OBJECT ENCODING s => $9 hashtable");
    }

    #[test]
    fn no_value_is_packed_at_zero() {
        let none =
            PackedLimits { hash_fields: 0, set_ints: 0, set_texts: 0, zset_members: 0, ..PackedLimits::default() };
        let mut bench = with(none);
        bench.script("HSET h a 1 => :1 | OBJECT ENCODING h => $9 hashtable");
        bench.script("ZADD z 1 a => :1 | OBJECT ENCODING z => $8 skiplist");
        bench.script("SADD s 1 => :1 | OBJECT ENCODING s => $9 hashtable");
        bench.script("SADD t a => :1 | OBJECT ENCODING t => $9 hashtable");
    }

    /// Valkey then keeps a short set of integers as a listpack.
    #[test]
    fn integers_may_be_packed_as_texts() {
        let mut bench = with(PackedLimits { set_ints: 0, ..PackedLimits::default() });
        bench.script("SADD s 1 => :1 | OBJECT ENCODING s => $8 listpack");
    }

    #[test]
    fn limits_have_upper_bounds() {
        let all = u64::MAX;
        let limits = PackedLimits {
            hash_fields: all,
            hash_text: all,
            set_ints: all,
            set_texts: all,
            set_text: all,
            zset_members: all,
            zset_name: all,
            list_node: i64::MIN,
            stream_node_bytes: all,
            stream_node_entries: all,
            hll_sparse_bytes: all,
        };
        let mut bench = with(limits);
        let (fits, long) = ("v".repeat(128), "v".repeat(129));
        bench.script(&format!("ZADD z 1 {fits} => :1 | OBJECT ENCODING z => $8 listpack | ZADD z 1 {long} => :1"));
        bench.script("OBJECT ENCODING z => $8 skiplist");
    }
}
