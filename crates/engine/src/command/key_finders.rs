//! How the keys of a command are found that its key specifications do not state, or not completely: SORT's STORE,
//! MIGRATE's KEYS, the store keys of GEORADIUS, and what BITFIELD does with its key. By name, as the generated facts,
//! because COMMAND does not report it.
//!
//! These functions find the keys whose permissions Valkey checks, of a request that may be malformed.

use super::spec::{Begin, Find, KeyFlags, KeySpec, key_flag};
use fastness_resp::Args;
use smallvec::SmallVec;

/// Keys at `first`, `first + step`, … up to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) step: usize,
    pub(super) flags: KeyFlags,
}

/// The keys of a request; few commands have more than two groups of keys.
pub(super) type KeyRanges = SmallVec<[KeyRange; 2]>;

/// Finds the keys of a request whose number of arguments is right. The specifications are those of its command.
pub(super) type FindKeys = fn(&[KeySpec], Args<'_>) -> KeyRanges;

const FINDERS: &[(&str, FindKeys)] = &[
    ("bitfield", bitfield),
    ("georadius", georadius),
    ("georadiusbymember", georadius),
    ("migrate", migrate),
    ("sort", sort),
    ("sort_ro", first_key),
    ("xread", streams),
    ("xreadgroup", streams),
];

const READ: u32 = key_flag::RO | key_flag::ACCESS;
const OVERWRITE: u32 = key_flag::OW | key_flag::UPDATE;

/// The function of the command of this name, if its specifications do not suffice.
pub(super) fn finder_of(name: &str, specs: &[KeySpec]) -> Option<FindKeys> {
    let listed = FINDERS.iter().find(|(command, _)| *command == name).map(|(_, find)| *find);
    let counts = |spec: &KeySpec| matches!(spec.find, Find::Counted { step: 1, .. });
    listed.or_else(|| specs.iter().any(counts).then_some(loosely_counted as FindKeys))
}

fn one(at: usize, flags: u32) -> KeyRange {
    KeyRange { first: at, last: at, step: 1, flags: KeyFlags(flags) }
}

fn is(word: &[u8], expected: &[u8]) -> bool {
    word.eq_ignore_ascii_case(expected)
}

fn first_key(_: &[KeySpec], _: Args<'_>) -> KeyRanges {
    KeyRanges::from_iter([one(1, READ)])
}

/// SORT: the key, and that of the last STORE. Words that are arguments of LIMIT, BY and GET are no options.
fn sort(_: &[KeySpec], args: Args<'_>) -> KeyRanges {
    let mut keys = KeyRanges::from_iter([one(1, READ)]);
    let mut at = 2;
    while at < args.len() {
        let word = args.get(at);
        if is(word, b"limit") {
            at += 2;
        } else if is(word, b"get") || is(word, b"by") {
            at += 1;
        } else if is(word, b"store") && at + 1 < args.len() {
            keys.truncate(1);
            keys.push(one(at + 1, OVERWRITE));
        }
        at += 1;
    }
    keys
}

/// MIGRATE: one key, or those after KEYS, in which case the one key is empty.
fn migrate(_: &[KeySpec], args: Args<'_>) -> KeyRanges {
    const FLAGS: u32 = key_flag::RW | key_flag::ACCESS | key_flag::DELETE;
    let mut at = 6;
    while at < args.len() {
        let word = args.get(at);
        if is(word, b"keys") {
            let (first, last) = (at + 1, args.len() - 1);
            let is_well_formed = args.get(3).is_empty() && first <= last;
            return is_well_formed
                .then_some(KeyRange { first, last, step: 1, flags: KeyFlags(FLAGS) })
                .into_iter()
                .collect();
        }
        at += if is(word, b"auth2") { 3 } else { 1 + usize::from(is(word, b"auth")) };
    }
    KeyRanges::from_iter([one(3, FLAGS)])
}

/// GEORADIUS and GEORADIUSBYMEMBER: the key, and that of the last STORE or STOREDIST.
fn georadius(_: &[KeySpec], args: Args<'_>) -> KeyRanges {
    let mut keys = KeyRanges::from_iter([one(1, READ)]);
    let mut at = 5;
    while at + 1 < args.len() {
        if is(args.get(at), b"store") || is(args.get(at), b"storedist") {
            at += 1;
            keys.truncate(1);
            keys.push(one(at, OVERWRITE));
        }
        at += 1;
    }
    keys
}

/// XREAD and XREADGROUP of which the specifications find no keys after the last possible STREAMS: those after the one
/// that follows the options. As of [`loosely_counted`], a pattern of any permission suffices.
fn streams(_: &[KeySpec], args: Args<'_>) -> KeyRanges {
    let mut at = 1;
    while let Some(word) = args.try_get(at) {
        if is(word, b"block") || is(word, b"count") {
            at += 2;
        } else if is(word, b"group") {
            at += 3;
        } else if is(word, b"noack") {
            at += 1;
        } else {
            break;
        }
    }
    let first = at + 1;
    let count = args.len().saturating_sub(first);
    if !args.try_get(at).is_some_and(|word| is(word, b"streams")) || count == 0 || count % 2 != 0 {
        return KeyRanges::new();
    }
    let flags = KeyFlags(key_flag::NONE);
    KeyRanges::from_iter([KeyRange { first, last: first + count / 2 - 1, step: 1, flags }])
}

/// BITFIELD: only reads if every operation is a GET.
fn bitfield(_: &[KeySpec], args: Args<'_>) -> KeyRanges {
    const WRITE: u32 = key_flag::RW | key_flag::ACCESS | key_flag::UPDATE;
    let mut at = 2;
    while at < args.len() {
        let (word, remaining) = (args.get(at), args.len() - at - 1);
        if is(word, b"get") && remaining >= 2 {
            at += 3;
        } else if is(word, b"overflow") && remaining >= 1 {
            at += 2;
        } else {
            return KeyRanges::from_iter([one(1, WRITE)]);
        }
    }
    KeyRanges::from_iter([one(1, READ)])
}

/// Counted keys whose number is written in another form than the command accepts (`+2`, `2x`). Valkey requires that a
/// pattern matches them, of any permission. Source keys come before the one at a fixed place.
fn loosely_counted(specs: &[KeySpec], args: Args<'_>) -> KeyRanges {
    let mut keys = KeyRanges::new();
    for spec in specs {
        let (Begin::At(begin), Find::Counted { number_at, first, .. }) = (spec.begin, spec.find) else { continue };
        let number = args.try_get(usize::from(begin + number_at)).map_or(0, leading_number);
        let first = usize::from(begin + first);
        if number == 0 || number > args.len().saturating_sub(first) {
            return KeyRanges::new();
        }
        let last = first + number - 1;
        keys.push(KeyRange { first, last, step: 1, flags: KeyFlags(key_flag::NONE) });
    }
    let fixed = specs.iter().filter(|spec| matches!(spec.find, Find::Range { .. }));
    keys.extend(fixed.filter_map(|spec| match spec.begin {
        Begin::At(at) => Some(one(at.into(), key_flag::NONE)),
        Begin::After(..) | Begin::Unknown => None,
    }));
    keys
}

/// The number at the start of a text, as C's `atoi` reads it; 0 if there is none or it is negative.
fn leading_number(text: &[u8]) -> usize {
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text).iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: usize, digit| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}
