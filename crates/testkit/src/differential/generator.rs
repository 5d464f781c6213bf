//! Seeded random commands. The same seed gives the same commands.

mod strings_and_streams;

use super::positions;
use super::rng::Rng;
use super::shapes::{SHAPES, is_rare};

/// One command with its arguments, the name first.
pub type Request = Vec<Vec<u8>>;

/// Generates commands.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    shapes: Vec<&'static str>,
    /// The milliseconds of the newest id of a stream's entry.
    stream_ms: u64,
}

/// Number of keys of one test, all in the slot of this tag: so few that commands affect each other.
const KEYS: usize = 10;
const TAG: &str = "{t}";
/// Number of further keys that are mostly those of hashes.
const HASH_KEYS: usize = 4;
/// Number of further keys that are mostly those of sets.
const SET_KEYS: usize = 5;
/// Number of further keys that are mostly those of lists.
const LIST_KEYS: usize = 4;
/// Number of further keys that are mostly those of sorted sets, and of those with equal scores.
const ZSET_KEYS: usize = 4;
const LEX_KEYS: usize = 2;
/// Number of further keys that are mostly those of streams.
const STREAM_KEYS: usize = 3;
/// Number of further keys of HyperLogLogs.
const HLL_KEYS: usize = 4;
/// Number of further keys that are mostly those of geo sets.
const GEO_KEYS: usize = 3;
/// Number of further keys of each type that are sorted.
const SORT_KEYS: usize = 2;

const INTEGERS: &[&str] = &[
    "0",
    "1",
    "2",
    "-1",
    "10",
    "100",
    "255",
    "256",
    "-0",
    "+1",
    "01",
    " 1",
    "1 ",
    "",
    "x",
    "1.0",
    "1e3",
    "0x10",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967296",
    "9223372036854775806",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775807",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "99999999999999999999",
];
const FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.1",
    "-0.1",
    "1.5",
    "3.0e2",
    "1e10",
    "5.0e-3",
    "1e17",
    "1e18",
    "-1e19",
    "1e300",
    "1e-300",
    "inf",
    "-inf",
    "+inf",
    "nan",
    "infinity",
    "0x1p3",
    "1.",
    ".5",
    "-.5",
    "1e",
    "",
    " 1",
    "1 ",
    "x",
    "1,5",
    "3.14159265358979",
    "100000000000000000000",
    "0.30000000000000004",
    "-0",
    "-0.0",
    "1e-7",
    "123456789.123456789",
    "17179869184.25",
    "9007199254740993",
    "4611686018427387904.5",
    "1e4932",
    "1e5000",
    "-1e5000",
    "00012.500",
    "+3",
];
/// Scores at the limits of what is written in which form.
const SCORES: &[&str] = &[
    "inf",
    "-inf",
    "-0",
    "0",
    "127",
    "128",
    "-1",
    "100000000",
    "4503599627370497",
    "9007199254740993",
    "4611686018427387904",
    "4611686018427388928",
    "1e17",
    "1e21",
    "-1e300",
    "1e-7",
    "1e-310",
    "0.1",
    "3.0e-7",
];
const OFFSETS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "5",
    "10",
    "-1",
    "-2",
    "-3",
    "-100",
    "100",
    "300",
    "x",
    "",
    "536870911",
    "536870912",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "4294967295",
    "-4294967296",
];
const WORDS: &[&str] = &[
    "get",
    "SET",
    "object|encoding",
    "object",
    "nosuch",
    "x",
    "",
    "keyspace",
    "string",
    "READ",
    "HELP",
    "ENCODING",
    "FOO",
    "\r\n",
    "aclcat",
    "pattern",
    "module",
];
const PATTERNS: &[&str] = &[
    "*",
    "{t}*",
    "*1*",
    "{t}[0-3]",
    "{t}[^0-3]",
    "{t}?",
    "{t}k?",
    "?t?*",
    "{t}[",
    "{t}[0-",
    "\\{t}0",
    "*\\",
    "",
    "**",
    "[{]t}*[5-9]",
    "*[^]*",
];
const TYPES: &[&str] = &["string", "STRING", "list", "hash", "zset", "set", "stream", "foo", ""];
const CURSORS: &[&str] = &[
    "0",
    "0",
    "0",
    "0",
    "0",
    "0",
    "x",
    "",
    "-1",
    "+0",
    " 0",
    "0 ",
    "99999999999999999999999",
    "18446744073709551615",
    "18446744073709551616",
];
const CLUSTER_CURSORS: &[&str] = &[
    "0",
    "0-{t}-0",
    "0-{t}-0",
    "0-{t}-0",
    "-{t}-7",
    "abc-{t}-99",
    "0-t-0",
    "0-{t-0",
    "0-{}-0",
    "0-{bar}- 5",
    "0-{t}",
    "{t}-0",
    "0-{t}-x",
    "0-{t}-",
    "0-{t}-0-0",
    "0-{t}--1",
    "0-{t}-18446744073709551616",
    "x",
    "",
    "-1",
    "00",
];
const METRICS: &[&str] = &["KEY-COUNT", "key-count", "KEY-COUNT", "CPU-USEC", "x", ""];
const COUNTS: &[&str] = &["1", "2", "10", "1000", "100000", "0", "-1", "x", "9223372036854775807"];

/// Patterns of BY and GET: other keys that end with an element, fields of hashes, and what names no key.
const SORT_PATTERNS: &[&str] = &[
    "{t}*",
    "{t}*",
    "{t}k*",
    "{t}h*->f1",
    "{t}h*->f2",
    "{t}h*->",
    "{t}*->f0",
    "{t}q*",
    "{t}none*",
    "x*",
    "*{t}",
    "#",
    "{t}",
    "nosort",
    "",
];

/// Numbers of random fields. None is far below zero: a reference would draw for ever.
const DRAWS: &[&str] = &[
    "0",
    "1",
    "2",
    "5",
    "100",
    "-1",
    "-3",
    "-20",
    "x",
    "",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
];

impl Generator {
    /// A generator of all shapes for which `is_wanted` is true.
    #[must_use]
    pub fn new(seed: u64, is_wanted: impl Fn(&str) -> bool) -> Generator {
        let shapes = SHAPES.iter().copied().filter(|shape| is_wanted(shape)).collect();
        Generator { rng: Rng::new(seed), shapes, stream_ms: 0 }
    }

    /// The random numbers, for choices of the test itself.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// The next command.
    pub fn command(&mut self) -> Request {
        let shape = self.shape();
        let mut request = self.fill(shape);
        // A number of random fields or members as large as any integer may exceed the memory of the reference; a bit as
        // far off makes a string of hundreds of megabytes.
        const LARGE: [&str; 5] = ["HRANDFIELD", "SRANDMEMBER", "ZRANDMEMBER", "SETBIT", "BITFIELD"];
        let may_be_large = LARGE.iter().any(|name| shape.starts_with(name));
        // A damaged range of names could name a sorted set of several scores, of which Valkey's reply is unspecified,
        // and a damaged score makes such a set.
        let has_one_score = shape.contains(" ze") || shape.contains(" zl");
        if self.rng.one_in(25) && !may_be_large && !has_one_score {
            self.damage(&mut request);
        }
        if self.rng.one_in(4) {
            request[0].make_ascii_lowercase();
        }
        request
    }

    fn shape(&mut self) -> &'static str {
        loop {
            let shape = self.shapes[self.rng.below(self.shapes.len())];
            if !is_rare(shape) || self.rng.one_in(50) {
                return shape;
            }
        }
    }

    /// A command of this shape.
    pub fn fill(&mut self, shape: &str) -> Request {
        let mut request = Request::new();
        let groups = 1 + self.rng.below(3);
        let mut options = Vec::new();
        for word in shape.split(' ') {
            if word == "?" {
                self.push_options(&std::mem::take(&mut options), &mut request);
            } else if let Some(option) = word.strip_prefix('?') {
                options.push(option);
            } else if let Some(group) = word.strip_prefix('*') {
                (0..groups).for_each(|_| group.split(',').for_each(|part| self.push(part, &mut request)));
            } else if word == "#" {
                let wrong = self.rng.one_in(12);
                request.push(if wrong { self.one_of(COUNTS) } else { groups.to_string().into_bytes() });
            } else {
                self.push(word, &mut request);
            }
        }
        self.push_options(&options, &mut request);
        request
    }

    fn push_options(&mut self, options: &[&str], request: &mut Request) {
        if options.is_empty() {
            return;
        }
        // Mostly none or one, so that most commands are well-formed; sometimes many, or the same one twice.
        for _ in 0..[0, 0, 1, 1, 1, 1, 2, 2, 3][self.rng.below(9)] {
            let option = options[self.rng.below(options.len())];
            let (name, argument) = option.split_once(':').map_or((option, None), |(name, arg)| (name, Some(arg)));
            let name = if self.rng.one_in(4) { name.to_ascii_lowercase() } else { name.to_owned() };
            request.push(name.into_bytes());
            if let Some(argument) = argument {
                self.push(argument, request);
            }
        }
    }

    fn push(&mut self, word: &str, request: &mut Request) {
        if self.push_several(word, request) {
            return;
        }
        let argument = match self.argument_of_collections(word) {
            Some(argument) => Some(argument),
            None => self.argument_of_strings(word),
        };
        request.push(argument.unwrap_or_else(|| self.argument(word)));
    }

    /// Adds the arguments of a kind that is more than one. Returns whether this is such a kind.
    fn push_several(&mut self, word: &str, request: &mut Request) -> bool {
        match word {
            "j" => request.extend(self.many_members()),
            "pmany" => {
                let (from, count) = (self.rng.below(4_000), 1 + self.rng.below(900));
                request.extend((from..from + count).map(|n| n.to_string().into_bytes()));
            }
            "zmany" | "zsame" => self.push_many(word == "zsame", request),
            "gp" => positions::push_position(&mut self.rng, request),
            "gc" => positions::push_corners(&mut self.rng, request),
            "gmany" => positions::push_many(&mut self.rng, request),
            "many" => {
                // Lists of several nodes; sometimes of elements near the limit of one.
                let (count, length) = (1 + self.rng.below(300), self.rng.below(60));
                request.extend((0..count).map(|n| format!("{n:>length$}").into_bytes()));
            }
            "xl" => request.extend([self.offset(), self.offset()]),
            "xmany" => {
                let count = 1 + self.rng.below(60);
                request.extend((0..count).flat_map(|n| [b"f".to_vec(), n.to_string().into_bytes()]));
            }
            "x" => {
                let shape = self.shape();
                request.extend(self.fill(shape));
            }
            _ => return false,
        }
        true
    }

    fn argument_of_collections(&mut self, word: &str) -> Option<Vec<u8>> {
        Some(match word {
            "h" => self.hash_key(),
            "b" => self.field(),
            "q" => self.set_key(),
            "g" => self.member(),
            "u" => self.one_of(&["0", "1", "2", "3", "20", "100", "120", "128", "500", "1000", "-1", "x"]),
            "zk" => self.zset_key(),
            "zl" => format!("{TAG}zl{}", self.rng.below(LEX_KEYS)).into_bytes(),
            "zm" => self.zset_member(),
            "zs" => self.score(),
            "zu" => self.score_limit(),
            "ze" => self.name_limit(),
            "za" => self.one_of(&["SUM", "min", "MAX", "foo"]),
            "gk" => self.geo_key(),
            "gr" => positions::radius(&mut self.rng),
            "gu" => positions::unit(&mut self.rng),
            "xk" => self.stream_key(),
            "xnew" => self.new_stream_id(),
            "xid" => self.stream_id(),
            "xfrom" => self.stream_bound("-"),
            "xto" => self.stream_bound("+"),
            "xafter" => self.one_of(&[">", ">", ">", "0", "0-0", "5", "5-1", "$", "+", "x"]),
            "xg" => self.one_of(&["g", "g", "g", "h", "h", "none"]),
            "xc" => self.one_of(&["a", "b", "c", "c", "d"]),
            // Never a time that matters while the test runs.
            "xidle" => self.one_of(&["0", "0", "0", "-1", "9000000000", "x"]),
            "r" => self.one_of(DRAWS),
            "lk" => self.list_key(),
            "le" => self.element(),
            "lp" => self.list_position(),
            "lend" => self.one_of(&["LEFT", "RIGHT", "left", "Right", "RIGHT", "LEFT", "x"]),
            "wt" => self.one_of(&["0.01", "0.01", "0.01", "0.01", "0.001", "1e-2", "-1", "x"]),
            "xn" | "xt" | "xs" | "xz" => format!("{TAG}{word}{}", self.rng.below(SORT_KEYS)).into_bytes(),
            "xv" => self.sorted_number(),
            "xp" => self.one_of(SORT_PATTERNS),
            _ => return None,
        })
    }

    fn argument_of_strings(&mut self, word: &str) -> Option<Vec<u8>> {
        Some(match word {
            "pk" => format!("{TAG}p{}", self.rng.below(HLL_KEYS)).into_bytes(),
            "pc" => format!("{TAG}pc").into_bytes(),
            "pe" => self.hll_element(),
            "po" => self.rng.below(40).to_string().into_bytes(),
            "pb" => self.hll_damage(),
            // None is SIMD: to an argument that is neither ON nor OFF the reference replies twice.
            "pd" => self.one_of(&["DECODE", "DECODE", "ENCODING", "GETREG", "TODENSE", "decode", "x", ""]),
            "bk" => self.bitmap_key(),
            "bo" => self.bit_offset(),
            "bi" => self.one_of(&["0", "1", "0", "1", "1", "0", "1", "2", "-1", "x", "01"]),
            "bp" => self.bitmap_position(),
            "bu" => self.one_of(&["BIT", "BYTE", "bit", "Byte", "BIT", "bits"]),
            "bt" => self.field_type(),
            "bf" => self.field_offset(),
            "bn" => self.field_value(),
            "bw" => self.one_of(&["WRAP", "SAT", "FAIL", "sat", "fail", "Wrap", "foo"]),
            "bop" => self.one_of(&["and", "Or", "xOR", "NOT", "DIFF", "ONE", "ANDOR", ""]),
            "v" => self.value(),
            _ => return None,
        })
    }

    /// An argument of a kind that no data type has for itself.
    fn argument(&mut self, word: &str) -> Vec<u8> {
        match word {
            "k" => self.key(),
            "i" => self.integer(),
            "n" => self.one_of(COUNTS),
            "f" => self.float(),
            "t" => self.span(1_000),
            "m" => self.span(1),
            "s" => self.point(1_000),
            "a" => self.point(1),
            "o" => self.offset(),
            "d" => self.one_of(&["0", "0", "1", "-1", "x", "99999999999", "16"]),
            "p" => self.one_of(PATTERNS),
            "y" => self.one_of(TYPES),
            "c" => self.one_of(CURSORS),
            "z" => self.one_of(CLUSTER_CURSORS),
            "e" => self.one_of(METRICS),
            "l" => self.one_of(&["0", "15891", "15891", "16383", "16384", "-1", "x"]),
            "w" => self.one_of(WORDS),
            word => word.as_bytes().to_vec(),
        }
    }

    fn one_of(&mut self, from: &[&str]) -> Vec<u8> {
        self.rng.pick(from).as_bytes().to_vec()
    }

    /// A key, mostly one of those that only hash commands use.
    fn hash_key(&mut self) -> Vec<u8> {
        if self.rng.one_in(12) {
            return self.key();
        }
        format!("{TAG}h{}", self.rng.below(HASH_KEYS)).into_bytes()
    }

    /// A key, mostly one of those that only set commands use.
    fn set_key(&mut self) -> Vec<u8> {
        if self.rng.one_in(16) {
            return self.key();
        }
        format!("{TAG}q{}", self.rng.below(SET_KEYS)).into_bytes()
    }

    /// One of a few members: integers of every width and texts, so that sets have every encoding.
    fn member(&mut self) -> Vec<u8> {
        match self.rng.below(24) {
            0 => self.value(),
            1 => vec![b'm'; 63 + self.rng.below(3)],
            2 => self.one_of(INTEGERS),
            3..12 => self.rng.below(20).to_string().into_bytes(),
            12 => format!("{}", 32_760 + self.rng.below(16)).into_bytes(),
            13 => format!("-{}", 2_147_483_640 + self.rng.below(16)).into_bytes(),
            n => format!("m{}", n % 8).into_bytes(),
        }
    }

    /// Members that make a set so large that its encoding changes, or just not.
    fn many_members(&mut self) -> Vec<Vec<u8>> {
        let (from, count) = match self.rng.below(4) {
            0 | 1 => (self.rng.below(4), 122 + self.rng.below(12)),
            2 => (self.rng.below(4), 506 + self.rng.below(12)),
            _ => (self.rng.below(600), self.rng.below(200)),
        };
        let are_texts = self.rng.one_in(2);
        let name = |i: usize| if are_texts { format!("m{i}") } else { i.to_string() };
        (from..=from + count).map(|i| name(i).into_bytes()).collect()
    }

    /// One of a few fields, so that commands affect each other.
    fn field(&mut self) -> Vec<u8> {
        match self.rng.below(24) {
            0 => Vec::new(),
            1 => vec![b'f'; 63 + self.rng.below(3)],
            2 => b"\x00\xff\r\n".to_vec(),
            n => format!("f{}", n % 8).into_bytes(),
        }
    }

    /// A key, mostly one of those that only list commands use.
    fn list_key(&mut self) -> Vec<u8> {
        if self.rng.one_in(16) {
            return self.key();
        }
        format!("{TAG}l{}", self.rng.below(LIST_KEYS)).into_bytes()
    }

    /// One of a few elements, sometimes one that a node of a list has no room for, or nearly none.
    fn element(&mut self) -> Vec<u8> {
        match self.rng.below(40) {
            0 => Vec::new(),
            1 => b"\x00\xff\r\n".to_vec(),
            2 => vec![b'n'; 8_170 + self.rng.below(30)],
            3 => vec![b'l'; 8_193 + self.rng.below(3_000)],
            4..=7 => vec![b'm'; 300 + self.rng.below(3_000)],
            8..=15 => self.integer(),
            n => format!("e{}", n % 6).into_bytes(),
        }
    }

    fn list_position(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => self.one_of(OFFSETS),
            1..=3 => (self.rng.below(1_200) as i64 - 600).to_string().into(),
            _ => (self.rng.below(16) as i64 - 8).to_string().into(),
        }
    }

    /// A key, mostly one of those that only commands of sorted sets use.
    fn zset_key(&mut self) -> Vec<u8> {
        match self.rng.below(24) {
            0 => self.key(),
            _ => format!("{TAG}z{}", self.rng.below(ZSET_KEYS)).into_bytes(),
        }
    }

    /// One of a few members, so that commands affect each other.
    fn zset_member(&mut self) -> Vec<u8> {
        match self.rng.below(24) {
            0 => Vec::new(),
            1 => vec![b'm'; 63 + self.rng.below(3)],
            2 => b"\x00\xff\r\n".to_vec(),
            3 => self.rng.below(200).to_string().into_bytes(),
            4 => format!("m{}", self.rng.below(140)).into_bytes(),
            n => format!("m{}", n % 8).into_bytes(),
        }
    }

    /// A key, mostly one of those that only geo commands use. Others are hashes or sets: scores of a sorted set are
    /// few, so that many members would have one position.
    fn geo_key(&mut self) -> Vec<u8> {
        match self.rng.below(24) {
            0 => format!("{TAG}h{}", self.rng.below(HASH_KEYS)).into_bytes(),
            1 => format!("{TAG}q{}", self.rng.below(SET_KEYS)).into_bytes(),
            _ => format!("{TAG}g{}", self.rng.below(GEO_KEYS)).into_bytes(),
        }
    }

    /// A score, often one that other members have.
    fn score(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => self.float(),
            1 => self.one_of(SCORES),
            2 => format!("{}.{}", self.rng.below(9), self.rng.below(100)).into_bytes(),
            3 => (self.rng.bits() as i64 >> self.rng.below(64)).to_string().into_bytes(),
            _ => (self.rng.below(7) as i64 - 3).to_string().into_bytes(),
        }
    }

    /// A number in one of its forms; rarely a text that may be none.
    fn sorted_number(&mut self) -> Vec<u8> {
        match self.rng.below(80) {
            0 => self.float(),
            1..10 => format!("{}.{}", self.rng.below(9), self.rng.below(100)).into_bytes(),
            10..20 => format!("-{}", self.rng.below(9)).into_bytes(),
            20..30 => format!("0{}", self.rng.below(9)).into_bytes(),
            30..40 => format!("1e{}", self.rng.below(300)).into_bytes(),
            _ => self.rng.below(12).to_string().into_bytes(),
        }
    }

    fn score_limit(&mut self) -> Vec<u8> {
        let limit = match self.rng.below(6) {
            0 => b"-inf".to_vec(),
            1 => b"+inf".to_vec(),
            _ => self.score(),
        };
        if self.rng.one_in(4) { [b"(", &limit[..]].concat() } else { limit }
    }

    fn name_limit(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => self.one_of(&["", "a", "--", "+x", "("]),
            1..4 => b"-".to_vec(),
            4..7 => b"+".to_vec(),
            n => [if n.is_multiple_of(2) { &b"["[..] } else { b"(" }, &self.zset_member()[..]].concat(),
        }
    }

    /// Scores and members, so many that a small sorted set is full, or becomes a large one.
    fn push_many(&mut self, are_equal: bool, request: &mut Request) {
        let (from, scores) = (self.rng.below(40), 1 + self.rng.below(9));
        for member in from..from + 100 + self.rng.below(40) {
            let score = if are_equal { 0 } else { member % scores };
            request.extend([score.to_string().into_bytes(), format!("m{member}").into_bytes()]);
        }
    }

    fn key(&mut self) -> Vec<u8> {
        if self.rng.one_in(16) {
            return format!("{TAG}x{}", self.rng.below(STREAM_KEYS)).into_bytes();
        }
        if self.rng.one_in(16) {
            return format!("{TAG}l{}", self.rng.below(LIST_KEYS)).into_bytes();
        }
        if self.rng.one_in(12) {
            return format!("{TAG}h{}", self.rng.below(HASH_KEYS)).into_bytes();
        }
        if self.rng.one_in(12) {
            return format!("{TAG}q{}", self.rng.below(SET_KEYS)).into_bytes();
        }
        if self.rng.one_in(12) {
            return format!("{TAG}z{}", self.rng.below(ZSET_KEYS)).into_bytes();
        }
        match self.rng.below(KEYS) {
            0 => format!("{TAG}{}", "k".repeat(40)).into_bytes(),
            1 => [TAG.as_bytes(), b"\x00\xff\r\n"].concat(),
            n => format!("{TAG}{n}").into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.below(8) {
            0 | 1 => self.integer(),
            2 => self.float(),
            3 => Vec::new(),
            4 => vec![b'v'; 200 + self.rng.below(200)],
            5 => (0..self.rng.below(12)).map(|_| self.rng.bits() as u8).collect(),
            _ => {
                let length = self.rng.below(20);
                (0..length).map(|_| b"abcABC 01"[self.rng.below(9)]).collect()
            }
        }
    }

    fn integer(&mut self) -> Vec<u8> {
        if self.rng.one_in(3) {
            self.one_of(INTEGERS)
        } else {
            (self.rng.below(2_000) as i64 - 1_000).to_string().into()
        }
    }

    fn float(&mut self) -> Vec<u8> {
        if self.rng.one_in(2) {
            return self.one_of(FLOATS);
        }
        let (whole, fraction) = (self.rng.below(4_000) as i64 - 2_000, self.rng.below(1_000));
        format!("{whole}.{fraction:03}").into_bytes()
    }

    fn offset(&mut self) -> Vec<u8> {
        if self.rng.one_in(6) { self.one_of(OFFSETS) } else { (self.rng.below(30) as i64 - 8).to_string().into() }
    }

    /// A time span that is over, or longer than any test, in units of `unit_ms`.
    fn span(&mut self, unit_ms: u64) -> Vec<u8> {
        if self.rng.one_in(6) {
            return self.no_short_span();
        }
        let far = (10_000_000 + self.rng.below(1_000_000_000) as u64) / unit_ms;
        let span = if self.rng.one_in(10) { -(self.rng.below(1_000) as i64) } else { far as i64 };
        span.to_string().into_bytes()
    }

    /// An integer or a non-integer, but no span that ends while the test runs, which would be at different moments for
    /// both sides.
    fn no_short_span(&mut self) -> Vec<u8> {
        loop {
            let text = self.rng.pick(INTEGERS);
            if !text.parse::<i64>().is_ok_and(|span| (1..10_000_000).contains(&span)) {
                return text.as_bytes().to_vec();
            }
        }
    }

    /// A point in time long ago or far in the future.
    fn point(&mut self, unit_ms: u64) -> Vec<u8> {
        /// The year 2100.
        const FAR_MS: u64 = 4_102_444_800_000;
        if self.rng.one_in(6) {
            return self.one_of(INTEGERS);
        }
        let from = if self.rng.one_in(10) { 1_000_000 } else { FAR_MS };
        ((from + self.rng.below(1_000_000_000) as u64) / unit_ms).to_string().into_bytes()
    }

    /// Removes, adds or replaces an argument.
    fn damage(&mut self, request: &mut Request) {
        let at = 1 + self.rng.below(request.len());
        match self.rng.below(3) {
            0 if at < request.len() => {
                request.remove(at);
            }
            1 if at < request.len() => request[at] = self.no_short_span(),
            _ => {
                let word = self.one_of(WORDS);
                request.insert(at, word);
            }
        }
    }
}

/// A request as shown in a test's message.
#[must_use]
pub fn spelled(request: &Request) -> String {
    let word = |arg: &Vec<u8>| match arg.len() {
        0 => "''".to_owned(),
        len if len > 60 => format!("{}...({len} bytes)", arg[..20].escape_ascii()),
        _ => arg.escape_ascii().to_string(),
    };
    request.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_commands() {
        let draw = |seed| {
            let mut generator = Generator::new(seed, |_| true);
            (0..500).map(|_| generator.command()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn shapes_are_filled() {
        let mut generator = Generator::new(3, |_| true);
        assert_eq!(generator.fill("PING"), [b"PING".to_vec()]);
        for _ in 0..100 {
            let request = generator.fill("MSET *k,v");
            assert!(request.len() % 2 == 1 && request.len() >= 3, "{}", spelled(&request));
        }
    }
}
