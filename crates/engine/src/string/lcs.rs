//! LCS: the longest common subsequence of two strings.
//!
//! Takes time and memory proportional to the product of both lengths, as in Valkey; [`VALUE_BYTES_MAX`] bounds the
//! memory.

use super::look_up::{check_string, text_of};
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};
use fastness_types::limits::VALUE_BYTES_MAX;

/// LCS
pub const LCS: Command = Command::data(
    "lcs",
    "<key1> <key2> [LEN] [IDX] [MINMATCHLEN <min-match-len>] [WITHMATCHLEN]",
    "Finds the longest common subsequence of two string values.",
    lcs,
);

const NOT_STRINGS: CommandError = CommandError::Fixed("ERR The specified keys must contain string values");

#[derive(Debug, Default, Clone, Copy)]
struct LcsOptions {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

impl LcsOptions {
    fn parse(args: Args<'_>) -> Result<LcsOptions, CommandError> {
        let mut options = LcsOptions::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let is = |name: &str| arg.eq_ignore_ascii_case(name.as_bytes());
            if is("len") {
                options.len = true;
            } else if is("idx") {
                options.idx = true;
            } else if is("withmatchlen") {
                options.with_match_len = true;
            } else if is("minmatchlen") {
                options.min_match_len = integer(args.next().ok_or(CommandError::Syntax)?)?.max(0);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.len && options.idx {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(CommandError::Fixed(text));
        }
        Ok(options)
    }
}

fn lcs(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (a, b) = (engine.first_key(args, env), engine.key(args.get(2)));
    for key in [&a, &b] {
        if engine.read(key, env).is_some_and(|entry| check_string(entry).is_err()) {
            return Err(NOT_STRINGS);
        }
    }
    let options = LcsOptions::parse(args.skip(3))?;
    let (mut a_buffer, mut b_buffer) = (itoa::Buffer::new(), itoa::Buffer::new());
    // Both keys were looked up above, which removed expired ones.
    let text = |entry, buffer| match entry {
        Some(entry) => text_of(entry, buffer),
        None => Ok(&b""[..]),
    };
    let keyspace = engine.keyspace();
    let alive = |key| keyspace.find(key).filter(|entry| !entry.is_expired(env.now));
    let a = text(alive(&a), &mut a_buffer)?;
    let b = text(alive(&b), &mut b_buffer)?;
    let lengths = Lengths::new(a, b)?;
    reply(&lengths.trace(a, b), lengths.longest(), options, env.reply);
    Ok(())
}

/// `at(i, j)`: the length of the longest common subsequence of the first `i` bytes of one and `j` of the other.
struct Lengths {
    columns: usize,
    cells: Vec<u32>,
}

impl Lengths {
    fn new(a: &[u8], b: &[u8]) -> Result<Lengths, CommandError> {
        let columns = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(columns).filter(|cells| *cells <= VALUE_BYTES_MAX / size_of::<u32>());
        let cells = cells.ok_or(CommandError::Fixed(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ))?;
        let mut lengths = Lengths { columns, cells: vec![0; cells] };
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                lengths.cells[i * columns + j] = if a[i - 1] == b[j - 1] {
                    lengths.at(i - 1, j - 1) + 1
                } else {
                    lengths.at(i - 1, j).max(lengths.at(i, j - 1))
                };
            }
        }
        Ok(lengths)
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.columns + j]
    }

    fn longest(&self) -> u32 {
        self.cells.last().copied().unwrap_or(0)
    }

    /// Finds the subsequence from its end: its ranges in both strings, and its bytes.
    fn trace(&self, a: &[u8], b: &[u8]) -> Subsequence {
        let mut found = Subsequence::default();
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                found.add(i - 1, j - 1, a[i - 1]);
                i -= 1;
                j -= 1;
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        found.bytes.reverse();
        found
    }
}

/// A common part of both strings, as ranges that include the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    a: (usize, usize),
    b: (usize, usize),
}

impl Match {
    fn len(&self) -> i64 {
        (self.a.1 - self.a.0 + 1) as i64
    }
}

/// The longest common subsequence.
#[derive(Default)]
struct Subsequence {
    bytes: Vec<u8>,
    matches: Vec<Match>,
}

impl Subsequence {
    fn add(&mut self, i: usize, j: usize, byte: u8) {
        self.bytes.push(byte);
        match self.matches.last_mut() {
            Some(last) if last.a.0 == i + 1 && last.b.0 == j + 1 => (last.a.0, last.b.0) = (i, j),
            _ => self.matches.push(Match { a: (i, i), b: (j, j) }),
        }
    }
}

fn reply(subsequence: &Subsequence, longest: u32, options: LcsOptions, reply: &mut ReplyBuf) {
    if options.len {
        return reply.integer(i64::from(longest));
    }
    if !options.idx {
        return reply.bulk(&subsequence.bytes);
    }
    let matches: Vec<&Match> =
        subsequence.matches.iter().filter(|found| found.len() >= options.min_match_len).collect();
    reply.map(2);
    reply.bulk("matches");
    reply.array(matches.len());
    for found in matches {
        reply.array(if options.with_match_len { 3 } else { 2 });
        for (start, end) in [found.a, found.b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer(end as i64);
        }
        if options.with_match_len {
            reply.integer(found.len());
        }
    }
    reply.bulk("len");
    reply.integer(i64::from(longest));
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    const SET: &str = "MSET {}a ohmytext {}b mynewtext => +OK | ";

    #[test]
    fn finds_the_longest() {
        check(&format!("{SET}LCS {{}}a {{}}b => $6 mytext | LCS {{}}a {{}}b LEN => :6 | LCS {{}}a {{}}c => $0"));
        check(&format!(
            "{SET}LCS {{}}a {{}}b IDX => *4 $7 matches *2 *2 *2 :4 :7 *2 :5 :8 *2 *2 :2 :3 *2 :0 :1 $3 len :6"
        ));
        check(&format!(
            "{SET}LCS {{}}a {{}}b IDX MINMATCHLEN 4 WITHMATCHLEN => *4 $7 matches *1 *3 *2 :4 :7 *2 :5 :8 :4 $3 len :6"
        ));
    }

    #[test]
    fn refusals() {
        check("LCS a b LEN IDX => -ERR If you want both the length and indexes, please just use IDX.");
        check("LCS a b MINMATCHLEN => -ERR syntax error | LCS a b FOO => -ERR syntax error");
        check("LCS a b MINMATCHLEN x => -ERR value is not an integer or out of range");
    }
}
