//! CLUSTER SLOT-STATS: the number of keys in each slot of this shard.
//!
//! As on a Valkey server with `cluster-slot-stats-enabled no`, keys are counted, and other metrics cannot be ordered
//! by.

use std::cmp::Reverse;

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::generic::scan::parse_slot;
use fastness_resp::number::parse_int;
use fastness_resp::{Args, ReplyBuf};
use fastness_types::{SLOTS, Slot};

/// CLUSTER SLOT-STATS SLOTSRANGE first last | ORDERBY metric \[LIMIT limit] \[ASC | DESC]
pub const SLOT_STATS: Command = Command::data(
    "cluster|slot-stats",
    "SLOTSRANGE <start-slot> <end-slot> | ORDERBY <metric> [LIMIT <limit>] [ASC|DESC]",
    "Returns the number of keys in each of these hash slots on this node.",
    run,
)
.showing_data();

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let by = args.get(2);
    let slots = if by.eq_ignore_ascii_case(b"slotsrange") && args.len() == 5 {
        range(engine, args.get(3), args.get(4))?
    } else if by.eq_ignore_ascii_case(b"orderby") {
        Order::parse(args.skip(3))?.of(engine)
    } else {
        return Err(CommandError::Fixed(
            "ERR unknown subcommand or wrong number of arguments for 'SLOT-STATS'. Try CLUSTER HELP.",
        ));
    };
    env.reply.array(slots.len());
    slots.into_iter().for_each(|slot| write(engine, slot, env.reply));
    Ok(())
}

fn write(engine: &Engine, slot: Slot, reply: &mut ReplyBuf) {
    reply.array(2);
    reply.integer(slot.0.into());
    reply.map(1);
    reply.bulk("key-count");
    reply.integer(engine.count_keys_in_slot(slot) as i64);
}

fn range(engine: &Engine, first: &[u8], last: &[u8]) -> Result<Vec<Slot>, CommandError> {
    let (first, last) = (parse_slot(first)?, parse_slot(last)?);
    if first > last {
        let text = format!("ERR Start slot number {} is greater than end slot number {}", first.0, last.0);
        return Err(CommandError::Text(text));
    }
    Ok(engine.slots().filter(|slot| (first..=last).contains(slot)).collect())
}

/// ORDERBY's options.
struct Order {
    limit: Option<usize>,
    ascending: Option<bool>,
}

impl Order {
    fn parse(args: Args<'_>) -> Result<Order, CommandError> {
        let mut args = args.iter();
        if !args.next().is_some_and(|metric| metric.eq_ignore_ascii_case(b"key-count")) {
            return Err(CommandError::Fixed("ERR Unrecognized sort metric for ORDERBY."));
        }
        let mut order = Order { limit: None, ascending: None };
        while let Some(option) = args.next() {
            let twice = match option.to_ascii_lowercase().as_slice() {
                b"limit" => order.limit.replace(limit(args.next().ok_or(CommandError::Syntax)?)?).is_some(),
                b"asc" => order.ascending.replace(true).is_some(),
                b"desc" => order.ascending.replace(false).is_some(),
                _ => return Err(CommandError::Syntax),
            };
            if twice {
                return Err(CommandError::Fixed("ERR Multiple filters of the same type are disallowed."));
            }
        }
        Ok(order)
    }

    /// The slots in this order; those with equal counts by their number.
    fn of(&self, engine: &Engine) -> Vec<Slot> {
        let mut slots: Vec<Slot> = engine.slots().collect();
        if self.ascending == Some(true) {
            slots.sort_by_key(|slot| engine.count_keys_in_slot(*slot));
        } else {
            slots.sort_by_key(|slot| Reverse(engine.count_keys_in_slot(*slot)));
        }
        slots.truncate(self.limit.unwrap_or(SLOTS));
        slots
    }
}

fn limit(text: &[u8]) -> Result<usize, CommandError> {
    let limit = parse_int(text).and_then(|limit| usize::try_from(limit).ok()).filter(|l| (1..=SLOTS).contains(l));
    limit.ok_or(CommandError::Fixed("ERR Limit has to lie in between 1 and 16384 (maximum number of slots)."))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn counts_keys_of_own_slots() {
        let mut bench = Bench::new();
        bench.engine.set_slots(vec![12182..=12183, 15495..=15495]);
        bench.script("SET {a}1 1 => +OK | SET {a}2 1 => +OK | SET foo 1 => +OK");
        let (foo, none, a) =
            ("*2 :12182 *2 $9 key-count :1", "*2 :12183 *2 $9 key-count :0", "*2 :15495 *2 $9 key-count :2");
        bench.script(&format!("CLUSTER SLOT-STATS SLOTSRANGE 0 13000 => *2 {foo} {none}"));
        bench.script(&format!("CLUSTER SLOT-STATS ORDERBY KEY-COUNT => *3 {a} {foo} {none}"));
        bench.script(&format!("CLUSTER SLOT-STATS ORDERBY KEY-COUNT asc LIMIT 2 => *2 {none} {foo}"));
    }

    #[test]
    fn refusals() {
        let usage = "-ERR unknown subcommand or wrong number of arguments for 'SLOT-STATS'. Try CLUSTER HELP.";
        check(&format!("CLUSTER SLOT-STATS SLOTSRANGE 0 => {usage} | CLUSTER SLOT-STATS FOO 0 1 => {usage}"));
        check("CLUSTER SLOT-STATS SLOTSRANGE 0 16384 => -ERR Invalid or out of range slot");
        check(
            "CLUSTER SLOT-STATS SLOTSRANGE 2 1 => -ERR Start slot number 2 is greater than end slot number 1 | \
             CLUSTER SLOT-STATS ORDERBY CPU-USEC LIMIT x => -ERR Unrecognized sort metric for ORDERBY. | \
             CLUSTER SLOT-STATS ORDERBY KEY-COUNT ASC DESC => -ERR Multiple filters of the same type are disallowed. | \
             CLUSTER SLOT-STATS ORDERBY KEY-COUNT LIMIT => -ERR syntax error | \
             CLUSTER SLOT-STATS ORDERBY KEY-COUNT LIMIT 0 => -ERR Limit has to lie in between 1 and 16384 (maximum \
             number of slots).",
        );
    }
}
