//! Values as they are stored, for those who read committed data outside of commands.

use crate::engine::Engine;
use crate::hash::Hash;
use crate::keyspace::{Key, ValueRef};
use crate::list::List;
use crate::set::{Set, SetMember};
use crate::zset::SortedSet;
use fastness_types::WallMs;

/// A key's value with its deadline. What is past its deadline and not removed is still stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub value: StoredValue,
    /// When the key expires; absent: never.
    pub deadline: Option<WallMs>,
}

/// A copy of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredValue {
    /// A string.
    String(Vec<u8>),
    /// A hash.
    Hash(Vec<StoredField>),
    /// A set.
    Set(Vec<Vec<u8>>),
    /// A list.
    List(Vec<Vec<u8>>),
    /// A sorted set, in order: its members with their scores.
    SortedSet(Vec<StoredMember>),
    /// A value of about so many bytes, which is longer than was asked for.
    Long(u64),
    /// A value of a type that this function does not read.
    OtherType,
}

/// A field of a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredField {
    /// Its name.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// When it expires; absent: never.
    pub deadline: Option<WallMs>,
}

/// A member of a sorted set. Scores are equal if their bits are.
#[derive(Debug, Clone)]
pub struct StoredMember {
    /// Its name.
    pub name: Vec<u8>,
    /// Its score, which is not NaN.
    pub score: f64,
}

impl PartialEq for StoredMember {
    fn eq(&self, other: &StoredMember) -> bool {
        (&self.name, self.score.to_bits()) == (&other.name, other.score.to_bits())
    }
}

impl Eq for StoredMember {}

impl StoredValue {
    /// Bytes of the copy.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            StoredValue::String(text) => text.len(),
            StoredValue::Hash(fields) => fields.iter().map(|field| field.name.len() + field.value.len()).sum(),
            StoredValue::Set(members) => members.iter().map(Vec::len).sum(),
            StoredValue::List(elements) => elements.iter().map(Vec::len).sum(),
            StoredValue::SortedSet(members) => members.iter().map(|member| member.name.len() + size_of::<f64>()).sum(),
            StoredValue::Long(_) | StoredValue::OtherType => 0,
        }
    }
}

impl Engine {
    /// A copy of what is stored at a key, if it has at most `bytes_max` bytes; absent: there is no such key.
    #[must_use]
    pub fn stored(&self, key: &Key<'_>, bytes_max: usize) -> Option<Stored> {
        let entry = self.keyspace().find(key)?;
        let value = entry.value();
        let stored = if let Some(length) = value.text_len() {
            match value.text(&mut itoa::Buffer::new()) {
                Some(text) if length <= bytes_max => StoredValue::String(text.to_vec()),
                _ => StoredValue::Long(length as u64),
            }
        } else if let Some(list) = List::of(value) {
            match list.heap_bytes() {
                bytes if bytes > bytes_max => StoredValue::Long(bytes as u64),
                _ => StoredValue::List(list.texts().collect()),
            }
        } else {
            stored_hash(value, bytes_max)
                .or_else(|| stored_set(value, bytes_max))
                .or_else(|| stored_sorted_set(value, bytes_max))
                .unwrap_or(StoredValue::OtherType)
        };
        Some(Stored { value: stored, deadline: entry.deadline() })
    }
}

/// A copy of a hash, with fields past their deadline: they are stored.
fn stored_hash(value: ValueRef<'_>, bytes_max: usize) -> Option<StoredValue> {
    let hash = Hash::of(value, WallMs(0))?;
    if hash.heap_bytes() > bytes_max {
        return Some(StoredValue::Long(hash.heap_bytes() as u64));
    }
    let fields = hash.iter_with_deadlines().map(|((name, value), deadline)| StoredField {
        name: name.to_vec(),
        value: value.to_vec(),
        deadline,
    });
    Some(StoredValue::Hash(fields.collect()))
}

/// A copy of a set.
fn stored_set(value: ValueRef<'_>, bytes_max: usize) -> Option<StoredValue> {
    let set = Set::of(value)?;
    if set.heap_bytes() > bytes_max {
        return Some(StoredValue::Long(set.heap_bytes() as u64));
    }
    Some(StoredValue::Set(set.iter().map(SetMember::to_vec).collect()))
}

/// A copy of a sorted set.
fn stored_sorted_set(value: ValueRef<'_>, bytes_max: usize) -> Option<StoredValue> {
    let set = SortedSet::of(value)?;
    if set.heap_bytes() > bytes_max {
        return Some(StoredValue::Long(set.heap_bytes() as u64));
    }
    let member = |(name, score): (&[u8], f64)| StoredMember { name: name.to_vec(), score };
    Some(StoredValue::SortedSet(set.iter().map(member).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn values_are_read_as_they_are_stored() {
        let mut bench = Bench::new();
        let run = |bench: &mut Bench, line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            bench.run(&words)
        };
        let at = bench.now;
        for line in ["SET n 17", "SET s text PX 5", "HSET h a 1 b 2", "HPEXPIRE h 5 FIELDS 1 b", "SADD set 7 5"] {
            run(&mut bench, line);
        }
        let read = |bench: &Bench, key: &'static str, max| bench.engine.stored(&bench.engine.key(key.as_bytes()), max);
        let string = |text: &str, deadline| Some(Stored { value: StoredValue::String(text.into()), deadline });
        let deadline = Some(WallMs(at.0 + 5));
        // What is past its deadline is stored until an effect removes it.
        bench.now = WallMs(at.0 + 100);
        assert_eq!(read(&bench, "n", 2), string("17", None));
        assert_eq!(read(&bench, "n", 1).map(|stored| stored.value), Some(StoredValue::Long(2)));
        assert_eq!(read(&bench, "s", 100), string("text", deadline));
        assert_eq!(read(&bench, "none", 100), None);
        let Some(Stored { value: StoredValue::Hash(mut fields), deadline: None }) = read(&bench, "h", 10_000) else {
            panic!("no hash")
        };
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let field =
            |name: &str, value: &str, deadline| StoredField { name: name.into(), value: value.into(), deadline };
        assert_eq!(fields, [field("a", "1", None), field("b", "2", deadline)]);
        run(&mut bench, "RPUSH l a 17");
        let list = StoredValue::List(vec![b"a".to_vec(), b"17".to_vec()]);
        assert_eq!(read(&bench, "l", 100).map(|stored| stored.value), Some(list));
        assert!(matches!(read(&bench, "l", 3), Some(Stored { value: StoredValue::Long(4..), .. })));
        assert!(matches!(read(&bench, "h", 10), Some(Stored { value: StoredValue::Long(11..), .. })));
        let set = StoredValue::Set(vec![b"5".to_vec(), b"7".to_vec()]);
        assert_eq!(set.bytes(), 2);
        assert_eq!(read(&bench, "set", 100), Some(Stored { value: set, deadline: None }));
        assert!(matches!(read(&bench, "set", 5), Some(Stored { value: StoredValue::Long(6..), .. })));
        run(&mut bench, "ZADD z 2 b 1.5 a");
        let member = |name: &str, score| StoredMember { name: name.into(), score };
        let members = StoredValue::SortedSet(vec![member("a", 1.5), member("b", 2.0)]);
        assert_eq!(read(&bench, "z", 100).map(|stored| stored.value), Some(members));
        assert!(matches!(read(&bench, "z", 10), Some(Stored { value: StoredValue::Long(11..), .. })));
    }
}
