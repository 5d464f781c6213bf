//! CLUSTER KEYSLOT.

use crate::command::Command;
use fastness_types::slot_of;

/// CLUSTER KEYSLOT key
pub const KEYSLOT: Command =
    Command::data("cluster|keyslot", "<key>", "Returns the hash slot of a key.", |_, args, env| {
        env.reply.integer(slot_of(args.get(2)).0.into());
        Ok(())
    });

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn hash_tags_count() {
        check("CLUSTER KEYSLOT foo => :12182 | CLUSTER KEYSLOT {foo}.bar => :12182");
    }
}
