//! The commands against a model that handles one bit at a time, and their effects against replicas and undoing.

use crate::testing::Bench;
use fastness_types::Seq;
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEYS: [&str; 3] = ["a", "b", "c"];

/// Strings, bit by bit.
#[derive(Default)]
struct Model(BTreeMap<&'static str, Vec<u8>>);

impl Model {
    fn bytes(&self, key: &str) -> &[u8] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    fn bit(&self, key: &str, at: usize) -> bool {
        self.bytes(key).get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
    }

    fn set_bit(&mut self, key: &'static str, at: usize, one: bool) {
        let bytes = self.0.entry(key).or_default();
        bytes.resize(bytes.len().max(at / 8 + 1), 0);
        bytes[at / 8] = bytes[at / 8] & !(0x80 >> (at % 8)) | if one { 0x80 >> (at % 8) } else { 0 };
    }

    /// The bits of a range, and whether it has an end.
    fn bits(&self, key: &str, range: &[i64], bit: bool) -> std::ops::Range<usize> {
        let unit = if bit { 1 } else { 8 };
        let units = (self.bytes(key).len() * 8 / unit) as i64;
        let absolute = |at: i64| if at < 0 { (units + at).max(0) } else { at };
        let start = absolute(range.first().copied().unwrap_or(0));
        let end = absolute(range.get(1).copied().unwrap_or(-1)).min(units - 1) + 1;
        if start < end { start as usize * unit..end as usize * unit } else { 0..0 }
    }

    /// The integer of `bits` bits, which is signed or not.
    fn integer(&self, key: &str, at: usize, bits: usize, signed: bool) -> i128 {
        let unsigned = (at..at + bits).fold(0, |sum, at| sum * 2 + i128::from(self.bit(key, at)));
        if signed && unsigned >> (bits - 1) == 1 { unsigned - (1 << bits) } else { unsigned }
    }
}

/// A command.
#[derive(Debug, Clone)]
enum Do {
    Set(&'static str, Vec<u8>),
    SetBit(&'static str, usize, bool),
    GetBit(&'static str, usize),
    Count(&'static str, Vec<i64>, bool),
    Find(&'static str, bool, Vec<i64>, bool),
    Combine(&'static str, &'static str, Vec<&'static str>),
    Add(&'static str, usize, usize, bool, i64),
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&KEYS[..])
}

/// Mostly runs of equal bytes, of some blocks and words.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let run = (prop_oneof![Just(0), Just(0xff), any::<u8>()], 0..50usize).prop_map(|(byte, len)| vec![byte; len]);
    prop_oneof![
        4 => prop::collection::vec(run, 0..6).prop_map(|runs| runs.concat()),
        1 => (-99..99i32).prop_map(|number| number.to_string().into_bytes()),
    ]
}

fn command() -> impl Strategy<Value = Do> {
    let at = || prop_oneof![0..40usize, 0..3_000usize];
    let range = || prop::collection::vec(prop_oneof![-30..30i64, -2_500..2_500i64, any::<i64>()], 0..3);
    let operation = prop::sample::select(&["AND", "OR", "XOR", "NOT"][..]);
    let number = prop_oneof![-9..9i64, any::<i64>()];
    prop_oneof![
        (key(), bytes()).prop_map(|(key, bytes)| Do::Set(key, bytes)),
        (key(), at(), any::<bool>()).prop_map(|(key, at, one)| Do::SetBit(key, at, one)),
        (key(), at()).prop_map(|(key, at)| Do::GetBit(key, at)),
        (key(), range(), any::<bool>()).prop_map(|(key, range, bit)| Do::Count(key, range, bit)),
        (key(), any::<bool>(), range(), any::<bool>())
            .prop_map(|(key, one, range, bit)| Do::Find(key, one, range, bit)),
        (operation, key(), prop::collection::vec(key(), 1..4)).prop_map(|(name, to, mut from)| {
            from.truncate(if name == "NOT" { 1 } else { 3 });
            Do::Combine(name, to, from)
        }),
        (key(), at(), 1..64usize, any::<bool>(), number)
            .prop_map(|(key, at, bits, signed, number)| Do::Add(key, at, bits, signed, number)),
    ]
}

fn range_words(range: &[i64], bit: bool) -> Vec<String> {
    let mut words: Vec<String> = range.iter().map(i64::to_string).collect();
    if words.len() == 2 {
        words.push(if bit { "BIT" } else { "BYTE" }.to_owned());
    }
    words
}

impl Do {
    fn words(&self) -> Vec<Vec<u8>> {
        let words = |words: Vec<String>| words.into_iter().map(String::into_bytes).collect();
        let then = |mut first: Vec<String>, rest: Vec<String>| {
            first.extend(rest);
            words(first)
        };
        match self {
            Do::Set(key, bytes) => vec![b"SET".to_vec(), key.as_bytes().to_vec(), bytes.clone()],
            Do::SetBit(key, at, one) => {
                words(vec!["SETBIT".into(), (*key).into(), at.to_string(), u8::from(*one).to_string()])
            }
            Do::GetBit(key, at) => words(vec!["GETBIT".into(), (*key).into(), at.to_string()]),
            Do::Count(key, range, bit) => then(vec!["BITCOUNT".into(), (*key).into()], range_words(range, *bit)),
            Do::Find(key, one, range, bit) => {
                then(vec!["BITPOS".into(), (*key).into(), u8::from(*one).to_string()], range_words(range, *bit))
            }
            Do::Combine(name, to, from) => then(
                vec!["BITOP".into(), (*name).into(), (*to).into()],
                from.iter().map(|key| (*key).to_owned()).collect(),
            ),
            Do::Add(key, at, bits, signed, number) => {
                let of = format!("{}{bits}", if *signed { 'i' } else { 'u' });
                words(vec!["BITFIELD".into(), (*key).into(), "INCRBY".into(), of, at.to_string(), number.to_string()])
            }
        }
    }

    /// The reply, after the model has done the same.
    fn expected(&self, model: &mut Model) -> String {
        let integer = match self {
            Do::Set(key, bytes) => {
                model.0.insert(key, bytes.clone());
                return "+OK\r\n".to_owned();
            }
            Do::SetBit(key, at, one) => {
                let old = model.bit(key, *at);
                model.set_bit(key, *at, *one);
                i128::from(old)
            }
            Do::GetBit(key, at) => i128::from(model.bit(key, *at)),
            Do::Count(_, range, _) if matches!(range[..], [start, end] if start < 0 && end < start) => 0,
            Do::Count(key, range, bit) => {
                let bit = *bit && range.len() == 2;
                model.bits(key, range, bit).filter(|at| model.bit(key, *at)).count() as i128
            }
            Do::Find(key, one, _, _) if !model.0.contains_key(key) => -i128::from(*one),
            Do::Find(key, one, range, bit) => {
                let bits = model.bits(key, range, *bit && range.len() == 2);
                let after = if *one || range.len() == 2 || bits.is_empty() { -1 } else { bits.end as i128 };
                bits.into_iter().find(|at| model.bit(key, *at) == *one).map_or(after, |at| at as i128)
            }
            Do::Combine(name, to, from) => {
                let len = from.iter().map(|key| model.bytes(key).len()).max().unwrap_or(0);
                let mut result = Model::default();
                for at in 0..len * 8 {
                    let ones = from.iter().filter(|key| model.bit(key, at)).count();
                    let one = match *name {
                        "AND" => ones == from.len(),
                        "OR" => ones > 0,
                        "XOR" => ones % 2 == 1,
                        _ => ones == 0,
                    };
                    result.set_bit(to, at, one);
                }
                model.0.remove(to);
                model.0.append(&mut result.0);
                len as i128
            }
            Do::Add(key, at, bits, signed, number) => {
                let sum = model.integer(key, *at, *bits, *signed) + i128::from(*number);
                (0..*bits).for_each(|n| model.set_bit(key, at + n, sum >> (bits - 1 - n) & 1 == 1));
                return format!("*1\r\n:{}\r\n", model.integer(key, *at, *bits, *signed));
            }
        };
        format!(":{integer}\r\n")
    }
}

fn run(bench: &mut Bench, words: &[Vec<u8>]) -> String {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    String::from_utf8_lossy(&bench.run(&words)).into_owned()
}

proptest! {
    #[test]
    fn bits_are_those_of_a_model(
        committed in prop::collection::vec(command(), 0..20),
        undone in prop::collection::vec(command(), 0..20),
        inline_max in prop_oneof![Just(20u32), Just(100_000)],
    ) {
        let (mut bench, mut model) = (Bench::new(), Model::default());
        bench.engine.keyspace.set_inline_max(inline_max);
        let mut run_all = |bench: &mut Bench, commands: &[Do]| {
            for command in commands {
                assert_eq!(run(bench, &command.words()), command.expected(&mut model), "{command:?}");
                for key in KEYS {
                    let get = [b"GET", key.as_bytes()];
                    let expected = model.0.get(key).map(|bytes| {
                        [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
                    });
                    let expected = expected.unwrap_or_else(|| b"$-1\r\n".to_vec());
                    assert_eq!(bench.run(&get), expected, "{key} after {command:?}");
                }
            }
        };
        run_all(&mut bench, &committed);
        let before = (bench.engine.digest(), bench.engine.keyspace_stats());
        bench.engine.keep_undo(usize::MAX);
        run_all(&mut bench, &undone);
        bench.engine.end_unit(Seq(1));
        let mut replica = Bench::new();
        replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
        prop_assert_eq!(replica.engine.digest(), bench.engine.digest());
        prop_assert!(bench.engine.undo());
        prop_assert_eq!((bench.engine.digest(), bench.engine.keyspace_stats()), before);
    }
}
