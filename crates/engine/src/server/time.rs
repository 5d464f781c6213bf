//! TIME: the timestamp of the batch that the command runs in, so to the millisecond.

use crate::command::Command;

/// TIME
pub const TIME: Command =
    Command::data("time", "", "Tells the Unix time in seconds, and the microseconds behind it.", |_, _, env| {
        let ms = env.now.0;
        env.reply.array(2);
        env.reply.bulk((ms / 1000).to_string());
        env.reply.bulk((ms % 1000 * 1000).to_string());
        Ok(())
    });

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn seconds_and_microseconds() {
        check("wait 1250 | TIME => *2 $10 1700000001 $6 250000");
    }
}
