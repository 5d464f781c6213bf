//! The command table: what each command is called, takes, touches, and how it runs.
//!
//! - [`spec`]: the types of a row.
//! - `facts`: what Valkey says about its commands (generated).
//! - `own`: the facts about commands of our own.
//! - `typed`, `types`: what each data type adds: its commands, and the form of its values in DUMP's payloads.
//! - `table`: the other commands, one line each, all joined with the facts.
//! - `front end`: the commands that the front end runs.
//! - [`lookup()`]: from a request to its command or to Valkey's refusal.
//! - [`parse`]: numbers among the arguments.
//! - `keys`: [`CommandSpec::keys`].
//! - `introspect`, `introspect_docs`, `help`: COMMAND and its subcommands, HELP of every container.
//! - `arguments`, `argument_facts`: what COMMAND DOCS says about arguments (generated).

mod argument_facts;
mod arguments;
mod facts;
mod front_end;
mod help;
mod introspect;
mod introspect_docs;
mod keys;
mod lookup;
mod own;
pub mod parse;
pub mod spec;
mod table;
pub(crate) mod typed;
pub(crate) mod types;

pub use introspect::write_info as describe;
pub use keys::Keys;
pub use lookup::{LookupError, lookup};
pub use spec::{
    Categories, Command, CommandSpec, Flags, FrontEndCommand, Group, KeyFlags, KeyPositions, KeySpec, Run, RunData,
    SessionCommand,
};
pub use table::{absent, all, named, present};
