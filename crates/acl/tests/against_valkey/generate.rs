//! Generates rules and requests, valid and invalid, from a seed.

use fastness_engine::command::spec::{Begin, Find, key_flag};
use fastness_engine::command::{Categories, CommandSpec, CommandTable, KeyFlags, KeySpec};
use fastness_resp::Args;

/// A random source that a seed determines (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

const USER_WORDS: &[&str] =
    &["on", "off", "nopass", "resetpass", "sanitize-payload", "skip-sanitize-payload", "clearselectors", "reset", ""];

const SELECTOR_WORDS: &[&str] = &[
    "allkeys",
    "resetkeys",
    "~*",
    "allchannels",
    "resetchannels",
    "&*",
    "alldbs",
    "resetdbs",
    "allcommands",
    "nocommands",
    "+@all",
    "-@all",
];

const PATTERNS: &[&str] = &["a", "b", "a*", "*", "b?", "[ab]c", "", "a\\*", "A", "k1", "k*", "a)", "(a", "'", "a\"b"];

const BAD_PATTERNS: &[&[u8]] = &[b"a b", b"\t", b"a\0b", b"a\x0b", b"\r\n"];

const KEY_SIGNS: &[&str] =
    &["~", "~", "~", "%R~", "%W~", "%RW~", "%wr~", "%r~", "%R", "%", "%~", "%RR~", "%X~", "%R~~"];

const PASSWORDS: &[&str] = &["a", "b", "", "long password"];

const HASHES: &[&str] = &[
    "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "CA978112CA1BBDCAFAC231B39A23DC4DA786EFF8147C4E72B9807785AFEE48BB",
    "ca978112",
    "",
    "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48b",
    "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bg",
    "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb0",
];

const DATABASES: &[&str] = &["0", "0", "0", "1", "3", "15", "16", "2147483647"];

const ODD_DATABASES: &[&str] = &[
    "",
    "-1",
    "-0",
    "+3",
    " 3",
    "3 ",
    "\t3",
    "03",
    "x",
    "3x",
    "-",
    "+-3",
    "2147483648",
    "99999999999999999999",
    "0x3",
    "-99999999999999999999",
];

/// First arguments. Valkey stops if one has white space or a quote, see the crate's documentation.
const FIRST_ARGUMENTS: &[&str] = &["0", "1", "a", "A", "b", "get", "", "a)", "a\\", "\u{e4}"];

/// Rules for one ACL SETUSER.
pub fn rules(dice: &mut Dice, table: &CommandTable) -> Vec<Vec<u8>> {
    let mut rules = Vec::new();
    for _ in 0..=dice.below(4) {
        match dice.below(16) {
            0..=1 => rules.push(dice.pick(USER_WORDS).as_bytes().to_vec()),
            2 => rules.push(format!("{}{}", dice.pick(&[">", "<"]), dice.pick(PASSWORDS)).into_bytes()),
            3 => rules.push(format!("{}{}", dice.pick(&["#", "!"]), dice.pick(HASHES)).into_bytes()),
            4..=6 => selector(dice, table, &mut rules),
            7 => rules.push(garbage(dice)),
            _ => rules.push(selector_rule(dice, table)),
        }
    }
    for rule in &mut rules {
        if dice.once_in(12) {
            rule.make_ascii_uppercase();
        }
    }
    rules
}

/// A rule that may stand in a selector.
pub fn selector_rule(dice: &mut Dice, table: &CommandTable) -> Vec<u8> {
    match dice.below(12) {
        0..=1 => dice.pick(SELECTOR_WORDS).as_bytes().to_vec(),
        2..=4 => with_pattern(dice.pick(KEY_SIGNS), dice),
        5 => with_pattern("&", dice),
        6 => databases(dice),
        _ => command_rule(dice, table),
    }
}

fn with_pattern(sign: &str, dice: &mut Dice) -> Vec<u8> {
    let pattern = if dice.once_in(12) { dice.pick(BAD_PATTERNS) } else { dice.pick(PATTERNS).as_bytes() };
    [sign.as_bytes(), pattern].concat()
}

fn databases(dice: &mut Dice) -> Vec<u8> {
    let odd = dice.once_in(4);
    let numbers: Vec<&str> = (0..=dice.below(4))
        .map(|_| if odd && dice.once_in(2) { dice.pick(ODD_DATABASES) } else { dice.pick(DATABASES) })
        .collect();
    format!("{}{}", if dice.once_in(8) { "DB=" } else { "db=" }, numbers.join(",")).into_bytes()
}

fn command_rule(dice: &mut Dice, table: &CommandTable) -> Vec<u8> {
    let sign = dice.pick(&["+", "-"]);
    let spec = &table.all()[dice.below(table.all().len())];
    let name = match dice.below(10) {
        0..=3 => spec.name.to_owned(),
        4 => dice.pick(&["get", "config", "config|get", "config|set", "select", "xgroup", "ping"]).to_owned(),
        5..=6 => {
            let names: Vec<_> = Categories(u32::MAX).names().chain(["all", "nosuch", ""]).collect();
            format!("@{}", dice.pick(&names))
        }
        7 => dice
            .pick(&["nosuch", "", "|", "config|nosuch", "config|", "get|", "@all", "get|a|b", "config|get|x"])
            .to_owned(),
        _ => {
            let command = dice.pick(&["get", "select", "ping", spec.name]);
            format!("{command}|{}", dice.pick(FIRST_ARGUMENTS))
        }
    };
    format!("{sign}{name}").into_bytes()
}

/// A selector, as one rule or spread over several.
fn selector(dice: &mut Dice, table: &CommandTable, rules: &mut Vec<Vec<u8>>) {
    let mut words: Vec<Vec<u8>> = (0..dice.below(5)).map(|_| quoted(dice, table)).collect();
    if dice.once_in(20) {
        words.push(b"on".to_vec());
    }
    let mut text = words.join(&b' ');
    text.insert(0, b'(');
    if !dice.once_in(30) {
        text.push(b')');
    }
    if dice.once_in(2) {
        rules.extend(text.split(|byte| *byte == b' ').map(<[u8]>::to_vec));
    } else {
        rules.push(text);
    }
}

/// A word of a selector, maybe in quotes.
fn quoted(dice: &mut Dice, table: &CommandTable) -> Vec<u8> {
    let rule = selector_rule(dice, table);
    // See FIRST_ARGUMENTS.
    let plain = rule.contains(&b'|') || rule.iter().any(|byte| b"\"'\\".contains(byte)) && !dice.once_in(3);
    if plain {
        return rule;
    }
    let text = String::from_utf8_lossy(&rule).into_owned();
    match dice.below(12) {
        0 => format!("\"{text}\"").into_bytes(),
        1 => format!("'{text}'").into_bytes(),
        2 => format!("\"\\x2bget\" {text}").into_bytes(),
        3 => format!("~'{text}'\"{text}\"").into_bytes(),
        4 if dice.once_in(4) => format!("\"{text}").into_bytes(),
        5 if dice.once_in(4) => format!("\"~\\n{text}\\q\\x4\"").into_bytes(),
        _ => rule,
    }
}

/// Bytes that mean something in rules, without the name of a command.
fn garbage(dice: &mut Dice) -> Vec<u8> {
    const BYTES: &[u8] = b"()+-~%&@|RW*\"' \0x<#!=,";
    (0..=dice.below(6)).map(|_| BYTES[dice.below(BYTES.len())]).collect()
}

const KEYS: &[&str] = &["a", "b", "ab", "ac", "k1", "bc", "", "A", "x"];

const OPTIONS: &[&str] = &[
    "store",
    "STOREDIST",
    "keys",
    "streams",
    "get",
    "set",
    "by",
    "limit",
    "db",
    "replace",
    "auth",
    "auth2",
    "copy",
    "overflow",
    "count",
    "group",
    "incrby",
];

const NUMBERS: &[&str] = &["0", "1", "2", "3", "3", "+2", "2x", " 1", "-1", "02", "15", "16", "99999999999999999999"];

/// A request to this command with as many arguments as it takes.
pub fn request(dice: &mut Dice, spec: &CommandSpec) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = spec.name.split('|').map(|word| word.as_bytes().to_vec()).collect();
    if dice.once_in(4) {
        words[0].make_ascii_uppercase();
    }
    let arity = usize::from(spec.arity.unsigned_abs()).max(words.len());
    let count = if spec.arity >= 0 || spec.is_container() { arity } else { arity + dice.below(6) };
    let named = words.len();
    while words.len() < count {
        let word = match dice.below(8) {
            0 => dice.pick(NUMBERS),
            1 if dice.once_in(2) => dice.pick(OPTIONS),
            _ => dice.pick(KEYS),
        };
        words.push(word.as_bytes().to_vec());
    }
    for keys in spec.key_specs {
        let (at, word) = match (keys.begin, keys.find) {
            (Begin::At(at), Find::Counted { number_at, .. }) => {
                let number = if dice.once_in(4) { dice.pick(NUMBERS) } else { dice.pick(&["1", "2"]) };
                (usize::from(at + number_at), number)
            }
            (Begin::After(word, from), _) => (usize::from(from.unsigned_abs()) + dice.below(3), word),
            (Begin::Unknown, _) => (2 + dice.below(3), dice.pick(OPTIONS)),
            (Begin::At(_), _) => continue,
        };
        if at >= named && at < words.len() && !dice.once_in(5) {
            words[at] = word.as_bytes().to_vec();
        }
    }
    words
}

/// Options that decide about keys and databases, of commands that have them in common.
const OPTIONS_TOGETHER: &[&[&str]] = &[
    &["store", "by", "GET", "limit", "asc"],
    &["keys", "AUTH", "auth2", "copy", "replace"],
    &["store", "STOREDIST", "count", "asc"],
    &["get", "set", "incrby", "OVERFLOW", "ifeq"],
    &["DB", "db", "replace", "1", "3"],
    &["streams", "block", "count", "group", "NOACK"],
];

/// Whether the keys or databases of a command depend on its options, so that [`optioned_request`] is worth it.
pub fn depends_on_options(spec: &CommandSpec) -> bool {
    let is_plain = |keys: &KeySpec| matches!((keys.begin, keys.find), (Begin::At(_), Find::Range { .. }));
    let varies = |keys: &KeySpec| keys.flags.has(KeyFlags(key_flag::VARIABLE_FLAGS));
    let has_plain_keys = spec.key_specs.iter().all(|keys| is_plain(keys) && !varies(keys));
    let names_databases = !spec.named_databases(Args::slices(&[b"", b"a", b"b", b"db", b"1"])).is_empty();
    spec.has_keys() && (!has_plain_keys || names_databases)
}

/// A request that consists of options above all, most of them in wrong places.
pub fn optioned_request(dice: &mut Dice, spec: &CommandSpec) -> Vec<Vec<u8>> {
    let mut words = request(dice, spec);
    if spec.arity < 0 {
        for _ in 0..dice.below(8) {
            words.push(dice.pick(KEYS).as_bytes().to_vec());
        }
    }
    let options = OPTIONS_TOGETHER[dice.below(OPTIONS_TOGETHER.len())];
    // The arguments before the first option are mostly those that the command requires.
    let named = spec.name.split('|').count();
    let first = if dice.once_in(3) { named } else { usize::from(spec.arity.unsigned_abs()).max(named) };
    let kinds = if dice.once_in(2) { 2 } else { 5 };
    for word in words.iter_mut().skip(first) {
        match dice.below(kinds) {
            0..=1 => *word = dice.pick(options).as_bytes().to_vec(),
            2 if dice.once_in(2) => *word = dice.pick(NUMBERS).as_bytes().to_vec(),
            _ => {}
        }
    }
    // MIGRATE has several keys only if this one is empty.
    if words.len() > 4 && dice.once_in(4) {
        words[3].clear();
    }
    words
}
