//! EXISTS. A key that is named twice counts twice.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// EXISTS key \[key ...]
pub const EXISTS: Command =
    Command::data("exists", "<key> [<key> ...]", "Returns how many of the given keys exist.", run);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let mut found = 0;
    for key in args.skip(1).iter() {
        let key = engine.key(key);
        found += i64::from(engine.peek_counted(&key, env).is_some());
    }
    env.reply.integer(found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn counts_repeated_keys() {
        check("SET a 1 => +OK | EXISTS a a b => :2");
    }
}
