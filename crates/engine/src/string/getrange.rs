//! GETRANGE, SUBSTR.

use super::look_up::text_of;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;
use std::ops::Range;

/// GETRANGE
pub const GETRANGE: Command = Command::data(
    "getrange",
    "<key> <start> <end>",
    "Returns part of a string value, between two byte offsets.",
    getrange,
);
/// SUBSTR
pub const SUBSTR: Command = Command::data(
    "substr",
    "<key> <start> <end>",
    "Returns part of a string value; the older name of GETRANGE.",
    getrange,
);

fn getrange(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (start, end) = (integer(args.get(2))?, integer(args.get(3))?);
    let key = engine.first_key(args, env);
    let mut buffer = itoa::Buffer::new();
    let text = match engine.read(&key, env) {
        Some(entry) => text_of(entry, &mut buffer)?,
        None => b"",
    };
    env.reply.bulk(&text[range(start, end, text.len())]);
    Ok(())
}

/// The range from `start` to `end`, both included, both counted from the end if negative. As in Valkey, an index before
/// the string counts as its first byte, unless both are negative and in the wrong order.
fn range(start: i64, end: i64, len: usize) -> Range<usize> {
    if len == 0 || (start < 0 && end < 0 && start > end) {
        return 0..0;
    }
    let absolute = |index: i64| if index < 0 { index.saturating_add(len as i64).max(0) } else { index };
    let (start, end) = (absolute(start), absolute(end).min(len as i64 - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_are_valkeys() {
        let cases = [
            (0, -1, 0..5),
            (-3, -2, 2..4),
            (5, 10, 0..0),
            (3, 1, 0..0),
            (-100, 100, 0..5),
            (-1, -100, 0..0),
            (-100, -50, 0..1),
            (0, -100, 0..1),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MAX, i64::MIN, 0..0),
        ];
        for (start, end, expected) in cases {
            assert_eq!(range(start, end, 5), expected, "{start} {end}");
        }
        assert_eq!(range(0, -1, 0), 0..0);
    }
}
