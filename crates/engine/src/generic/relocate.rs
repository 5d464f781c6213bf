//! MOVE. Because there is only one database, the command has only errors as replies.

use crate::command::{Command, parse};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// MOVE key db
pub const MOVE: Command = Command::data("move", "<key> <db>", "Moves a key to another database.", run);

fn run(_: &mut Engine, args: Args<'_>, _: &mut Env<'_>) -> Result<(), CommandError> {
    parse::database(args.get(2))?;
    Err(CommandError::Fixed("ERR source and destination objects are the same"))
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn every_reply_is_an_error() {
        check(
            "MOVE a 0 => -ERR source and destination objects are the same | MOVE a 1 => -ERR DB index is out of range",
        );
        check("MOVE a x => -ERR value is not an integer or out of range");
    }
}
