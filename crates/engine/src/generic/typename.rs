//! TYPE.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::types::Type;
use fastness_resp::Args;

/// TYPE key
pub const TYPE: Command = Command::data("type", "<key>", "Returns the type of the value of a key.", run);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let name = engine.peek_counted(&key, env).map_or("none", |entry| Type::of(entry.value()).name);
    env.reply.simple(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn names_the_type() {
        check("TYPE a => +none | SET a 1 => +OK | TYPE a => +string");
    }
}
