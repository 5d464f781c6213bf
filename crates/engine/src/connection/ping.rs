//! PING, as it is answered outside of RESP2's subscription mode.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// PING \[message]
pub const PING: Command = Command::data("ping", "[<message>]", "Answers PONG, or with the message.", run);

fn run(_: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    match args.len() {
        1 => env.reply.simple("PONG"),
        2 => env.reply.bulk(args.get(1)),
        _ => return Err(CommandError::Arity("ping")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn answers() {
        check("PING => +PONG | ping hi => $2 hi | PING a b => -ERR wrong number of arguments for 'ping' command");
    }
}
