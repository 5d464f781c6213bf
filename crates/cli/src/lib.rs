//! The command line client: one command, commands from standard input, a prompt, or bulk input.
//!
//! ```text
//! client ─▶ script, interactive ─▶ session ─▶ access ─▶ connection ─▶ tls
//!        └▶ bulk (several connections at once) ─────────────┘
//! ```
//!
//! - [`client`]: what the program calls. [`error`]: why it fails.
//! - [`session`]: one current connection that follows redirections. [`redirect`], [`address`]: where to.
//! - [`access`], [`connection`], [`tls`]: how a connection is opened, and what goes over it.
//! - [`script`]: commands without a terminal. [`interactive`], [`editor`]: with one. [`bulk`]: `--pipe`.
//! - [`mod@format`], [`console`]: what is printed, and how.
//! - [`synopsis`], [`complete`], [`help`], [`secret`]: what the command table says while somebody types.
//!
//! Invariants:
//! - Nothing that may have been executed is sent a second time.
//! - Control characters of replies reach the terminal with `--raw` alone.
//! - Lines with secrets are kept in no history.
//!
//! Does not know the server's code: the command table is an argument. Of files it knows the history and those of TLS.

pub mod access;
pub mod address;
pub mod bulk;
pub mod client;
pub mod complete;
pub mod connection;
pub mod console;
pub mod editor;
pub mod error;
pub mod format;
pub mod help;
pub mod interactive;
pub mod redirect;
pub mod script;
pub mod secret;
pub mod session;
pub mod synopsis;
#[cfg(test)]
mod testing;
pub mod tls;

pub use access::{Access, Credentials, ProtocolChoice};
pub use address::Address;
pub use client::{ClientOptions, Mode, run};
pub use error::CliError;
pub use format::Output;
pub use script::{Repeat, Success};
pub use tls::{Tls, TlsFiles};
