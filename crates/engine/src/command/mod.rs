//! The command table: the name, arguments, keys, flags and code of each command.
//!
//! - [`spec`]: the facts that Valkey states, their types. `facts` holds them (generated); [`own`]: a command that
//!   Valkey does not have brings its facts.
//! - [`mod@table`]: a row ([`CommandSpec`]), who runs it ([`Run`]), and the table ([`CommandTable`]).
//! - `look_up`: from a request to its row or to Valkey's refusal ([`CommandTable::look_up`]).
//! - `acl_facts`, `key_finders`: facts that access control needs and COMMAND does not report: channels, databases, and
//!   keys that the key specifications do not state.
//! - `keys`: [`CommandSpec::keys`]. [`parse`]: numbers among the arguments.
//! - `introspect`, `introspect_docs`, `help`: COMMAND and its subcommands, HELP of every container.
//! - [`arguments`], `argument_facts`: what COMMAND DOCS says about arguments (generated).
//! - `typed`, `types`: what each data type adds: its commands, and the form of its values in DUMP's payloads.
//! - `transaction`, `scripting`: the commands that the shard runs.
//! - `registry`: the list of all these commands. It imports the code of every command, and no other module imports it.

mod acl_facts;
mod argument_facts;
pub mod arguments;
mod facts;
mod help;
mod introspect;
mod introspect_docs;
mod key_finders;
mod keys;
mod look_up;
pub mod own;
pub mod parse;
mod registry;
mod scripting;
pub mod spec;
pub mod table;
mod transaction;
pub(crate) mod typed;
pub(crate) mod types;

pub use acl_facts::{ChannelArguments, DatabaseUse, NamedDatabases};
pub use help::of as help;
pub use keys::Keys;
pub use look_up::LookupError;
pub use registry::{commands, table};
pub use spec::{Categories, Flags, Group, KeyFlags, KeyPositions, KeySpec};
pub use table::{Command, CommandSpec, CommandTable, Run, RunData, RunTable, Scope, ScriptCommand, SessionCommand};
