//! Which of a request's arguments are keys.
//!
//! Read from the key specifications alone. A request whose arguments do not fit them (a count of keys that is no
//! number, more keys than arguments) has no keys here; the command itself refuses it.

use super::key_finders::{KeyRange, KeyRanges};
use super::spec::{Begin, Find, KeyFlags, KeySpec, key_flag};
use super::table::CommandSpec;
use fastness_resp::Args;
use fastness_resp::number::parse_int;

/// The keys of one request, in the order of its key specifications.
#[derive(Debug, Clone)]
pub struct Keys<'a> {
    args: Args<'a>,
    ranges: KeyRanges,
    /// The range that the next key belongs to.
    range: usize,
    /// How many of its keys were given.
    taken: usize,
}

impl CommandSpec {
    /// The keys among a request's arguments: for routing, dirty keys and COMMAND GETKEYS.
    #[inline]
    pub fn keys<'a>(&self, args: Args<'a>) -> Keys<'a> {
        let ranges = ranges(self.key_specs, args).or_else(|| self.unspecified_ranges(args)).unwrap_or_default();
        Keys { args, ranges, range: 0, taken: 0 }
    }

    /// Whether a request may read keys that its arguments do not name: SORT with BY or GET. They are in the slot of one
    /// that it names.
    #[must_use]
    pub fn reads_unnamed_keys(&self, args: Args<'_>) -> bool {
        let is_option = |word: &[u8]| word.eq_ignore_ascii_case(b"by") || word.eq_ignore_ascii_case(b"get");
        self.key_specs.iter().any(|spec| spec.begin == Begin::Unknown) && args.iter().skip(2).any(is_option)
    }

    /// The keys of a command whose specifications leave open where some of them are: SORT, GEORADIUS.
    #[cold]
    fn unspecified_ranges(&self, args: Args<'_>) -> Option<KeyRanges> {
        let is_open = |spec: &KeySpec| spec.begin == Begin::Unknown || may_repeat(spec);
        let find = self.find_keys.filter(|_| self.key_specs.iter().any(is_open))?;
        let mut found = find(self.key_specs, args);
        found.retain(|range| range.last < args.len());
        Some(found)
    }

    /// The places of the keys whose permissions are checked, with what the command does with each. Finds what Valkey
    /// finds, also if the number of keys is malformed, and where the key specifications are incomplete. For requests
    /// whose number of arguments is right ([`CommandSpec::takes`]).
    pub fn keys_to_check<'a>(&self, args: Args<'a>) -> impl Iterator<Item = (usize, KeyFlags)> + use<'a> {
        let mut keys = Keys { args, ranges: self.ranges_to_check(args), range: 0, taken: 0 };
        std::iter::from_fn(move || keys.next_place())
    }

    fn ranges_to_check(&self, args: Args<'_>) -> KeyRanges {
        let Some(find) = self.find_keys else {
            let mut ranges = ranges(self.key_specs, args).unwrap_or_default();
            if let Some(flags_of) = self.key_flags {
                ranges.iter_mut().for_each(|range| range.flags = flags_of(args));
            }
            return ranges;
        };
        if self.key_specs.iter().any(|spec| spec.flags.has(KeyFlags(key_flag::VARIABLE_FLAGS))) {
            return find(self.key_specs, args);
        }
        let is_complete = |range: &KeyRange| !range.flags.has(KeyFlags(key_flag::INCOMPLETE));
        let complete = ranges(self.key_specs, args).filter(|ranges| ranges.iter().all(is_complete));
        complete.unwrap_or_else(|| find(self.key_specs, args))
    }

    /// Whether a request has no keys where its specifications name a list of them. Valkey's own finds none at all then.
    pub(super) fn lacks_listed_keys(&self, args: Args<'_>) -> bool {
        self.key_specs.iter().any(|spec| is_empty_list(spec, args.len()))
    }

    /// Whether it can have keys at all.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.key_specs.iter().any(|spec| !is_no_key(spec))
    }
}

/// Says where to go, and is no key of the data.
fn is_no_key(spec: &KeySpec) -> bool {
    spec.flags.has(KeyFlags(key_flag::NOT_KEY))
}

/// The keys that the specifications name; `None` if the arguments do not fit them. A specification whose word is
/// missing names none.
fn ranges(specs: &[KeySpec], args: Args<'_>) -> Option<KeyRanges> {
    let mut ranges = KeyRanges::new();
    for spec in specs.iter().filter(|spec| !is_no_key(spec)) {
        let begin = match spec.begin {
            Begin::At(at) => usize::from(at),
            Begin::After(..) if may_repeat(spec) => return None,
            Begin::After(word, from) => match after_word(args, word, from) {
                Some(at) => at,
                None => continue,
            },
            Begin::Unknown => return None,
        };
        if is_empty_list(spec, args.len()) {
            continue;
        }
        ranges.push(range(spec, begin, args)?);
    }
    Some(ranges)
}

/// A list of keys that ends with the arguments and has none: the sources of `PFMERGE destination`.
fn is_empty_list(spec: &KeySpec, count: usize) -> bool {
    matches!(spec.begin, Begin::At(at) if usize::from(at) == count)
        && matches!(spec.find, Find::Range { last: ..0, limit: 0, .. })
}

/// A key behind a word that may stand there several times (STORE of GEORADIUS), of which the last counts.
fn may_repeat(spec: &KeySpec) -> bool {
    matches!(spec.begin, Begin::After(..)) && spec.flags.has(KeyFlags(key_flag::VARIABLE_FLAGS))
}

fn range(spec: &KeySpec, begin: usize, args: Args<'_>) -> Option<KeyRange> {
    let count = args.len();
    let (first, last, step) = match spec.find {
        Find::Range { last, step, limit } => (begin, last_of_range(begin, count, last, limit)?, step),
        Find::Counted { number_at, first, step } => {
            let number = number_of_keys(args.try_get(begin + usize::from(number_at))?)?;
            let first = begin + usize::from(first);
            (first, first.checked_add((number.checked_sub(1)?).checked_mul(usize::from(step))?)?, step)
        }
        Find::Unknown => return None,
    };
    (first <= last && last < count).then_some(KeyRange { first, last, step: usize::from(step), flags: spec.flags })
}

fn last_of_range(first: usize, count: usize, last: i8, limit: u8) -> Option<usize> {
    if last >= 0 {
        return Some(first + last.unsigned_abs() as usize);
    }
    let back = usize::from(last.unsigned_abs());
    match limit {
        0 => count.checked_sub(back),
        limit => (first + count.checked_sub(first)? / usize::from(limit)).checked_sub(back),
    }
}

/// The argument after `word`, searched from `from` on; from the end backwards if `from` is negative. A word that is the
/// last argument is not found.
fn after_word(args: Args<'_>, word: &str, from: i8) -> Option<usize> {
    let is_word = |i: &usize| args.get(*i).eq_ignore_ascii_case(word.as_bytes());
    let distance = usize::from(from.unsigned_abs());
    if from >= 0 {
        (distance..args.len().checked_sub(1)?).find(is_word).map(|i| i + 1)
    } else {
        (2..=args.len().checked_sub(distance)?).rev().find(is_word).map(|i| i + 1)
    }
}

fn number_of_keys(text: &[u8]) -> Option<usize> {
    parse_int(text).and_then(|number| usize::try_from(number).ok())
}

impl<'a> Keys<'a> {
    /// The next key with its place among the arguments and what the command does with it.
    pub(super) fn next_place(&mut self) -> Option<(usize, KeyFlags)> {
        let range = self.ranges.get(self.range)?;
        let place = range.first + self.taken * range.step;
        let flags = range.flags;
        if place + range.step > range.last {
            self.range += 1;
            self.taken = 0;
        } else {
            self.taken += 1;
        }
        Some((place, flags))
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.next_place().map(|(place, _)| self.args.get(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    fn keys(request: &str) -> Vec<String> {
        let words: Vec<&[u8]> = request.split_whitespace().map(str::as_bytes).collect();
        let bar = [words[0], b"|", words.get(1).copied().unwrap_or(b"")].concat();
        let spec = table().named(&bar).or_else(|| table().named(words[0])).expect("Valkey knows it");
        spec.keys(Args::slices(&words)).map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    }

    #[test]
    fn keys_at_fixed_places() {
        assert_eq!(keys("get a"), ["a"]);
        assert_eq!(keys("del a b c"), ["a", "b", "c"]);
        assert_eq!(keys("mset a 1 b 2"), ["a", "b"]);
        assert_eq!(keys("copy a b replace"), ["a", "b"]);
        assert_eq!(keys("object encoding a"), ["a"]);
        assert_eq!(keys("blpop a b 0"), ["a", "b"]);
        assert_eq!(keys("bitop and d a b"), ["d", "a", "b"]);
        assert_eq!(keys("ping a"), [""; 0]);
        assert_eq!(keys("pfmerge d"), ["d"]);
        assert_eq!(keys("pfmerge d a b"), ["d", "a", "b"]);
    }

    #[test]
    fn counted_keys() {
        assert_eq!(keys("msetex 2 a 1 b 2 ex 5"), ["a", "b"]);
        assert_eq!(keys("eval script 1 a b"), ["a"]);
        assert_eq!(keys("zunionstore d 2 a b"), ["d", "a", "b"]);
        for wrong in ["msetex x a 1", "msetex 5 a 1", "msetex -1 a 1", "eval script 0", "zunionstore d 3 a b"] {
            assert_eq!(keys(wrong), [""; 0], "{wrong}");
        }
        assert_eq!(keys(&format!("msetex {} a 1", usize::MAX)), [""; 0]);
    }

    #[test]
    fn keys_behind_a_word() {
        assert_eq!(keys("xread count 2 streams a b 0 0"), ["a", "b"]);
        assert_eq!(keys("xread count 2 a b"), [""; 0]);
    }

    #[test]
    fn keys_that_specifications_leave_open() {
        assert_eq!(keys("sort a by x get y"), ["a"]);
        assert_eq!(keys("sort a limit store 1 store b desc store c"), ["a", "c"]);
        assert_eq!(keys("sort_ro a get store"), ["a"]);
        assert_eq!(keys("sort"), [""; 0]);
        let reads_others = |request: &str| {
            let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
            table().named(words[0]).expect("Valkey knows it").reads_unnamed_keys(Args::slices(&words))
        };
        assert!(reads_others("sort a BY x") && reads_others("sort_ro a alpha get #"));
        assert!(
            !reads_others("sort a desc store by2") && !reads_others("sort get") && !reads_others("mset a by b get")
        );
    }

    fn keys_to_check(request: &str) -> Vec<String> {
        let words: Vec<&[u8]> =
            request.split_whitespace().map(|word| if word == "''" { b"" } else { word.as_bytes() }).collect();
        let spec = table().named(words[0]).expect("Valkey knows it");
        let access = |flags: KeyFlags| {
            let writes = key_flag::UPDATE | key_flag::INSERT | key_flag::DELETE;
            let read = if flags.has(KeyFlags(key_flag::ACCESS)) { "r" } else { "" };
            let write = if flags.has_any(KeyFlags(writes)) { "w" } else { "" };
            format!("{read}{write}")
        };
        let keys = spec.keys_to_check(Args::slices(&words));
        keys.map(|(at, flags)| format!("{}:{}", String::from_utf8_lossy(words[at]), access(flags))).collect()
    }

    #[test]
    fn keys_to_check_have_the_permissions_that_the_options_need() {
        for (request, expected) in [
            ("set a 1", &["a:w"][..]),
            ("set a 1 get", &["a:rw"]),
            ("bitfield a get u8 1 overflow sat", &["a:r"]),
            ("bitfield a get u8 1 set u8 1 1", &["a:rw"]),
            ("bitfield a get u8", &["a:rw"]),
            ("strlen a", &["a:"]),
            ("rename a b", &["a:rw", "b:w"]),
            ("pfmerge a", &["a:rw"]),
        ] {
            assert_eq!(keys_to_check(request), expected, "{request}");
        }
    }

    #[test]
    fn keys_to_check_are_found_where_the_specifications_are_incomplete() {
        for (request, expected) in [
            ("sort a", &["a:r"][..]),
            ("sort a limit store 1 by store get store desc", &["a:r"]),
            ("sort a store b store c", &["a:r", "c:w"]),
            ("sort a store", &["a:r"]),
            ("sort_ro a store b", &["a:r"]),
            ("migrate h 1 a 0 5", &["a:rw"]),
            ("migrate h 1 '' 0 5 copy auth2 keys keys keys b c", &["b:rw", "c:rw"]),
            ("migrate h 1 a 0 5 keys b", &[]),
            ("georadius a 1 1 1 m", &["a:r"]),
            ("georadius a 1 1 1 m store b storedist c", &["a:r", "c:w"]),
            ("georadiusbymember a m 1 m store", &["a:r"]),
            ("xread count 2 streams a b 0 0", &["a:r", "b:r"]),
        ] {
            assert_eq!(keys_to_check(request), expected, "{request}");
        }
    }

    #[test]
    fn keys_to_check_are_found_although_their_number_is_malformed() {
        for (request, expected) in [
            ("zunionstore d 2 a b", &["d:w", "a:r", "b:r"][..]),
            ("zunionstore d +2 a b", &["a:", "b:", "d:"]),
            ("eval s 2x a b", &["a:", "b:"]),
            ("eval s 3x a b", &[]),
            ("eval s -1 a b", &[]),
            ("eval s 99999999999999999999 a b", &[]),
            ("msetex 1x a 1", &[]),
            ("xreadgroup group g c streams a streams 0", &["a:r"]),
            ("xreadgroup streams a b c d streams f", &["a:", "b:", "c:"]),
        ] {
            assert_eq!(keys_to_check(request), expected, "{request}");
        }
    }

    #[test]
    fn too_few_arguments_have_no_keys() {
        assert_eq!(keys("get"), [""; 0]);
        assert_eq!(keys("copy a"), [""; 0]);
    }

    #[test]
    fn a_cursor_is_no_key() {
        assert_eq!(keys("clusterscan 0"), [""; 0]);
        let spec = table().named(b"clusterscan").expect("Valkey knows it");
        assert_eq!(spec.route(Args::slices(&[b"clusterscan", b"0-{a}-0"])), Some(&b"0-{a}-0"[..]));
        assert_eq!(table().named(b"get").expect("Valkey knows it").route(Args::slices(&[b"get", b"a"])), None);
    }
}
