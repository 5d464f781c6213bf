//! TOUCH: notes an access and nothing else.

use crate::command::Command;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::execute::Env;
use fastness_resp::Args;

/// TOUCH key \[key ...]
pub const TOUCH: Command =
    Command::data("touch", "<key> [<key> ...]", "Counts how many of the keys are there, as an access to each.", run);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let mut found = 0;
    for key in args.skip(1).iter() {
        let key = engine.key(key);
        found += i64::from(engine.read(&key, env).is_some());
    }
    env.reply.integer(found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn is_an_access() {
        check("SET a 1 => +OK | wait 5000 | OBJECT IDLETIME a => :5 | TOUCH a b => :1 | OBJECT IDLETIME a => :0");
    }
}
