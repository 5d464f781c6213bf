//! SELECT: there is database 0 alone, as in a Valkey cluster with its default settings.

use crate::command::{Command, parse};

/// SELECT index
pub const SELECT: Command = Command::data("select", "<index>", "Chooses the database.", |_, args, env| {
    parse::database(args.get(1))?;
    env.reply.ok();
    Ok(())
});

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn one_database() {
        check(
            "SELECT 0 => +OK | SELECT 1 => -ERR DB index is out of range | SELECT -1 => -ERR DB index is out of range",
        );
        check("SELECT x => -ERR value is not an integer or out of range");
        let large = "-ERR value is out of range, value must between -2147483648 and 2147483647";
        check(&format!("SELECT 99999999999 => {large}"));
    }
}
