//! Tests of `super::entry`: every way to make, change and drop an entry.

use super::cell::TaggedCell;
use super::*;
use crate::keyspace::bucket::Bucket;
use fastness_types::WallMs;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Held {
    Text(Vec<u8>),
    Raw(Vec<u8>),
    Int(i64),
    Packed(u8, Vec<u8>),
    Object(Vec<u8>),
}

impl Held {
    fn new_value(&self) -> NewValue<'_> {
        match self {
            Held::Text(text) => NewValue::Text(text),
            Held::Raw(text) => NewValue::RawText(text),
            Held::Int(number) => NewValue::Int(*number),
            Held::Packed(of, bytes) => NewValue::Packed(Packed { of: TypeNumber(*of), bytes }),
            Held::Object(text) => NewValue::long(Text::own(text.clone())),
        }
    }

    fn is(&self, entry: &Entry) -> bool {
        match (self, entry.value()) {
            (Held::Text(text), ValueRef::Text(held)) => held == text && !entry.is_raw(),
            (Held::Raw(text), ValueRef::Text(held)) => held == text && entry.is_raw(),
            (Held::Int(number), ValueRef::Int(held)) => held == *number,
            (Held::Packed(of, bytes), ValueRef::Packed(held)) => held.of.0 == *of && held.bytes == bytes,
            (Held::Object(text), ValueRef::Long(held)) => **held == text[..],
            _ => false,
        }
    }
}

fn held() -> impl Strategy<Value = Held> {
    let text = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        text().prop_map(Held::Text),
        text().prop_map(Held::Raw),
        any::<i64>().prop_map(Held::Int),
        (0..TypeNumber::END, text()).prop_map(|(of, bytes)| Held::Packed(of, bytes)),
        text().prop_map(Held::Object),
    ]
}

fn deadline() -> impl Strategy<Value = Option<WallMs>> {
    prop::option::of((0..u64::MAX).prop_map(WallMs))
}

fn check(entry: &Entry, key: &[u8], held: &Held, deadline: Option<WallMs>, access: u32) {
    assert_eq!(entry.key(), key);
    assert!(held.is(entry), "{entry:?} holds {held:?}");
    assert_eq!(entry.deadline(), deadline);
    assert_eq!(entry.access(), access);
    assert_eq!(entry.size(), size_class(entry.size()), "a whole class");
}

proptest! {
    #[test]
    fn an_entry_keeps_what_it_is_given(
        key in prop::collection::vec(any::<u8>(), 0..100),
        access in 0u32..1 << 24,
        first in (held(), deadline()),
        changes in prop::collection::vec((held(), deadline()), 0..12),
    ) {
        let (mut now, mut at) = first;
        let mut entry = Entry::new(&key, now.new_value(), at, access);
        check(&entry, &key, &now, at, access);
        for (next, next_at) in changes {
            if entry.overwrite(next.new_value(), next_at).is_err() {
                check(&entry, &key, &now, at, access);
                entry = Entry::new(&key, next.new_value(), next_at, access);
            }
            (now, at) = (next, next_at);
            check(&entry, &key, &now, at, access);
            if entry.set_deadline(None) {
                at = None;
            }
            check(&entry, &key, &now, at, access);
        }
    }

    #[test]
    fn a_cell_gives_back_what_it_holds(key in prop::collection::vec(any::<u8>(), 0..40), held in held()) {
        let mut cell = TaggedCell::<Bucket>::of_entry(Entry::new(&key, held.new_value(), None, 0));
        prop_assert!(cell.chain().is_none() && cell.take_chain().is_none());
        check(cell.entry().unwrap(), &key, &held, None, 0);
        let entry = cell.take_entry().unwrap();
        prop_assert!(cell.is_empty() && cell.entry().is_none() && cell.take_entry().is_none());
        check(&entry, &key, &held, None, 0);
    }
}

#[test]
fn a_removed_object_is_freed_once() {
    let mut entry = Entry::new(b"k", NewValue::long(Text::own(b"text".to_vec())), None, 0);
    assert_eq!(entry.take_object().as_deref(), Some(&Object::text(Text::own(b"text".to_vec()))));
    assert!(entry.take_object().is_none());
    assert!(matches!(entry.value(), ValueRef::Int(0)));
}

#[test]
fn a_same_sized_value_is_written_in_place() {
    let mut entry = Entry::new(b"key", NewValue::Text(b"0123456789"), None, 0);
    let before = entry.key().as_ptr();
    assert!(entry.overwrite(NewValue::Text(b"9876543210"), None).is_ok());
    assert_eq!(entry.key().as_ptr(), before);
    assert!(entry.overwrite(NewValue::Text(&[b'x'; 100]), None).is_err());
}

#[test]
fn a_small_entry_has_a_small_header() {
    assert_eq!(Entry::new(&[b'k'; 16], NewValue::Text(&[b'v'; 100]), None, 0).size(), 128);
    assert_eq!(Entry::new(b"k", NewValue::Int(1), None, 0).size(), 32);
}
