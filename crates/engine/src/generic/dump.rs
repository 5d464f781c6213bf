//! DUMP: a value as Valkey's RESTORE reads it: an RDB type, the value, RDB version 80, a CRC-64.

use crate::command::Command;
use crate::command::types::dump_forms;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// DUMP key
pub const DUMP: Command =
    Command::data("dump", "<key>", "Returns a serialized form of the value of a key, for RESTORE.", run);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let Some(entry) = engine.read(&key, env) else {
        env.reply.null();
        return Ok(());
    };
    let form = dump_forms().find(|form| form.of == entry.value().of());
    let payload = form.and_then(|form| (form.dump)(entry, env.now)).ok_or(CommandError::WrongType)?;
    env.reply.bulk(payload);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    fn dumped(value: &[u8]) -> Vec<u8> {
        let mut bench = Bench::new();
        bench.run(&[b"SET", b"a", value]);
        bench.run(&[b"DUMP", b"a"])
    }

    /// Replies of a Valkey server.
    #[test]
    fn as_valkey_dumps() {
        assert_eq!(dumped(b"1"), b"$13\r\n\x00\xc0\x01P\x00\xe9R.'OSv\x08\r\n");
        assert_eq!(dumped(b"1000"), b"$14\r\n\x00\xc1\xe8\x03P\x00F\xfb\x8e\x1f$\x96\xd0\x90\r\n");
        assert_eq!(dumped(b"100000"), b"$16\r\n\x00\xc2\xa0\x86\x01\x00P\x00>\x0e\xca\xc1\xf1}\xc1\x80\r\n");
        assert_eq!(dumped(b"9999999999"), b"$22\r\n\x00\n9999999999P\x00\x1d@\x0b\x08A\x01\x88&\r\n");
    }

    #[test]
    fn a_missing_key_is_null() {
        assert_eq!(Bench::new().run(&[b"DUMP", b"a"]), b"$-1\r\n");
    }
}
