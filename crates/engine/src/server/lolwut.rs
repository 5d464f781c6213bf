//! LOLWUT: a picture and the version.

use crate::command::{Command, parse};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// LOLWUT \[VERSION version] \[number ...]
pub const LOLWUT: Command =
    Command::data("lolwut", "[VERSION <version>] [<towers>]", "Draws a fastness and tells the version.", run);

/// Towers drawn if none is asked for, and at most.
const TOWERS: usize = 3;
const TOWERS_MAX: usize = 16;

fn run(_: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let mut numbers = args.skip(1);
    if numbers.try_get(0).is_some_and(|word| word.eq_ignore_ascii_case(b"version")) && numbers.len() > 1 {
        parse::integer(numbers.get(1))?;
        numbers = numbers.skip(2);
    }
    let towers = match numbers.try_get(0) {
        Some(number) => usize::try_from(parse::integer(number)?).unwrap_or(0).clamp(1, TOWERS_MAX),
        None => TOWERS,
    };
    let mut picture = String::new();
    for row in ["|>   ", "|    ", "/^\\  ", "|#|  ", "|#|__", "|_|_|"] {
        picture.push_str(row.repeat(towers).trim_end());
        picture.push('\n');
    }
    picture.push_str(concat!("\nFastness ver. ", env!("CARGO_PKG_VERSION"), "\n"));
    env.reply.verbatim(*b"txt", picture.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn draws_the_requested_towers() {
        let picture = String::from_utf8(Bench::new().run(&[b"LOLWUT", b"VERSION", b"5", b"4"])).unwrap();
        assert_eq!(picture.matches("|>").count(), 4, "{picture}");
        assert!(picture.contains("Fastness ver. "));
        check("LOLWUT x => -ERR value is not an integer or out of range");
    }
}
