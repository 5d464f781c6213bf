//! What may follow the arguments that were typed, from the command table's description of arguments.
//!
//! Arguments are matched from left to right, as people read a synopsis: a required one takes the next word, optional
//! ones that stand together are taken in any order, one that may be repeated takes as many as fit. It is a help for
//! typing and no parser: the server decides what a command means.

use fastness_engine::command::arguments::{Argument, Kind};
use fastness_resp::number::parse_int;

/// The synopsis of arguments, as in documentation: `key value [NX|XX] [EX seconds|PX milliseconds]`.
#[must_use]
pub fn of(arguments: &[Argument]) -> String {
    let current = arguments.iter().filter(|argument| !argument.is_deprecated());
    current.map(of_one).collect::<Vec<_>>().join(" ")
}

fn of_one(argument: &Argument) -> String {
    let whole = once(argument);
    let mut text = whole.clone();
    if argument.is_repeatable() {
        text = format!("{whole} [{} ...]", again(argument));
    }
    if argument.is_optional() { format!("[{text}]") } else { text }
}

/// One occurrence: the word and what follows it.
fn once(argument: &Argument) -> String {
    match (argument.word(), argument.kind()) {
        (Some(word), Kind::PureToken) => word.to_owned(),
        (Some(word), _) => format!("{word} {}", value(argument)),
        (None, _) => value(argument),
    }
}

/// A further occurrence of one that may be repeated.
fn again(argument: &Argument) -> String {
    if argument.repeats_word() { once(argument) } else { value(argument) }
}

fn value(argument: &Argument) -> String {
    let parts = || argument.parts().iter().filter(|part| !part.is_deprecated());
    match argument.kind() {
        Kind::Oneof => parts().map(of_one).collect::<Vec<_>>().join("|"),
        Kind::Block => parts().map(of_one).collect::<Vec<_>>().join(" "),
        Kind::PureToken => argument.word().unwrap_or("\"\"").to_owned(),
        _ => argument.label().to_owned(),
    }
}

/// What may follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// Its synopsis; empty if nothing may follow.
    pub synopsis: String,
    /// The words among it that may come next.
    pub words: Vec<&'static str>,
}

/// What may follow these words; `None` if they do not fit the arguments.
#[must_use]
pub fn rest(arguments: &[Argument], typed: &[&[u8]]) -> Option<Rest> {
    let walked = walk(arguments, typed);
    if walked.used < typed.len() {
        return None;
    }
    let synopsis = walked.open.iter().map(|open| open.synopsis.as_str()).collect::<Vec<_>>().join(" ");
    Some(Rest { synopsis, words: next_words(&walked.open) })
}

fn next_words(open: &[Open]) -> Vec<&'static str> {
    // After the first part that must be given, nothing can come next.
    let first_required = open.iter().position(|open| open.is_required).map_or(open.len(), |at| at + 1);
    open[..first_required].iter().flat_map(|open| open.words.iter().copied()).collect()
}

/// A part of the synopsis that may still be given.
struct Open {
    synopsis: String,
    words: Vec<&'static str>,
    is_required: bool,
}

impl Open {
    fn of(argument: &Argument) -> Open {
        Open { synopsis: of_one(argument), words: first_words(argument), is_required: !argument.is_optional() }
    }

    /// One that has been given and may be given again.
    fn again(argument: &Argument) -> Open {
        let words = if argument.repeats_word() { first_words(argument) } else { first_words_of_value(argument) };
        Open { synopsis: format!("[{} ...]", again(argument)), words, is_required: false }
    }
}

/// The words with which an argument can start.
fn first_words(argument: &Argument) -> Vec<&'static str> {
    match argument.word() {
        Some(word) => vec![word],
        None => first_words_of_value(argument),
    }
}

fn first_words_of_value(argument: &Argument) -> Vec<&'static str> {
    let parts = argument.parts().iter().filter(|part| !part.is_deprecated());
    match argument.kind() {
        Kind::Oneof => parts.flat_map(first_words).collect(),
        Kind::Block => next_words(&parts.map(Open::of).collect::<Vec<_>>()),
        _ => Vec::new(),
    }
}

/// The result of matching words.
struct Walked {
    /// Words that fit.
    used: usize,
    /// What may follow them.
    open: Vec<Open>,
}

impl Walked {
    /// Whether nothing that is required is missing.
    fn is_complete(&self) -> bool {
        self.open.iter().all(|open| !open.is_required)
    }
}

/// Matches arguments in their order. Stops at the first word that does not fit.
fn walk(arguments: &[Argument], words: &[&[u8]]) -> Walked {
    let mut walked = Walked { used: 0, open: Vec::new() };
    let mut at = 0;
    while at < arguments.len() {
        let optional = arguments[at..].iter().take_while(|argument| argument.is_optional()).count();
        if optional > 0 {
            take_optional(&arguments[at..at + optional], words, &mut walked);
            at += optional;
            continue;
        }
        match repeated(&arguments[at], &words[walked.used..]) {
            Some(found) => {
                walked.used += found.used;
                walked.open.extend(found.open);
            }
            None => walked.open.push(Open::of(&arguments[at])),
        }
        at += 1;
    }
    walked
}

/// Optional arguments that stand together, in any order; those with a word of their own first.
fn take_optional(arguments: &[Argument], words: &[&[u8]], walked: &mut Walked) {
    let mut given = vec![false; arguments.len()];
    let mut open = Vec::new();
    while walked.used < words.len() {
        let fits = |starts_with_word: bool| {
            let mut candidates = arguments.iter().enumerate().filter(|(at, argument)| {
                !given[*at] && first_words(argument).is_empty() != starts_with_word && !argument.is_deprecated()
            });
            candidates.find_map(|(at, argument)| Some((at, repeated(argument, &words[walked.used..])?)))
        };
        let Some((at, found)) = fits(true).or_else(|| fits(false)) else { break };
        given[at] = true;
        walked.used += found.used;
        open.extend(found.open);
    }
    // What an argument lacks comes before the others.
    walked.open.extend(open);
    let others = arguments.iter().zip(&given).filter(|(argument, given)| !**given && !argument.is_deprecated());
    walked.open.extend(others.map(|(argument, _)| Open::of(argument)));
}

/// Matches an argument as often as it may be given; `None` if the first word does not fit.
fn repeated(argument: &Argument, words: &[&[u8]]) -> Option<Walked> {
    let mut walked = single(argument, words, true)?;
    if !argument.is_repeatable() {
        return Some(walked);
    }
    while walked.is_complete() && walked.used < words.len() {
        let Some(more) = single(argument, &words[walked.used..], argument.repeats_word()) else { break };
        walked.used += more.used;
        walked.open = more.open;
    }
    walked.open.push(Open::again(argument));
    Some(walked)
}

/// Matches one occurrence. At least one word fits; those after it may be missing.
fn single(argument: &Argument, words: &[&[u8]], with_word: bool) -> Option<Walked> {
    let (first, others) = words.split_first()?;
    let Some(word) = argument.word().filter(|_| with_word) else { return single_value(argument, words) };
    if !first.eq_ignore_ascii_case(word.as_bytes()) {
        return None;
    }
    if argument.kind() == Kind::PureToken {
        return Some(Walked { used: 1, open: Vec::new() });
    }
    if others.is_empty() {
        let words = first_words_of_value(argument);
        return Some(Walked { used: 1, open: vec![Open { synopsis: value(argument), words, is_required: true }] });
    }
    let found = single_value(argument, others)?;
    Some(Walked { used: found.used + 1, open: found.open })
}

fn single_value(argument: &Argument, words: &[&[u8]]) -> Option<Walked> {
    match argument.kind() {
        Kind::Oneof => {
            let parts = argument.parts().iter().filter_map(|part| repeated(part, words));
            parts.max_by_key(|found| found.used)
        }
        Kind::Block => {
            let found = walk(argument.parts(), words);
            let fits = found.used > 0 && (found.used == words.len() || found.is_complete());
            fits.then_some(found)
        }
        Kind::PureToken => None,
        Kind::Integer | Kind::UnixTime => parse_int(words[0]).map(|_| Walked { used: 1, open: Vec::new() }),
        _ => Some(Walked { used: 1, open: Vec::new() }),
    }
}

#[cfg(test)]
mod tests {
    use fastness_engine::command::table;

    use super::*;

    fn rest_of(typed: &str) -> Option<Rest> {
        let mut words = typed.split_ascii_whitespace().map(str::as_bytes);
        let spec = table().named(words.next().unwrap()).unwrap();
        rest(spec.arguments(), &words.collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(typed: &str, expected: &str) {
        assert_eq!(rest_of(typed).map(|rest| rest.synopsis).as_deref(), Some(expected), "{typed}");
    }

    #[test]
    fn required_arguments_are_taken_in_order() {
        check("getrange", "key start end");
        check("getrange k", "start end");
        check("getrange k 0 -1", "");
        assert_eq!(rest_of("getrange k 0 -1 x"), None);
        assert_eq!(rest_of("getrange k zero"), None);
    }

    #[test]
    fn what_can_be_repeated_stays() {
        check("del", "key [key ...]");
        check("del a b", "[key ...]");
        check("hset k", "field value [field value ...]");
        check("hset k f", "value [field value ...]");
        check("hset k f v", "[field value ...]");
        check("hset k f v g", "value [field value ...]");
    }

    #[test]
    fn optional_arguments_are_taken_in_any_order() {
        let ttl = "EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL";
        let whole = rest_of("set k v").unwrap();
        assert!(whole.synopsis.contains("[NX|XX"), "{}", whole.synopsis);
        assert!(whole.synopsis.contains(&format!("[GET] [{ttl}]")), "{}", whole.synopsis);
        assert!(whole.words.contains(&"EX") && whole.words.contains(&"GET"), "{:?}", whole.words);
        let after = rest_of("set k v get ex").unwrap();
        assert!(after.synopsis.starts_with("seconds "), "{}", after.synopsis);
        assert!(!after.synopsis.contains("GET") && !after.synopsis.contains("EX "), "{}", after.synopsis);
        assert!(after.words.is_empty(), "a number comes next: {:?}", after.words);
        assert_eq!(rest_of("set k v nonsense"), None);
        assert_eq!(rest_of("set k v ex soon"), None);
    }

    #[test]
    fn words_are_offered_where_they_may_stand() {
        assert!(rest_of("set k").unwrap().words.is_empty(), "the value comes next");
        assert!(rest_of("scan 0").unwrap().words.contains(&"MATCH"));
        assert!(!rest_of("scan 0 match a*").unwrap().words.contains(&"MATCH"));
        assert_eq!(rest_of("scan 0 count").unwrap().words, [""; 0]);
    }

    /// Whatever is typed, no command's description makes it fail, and a longer line uses no fewer words.
    #[test]
    fn every_command_can_be_typed() {
        for spec in table().all() {
            let whole = of(spec.arguments());
            assert_eq!(whole.matches('[').count(), whole.matches(']').count(), "{}: {whole}", spec.name);
            let tokens: Vec<&[u8]> = spec.argument_tokens().into_iter().map(str::as_bytes).collect();
            for words in [vec![&b"1"[..]; 6], tokens.clone(), [vec![&b"1"[..]; 2], tokens].concat()] {
                for len in 0..=words.len() {
                    let _ = rest(spec.arguments(), &words[..len]);
                }
            }
        }
    }
}
