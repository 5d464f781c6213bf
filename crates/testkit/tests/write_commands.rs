//! The SDK knows which commands write data.

use fastness_client::WRITE_COMMANDS;
use fastness_engine::command::{self, CommandTable};

/// Of every command that Valkey knows, implemented or not.
#[test]
fn the_list_of_the_client_is_that_of_the_table() {
    let table = CommandTable::new(command::commands());
    let mut expected: Vec<&str> = table.all().iter().filter(|spec| spec.is_write()).map(|spec| spec.name).collect();
    expected.sort_unstable();
    assert_eq!(WRITE_COMMANDS, expected);
}
