//! TYPE.

use crate::command::Command;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::execute::Env;
use fastness_resp::Args;

/// TYPE key
pub const TYPE: Command = Command::data("type", "<key>", "Tells what type of value a key holds.", run);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = env.first_key(engine, args);
    let name = engine.peek_counted(&key, env).map_or("none", |entry| entry.value().kind().name());
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
