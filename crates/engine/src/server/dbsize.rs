//! DBSIZE: keys of this shard; one that has expired counts until it is removed, as in Valkey.

use crate::command::Command;

/// DBSIZE
pub const DBSIZE: Command = Command::data("dbsize", "", "Counts the keys of this shard.", |engine, _, env| {
    env.reply.integer(i64::try_from(engine.keyspace().len()).unwrap_or(i64::MAX));
    Ok(())
});

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn counts() {
        check("DBSIZE => :0 | SET a 1 => +OK | SET a 2 => +OK | DBSIZE => :1 | DEL a => :1 | DBSIZE => :0");
    }
}
