//! LPOS: the positions of elements with a value.

use super::look_up::read;
use super::pop::at_least;
use super::remove::symmetric;
use super::view::{List, WantedElement};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// LPOS key element \[RANK rank] \[COUNT num-matches] \[MAXLEN len]
pub const LPOS: Command = Command::data(
    "lpos",
    "<key> <element> [RANK <rank>] [COUNT <num-matches>] [MAXLEN <len>]",
    "Returns the positions of elements of a list with this value.",
    lpos,
);

struct PositionOptions {
    /// The match that is returned first, counted from 1.
    rank: u64,
    from_tail: bool,
    /// How many matches are returned, 0: all; `None`: one, and not as an array.
    count: Option<i64>,
    /// How many elements are compared, 0: all.
    compared_max: i64,
}

impl PositionOptions {
    fn parse(options: Args<'_>) -> Result<PositionOptions, CommandError> {
        const ZERO: &str = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                            or use negative to start from the end of the list";
        let mut parsed = PositionOptions { rank: 1, from_tail: false, count: None, compared_max: 0 };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let value = options.next().ok_or(CommandError::Syntax)?;
            if option.eq_ignore_ascii_case(b"rank") {
                let rank = symmetric(value)?;
                if rank == 0 {
                    return Err(CommandError::Fixed(ZERO));
                }
                (parsed.rank, parsed.from_tail) = (rank.unsigned_abs(), rank < 0);
            } else if option.eq_ignore_ascii_case(b"count") {
                parsed.count = Some(at_least(value, 0, "ERR COUNT can't be negative")?);
            } else if option.eq_ignore_ascii_case(b"maxlen") {
                parsed.compared_max = at_least(value, 0, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }

    /// The positions that are returned.
    fn positions(&self, list: List<'_>, wanted: WantedElement<'_>) -> Vec<usize> {
        let unbounded = |bound: i64| if bound == 0 { usize::MAX } else { usize::try_from(bound).unwrap_or(usize::MAX) };
        let last = list.len().saturating_sub(1);
        let elements = if self.from_tail { list.iter_back(last) } else { list.iter_from(0) };
        let matches =
            elements.take(unbounded(self.compared_max)).enumerate().filter(|(_, element)| wanted.is(*element));
        let skipped = usize::try_from(self.rank - 1).unwrap_or(usize::MAX);
        let taken = matches.skip(skipped).take(self.count.map_or(1, unbounded));
        taken.map(|(at, _)| if self.from_tail { last - at } else { at }).collect()
    }
}

fn lpos(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let options = PositionOptions::parse(args.skip(3))?;
    let key = engine.first_key(args, env);
    let list = read(engine, &key, env)?;
    let wanted = WantedElement::new(args.get(2));
    let positions = list.map(|list| options.positions(list, wanted)).unwrap_or_default();
    match (options.count, positions.first()) {
        (Some(_), _) => {
            env.reply.array(positions.len());
            positions.iter().for_each(|position| env.reply.integer(*position as i64));
        }
        (None, Some(position)) => env.reply.integer(*position as i64),
        (None, None) => env.reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    const LIST: &str = "RPUSH l a b c 1 2 3 c c => :8";

    #[test]
    fn positions() {
        check(&format!(
            "{LIST} | LPOS l c => :2 | LPOS l x => $-1 | LPOS l c RANK 2 => :6 | LPOS l c RANK -1 => :7 | \
            LPOS l 3 => :5"
        ));
        check(&format!(
            "{LIST} | LPOS l c COUNT 2 => *2 :2 :6 | LPOS l c COUNT 0 RANK -1 => *3 :7 :6 :2 | \
            LPOS l c COUNT 9 RANK 2 => *2 :6 :7"
        ));
        check(&format!(
            "{LIST} | LPOS l c MAXLEN 2 => $-1 | LPOS l c COUNT 0 MAXLEN 3 => *1 :2 | \
            LPOS l b MAXLEN 2 RANK -1 => $-1"
        ));
        check("LPOS l c => $-1 | LPOS l c COUNT 1 => *0");
    }

    #[test]
    fn refusals() {
        check(
            "LPOS l c RANK 0 => -ERR RANK can't be zero: use 1 to start from the first match, 2 from the second \
            ... or use negative to start from the end of the list",
        );
        check(
            "LPOS l c COUNT -1 => -ERR COUNT can't be negative | \
            LPOS l c MAXLEN x => -ERR MAXLEN can't be negative | LPOS l c FOO 1 => -ERR syntax error",
        );
        check(
            "LPOS l c RANK => -ERR syntax error | \
            LPOS l c RANK -9223372036854775808 => -ERR value is out of range, value must between \
            -9223372036854775807 and 9223372036854775807",
        );
        check("SET s 1 => +OK | LPOS s a => -WRONGTYPE Operation against a key holding the wrong kind of value");
    }
}
