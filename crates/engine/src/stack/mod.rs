//! A data type that exists only in tests: stacks of short texts. It shows what a new type needs: this folder, and one
//! line in each of `types.rs`, `effect/registry.rs` and `command/types.rs`.
//!
//! The tests here are of the engine alone. With the feature `test-type`, which the test kit enables and the shipped
//! binary does not, a server that is started with the variable `FASTNESS_TEST_TYPE` has its commands, too: testkit's
//! `tests/new_type.rs` takes it through log, replication, snapshot files and the transfer to a new node. (A variable,
//! because the commands of other test servers are compared with Valkey's.)
//!
//! A stack of up to four texts is packed: of each its length in one byte, and its bytes. A larger one is a vector
//! outside of the entry, and is never packed again.

use crate::codec::digest::Running;
use crate::codec::rdb::{Input, PayloadError, seal, write_len, write_text};
use crate::command::own::OwnFacts;
use crate::command::spec::{category, fact, flag, key, key_flag};
use crate::command::typed::{DumpForm, Put, TypeCommands};
use crate::command::{Command, Group, KeySpec};
use crate::effect::{Arguments, DecodeError, EffectKeys, Encoder, Impact, TypeEffect};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::image::codec::{ImageError, Loaded, Loading, PackedForm, RecordForm, RecordReader, write_bytes};
use crate::keyspace::value::{Remains, Value, is_equal};
use crate::keyspace::{Entry, ExpiryChange, Key, Keyspace, NewValue, Object, Packed, TypeNumber, ValueRef};
use crate::types::Type;
use fastness_types::WallMs;

#[cfg(test)]
mod tests;

const NUMBER: TypeNumber = TypeNumber(TypeNumber::END - 1);
const PACKED_MAX: usize = 4;
/// Bytes of a text: its length is one byte.
const ITEM_MAX: usize = 255;
const RDB_TYPE: u8 = 250;

/// See `types.rs`.
pub(crate) const TYPE: Type =
    Type { number: NUMBER, name: "stack", packed: Some(&PACKED), records: &RECORDS, remove_parts: None };

const PACKED: PackedForm = PackedForm {
    encoding: |_| "listpack",
    record_kind: 28,
    digest: |bytes, digest| digest_of(unpacked(bytes).into_iter(), digest),
    write_record: write_bytes,
};

const RECORDS: [RecordForm; 2] =
    [RecordForm { kind: 28, load: load_packed, parts: None }, RecordForm { kind: 29, load, parts: None }];

fn load_packed(reader: &mut RecordReader<'_>, _: Loading) -> Result<Loaded, ImageError> {
    let bytes = reader.bytes()?;
    let items = checked(bytes).ok_or(ImageError::Truncated)?;
    Ok(if items.is_empty() { Loaded::Nothing } else { Loaded::Packed(NUMBER, bytes.to_vec()) })
}

fn load(reader: &mut RecordReader<'_>, _: Loading) -> Result<Loaded, ImageError> {
    let items = checked(reader.bytes()?).ok_or(ImageError::Truncated)?;
    if items.is_empty() {
        return Ok(Loaded::Nothing);
    }
    Ok(Loaded::Object(Object::new(Stack(items.into_iter().map(<[u8]>::to_vec).collect()))))
}

/// The items of bytes that were packed here, or that come from anywhere; `None`: they are not packed items.
fn checked(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut items = Vec::new();
    while let Some((&len, rest)) = bytes.split_first() {
        let (item, rest) = rest.split_at_checked(usize::from(len))?;
        items.push(item);
        bytes = rest;
    }
    Some(items)
}

/// The items of a value, which has been checked.
fn unpacked(bytes: &[u8]) -> Vec<&[u8]> {
    checked(bytes).unwrap_or_default()
}

fn packed<'a>(items: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    items.flat_map(|item| [item.len() as u8].into_iter().chain(item.iter().copied())).collect()
}

fn digest_of<'a>(items: impl Iterator<Item = &'a [u8]>, digest: &mut Running) {
    items.for_each(|item| digest.bytes(&packed([item].into_iter())));
}

/// A large stack.
#[derive(Debug, Clone, PartialEq)]
struct Stack(Vec<Vec<u8>>);

impl Stack {
    fn items(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
}

/// The undo records of changes in place.
const PUSHED: u8 = 0;
const POPPED: u8 = 1;

impl Value<Entry> for Stack {
    fn of(&self) -> TypeNumber {
        NUMBER
    }

    fn encoding(&self) -> &'static str {
        "stack"
    }

    fn heap_bytes(&self) -> usize {
        self.0.iter().map(|item| size_of::<Vec<u8>>() + item.len()).sum()
    }

    fn record_kind(&self) -> u8 {
        29
    }

    fn write_record(&self, out: &mut Vec<u8>) {
        write_bytes(&packed(self.items()), out);
    }

    fn digest(&self, digest: &mut Running) {
        digest_of(self.items(), digest);
    }

    fn copied(&self) -> Object {
        Object::new(self.clone())
    }

    fn equals(&self, other: &dyn Value<Entry>) -> bool {
        is_equal(self, other)
    }

    fn into_remains(self: Box<Self>) -> Remains<Entry> {
        Remains::Nothing
    }

    fn restore(&mut self, record: &[u8]) {
        match record {
            [PUSHED] => _ = self.0.pop(),
            [POPPED, item @ ..] => self.0.push(item.to_vec()),
            _ => panic!("{record:?}"),
        }
    }
}

/// Effects of stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackEffect<'a> {
    /// Adds a text on top.
    Push { key: Key<'a>, item: &'a [u8] },
    /// Removes the text on top, and the key with the last.
    Pop { key: Key<'a> },
}

impl<'a> TypeEffect<'a> for StackEffect<'a> {
    fn takes(op: u16, count: u64) -> Option<bool> {
        Some(count == if op == 1000 { 2 } else { 1 })
    }

    fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
        op: u16,
        _: u64,
        arguments: &mut Arguments<'_, 'a, F>,
    ) -> Result<Self, DecodeError> {
        let key = arguments.key()?;
        if op != 1000 {
            return Ok(StackEffect::Pop { key });
        }
        let item = arguments.bytes()?;
        if item.len() > ITEM_MAX { Err(DecodeError::Truncated) } else { Ok(StackEffect::Push { key, item }) }
    }

    fn encode(&self, to: &mut Encoder) {
        match *self {
            StackEffect::Push { key, item } => to.keyed(1000, 2, key).bytes_arg(item),
            StackEffect::Pop { key } => to.keyed(1001, 1, key),
        };
    }

    fn arguments_max(&self) -> usize {
        match self {
            StackEffect::Push { key, item } => key.bytes.len() + item.len(),
            StackEffect::Pop { key } => key.bytes.len(),
        }
    }

    fn keys(&self) -> EffectKeys<'a> {
        let (StackEffect::Push { key, .. } | StackEffect::Pop { key }) = self;
        EffectKeys::One(*key)
    }

    fn perform(&self, keyspace: &mut Keyspace, now: WallMs) {
        match *self {
            StackEffect::Push { key, item } => push(keyspace, &key, item, now),
            StackEffect::Pop { key } => pop(keyspace, &key, now),
        }
    }

    fn impact(&self) -> Impact<'a> {
        // An image copies the whole stack before its first change.
        Impact::Extends
    }
}

fn items(value: ValueRef<'_>) -> Option<Vec<&[u8]>> {
    match value {
        ValueRef::Packed(packed) if packed.of == NUMBER => Some(unpacked(packed.bytes)),
        ValueRef::Object(object) => object.downcast_ref::<Stack>().map(|stack| stack.items().collect()),
        _ => None,
    }
}

fn put(keyspace: &mut Keyspace, key: &Key<'_>, items: &[&[u8]], now: WallMs) {
    let bytes = packed(items.iter().copied());
    let value = if items.len() > PACKED_MAX {
        NewValue::of(Object::new(Stack(items.iter().map(|item| item.to_vec()).collect())))
    } else {
        NewValue::Packed(Packed { of: NUMBER, bytes: &bytes })
    };
    keyspace.put(key, value, ExpiryChange::Keep, now);
}

fn push(keyspace: &mut Keyspace, key: &Key<'_>, item: &[u8], now: WallMs) {
    let undo = |_: &Stack, record: &mut Vec<u8>| record.push(PUSHED);
    if keyspace.change_in_place(key, now, undo, |stack: &mut Stack| stack.0.push(item.to_vec())) {
        return;
    }
    let held = keyspace.find(key).map_or(Some(Vec::new()), |entry| items(entry.value()));
    let Some(held) = held else { return };
    let held: Vec<Vec<u8>> = held.into_iter().map(<[u8]>::to_vec).collect();
    let all: Vec<&[u8]> = held.iter().map(Vec::as_slice).chain([item]).collect();
    put(keyspace, key, &all, now);
}

fn pop(keyspace: &mut Keyspace, key: &Key<'_>, now: WallMs) {
    let Some(held) = keyspace.find(key).and_then(|entry| items(entry.value())) else { return };
    if held.len() <= 1 {
        return keyspace.unlink(key);
    }
    let left: Vec<Vec<u8>> = held[..held.len() - 1].iter().map(|item| item.to_vec()).collect();
    let undo = |stack: &Stack, record: &mut Vec<u8>| {
        record.push(POPPED);
        record.extend_from_slice(stack.0.last().expect("it has more than one"));
    };
    if !keyspace.change_in_place(key, now, undo, |stack: &mut Stack| _ = stack.0.pop()) {
        put(keyspace, key, &left.iter().map(Vec::as_slice).collect::<Vec<_>>(), now);
    }
}

/// See `command/types.rs`. Another type lists its commands here; those of this type run only where [`commands`] says.
pub(crate) const COMMANDS: TypeCommands =
    TypeCommands { commands: &[], dump: DumpForm { of: NUMBER, dump, kinds: &[RDB_TYPE], restore } };

/// The commands, in tests of this crate and in a process with the variable `FASTNESS_TEST_TYPE`.
pub(crate) fn commands() -> &'static [Command] {
    if cfg!(test) || std::env::var_os("FASTNESS_TEST_TYPE").is_some() { &[PUSH, POP] } else { &[] }
}

const fn facts(name: &'static str, arity: i16, key_specs: &'static [KeySpec]) -> OwnFacts {
    let (flags, categories) = (flag::WRITE | flag::FAST, category::WRITE | category::FAST);
    OwnFacts { facts: fact(name, Group::Generic, arity, flags, categories, key_specs, &[], "0.1.0"), arguments: &[] }
}

const PUSH_FACTS: OwnFacts = facts("stack.push", 3, &[key(1, key_flag::RW | key_flag::INSERT)]);
const POP_FACTS: OwnFacts = facts("stack.pop", 2, &[key(1, key_flag::RW | key_flag::ACCESS | key_flag::DELETE)]);

/// STACK.PUSH key item
const PUSH: Command = Command::data("stack.push", "<key> <item>", "Adds a text on top.", |engine, args, env| {
    let key = engine.first_key(args, env);
    check(engine, &key, env)?;
    if args.get(2).len() > ITEM_MAX {
        return Err(CommandError::Fixed("ERR the text is too long"));
    }
    engine.stage(StackEffect::Push { key, item: args.get(2) }, env.effects, env.now);
    env.reply.ok();
    Ok(())
})
.with_facts(&PUSH_FACTS);

/// STACK.POP key
const POP: Command =
    Command::data("stack.pop", "<key>", "Removes and returns the text on top.", |engine, args, env| {
        let key = engine.first_key(args, env);
        check(engine, &key, env)?;
        let Some(entry) = engine.look_up(&key, env) else {
            env.reply.null();
            return Ok(());
        };
        let top = items(entry.value()).and_then(|items| items.last().map(|item| item.to_vec()));
        engine.stage(StackEffect::Pop { key }, env.effects, env.now);
        env.reply.bulk(top.unwrap_or_default());
        Ok(())
    })
    .with_facts(&POP_FACTS);

fn check(engine: &mut Engine, key: &Key<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    match engine.look_up(key, env) {
        Some(entry) if items(entry.value()).is_none() => Err(CommandError::WrongType),
        _ => Ok(()),
    }
}

fn dump(entry: &Entry, _: WallMs) -> Option<Vec<u8>> {
    let items = items(entry.value())?;
    let mut out = vec![RDB_TYPE];
    write_len(items.len(), &mut out);
    items.iter().for_each(|item| write_text(item, &mut out));
    Some(seal(out))
}

fn restore(_: u8, input: &mut Input<'_>, _: WallMs) -> Result<Put, PayloadError> {
    let items = (0..input.len()?).map(|_| input.text()).collect::<Result<Vec<_>, _>>()?;
    if items.is_empty() || items.iter().any(|item| item.len() > ITEM_MAX) {
        return Err(PayloadError::Format);
    }
    Ok(Box::new(move |engine, key, expiry, env| {
        engine.unlink(key, env);
        for item in &items {
            engine.stage(StackEffect::Push { key: *key, item }, env.effects, env.now);
        }
        if let ExpiryChange::At(at) = expiry {
            engine.expire_at(key, at, env);
        }
    }))
}
