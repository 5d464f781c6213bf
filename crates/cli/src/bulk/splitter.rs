//! From commands to units.
//!
//! Commands are sent over several connections, so those that mean something only on one connection are not sent, and
//! count as failed: AUTH, CLIENT REPLY, WATCH, … A transaction is one unit, which goes where its first key is.

use fastness_engine::command::{CommandSpec, CommandTable, Scope};
use fastness_resp::Args;
use fastness_resp::number::parse_int;
use fastness_resp::request::encode;
use fastness_types::slot_of;

use super::tally::Failure;
use super::unit::{Item, Place, Unit};

/// Longest transaction, bytes: it is kept until EXEC arrives.
const TRANSACTION_BYTES_MAX: usize = 64 << 20;

const TOO_LONG: &[u8] = b"not sent: the transaction is longer than 64 MiB";
const UNFINISHED: &[u8] = b"not sent: the input ends before EXEC";
const NESTED: &[u8] = b"not sent: MULTI within a transaction";
const OF_CONNECTION: &[u8] =
    b"not sent: it concerns one connection, and commands are sent over several (give --user, -a or -n instead)";

/// A transaction whose EXEC has not been read.
struct Transaction {
    number: u64,
    commands: usize,
    bytes: Vec<u8>,
    slot: Option<u16>,
    is_too_long: bool,
}

/// See the module's documentation.
pub struct Splitter {
    table: &'static CommandTable,
    database: u32,
    /// Commands that were read.
    commands: u64,
    transaction: Option<Transaction>,
}

impl Splitter {
    /// A splitter for commands in this database.
    #[must_use]
    pub fn new(table: &'static CommandTable, database: u32) -> Splitter {
        Splitter { table, database, commands: 0, transaction: None }
    }

    /// Bytes that are kept of a transaction.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.transaction.as_ref().map_or(0, |transaction| transaction.bytes.len())
    }

    /// The next command. `request`: its bytes as RESP, or `None` for an inline command. `end`: where in the input it
    /// ends.
    pub fn take(&mut self, args: Args<'_>, request: Option<&[u8]>, end: u64) -> Option<Item> {
        self.commands += 1;
        let spec = self.table.of_request(args);
        let name = spec.map_or("", |spec| spec.name);
        let slot = spec.and_then(|spec| slot(spec, args));
        if let Some(transaction) = &mut self.transaction {
            if name == "multi" {
                return Some(self.refuse(args, NESTED));
            }
            transaction.commands += 1;
            transaction.slot = transaction.slot.or(slot);
            push(args, request, transaction);
            return if matches!(name, "exec" | "discard") { self.end_transaction(end) } else { None };
        }
        if name == "multi" {
            let mut transaction =
                Transaction { number: self.commands, commands: 1, bytes: Vec::new(), slot, is_too_long: false };
            push(args, request, &mut transaction);
            self.transaction = Some(transaction);
            return None;
        }
        if spec.is_some_and(|spec| self.is_of_connection(spec, args)) {
            return Some(self.refuse(args, OF_CONNECTION));
        }
        let mut bytes = Vec::new();
        match request {
            Some(request) => bytes.extend_from_slice(request),
            None => encode(&args.iter().collect::<Vec<_>>(), &mut bytes),
        }
        let place = slot.map_or(Place::First, Place::Slot);
        Some(Item::Unit(Unit { number: self.commands, commands: 1, bytes, place, slot, end, memory: None }))
    }

    /// Whether a command is for one connection alone. The database that is selected anyway can be selected.
    fn is_of_connection(&self, spec: &CommandSpec, args: Args<'_>) -> bool {
        let selects_same = spec.name == "select"
            && args.len() == 2
            && args.try_get(1).and_then(parse_int) == Some(i64::from(self.database));
        let is_stray_end = matches!(spec.name, "exec" | "discard");
        (spec.needs_connection() || spec.name == "select") && !selects_same && !is_stray_end
    }

    fn refuse(&self, args: Args<'_>, why: &[u8]) -> Item {
        Item::Refused(Failure::new(self.commands, args.try_get(0).unwrap_or_default(), why))
    }

    fn end_transaction(&mut self, end: u64) -> Option<Item> {
        let Transaction { number, commands, bytes, slot, is_too_long } = self.transaction.take()?;
        if is_too_long {
            return Some(Item::Refused(Failure::new(number, b"MULTI", TOO_LONG)));
        }
        let place = slot.map_or(Place::First, Place::Slot);
        Some(Item::Unit(Unit { number, commands, bytes, place, slot, end, memory: None }))
    }

    /// The end of the input.
    pub fn finish(&mut self) -> Option<Item> {
        let open = self.transaction.take()?;
        Some(Item::Refused(Failure::new(open.number, b"MULTI", UNFINISHED)))
    }
}

fn push(args: Args<'_>, request: Option<&[u8]>, transaction: &mut Transaction) {
    if transaction.is_too_long {
        return;
    }
    match request {
        Some(request) => transaction.bytes.extend_from_slice(request),
        None => encode(&args.iter().collect::<Vec<_>>(), &mut transaction.bytes),
    }
    if transaction.bytes.len() > TRANSACTION_BYTES_MAX {
        transaction.is_too_long = true;
        transaction.bytes = Vec::new();
    }
}

/// The slot of the first key. If the others are in other slots, the node will say so.
fn slot(spec: &CommandSpec, args: Args<'_>) -> Option<u16> {
    if spec.scope == Scope::Nothing && !spec.has_keys() {
        return None;
    }
    spec.keys(args).next().map(|key| slot_of(key).0)
}

#[cfg(test)]
mod tests {
    use fastness_engine::command::table;

    use super::*;

    fn split(lines: &[&str]) -> Vec<Item> {
        let mut splitter = Splitter::new(table(), 0);
        let mut items: Vec<Item> = Vec::new();
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            items.extend(splitter.take(Args::slices(&words), None, 0));
        }
        items.extend(splitter.finish());
        items
    }

    fn unit(item: &Item) -> &Unit {
        let Item::Unit(unit) = item else { panic!("{item:?}") };
        unit
    }

    fn refusal(item: &Item) -> &Failure {
        let Item::Refused(failure) = item else { panic!("{item:?}") };
        failure
    }

    #[test]
    fn commands_go_where_their_first_key_is() {
        let slot = slot_of(b"a").0;
        let items = split(&["SET a 1", "hset a f v", "DEL a b", "object encoding a", "PING", "nosuch a"]);
        let places: Vec<_> = items.iter().map(|item| unit(item).place.clone()).collect();
        let first = || Place::First;
        assert_eq!(places[..4], vec![Place::Slot(slot); 4]);
        assert_eq!(places[4..], [first(), first()]);
        assert_eq!(unit(&items[0]).bytes, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n");
        assert_eq!((unit(&items[1]).number, unit(&items[1]).commands), (2, 1));
    }

    #[test]
    fn a_transaction_is_one_unit() {
        let items = split(&["MULTI", "PING", "SET a 1", "SET b 2", "EXEC", "GET a"]);
        let transaction = unit(&items[0]);
        assert_eq!((transaction.number, transaction.commands, items.len()), (1, 5, 2));
        assert_eq!(transaction.place, Place::Slot(slot_of(b"a").0));
        assert!(transaction.bytes.starts_with(b"*1\r\n$5\r\nMULTI\r\n") && transaction.bytes.ends_with(b"EXEC\r\n"));
        assert_eq!(unit(&items[1]).number, 6);
        let items = split(&["MULTI", "MULTI", "EXEC", "EXEC", "MULTI", "SET a 1"]);
        assert!(refusal(&items[0]).text.contains("MULTI within"));
        assert_eq!((unit(&items[1]).commands, unit(&items[2]).number), (2, 4));
        assert!(refusal(&items[3]).text.contains("ends before EXEC"));
        assert_eq!(items.len(), 4);
    }

    #[test]
    fn a_transaction_has_a_bound() {
        let mut splitter = Splitter::new(table(), 0);
        let long = vec![b'x'; TRANSACTION_BYTES_MAX];
        let mut take = |words: &[&[u8]]| splitter.take(Args::slices(words), None, 0);
        assert!(take(&[b"MULTI"]).is_none() && take(&[b"SET", b"a", &long]).is_none());
        let ended = take(&[b"EXEC"]).unwrap();
        assert!(refusal(&ended).text.contains("longer than 64 MiB"));
        assert_eq!(splitter.kept_bytes(), 0);
    }

    #[test]
    fn what_concerns_one_connection_is_not_sent() {
        let items = split(&["SELECT 0", "SELECT 1", "WATCH a", "select x"]);
        assert_eq!(unit(&items[0]).place, Place::First);
        for item in &items[1..] {
            assert!(refusal(item).text.starts_with("not sent: it concerns one connection"), "{item:?}");
        }
    }
}
