//! ECHO.

use crate::command::Command;

/// ECHO message
pub const ECHO: Command = Command::data("echo", "<message>", "Answers with the message.", |_, args, env| {
    env.reply.bulk(args.get(1));
    Ok(())
});

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn answers() {
        check("ECHO hi => $2 hi | ECHO => -ERR wrong number of arguments for 'echo' command");
    }
}
